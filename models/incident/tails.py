"""Tail probabilities of overdispersed counts, exact for small denominators.

The law is the negative binomial: Poisson with a gamma rate whose relative variance is `spread`, so the variance is
``mean + spread * mean**2``. A numerator out of a denominator takes it too, with ``denominator * share`` as its mean:
for the rare events that are watched it is the beta-binomial but for a factor of 1 - share in the variance (its far
tail is the heavier one: silent); and unlike it, it can say what a failure means whose attempt was counted before.
Sums that are not whole numbers (milliseconds over a unit) take it as well: its tail is continuous in the count.

All functions broadcast over arrays; probabilities are floats in [0, 1], 0 where they underflow.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

F8 = NDArray[np.float64]
LEAST_SPREAD = 1e-7
"""Below this a mixture is its plain law to within a double's precision, and the gamma function loses digits."""


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


def lumpy(total: ArrayLike, mean: ArrayLike, lump: ArrayLike, spread: ArrayLike) -> F8:
    """Chernoff exponent of a sum of lumps beyond `total`: ``P(beyond) <= exp(-exponent)``.

    Lumps come as a Poisson process and are exponential with mean `lump` / 2 (so the variance over the mean is `lump`);
    the process's rate is gamma with relative variance `spread`. One long stall of a cohort that stalls rarely is many
    times its mean and no wonder: the far tail is that of one lump, ``exp(-2 total / lump)``, and not of a count.
    Source: the supremum of ``t x - K(t)`` for a compound Poisson law is ``(sqrt x - sqrt m)^2 / (lump / 2)``; with the
    rate free it is the least over rates of that and the gamma's own exponent.
    """
    x, m = np.maximum(np.asarray(total, dtype=np.float64), 0.0), np.maximum(np.asarray(mean, dtype=np.float64), 1e-300)
    half = np.asarray(lump, dtype=np.float64) / 2
    size = 1.0 / np.maximum(np.asarray(spread, dtype=np.float64), LEAST_SPREAD)
    a, b = m / half + size, np.sqrt(m * x) / half
    root = (b + np.sqrt(b * b + 4.0 * a * size)) / (2.0 * a)  # of the rate, in means
    return (np.sqrt(x) - root * np.sqrt(m)) ** 2 / half + size * (root * root - 1.0 - 2.0 * np.log(root))


def log_p(p: ArrayLike, exponent: ArrayLike) -> F8:
    """Natural logarithm of `p`; where it has underflown, minus the Chernoff exponent."""
    value = np.asarray(p, dtype=np.float64)
    return np.where(value > 1e-290, np.log(np.maximum(value, 1e-300)), -np.asarray(exponent, dtype=np.float64))


def normal_score(log_probability: ArrayLike) -> F8:
    """How many standard deviations of a normal have this (natural log of a) tail probability."""
    return -special.ndtri_exp(np.minimum(np.asarray(log_probability, dtype=np.float64), -1e-300))
