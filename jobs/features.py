"""features: what was known of every profile and show at the end of a day."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame

from conf.settings import Settings
from jobs.pandas_frames import to_pandas
from jobs.registry import job
from jobs.session import to_spark
from models.recommend import features
from schemas import tables as t


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """See models.recommend.features."""
    delay_h = job("features").delay_h
    plays = to_pandas(
        frames["play"], "profile_id", "show_id", "play_date", "started", "watched_ms", "completed", "quality_play"
    )
    sessions = to_pandas(
        frames["session"], "session_id", "segment", "revision", "profile_id", "close_date", "stall_ms", "play_ms"
    )
    outcomes = to_pandas(frames["impression_outcome"], "title_id", "shown_date", "taken")
    titles, profiles = to_pandas(frames["title"]), to_pandas(frames["profile"])
    spark = frames["play"].sparkSession
    return {
        t.FEATURE_PROFILE.name: to_spark(
            spark, features.profile_features(plays, sessions, titles, profiles, day, delay_h), t.FEATURE_PROFILE
        ),
        t.FEATURE_TITLE.name: to_spark(
            spark, features.title_features(plays, outcomes, titles, day, delay_h), t.FEATURE_TITLE
        ),
    }
