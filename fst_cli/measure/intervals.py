"""An interval on every number (PITFALLS 15)."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel

RESAMPLES = 2000


class Estimate(BaseModel):
    """A mean and its 95 % interval over `n` problems."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of one value per problem, with a 95 % percentile bootstrap over problems."""
    values_P = np.asarray(values, dtype=np.float64)
    rng = np.random.Generator(np.random.Philox(key=seed))
    rows_RP = (rng.random((RESAMPLES, len(values_P))) * len(values_P)).astype(np.int64)
    low, high = np.quantile(values_P[rows_RP].mean(axis=1), [0.025, 0.975])
    return Estimate(mean=float(values_P.mean()), low=float(low), high=float(high), n=len(values_P))


def wilson(successes: Sequence[bool]) -> Estimate:
    """Share of successes, one sample a problem, with Wilson's 95 % score interval.

    The bootstrap has no width where all samples agree; this has.
    """
    n, share = len(successes), float(np.mean(successes))
    z = 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(mean=share, low=float(max(0.0, centre - half)), high=float(min(1.0, centre + half)), n=n)


class OverSeeds(BaseModel):
    """A mean over runs that differ in their seed, with Student's 95 % interval; of one run there is none."""

    mean: float
    low: float | None
    high: float | None
    values: list[float]

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3f} (one seed)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}], {len(self.values)} seeds"


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Mean of one value a seed, mean ± t(0.975, n-1) s/√n: a bootstrap of three values would be far too narrow."""
    from scipy.stats import t

    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return OverSeeds(mean=mean, low=None, high=None, values=list(values))
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return OverSeeds(mean=mean, low=mean - half, high=mean + half, values=list(values))
