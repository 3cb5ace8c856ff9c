"""Out of Kafka: the newest message of each key, or messages as they come. Committed messages only.

A *snapshot* reads up to the end of the log as it was when asked, open transactions included: it waits for those to be
committed or aborted instead of stopping short at the last stable offset. So whoever has seen a `qoe_progress` row reads
everything that went before it, although Flink's sinks commit their transactions one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from kafka import TopicPartition
from kafka.errors import UnknownTopicOrPartitionError

from conf.errors import InputMissing, ServiceUnavailable
from conf.settings import Settings
from schemas import wire
from schemas.errors import WireError
from schemas.topics import Topic
from streaming import clients, topics

PATIENCE_S = 60.0
"""How long a snapshot waits for an open transaction; Flink closes one with every checkpoint."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message as the broker holds it."""

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def messages(
    topic: Topic,
    settings: Settings,
    patience_s: float = PATIENCE_S,
    begin: Mapping[TopicPartition, int] | None = None,
) -> Iterator[Message]:
    """Every committed message of a topic up to its end as of now, in order within a partition; of partitions in
    `begin` those from that offset on.

    Raises:
        InputMissing: there is no such topic.
        ServiceUnavailable: no broker, or a transaction stays open longer than `patience_s`.
    """
    ends, begin = _ends(topic, settings), begin or {}
    with clients.reaching(settings):
        consumer = clients.consumer(settings)
        try:
            waiting = {partition for partition, end in ends.items() if end > begin.get(partition, 0)}
            if waiting:
                consumer.assign(sorted(waiting))
                consumer.seek_to_beginning(*(waiting - begin.keys()))
                for partition in waiting & begin.keys():
                    consumer.seek(partition, begin[partition])
            moved = time.monotonic()
            while waiting:
                batch = consumer.poll(timeout_ms=200)
                for partition, records in batch.items():
                    yield from (_message(record) for record in records if record.offset < ends[partition])
                done = {partition for partition in waiting if consumer.position(partition) >= ends[partition]}
                waiting -= done
                if batch or done:
                    moved = time.monotonic()
                elif time.monotonic() - moved > patience_s:
                    raise _stuck(topic, settings, waiting, patience_s)
        finally:
            consumer.close()


def snapshot(
    topic: Topic,
    settings: Settings,
    patience_s: float = PATIENCE_S,
    wanted: Callable[[bytes], bool] | None = None,
) -> pd.DataFrame:
    """The newest message of each key of a compacted topic, as a frame of its record; deleted keys are left out.

    Rows stand in the order of their keys. An empty topic gives an empty frame with the record's columns. Of keys that
    `wanted` does not want nothing is decoded.

    Raises:
        InputMissing, ServiceUnavailable: see `messages`.
        WireError: a message that is not of the topic's record.
    """
    held = newest(messages(topic, settings, patience_s))
    values = (value for key, value in held.items() if wanted is None or wanted(key))
    return wire.decode_many(values, topic.record)


def readable(values: Iterable[bytes], record: str, skip: Callable[[WireError], None]) -> pd.DataFrame:
    """Rows of those messages that are of the record; each of the others is told to `skip` and left out, as whoever
    wrote it must mend it."""
    parts = [list(values)]
    frames = []
    while parts:  # halves are tried again until the unreadable ones stand alone: few of them cost few passes
        held = parts.pop()
        try:
            frames.append(wire.decode_many(held, record))
        except WireError as error:
            if len(held) == 1:
                skip(error)
            else:
                parts += [held[len(held) // 2 :], held[: len(held) // 2]]
    return pd.concat(frames, ignore_index=True) if frames else wire.decode_many([], record)


def newest(found: Iterable[Message]) -> dict[bytes, bytes]:
    """Key to newest value, in order of keys; a value None (a tombstone) removes its key."""
    kept: dict[bytes, bytes] = {}
    for message in found:
        key = message.key or b""
        if message.value is None:
            kept.pop(key, None)
        else:
            kept[key] = message.value
    return dict(sorted(kept.items()))


def tail(topic: Topic, settings: Settings, stop: Callable[[], bool], *, from_start: bool = False) -> Iterator[Message]:
    """Committed messages as they come, until `stop()` says so; asked at least five times a second."""
    ends = _ends(topic, settings)
    with clients.reaching(settings):
        consumer = clients.consumer(settings)
        try:
            consumer.assign(list(ends))
            for partition, end in ends.items():
                consumer.seek(partition, 0 if from_start else end)
            while not stop():
                for records in consumer.poll(timeout_ms=200).values():
                    yield from map(_message, records)
        finally:
            consumer.close()


def _ends(topic: Topic, settings: Settings) -> dict[TopicPartition, int]:
    name = topics.real_name(topic, settings)
    with clients.admin(settings) as client:
        if name not in client.list_topics():
            raise InputMissing(f"no topic {name} at {settings.kafka.bootstrap}: `matinee world produce` makes it")
    try:
        sizes = topics.sizes(topic, settings)
    except UnknownTopicOrPartitionError as error:
        count = settings.kafka.partitions
        raise InputMissing(f"topic {name} has fewer than kafka.partitions = {count} partitions") from error
    return dict(zip(topics.partitions(topic, settings), sizes, strict=True))


def _stuck(topic: Topic, settings: Settings, waiting: set[TopicPartition], patience_s: float) -> ServiceUnavailable:
    numbers = ", ".join(str(partition.partition) for partition in sorted(waiting))
    return ServiceUnavailable(
        f"{topics.real_name(topic, settings)}: a transaction on partition {numbers} stays open longer than "
        f"{patience_s:.0f} s; is the stream job running? See `matinee stream status`"
    )


def _message(record: Any) -> Message:
    headers = dict(record.headers or ())
    return Message(record.topic, record.partition, record.offset, record.timestamp, record.key, record.value, headers)
