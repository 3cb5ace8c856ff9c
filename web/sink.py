"""Messages into Kafka with an answer for each: written by the broker, or not.

kafka-python's producer lives in threads of its own; here its answers come back to the event loop. What waits for an
answer is bounded in bytes: beyond that a POST is refused, because what is only in memory is lost with the process. A
message costs more than its value; many are sent by turns, so that other POSTs are served in between.

A producer that has lost a message (the broker was away for `DELIVERY_MS`) is replaced in the background. Until another
is made every POST is refused at once: none waits for it, none is held.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError
from kafka.partitioner.default import murmur2

from conf.errors import ConfigError, InputMissing, ServiceUnavailable
from conf.settings import Settings
from schemas.topics import CMCD
from web.posts import Message

MESSAGE_BYTES = 1_500
"""What a waiting message takes beside its value: two futures with their callbacks (1,260 bytes), the record's frame."""
TURN = 16
"""Messages sent before the event loop has its turn."""
LINGER_MS = 5
BATCH_BYTES = 256 * 1024
DELIVERY_MS = 120_000
BOOTSTRAP_MS = 8_000
RENEW_S = 2.0
"""Between two attempts to make another producer, and to close the one it replaces."""
LOG = logging.getLogger(__name__)


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


def _another(settings: Settings) -> KafkaProducer:
    """A producer that knows its topic: without, each message would hold up the event loop to ask for it."""
    producer = _producer(settings)
    if _partitions(producer, settings.kafka.topic_prefix + CMCD.name) is None:
        producer.close(timeout=0)
        raise ServiceUnavailable(f"the broker at {settings.kafka.bootstrap} does not tell of topic {CMCD.name}")
    return producer


@lru_cache(maxsize=1 << 16)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


def _cost(message: Message) -> int:
    return len(message[1]) + MESSAGE_BYTES


class Sink:
    """Writes to topic `cmcd`; belongs to one event loop.

    Attributes:
        waiting_bytes: what waits for the broker's answer, with `MESSAGE_BYTES` each; that of POSTs already refused too.
        reading_bytes: what has come of bodies that are still being read; the reader counts it.
        broken: nothing can be written until another producer is made.

    Raises:
        ServiceUnavailable: no broker when it begins.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topic = settings.kafka.topic_prefix + CMCD.name
        self.partitions = settings.kafka.partitions
        self.loop = asyncio.get_running_loop()
        self.waiting_bytes = 0
        self.reading_bytes = 0
        self.broken = False
        self._turn = count()
        self._done: deque[tuple[KafkaProducer, asyncio.Future[None], int, Any]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._producer = _producer(settings)

    def room(self, size: int) -> bool:
        """Whether so many bytes may come to those that wait and those being read."""
        return self.waiting_bytes + self.reading_bytes + size <= self.settings.collector.buffer_bytes

    async def write(self, messages: Sequence[Message], at_ms: int) -> None:
        """Returns when the broker has all of them.

        Raises:
            Full: too much waits already; nothing was taken.
            NotWritten: not all were acknowledged in time, or there is no producer.
        """
        # No waiting between these two questions and the counting: what is in memory is counted.
        unsent = sum(map(_cost, messages))
        if not self.room(unsent):
            raise Full
        if self.broken:
            raise NotWritten("the broker is away")
        self.waiting_bytes += unsent
        answers: list[asyncio.Future[None]] = []
        try:
            async with asyncio.timeout(self.settings.collector.ack_timeout_ms / 1000):
                for message in messages:
                    if answers and len(answers) % TURN == 0:
                        await asyncio.sleep(0)
                        if self.broken:
                            raise NotWritten("the broker is away")
                    answers.append(self._send(message, at_ms))
                    unsent -= _cost(message)  # its answer gives that back
                for answer in answers:
                    await answer
        except (TimeoutError, KafkaError) as error:
            raise NotWritten(str(error) or type(error).__name__) from error
        finally:
            self.waiting_bytes -= unsent

    def _send(self, message: Message, at_ms: int) -> asyncio.Future[None]:
        key, value = message
        answer = self.loop.create_future()
        place = next(self._turn) if key is None else _hash(key)
        producer = self._producer
        future = producer.send(
            self.topic, key=key, value=value, partition=place % self.partitions, timestamp_ms=at_ms
        )
        future.add_callback(self._answered, producer, answer, _cost(message), None)
        future.add_errback(self._answered, producer, answer, _cost(message))
        return answer

    def _answered(self, producer: KafkaProducer, answer: asyncio.Future[None], size: int, *what: Any) -> None:
        """In the producer's thread: over to the loop. What was not taken comes with its error alone."""
        self._done.append((producer, answer, size, what[0]))
        self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        while self._done:
            producer, answer, size, error = self._done.popleft()
            self.waiting_bytes -= size
            # What one that is replaced already loses says nothing of the one that writes.
            if error is not None and producer is self._producer and not self.broken:
                self.broken = True
                LOG.warning("a message was not written, POSTs get 503 until there is another producer: %s", error)
                self._begin(self._renew())
            if answer.done():
                continue  # its POST was refused already, for taking too long
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(NotWritten(f"{type(error).__name__}: {error}"))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _renew(self) -> None:
        """Another producer: one that has lost a message does not go on as it was. Goes on until there is one."""
        old, began = self._producer, self.loop.time()
        while self._producer is old:
            try:
                self._producer = await asyncio.to_thread(_another, self.settings)
            except ServiceUnavailable:
                await asyncio.sleep(RENEW_S)
            except Exception:
                LOG.exception("no producer could be made, tried again in %g s", RENEW_S)
                await asyncio.sleep(RENEW_S)
        self.broken = False
        LOG.warning("there is another producer after %.1f s, POSTs are taken again", self.loop.time() - began)
        await self._retire(old)

    async def _retire(self, old: KafkaProducer) -> None:
        """Close a producer once it has an answer for each of its messages, which takes `DELIVERY_MS` at most."""
        told = False
        while True:
            try:
                return await asyncio.to_thread(old.close, 0)
            except KafkaError as error:
                if not told:
                    LOG.warning("the producer before is closed later, messages wait in it: %s", error)
                told = True
            await asyncio.sleep(RENEW_S)

    async def close(self) -> None:
        """Wait for what is under way; nothing is taken from now on."""
        self.broken = True
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.to_thread(self._producer.close, self.settings.collector.ack_timeout_ms / 1000)
        except KafkaError as error:
            LOG.warning("the producer ends with messages that the broker has not answered: %s", error)
