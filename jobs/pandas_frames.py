"""Small Spark frames as pandas, in the forms models expect. Only jobs whose data fits one machine use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, TimestampType

if TYPE_CHECKING:
    import pandas as pd


def to_pandas(frame: DataFrame, *columns: str) -> pd.DataFrame:
    """The frame, or some of its columns: moments as datetime64 in UTC, days as dates, arrays as lists."""
    chosen = frame.select(*columns) if columns else frame
    table = chosen.toPandas()
    for field in chosen.schema.fields:
        if isinstance(field.dataType, TimestampType):
            table[field.name] = table[field.name].dt.tz_localize("UTC")
        if isinstance(field.dataType, ArrayType):
            table[field.name] = [list(value) for value in table[field.name]]
    return table


def deliveries(requests: DataFrame) -> pd.DataFrame:
    """The delivery log by viewing (cluster, session, file): minute_at (first) and bytes; repeated log lines once."""
    once = requests.dropDuplicates(["request_id"])
    grouped = once.groupBy("cdn_id", "session_id", "file_id").agg(
        F.min("minute_at").alias("minute_at"), F.sum("bytes").alias("bytes")
    )
    table = to_pandas(grouped)
    return table.sort_values(["cdn_id", "session_id", "file_id"], kind="mergesort", ignore_index=True)
