"""The topics of this universe: made from `schemas.topics`, never by a broker's guess.

Two broker defaults would lose data here. Kafka deletes by the *record's* timestamp, which is the time of arrival in the
service's own time: a world set in the past is older than seven days at birth, so retention is a setting
(``kafka.retention_ms``, default: for ever, so that job `retention` alone deletes). And it refuses timestamps an hour
ahead of its clock, so a world set in the future needs that limit off.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from kafka import TopicPartition
from kafka.admin import OffsetSpec
from kafka.protocol.consumer import IsolationLevel

from conf.errors import ConfigError, ServiceUnavailable
from conf.settings import Settings
from schemas.topics import TOPICS, Topic
from streaming import clients

_ANY_TIME = str(2**63 - 1)
PATIENCE_S = 60.0


def real_name(topic: Topic, settings: Settings) -> str:
    """The topic's name on the broker."""
    return settings.kafka.topic_prefix + topic.name


def partitions(topic: Topic, settings: Settings) -> list[TopicPartition]:
    """The partitions `create` gives a topic."""
    name = real_name(topic, settings)
    return [TopicPartition(name, number) for number in range(settings.kafka.partitions)]


def configs(topic: Topic, settings: Settings) -> dict[str, str]:
    """Broker settings of one topic; compacted topics keep the newest message of each key for ever."""
    common = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": _ANY_TIME}
    if topic.compacted:
        return common | {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.5", "segment.ms": "3600000"}
    return common | {"cleanup.policy": "delete", "retention.ms": str(settings.kafka.retention_ms)}


def create(settings: Settings, wanted: Iterable[Topic] = TOPICS) -> list[str]:
    """Make the topics that are absent and return their names; doing it again does nothing.

    Raises:
        ServiceUnavailable: no broker.
        ConfigError: a topic is there with another number of partitions than ``kafka.partitions``: sessions would be
            spread by two different rules.
    """
    by_name = {real_name(topic, settings): topic for topic in wanted}
    with clients.admin(settings) as client:
        there = set(client.list_topics())
        old = sorted(there & set(by_name))
        for found in client.describe_topics(old) if old else []:
            count = len(found["partitions"])
            if count != settings.kafka.partitions:
                raise ConfigError(
                    f"topic {found['name']} has {count} partitions, kafka.partitions is {settings.kafka.partitions}: "
                    f"set kafka.partitions={count}, or choose another kafka.topic_prefix"
                )
        new = [name for name in by_name if name not in there]
        if new:
            count = settings.kafka.partitions
            options = {name: {"num_partitions": count, "configs": configs(by_name[name], settings)} for name in new}
            client.create_topics(options, wait_for_metadata=True)
    return new


def delete(settings: Settings, wanted: Iterable[Topic] = TOPICS) -> list[str]:
    """Remove this universe's topics and wait until they are gone; returns their names. Other prefixes are not touched.

    Raises:
        ServiceUnavailable: no broker, or it does not get rid of them within a minute.
    """
    names = {real_name(topic, settings) for topic in wanted}
    with clients.admin(settings) as client:
        there = sorted(names & set(client.list_topics()))
        if there:
            client.delete_topics(there)
        deadline = time.monotonic() + PATIENCE_S
        while left := names & set(client.list_topics()):
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"topics {', '.join(sorted(left))} are still there after {PATIENCE_S:.0f} s")
            time.sleep(0.1)
    return there


def identity(topic: Topic, settings: Settings) -> str:
    """The broker's own id of a topic: another one after it was deleted and made again, or on another broker."""
    with clients.admin(settings) as client:
        return str(client.describe_topics([real_name(topic, settings)])[0]["topic_id"])


def newest_timestamps(topic: Topic, settings: Settings) -> list[int]:
    """The greatest record timestamp (UTC ms) of each partition, -1 where there is none."""
    wanted = dict.fromkeys(partitions(topic, settings), OffsetSpec.MAX_TIMESTAMP)
    with clients.admin(settings) as client:
        found = client.list_partition_offsets(wanted)
    return [-1 if found[partition].timestamp is None else int(found[partition].timestamp) for partition in wanted]


def sizes(topic: Topic, settings: Settings) -> list[int]:
    """End offset of each partition, open transactions included."""
    wanted = dict.fromkeys(partitions(topic, settings), OffsetSpec.LATEST)
    with clients.admin(settings) as client:
        found = client.list_partition_offsets(wanted)
    return [int(found[partition].offset) for partition in wanted]


def taken_in(wanted: Iterable[Topic], group: str, before_s: int, settings: Settings) -> bool:
    """Whether a group of consumers has committed that it read every message older than `before_s` (Unix seconds).

    One message a partition is not asked for: at a partition's end there may be a transaction's mark, which is none.

    Raises:
        ServiceUnavailable: no broker.
        MatineeError: no such topic.
    """
    every = [partition for topic in wanted for partition in partitions(topic, settings)]
    with clients.admin(settings) as client:
        ends = client.list_partition_offsets(dict.fromkeys(every, OffsetSpec.LATEST))
        first = client.list_partition_offsets(dict.fromkeys(every, before_s * 1_000))
        read = client.list_group_offsets({group: every}).get(group, {})
    for partition in every:
        younger = first[partition].offset
        due = ends[partition].offset - 1 if younger is None or younger < 0 else younger
        if due > (max(read[partition].offset, 0) if partition in read else 0):
            return False
    return True


def settle(wanted: Iterable[Topic], settings: Settings, patience_s: float = PATIENCE_S) -> None:
    """Wait until everything that lies in these topics now is committed or aborted: until no reader would stop short.

    Flink's sinks commit one after the other: a `qoe_progress` row may be seen a moment before the sums it vouches for.

    Raises:
        ServiceUnavailable: a transaction stays open longer than `patience_s`.
    """
    due = {}
    for topic in wanted:
        due |= dict(zip(partitions(topic, settings), sizes(topic, settings), strict=True))
    deadline = time.monotonic() + patience_s
    with clients.admin(settings) as client:
        while due:
            stable = client.list_partition_offsets(dict.fromkeys(due, OffsetSpec.LATEST), IsolationLevel.READ_COMMITTED)
            due = {partition: end for partition, end in due.items() if stable[partition].offset < end}
            if due and time.monotonic() > deadline:
                names = ", ".join(sorted({partition.topic for partition in due}))
                raise ServiceUnavailable(f"{names}: a transaction stays open longer than {patience_s:.0f} s")
            if due:
                time.sleep(0.1)
