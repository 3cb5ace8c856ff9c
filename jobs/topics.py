"""Kafka seen from the batch side: offset ranges captured once, their records as Spark frames, `read_committed`."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from conf.errors import AuditFailed, InputMissing, ServiceUnavailable
from conf.settings import Settings
from schemas.topics import Topic

Offsets = dict[int, int]
"""Offset by partition."""


BULK = {
    "kafka.fetch.max.wait.ms": "20",
    "kafka.max.partition.fetch.bytes": str(16 * 2**20),
    "kafka.max.poll.records": "20000",
    "kafka.receive.buffer.bytes": str(2**20),
}
"""For the consumers of a range: it ends where nothing more comes, so the half second that a consumer waits for more by
default was most of the time of a small topic; and a large one comes in few calls."""


@dataclass(frozen=True)
class Bounds:
    """What a topic holds now: first offset kept and first offset not yet readable, of every partition."""

    first: Offsets
    end: Offsets


def real_name(settings: Settings, name: str) -> str:
    """The topic's name on the broker."""
    return settings.kafka.topic_prefix + name


def knock(settings: Settings) -> None:
    """Open and close a connection to a bootstrap address: a broker that is away is known at once.

    Raises:
        ServiceUnavailable: none of the addresses answers.
    """
    refused: OSError | None = None
    for address in settings.kafka.bootstrap.split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            refused = error
    raise ServiceUnavailable(f"no broker answers on {settings.kafka.bootstrap} ({refused}): run `matinee up`")


@contextmanager
def consumer(settings: Settings, isolation: str = "read_committed") -> Iterator[KafkaConsumer]:
    """A consumer without a group.

    Raises:
        ServiceUnavailable: the broker does not answer.
    """
    address = settings.kafka.bootstrap
    knock(settings)
    try:
        client = KafkaConsumer(
            bootstrap_servers=address,
            isolation_level=isolation,
            enable_auto_commit=False,
            bootstrap_timeout_ms=10_000,
            allow_auto_create_topics=False,
        )
    except (KafkaError, OSError, ValueError) as error:
        raise ServiceUnavailable(
            f"no broker answers on {address} ({type(error).__name__}: {error}): run `matinee up`"
        ) from error
    try:
        yield client
    finally:
        client.close()


def bounds(settings: Settings, topics: Mapping[str, Topic] | tuple[Topic, ...]) -> dict[str, Bounds]:
    """Bounds of each topic that exists, by `Topic.name`; `end` is the last stable offset: all before it is decided."""
    wanted = {topic.name: topic for topic in topics} if not isinstance(topics, Mapping) else dict(topics)
    found = {}
    with consumer(settings) as client:
        existing = client.topics()
        for name in wanted:
            real = real_name(settings, name)
            if real not in existing:
                continue
            parts = [TopicPartition(real, p) for p in sorted(client.partitions_for_topic(real) or ())]
            first, end = client.beginning_offsets(parts), client.end_offsets(parts)
            found[name] = Bounds({p.partition: first[p] for p in parts}, {p.partition: end[p] for p in parts})
    return found


def settle(settings: Settings, topic: Topic, patience_s: float = 60.0) -> None:
    """Wait until everything that lies in the topic now is committed or aborted, so that no reader stops short.

    Flink's sinks commit one after the other: a row of `qoe_progress` may be seen before the sums it vouches for.

    Raises:
        ServiceUnavailable: a transaction stays open longer than `patience_s`.
    """
    name = real_name(settings, topic.name)
    deadline = time.monotonic() + patience_s
    with consumer(settings, isolation="read_uncommitted") as dirty, consumer(settings) as clean:
        parts = [TopicPartition(name, p) for p in sorted(dirty.partitions_for_topic(name) or ())]
        written = dirty.end_offsets(parts)
        while any(stable < written[part] for part, stable in clean.end_offsets(parts).items()):
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"topic {name}: a transaction stays open longer than {patience_s:.0f} s")
            time.sleep(0.1)


def raw(session: SparkSession, settings: Settings, topic: Topic, start: Offsets, end: Offsets) -> DataFrame:
    """Messages of ``[start, end)``: key, value, partition, offset, timestamp, timestampType, topic."""
    real = real_name(settings, topic.name)
    return (
        session.read.format("kafka")
        .option("kafka.bootstrap.servers", settings.kafka.bootstrap)
        .option("kafka.isolation.level", "read_committed")
        .option("subscribe", real)
        .option("startingOffsets", json.dumps({real: {str(p): o for p, o in start.items()}}))
        .option("endingOffsets", json.dumps({real: {str(p): o for p, o in end.items()}}))
        .option("failOnDataLoss", "true")
        .options(**BULK)
        .load()
    )


def snapshot(session: SparkSession, settings: Settings, topic: Topic) -> DataFrame:
    """A compacted topic as it stands: the newest committed value of every key, deleted keys left out.

    Columns: the record's, `schema_id`, and `message_key` (text), `kafka_partition`, `kafka_offset`.

    Raises:
        InputMissing: the topic is not there.
        AuditFailed: a message cannot be decoded.
    """
    if topic.name in bounds(settings, (topic,)):
        settle(settings, topic)
    held = bounds(settings, (topic,)).get(topic.name)
    if held is None:
        raise InputMissing(f"topic {real_name(settings, topic.name)!r} is not on the broker {settings.kafka.bootstrap}")
    newest = Window.partitionBy("partition", "key").orderBy(F.col("offset").desc())
    rows = (
        raw(session, settings, topic, held.first, held.end)
        .withColumn("place", F.row_number().over(newest))
        .where("place = 1 AND value IS NOT NULL")
        .selectExpr(
            "CAST(key AS STRING) AS message_key",
            "partition AS kafka_partition",
            "offset AS kafka_offset",
            f"kernel.decode_{topic.record}(value, key) AS record",
        )
        # Read twice, for what cannot be decoded and by who asked; and a filter pushed below would decode again.
        .persist()
    )
    bad = (
        rows.where("record.error_class IS NOT NULL")
        .selectExpr("kafka_partition", "kafka_offset", "record.reason AS reason")
        .head()
    )
    if bad is not None:
        raise AuditFailed(
            f"topic {topic.name}, partition {bad.kafka_partition}, offset {bad.kafka_offset}: {bad.reason}"
        )
    return (
        rows.where("record IS NOT NULL")
        .select("record.*", "message_key", "kafka_partition", "kafka_offset")
        .drop("error_class", "reason")
    )
