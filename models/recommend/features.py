"""What was known of a profile and of a show at the end of a day: the core of job `features`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_day, epoch_days, no_future
from models.recommend.interactions import shows
from models.recommend.taste import top_genres


def moments(day: date, delay_h: int) -> tuple[pd.Timestamp, pd.Timestamp]:
    """(event_at, available_at) of a day's features: its end, and its end plus the job's delay in hours."""
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return pd.Timestamp(end), pd.Timestamp(end + timedelta(hours=delay_h))


def profile_features(
    plays: pd.DataFrame, sessions: pd.DataFrame, titles: pd.DataFrame, profiles: pd.DataFrame, day: date, delay_h: int
) -> pd.DataFrame:
    """Record feature_profile, one row per profile, sorted.

    Args:
        plays: record `play` of 28 days up to `day`. sessions: record `session` of 7 days; of a segment in both
            revisions the final one counts. titles, profiles: newest rows of their records.
    """
    today = epoch_day(day)
    ids = pd.Index(sorted(set(profiles["profile_id"])), name="profile_id")
    age = today - epoch_days(plays["play_date"])
    no_future(plays["play_date"], "plays", day)
    good = plays["quality_play"].to_numpy(dtype=bool)
    month, week = age < 28, age < 7
    quality = plays[good & month]
    event_at, available_at = moments(day, delay_h)
    last = pd.Series(age[good & month], index=quality["profile_id"]).groupby(level=0).min().reindex(ids)
    return pd.DataFrame(
        {
            "profile_id": ids,
            "event_at": event_at,
            "available_at": available_at,
            "event_date": day,
            "plays_7d": _count(plays[good & week], "profile_id", ids),
            "plays_28d": _count(quality, "profile_id", ids),
            "watched_ms_7d": plays[week]
            .groupby("profile_id")["watched_ms"]
            .sum()
            .reindex(ids)
            .fillna(0)
            .to_numpy(np.int64),
            "shows_28d": quality.groupby("profile_id")["show_id"].nunique().reindex(ids).fillna(0).to_numpy(np.int64),
            "top_genre": _nullable(top_genres(plays[month], titles, today).reindex(ids)),
            "rebuffer_ratio_7d": _nullable(_rebuffering(sessions, today).reindex(ids)),
            "days_since_play": pd.array(last.to_numpy(dtype=np.float64), dtype="Int32"),
        }
    )


def title_features(
    plays: pd.DataFrame, outcomes: pd.DataFrame, titles: pd.DataFrame, day: date, delay_h: int
) -> pd.DataFrame:
    """Record feature_title, one row per show known on the day, sorted.

    Args:
        plays: record `play` of 28 days up to `day`. outcomes: record impression_outcome of 7 days up to `day`.
    """
    today = epoch_day(day)
    catalogue = shows(titles)
    ids = pd.Index(catalogue["title_id"], name="title_id")
    age = today - epoch_days(plays["play_date"])
    no_future(plays["play_date"], "plays", day)
    good = plays["quality_play"].to_numpy(dtype=bool)
    started = plays[plays["started"].to_numpy(dtype=bool) & (age < 28)].groupby("show_id")
    shown = outcomes[today - epoch_days(outcomes["shown_date"]) < 7].groupby("title_id")
    event_at, available_at = moments(day, delay_h)
    whole = started["completed"].agg(["sum", "count"]).reindex(ids)
    return pd.DataFrame(
        {
            "title_id": ids,
            "event_at": event_at,
            "available_at": available_at,
            "event_date": day,
            **{f"plays_{n}d": _count(plays[good & (age < n)], "show_id", ids) for n in (1, 7, 28)},
            "profiles_7d": plays[good & (age < 7)]
            .groupby("show_id")["profile_id"]
            .nunique()
            .reindex(ids)
            .fillna(0)
            .to_numpy(np.int64),
            "completion_28d": _nullable(whole["sum"] / whole["count"]),
            "impressions_7d": shown.size().reindex(ids).fillna(0).to_numpy(np.int64),
            "takes_7d": shown["taken"].sum().reindex(ids).fillna(0).to_numpy(np.int64),
            "age_days": (today - catalogue["launch_day"].to_numpy()).astype(np.int32),
        }
    )


def _count(frame: pd.DataFrame, key: str, ids: pd.Index) -> NDArray[np.int64]:
    return np.asarray(frame.groupby(key).size().reindex(ids).fillna(0), dtype=np.int64)


def _nullable(values: pd.Series) -> NDArray[np.object_]:
    """Missing values as None."""
    out = values.to_numpy(dtype=object)
    out[values.isna().to_numpy()] = None
    return out


def _rebuffering(sessions: pd.DataFrame, today: int) -> pd.Series:
    """Stall over stall plus playing of the last 7 days by profile; absent without either."""
    recent = sessions[today - epoch_days(sessions["close_date"]) < 7]
    one = recent.sort_values(["session_id", "segment", "revision"], kind="mergesort").drop_duplicates(
        ["session_id", "segment"]
    )  # 'final' sorts before 'live'
    sums = one.groupby("profile_id")[["stall_ms", "play_ms"]].sum()
    sums = sums[sums.sum(axis=1) > 0]
    return sums["stall_ms"] / (sums["stall_ms"] + sums["play_ms"])
