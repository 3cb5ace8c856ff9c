"""Tail probabilities of overdispersed counts, exact for small denominators.

Two laws, both mixtures whose relative variance `spread` (variance of the rate over its squared mean) is estimated:

- a volume is negative binomial: Poisson with a gamma rate, variance ``mean + spread * mean**2``;
- a numerator out of `trials` is beta-binomial: binomial with a beta probability of relative variance `spread`.

Sums that are not whole numbers (milliseconds over a unit) take the negative binomial, whose tail is continuous in the
count. All functions broadcast over arrays; probabilities are floats in [0, 1], 0 where they underflow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

F8 = NDArray[np.float64]
LEAST_SPREAD = 1e-7
"""Below this a mixture is its plain law to within a double's precision, and the gamma function loses digits."""
_TERMS = 20_000
_SETTLED = 1e-12


def at_least(count: ArrayLike, mean: ArrayLike, spread: ArrayLike) -> F8:
    """P(X >= count) for the negative binomial; 1 where `count` <= 0."""
    k, m, size = _negative_binomial(count, mean, spread)
    return np.where(k > 0, special.betainc(np.maximum(k, 1e-300), size, m / (m + size)), 1.0)


def at_most(count: ArrayLike, mean: ArrayLike, spread: ArrayLike) -> F8:
    """P(X <= count) for the negative binomial; 0 below 0."""
    k, m, size = _negative_binomial(count, mean, spread)
    return np.where(k >= 0, special.betainc(size, np.maximum(k, 0.0) + 1.0, size / (m + size)), 0.0)


def _negative_binomial(count: ArrayLike, mean: ArrayLike, spread: ArrayLike) -> tuple[F8, F8, F8]:
    size = 1.0 / np.maximum(np.asarray(spread, dtype=np.float64), LEAST_SPREAD)
    return np.asarray(count, dtype=np.float64), np.asarray(mean, dtype=np.float64), size


def share_at_least(count: ArrayLike, trials: ArrayLike, share: ArrayLike, spread: ArrayLike) -> F8:
    """P(X >= count) for the beta-binomial with mean ``trials * share``.

    The mass at `count` from gamma functions, then upward by the ratio of neighbours until what is left cannot matter;
    where `count` is below the mean, one minus the same sum downward.
    """
    k, n, p, s = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (count, trials, share, spread)))
    out = np.ones(k.shape)
    p = np.clip(p, 1e-12, 1 - 1e-12)
    total = np.maximum((1 - p) / (p * np.maximum(s, LEAST_SPREAD)) - 1.0, 1e-3)
    a, b = p * total, (1 - p) * total
    whole = np.ceil(k - 1e-9)
    out[whole > n] = 0.0
    up = (whole > n * p) & (whole <= n) & (whole > 0)
    down = (whole <= n * p) & (whole > 0) & (whole <= n)
    out[up] = _sum_mass(whole[up], n[up], a[up], b[up], +1)
    out[down] = np.maximum(1.0 - _sum_mass(whole[down] - 1, n[down], a[down], b[down], -1), 0.0)
    return np.minimum(out, 1.0)


def _sum_mass(k: F8, n: F8, a: F8, b: F8, way: int) -> F8:
    """Mass of the beta-binomial at `k` and beyond, upward or downward."""
    log_mass = (
        special.gammaln(n + 1)
        - special.gammaln(k + 1)
        - special.gammaln(n - k + 1)
        + special.betaln(k + a, n - k + b)
        - special.betaln(a, b)
    )
    mass = np.exp(log_mass)
    total, j = mass.copy(), k.copy()
    for _ in range(_TERMS):
        if way > 0:
            mass = mass * (n - j) * (a + j) / ((j + 1) * (b + n - j - 1))
        else:
            mass = mass * j * (b + n - j) / ((n - j + 1) * (a + j - 1))
        mass = np.where((j + way > n) | (j + way < 0), 0.0, mass)
        total, j = total + mass, j + way
        if not np.any(mass > _SETTLED * total):
            break
    return total


def randomised(strict: ArrayLike, weak: ArrayLike, rng: np.random.Generator) -> F8:
    """P-values that are exactly uniform when the law is right: P(X > x) + U P(X = x).

    `strict` is P(X > x), `weak` is P(X >= x). With U = 1/2 this is the mid-p.
    """
    low, high = np.asarray(strict, dtype=np.float64), np.asarray(weak, dtype=np.float64)
    return low + rng.random(low.shape) * (high - low)


def deviance(count: ArrayLike, mean: ArrayLike, spread: ArrayLike) -> F8:
    """Chernoff exponent of the negative binomial: ``P(beyond count) <= exp(-deviance)``; never underflows."""
    k, m, size = _negative_binomial(count, mean, spread)
    k, m = np.maximum(k, 0.0), np.maximum(m, 1e-300)
    return np.maximum(special.xlogy(k, k / m) - (k + size) * (np.log1p(k / size) - np.log1p(m / size)), 0.0)


def log_p(p: ArrayLike, exponent: ArrayLike) -> F8:
    """Natural logarithm of `p`; where it has underflown, minus the Chernoff exponent."""
    value = np.asarray(p, dtype=np.float64)
    return np.where(value > 1e-290, np.log(np.maximum(value, 1e-300)), -np.asarray(exponent, dtype=np.float64))


def normal_score(log_probability: ArrayLike) -> F8:
    """How many standard deviations of a normal have this (natural log of a) tail probability."""
    return -special.ndtri_exp(np.minimum(np.asarray(log_probability, dtype=np.float64), -1e-300))
