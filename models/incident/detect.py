"""Two detectors over counters by cohort and step: ratios that rise, volumes that fall.

Each step the detector knows, for every cohort and signal, what it expected (season times a level tracked with a lag)
and what came. Evidence accumulates by a window-limited generalised likelihood ratio (Lai 1998): over windows from one
step to twelve minutes, the exact tail probability of the window's count under its overdispersed law. So the size of a
fault and its onset need not be known, a small denominator is judged by what it can say, and every size of cohort meets
the same threshold.

Error control: the probability threshold is a budget of false alarms a day divided by cohorts x steps x windows x
signals of a day (the union bound: valid whatever depends on what), times `clumping`, how many of those looks one
false alarm fills (neighbouring windows, nested cohorts), which is measured on days without faults.

An outage takes the beacons with it: volumes fall, and what players kept is delivered later in one burst. A cohort whose
volume fell *owes*: for 75 minutes a sudden surplus of its traffic is taken for that debt, and its cells are left out of
every ratio while it lasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.incident import tails
from models.incident.cohorts import Cohorts
from models.incident.season import Season
from models.incident.signals import Signal, Spread

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the detectors look. Times in seconds; tuned by ``bench/qoe_alerts.py`` on seeds of their own."""

    windows_s: tuple[int, ...] = (10, 20, 30, 40, 60, 80, 120, 180, 240, 360, 480, 720)
    false_alarms_a_day: float = 1.0
    clumping: float = 1.0
    least_events: float = 4.0
    screen_z: float = 4.0
    suspect_p: float = 1e-5
    freeze_p: float = 1e-7
    freeze_memories: float = 2.0
    level_kappa: float = 300.0
    warm_s: int = 1_800
    owing_s: int = 4_500
    hangover_s: int = 40
    longest_burst_s: int = 300


@dataclass(frozen=True, slots=True)
class Evidence:
    """Windows of one step that look wrong; parallel arrays, one row a signal, cohort and window.

    `log_p` is the natural logarithm of the tail probability, `score` the same as normal deviations; `alarm` marks rows
    under the threshold.
    """

    signal: I8
    cohort: I8
    window_s: I8
    count: F8
    mean: F8
    log_p: F8
    score: F8
    alarm: B1

    def __len__(self) -> int:
        return len(self.signal)

    def take(self, rows: B1 | I8) -> Evidence:
        """Some of the rows."""
        return Evidence(*(getattr(self, name)[rows] for name in self.__slots__))


NONE = Evidence(*(np.zeros(0, dtype=t) for t in (int, int, int, float, float, float, float, bool)))


@dataclass(frozen=True, slots=True)
class Model:
    """One signal with what history says of it."""

    signal: Signal
    season: Season
    spread: Spread


class Level:
    """How far a signal stands from its season now: seen over expected with exponential forgetting, as it was `lag_s`
    ago, shrunk to the parent's. The lag keeps a fault that grows over minutes out of its own baseline."""

    def __init__(self, cohorts: Cohorts, step_s: int, lag_s: int, memory_s: float, kappa: float) -> None:
        self.parent, self.kappa = cohorts.parent, kappa
        self.order = _by_depth(cohorts.parent)
        self.block = max(1, 60 // step_s)
        self.keep = float(np.exp(-self.block * step_s / memory_s))
        n, slots = len(cohorts), max(1, round(lag_s / (self.block * step_s))) + 1
        self.waiting = np.zeros((slots, 2, n))
        self.frozen = np.zeros((slots, n), dtype=bool)
        self.slot, self.steps = 0, 0
        self.seen, self.expected = np.zeros(n), np.zeros(n)
        self.value = np.ones(n)

    def add(self, seen: F8, expected: F8, freeze: B1 | None) -> None:
        """One step: counts and their seasonal expectation; `freeze` marks cohorts whose recent past says nothing."""
        self.waiting[self.slot, 0] += seen
        self.waiting[self.slot, 1] += expected
        if freeze is not None:
            self.frozen[self.slot] |= freeze
        self.steps += 1
        if self.steps % self.block:
            return
        self.slot = (self.slot + 1) % len(self.waiting)
        oldest = self.waiting[self.slot]
        good = ~self.frozen.any(axis=0)
        self.seen = np.where(good, self.keep * self.seen + oldest[0], self.seen)
        self.expected = np.where(good, self.keep * self.expected + oldest[1], self.expected)
        self.waiting[self.slot], self.frozen[self.slot] = 0.0, False
        for rows in self.order:
            above = np.where(self.parent[rows] >= 0, self.value[self.parent[rows]], 1.0)
            self.value[rows] = (self.seen[rows] + self.kappa * above) / (self.expected[rows] + self.kappa)


def _by_depth(parent: I8) -> list[I8]:
    far = np.zeros(len(parent), dtype=np.int64)
    for _ in range(8):
        far = np.where(parent >= 0, far[parent] + 1, 0)
    return [np.flatnonzero(far == d) for d in range(int(far.max(initial=0)) + 1)]


class Detector:
    """The detectors of one set of cohorts; feed `step` in order of time, none left out.

    Args:
        cohorts: who is watched.
        counters: names of the columns of `step`'s cells.
        models: the signals.
        step_s: length of a step in seconds.
        tuning: how to look.
    """

    def __init__(
        self, cohorts: Cohorts, counters: Sequence[str], models: Sequence[Model], step_s: int, tuning: Tuning
    ) -> None:
        self.cohorts, self.models, self.step_s, self.tuning = cohorts, tuple(models), step_s, tuning
        self.column = {name: i for i, name in enumerate(counters)}
        self.windows = np.array(sorted({max(1, round(w / step_s)) for w in tuning.windows_s}), dtype=np.int64)
        rows, n = int(self.windows[-1]) + 1, len(cohorts)
        self.sums = np.zeros((len(models), 2, rows, n))
        self.cells = np.zeros((rows, cohorts.member.shape[1], len(counters)))
        self.place, self.steps = 0, 0
        self.levels = [Level(cohorts, step_s, m.signal.lag_s, m.signal.memory_s, tuning.level_kappa) for m in models]
        self.longest = [m.signal.longest_s // step_s for m in models]
        looks = n * sum((self.windows <= longest).sum() for longest in self.longest) * 86_400 / step_s
        self.log_alpha = float(np.log(tuning.false_alarms_a_day * tuning.clumping / looks))
        self.owing_until = np.full(n, -np.inf)
        self.burst_until = np.full(n, -np.inf)
        self.burst_since = np.full(n, -np.inf)
        self.suspect_at = np.full((len(models), n), -np.inf)
        self.suspect_since = np.full((len(models), n), np.inf)
        self.masked: B1 | None = None
        self._found = (np.empty(16 * n, dtype=np.int64), np.empty(16 * n, dtype=np.int64))

    def step(self, at_s: int, cells: F8) -> Evidence:
        """One step that ends at `at_s` (Unix seconds) with counters by cell, (cells, counters); what looks wrong."""
        found, expected = self.predict(at_s - self.step_s / 2, cells)
        touched = None if self.masked is None else self.cohorts.sums(self.masked.astype(float)) > 0
        before = self.place
        self.place = (self.place + 1) % self.sums.shape[2]
        self.steps += 1
        kept = cells if self.masked is None else cells * ~self.masked[:, None]
        self.cells[self.place] = self.cells[before] + kept
        usable = self.windows[self.windows <= self.steps]
        parts = []
        for i, (model, level) in enumerate(zip(self.models, self.levels, strict=True)):
            seen, season = found[i], expected[i]
            mean = season * level.value
            freeze = self._freeze(i, at_s)
            if touched is not None and model.signal.volume:
                seen = np.where(touched, mean, seen)
            self.sums[i, 0, self.place] = self.sums[i, 0, before] + seen
            self.sums[i, 1, self.place] = self.sums[i, 1, before] + mean
            parts.append(self._judge(i, usable[usable <= self.longest[i]]))
            # A surplus never lifts a volume's baseline at once: what follows it would look like a fall.
            level.add(np.minimum(seen, 1.5 * mean + 4.0) if model.signal.volume else seen, season, freeze)
        evidence = _joined(parts)
        if self.steps * self.step_s <= self.tuning.warm_s:
            return NONE
        self._remember(at_s, evidence)
        return evidence

    def windows_of(self, signal: int, window_s: int) -> tuple[F8, F8]:
        """Count and mean of a signal over the last `window_s`, of every cohort; each (cohorts,)."""
        past = self._past(window_s)
        count, mean = self.sums[signal, :, self.place] - self.sums[signal, :, past]
        return count, mean

    def window(self, signal: int, window_s: int, cohort: int) -> tuple[float, float]:
        """The same of one cohort."""
        both = self.sums[signal, :, self.place, cohort] - self.sums[signal, :, self._past(window_s), cohort]
        return float(both[0]), float(both[1])

    def without(self, cohort: int, window_s: int) -> tuple[F8, F8]:
        """Counters over the last `window_s` of every cohort, and the same without the cells of `cohort`; each
        (cohorts, counters)."""
        cells = self.cells[self.place] - self.cells[self._past(window_s)]
        everything = self.cohorts.sums(cells)
        cells[self.cohorts.cells(cohort)] = 0.0
        return everything, self.cohorts.sums(cells)

    def _past(self, window_s: int) -> int:
        steps = min(max(1, round(window_s / self.step_s)), int(self.windows[-1]), max(self.steps, 1))
        return int((self.place - steps) % self.sums.shape[2])

    def predict(self, at_s: float, cells: F8) -> tuple[list[F8], list[F8]]:
        """Counts of every signal by cohort, bursts left out of ratios, and what the season expects."""
        sums = self.cohorts.sums(cells)
        rates = [model.season.at(at_s) for model in self.models]
        self.masked = self._bursting(at_s, sums, rates)
        kept = sums if self.masked is None else sums - self.cohorts.sums(cells * self.masked[:, None])
        found, expected = [], []
        for model, rate in zip(self.models, rates, strict=True):
            signal = model.signal
            found.append((sums if signal.volume else kept)[:, self.column[signal.num]])
            exposure = self.step_s if signal.den is None else np.maximum(kept[:, self.column[signal.den]], 0.0)
            expected.append(exposure * rate)
        return found, expected

    def _bursting(self, at_s: float, sums: F8, rates: list[F8]) -> B1 | None:
        """Cells whose kept beacons arrive now, or None: surplus in a cohort that owes."""
        owing = np.flatnonzero(self.owing_until >= at_s)
        if not len(owing):
            return None
        width = np.array(float(self.step_s))
        for model, level, rate in zip(self.models, self.levels, rates, strict=True):
            if model.signal.volume:
                mean = self.step_s * rate[owing] * level.value[owing]
                seen = sums[owing, self.column[model.signal.num]]
                sudden = seen > np.maximum(mean + 4.0 * np.sqrt(model.spread.variance(mean, width)) + 4.0, 1.5 * mean)
                begun = sudden & (self.burst_until[owing] < at_s)
                self.burst_since[owing[begun]] = at_s
                self.burst_until[owing[sudden]] = at_s + self.tuning.hangover_s
        paid = at_s - self.burst_since[owing] > self.tuning.longest_burst_s
        self.owing_until[owing[paid & (self.burst_until[owing] >= at_s)]] = -np.inf
        hot = np.flatnonzero(self.burst_until >= at_s)
        if not len(hot):
            return None
        mask = np.zeros(self.cohorts.member.shape[1], dtype=bool)
        for cohort in hot:
            mask[self.cohorts.cells(int(cohort))] = True
        return mask

    def _judge(self, i: int, windows: I8) -> Evidence:
        """Evidence of one signal over all windows."""
        model, (row, column) = self.models[i], self._found
        rows = (self.place - windows) % self.sums.shape[2]
        s, sign = model.spread, -1.0 if model.signal.volume else 1.0
        n = _screen(self.sums[i, 0], self.sums[i, 1], self.place, rows, windows * float(self.step_s), sign,
                    self.tuning.screen_z, self.tuning.least_events * s.unit, s.unit, s.level, s.slow, s.fast,
                    row, column)  # fmt: skip
        if not n:
            return NONE
        w, c = row[:n].copy(), column[:n].copy()
        count = self.sums[i, 0, self.place, c] - self.sums[i, 0, rows[w], c]
        mean = self.sums[i, 1, self.place, c] - self.sums[i, 1, rows[w], c]
        seconds = (windows[w] * self.step_s).astype(np.float64)
        log_p = log_tail(model, count, mean, seconds)
        return Evidence(np.full(n, i), c, (windows * self.step_s)[w], count, mean, log_p, tails.normal_score(log_p),
                        log_p < self.log_alpha)  # fmt: skip

    def _remember(self, at_s: int, evidence: Evidence) -> None:
        """Who owes, and whose recent past shall not become baseline."""
        strong = evidence.log_p < np.log(self.tuning.suspect_p)
        volume = np.array([m.signal.volume for m in self.models])[evidence.signal]
        self.owing_until[evidence.cohort[strong & volume]] = at_s + self.tuning.owing_s
        strong = evidence.log_p < np.log(self.tuning.freeze_p)
        i, c = evidence.signal[strong], evidence.cohort[strong]
        lapsed = self.suspect_at[i, c] < at_s - self.tuning.owing_s
        self.suspect_since[i, c] = np.where(lapsed, at_s, self.suspect_since[i, c])
        self.suspect_at[i, c] = at_s

    def _freeze(self, i: int, at_s: int) -> B1:
        """Cohorts whose recent past shall not become baseline; after some memories of it the new level is the level."""
        signal = self.models[i].signal
        recent = self.suspect_at[i] >= at_s - signal.lag_s
        return np.asarray(recent & (at_s - self.suspect_since[i] < self.tuning.freeze_memories * signal.memory_s))


def log_tail(model: Model, count: F8, mean: F8, window_s: F8) -> F8:
    """Natural log of the tail probability of window counts: above for a ratio, below for a volume.

    A sum that comes in lumps is counted in units of them (`Spread.unit`).
    """
    unit = model.spread.unit
    k, m, spread = count / unit, mean / unit, model.spread.relative(mean, window_s)
    if model.signal.volume:
        p = tails.at_most(np.round(k, 6), m, spread)
    else:
        p = tails.at_least(np.round(k, 6), m, spread)
    return tails.log_p(p, tails.deviance(k, m, spread))


def _joined(parts: list[Evidence]) -> Evidence:
    some = [part for part in parts if len(part)]
    if len(some) < 2:
        return some[0] if some else NONE
    return Evidence(*(np.concatenate([getattr(p, name) for p in some]) for name in Evidence.__slots__))


@njit(cache=True)
def _screen(
    seen: F8,
    mean: F8,
    now: int,
    rows: I8,
    seconds: F8,
    sign: float,
    z: float,
    least: float,
    unit: float,
    level: float,
    slow: float,
    fast: float,
    out_window: I8,
    out_cohort: I8,
) -> int:
    """Windows whose count lies `z` deviations out: their numbers into the two arrays; how many.

    One pass over (windows, cohorts) without a temporary; the exact tail is computed for what is left alone.
    """
    n = 0
    for w in range(len(rows)):
        past, s = rows[w], seconds[w]
        b = slow + fast / s
        a = unit + level * s
        for c in range(seen.shape[1]):
            m = mean[now, c] - mean[past, c]
            k = seen[now, c] - seen[past, c]
            d = sign * (k - m)
            if d <= 0 or (sign > 0 and k < least - 0.5) or (sign < 0 and m < least):
                continue
            if d * d > z * z * (a * m + b * m * m) and n < len(out_window):
                out_window[n] = w
                out_cohort[n] = c
                n += 1
    return n


def looked_at(models: Sequence[Model]) -> Mapping[str, int]:
    """Index of every signal by name."""
    return {model.signal.name: i for i, model in enumerate(models)}
