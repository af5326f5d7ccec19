"""How far two computations of the same log-probabilities are apart (PITFALLS 1)."""

import numpy as np

QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)


def ratio_quantiles(difference_N: np.ndarray) -> list[float]:
    """Quantiles of the ratio π_trainer / π_sampler, from log π_trainer - log π_sampler [N]."""
    return [float(q) for q in np.quantile(np.exp(difference_N), QUANTILES)]


def mismatch_kl(difference_N: np.ndarray) -> float:
    """KL(π_sampler ‖ π_trainer), nats per token, by the k3 estimate: mean of ratio - 1 - log ratio, never negative."""
    return float((np.expm1(difference_N) - difference_N).mean())
