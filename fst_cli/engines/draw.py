"""Choosing the next token: temperature, cuts, and one uniform draw a token."""

import torch

from fst_cli.data.records import Sampling

BLOCK = 256  # tokens of the vocabulary that are summed at once


def draw(logits_BV: torch.Tensor, draws_B: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [B] and their log-probabilities [B], from uniform draws in [0, 1) by inverse CDF.

    The log-probability is of softmax(logits / temperature) before any top-k, top-p or min-p cut; at temperature 0
    the choice is the argmax and the log-probability that of temperature 1.
    """
    logp_BV = torch.log_softmax(logits_BV / (sampling.temperature or 1.0), dim=-1)
    if sampling.temperature == 0:
        ids_B = logits_BV.argmax(dim=-1)
    else:
        ids_B = _inverse_cdf(_cut(logp_BV.exp(), sampling), draws_B.to(logp_BV.device))
    return ids_B, logp_BV.gather(1, ids_B[:, None]).squeeze(1)


def _inverse_cdf(weights_BV: torch.Tensor, draws_B: torch.Tensor) -> torch.Tensor:
    """The first token whose cumulative weight is above draw × total; never one of weight 0.

    In two steps, over sums of blocks and then inside one block, so that the vocabulary is read once.
    """
    if rest := -weights_BV.shape[1] % BLOCK:
        weights_BV = torch.nn.functional.pad(weights_BV, (0, rest))
    weights_BNb = weights_BV.unflatten(1, (-1, BLOCK))
    cdf_BN = weights_BNb.sum(-1).double().cumsum(-1)
    target_B1 = draws_B[:, None] * cdf_BN[:, -1:]
    block_B1 = _first_above(cdf_BN, target_B1)
    before_B1 = torch.where(block_B1 > 0, cdf_BN.gather(1, (block_B1 - 1).clamp(min=0)), 0.0)
    inside_Bb = weights_BNb.gather(1, block_B1[:, :, None].expand(-1, 1, BLOCK)).squeeze(1).double().cumsum(-1)
    return (block_B1 * BLOCK + _first_above(inside_Bb, target_B1 - before_B1)).squeeze(1)


def _first_above(cdf_BN: torch.Tensor, target_B1: torch.Tensor) -> torch.Tensor:
    """Index [B, 1] of the first entry above the target, which rounding may have put at the end or past it."""
    last_B1 = cdf_BN[:, -1:]
    return torch.searchsorted(cdf_BN, torch.minimum(target_B1, last_B1 * (1 - 1e-12)), right=True)


def _cut(probs_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Zero what top-k, top-p and min-p exclude; not renormalised."""
    if sampling.min_p > 0:
        limit_B1 = sampling.min_p * probs_BV.amax(dim=-1, keepdim=True)
        probs_BV = torch.where(probs_BV >= limit_B1, probs_BV, 0.0)
    if sampling.top_k or sampling.top_p < 1:
        sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = sorted_BV.double().cumsum(dim=-1) - sorted_BV
        keep_BV = before_BV < sampling.top_p * sorted_BV.double().sum(dim=-1, keepdim=True)
        if sampling.top_k:
            keep_BV[:, sampling.top_k :] = False
        probs_BV = torch.zeros_like(probs_BV).scatter(1, order_BV, sorted_BV * keep_BV)
    return probs_BV
