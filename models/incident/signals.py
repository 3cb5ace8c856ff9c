"""What is watched: ratios that may rise, volumes that may fall; and how widely each spreads by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

F8 = NDArray[np.float64]


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
    (it grows with the window), `slow` what moves over minutes, `fast` what is new every second.
    """

    unit: float = 1.0
    level: float = 0.0
    slow: float = 0.0
    fast: float = 0.0

    def relative(self, mean: F8, window_s: F8) -> F8:
        """Variance beyond the unit's own, over the squared mean: the `spread` of models.incident.tails."""
        return np.asarray(self.level * window_s / np.maximum(mean, 1e-300) + self.slow + self.fast / window_s)

    def variance(self, mean: F8, window_s: F8) -> F8:
        """The formula above."""
        return np.asarray(self.unit * mean + self.relative(mean, window_s) * mean**2)


def fit_spread(seen: F8, mean: F8, step_s: int, windows: tuple[int, ...], *, whole: bool) -> Spread:
    """Estimate the spread from predictions and what came, by non-negative least squares over squared errors.

    The errors are those of predictions made before the fact, with a season that did not know these days: what the
    season and the level get wrong is part of the spread. Weights are one over the squared variance, in three rounds;
    what lies beyond six deviations (a fault in the history) is left out from the second round on.

    Args:
        seen: what came; (steps, cohorts).
        mean: what was predicted; same shape.
        step_s: length of a step in seconds.
        windows: window lengths in steps.
        whole: whether the counts are whole numbers; then `unit` is 1.
    """
    rows: list[tuple[F8, F8, F8]] = []
    for w in windows:
        n = len(seen) // w
        k = seen[: n * w].reshape(n, w, -1).sum(1, dtype=np.float64).ravel()
        m = mean[: n * w].reshape(n, w, -1).sum(1, dtype=np.float64).ravel()
        keep = m > 0.05
        rows.append((k[keep], m[keep], np.full(int(keep.sum()), float(w * step_s))))
    k, m, w_s = (np.concatenate(column) for column in zip(*rows, strict=True))
    if not len(k):
        return Spread()
    error = (k - m) ** 2
    found = Spread()
    for round_ in range(4):
        variance = found.variance(m, w_s)
        inlier = error < 36.0 * variance if round_ else np.ones(len(m), dtype=bool)
        columns = [m / variance, w_s * m / variance, m**2 / variance, m**2 / w_s / variance]
        target = error / variance
        if whole:
            target = target - columns[0]
        design = np.stack(columns[1:] if whole else columns, axis=1)[inlier]
        solved, _ = optimize.nnls(design.T @ design, design.T @ target[inlier])
        found = Spread(1.0, *map(float, solved)) if whole else Spread(*map(float, solved))
        if not whole and found.unit <= 0:
            found = Spread(1.0, found.level, found.slow, found.fast)
    return found
