"""train_artwork: the posterior of every image, from decisions and takes."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame

from conf.settings import Settings
from jobs.pandas_frames import to_pandas
from jobs.session import to_spark
from models.artwork.statistics import artwork_statistics
from schemas import tables as t


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """See models.artwork.statistics."""
    made = artwork_statistics(
        to_pandas(frames["impression_outcome"], "profile_id", "title_id", "artwork_id", "shown_date", "taken"),
        to_pandas(frames["play"], "profile_id", "show_id", "play_date", "watched_ms"),
        to_pandas(frames["title"]),
        to_pandas(frames["artwork"]),
        day,
    )
    return {t.ARTWORK_STATISTICS.name: to_spark(frames["play"].sparkSession, made, t.ARTWORK_STATISTICS)}
