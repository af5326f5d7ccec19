"""The output layer and the softmax over the vocabulary, fused over chunks of positions.

Only log-sum-exps are kept from the forward pass; the backward pass computes each chunk's logits again and turns them
into their gradient in place. So memory is one chunk of logits, whatever the batch.
"""

from typing import Any

import torch

from fst_cli.policy.logprobs import chunks


def token_logprobs(
    hidden_ND: Any, layer: Any, targets_N: Any, temperature: float, cap: float | None, float32: bool
) -> tuple[Any, Any]:
    """log softmax(logits / temperature) at the targets [N], and the entropies [N], float32; `layer` is a Linear.

    `cap` is a soft cap: logits = cap · tanh(logits / cap). With `float32` the layer computes in float32.
    """
    dtype = layer.weight.dtype
    if torch.is_autocast_enabled(hidden_ND.device.type):
        dtype = torch.get_autocast_dtype(hidden_ND.device.type)
    if float32:
        dtype = torch.float32
    bias = getattr(layer, "bias", None)
    return _TokenLogprobs.apply(hidden_ND, layer.weight, bias, targets_N, temperature, cap, dtype)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Any,
        weight_VD: Any,
        bias_V: Any,
        targets_N: Any,
        temperature: float,
        cap: float | None,
        dtype: Any,
    ) -> Any:
        ctx.temperature, ctx.cap, ctx.dtype = temperature, cap, dtype
        found = []
        weight_cast_VD = weight_VD.to(dtype)
        for rows in chunks(len(weight_VD), len(hidden_ND)):
            logits_nV = _logits(hidden_ND[rows], weight_cast_VD, bias_V, ctx)
            lse_n = logits_nV.logsumexp(-1)
            target_n = logits_nV.gather(1, targets_N[rows, None]).squeeze(1)
            mean_n = (logits_nV - lse_n[:, None]).exp_().mul_(logits_nV).sum(-1)  # of the logits under the softmax
            found.append(torch.stack([target_n - lse_n, lse_n - mean_n, lse_n]))
        logp_N, entropy_N, lse_N = torch.cat(found, dim=1).unbind()
        ctx.save_for_backward(hidden_ND, weight_VD, bias_V, targets_N, lse_N)
        ctx.mark_non_differentiable(entropy_N)
        return logp_N, entropy_N

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        hidden_ND, weight_VD, bias_V, targets_N, lse_N = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        d_logp_N = gradients[0]
        weight_cast_VD = weight_VD.to(ctx.dtype)
        d_hidden_ND = torch.empty_like(hidden_ND) if wants_hidden else None
        d_weight_VD = torch.zeros_like(weight_cast_VD) if wants_weight else None
        d_bias_V = torch.zeros_like(bias_V, dtype=torch.float32) if wants_bias else None
        for rows in chunks(len(weight_VD), len(hidden_ND)):
            logits_nV = _logits(hidden_ND[rows], weight_cast_VD, bias_V, ctx)
            slope_nV = 1 - (logits_nV * (ctx.temperature / ctx.cap)) ** 2 if ctx.cap else None
            # d logp / d logits = onehot(target) - softmax
            d_logits_nV = logits_nV.sub_(lse_N[rows, None]).exp_().neg_()
            d_logits_nV.scatter_add_(1, targets_N[rows, None], torch.ones_like(lse_N[rows, None]))
            d_logits_nV.mul_(d_logp_N[rows, None] / ctx.temperature)
            if slope_nV is not None:
                d_logits_nV.mul_(slope_nV)
            cast_nV = d_logits_nV.to(ctx.dtype)
            if d_hidden_ND is not None:
                d_hidden_ND[rows] = (cast_nV @ weight_cast_VD).to(d_hidden_ND.dtype)
            if d_weight_VD is not None:
                d_weight_VD.addmm_(cast_nV.T, hidden_ND[rows].to(ctx.dtype))
            if d_bias_V is not None:
                d_bias_V += d_logits_nV.sum(0)
        return (
            d_hidden_ND,
            None if d_weight_VD is None else d_weight_VD.to(weight_VD.dtype),
            None if d_bias_V is None else d_bias_V.to(bias_V.dtype),
            *(None,) * 4,
        )


def _logits(hidden_nD: Any, weight_VD: Any, bias_V: Any, ctx: Any) -> Any:
    """Float32 logits [n, V] over the temperature."""
    with torch.autocast(hidden_nD.device.type, enabled=False):
        logits_nV = (hidden_nD.to(weight_VD.dtype) @ weight_VD.T).float()
        if bias_V is not None:
            logits_nV += bias_V
        if ctx.cap:
            logits_nV = ctx.cap * torch.tanh(logits_nV / ctx.cap)
        return logits_nV if ctx.temperature == 1 else logits_nV.div_(ctx.temperature)
