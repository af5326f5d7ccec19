"""Decoding over a prefix tree: the prompts' shared prefixes are computed once and read once.

All prompts of a round are prefilled together as one tree (φ over problems, problem over samples). A sequence in
flight then holds keys and values of its own tokens only; at every token it attends to them and to the nodes of its
prompt, where the queries of all sequences below a node go through one product, and the parts are merged (cascade
inference). Sequences join and leave without touching what others computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from fst_cli.policy import tree_attention
from fst_cli.policy.logprobs import causal, decoder, logits
from fst_cli.policy.model import Policy
from fst_cli.policy.prefix_tree import prefix_tree

ROOM = 64  # tokens a sequence's buffers grow by, at least


@dataclass
class _Family:
    """Nodes of one depth and about the same length, with the running sequences below them.

    n nodes, R sequences at most below each, L tokens at most in each.
    """

    rows_nR: torch.Tensor  # which sequence; padded with the first
    where_B: torch.Tensor  # the place n × R of each sequence
    absent_B11: torch.Tensor | None  # sequences that are below none of these nodes
    bias_N1L: torch.Tensor | None  # -inf on the padding; N = h·n
    keys: list[torch.Tensor]  # [h·n, L, D] for each layer
    values: list[torch.Tensor]


class TreeBatch:
    """Sequences that are decoded side by side; new ones join at any time.

    h key heads, H = h × rep query heads, D head width, B sequences running.
    """

    joins = True

    def __init__(self, policy: Policy, prompts: Sequence[list[int]]) -> None:
        self.model, self.device = policy.model, policy.device
        unique = list(dict.fromkeys(map(tuple, prompts)))
        numbers = {prompt: number for number, prompt in enumerate(unique)}
        self._prompt = [numbers[tuple(prompt)] for prompt in prompts]
        self.tree = prefix_tree([list(prompt) for prompt in unique])
        self._lengths = [len(prompt) for prompt in unique]
        ends = {node.end - 1: number for number, node in enumerate(self.tree.nodes)}
        leaves = [ends[int(row[-1])] for row in self.tree.rows]  # a prompt ends where a node ends
        self._paths = [[*self.tree.nodes[leaf].path, leaf] for leaf in leaves]
        layers = causal(self.model).config.get_text_config().num_hidden_layers
        self._tree_keys: list[Any] = [None] * layers  # [h, S, D]
        self._tree_values: list[Any] = [None] * layers
        hidden_SD = tree_attention.tree_hidden(decoder(self.model), self.tree, self.device, self._remember)
        self._hidden_UD = hidden_SD[[int(row[-1]) for row in self.tree.rows]]
        self._keys: list[Any] = [None] * layers  # own tokens, [most B, h, room, D]
        self._values: list[Any] = [None] * layers
        self._rows: list[int] = []  # the prompt of each running sequence
        self._own_B = torch.zeros(0, dtype=torch.long, device=self.device)  # tokens of its own
        self._families: list[_Family] | None = None  # None: to be sorted anew

    def admit(self, rows: Sequence[int]) -> torch.Tensor:
        """Let sequences with these of the prompts join; the logits [B, V] after each prompt."""
        fresh = [self._prompt[row] for row in rows]
        self._rows += fresh
        self._own_B = torch.cat([self._own_B, self._own_B.new_zeros(len(fresh))])
        self._families = None
        return logits(self.model, self._hidden_UD[fresh])

    def step(self, ids_B: torch.Tensor) -> torch.Tensor:
        """Append one token to every sequence; the logits [B, V] after it."""
        longest = int(self._own_B.max()) + 1
        self._grow(longest)
        if self._families is None:
            self._families = self._group()
        own_bias = None
        seen_BT = torch.arange(longest, device=self.device) <= self._own_B[:, None]
        if not bool(seen_BT.all()):
            own_bias = _bias(seen_BT, self._keys[0]).repeat_interleave(self._keys[0].shape[1], dim=0)
        every = torch.arange(len(self._rows), device=self.device)

        def attend(layer: int, query: Any, key: Any, value: Any, scale: float, window: Any) -> torch.Tensor:
            for buffers, new in ((self._keys, key), (self._values, value)):
                buffers[layer][every, :, self._own_B] = new[:, :, 0].to(buffers[layer].dtype)
            return self._attend(layer, query, longest, own_bias, scale)

        hidden_B1D = decoder(self.model)(
            input_ids=ids_B[:, None],
            position_ids=(self._prompt_lengths_B + self._own_B)[:, None],
            attention_mask=tree_attention.no_mask(self.device),
            use_cache=False,
            attend=attend,
        ).last_hidden_state
        self._own_B += 1
        return logits(self.model, hidden_B1D[:, 0])

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all sequences but these."""
        kept = torch.tensor(rows, dtype=torch.long, device=self.device)
        for buffer in [*self._keys, *self._values]:
            if buffer is not None:
                buffer[: len(kept)] = buffer[kept]
        self._rows = [self._rows[row] for row in rows]
        self._own_B = self._own_B[kept]
        self._families = None

    def _remember(self, layer: int, key: Any, value: Any) -> None:
        self._tree_keys[layer], self._tree_values[layer] = key[0], value[0]

    def _grow(self, longest: int) -> None:
        """Make room for `longest` tokens of its own in every sequence."""
        count, room = len(self._rows), 0 if self._keys[0] is None else self._keys[0].shape[2]
        if self._keys[0] is not None and len(self._keys[0]) >= count and room >= longest:
            return
        capacity = max(room, longest + max(ROOM, longest // 4) if room < longest else 0)
        for of_tree, buffers in ((self._tree_keys, self._keys), (self._tree_values, self._values)):
            for layer, part in enumerate(of_tree):
                # zeros, not empty: what is masked away must not be NaN
                grown = part.new_zeros(count, part.shape[0], capacity, part.shape[2])
                if (old := buffers[layer]) is not None:
                    grown[: len(old), :, :room] = old[:count]
                buffers[layer] = grown

    def _group(self) -> list[_Family]:
        """Sort the nodes above the running sequences into families, and lay out their keys and values."""
        self._prompt_lengths_B = torch.tensor([self._lengths[row] for row in self._rows], device=self.device)
        below: dict[int, list[int]] = {}
        for place, prompt in enumerate(self._rows):
            for number in self._paths[prompt]:
                below.setdefault(number, []).append(place)
        families: dict[tuple[int, ...], list[int]] = {}
        for number, places in below.items():
            node = self.tree.nodes[number]
            alike = (len(node.path), len(node).bit_length(), len(places).bit_length())
            families.setdefault(alike, []).append(number)
        return [self._family(numbers, below) for numbers in families.values()]

    def _family(self, numbers: list[int], below: dict[int, list[int]]) -> _Family:
        nodes = [self.tree.nodes[number] for number in numbers]
        most, longest = max(len(below[number]) for number in numbers), max(map(len, nodes))
        rows_nR = torch.tensor([below[n] + [0] * (most - len(below[n])) for n in numbers], device=self.device)
        where_B = torch.full((len(self._rows),), -1, device=self.device)
        for place, number in enumerate(numbers):
            where_B[below[number]] = torch.arange(len(below[number]), device=self.device) + place * most
        ahead_L = torch.arange(longest, device=self.device)
        starts_n1, lengths_n1 = (
            torch.tensor(values, device=self.device)[:, None]
            for values in ([node.start for node in nodes], [len(node) for node in nodes])
        )
        inside_nL = ahead_L < lengths_n1
        tokens_nL = torch.where(inside_nL, starts_n1 + ahead_L, starts_n1)
        keys, values = (
            [part[:, tokens_nL].flatten(0, 1) for part in parts] for parts in (self._tree_keys, self._tree_values)
        )
        return _Family(
            rows_nR,
            where_B.clamp(min=0),
            (where_B < 0)[:, None, None] if bool((where_B < 0).any()) else None,
            None if bool(inside_nL.all()) else _bias(inside_nL, keys[0]).repeat(len(self._tree_keys[0]), 1, 1),
            keys,
            values,
        )

    def _attend(self, layer: int, query: torch.Tensor, longest: int, own_bias: Any, scale: float) -> torch.Tensor:
        """Attention [B, H, 1, D] of one token a sequence, to its own (up to `longest`) and to those of its prompt."""
        count, heads, _, width = query.shape
        own_keys, own_values = (
            buffers[layer][:count, :, :longest].flatten(0, 1) for buffers in (self._keys, self._values)
        )
        query_BhrD = query.to(own_keys.dtype).view(count, len(own_keys) // count, -1, width)
        part = _attention(query_BhrD.flatten(0, 1), own_keys, own_values, scale, own_bias)
        parts = [_Part(*(one.view(count, heads, -1) for one in part))]
        parts += [self._below(family, layer, query_BhrD, scale) for family in self._families or []]
        return _merged(parts).to(own_values.dtype)[:, :, None]

    @staticmethod
    def _below(family: _Family, layer: int, query_BhrD: torch.Tensor, scale: float) -> "_Part":
        """What all sequences [B, H] see in the nodes of a family."""
        (nodes, most), (_, kv_heads, rep, width) = family.rows_nR.shape, query_BhrD.shape
        query_hnqD = query_BhrD[family.rows_nR].permute(2, 0, 1, 3, 4).reshape(kv_heads * nodes, most * rep, width)
        part = _attention(query_hnqD, family.keys[layer], family.values[layer], scale, family.bias_N1L)
        output, total, peak = (
            one.view(kv_heads, nodes * most, rep, -1)[:, family.where_B].transpose(0, 1).flatten(1, 2) for one in part
        )
        if family.absent_B11 is not None:
            peak = peak.masked_fill(family.absent_B11, -torch.inf)
        return _Part(output, total, peak)


class _Part(NamedTuple):
    """Attention over some of the keys, not yet divided: Σ exp(score - peak) value, Σ exp(score - peak), peak."""

    output: torch.Tensor  # [..., D]
    total: torch.Tensor  # [..., 1]
    peak: torch.Tensor  # [..., 1]


def _attention(query_NqD: Any, key_NLD: Any, value_NLD: Any, scale: float, bias_N1L: Any) -> _Part:
    """Softmax in float32, products in the model's dtype."""
    if bias_N1L is None:
        scores_NqL = torch.bmm(query_NqD, key_NLD.transpose(1, 2)).float().mul_(scale)
    else:
        scores_NqL = torch.baddbmm(bias_N1L, query_NqD, key_NLD.transpose(1, 2), alpha=scale).float()
    peak_Nq1 = scores_NqL.amax(-1, keepdim=True)
    weights_NqL = scores_NqL.sub_(peak_Nq1).exp_()
    total_Nq1 = weights_NqL.sum(-1, keepdim=True)
    return _Part(torch.bmm(weights_NqL.to(value_NLD.dtype), value_NLD).float(), total_Nq1, peak_Nq1)


def _merged(parts: Sequence[_Part]) -> torch.Tensor:
    """Attention over the keys of all parts."""
    output, total, peak = (torch.stack(column) for column in zip(*parts, strict=True))
    factor = (peak - peak.amax(0)).exp_()
    return (output * factor).sum(0) / (total * factor).sum(0)


def _bias(seen: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """0 where seen [N, L], -inf elsewhere, as [N, 1, L]."""
    return torch.zeros_like(seen, dtype=like.dtype).masked_fill_(~seen, -torch.inf)[:, None]
