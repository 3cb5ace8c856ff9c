"""Dead letters of topics without a stream job: the original bytes, with position and reason as headers.

A letter is known by the position of its message, so sending the same quarantine twice sends nothing the second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame

from jobs import produce
from jobs.context import JobContext
from jobs.topics import real_name
from schemas.topics import Topic


def send(ctx: JobContext, refused: DataFrame, topics: Sequence[Topic]) -> int:
    """Send quarantine rows of these topics to ``dlq.<topic>``; returns how many were new."""
    names = [topic.name for topic in topics]
    rows = refused.where(refused.topic.isin(names)).collect() if names else []
    sent = 0
    for topic in topics:
        letters = [row for row in rows if row.topic == topic.name]
        if not letters:
            continue
        name = f"dlq.{topic.name}"
        real = produce.ensure(ctx.settings, name, compacted=False)
        known = {_position(dict(headers)) for _, _, headers in produce.messages(ctx.settings, name)}
        fresh = [row for row in letters if (row.kafka_partition, row.kafka_offset) not in known]
        with produce.producer(ctx.settings) as client:
            source = real_name(ctx.settings, topic.name)
            sent += produce.send(client, real, [(row.message_key, row.payload, headers(row, source)) for row in fresh])
    return sent


def headers(row: Any, topic: str) -> produce.Headers:
    """The headers of a letter, as the stream writes them: UTF-8 text, `schema_id` absent if it could not be read."""
    found = {
        "topic": topic,
        "kafka_partition": row.kafka_partition,
        "kafka_offset": row.kafka_offset,
        "kafka_at": int(row.kafka_at.timestamp() * 1000),
        "schema_id": row.schema_id,
        "error_class": row.error_class,
        "reason": row.reason,
    }
    return [(name, str(value).encode()) for name, value in found.items() if value is not None]


def _position(found: dict[str, bytes]) -> tuple[int, int]:
    return int(found["kafka_partition"]), int(found["kafka_offset"])
