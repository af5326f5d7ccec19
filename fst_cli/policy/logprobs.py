"""Log-probabilities of completions under a model, over completion positions only, in chunks.

Nothing of size B×T×V is ever held: the hidden states at completion positions are turned into logits chunk by chunk,
and each chunk is computed again in the backward pass (PITFALLS 23).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CHUNK_LOGITS = 1 << 24  # logits held at once (64 MB in float32)


@dataclass(frozen=True)
class TokenSequence:
    """Prompt and completion token ids of one rollout."""

    prompt_ids: list[int]
    completion_ids: list[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


def completion_hidden(model: Any, sequences: Sequence[TokenSequence]) -> Any:
    """Hidden states [N, D] at the positions that predict each completion token, row after row.

    N is the number of completion tokens of the batch. Sequences are padded on the right, where causal attention
    never looks, so no mask is needed.
    """
    import torch

    device = next(model.parameters()).device
    length = max(len(sequence) for sequence in sequences)
    ids_BT = torch.zeros(len(sequences), length, dtype=torch.long)
    wanted_BT = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids_BT[row, : len(sequence)] = torch.tensor([*sequence.prompt_ids, *sequence.completion_ids])
        wanted_BT[row, len(sequence.prompt_ids) - 1 : len(sequence) - 1] = True
    hidden_BTD = _decoder(model)(input_ids=ids_BT.to(device), use_cache=False).last_hidden_state
    return hidden_BTD[wanted_BT.to(device)]


def logits(model: Any, hidden_ND: Any) -> Any:
    """Float32 logits [N, V] of hidden states [N, D]."""
    import torch

    causal = _causal(model)
    logits_NV = causal.get_output_embeddings()(hidden_ND).float()
    cap = getattr(causal.config, "final_logit_softcapping", None)
    return cap * torch.tanh(logits_NV / cap) if cap else logits_NV


def completion_logprobs(model: Any, sequences: Sequence[TokenSequence], temperature: float) -> tuple[Any, Any]:
    """Log-probabilities [N] of the completion tokens at `temperature`, and the entropies [N] there (no gradient)."""
    import torch
    from torch.utils.checkpoint import checkpoint

    hidden_ND = completion_hidden(model, sequences)
    targets_N = torch.tensor([id_ for sequence in sequences for id_ in sequence.completion_ids])
    targets_N = targets_N.to(hidden_ND.device)

    def chunk(hidden_nD: Any, targets_n: Any) -> tuple[Any, Any]:
        logp_nV = torch.log_softmax(logits(model, hidden_nD) / temperature, dim=-1)
        entropy_n = -(logp_nV.detach().exp() * logp_nV.detach()).sum(-1)
        return logp_nV.gather(1, targets_n[:, None]).squeeze(1), entropy_n

    pairs = [
        checkpoint(chunk, hidden_ND[rows], targets_N[rows], use_reentrant=False)
        for rows in chunks(model, len(targets_N))
    ]
    return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])


def chunks(model: Any, count: int) -> Iterator[slice]:
    """Slices over `count` positions whose logits fit into CHUNK_LOGITS."""
    size = max(1, CHUNK_LOGITS // _causal(model).config.vocab_size)
    return (slice(start, start + size) for start in range(0, count, size))


def micro_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices grouped so that each group, padded to its longest, has at most `max_tokens` tokens (or one row)."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if groups and lengths[index] * (len(groups[-1]) + 1) <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _causal(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _decoder(model: Any) -> Any:
    return _causal(model).get_decoder()
