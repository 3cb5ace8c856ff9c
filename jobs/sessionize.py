"""sessionize: fold the events of every session to spans, sessions and plays; the fold is the kernel's.

The fold is a function of a session's whole set of events, so the job reads a day on either side and keeps what belongs
to its own day: spans by their start, sessions and plays by their end. Two kinds of sessions need more, and of more days
only those events are read:

- heard of on the first day read, but not first by number 0 (one sent again later, or from before that day, is no
  beginning): a day more at a time until it begins, or nothing is found (after a day of silence an id begins anew, as
  for the stream). What has not begun on the earliest day that the job declares is left out and counted: its segments
  have no numbers.
- of which something is heard later (a letter sent again, a device that was offline): what had happened before the last
  of the three days was over.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
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


PLACE = "xxhash64(session_id)"
"""Events are gathered by a hash of their session: a number is sorted faster than a text; the fold tells those apart."""

UNBEGUN = "length(folded) = 0"


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame | Folded]:
    """Spans that start on `day`, sessions and plays that end on it; spans and sessions as they lie in their tables.

    Args:
        frames: `playback_event` as landed in the days that the job declares; `title`, newest rows.
    """
    # Kept as bytes, not as rows: a session's rows repeat its texts and are mostly zeros.
    folded, unbegun = fold(frames["playback_event"], day, settings)
    sessions = folded.select(F.explode(F.expr("kernel.sessions_of(folded)")).alias("row")).select("row.*")
    ended = sessions.where(F.col("close_date") == day)
    return {
        "span": Folded(folded, unbegun),
        "session": ended.drop("last_state"),
        "play": plays(ended, frames["title"], day),
    }


def fold(events: DataFrame, day: date, settings: Settings) -> tuple[DataFrame, int]:
    """Sessions that touch the day, cached, and how many of them are left out as they began before what is declared.

    Column `folded` holds bytes that ``kernel.spans_of`` and ``kernel.sessions_of`` read.
    """
    packed = _packed(events.where(_received(day, -1, 1)))
    belated = letters(events, day, settings)
    if belated is not None:
        packed = packed.union(_packed(belated))
    parts = [_folded(_gathered(packed), day, 0).cache()]
    back = 1
    while (unbegun := parts[-1].where(UNBEGUN).count()) and back < registry.SESSION_DAYS:
        back += 1
        waiting = parts[-1].where(UNBEGUN)
        before = events.where(_received(day, -back, -back)).withColumn("place", F.expr(PLACE))
        found = before.join(F.broadcast(waiting.select("place")), "place", "left_semi")
        gathered = waiting.select("place", "events")
        if found.select("place").count():  # the ids alone are read until there is something
            both = gathered.union(_gathered(_packed(found)))
            gathered = both.groupBy("place").agg(F.flatten(F.collect_list("events")).alias("events"))
        parts.append(_folded(gathered, day, 1 - back).cache())
    return reduce(DataFrame.union, [part.select("folded") for part in parts]), unbegun


def letters(events: DataFrame, day: date, settings: Settings) -> DataFrame | None:
    """Events received after the next day that had happened before it was over, by the clock of their own POST; of a day
    run in time none are there yet."""
    until = _start(day, 2) - settings.fold.lateness_ms  # what was on its way at that midnight is none
    happened = F.expr("unix_millis(device_at) + unix_millis(received_at) - unix_millis(post_device_at)") < until
    late = events.where(_received(day, 2, registry.SESSION_DAYS)).where(happened)
    days = [row.received_date for row in late.select("received_date").distinct().collect()]
    return late.where(F.col("received_date").isin(days)) if days else None


def _start(day: date, shift: int) -> int:
    return int((datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=shift)).timestamp() * 1000)


def _received(day: date, first: int, last: int) -> Column:
    return F.col("received_date").between(F.lit(day + timedelta(days=first)), F.lit(day + timedelta(days=last)))


def _packed(events: DataFrame) -> DataFrame:
    event = F.call_function("kernel.pack_event", F.struct(*EVENT_COLUMNS)).alias("event")
    return events.select(F.expr(PLACE).alias("place"), event)


def _gathered(packed: DataFrame) -> DataFrame:
    """They are shuffled one by one: a list gathered before the shuffle too would be written twice."""
    return packed.repartition("place").groupBy("place").agg(F.collect_list("event").alias("events"))


def _folded(gathered: DataFrame, day: date, known: int) -> DataFrame:
    """`place`, `folded`, and the `events` of those that may have begun before the day `known` (`UNBEGUN`)."""
    window = f"{_start(day, 0) - MARGIN_MS}L, {_start(day, 1) + MARGIN_MS}L"
    folded = F.expr(f"kernel.fold_session(events, {window}, {_start(day, known)}L)").alias("folded")
    rows = gathered.select(folded, "place", "events").where("folded IS NOT NULL")
    return rows.select("folded", "place", F.when(F.expr(UNBEGUN), F.col("events")).alias("events"))


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
