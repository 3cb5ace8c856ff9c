"""popularity: tomorrow's bytes of every file in every region."""

from __future__ import annotations

from datetime import date, timedelta

from pyspark.sql import DataFrame

from conf.settings import Settings
from jobs.pandas_frames import deliveries, to_pandas
from jobs.session import to_spark
from models.demand.files import demand_forecast
from models.recommend.page_rules import flags
from schemas import tables as t


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """See models.demand.files."""
    plays = to_pandas(frames["play"], "session_id", "profile_id", "title_id", "country", "play_date", "started")
    profiles = to_pandas(frames["profile"])
    gone = set(profiles.loc[flags(profiles, "erased"), "profile_id"])
    made = demand_forecast(
        plays[~plays["profile_id"].isin(gone)],
        deliveries(frames["cdn_request"]),
        to_pandas(frames["title"]),
        to_pandas(frames["asset_file"]),
        day + timedelta(days=1),
    )
    return {t.DEMAND_FORECAST.name: to_spark(frames["play"].sparkSession, made, t.DEMAND_FORECAST)}
