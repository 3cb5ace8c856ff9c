"""Silver records of a lived day without an engine: plays off the world's timeline, impressions with their outcome."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

from models.world.service import Day


def plays_of(lived: Day, titles: pd.DataFrame, day: date) -> pd.DataFrame:
    """Record `play` of the day's sessions (no event_at, available_at): one row per session and content.

    Sums come from the world's timeline; who, where and from which impression from the first event that arrived.
    """
    shown = lived.truth["timeline"]
    content = shown[(shown["state"] == "playing") & ~shown["ad"] & ~shown["background"]]
    watched = (content["end_ms"] - content["start_ms"]).groupby([content["session_id"], content["part"]]).sum()
    frame = shown.groupby(["session_id", "part"], as_index=False).agg(
        title_id=("title_id", "first"), start_ms=("start_ms", "min"), last=("state", "last")
    )
    frame["watched_ms"] = (
        watched.reindex(pd.MultiIndex.from_frame(frame[["session_id", "part"]])).fillna(0).to_numpy(np.int64)
    )
    first = lived.events.drop_duplicates("session_id")[
        ["session_id", "profile_id", "country", "device", "isp", "cdn_id", "impression_id"]
    ]
    ends = lived.truth["sessions"][["session_id", "end_state", "parts"]]
    known = titles.drop_duplicates("title_id")[["title_id", "show_id", "duration_ms"]]
    frame = frame.merge(first, on="session_id").merge(ends, on="session_id").merge(known, on="title_id")
    share = np.minimum(frame["watched_ms"] / frame["duration_ms"].clip(lower=1), 1.0)
    is_last = frame["part"] == frame.groupby("session_id")["part"].transform("max")
    frame["impression_id"] = frame["impression_id"].where(
        frame["part"] == frame.groupby("session_id")["part"].transform("min")
    )
    failed = is_last & ((frame["end_state"] == "failed") | (frame["last"] == "rebuffering"))
    return frame.assign(
        segment=frame["part"].astype(np.int64),
        started_at=pd.to_datetime(frame["start_ms"], unit="ms", utc=True),
        play_date=day,
        started=frame["watched_ms"] > 0,
        content_ms=frame[["watched_ms", "duration_ms"]].min(axis=1),
        watched_share=share,
        completed=share >= 0.9,
        censored=failed,
        quality_play=((frame["watched_ms"] >= 120_000) & (share >= 0.1)) | (share >= 0.9),
    )[
        [
            "session_id",
            "segment",
            "profile_id",
            "title_id",
            "show_id",
            "started_at",
            "play_date",
            "started",
            "watched_ms",
            "content_ms",
            "duration_ms",
            "watched_share",
            "completed",
            "quality_play",
            "censored",
            "country",
            "device",
            "isp",
            "cdn_id",
            "impression_id",
        ]
    ]


def impression_outcomes(lived: Day, plays: pd.DataFrame, day: date) -> pd.DataFrame:
    """Record `impression_outcome` of the day, by the rule of job `outcomes`."""
    came = (
        plays[plays["impression_id"].notna()]
        .groupby("impression_id")
        .agg(taken=("quality_play", "max"), watched_ms=("watched_ms", "sum"))
    )
    shown = lived.impressions.drop_duplicates("impression_id").merge(
        came, how="left", left_on="impression_id", right_index=True
    )
    attempted = shown["taken"].notna()
    return shown.assign(
        shown_date=day,
        attempted=attempted,
        taken=shown["taken"].eq(True),
        watched_ms=shown["watched_ms"].fillna(0).astype(np.int64),
    )
