"""qoe_daily: the sums of every metric by minute and by day, for every rollup; the SQL is rendered from the metrics."""

from __future__ import annotations

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from conf.settings import Settings
from schemas.render import sql


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """`qoe_minute` of both revisions and `qoe_daily` of revision `final`, from the spans that start on `day`.

    A day is the sum of its minutes; sums of sums of integers are exact.
    """
    spans = frames["span"]
    minutes = spans.sparkSession.sql(sql.rollup_sums("{spans}"), spans=spans).cache()
    keys = ["rollup", "event_date", *sql.DIMENSIONS, "revision"]
    days = minutes.where("revision = 'final'").groupBy(*keys)
    return {"qoe_minute": minutes, "qoe_daily": days.agg(*map(F.expr, sql.sums_of_sums()))}
