"""Plays expected of every playable title in every region on one day.

History is decayed counts, pooled over regions with gamma shrinkage: a title's regional rate starts at its rate
everywhere times the region's share and moves as its own plays come in. Titles about to launch have no history and take
the mean launch level of their kind (release calendar): a third of a real top list's hours are in their first week.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_day, epoch_days
from models.frames import places

HALF_LIFE_DAYS = 3.0
REGION_SHAPE = 8.0
"""Shape of the gamma prior of a region's rate over its pooled rate: relative spread 1 / sqrt(shape)."""
TITLE_SHAPE = 0.5
"""Shape of the gamma prior of a title's rate around the mean rate of its kind and age."""
WEEKDAY_PRIOR_DAYS = 2.0
YOUNG_DAYS = 3
"""Days a launch level is measured over, and in which a title is held against it rather than against old titles."""

HISTORY, CALENDAR = "history", "release_calendar"


@dataclass(frozen=True, slots=True)
class _Counts:
    """Plays by region, title and day, shape (regions, titles, days)."""

    regions: list[str]
    plays: NDArray[np.float64]
    first: int
    last: int


def forecast_plays(plays: pd.DataFrame, titles: pd.DataFrame, forecast_date: date) -> pd.DataFrame:
    """Expected plays: region, title_id, expected_plays, method; one row per region and title out on the day.

    Args:
        plays: record `play` of the days before, of any length; a play is one that showed a frame.
        titles: newest rows of record `title`.
        forecast_date: the day forecast.
    """
    target = epoch_day(forecast_date)
    playable = titles[titles["kind"] != "series"].sort_values("title_id").drop_duplicates("title_id")
    launch = epoch_days(playable["launch_date"])
    playable, launch = playable[launch <= target], launch[launch <= target]
    counts = _count(plays, playable["title_id"].to_numpy(dtype=object), target)
    if not counts.regions:
        return pd.DataFrame({"region": [], "title_id": [], "expected_plays": [], "method": []})
    kind = playable["kind"].astype(str).to_numpy(dtype=object)
    rate = _pooled_rate(counts, launch, kind, target)
    regional = _regional_rate(counts, launch, rate) * _weekday(counts, target)
    method = np.where((launch > counts.last) | (launch >= target), CALENDAR, HISTORY)
    region_count, title_count = regional.shape
    return pd.DataFrame(
        {
            "region": np.repeat(np.array(counts.regions, dtype=object), title_count),
            "title_id": np.tile(playable["title_id"].to_numpy(dtype=object), region_count),
            "expected_plays": regional.ravel(),
            "method": np.tile(method, region_count),
        }
    )


def _count(plays: pd.DataFrame, title_ids: NDArray[np.object_], target: int) -> _Counts:
    seen = plays[plays["started"].astype(bool)]
    day = epoch_days(seen["play_date"])
    if len(day) and int(day.max()) >= target:
        raise ValueError(f"plays reach epoch day {int(day.max())}, the forecast is for {target}: that would be a leak")
    regions = sorted(set(seen["country"].astype(str)))
    if not regions:
        return _Counts([], np.zeros((0, len(title_ids), 0)), target - 1, target - 1)
    first, last = int(day.min()), int(day.max())
    table = np.zeros((len(regions), len(title_ids), last - first + 1))
    title = places(title_ids, seen["title_id"])
    region = places(regions, seen["country"].astype(str))
    np.add.at(table, (region[title >= 0], title[title >= 0], day[title >= 0] - first), 1.0)
    return _Counts(regions, table, first, last)


def _exposure(counts: _Counts, launch: NDArray[np.int64]) -> NDArray[np.float64]:
    """Decay weight of every title's days on offer, shape (titles, days); 0 before launch."""
    days = np.arange(counts.first, counts.last + 1)
    weight = np.power(0.5, (counts.last - days) / HALF_LIFE_DAYS)
    return np.where(days[None, :] >= launch[:, None], weight[None, :], 0.0)


def _pooled_rate(
    counts: _Counts, launch: NDArray[np.int64], kind: NDArray[np.object_], target: int
) -> NDArray[np.float64]:
    """Plays a day of every title over all regions, shape (titles,), shrunk to what titles of its kind and age get."""
    weight = _exposure(counts, launch)
    total = counts.plays.sum(axis=0)
    got, exposed = (total * weight).sum(axis=1), weight.sum(axis=1)
    young = launch > target - 1 - YOUNG_DAYS
    mean = np.zeros(len(launch))
    for which in sorted(set(kind)):
        mine = kind == which
        settled = float(got[mine].sum() / max(exposed[mine].sum(), 1e-9))
        mean[mine] = np.where(young[mine], _launch_level(counts, total, launch, mine, settled), settled)
    mean = np.maximum(mean, 1e-9)
    return np.asarray(mean * (got + TITLE_SHAPE) / (exposed * mean + TITLE_SHAPE))


def _launch_level(
    counts: _Counts, total: NDArray[np.float64], launch: NDArray[np.int64], mine: NDArray[np.bool_], settled: float
) -> float:
    """Mean plays a day of titles of a kind in their first days, from the launches inside the log.

    One title's worth of the settled level is mixed in, so that a kind without launches has a level too.
    """
    days = np.arange(counts.first, counts.last + 1)
    age = days[None, :] - launch[:, None]
    fresh = (age >= 0) & (age < YOUNG_DAYS) & (launch[:, None] >= counts.first) & mine[:, None]
    return float((total[fresh].sum() + settled * YOUNG_DAYS) / (fresh.sum() + YOUNG_DAYS))


def _regional_rate(counts: _Counts, launch: NDArray[np.int64], rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Plays a day by region and title, shape (regions, titles)."""
    weight = _exposure(counts, launch)
    share = counts.plays.sum(axis=(1, 2)) / counts.plays.sum()
    expected = share[:, None] * rate[None, :]
    got = (counts.plays * weight[None]).sum(axis=2)
    return np.asarray(expected * (got + REGION_SHAPE) / (expected * weight.sum(axis=1)[None, :] + REGION_SHAPE))


def _weekday(counts: _Counts, target: int) -> float:
    """How much busier the target's weekday is than the (decayed) days the rates come from."""
    days = np.arange(counts.first, counts.last + 1)
    total = counts.plays.sum(axis=(0, 1))
    weight = np.power(0.5, (counts.last - days) / HALF_LIFE_DAYS)
    level = {
        d: (total[days % 7 == d].sum() + WEEKDAY_PRIOR_DAYS * total.mean())
        / ((days % 7 == d).sum() + WEEKDAY_PRIOR_DAYS)
        for d in range(7)
    }
    usual = sum(w * level[int(d % 7)] for w, d in zip(weight, days, strict=True)) / weight.sum()
    return float(level[target % 7] / usual) if usual > 0 else 1.0
