"""outcomes: what came of every impression, by the plays of its sessions that closed on the same UTC day."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from conf.settings import Settings
from schemas import records


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """One row of `impression_outcome` for every impression shown on `day`.

    Args:
        frames: `impression` as landed (received on the day or the next), `play` of the day.
    """
    shown = once(frames["impression"].withColumn("shown_date", F.to_date("shown_at")).where(F.col("shown_date") == day))
    taken = (
        frames["play"]
        .where("impression_id IS NOT NULL")
        .groupBy("impression_id")
        .agg(
            F.bool_or("quality_play").alias("taken"),
            F.lit(True).alias("attempted"),
            F.sum("watched_ms").alias("watched_ms"),
        )
    )
    rows = shown.join(taken, "impression_id", "left").fillna({"taken": False, "attempted": False, "watched_ms": 0})
    return {"impression_outcome": rows.select([f.name for f in records.load("impression_outcome").fields])}


def once(impressions: DataFrame) -> DataFrame:
    """The first landed row of every impression: a page that is reported twice was shown once."""
    first = Window.partitionBy("impression_id").orderBy("kafka_partition", "kafka_offset")
    return impressions.withColumn("place", F.row_number().over(first)).where("place = 1").drop("place")
