"""Bodies that come slowly: bounded in time and in bytes. No broker, no server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from conf.settings import load
from web import collector as rooms
from web import posts
from web.collector import Collector
from web.sink import NotWritten, Sink

HANG_S = 30
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Kept(Sink):
    """A sink that takes everything, or nothing."""

    def __init__(self, settings: Any, written: bool = True) -> None:
        self.settings = settings
        self.waiting_bytes = self.reading_bytes = 0
        self.broken = not written
        self.taken: list[int] = []

    async def write(self, messages: Any, at_ms: int) -> None:
        if self.broken:
            raise NotWritten("the broker is away")
        self.taken.append(len(messages))


def collector(written: bool = True, **changed: int) -> Collector:
    base = load(environ={})
    held = base.collector.model_copy(update={"buffer_bytes": 1_000, "body_timeout_ms": 600_000} | changed)
    made = Collector(base.model_copy(update={"collector": held}))
    made.sink = Kept(made.settings, written)
    return made


def request(receive: Receive) -> Request:
    headers = [(b"content-type", b"application/cmcd")]
    scope = {"type": "http", "method": "POST", "headers": headers, "query_string": b"", "client": ("127.0.0.1", 1)}
    return Request(scope, receive)


def body(*parts: int, then: asyncio.Event | None = None) -> Receive:
    """Parts of so many bytes, then the end; before it an event, if one is given."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if left:
            return {"type": "http.request", "body": b"x" * left.pop(0), "more_body": True}
        if then is not None:
            await then.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def answer(made: Collector, receive: Receive) -> Response:
    async with asyncio.timeout(HANG_S):
        return await made.post(request(receive))


def test_a_body_that_does_not_end_gets_408_and_its_connection_is_closed() -> None:
    async def test() -> None:
        made = collector(body_timeout_ms=1)
        late = await answer(made, body(100, then=asyncio.Event()))
        assert (late.status_code, late.headers["connection"]) == (408, "close")
        assert made.sink is not None and made.sink.reading_bytes == 0
        assert made.counts["status_408"] == 1

    asyncio.run(test())


def test_what_is_read_of_bodies_is_bounded() -> None:
    async def test() -> None:
        made, goes_on = collector(), asyncio.Event()
        assert made.sink is not None
        slow = asyncio.create_task(answer(made, body(300, 300, then=goes_on)))
        async with asyncio.timeout(HANG_S):
            while made.sink.reading_bytes < 600:
                await asyncio.sleep(0.001)
        full = await answer(made, body(300, 101, then=asyncio.Event()))
        assert full.status_code == 429 and full.headers["retry-after"]
        assert (await answer(made, body(300, 100))).status_code == 204
        goes_on.set()
        assert (await slow).status_code == 204
        assert made.sink.reading_bytes == 0

    asyncio.run(test())


@pytest.mark.parametrize(("parts", "status"), [((500, 401), 413), ((900,), 204), ((), 400)])
def test_whatever_becomes_of_a_body_it_is_counted_no_longer(parts: tuple[int, ...], status: int) -> None:
    async def test() -> None:
        made = collector(body_bytes=900)
        assert (await answer(made, body(*parts))).status_code == status
        assert made.sink is not None and made.sink.reading_bytes == 0

    asyncio.run(test())


def test_while_the_broker_is_away_a_post_is_told_when_to_come_again() -> None:
    async def test() -> None:
        made = collector(written=False)
        away = await answer(made, body(10))
        assert away.status_code == 503 and away.headers["retry-after"]
        assert (await made.health(request(body()))).status_code == 503

    asyncio.run(test())


def said(content: bytes) -> Receive:
    left = [content]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": left.pop() if left else b"", "more_body": bool(left)}

    return receive


def sessions(count: int, poison: bytes = b"") -> bytes:
    return b"\n".join([*(b'e=t,sid="%d",sn=0,ts=1,v=2' % n for n in range(count)), *([poison] if poison else [])])


def test_a_post_of_more_sessions_than_allowed_is_refused_before_they_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each would be a message of its own: eight such POSTs held every player up."""
    looked: list[bytes] = []
    find = posts.session
    monkeypatch.setattr(posts, "session", lambda line: looked.append(line) or find(line))

    async def test() -> None:
        made = collector(body_bytes=900_000, buffer_bytes=9_000_000, sessions=5)
        assert isinstance(made.sink, Kept)
        for body_ in (sessions(24_000), sessions(6), sessions(6, b"poison")):
            looked.clear()
            refused = await answer(made, said(body_))
            assert refused.status_code == 413 and len(looked) == 6
            assert b"more than 5 sessions" in refused.body and b"collector.sessions" in refused.body
        assert made.sink.taken == [] and made.sink.reading_bytes == 0
        assert (await answer(made, said(sessions(5, b"poison")))).status_code == 204
        assert made.sink.taken == [6]
        health = json.loads((await made.health(request(body()))).body)
        assert (health["too_many_sessions"], health["status_413"]) == (3, 3)

    asyncio.run(test())


def test_a_long_body_is_taken_apart_outside_the_event_loop_and_counts_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    goes_on, seen = threading.Event(), []
    real = posts.messages

    def apart(content: bytes, *rest: Any) -> Any:
        seen.append((len(content), threading.current_thread() is threading.main_thread()))
        if len(content) > rooms.IN_LOOP_BYTES:
            assert goes_on.wait(HANG_S)
        return real(content, *rest)

    monkeypatch.setattr(posts, "messages", apart)

    async def test() -> None:
        made = collector(body_bytes=900_000, buffer_bytes=100_000)
        assert made.sink is not None
        size = rooms.IN_LOOP_BYTES
        long_ones = [asyncio.create_task(answer(made, body(size + 1))) for _ in range(2)]
        async with asyncio.timeout(HANG_S):
            while made.sink.reading_bytes < 2 * (size + 1) or not seen:
                await asyncio.sleep(0.001)
        assert (await answer(made, body(size))).status_code == 204, "others are served meanwhile"
        assert seen == [(size + 1, False), (size, True)], "one long body at a time"
        assert (await answer(made, body(100_000 - 2 * size))).status_code == 429
        goes_on.set()
        assert [(await one).status_code for one in long_ones] == [204, 204]
        assert made.sink.reading_bytes == 0

    asyncio.run(test())
