"""Messages for tests: hostile playback events, with poison and end-of-day marks, written to a real broker."""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from kafka import KafkaProducer

from conf.settings import Settings
from schemas import topics, wire
from schemas.topics import Topic
from streaming.topics import create
from tests.kernel import hostile

DAY = datetime.fromtimestamp(hostile.MIDNIGHT / 1000, UTC).date()
"""The day after the midnight around which hostile sessions lie."""

POISON = (b"", b"\x01nothing", b"\x00\x00\x00\x03\xe7later", b"\x00\x00\x00\x00\x01")


def universe(stack: Settings, name: str) -> dict[str, str]:
    """Variables that put a test's topics beside all others on the stack's broker."""
    return {
        "MATINEE__KAFKA__BOOTSTRAP": stack.kafka.bootstrap,
        "MATINEE__KAFKA__TOPIC_PREFIX": f"{name}-{secrets.token_hex(3)}.",
    }


@dataclass
class Sent:
    """What was written: event rows with their position, and the positions of poison."""

    events: list[dict[str, Any]]
    poison: dict[tuple[int, int], bytes]


def events(seed: int, sessions: int, prefix: str = "s") -> list[dict[str, Any]]:
    """Events of hostile sessions in sending order; times are UTC milliseconds."""
    rng = random.Random(seed)
    made = [hostile.sent(rng, hostile.session(rng, f"{prefix}{n}")) for n in range(sessions)]
    return hostile.topic(rng, made, 1_000)


def message(row: dict[str, Any]) -> bytes:
    """One event on the wire, in version 1 or 2 of its record by its number."""
    times = {name: _moment(row[name]) for name in ("device_at", "post_device_at", "received_at")}
    version = 1 + row["seq"] % 2
    fields = {f.name for f in wire.records.load("playback_event", version).fields}
    return wire.encode_one("playback_event", {k: v for k, v in (row | times).items() if k in fields}, version)


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC) + timedelta(milliseconds=ms % 1000)


def write_events(
    settings: Settings, rows: list[dict[str, Any]], *, poison_every: int = 50, end: date | None = None
) -> Sent:
    """Send rows in order, a poison message after every `poison_every`-th; real offsets go into the rows returned."""
    create(settings)
    topic = settings.kafka.topic_prefix + topics.PLAYBACK_EVENT.name
    client = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap, linger_ms=20)
    sent, bad = [], []
    for place, row in enumerate(rows):
        partition = row["kafka_partition"] % settings.kafka.partitions
        key = row["session_id"].encode()
        sent.append(
            (row, client.send(topic, key=key, value=message(row), partition=partition, timestamp_ms=row["kafka_at"]))
        )
        if place % poison_every == 0:
            value = POISON[place // poison_every % len(POISON)]
            bad.append(
                (value, client.send(topic, key=b"p", value=value, partition=partition, timestamp_ms=row["kafka_at"]))
            )
    for partition in range(settings.kafka.partitions) if end else ():
        at = datetime.combine(end, datetime.min.time(), UTC) + timedelta(days=1, milliseconds=195_000)
        mark = wire.encode_one("day_end", {"day": end, "partition": partition, "received_at": at})
        client.send(topic, key=f"__day_end__{partition}".encode(), value=mark, partition=partition)
    client.flush()
    client.close()
    placed = [row | _place(future) for row, future in sent]
    return Sent(placed, {(f.get().partition, f.get().offset): value for value, f in bad})


def _place(future: Any) -> dict[str, int]:
    found = future.get()
    return {"kafka_partition": found.partition, "kafka_offset": found.offset}


def write(settings: Settings, topic: Topic, values: list[tuple[str, bytes | None]], at_ms: int) -> None:
    """Send (key, value) to a topic, stamped `at_ms`."""
    create(settings)
    client = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap)
    for key, value in values:
        client.send(settings.kafka.topic_prefix + topic.name, key=key.encode(), value=value, timestamp_ms=at_ms)
    client.flush()
    client.close()
