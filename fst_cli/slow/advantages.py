"""Group-relative advantages (PAPER section 2)."""

from typing import Literal

import numpy as np

AdvantageNorm = Literal["group-std", "none"]
EPSILON = 1e-6


def advantages(rewards_N: np.ndarray, group_N: np.ndarray, norm: AdvantageNorm = "group-std") -> np.ndarray:
    """A_i = (r_i - mean_g) / (std_g + ε), float64 [N], with the group's population std (PAPER Eq 3).

    With `none` the std is left out (the paper's Math run).
    """
    advantages_N = np.zeros_like(rewards_N)
    for group in np.unique(group_N):
        rows = group_N == group
        centred = rewards_N[rows] - rewards_N[rows].mean()
        advantages_N[rows] = centred / (rewards_N[rows].std() + EPSILON) if norm == "group-std" else centred
    return advantages_N
