"""From weeks of counters by cell and step to watched cohorts and their models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.incident import cohorts as hierarchy
from models.incident import season
from models.incident.cohorts import Cohorts, Name
from models.incident.detect import Detector, Model, Tuning
from models.incident.signals import Signal, Spread, fit_spread

F8 = NDArray[np.float64]
DIMENSIONS = ("country", "isp", "cdn_id", "device", "app_version")
MINUTE_S = 60
SPREAD_DAYS = 2
WARM_STEPS = 60


@dataclass
class Grid:
    """Counters at rest: `cells` has the columns of `DIMENSIONS`, one row a cell; `steps` has `at_s` (Unix seconds of a
    step's start), `cell` (a row of `cells`) and the counters; a step without a row counted nothing."""

    cells: pd.DataFrame
    steps: pd.DataFrame

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Grid:
        """From rows of record `qoe_step`."""
        keyed = rows.groupby(list(DIMENSIONS), sort=True)
        cells = keyed.size().reset_index()[list(DIMENSIONS)]
        counters = [c for c in rows.columns if c not in (*DIMENSIONS, "step_at")]
        at_s = (rows["step_at"].astype("int64") // 1_000).to_numpy()
        return cls(cells, rows[counters].assign(at_s=at_s, cell=keyed.ngroup().to_numpy()))

    def sums(self, low_s: int, high_s: int, step_s: int, counters: Sequence[str]) -> F8:
        """Dense sums over [low, high); (steps, cells, counters)."""
        n = (high_s - low_s) // step_s
        part = self.steps[(self.steps["at_s"] >= low_s) & (self.steps["at_s"] < low_s + n * step_s)]
        out = np.zeros((n, len(self.cells), len(counters)))
        place = ((part["at_s"] - low_s) // step_s).to_numpy(), part["cell"].to_numpy()
        for j, counter in enumerate(counters):
            np.add.at(out[..., j], place, part[counter].to_numpy(dtype=np.float64))
        return out


def watched(
    grid: Grid, sets: Sequence[Sequence[str]], profiles: Mapping[Name, int] | None, least_profiles: int
) -> Cohorts:
    """The cohorts of a grid; those with fewer distinct profiles than `least_profiles` are left out, everything stays.

    `profiles` is distinct profiles by cohort name (absent: none); None where nobody counted them.
    """
    weight = np.bincount(grid.steps["cell"], grid.steps["alive_ms"].clip(lower=0), len(grid.cells)) + 1.0
    values = [grid.cells[name].to_numpy(dtype=object) for name in DIMENSIONS]
    found = hierarchy.build(DIMENSIONS, values, sets, weight)
    if profiles is None:
        return found
    keep = [i for i, name in enumerate(found.names) if not name or profiles.get(name, 0) >= least_profiles]
    return hierarchy.only(found, keep)


def learned(
    grid: Grid,
    cohorts: Cohorts,
    signals: Sequence[Signal],
    counters: Sequence[str],
    low_s: int,
    high_s: int,
    tuning: Tuning,
) -> list[Model]:
    """Season and spread of every signal from the history in [low, high), whole half hours.

    The spread comes from the last two days (less where the history is short), predicted by seasons that end before
    them.
    """
    days = max((high_s - low_s) / 86_400, 0.1)
    cut = high_s - int(min(SPREAD_DAYS, days / 4) * 86_400) // season.BIN_S * season.BIN_S
    first = _seasons(grid, cohorts, signals, counters, low_s, cut)
    drafts = [Model(signal, rate, Spread(), exposure) for signal, (rate, exposure) in zip(signals, first, strict=True)]
    spreads = _spreads(grid, cohorts, drafts, counters, cut, high_s, tuning)
    last = _seasons(grid, cohorts, signals, counters, low_s, high_s)
    return [
        Model(s, rate, spread, exposure) for s, (rate, exposure), spread in zip(signals, last, spreads, strict=True)
    ]


def _seasons(
    grid: Grid, cohorts: Cohorts, signals: Sequence[Signal], counters: Sequence[str], low_s: int, high_s: int
) -> list[tuple[season.Season, season.Season | None]]:
    """Of each signal; and of a ratio's denominator."""
    blocks = grid.sums(low_s, high_s, season.BIN_S, counters)
    place = season.bin_of(low_s + season.BIN_S * np.arange(len(blocks), dtype=np.int64))
    sums = np.zeros((len(counters), len(cohorts), season.BINS))
    seconds = np.zeros(season.BINS)
    for i, cells in enumerate(blocks):
        sums[:, :, place[i]] += cohorts.sums(cells).T
        seconds[place[i]] += season.BIN_S
    column = {name: i for i, name in enumerate(counters)}
    whole = np.broadcast_to(seconds, sums[0].shape)

    def volume(counter: str) -> season.Season:
        return season.fit(sums[column[counter]], whole, cohorts, volume=True)

    def both(s: Signal) -> tuple[season.Season, season.Season | None]:
        if s.den is None:
            return volume(s.num), None
        return season.fit(sums[column[s.num]], sums[column[s.den]], cohorts, volume=False), volume(s.den)

    return [both(s) for s in signals]


def _spreads(
    grid: Grid,
    cohorts: Cohorts,
    models: Sequence[Model],
    counters: Sequence[str],
    low_s: int,
    high_s: int,
    tuning: Tuning,
) -> list[Spread]:
    tracker = Detector(cohorts, counters, models, MINUTE_S, tuning)
    seen: list[list[F8]] = [[] for _ in models]
    mean: list[list[F8]] = [[] for _ in models]
    for i, cells in enumerate(grid.sums(low_s, high_s, MINUTE_S, counters)):
        found, expected = tracker.predict(low_s + (i + 0.5) * MINUTE_S, cells)
        for j, level in enumerate(tracker.levels):
            if i >= WARM_STEPS:
                seen[j].append(found[j].astype(np.float32))
                mean[j].append((expected[j] * level.value).astype(np.float32))
            level.add(found[j], expected[j], None)
    out = []
    for model, k, m in zip(models, seen, mean, strict=True):
        windows = tuple(w for w in (1, 2, 3, 4, 6, 8, 12, 24, 60) if w * MINUTE_S <= model.signal.longest_s)
        enough = len(k) >= 2 * max(windows)
        out.append(
            fit_spread(np.array(k), np.array(m), MINUTE_S, windows, whole=model.signal.whole, kind=cohorts.kinds())
            if enough
            else Spread()
        )
    return out
