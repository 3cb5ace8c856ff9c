"""The sink while the broker is away for long: another producer in the background, nobody waits for it. No broker."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from conf.errors import ServiceUnavailable
from conf.settings import Settings, load
from web import sink
from web.sink import Full, NotWritten, Sink

HANG_S = 30


class Producer:
    """One whose answers are given by the test."""

    def __init__(self, knows_topic: bool = True, refuses_close: int = 0) -> None:
        self.knows_topic = knows_topic
        self.refuses_close = refuses_close
        self.closed = False
        self.sent: list[Future] = []

    def partitions_for(self, _topic: str) -> set[int]:
        return {0} if self.knows_topic else set()

    def send(self, _topic: str, **_message: Any) -> Future:
        self.sent.append(Future())
        return self.sent[-1]

    def close(self, timeout: float | None = None) -> None:
        if self.refuses_close:
            self.refuses_close -= 1
            raise KafkaTimeoutError("Timeout waiting for future")
        self.closed = True


class Broker:
    """Makes producers, one after the other; the first comes at once, the others when the test lets them."""

    def __init__(self, *makes: Producer | Exception) -> None:
        self.makes = list(makes)
        self.asked = 0
        self.back = threading.Event()

    def __call__(self, _settings: Settings) -> Producer:
        made = self.makes[self.asked]
        self.asked += 1
        if self.asked > 1:
            assert self.back.wait(2 * HANG_S)
        if isinstance(made, Exception):
            raise made
        return made


def settings(buffer_bytes: int = 1_000, ack_timeout_ms: int = 600_000) -> Settings:
    base = load(environ={})
    changed = {"buffer_bytes": buffer_bytes, "ack_timeout_ms": ack_timeout_ms}
    return base.model_copy(update={"collector": base.collector.model_copy(update=changed)})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Broker, Callable[[Sink], Coroutine[Any, Any, None]]], None]:
    """Runs a test on a sink whose producers come from a broker; a hang fails."""

    def running(
        broker: Broker,
        test: Callable[[Sink], Coroutine[Any, Any, None]],
        held: Settings | None = None,
        beside: int = 0,
    ) -> None:
        monkeypatch.setattr(sink, "_producer", broker)
        monkeypatch.setattr(sink, "MESSAGE_BYTES", beside)
        monkeypatch.setattr(sink, "RENEW_S", 0.001)

        async def main() -> None:
            try:
                async with asyncio.timeout(HANG_S):
                    await test(Sink(held or settings()))
            finally:
                broker.back.set()

        asyncio.run(main())

    return running


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


async def lost(kept: Sink, producer: Producer, size: int = 10) -> None:
    """A message that the producer gives up."""
    count = len(producer.sent)
    post = asyncio.create_task(kept.write([(b"s", bytes(size))], 0))
    await until(lambda: len(producer.sent) > count)
    producer.sent[-1].failure(KafkaTimeoutError("Expiring 1 record(s)"))
    with pytest.raises(NotWritten):
        await post


async def written(kept: Sink, producer: Producer) -> None:
    count = len(producer.sent)
    post = asyncio.create_task(kept.write([(b"s", bytes(10))], 0))
    await until(lambda: post.done() or len(producer.sent) > count)
    assert not post.done(), "acknowledged by nobody"
    producer.sent[-1].success(None)
    await post


def test_while_there_is_no_producer_posts_are_refused_at_once_and_none_is_held(run: Any) -> None:
    first, second = Producer(), Producer()
    broker = Broker(first, ServiceUnavailable("no broker"), RuntimeError("no thread"), Producer(False), second)
    unknowing = broker.makes[3]

    async def test(kept: Sink) -> None:
        await lost(kept, first)
        posts = [kept.write([(b"s", bytes(900))], 0) for _ in range(50)]
        answers = await asyncio.gather(*posts, return_exceptions=True)
        assert {type(answer) for answer in answers} == {NotWritten}
        await until(lambda: broker.asked == 2)
        assert kept.waiting_bytes == 0 and len(first.sent) == 1
        broker.back.set()
        await until(lambda: not kept.broken)
        assert broker.asked == 5, "one attempt after the other, whatever goes wrong"
        await written(kept, second)
        await until(lambda: first.closed)
        assert unknowing.closed and not unknowing.sent, "a producer without its topic would hold up every POST"
        assert len(first.sent) == 1

    run(broker, test)


def test_a_producer_that_lost_a_message_writes_no_more(run: Any) -> None:
    first, second = Producer(), Producer()
    broker = Broker(first, second)

    async def test(kept: Sink) -> None:
        good = asyncio.create_task(kept.write([(b"s", bytes(10))], 0))
        await until(lambda: len(first.sent) == 1)
        await lost(kept, first)
        first.sent[0].success(None)
        await good  # the broker has it
        with pytest.raises(NotWritten):
            await kept.write([(b"s", bytes(10))], 0)
        broker.back.set()
        await until(lambda: not kept.broken)
        await written(kept, second)

    run(broker, test)


def test_what_waits_in_the_producer_before_still_counts_and_does_not_hurt(
    run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Producer(refuses_close=3), Producer()
    broker = Broker(first, second)

    async def test(kept: Sink) -> None:
        waits = [asyncio.create_task(kept.write([(b"s", bytes(400))], 0)) for _ in range(2)]
        await until(lambda: len(first.sent) == 2)
        await lost(kept, first)
        broker.back.set()
        await until(lambda: not kept.broken)
        assert kept.waiting_bytes == 800
        with pytest.raises(Full):
            await kept.write([(b"s", bytes(201))], 0)
        await written(kept, second)
        await until(lambda: first.closed)
        first.sent[0].success(None)
        first.sent[1].failure(KafkaTimeoutError("Expiring 1 record(s)"))
        late = await asyncio.gather(*waits, return_exceptions=True)
        assert late[0] is None and isinstance(late[1], NotWritten), "each as the broker had it"
        assert kept.waiting_bytes == 0 and not kept.broken and broker.asked == 2
        await written(kept, second)

    with caplog.at_level(logging.WARNING, logger="web.sink"):
        run(broker, test)
    assert caplog.text.count("Timeout waiting for future") == 1


def test_bodies_being_read_count_too(run: Any) -> None:
    first = Producer()

    async def test(kept: Sink) -> None:
        kept.reading_bytes = 991
        with pytest.raises(Full):
            await kept.write([(b"s", bytes(10))], 0)
        kept.reading_bytes = 990
        await written(kept, first)

    run(Broker(first), test)


def test_a_message_counts_with_what_it_takes_beside_its_value(run: Any) -> None:
    """Ten thousand empty messages are not nothing: their futures fill the memory, and a POST gets 429."""
    first = Producer()

    async def test(kept: Sink) -> None:
        with pytest.raises(Full):
            await kept.write([(b"s", b"")] * 11, 0)
        assert not first.sent and kept.waiting_bytes == 0
        waits = asyncio.create_task(kept.write([(b"s", b"")] * 9, 0))
        await until(lambda: len(first.sent) == 9)
        assert kept.waiting_bytes == 900
        with pytest.raises(Full):
            await kept.write([(b"s", b"x")], 0)
        for future in first.sent:
            future.success(None)
        await waits
        assert kept.waiting_bytes == 0

    run(Broker(first), test, settings(1_000), beside=100)


def test_many_messages_are_sent_by_turns_and_count_from_the_first(run: Any) -> None:
    first = Producer()
    count = 3 * sink.TURN + 1

    async def test(kept: Sink) -> None:
        post = asyncio.create_task(kept.write([(b"s", bytes(10))] * count, 0))
        sent = [0]
        while len(first.sent) < count:
            await asyncio.sleep(0)
            sent.append(len(first.sent))
            assert kept.waiting_bytes == 10 * count, "none that waits for its turn is taken for room"
        assert sent[-4:] == [sink.TURN, 2 * sink.TURN, 3 * sink.TURN, count]
        for future in first.sent:
            future.success(None)
        await post
        assert kept.waiting_bytes == 0

    run(Broker(first), test)


def test_a_producer_lost_between_two_turns_ends_the_post(run: Any) -> None:
    first, second = Producer(), Producer()

    async def test(kept: Sink) -> None:
        post = asyncio.create_task(kept.write([(b"s", bytes(10))] * (sink.TURN + 5), 0))
        while len(first.sent) < sink.TURN:
            await asyncio.sleep(0)
        kept.broken = True
        with pytest.raises(NotWritten):
            await post
        assert len(first.sent) == sink.TURN and kept.waiting_bytes == 10 * sink.TURN

    run(Broker(first, second), test)


def test_without_an_answer_in_time_a_post_is_refused_and_its_bytes_still_count(run: Any) -> None:
    first = Producer()

    async def test(kept: Sink) -> None:
        with pytest.raises(NotWritten):
            await kept.write([(b"s", bytes(10))], 0)
        assert kept.waiting_bytes == 10 and not kept.broken
        first.sent[0].success(None)
        await until(lambda: kept.waiting_bytes == 0)

    run(Broker(first), test, settings(ack_timeout_ms=1))


def test_an_end_with_messages_unanswered_is_no_error(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    first = Producer(refuses_close=1)

    async def test(kept: Sink) -> None:
        await kept.close()
        with pytest.raises(NotWritten):
            await kept.write([(b"s", bytes(10))], 0)

    run(Broker(first), test)
    assert "Timeout waiting for future" in caplog.text


def test_an_end_while_there_is_no_producer_ends_the_attempts(run: Any) -> None:
    first = Producer()
    broker = Broker(first, *[ServiceUnavailable("no broker")] * 10_000)

    async def test(kept: Sink) -> None:
        broker.back.set()
        await lost(kept, first)
        await until(lambda: broker.asked > 2)
        await kept.close()
        await until(lambda: not kept._tasks)

    run(broker, test)
    assert first.closed
