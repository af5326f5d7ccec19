"""One RL update, ours against TRL's GRPOTrainer: python tests/bench/train_step.py [MODEL] [--steps 3] [--method full]

The same model, dtype, rollouts and loss (CISPO, no KL penalty). Each trainer lives in a process of its own; they take
turns, so that a slow minute of the machine hits both. Printed: seconds a step, ratio with its spread over the turns
(the first, a warm-up, left out), and each process's peak memory. TRL runs with micro-batches of 8 sequences, its
default, and without gradient checkpointing, which would only slow it down; ours with what it chooses by itself.

64 rollouts of 64 tokens: (a) RL, 8 problems x 8 samples, one prompt of 150 tokens; (b) FST, K=4 prompts of 300 tokens,
8 problems, 2 samples each; (c) FST, K=8, one sample each. Problems have 50 tokens.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SETTINGS = {"a": (1, 150, 8), "b": (4, 300, 2), "c": (8, 300, 1)}  # prompts, their tokens, samples of a problem each
PROBLEMS, PROBLEM_TOKENS, NEW = 8, 50, 64


def rollouts(setting: str, vocabulary: int) -> list[tuple[list[int], list[int], int]]:
    """Prompt ids, completion ids and problem of each rollout."""
    rng = np.random.default_rng(0)
    count, length, samples = SETTINGS[setting]
    low = min(100, vocabulary // 2)  # no special tokens

    def draw(tokens: int) -> list[int]:
        return rng.integers(low, vocabulary, tokens).tolist()

    prompts, problems = [draw(length) for _ in range(count)], [draw(PROBLEM_TOKENS) for _ in range(PROBLEMS)]
    order = [(prompt, number) for number in range(PROBLEMS) for prompt in prompts for _ in range(samples)]
    return [(prompt + problems[number], draw(NEW), number) for prompt, number in order]


def serve(step) -> None:
    """Make a step for every line read; answer with its seconds and the peak memory of this process."""
    import resource

    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        seconds = time.perf_counter() - started
        print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, flush=True)


def ours(model: str, setting: str, method: str) -> None:
    """Our update, from rollouts in memory to new weights in memory."""
    from fst_cli.data.records import Rollout, Sampling, Score
    from fst_cli.data.tensors import Tokens
    from fst_cli.policy.logprobs import TokenSequence
    from fst_cli.policy.model import load_policy, make_trainable
    from fst_cli.slow.distributed import World
    from fst_cli.slow.groups import Batch
    from fst_cli.slow.policy_gradient import PolicyGradient
    from fst_cli.slow.settings import TrainSettings
    from fst_cli.slow.update import prepare, update

    policy = load_policy(model)
    rows = rollouts(setting, policy.model.config.vocab_size)
    sampling = Sampling(max_tokens=NEW)
    records = [
        Rollout(
            id=str(i), group_id=str(problem), problem_id=str(problem), prompt_id="", sample=i, seed=0, text="",
            finish_reason="length", prompt_tokens=len(prompt), completion_tokens=NEW, policy=policy.hash,
            score=Score(reward=i % 2, success=False, feedback=""), template="", sampling=sampling, row=i,
        )
        for i, (prompt, _, problem) in enumerate(rows)
    ]  # fmt: skip
    tokens = [Tokens(prompt, completion, np.full(NEW, -5.0, np.float32)) for prompt, completion, _ in rows]
    batch = Batch(records, tokens, np.array([problem for *_, problem in rows]))
    settings = TrainSettings(method=method, kl_coefficient=0.0)
    make_trainable(policy, method, settings.lora_rank, 0)
    sequences = [TokenSequence(prompt, completion) for prompt, completion, _ in rows]

    def step() -> None:
        compute = prepare(policy, sequences, settings, World())
        update(policy, PolicyGradient(policy, batch, settings, compute), settings, compute, None)

    serve(step)


def trl(model: str, setting: str, method: str) -> None:
    """TRL's update, from generated and scored completions to new weights."""
    import threading

    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from fst_cli.policy.names import resolve_model

    source = resolve_model(model)
    loaded = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    rows = rollouts(setting, loaded.config.vocab_size)
    wait, done = threading.Semaphore(0), threading.Semaphore(0)

    class Trainer(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            prompt_ids = torch.tensor([prompt for prompt, *_ in rows])
            completion_ids = torch.tensor([completion for _, completion, _ in rows])
            advantages = torch.tensor([1.0 if i % 2 else -1.0 for i in range(len(rows))])
            return {
                "prompt_ids": prompt_ids, "prompt_mask": torch.ones_like(prompt_ids),
                "completion_ids": completion_ids, "completion_mask": torch.ones_like(completion_ids),
                "advantages": advantages, "num_items_in_batch": torch.tensor(completion_ids.numel()),
            }  # fmt: skip

    class Turns(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            wait.acquire()

        def on_step_end(self, *args, **kwargs):
            done.release()

    arguments = GRPOConfig(
        output_dir="/tmp/trl-bench", use_cpu=True, bf16=False, loss_type="cispo", epsilon_high=4.0, beta=0.0,
        per_device_train_batch_size=8, gradient_accumulation_steps=8, num_generations=8, max_completion_length=NEW,
        gradient_checkpointing=False, learning_rate=1e-6, max_steps=1000, save_strategy="no", report_to=[],
        logging_steps=1000, disable_tqdm=True,
    )  # fmt: skip
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = Trainer(
        model=loaded, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["x"] * 1024}), callbacks=[Turns()],
        processing_class=AutoTokenizer.from_pretrained(source), peft_config=lora if method == "lora" else None,
    )  # fmt: skip
    threading.Thread(target=trainer.train, daemon=True).start()

    def step() -> None:
        wait.release()
        done.acquire()

    serve(step)


class Child:
    """One trainer in a process of its own."""

    def __init__(self, which: str, *arguments: str) -> None:
        command = [sys.executable, __file__, "--only", which, *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        while (line := self.process.stdout.readline()) != "ready\n":
            if not line:
                raise SystemExit(f"{' '.join(command)} ended; run it to see why")

    def step(self) -> tuple[float, float]:
        """Seconds of one step, and the process's peak memory so far in GiB."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        while True:
            words = self.process.stdout.readline().split()
            if len(words) == 2 and words[0][0].isdigit():
                return float(words[0]), float(words[1])


def main() -> None:
    """Bench all settings of one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--settings", default="abc")
    parser.add_argument("--only", choices=["ours", "trl"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        {"ours": ours, "trl": trl}[given.only](given.model, given.settings, given.method)
        return
    for setting in given.settings:
        children = [
            Child(which, given.model, "--settings", setting, "--method", given.method) for which in ("ours", "trl")
        ]
        turns = [[child.step() for child in children] for _ in range(given.steps + 1)][1:]
        for child in children:
            child.process.kill()
        mine, theirs = ([turn[i][0] for turn in turns] for i in (0, 1))
        ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
        print(
            f"{Path(given.model).name} {given.method} ({setting}): ours {np.median(mine):.2f} s {turns[-1][0][1]:.2f} GiB, "
            f"TRL {np.median(theirs):.2f} s {turns[-1][1][1]:.2f} GiB, ratio {np.median(ratios):.2f} "
            f"({min(ratios):.2f}-{max(ratios):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
