"""Kafka written from the batch side: a producer that waits for answers, topics made when absent, keys read back."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from conf.errors import ServiceUnavailable
from conf.settings import Settings
from jobs.topics import consumer, real_name

_ANY_TIME = str(2**63 - 1)
Headers = list[tuple[str, bytes]]


@contextmanager
def producer(settings: Settings) -> Iterator[KafkaProducer]:
    """An idempotent producer; leaving the block waits until the broker has everything.

    Raises:
        ServiceUnavailable: the broker does not answer.
    """
    address = settings.kafka.bootstrap
    try:
        client = KafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True, linger_ms=20)
    except (KafkaError, OSError, ValueError) as error:
        raise ServiceUnavailable(f"no broker answers on {address} ({error}): run `matinee up`") from error
    try:
        yield client
        client.flush()
    finally:
        client.close()


def send(client: KafkaProducer, topic: str, messages: Iterable[tuple[bytes, bytes | None, Headers]]) -> int:
    """Send (key, value, headers); a value of None deletes the key. Returns how many the broker has taken.

    Raises:
        ServiceUnavailable: the broker refused one.
    """
    waiting = [client.send(topic, key=key, value=value, headers=headers) for key, value, headers in messages]
    client.flush()
    for future in waiting:
        try:
            future.get(timeout=60)
        except KafkaError as error:
            raise ServiceUnavailable(f"topic {topic}: the broker refused a message ({error})") from error
    return len(waiting)


@contextmanager
def admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    """A client for topics and their records.

    Raises:
        ServiceUnavailable: the broker does not answer.
    """
    try:
        client = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    except (KafkaError, OSError, ValueError) as error:
        raise ServiceUnavailable(
            f"no broker answers on {settings.kafka.bootstrap} ({error}): run `matinee up`"
        ) from error
    try:
        yield client
    finally:
        client.close()


def ensure(settings: Settings, name: str, *, compacted: bool) -> str:
    """The topic's real name; it is made if it is not there."""
    real = real_name(settings, name)
    with admin(settings) as client:
        if real not in set(client.list_topics()):
            configs = {
                "message.timestamp.after.max.ms": _ANY_TIME,
                "cleanup.policy": "compact" if compacted else "delete",
            }
            options = {real: {"num_partitions": settings.kafka.partitions, "configs": configs}}
            client.create_topics(options, wait_for_metadata=True)
    return real


def messages(
    settings: Settings, name: str, wait_s: float = 60.0
) -> Iterator[tuple[bytes | None, bytes | None, Headers]]:
    """Every committed message of a topic up to now: key, value, headers; nothing if the topic is not there.

    Raises:
        ServiceUnavailable: the broker stops answering in the middle.
    """
    real = real_name(settings, name)
    with consumer(settings) as client:
        if real not in client.topics():
            return
        parts = [TopicPartition(real, p) for p in sorted(client.partitions_for_topic(real) or ())]
        end = client.end_offsets(parts)
        client.assign(parts)
        client.seek_to_beginning(*parts)
        deadline = time.monotonic() + wait_s
        while any(client.position(part) < end[part] for part in parts):
            for part, batch in client.poll(timeout_ms=500).items():
                deadline = time.monotonic() + wait_s
                yield from ((m.key, m.value, list(m.headers)) for m in batch if m.offset < end[part])
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"topic {real}: no message for {wait_s:.0f} s before its end was reached")


def live_keys(settings: Settings, name: str) -> set[bytes]:
    """Keys of a topic whose newest value is not a deletion."""
    alive: dict[bytes, bool] = {}
    for key, value, _ in messages(settings, name):
        if key is not None:
            alive[key] = value is not None
    return {key for key, there in alive.items() if there}
