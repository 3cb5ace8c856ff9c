"""fill_plan: what every CDN cluster shall hold tomorrow, within its disk and its nightly fill budget."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame

from conf.settings import Settings
from jobs.pandas_frames import deliveries, to_pandas
from jobs.session import to_spark
from models.delivery.tomorrow import cluster_forecast, fill_plans, held_now
from schemas import tables as t


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """See models.delivery.tomorrow; without a plan of today the disks are read off the delivery log."""
    files, clusters = to_pandas(frames["asset_file"]), to_pandas(frames["cdn_cluster"])
    requests = deliveries(frames["cdn_request"])
    expected = cluster_forecast(to_pandas(frames["demand_forecast"]), requests, clusters, files)
    held = held_now(to_pandas(frames["fill_plan"], "cdn_id", "files"), requests, clusters, files)
    made = fill_plans(expected, clusters, held, day + timedelta(days=1))
    return {t.FILL_PLAN.name: to_spark(frames["asset_file"].sparkSession, made, t.FILL_PLAN)}
