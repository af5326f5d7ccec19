"""The ceiling of a curve: a sigmoid in compute, R(C) = R₀ + (A − R₀) / (1 + (C_mid/C)^B) (PAPER section 6, ScaleRL).

R₀ is the first value, not fitted. Least squares from a grid of starts; intervals by a bootstrap of the residuals. A
curve that cannot tell its asymptote gets none: extrapolating one that has not bent yet is how such fits mislead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

RESAMPLES = 200
FEWEST_POINTS = 6  # for three parameters
SIGNAL = 4.0  # residual standard deviations that the gain must exceed


@dataclass(frozen=True)
class Fit:
    """Parameters, and by name the 95 % intervals of the three that were fitted."""

    start: float
    asymptote: float
    midpoint: float
    exponent: float
    intervals: dict[str, tuple[float, float]]

    def predict(self, x_N: np.ndarray) -> np.ndarray:
        """R at compute x, [N]."""
        return _sigmoid(np.asarray(x_N, dtype=np.float64), self.start, self.asymptote, self.midpoint, self.exponent)


@dataclass(frozen=True)
class Refusal:
    """Why the points support no fit."""

    reason: str


def fit_sigmoid(x: Sequence[float], y: Sequence[float], seed: int = 0) -> Fit | Refusal:
    """Fit success `y` in [0, 1] over compute `x`; the point with the smallest x, usually 0, is R₀."""
    order = np.argsort(x, kind="stable")
    x_N, y_N = np.asarray(x, dtype=np.float64)[order], np.asarray(y, dtype=np.float64)[order]
    start, x_N, y_N = float(y_N[0]), x_N[1:], y_N[1:]
    if len(np.unique(x_N)) < FEWEST_POINTS:
        return Refusal(f"{len(np.unique(x_N))} points after the first are too few: a fit takes {FEWEST_POINTS}")
    best_3 = _search(x_N, y_N, start)
    residuals_N = (y_N - _sigmoid(x_N, start, *best_3)) * np.sqrt(len(x_N) / (len(x_N) - 3))
    noise = float(np.std(residuals_N))
    gain = best_3[0] - start
    if y_N.max() - start < SIGNAL * noise or gain <= 1e-6:
        return Refusal(f"the curve does not rise above its noise: {y_N.max() - start:+.3f}, residuals of {noise:.3f}")
    if best_3[1] > x_N[-1]:
        return Refusal("the curve has not bent yet: half of the fitted gain lies beyond the last point")
    low_3, high_3 = _bootstrap(x_N, y_N, residuals_N, start, best_3, seed)
    if high_3[0] - low_3[0] > gain / 3:
        return Refusal(f"the asymptote is anywhere in [{low_3[0]:.3f}, {high_3[0]:.3f}]: over a third of the gain")
    names = ("asymptote", "midpoint", "exponent")
    intervals = {name: (float(low), float(high)) for name, low, high in zip(names, low_3, high_3, strict=True)}
    return Fit(start, float(best_3[0]), float(best_3[1]), float(best_3[2]), intervals)


def _sigmoid(x_N: np.ndarray, start: float, asymptote: float, midpoint: float, exponent: float) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):
        return start + (asymptote - start) / (1 + (midpoint / x_N) ** exponent)


def _search(x_N: np.ndarray, y_N: np.ndarray, start: float) -> np.ndarray:
    """The best of the fits from a grid of starts."""
    tops = (y_N.max(), min(1.0, y_N.max() + 0.1), 1.0)
    middles = np.quantile(x_N, [0.1, 0.3, 0.5, 0.8])
    starts = [np.array(guess) for guess in product(tops, middles, (0.7, 1.5, 4.0))]
    found = [_least_squares(x_N, y_N, start, guess) for guess in starts]
    return min(found, key=lambda one: one[1])[0]


def _least_squares(x_N: np.ndarray, y_N: np.ndarray, start: float, guess_3: np.ndarray) -> tuple[np.ndarray, float]:
    """Parameters and squared error; asymptote in [R₀, 1], midpoint up to ten times the range, exponent in [0.2, 10]."""
    from scipy.optimize import least_squares

    low_3, high_3 = np.array([start, x_N[0] / 10, 0.2]), np.array([1.0 + 1e-9, 10 * x_N[-1], 10.0])
    inside_3 = np.clip(guess_3, low_3 + 1e-9, high_3 - 1e-12)
    done = least_squares(
        lambda p_3: _sigmoid(x_N, start, *p_3) - y_N, inside_3, bounds=(low_3, high_3), x_scale=high_3 - low_3
    )
    return done.x, float(done.cost)


def _bootstrap(
    x_N: np.ndarray, y_N: np.ndarray, residuals_N: np.ndarray, start: float, best_3: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds [3], [3] of the parameters refitted to the curve plus residuals drawn with replacement."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    fitted_N = _sigmoid(x_N, start, *best_3)
    fits_R3 = np.array(
        [_least_squares(x_N, fitted_N + rng.choice(residuals_N, len(x_N)), start, best_3)[0] for _ in range(RESAMPLES)]
    )
    low_3, high_3 = np.quantile(fits_R3, [0.025, 0.975], axis=0)
    return low_3, high_3
