"""sessionize: fold the events of every session to spans, sessions and plays; the fold is the kernel's.

The fold is a function of a session's whole set of events, so the job reads a day on either side and keeps what belongs
to its own day: spans by their start, sessions and plays by their end.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from conf.settings import Settings
from jobs import registry
from lake.publish import Folded
from models.playback import watched
from schemas import records, tables

KERNEL = True
"""The runner registers the kernel's functions before `transform`."""

EVENT_COLUMNS = (
    "session_id", "seq", "device_at", "received_at", "post_device_at", "state", "bitrate_kbps", "playhead_ms",
    "background", "ad", "profile_id", "title_id", "asset_id", "isp", "country", "device", "app_version", "cdn_id",
    "impression_id", "page_id", "kafka_partition", "kafka_offset", "stall_count", "stall_total_ms", "error_code",
    "playback_rate", "kept",
)  # fmt: skip
"""What the fold reads of an event."""

MARGIN_MS = 60_000
"""Sessions this close to the day are folded too; what they leave in the day is decided by the fold, not by this."""


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame | Folded]:
    """Spans that start on `day`, sessions and plays that end on it; spans and sessions as they lie in their tables.

    Args:
        frames: `playback_event` as landed from the day before to the day after; `title`, newest rows.
    """
    # Kept as bytes, not as rows: a session's rows repeat its texts and are mostly zeros.
    folded = fold(frames["playback_event"], day).cache()
    sessions = folded.select(F.explode(F.expr("kernel.sessions_of(folded)")).alias("row")).select("row.*")
    ended = sessions.where(F.col("close_date") == day)
    return {
        "span": Folded(folded),
        "session": ended.drop("last_state"),
        "play": plays(ended, frames["title"], day),
    }


def fold(events: DataFrame, day: date) -> DataFrame:
    """Column `folded`, bytes that ``kernel.spans_of`` and ``kernel.sessions_of`` read, of sessions that touch the day.

    Events are gathered by a hash of their session: a number is sorted faster than a text, and the fold tells sessions
    of one hash apart. They are shuffled one by one: a list gathered before the shuffle too would be written twice.
    """
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    packed = events.select(
        F.xxhash64("session_id").alias("place"),
        F.call_function("kernel.pack_event", F.struct(*EVENT_COLUMNS)).alias("event"),
    )
    gathered = packed.repartition("place").groupBy("place").agg(F.collect_list("event").alias("events"))
    window = f"{start - MARGIN_MS}L, {start + 86_400_000 + MARGIN_MS}L"
    return gathered.select(F.expr(f"kernel.fold_session(events, {window})").alias("folded")).where("folded IS NOT NULL")


def plays(ended: DataFrame, titles: DataFrame, day: date) -> DataFrame:
    """One row for every attempt of `ended` (sessions at rest and their `last_state`) as revision `final` has it, with
    what came of it; a retry that recovered a failure is a row of its own."""
    began = "attempts + start_failures_recovered + playback_failures_recovered > 0"
    final = ended.where(f"revision IN ('final', '{tables.BOTH}') AND {began}")
    known = titles.select("title_id", "show_id", F.col("duration_ms").alias("running_ms"))
    available = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(
        days=1, hours=registry.job("sessionize").delay_h
    )
    rows = final.join(F.broadcast(known), "title_id", "left").withColumn(
        "duration_ms", F.coalesce("running_ms", F.lit(0).cast("long"))
    )
    made = {
        "show_id": F.coalesce("show_id", "title_id"),
        "started_at": F.col("start_at"),
        "play_date": F.col("close_date"),
        "started": F.expr("plays + playback_failures_recovered > 0"),
        "watched_ms": F.col("play_ms"),
        "censored": (F.col("end_reason") == "failed") | (F.col("last_state") == "rebuffering"),
        "event_at": F.col("end_at"),
        "available_at": F.lit(available),
    }
    made |= {name: F.expr(text) for name, text in watched.columns().items()}
    names = [f.name for f in records.load(tables.PLAY.record).fields]
    return rows.select(*(made.get(name, F.col(name)).alias(name) for name in names))
