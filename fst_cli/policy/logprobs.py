"""Log-probabilities of completions under a model, over the positions of sampled tokens only, in chunks.

Prefixes that sequences share are computed once (`prefix_tree`). Nothing of size B×T×V is ever held: the hidden states
that predict sampled tokens are turned into logits chunk by chunk, and each chunk is computed again in the backward pass
(PITFALLS 23).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fst_cli.policy.prefix_tree import prefix_tree, tree_batches

CHUNK_LOGITS = 1 << 24  # logits held at once (64 MB in float32)


@dataclass(frozen=True)
class TokenSequence:
    """Prompt and completion token ids of one rollout; `mask` is false where a tool wrote (None: the model wrote all).

    Losses, KL and figures are over the targets, the completion tokens that the model sampled.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    mask: np.ndarray | None = None  # bool [T]

    @property
    def target_places(self) -> list[int]:
        """Places of the targets in the completion."""
        if self.mask is None:
            return list(range(len(self.completion_ids)))
        return [place for place, (_, sampled) in enumerate(zip(self.completion_ids, self.mask, strict=True)) if sampled]

    @property
    def target_ids(self) -> list[int]:
        """Token ids that the model sampled."""
        return [self.completion_ids[place] for place in self.target_places]

    @property
    def inputs(self) -> list[int]:
        """What a model reads to predict the completion: all but its last token."""
        return [*self.prompt_ids, *self.completion_ids[:-1]]


def completion_hidden(model: Any, sequences: Sequence[TokenSequence]) -> Any:
    """Hidden states [N, D] at the positions that predict each target, row after row.

    N is the number of targets of the batch.
    """
    import torch

    from fst_cli.policy import tree_attention

    if not tree_attention.enabled(causal(model)):
        return _padded_hidden(model, sequences)
    tree = prefix_tree([sequence.inputs for sequence in sequences])
    device = next(model.parameters()).device
    hidden_SD = tree_attention.tree_hidden(decoder(model), tree, device)
    wanted = [row[_predicting(sequence)] for row, sequence in zip(tree.rows, sequences, strict=True)]
    return hidden_SD[torch.cat([torch.from_numpy(row) for row in wanted]).to(device)]


def _predicting(sequence: TokenSequence) -> list[int]:
    """Places in `inputs` that predict the targets."""
    return [len(sequence.prompt_ids) - 1 + place for place in sequence.target_places]


def _padded_hidden(model: Any, sequences: Sequence[TokenSequence]) -> Any:
    """The same without sharing, for models whose attention can't be replaced.

    Padded on the right, where causal attention never looks, so no mask is needed.
    """
    import torch

    device = next(model.parameters()).device
    length = max(len(sequence.inputs) for sequence in sequences)
    ids_BT = torch.zeros(len(sequences), length, dtype=torch.long)
    wanted_BT = torch.zeros(len(sequences), length, dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        count = len(sequence.inputs)
        ids_BT[row, :count] = torch.tensor(sequence.inputs)
        wanted_BT[row, _predicting(sequence)] = True
    hidden_BTD = decoder(model)(input_ids=ids_BT.to(device), use_cache=False).last_hidden_state
    return hidden_BTD[wanted_BT.to(device)]


def completion_logprobs(
    model: Any, sequences: Sequence[TokenSequence], temperature: float, float32_logits: bool = False
) -> tuple[Any, Any]:
    """Log-probabilities [N] of the targets at `temperature`, and the entropies [N] there (no gradient).

    With `float32_logits` the output layer itself computes in float32 (ScaleRL), not only the softmax after it.
    """
    import torch

    from fst_cli.policy.output_layer import token_logprobs

    hidden_ND = completion_hidden(model, sequences)
    targets_N = torch.tensor([id_ for sequence in sequences for id_ in sequence.target_ids])
    targets_N, layer = targets_N.to(hidden_ND.device), causal(model).get_output_embeddings()
    if type(layer) is not torch.nn.Linear:  # an adapter on the output layer
        return _plain_logprobs(model, hidden_ND, targets_N, temperature)
    return token_logprobs(hidden_ND, layer, targets_N, temperature, soft_cap(model), float32_logits)


def _plain_logprobs(model: Any, hidden_ND: Any, targets_N: Any, temperature: float) -> tuple[Any, Any]:
    """The same through whatever module the output layer is, each chunk checkpointed."""
    import torch
    from torch.utils.checkpoint import checkpoint

    def chunk(hidden_nD: Any, targets_n: Any) -> tuple[Any, Any]:
        logp_nV = torch.log_softmax(logits(model, hidden_nD) / temperature, dim=-1)
        entropy_n = -(logp_nV.detach().exp() * logp_nV.detach()).sum(-1)
        return logp_nV.gather(1, targets_n[:, None]).squeeze(1), entropy_n

    pairs = [
        checkpoint(chunk, hidden_ND[rows], targets_N[rows], use_reentrant=False)
        for rows in chunks(causal(model).config.vocab_size, len(targets_N))
    ]
    return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])


def logits(model: Any, hidden_ND: Any) -> Any:
    """Float32 logits [N, V] of hidden states [N, D]."""
    import torch

    logits_NV = causal(model).get_output_embeddings()(hidden_ND).float()
    cap = soft_cap(model)
    return cap * torch.tanh(logits_NV / cap) if cap else logits_NV


def chunks(vocabulary: int, count: int) -> Iterator[slice]:
    """Slices over `count` positions whose logits fit into CHUNK_LOGITS."""
    size = max(1, CHUNK_LOGITS // vocabulary)
    return (slice(start, start + size) for start in range(0, count, size))


def micro_batches(
    model: Any, sequences: Sequence[TokenSequence], max_tokens: int, at_least: int = 1
) -> list[list[int]]:
    """Indices in micro-batches of at most `max_tokens` tokens as `model` computes them, sharing prefixes or padded.

    Their number is a multiple of `at_least` where there are sequences enough.
    """
    from fst_cli.policy import tree_attention

    if tree_attention.enabled(causal(model)):
        return tree_batches([sequence.inputs for sequence in sequences], max_tokens, at_least)
    lengths = [len(sequence.inputs) for sequence in sequences]
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    groups: list[list[int]] = []
    for index in order:
        if groups and lengths[index] * (len(groups[-1]) + 1) <= min(max_tokens, sum(lengths) // at_least):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def computed_tokens(model: Any, sequences: Sequence[TokenSequence]) -> int:
    """Tokens that `model` computes for a micro-batch: each shared prefix once, or with the padding."""
    from fst_cli.policy import tree_attention

    if tree_attention.enabled(causal(model)):
        return len(prefix_tree([sequence.inputs for sequence in sequences]))
    return len(sequences) * max(len(sequence.inputs) for sequence in sequences)


def within(model: Any, function: Callable[[], Any]) -> Any:
    """Call `function`, which uses parts of `model`, as one forward pass of a sharded model (FSDP2)."""
    return model.fst_within(function) if hasattr(model, "fst_within") else function()


def causal(model: Any) -> Any:
    """The transformers model inside a PEFT one."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def decoder(model: Any) -> Any:
    """The model without its output layer."""
    return causal(model).get_decoder()


def soft_cap(model: Any) -> float | None:
    """c where logits are c · tanh(logits / c)."""
    return getattr(causal(model).config, "final_logit_softcapping", None)
