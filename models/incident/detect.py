"""Two detectors over counters by cohort and step: ratios that rise, volumes that fall.

Each step the detector knows, for every cohort and signal, what it expected (season times a level tracked with a lag)
and what came. Evidence accumulates by a window-limited generalised likelihood ratio (Lai 1998): over windows from one
step to twelve minutes (of rare events an hour, if the signal says so), the exact tail probability of the window's count
under its overdispersed law. So the size of a fault and its onset need not be known, a small denominator is judged by
what it can say, and every size of cohort meets the same threshold.

Error control: the probability threshold is a budget of false alarms a day divided by cohorts x steps x windows x
signals of a day (the union bound: valid whatever depends on what), times `clumping`, how many of those looks one
false alarm fills (neighbouring windows, nested cohorts), which is measured on days without faults. The spread beyond
the counts' own is an estimate from two days; it is taken `ratio_caution` and `volume_caution` times as large, for the
days it did not see.

An outage takes the beacons with it: volumes fall, and what players kept is delivered later in one burst. A cohort whose
volume fell *owes*: for 75 minutes a sudden surplus of its traffic is taken for that debt, and its cells are left out of
every ratio while it lasts. What is left of a larger cohort is another mixture of viewers than its season knows, so
while a part owes, its ratios are expected by the usual ratios of the parts that are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import sparse, special

from models.incident import tails
from models.incident.cohorts import Cohorts
from models.incident.season import BINS, Season, by_cell
from models.incident.signals import Signal, Spread

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
B1 = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the detectors look. Times in seconds; tuned by ``bench/qoe_alerts.py`` on seeds of their own."""

    windows_s: tuple[int, ...] = (10, 20, 30, 40, 60, 80, 120, 180, 240, 360, 480, 720, 1_080, 1_440, 2_160, 3_600)
    false_alarms_a_day: float = 1.0
    clumping: float = 4.0
    ratio_caution: float = 1.3
    volume_caution: float = 2.0
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
    """One signal with what history says of it. `exposure` is the season of a ratio's denominator, counts a second."""

    signal: Signal
    season: Season
    spread: Spread
    exposure: Season | None = None


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
        self.tick()

    def tick(self) -> None:
        """Close a step whose counts lie in `waiting[slot]`; every minute the oldest of them reach the level."""
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
        self.cohorts, self.step_s, self.tuning = cohorts, step_s, tuning
        self.models = tuple(
            replace(m, spread=m.spread.wider(tuning.volume_caution if m.signal.volume else tuning.ratio_caution))
            for m in models
        )
        self.column = {name: i for i, name in enumerate(counters)}
        longest = max(m.signal.longest_s for m in models)
        windows = {max(1, round(w / step_s)) for w in tuning.windows_s if w <= longest}
        self.windows = np.array(sorted(windows), dtype=np.int64)
        rows, n = int(self.windows[-1]) + 1, len(cohorts)
        self.sums = np.zeros((len(models), 2, rows, n))
        self.cells = np.zeros((rows, cohorts.member.shape[1], len(counters)))
        self.place, self.steps, self.at_s = 0, 0, 0
        self.levels = [Level(cohorts, step_s, m.signal.lag_s, m.signal.memory_s, tuning.level_kappa) for m in models]
        self.longest = [m.signal.longest_s // step_s for m in models]
        looks = n * sum((self.windows <= longest).sum() for longest in self.longest) * 86_400 / step_s
        self.log_alpha = float(np.log(tuning.false_alarms_a_day * tuning.clumping / looks))
        self.owing_until = np.full(n, -np.inf)
        self.burst_until = np.full(n, -np.inf)
        self.burst_since = np.full(n, -np.inf)
        self.owed_level = np.ones((len(models), n))
        self.suspect_at = np.full((len(models), n), -np.inf)
        self.suspect_since = np.full((len(models), n), np.inf)
        self.masked: B1 | None = None
        self.new = np.zeros(0, dtype=np.int64)
        self.replaced = sparse.csr_matrix((n, 0))
        self._spreads = [m.spread.wide(n) for m in models]
        self._by_cell: dict[int, tuple[Season, Season]] = {}
        self._nobody = np.zeros(n, dtype=bool)
        self._found = (np.empty(16 * n, dtype=np.int64), np.empty(16 * n, dtype=np.int64))

    def grow(self, cohorts: Cohorts) -> None:
        """The same cohorts over more cells (`models.incident.cohorts.wider`), which counted nothing so far."""
        rows, cells, counters = self.cells.shape
        more = np.zeros((rows, cohorts.member.shape[1] - cells, counters))
        self.cells = np.concatenate([self.cells, more], axis=1)
        self.cohorts, self._by_cell = cohorts, {}

    def newcomers(self, cells: I8, replaced: sparse.csr_matrix) -> None:
        """Some cells that history did not have, and the cohorts they may have taken traffic from (`replaced`): who
        moved is not missing there."""
        self.new = np.append(self.new, cells)
        self.replaced = sparse.csr_matrix(sparse.hstack([self.replaced, replaced]))

    def step(self, at_s: int, cells: F8) -> Evidence:
        """One step that ends at `at_s` (Unix seconds) with counters by cell, (cells, counters); what looks wrong."""
        self.at_s = at_s
        sums, left, kept, rates = self._arrived(at_s - self.step_s / 2, cells)
        touched = self._nobody if self.masked is None else self.cohorts.sums(self.masked.astype(float)) > 0
        before = self.place
        self.place = (self.place + 1) % self.sums.shape[2]
        self.steps += 1
        np.add(self.cells[before], left, out=self.cells[self.place])
        usable = self.windows[self.windows <= self.steps]
        parts = []
        for i, (model, level) in enumerate(zip(self.models, self.levels, strict=True)):
            signal = model.signal
            came = sums if signal.volume else kept
            _advance(
                came[:, self.column[signal.num]], kept[:, self.column[signal.den or signal.num]], rates[i], level.value,
                touched, self.sums[i], before, self.place, level.waiting[level.slot], level.frozen[level.slot],
                self.suspect_at[i], self.suspect_since[i], float(at_s - signal.lag_s),
                float(at_s - self.tuning.freeze_memories * signal.memory_s), signal.volume, float(self.step_s),
            )  # fmt: skip
            level.tick()
            parts.append(self._judge(i, usable[usable <= self.longest[i]]))
        evidence = _joined(parts)
        if self.steps * self.step_s <= self.tuning.warm_s:
            return NONE
        if len(evidence):
            self._remember(at_s, evidence)
        return evidence

    def windows_of(self, signal: int, window_s: int) -> tuple[F8, F8]:
        """Count and mean of a signal over the last `window_s`, of every cohort; each (cohorts,)."""
        past = self._past(window_s)
        count, mean = self.sums[signal, :, self.place] - self.sums[signal, :, past]
        return count, mean

    def usual(self, signal: int, window_s: int, cohort: int) -> float:
        """Mean of a volume of one cohort over the last `window_s`; of one that owes with the level before its fall."""
        _, mean = self.window(signal, window_s, cohort)
        if self.owing_until[cohort] < self.at_s:
            return mean
        rate = self.models[signal].season.at(self.at_s)[cohort]
        return max(mean, float(window_s * rate * self.owed_level[signal, cohort]))

    def window(self, signal: int, window_s: int, cohort: int) -> tuple[float, float]:
        """The same of one cohort."""
        both = self.sums[signal, :, self.place, cohort] - self.sums[signal, :, self._past(window_s), cohort]
        return float(both[0]), float(both[1])

    def began_s(self, signal: int, window_s: int, cohort: int) -> int:
        """How many seconds ago, within the last `window_s`, what is wrong with a cohort began: the change point of
        greatest likelihood (Poisson; Hinkley 1970, Biometrika 57(1))."""
        steps = min(max(1, round(window_s / self.step_s)), int(self.windows[-1]), max(self.steps, 1))
        past = (self.place - np.arange(1, steps + 1)) % self.sums.shape[2]
        count, mean = self.sums[signal, :, self.place, cohort, None] - self.sums[signal, :, past, cohort].T
        count, mean = np.maximum(count, 0.0), np.maximum(mean, 1e-300)
        ratio = special.xlogy(count, count / mean) - (count - mean)
        wrong = count < mean if self.models[signal].signal.volume else count > mean
        return int(np.argmax(np.where(wrong, ratio, -np.inf)) + 1) * self.step_s

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
        sums, _, kept, rates = self._arrived(at_s, cells)
        found, expected = [], []
        for model, rate in zip(self.models, rates, strict=True):
            signal = model.signal
            found.append((sums if signal.volume else kept)[:, self.column[signal.num]])
            exposure = self.step_s if signal.den is None else np.maximum(kept[:, self.column[signal.den]], 0.0)
            expected.append(exposure * rate)
        return found, expected

    def _arrived(self, at_s: float, cells: F8) -> tuple[F8, F8, F8, list[F8]]:
        """Sums by cohort; cells without bursts (`masked` is set) and their sums; and the seasons' rates."""
        sums = self.cohorts.sums(cells)
        rates = [model.season.at(at_s) for model in self.models]
        self.masked = self._bursting(at_s, sums, rates)
        left = cells if self.masked is None else cells * ~self.masked[:, None]
        kept = sums if self.masked is None else self.cohorts.sums(left)
        self._of_mixture(at_s, rates, left)
        return sums, left, kept, rates

    def _of_mixture(self, at_s: float, rates: list[F8], left: F8) -> None:
        """Rates of ratios where a part of a cohort owes, by what is there of it: direct standardisation, the cells that
        came against the cells that come at this hour, each with its usual rate. In place."""
        owes = self.owing_until >= at_s
        if not owes.any():
            return
        touched = self.cohorts.sums(self.cohorts.member.T @ owes.astype(np.float64) > 0) > 0
        for i, model in enumerate(self.models):
            if model.exposure is None:
                continue
            if i not in self._by_cell:
                self._by_cell[i] = self._cell_seasons(model.season, model.exposure)
            den = self.column[str(model.signal.den)]
            traffic, rate = (season.at(at_s) for season in self._by_cell[i])
            there = np.maximum(left[:, den], 0.0)
            columns = np.stack([traffic, traffic * rate, there, there * rate], axis=1)
            usual, usually, came, failed = self.cohorts.sums(columns).T
            known = touched & (usually > 0) & (came > 0)
            factor = failed * usual / np.where(known, usually * came, 1.0)
            rates[i] = np.where(known, rates[i] * factor, rates[i])

    def _cell_seasons(self, ratio: Season, exposure: Season) -> tuple[Season, Season]:
        """A ratio's denominator and the ratio by cell, as far as the seasons of the cohorts tell."""
        weight = self.cohorts.weight
        mean = Season(exposure.rate / np.maximum(self.cohorts.traffic(), 1e-300))
        traffic = by_cell(mean, self.cohorts, np.tile(weight[:, None], (1, BINS))).rate * weight
        return Season(traffic), by_cell(ratio, self.cohorts, traffic.T)

    def _bursting(self, at_s: float, sums: F8, rates: list[F8]) -> B1 | None:
        """Cells whose kept beacons arrive now, or None: surplus in a cohort that owes."""
        owing = np.flatnonzero(self.owing_until >= at_s)
        if not len(owing):
            return None
        width = np.array(float(self.step_s))
        for i, (model, level, rate) in enumerate(zip(self.models, self.levels, rates, strict=True)):
            if model.signal.volume:
                # The level before the fall: one with a short memory has learned the fall, and to it the return to
                # what is usual is a surplus without end.
                mean = self.step_s * rate[owing] * np.maximum(level.value[owing], self.owed_level[i, owing])
                seen = sums[owing, self.column[model.signal.num]]
                spread = model.spread.of(owing)
                sudden = seen > np.maximum(mean + 4.0 * np.sqrt(spread.variance(mean, width)) + 4.0, 1.5 * mean)
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
        n = _screen(
            self.sums[i, 0], self.sums[i, 1], self.place, rows, windows * float(self.step_s),
            -1.0 if model.signal.volume else 1.0, self.tuning.screen_z, self.tuning.least_events, *self._spreads[i],
            row, column,
        )  # fmt: skip
        if not n:
            return NONE
        w, c = row[:n].copy(), column[:n].copy()
        count = self.sums[i, 0, self.place, c] - self.sums[i, 0, rows[w], c]
        mean = self.sums[i, 1, self.place, c] - self.sums[i, 1, rows[w], c]
        seconds = (windows[w] * self.step_s).astype(np.float64)
        log_p = log_tail(model, c, count, mean, seconds)
        if model.signal.volume and len(self.new):
            self._moved(i, rows[w], c, count, mean, seconds, log_p)
        return Evidence(np.full(n, i), c, (windows * self.step_s)[w], count, mean, log_p, tails.normal_score(log_p),
                        log_p < self.log_alpha)  # fmt: skip

    def _moved(self, i: int, past: I8, c: I8, count: F8, mean: F8, seconds: F8, log_p: F8) -> None:
        """Falls again, with what came of cells that may have replaced the cohort's own; up to the mean."""
        model = self.models[i]
        rare = log_p < np.log(self.tuning.suspect_p)
        for row in np.unique(past[rare]):
            same = np.flatnonzero(rare & (past == row))
            came = (self.cells[self.place] - self.cells[row])[self.new, self.column[model.signal.num]]
            with_them = np.minimum(count[same] + np.maximum(self.replaced @ came, 0.0)[c[same]], mean[same])
            count[same] = np.maximum(count[same], with_them)
            log_p[same] = log_tail(model, c[same], count[same], mean[same], seconds[same])

    def _remember(self, at_s: int, evidence: Evidence) -> None:
        """Who owes, and whose recent past shall not become baseline."""
        strong = evidence.log_p < np.log(self.tuning.suspect_p)
        volume = np.array([m.signal.volume for m in self.models])[evidence.signal]
        owing = np.unique(evidence.cohort[strong & volume])
        fresh = owing[self.owing_until[owing] < at_s]
        for i, level in enumerate(self.levels):
            self.owed_level[i, fresh] = level.value[fresh]
        self.owing_until[owing] = at_s + self.tuning.owing_s
        strong = evidence.log_p < np.log(self.tuning.freeze_p)
        i, c = evidence.signal[strong], evidence.cohort[strong]
        lapsed = self.suspect_at[i, c] < at_s - self.tuning.owing_s
        self.suspect_since[i, c] = np.where(lapsed, at_s, self.suspect_since[i, c])
        self.suspect_at[i, c] = at_s


def log_tail(model: Model, cohort: I8, count: F8, mean: F8, window_s: F8) -> F8:
    """Natural log of the tail probability of window counts of some cohorts: above for a ratio, below for a volume.

    A sum that comes in lumps is counted in units of them (`Spread.unit`); where it rises, one lump may be long.
    """
    own = model.spread.of(cohort)
    if not (model.signal.volume or model.signal.whole):
        return -tails.lumpy(count, mean, own.unit + own.level * window_s, own.slow + own.fast / window_s)
    k, m, spread = count / own.unit, mean / own.unit, own.relative(mean, window_s)
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
def _advance(
    num: F8,
    den: F8,
    rate: F8,
    level: F8,
    touched: B1,
    ring: F8,
    before: int,
    place: int,
    waiting: F8,
    frozen: B1,
    suspect_at: F8,
    suspect_since: F8,
    recent_s: float,
    old_s: float,
    volume: bool,
    step_s: float,
) -> None:
    """One step of one signal: running sums of what came and of its mean, and what the level shall learn.

    A cohort touched by a burst takes its own mean for a volume. A surplus never lifts a volume's baseline at once: what
    follows it would look like a fall. What is suspect since `recent_s` shall not become baseline, unless it has been so
    since `old_s`: then the new level is the level.
    """
    for c in range(len(num)):
        season = (step_s if volume else max(den[c], 0.0)) * rate[c]
        mean = season * level[c]
        seen = mean if volume and touched[c] else num[c]
        ring[0, place, c] = ring[0, before, c] + seen
        ring[1, place, c] = ring[1, before, c] + mean
        waiting[0, c] += min(seen, 1.5 * mean + 4.0) if volume else seen
        waiting[1, c] += season
        if suspect_at[c] >= recent_s and suspect_since[c] > old_s:
            frozen[c] = True


BLOCK = 1_024
"""Cohorts that `_screen` looks at together: what they need of two rows fits the first cache."""


LEAST_EXPONENT = 8.0
"""Chernoff exponent below which no tail is rare enough to count: its p is above 3e-4 / 30."""


@njit(cache=True)
def _may(k: float, m: float, level: float, spread: float) -> bool:
    """Whether a rise may be rare: a small count of a small mean lies many deviations out and says little."""
    m = max(m, 1e-300)
    size = 1.0 / max(level / m + spread, 1e-7)
    return k * np.log(k / m) - (k + size) * (np.log1p(k / size) - np.log1p(m / size)) > LEAST_EXPONENT


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
    unit: F8,
    level: F8,
    slow: F8,
    fast: F8,
    out_window: I8,
    out_cohort: I8,
) -> int:
    """Windows whose count lies `z` deviations out: their numbers into the two arrays; how many.

    `least` is the smallest count (of a fall: the smallest mean) that is looked at. One pass over (windows, cohorts) by
    blocks, the inner loop without a branch, so that the compiler makes it vectors; the exact tail is computed for what
    is left alone.
    """
    n, zz = 0, z * z
    rises = 1.0 if sign > 0 else 0.0
    flag = np.empty(BLOCK, dtype=np.uint8)
    for low in range(0, seen.shape[1], BLOCK):
        high = min(seen.shape[1], low + BLOCK)
        k_now, m_now = seen[now, low:high], mean[now, low:high]
        u, g, e, f = unit[low:high], level[low:high], slow[low:high], fast[low:high]
        for w in range(len(rows)):
            k_past, m_past = seen[rows[w], low:high], mean[rows[w], low:high]
            s, over = seconds[w], 1.0 / seconds[w]
            hits = 0
            for c in range(high - low):
                m = m_now[c] - m_past[c]
                k = k_now[c] - k_past[c]
                d = sign * (k - m)
                size = rises * (k + 0.5) + (1.0 - rises) * m
                variance = (u[c] + g[c] * s) * m + (e[c] + f[c] * over) * m * m
                flag[c] = (d > 0.0) & (size >= least * u[c]) & (d * d > zz * variance)
                hits += flag[c]
            if hits:
                for c in range(high - low):
                    if flag[c] and n < len(out_window):
                        k, m = k_now[c] - k_past[c], m_now[c] - m_past[c]
                        if sign > 0 and not _may(k / u[c], m / u[c], g[c] * s, e[c] + f[c] * over):
                            continue
                        out_window[n] = w
                        out_cohort[n] = low + c
                        n += 1
    return n


def looked_at(models: Sequence[Model]) -> Mapping[str, int]:
    """Index of every signal by name."""
    return {model.signal.name: i for i, model in enumerate(models)}
