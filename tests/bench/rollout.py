"""Sampling, ours against others on the same requests: python tests/bench/rollout.py [MODEL] [--turns 2]

Engines: `ours`; `generate`, transformers.generate in left-padded batches of 128; `continuous`, transformers' own
continuous batching (on a CPU it takes --engines ours,continuous and patience); `vllm`, with --vllm PYTHON, the python
of an environment that has vLLM and fst. They take turns, each alone in a process of its own. Printed: generated tokens a second (prefill included) and the ratio to transformers.generate.

(a) 8 problems x 8 samples, prompts of 200 tokens, 64 new tokens each; (b) FST: K=4 prompts of 300 tokens x 16 problems
of 50 tokens x 2 samples, 64 new tokens; (c) as (a) with 16 samples, completions of 1 to 256 tokens, 64 on average.
Nothing stops early and temperature is 1, so all engines make the same number of tokens.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

BATCH = 128
SETTINGS = {"a": (1, 150, 8, 8), "b": (4, 300, 16, 2), "c": (1, 150, 8, 16)}  # prompts, tokens, problems, samples
PROBLEM_TOKENS, NEW, LONGEST = 50, 64, 256
ENGINES = ("ours", "generate", "continuous", "vllm")


def requests(setting: str, vocabulary: int) -> tuple[list[list[int]], list[int]]:
    """Prompt ids and the number of new tokens of each request."""
    rng = np.random.default_rng(0)
    count, length, problem_count, samples = SETTINGS[setting]
    low = min(100, vocabulary // 2)  # no special tokens
    prompts = [rng.integers(low, vocabulary, length).tolist() for _ in range(count)]
    problems = [rng.integers(low, vocabulary, PROBLEM_TOKENS).tolist() for _ in range(problem_count)]
    ids = [prompt + problem for problem in problems for prompt in prompts for _ in range(samples)]
    new = [NEW] * len(ids)
    if setting == "c":
        new = np.clip(rng.geometric(1 / NEW, len(ids)), 1, LONGEST).tolist()
    return ids, new


def ours(policy, prompts, new):
    """Our embedded engine."""
    from fst_cli.data.records import Sampling
    from fst_cli.engines.base import Request
    from fst_cli.engines.transformers_engine import TransformersEngine

    class Engine(TransformersEngine):
        def _is_last(self, row, sampling):
            return len(row.ids) == new[row.index]

    engine = Engine(policy, BATCH)

    def run(count: int) -> int:
        asked = [Request(prompt, seed) for seed, prompt in enumerate(prompts[:count])]
        return sum(len(done.ids) for done in engine.generate(asked, Sampling(max_tokens=max(new))))

    return run


def generate(policy, prompts, new):
    """transformers.generate."""
    import torch
    from transformers import StoppingCriteria

    class Enough(StoppingCriteria):
        def __init__(self, rows, width):
            self.ends = torch.tensor([new[row] for row in rows]) + width

        def __call__(self, input_ids, scores, **kwargs):
            return input_ids.shape[1] >= self.ends

    policy.model.set_attn_implementation("sdpa")
    pad = policy.tokenizer.pad_token_id or 0
    # eos_token_id -1 is never drawn, so only the lengths stop.
    options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "eos_token_id": -1, "pad_token_id": pad}

    def run(count: int) -> int:
        made = 0
        for start in range(0, count, BATCH):
            rows = range(start, min(start + BATCH, count))
            width = max(len(prompts[row]) for row in rows)
            ids = torch.tensor([[pad] * (width - len(prompts[row])) + prompts[row] for row in rows])
            mask = torch.tensor([[0] * (width - len(prompts[row])) + [1] * len(prompts[row]) for row in rows])
            most = max(new[row] for row in rows)
            with torch.inference_mode():
                done = policy.model.generate(
                    ids, attention_mask=mask, max_new_tokens=most, stopping_criteria=[Enough(rows, width)], **options
                )
            assert done.shape[1] == width + most
            made += sum(new[row] for row in rows)
        return made

    return run


def continuous(policy, prompts, new):
    """transformers' continuous batching."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    policy.model.set_attn_implementation("sdpa")
    config = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, eos_token_id=-1, max_new_tokens=NEW)
    batching = ContinuousBatchingConfig(num_blocks=1024, max_batch_tokens=1024)

    def run(count: int) -> int:
        with policy.model.continuous_batching_context_manager(
            generation_config=config, continuous_batching_config=batching, block=True
        ) as manager:
            for number, (prompt, most) in enumerate(zip(prompts[:count], new, strict=False)):
                manager.add_request(prompt, request_id=str(number), max_new_tokens=most)
            made, finished = 0, 0
            while finished < count:
                done = manager.get_result(timeout=5)
                if done is not None and done.is_finished():
                    made, finished = made + len(done.generated_tokens), finished + 1
        assert made == sum(new[:count])
        return made

    return run


def vllm(policy, prompts, new):
    """vLLM in process."""
    from vllm import LLM, SamplingParams

    from fst_cli.policy.names import resolve_model

    llm = LLM(
        resolve_model(policy.name), dtype="float32", enforce_eager=True, max_model_len=1024, max_num_seqs=BATCH,
        generation_config="vllm", disable_log_stats=True,
    )  # fmt: skip
    asked = [
        SamplingParams(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, max_tokens=n, ignore_eos=True, logprobs=0)
        for n in new
    ]

    def run(count: int) -> int:
        wanted = [{"prompt_token_ids": prompt} for prompt in prompts[:count]]
        done = llm.generate(wanted, asked[:count], use_tqdm=False)
        return sum(len(one.outputs[0].token_ids) for one in done)

    return run


def measure(which: str, model: str, setting: str) -> None:
    """Print the tokens a second of one run, after a warm-up."""
    from fst_cli.policy.model import load_policy

    policy = load_policy(model)
    make = {"ours": ours, "generate": generate, "continuous": continuous, "vllm": vllm}[which]
    prompts, new = requests(setting, policy.model.config.vocab_size)
    run = make(policy, prompts, new)
    run(2)  # a warm-up
    started = time.perf_counter()
    made = run(len(prompts))
    print("rate", made / (time.perf_counter() - started), flush=True)


def rate(engine: str, given: argparse.Namespace, setting: str) -> float:
    """Tokens a second of one engine, in a process of its own that is alone meanwhile."""
    python = given.vllm if engine == "vllm" else sys.executable
    command = [python, __file__, given.model, "--only", engine, "--settings", setting]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        for line in process.stdout:
            if line.startswith("rate "):
                return float(line.split()[1])
        raise SystemExit(f"{' '.join(command)} ended; run it to see why")
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # and what it started


def main() -> None:
    """Bench all settings of one model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--settings", default="abc")
    parser.add_argument("--engines", default="ours,generate")
    parser.add_argument("--vllm", metavar="PYTHON", help="the python of an environment with vLLM; adds engine vllm")
    parser.add_argument("--only", choices=ENGINES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        measure(given.only, given.model, given.settings)
        return
    engines = given.engines.split(",") + (["vllm"] if given.vllm else [])
    for setting in given.settings:
        turns = np.array([[rate(engine, given, setting) for engine in engines] for _ in range(given.turns)])
        base = turns[:, engines.index("generate")] if "generate" in engines else turns[:, -1]
        parts = []
        for number, engine in enumerate(engines):
            ratios = turns[:, number] / base
            parts.append(
                f"{engine} {np.median(turns[:, number]):.0f} tok/s, {np.median(ratios):.2f}x "
                f"({min(ratios):.2f}-{max(ratios):.2f})"
            )
        print(f"{Path(given.model).name} ({setting}): {'; '.join(parts)}", flush=True)


if __name__ == "__main__":
    main()
