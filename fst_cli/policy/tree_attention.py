"""Attention over a prefix tree: every token to its ancestors and to itself, exactly, without an S×S mask.

Two ways to the same numbers. On a CPU each node attends to itself and all its descendants (neighbours in the layout)
attend to it, in the flash kernel; the parts are merged by their log-sum-exps, as in cascade inference, so nothing is
copied or masked. Elsewhere, and under a sliding window, the children of one node go through
scaled_dot_product_attention side by side, over the keys of their path.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from fst_cli.policy.prefix_tree import PrefixTree

NAME = "fst_prefix_tree"  # in transformers' registry of attention functions

# layer number, query [B, H, T, D], key and value [B, h, T, D], scale, sliding window -> output [B, H, T, D]
Attend = Callable[[int, Any, Any, Any, float, int | None], Any]

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def tree_attention(query: Any, key: Any, value: Any, tree: PrefixTree, scale: float | None, window: int | None) -> Any:
    """Attention [1, H, S, D] of queries [1, H, S, D] over keys and values [1, h, S, D], h a divisor of H.

    With `window`, a token sees no more than the last `window` positions, itself included.
    """
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast, rotary positions widen them
    if window is not None and window > max(tree.positions):
        window = None
    if query.device.type == "cpu" and window is None:
        return _Cascade.apply(query, key, value, tree, scale)
    # Checkpointed: what the families gather and pad is made anew in the backward pass instead of being kept.
    return checkpoint(_by_family, query, key, value, tree, scale, window, use_reentrant=False)


class _Cascade(torch.autograd.Function):
    """Attention in parts (node × itself, descendants × node), merged by log-sum-exp.

    The backward kernel takes the merged output and log-sum-exp: a part's probabilities are exp(qk - lse) of the whole,
    so each part gives its exact share of the gradient.
    """

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, tree: PrefixTree, scale: float | None) -> Any:
        keys, values = (_repeat(part, query) for part in (key, value))
        own = [_flash(*parts, 0.0, True, scale=scale) for parts in _by_node(tree, query, keys, values)]
        lse = torch.cat([part[1] for part in own], dim=2)
        output = torch.cat([part[0] for part in own], dim=2).to(lse.dtype)  # merged in float32 at least
        for node in tree.nodes:
            if node.last == node.end:
                continue
            below, here = slice(node.end, node.last), slice(node.start, node.end)
            more, more_lse = _flash(query[:, :, below], keys[:, :, here], values[:, :, here], 0.0, False, scale=scale)
            old_lse = lse[:, :, below]
            new_lse = torch.logaddexp(old_lse, more_lse)
            kept, added = ((part - new_lse).exp()[..., None] for part in (old_lse, more_lse))
            output[:, :, below].mul_(kept).addcmul_(more.to(lse.dtype), added)
            lse[:, :, below] = new_lse
        output = output.to(query.dtype)
        ctx.save_for_backward(query, key, value, output, lse)
        ctx.tree, ctx.scale = tree, scale
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, output, lse = ctx.saved_tensors
        (gradient,), tree, scale = gradients, ctx.tree, ctx.scale
        keys, values = (_repeat(part, query) for part in (key, value))
        parts = (gradient.to(query.dtype), query, keys, values, output, lse)
        own = [_flash_backward(*part, 0.0, True, scale=scale) for part in _by_node(tree, *parts)]
        d_query, d_keys, d_values = (torch.cat([part[i] for part in own], dim=2) for i in range(3))
        for node in tree.nodes:
            if node.last == node.end:
                continue
            below, here = slice(node.end, node.last), slice(node.start, node.end)
            where = (below, below, here, here, below, below)
            found = _flash_backward(
                *(part[:, :, rows] for part, rows in zip(parts, where, strict=True)), 0.0, False, scale=scale
            )
            for total, part, rows in zip((d_query, d_keys, d_values), found, (below, here, here), strict=True):
                total[:, :, rows] += part
        return d_query, _summed(d_keys, key), _summed(d_values, value), None, None


def _by_node(tree: PrefixTree, *parts: Any) -> Any:
    lengths = [len(node) for node in tree.nodes]
    return zip(*(part.split(lengths, dim=2) for part in parts), strict=True)


def _repeat(part: Any, query: Any) -> Any:
    """Key or value heads, one for each query head."""
    times = query.shape[1] // part.shape[1]
    return part.repeat_interleave(times, dim=1) if times > 1 else part


def _summed(gradient: Any, part: Any) -> Any:
    """The inverse of `_repeat` for gradients."""
    return gradient.unflatten(1, (part.shape[1], -1)).sum(2) if gradient.shape[1] > part.shape[1] else gradient


def _by_family(query: Any, key: Any, value: Any, tree: PrefixTree, scale: float | None, window: int | None) -> Any:
    queries, keys, values = (part[0].split([len(node) for node in tree.nodes], dim=1) for part in (query, key, value))
    heads, kv_heads, width = query.shape[1], key.shape[1], query.shape[-1]
    found: dict[int, Any] = {}
    for family in tree.families():
        path = tree.nodes[family[0]].path
        longest = max(len(tree.nodes[number]) for number in family)
        query_ChqD = _padded(queries, family, longest).reshape(len(family), kv_heads, -1, width)
        key_ChLD, value_ChLD = (
            torch.cat(
                [*(nodes[number].expand(len(family), -1, -1, -1) for number in path), _padded(nodes, family, longest)],
                dim=2,
            )
            for nodes in (keys, values)
        )
        mask_nL = causal_mask(longest, key_ChLD.shape[2], window, query.device)
        # The query heads of one key head are queries more: keys and values need not be repeated.
        mask_qL = mask_nL.repeat(heads // kv_heads, 1)
        output = scaled_dot_product_attention(query_ChqD, key_ChLD, value_ChLD, attn_mask=mask_qL, scale=scale)
        for number, output_HnD in zip(family, output.reshape(len(family), heads, longest, -1), strict=True):
            found[number] = output_HnD[:, : len(tree.nodes[number])]
    return torch.cat([found[number] for number in range(len(tree.nodes))], dim=1)[None]


def _padded(nodes: Any, family: list[int], longest: int) -> Any:
    return torch.stack([pad(nodes[number], (0, 0, 0, longest - nodes[number].shape[1])) for number in family])


def causal_mask(queries: int, keys: int, window: int | None, device: Any) -> Any:
    """Which of `keys` positions each of the last `queries` of them sees, bool [queries, keys]."""
    mask_nL = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return mask_nL if window is None else mask_nL.triu(keys - queries - window + 1)


def enable(model: Any) -> bool:
    """Let a transformers model compute prefix trees; whether it can.

    Only attention that goes through transformers' registry, without soft caps or attention sinks, can be replaced. A
    call without `attend` computes what it did before.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or [])
    if (
        not getattr(model, "_supports_attention_backend", False)
        or kinds - {"full_attention", "sliding_attention"}
        or getattr(config, "attn_logit_softcapping", None)
        or any("sinks" in name for name, _ in model.named_parameters())
    ):
        return False
    _register()
    config._attn_implementation = NAME
    return True


def enabled(model: Any) -> bool:
    """Whether `enable` prepared this model."""
    return bool(model.config.get_text_config()._attn_implementation == NAME)


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def forward(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, attend: Attend | None = None, **kwargs: Any
    ) -> Any:
        if attend is None:
            return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        output = attend(module.layer_idx, query, key, value, scale, kwargs.get("sliding_window"))
        return output.transpose(1, 2), None

    AttentionInterface.register(NAME, forward)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def tree_hidden(
    decoder: Any, tree: PrefixTree, device: Any, remember: Callable[[int, Any, Any], None] | None = None
) -> Any:
    """Last hidden states [S, D] of the tree's tokens, by the decoder of a model that `enable` prepared.

    `remember` is given each layer's number, keys and values [1, h, S, D].
    """

    def attend(layer: int, query: Any, key: Any, value: Any, scale: float, window: int | None) -> Any:
        if remember is not None:
            remember(layer, key, value)
        return tree_attention(query, key, value, tree, scale, window)

    return decoder(
        input_ids=torch.tensor([tree.ids], device=device),
        position_ids=torch.tensor([tree.positions], device=device),
        attention_mask=no_mask(device),
        use_cache=False,
        attend=attend,
    ).last_hidden_state[0]


def no_mask(device: Any) -> Any:
    """A mask of four dimensions is passed on as it is: transformers must not build one of its own, S×S."""
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
