"""Bodies that come slowly: bounded in time and in bytes. No broker, no server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from conf.settings import load
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

    async def write(self, messages: Any, at_ms: int) -> None:
        if self.broken:
            raise NotWritten("the broker is away")


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
