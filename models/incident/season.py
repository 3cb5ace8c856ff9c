"""What a cohort's counters should be at this hour of the week, from weeks of history, shrunk to its parent.

Every cohort is its parent times a factor, and the factor has three parts, each shrunk towards 1 by how much the data
can tell: the cohort's own level, its half hours of the day, its half hours of the week (empirical Bayes, gamma-Poisson:
``(seen + kappa) / (expected + kappa)``, where ``1 / kappa`` is the variance of true factors, by moments). So a cohort
with three failures a day takes its parent's evening, and one with a million keeps its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.incident.cohorts import Cohorts

F8 = NDArray[np.float64]
BIN_S = 1_800
BINS = 7 * 86_400 // BIN_S
DAY_BINS = 86_400 // BIN_S
SCALINGS = 40
LEAST_KAPPA, MOST_KAPPA = 20.0, 1e7


@dataclass(frozen=True, slots=True)
class Season:
    """Expected rate by half hour of the week; `rate` is (BINS, cohorts): counts a second, or numerator by denominator.

    Seconds count from the Unix epoch; the value holds in the middle of a half hour and is interpolated between.
    """

    rate: F8

    def at(self, at_s: float) -> F8:
        """The rates at a moment; (cohorts,)."""
        place = (at_s / BIN_S - 0.5) % BINS
        low = int(place)
        part = place - low
        return (1.0 - part) * self.rate[low % BINS] + part * self.rate[(low + 1) % BINS]


def by_cell(season: Season, cohorts: Cohorts, weight: F8) -> Season:
    """Rates of cells of which the weighted mean over each cohort is the cohort's; (BINS, cells).

    The product of a factor for each cohort around a cell, by generalised iterative scaling (Darroch and Ratcliff 1972,
    Annals of Mathematical Statistics 43(5)); seasons are shrunk, so the means fit nearly. A cell without weight has the
    factors of its cohorts like any other.

    Args:
        season: of the cohorts, (BINS, cohorts).
        cohorts: who holds which cells.
        weight: of each cell, its usual traffic; (cells, BINS).
    """
    wanted, around = season.rate.T * cohorts.sums(weight), cohorts.member.T.tocsr()
    holders = np.maximum(around.sum(axis=1), 1.0)
    logs = np.zeros(weight.shape)
    for _ in range(SCALINGS):
        got = cohorts.sums(weight * np.exp(logs))
        known = (wanted > 0) & (got > 0)
        step = np.log(np.where(known, wanted, 1.0) / np.where(known, got, 1.0))
        logs += np.asarray(around @ step) / np.asarray(holders)
    return Season(np.exp(logs).T)


def bin_of(at_s: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half hour of the week of moments (Unix seconds)."""
    return at_s // BIN_S % BINS


def fit(seen: F8, exposure: F8, cohorts: Cohorts, *, volume: bool) -> Season:
    """The season of one signal.

    Args:
        seen: sums of the numerator (of a volume: its count) by cohort and half hour of the week; (cohorts, BINS).
        exposure: sums of the denominator, same shape; of a volume: seconds observed.
        cohorts: who is whose parent.
        volume: whether a cohort's own level is taken as it is (a volume) or shrunk to its parent's (a ratio).
    """
    rate = np.empty((len(cohorts), BINS))
    roots = np.flatnonzero(cohorts.parent < 0)
    overall = _overall(seen[roots], exposure[roots])  # the parent of those without one: a thin half hour is no law
    rate[roots] = overall * _factor(seen[roots], np.maximum(exposure[roots] * overall, 1e-12), volume)
    for level in _levels(cohorts.parent):
        above = rate[cohorts.parent[level]]
        expected = np.maximum(exposure[level] * above, 1e-12)
        rate[level] = above * _factor(seen[level], expected, volume)
    return Season(np.ascontiguousarray(np.maximum(rate, 1e-12).T))


def _overall(seen: F8, exposure: F8) -> F8:
    return seen.sum(1, keepdims=True) / np.maximum(exposure.sum(1, keepdims=True), 1e-300)


def _levels(parent: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cohorts by distance from their root, nearest first, roots left out."""
    far = np.zeros(len(parent), dtype=np.int64)
    for _ in range(len(parent)):
        further = np.where(parent >= 0, far[parent] + 1, 0)
        if np.array_equal(further, far):
            break
        far = further
    return [np.flatnonzero(far == d) for d in range(1, int(far.max(initial=0)) + 1)]


def _factor(seen: F8, expected: F8, volume: bool) -> F8:
    """Factors over the parent; (cohorts, BINS)."""
    own = _shrunk(seen.sum(1, keepdims=True), expected.sum(1, keepdims=True), 0.0 if volume else None)
    expected = expected * own
    hours = np.tile(_shrunk(_by_day(seen), _by_day(expected)), 7)
    expected = expected * hours
    return np.asarray(own * hours * _shrunk(_smooth(seen), _smooth(expected)))


def _by_day(x: F8) -> F8:
    """The seven days of the week added up; (cohorts, DAY_BINS)."""
    return _smooth(x.reshape(len(x), 7, DAY_BINS).sum(1))


def _shrunk(seen: F8, expected: F8, kappa: float | None = None) -> F8:
    """(seen + kappa) / (expected + kappa); kappa by moments over everything given, if not said."""
    if kappa is None:
        spread = float(((seen - expected) ** 2 - expected).sum() / np.maximum((expected**2).sum(), 1e-300))
        kappa = float(np.clip(1.0 / max(spread, 1.0 / MOST_KAPPA), LEAST_KAPPA, MOST_KAPPA))
    return np.asarray((seen + kappa) / np.maximum(expected + kappa, 1e-12))


def _smooth(x: F8) -> F8:
    """Each bin with its neighbours, weights 1 2 1 over 4, around the circle."""
    return np.asarray((np.roll(x, 1, -1) + 2.0 * x + np.roll(x, -1, -1)) / 4.0)
