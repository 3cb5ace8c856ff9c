"""pages: tomorrow's home page of every profile, by the model the promotion row lets serve."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from conf.settings import Settings
from jobs.pandas_frames import to_pandas
from jobs.session import batches_to_spark
from models.recommend.pages import PageInputs, page_batches, served_model
from schemas import tables as t


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """See models.recommend.pages; reads the promotion row of the day, never a movable alias."""
    plays = to_pandas(
        frames["play"],
        "session_id",
        "segment",
        "profile_id",
        "title_id",
        "show_id",
        "started_at",
        "play_date",
        "country",
        "device",
        "quality_play",
        "censored",
        "completed",
        "watched_share",
    )
    promotion = to_pandas(frames["promotion"])
    factors = frames["factors"].where(F.col("model_id") == F.lit(served_model(promotion)))
    given = PageInputs(
        plays,
        to_pandas(frames["title"]),
        to_pandas(frames["profile"]),
        to_pandas(factors),
        promotion,
        to_pandas(frames["feature_title"], "title_id", "plays_1d", "plays_7d"),
        day + timedelta(days=1),
        salt=settings.experiment.page_salt,
        holdback=settings.experiment.page_holdback,
        choices=to_pandas(frames["profile_choice"]),
        impressions=to_pandas(frames["impression_outcome"], "profile_id", "row", "col"),
        zones=settings.pages.time_zones,
    )
    made = page_batches(given)
    return {t.HOME_PAGE.name: batches_to_spark(frames["play"].sparkSession, made, t.HOME_PAGE)}
