"""pass@k and pass^k, unbiased, from n samples of a problem of which c succeeded."""

from collections.abc import Sequence
from math import comb


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that at least one of k samples succeeds: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021)."""
    return 1.0 - comb(n - c, k) / comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """Chance that all of k samples succeed: C(c, k) / C(n, k) (Yao et al. 2024, pass^k)."""
    return comb(c, k) / comb(n, k)


def powers_up_to(n: int) -> Sequence[int]:
    """The k that are reported for n samples: 2, 4, 8, ... and n itself; k = 1 is the mean."""
    return sorted({n, *(2**power for power in range(1, n.bit_length()) if 2**power < n)} - {1})
