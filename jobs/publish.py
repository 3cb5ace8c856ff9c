"""publish: tomorrow's pages, artwork choices and fill plans to their compacted topics, and the fill commands.

Idempotent by key: a second run sends the same values under the same keys, deletes nothing it did not delete before, and
sends no command twice. A key that tomorrow's partition no longer has is deleted from its topic, or a viewer would see a
page of last week for ever.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame

from jobs import produce
from jobs.context import JobContext
from models.delivery import rfc8007
from schemas import topics, wire
from schemas.topics import Topic

COMPACTED: dict[str, Topic] = {
    "home_page": topics.HOME_PAGE,
    "artwork_choice": topics.ARTWORK_CHOICE,
    "fill_plan": topics.CDN_FILL_PLAN,
}
"""Table to topic."""


def run(ctx: JobContext) -> None:
    """Send the partitions of the day after `ctx.day`.

    Raises:
        InputMissing: a partition is not there yet.
        ServiceUnavailable: the broker does not answer.
    """
    frames = ctx.frames()
    made = {name: to_pandas(frames[name]) for name in COMPACTED}
    counts = []
    for name, topic in COMPACTED.items():
        sent, deleted = replace(ctx, topic, made[name])
        counts.append(f"{topic.name} {sent:,} sent, {deleted:,} deleted")
    counts.append(f"{topics.CDN_PREPOSITION.name} {send_commands(ctx, made['fill_plan'], frames['asset_file']):,} sent")
    ctx.say("publish: " + "; ".join(counts))


def replace(ctx: JobContext, topic: Topic, rows: pd.DataFrame) -> tuple[int, int]:
    """Make a compacted topic hold exactly `rows`: (values sent, keys deleted)."""
    keys = message_keys(topic, rows)
    real = produce.ensure(ctx.settings, topic.name, compacted=topic.compacted)
    gone = sorted(produce.live_keys(ctx.settings, topic.name) - set(keys))
    values = wire.encode_frame(topic.record, None, rows)
    with produce.producer(ctx.settings) as client:
        sent = produce.send(client, real, ((key, value, []) for key, value in zip(keys, values, strict=True)))
        deleted = produce.send(client, real, ((key, None, []) for key in gone))
    return sent, deleted


def send_commands(ctx: JobContext, plans: pd.DataFrame, files: DataFrame) -> int:
    """Send the RFC 8007 commands of the plans that are not in the topic yet."""
    topic, delivery = topics.CDN_PREPOSITION, ctx.settings.delivery
    commands = rfc8007.commands(
        plans,
        files.select("file_id", "url").toPandas(),
        base_url=delivery.base_url,
        cdn_path=[delivery.cdn_provider_id],
    )
    real = produce.ensure(ctx.settings, topic.name, compacted=topic.compacted)
    known = produce.live_keys(ctx.settings, topic.name)
    fresh = commands[np.array([key not in known for key in message_keys(topic, commands)], dtype=bool)]
    values = wire.encode_frame(topic.record, None, fresh)
    with produce.producer(ctx.settings) as client:
        pairs = zip(message_keys(topic, fresh), values, strict=True)
        return produce.send(client, real, ((key, value, []) for key, value in pairs))


def message_keys(topic: Topic, rows: pd.DataFrame) -> list[bytes]:
    """The message key of every row, as bytes."""
    return [key.encode() for key in wire.message_keys(topic.key, rows)]


def to_pandas(frame: DataFrame) -> pd.DataFrame:
    """Rows in record form: times in UTC milliseconds, dates as dates, nested values as lists and dicts."""
    table = frame.toArrow()
    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_timestamp(column.type):
            columns[name] = column.cast(pa.timestamp("ms", tz="UTC")).to_pandas()
        elif pa.types.is_nested(column.type) or pa.types.is_date(column.type):
            columns[name] = pd.Series(column.to_pylist(), dtype=object)
        else:
            columns[name] = column.to_pandas()
    return pd.DataFrame(columns)
