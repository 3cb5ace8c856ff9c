"""Messages into Kafka with an answer for each: written by the broker, or not.

kafka-python's producer lives in threads of its own; here its answers come back to the event loop. What waits for an
answer is bounded in bytes: beyond that a POST is refused, because what is only in memory is lost with the process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2

from conf.errors import ConfigError, InputMissing, ServiceUnavailable
from conf.settings import Settings
from schemas.topics import CMCD

LINGER_MS = 5
BATCH_BYTES = 256 * 1024
DELIVERY_MS = 120_000
BOOTSTRAP_MS = 8_000


class Full(Exception):
    """So much waits for the broker that no more is taken."""


class NotWritten(Exception):
    """The broker has not taken it in time; it may still come, then as a repetition that the fold leaves out."""


def check(settings: Settings) -> None:
    """Whether a sink could write with these settings; asked once, before anything is served.

    Raises:
        ServiceUnavailable: no broker. InputMissing: no topic. ConfigError: the topic has other partitions than the
            settings say, so that sessions would be spread by two different rules.
    """
    topic = settings.kafka.topic_prefix + CMCD.name
    producer = _producer(settings)
    try:
        deadline = time.monotonic() + BOOTSTRAP_MS / 1000
        while (found := _partitions(producer, topic)) is None and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        producer.close(timeout=1)
    if found is None:
        raise InputMissing(f"topic {topic} is not there: `matinee stream topics` makes it, and so does the stream job")
    if found != settings.kafka.partitions:
        raise ConfigError(
            f"topic {topic} has {found} partitions, kafka.partitions is {settings.kafka.partitions}: "
            f"set kafka.partitions={found}, or choose another kafka.topic_prefix"
        )


def _partitions(producer: KafkaProducer, topic: str) -> int | None:
    try:
        return len(producer.partitions_for(topic) or ()) or None
    except KafkaError:
        return None


def _producer(settings: Settings) -> KafkaProducer:
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        return KafkaProducer(
            bootstrap_servers=settings.kafka.bootstrap, enable_idempotence=True, acks="all",
            linger_ms=LINGER_MS, batch_size=BATCH_BYTES, max_request_size=4 << 20, metrics_enabled=False,
            bootstrap_timeout_ms=BOOTSTRAP_MS, delivery_timeout_ms=DELIVERY_MS, allow_auto_create_topics=False,
            max_block_ms=1_000,
        )  # fmt: skip
    except (KafkaError, OSError) as error:
        raise ServiceUnavailable(
            f"no Kafka broker answers at {settings.kafka.bootstrap}: start one with `matinee up`"
        ) from error


@lru_cache(maxsize=1 << 16)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


class Sink:
    """Writes to topic `cmcd`; belongs to one event loop.

    Raises:
        ServiceUnavailable: no broker when it begins.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topic = settings.kafka.topic_prefix + CMCD.name
        self.partitions = settings.kafka.partitions
        self.loop = asyncio.get_running_loop()
        self.waiting_bytes = 0
        self._turn = count()
        self._done: deque[tuple[asyncio.Future[None], int, Any]] = deque()
        self._broken = False
        self._renewing = asyncio.Lock()
        self._producer = _producer(settings)

    async def write(self, messages: Sequence[tuple[bytes | None, bytes]], at_ms: int) -> None:
        """Returns when the broker has all of them.

        Raises:
            Full: too much waits already; nothing was taken.
            NotWritten: not all were acknowledged in time.
        """
        limit = self.settings.collector
        if self.waiting_bytes + sum(len(value) for _, value in messages) > limit.buffer_bytes:
            raise Full
        if self._broken:
            await self._renew()
        try:
            answers = [self._send(key, value, at_ms) for key, value in messages]
            async with asyncio.timeout(limit.ack_timeout_ms / 1000):
                for answer in answers:
                    await answer
        except (TimeoutError, KafkaError) as error:
            raise NotWritten(str(error) or type(error).__name__) from error

    def _send(self, key: bytes | None, value: bytes, at_ms: int) -> asyncio.Future[None]:
        answer = self.loop.create_future()
        place = next(self._turn) if key is None else _hash(key)
        future = self._producer.send(
            self.topic, key=key, value=value, partition=place % self.partitions, timestamp_ms=at_ms
        )
        self.waiting_bytes += len(value)
        future.add_callback(self._answered, answer, len(value), None)
        future.add_errback(self._answered, answer, len(value))
        return answer

    def _answered(self, answer: asyncio.Future[None], size: int, *what: Any) -> None:
        """In the producer's thread: over to the loop. What was not taken comes with its error alone."""
        self._done.append((answer, size, what[0]))
        self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        while self._done:
            answer, size, error = self._done.popleft()
            self.waiting_bytes -= size
            self._broken = error is not None
            if answer.done():
                continue  # its POST was refused already, for taking too long
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(NotWritten(f"{type(error).__name__}: {error}"))

    async def _renew(self) -> None:
        """Another producer: one that has lost a message does not go on as it was."""
        async with self._renewing:
            if self._broken:
                old = self._producer
                try:
                    self._producer = await asyncio.to_thread(_producer, self.settings)
                except ServiceUnavailable as error:
                    raise NotWritten(str(error)) from error
                self._broken = False
                await asyncio.to_thread(old.close, 0)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.to_thread(self._producer.close, self.settings.collector.ack_timeout_ms / 1000)
