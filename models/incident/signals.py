"""What is watched: ratios that may rise, volumes that may fall; and how widely each spreads by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import optimize

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Signal:
    """One watched figure over counters: `num` over `den` (watched for a rise), or `num` alone (for a fall).

    `whole` says that `num` is a count of independent events; sums of milliseconds, and sessions that report again and
    again, are not. The level follows what came until `lag_s` ago with a memory of `memory_s`; windows go up to
    `longest_s`. A figure that remembers (concurrency: the same sessions a minute later) is compared with its own last
    minutes only.
    """

    name: str
    num: str
    den: str | None = None
    whole: bool = True
    lag_s: int = 720
    memory_s: float = 1_800.0
    longest_s: int = 720

    @property
    def volume(self) -> bool:
        """Whether it is a volume, whose fall is the fault."""
        return self.den is None


@dataclass(frozen=True, slots=True)
class Spread:
    """The variance of a count over a window of `window_s` whose predicted mean is m:

        unit m + level window_s m + slow m^2 + fast m^2 / window_s

    `unit` is 1 for independent events and more where they come in lumps; `level` is the error of the tracked level
    (it grows with the window), `slow` what moves over minutes, `fast` what is new every second. Each is one number, or
    one by cohort, (cohorts,).
    """

    unit: float | F8 = 1.0
    level: float | F8 = 0.0
    slow: float | F8 = 0.0
    fast: float | F8 = 0.0

    def of(self, cohorts: I8) -> Spread:
        """The spread of some cohorts, in their order."""
        parts = (self.unit, self.level, self.slow, self.fast)
        return Spread(*(x[cohorts] if isinstance(x, np.ndarray) else x for x in parts))

    def wider(self, factor: float) -> Spread:
        """The same with all but the counts' own part times `factor`."""
        return Spread(self.unit, self.level * factor, self.slow * factor, self.fast * factor)

    def wide(self, n: int) -> tuple[F8, F8, F8, F8]:
        """The four numbers of each of `n` cohorts; each (n,)."""
        unit, level, slow, fast = (
            np.ascontiguousarray(np.broadcast_to(np.asarray(x, dtype=np.float64), n))
            for x in (self.unit, self.level, self.slow, self.fast)
        )
        return unit, level, slow, fast

    def relative(self, mean: F8, window_s: F8) -> F8:
        """Variance beyond the unit's own, over the squared mean: the `spread` of models.incident.tails."""
        return np.asarray(self.level * window_s / np.maximum(mean, 1e-300) + self.slow + self.fast / window_s)

    def variance(self, mean: F8, window_s: F8) -> F8:
        """The formula above."""
        return np.asarray(self.unit * mean + self.relative(mean, window_s) * mean**2)


def fit_spread(
    seen: F8,
    mean: F8,
    step_s: int,
    windows: tuple[int, ...],
    *,
    whole: bool,
    kind: I8 | None = None,
    prior: float = 2_000.0,
) -> Spread:
    """Estimate the spread from predictions and what came, by non-negative least squares over squared errors.

    The errors are those of predictions made before the fact, with a season that did not know these days: what the
    season and the level get wrong is part of the spread. Weights are one over the squared variance, in three rounds,
    and every length of window weighs alike: the short ones, which are more, know little of an error that moves slowly.
    What lies beyond six deviations (a fault in the history) is left out from the second round on. Sums that come in
    lumps begin with the index of dispersion, as nobody knows how long a lump is.

    Cohorts of one kind share their spread: one provider's viewers rise and fall together, those of a device are spread
    over all providers. A kind takes from all others what `prior` windows of them say.

    Args:
        seen: what came; (steps, cohorts).
        mean: what was predicted; same shape.
        step_s: length of a step in seconds.
        windows: window lengths in steps.
        whole: whether the counts are whole numbers; then `unit` is 1.
        kind: number of each cohort's kind, from 0; (cohorts,). None: all are of one kind, and the spread is numbers.
        prior: how many windows of all cohorts stand beside those of a kind.
    """
    kinds = np.zeros(seen.shape[1], dtype=np.int64) if kind is None else kind
    n = int(kinds.max(initial=0)) + 1
    first = 1 if whole else 0
    law = np.zeros((n, 4))
    law[:, 0] = 1.0 if whole else _dispersion(seen, mean)
    for round_ in range(4):
        gram, target, rows = np.zeros((n, 4, 4)), np.zeros((n, 4)), np.zeros(n)
        before = law[:, 0].copy()
        for w in windows:
            trim = 36.0 if round_ else np.inf
            _equations(seen, mean, w, float(w * step_s), kinds, law, trim, whole, gram, target, rows)
        if not gram.any():
            break
        share = prior / rows.sum() if n > 1 else 0.0
        for g in range(n):
            left, right = gram[g] + share * gram.sum(0), target[g] + share * target.sum(0)
            law[g, first:] = _least_squares(left[first:, first:], right[first:])
            if law[g, 0] <= 0:
                law[g, 0] = 1.0 if whole else before[g]
    if kind is None:
        return Spread(*map(float, law[0]))
    return Spread(*(np.ascontiguousarray(law[kinds, i]) for i in range(4)))


def _least_squares(gram: F8, target: F8) -> F8:
    """The x >= 0 of least ``x' gram x - 2 target' x``, given A'A and A'b of least squares; 0 where A has nothing.

    It is solved in a root of `gram`. Non-negative least squares of ``gram x = target`` itself agrees only where no part
    wants to be negative; else it weighs the equations by their units, and seconds (`level`) outweigh their inverse
    (`fast`) by millions.
    """
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    value, vector = np.linalg.eigh(gram / np.outer(scale, scale))
    some = value > 1e-12
    root = np.sqrt(value[some])
    x, _ = optimize.nnls(root[:, None] * vector[:, some].T, vector[:, some].T @ (target / scale) / root)
    return np.asarray(x / scale)


def _dispersion(seen: F8, mean: F8) -> float:
    """Squared errors over means; where everything came as predicted, a trifle of what comes at a time."""
    whole = max(float(mean.sum()), 1e-300)
    return max(float(((seen - mean) ** 2).sum()) / whole, 1e-6 * float((mean**2).sum()) / whole, 1e-300)


@njit(cache=True)
def _equations(
    seen: F8,
    mean: F8,
    w: int,
    w_s: float,
    kinds: I8,
    law: F8,
    trim: float,
    whole: bool,
    gram: F8,
    target: F8,
    rows: F8,
) -> None:
    """Normal equations of squared errors over windows of `w` steps, each weighing `w`, added by kind to `gram`
    (kinds, 4, 4) and `target` (kinds, 4), and their number to `rows` (kinds,)."""
    x = np.empty(4)
    for block in range(len(seen) // w):
        for c in range(seen.shape[1]):
            k, m = 0.0, 0.0
            for i in range(block * w, (block + 1) * w):
                k += seen[i, c]
                m += mean[i, c]
            g = kinds[c]
            if m <= 0.05 * law[g, 0]:
                continue
            variance = law[g, 0] * m + law[g, 1] * w_s * m + law[g, 2] * m * m + law[g, 3] * m * m / w_s
            error = (k - m) * (k - m)
            if error >= trim * variance:
                # One long lump lies many deviations out and is no fault: see tails.lumpy.
                rest = 2.0 * (np.sqrt(max(k, 0.0)) - np.sqrt(m)) ** 2 / law[g, 0]
                if whole or k < m or rest > 18.0:
                    continue
            x[0], x[1], x[2], x[3] = m / variance, w_s * m / variance, m * m / variance, m * m / w_s / variance
            # Of counts the count itself is taken off, not its mean: where the mean is a little wrong, that is wrong in
            # the square alone, and many small means that are all wrong alike do not look like a spread.
            left = w * (error - k if whole else error) / variance
            rows[g] += 1
            for i in range(4):
                target[g, i] += x[i] * left
                for j in range(4):
                    gram[g, i, j] += w * x[i] * x[j]
