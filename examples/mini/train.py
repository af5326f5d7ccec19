"""Train the mini, the model that ships in `fst_cli/policy/mini`, from nothing.

    python examples/mini/train.py --out /tmp/mini            # about 80 minutes on two CPU cores
    python examples/mini/train.py --out /tmp/mini            # again: resumes from its newest checkpoint

Every batch is a pure function of (seed, number), so a run that was killed and resumed makes the same batches. Muon
moves the matrices and AdamW the embedding and the norms; the rate is constant and cools to zero at the end (WSD).
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch
from chats import make_chat
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from fst_cli.data.seeds import generator

SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 1024
CONTEXT = 1024
POOL = 512  # chats sorted by length together
BATCH_TOKENS = 6144  # padded
LATE = 3000  # the step from which most chats are star graphs
SAVE_EVERY = 5  # pools


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE (any text encodes) whose digits are always single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[0-9]|[^\sA-Za-z0-9]"), "isolated"),  # a merge never spans punctuation
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (m["content"] for index in range(4000) for m in make_chat(seed, -1 - index).messages)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=TEMPLATE,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int, width: int, layers: int) -> LlamaForCausalLM:
    """A Llama decoder with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 5 // 2,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        initializer_range=0.05,
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerFast, chat) -> tuple[list[int], list[bool]]:
    """Token ids of a chat, and which of them carry loss."""
    ids, loss, replies = [], [], iter(chat.train)
    for message in chat.messages:
        content = tokenizer.encode(message["content"], add_special_tokens=False)
        trained = message["role"] == "assistant" and next(replies)
        ids += [tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>"), *content, tokenizer.eos_token_id]
        loss += [False] + [trained] * (len(content) + 1)
    return ids, loss


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, pool: int, drills: float, late: bool = False):
    """The batches of pool number `pool`: lists of (ids, loss), similar lengths together."""
    chats = [encode(tokenizer, make_chat(seed, pool * POOL + i, drills, late)) for i in range(POOL)]
    chats = sorted((chat for chat in chats if len(chat[0]) <= CONTEXT), key=lambda chat: len(chat[0]))
    found, batch = [], []
    for chat in chats:
        if batch and len(chat[0]) * (len(batch) + 1) > BATCH_TOKENS:
            found.append(batch)
            batch = []
        batch.append(chat)
    found.append(batch)
    generator("mini-order", seed, pool).shuffle(found)
    return found


def batch_loss(model: LlamaForCausalLM, batch, pad: int) -> torch.Tensor:
    """Mean cross-entropy over the tokens that carry loss. Padding is on the right, so causality hides it."""
    length = max(len(ids) for ids, _ in batch)
    ids_BT = torch.tensor([ids + [pad] * (length - len(ids)) for ids, _ in batch])
    loss_BT = torch.tensor([loss + [False] * (length - len(loss)) for _, loss in batch])
    hidden_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    wanted_BT = loss_BT[:, 1:]
    logits_NV = model.lm_head(hidden_BTD[:, :-1][wanted_BT])
    return torch.nn.functional.cross_entropy(logits_NV, ids_BT[:, 1:][wanted_BT])


def make_optimizers(model: LlamaForCausalLM, lr: float, muon_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if not any(p is m for m in matrices)]
    return [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def share_of_drills(step: int) -> float:
    """The curriculum: procedures first, then the many ways of being told. More than half stays drills."""
    if step < 2000:
        return min(1.0, max(0.75, 1 - 0.9 * (step - 500) / 1000))
    if step >= LATE:
        return 0.6
    return 0.75 - 0.65 * (step - 2000) / 800


def schedule(step: int, steps: int, decay: float) -> float:
    """Factor on the learning rates: 100 steps of warm-up, constant, 1 - sqrt over the last `decay` share."""
    cooled = max(0.0, (step - steps * (1 - decay)) / (steps * decay))
    return min((step + 1) / 100, 1 - math.sqrt(cooled))


def save(folder: Path, state: dict, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """The model as transformers loads it, and the state to resume from; each replaced at once."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    torch.save(state, folder / "resume.tmp")
    (folder / "resume.tmp").replace(folder / "resume.pt")


def main() -> None:
    """Train, from the newest checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4040)
    parser.add_argument("--decay", type=float, default=0.344)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--muon-lr", type=float, default=2.5e-3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(args.seed)
    model = make_model(tokenizer, args.seed, args.width, args.layers)
    optimizers = make_optimizers(model, args.lr, args.muon_lr)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    step, pool, tokens = 0, 0, 0
    resume = args.out / "resume.pt"
    if resume.exists():
        state = torch.load(resume)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, pool, tokens = state["step"], state["pool"], state["tokens"]
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, from step {step}", file=sys.stderr)
    started, seen, losses = time.time(), 0, []
    while step < args.steps:
        drills = share_of_drills(step)
        for batch in batches(tokenizer, args.seed, pool, drills, late=step >= LATE):
            factor = schedule(step, args.steps, args.decay)
            for optimizer, rate in zip(optimizers, rates, strict=True):
                optimizer.param_groups[0]["lr"] = rate * factor
            loss = batch_loss(model, batch, tokenizer.pad_token_id)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            losses.append(loss.item())
            seen += sum(len(ids) for ids, _ in batch)
            if step % 20 == 0:
                rate = seen / (time.time() - started)
                line = {"step": step, "loss": sum(losses) / len(losses), "tokens": tokens + seen, "tok_s": round(rate)}
                print(json.dumps(line), flush=True)
                losses = []
        pool += 1  # checkpoints fall between pools, so that a resumed run sees the same batches
        if pool % SAVE_EVERY == 0 or step >= args.steps:
            state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
            save(args.out, {**state, "step": step, "pool": pool, "tokens": tokens + seen}, model, tokenizer)


if __name__ == "__main__":
    main()
