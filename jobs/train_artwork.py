"""train_artwork: the posterior of every image, from decisions and takes."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame

from conf.settings import Settings
from jobs.pandas_frames import to_pandas
from jobs.session import to_spark
from models.artwork.statistics import artwork_statistics
from models.recommend.page_rules import silent
from schemas import tables as t


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """See models.artwork.statistics; of who opted out or is erased nothing is read."""
    outcomes = to_pandas(frames["impression_outcome"], "profile_id", "title_id", "artwork_id", "shown_date", "taken")
    plays = to_pandas(frames["play"], "profile_id", "show_id", "play_date", "watched_ms")
    gone = silent(to_pandas(frames["profile"]))
    made = artwork_statistics(
        outcomes[~outcomes["profile_id"].isin(gone)],
        plays[~plays["profile_id"].isin(gone)],
        to_pandas(frames["title"]),
        to_pandas(frames["artwork"]),
        day,
    )
    return {t.ARTWORK_STATISTICS.name: to_spark(frames["play"].sparkSession, made, t.ARTWORK_STATISTICS)}
