"""features: what was known of every profile and show at the end of a day; of those who opted out nothing."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame

from conf.settings import Settings
from jobs.pandas_frames import to_pandas
from jobs.registry import job
from jobs.session import to_spark
from models.recommend import features
from models.recommend.page_rules import flags, silent, usable_plays
from schemas import tables as t


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """See models.recommend.features."""
    delay_h = job("features").delay_h
    plays = to_pandas(
        frames["play"],
        *("profile_id", "show_id", "play_date", "started_at", "started", "watched_ms", "completed", "quality_play"),
    )
    sessions = to_pandas(
        frames["session"], "session_id", "segment", "revision", "profile_id", "close_date", "stall_ms", "play_ms"
    )
    outcomes = to_pandas(frames["impression_outcome"], "profile_id", "title_id", "shown_date", "taken")
    titles, profiles = to_pandas(frames["title"]), to_pandas(frames["profile"])
    plays = usable_plays(plays, profiles, titles, to_pandas(frames["profile_choice"]))
    sessions, outcomes = (one[~one["profile_id"].isin(silent(profiles))] for one in (sessions, outcomes))
    profiles = profiles[~flags(profiles, "erased")]
    spark = frames["play"].sparkSession
    return {
        t.FEATURE_PROFILE.name: to_spark(
            spark, features.profile_features(plays, sessions, titles, profiles, day, delay_h), t.FEATURE_PROFILE
        ),
        t.FEATURE_TITLE.name: to_spark(
            spark, features.title_features(plays, outcomes, titles, day, delay_h), t.FEATURE_TITLE
        ),
    }
