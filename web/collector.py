"""The CMCD collector: players POST their records, Kafka gets them, and only then is the answer 204.

    POST /cmcd     application/cmcd: records, one a line (CTA-5004-B, 3.3); optional ?app=, ?profile=, ?token=
    OPTIONS /cmcd  CORS preflight
    GET /health    counters as JSON; 503 while nothing can be written

204 written; 400 empty body; 401 token; 408 too slow; 410 players shall stop; 413 too long, or too many sessions (its
text says so); 415 another content type, or packed; 429 too much is waiting (players send again, later); 503 the broker
gave no answer in time or is away, or there are too many connections (uvicorn says so). Whatever the body holds is taken
as it is: what is wrong in it is found by the reader, line by line, and becomes a dead letter.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conf.settings import Settings, load
from web import posts
from web.addresses import Addresses, bare
from web.sink import Full, NotWritten, Sink

CONTENT_TYPES = ("application/cmcd", "text/cmcd")
"""CTA-5004-B, and CTA-5004-A before it."""
PREFLIGHT = {
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "content-type, authorization",
    "access-control-max-age": "86400",
}
RETRY_S = "2"
MORE_HEADERS = {408: {"connection": "close"}, 429: {"retry-after": RETRY_S}, 503: {"retry-after": RETRY_S}}
"""By status. A client that is too slow would otherwise keep its connection with the rest of its body."""
LONGEST_NAME = 64
IN_LOOP_BYTES = 16_384
"""A longer body is taken apart in a thread, one after the other: it may take as long as a hundred common ones."""


class Collector:
    """The application's state and its answers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.held = settings.collector
        self.addresses = Addresses.read(self.held.addresses)
        self.counts: Counter[str] = Counter()
        self.sink: Sink | None = None
        self.long_ones = ThreadPoolExecutor(1, "long-bodies")
        self.cors = {origin: self._cors(origin) for origin in map(str.lower, self.held.origins)}  # as browsers say it

    @staticmethod
    def _cors(origin: str) -> dict[str, str]:
        return {"access-control-allow-origin": origin} | ({} if origin == "*" else {"vary": "origin"})

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """From the first connection to the broker to the last answer."""
        self.sink = Sink(self.settings)
        yield
        self.long_ones.shutdown(wait=False, cancel_futures=True)
        await self.sink.close()

    def _allowed(self, request: Request) -> dict[str, str]:
        return self.cors.get("*") or self.cors.get(request.headers.get("origin", ""), {})

    async def preflight(self, request: Request) -> Response:
        """What a browser asks before it posts."""
        return Response(status_code=204, headers=PREFLIGHT | self._allowed(request))

    async def post(self, request: Request) -> Response:
        """One report."""
        text = None
        try:
            status = await self._take(request)
        except posts.TooMany as error:
            status, text = 413, str(error)
            self.counts["too_many_sessions"] += 1
        self.counts[f"status_{status}"] += 1
        headers = self._allowed(request) | MORE_HEADERS.get(status, {})
        return Response(text, status, headers, media_type=None if text is None else "text/plain")

    async def _take(self, request: Request) -> int:
        if self.held.gone:
            return 410
        if self.held.token is not None and not self._knows_token(request, self.held.token):
            return 401
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in CONTENT_TYPES:
            return 415
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            return 415
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return 400  # to nobody
        except TimeoutError:
            return 408
        except Full:
            return 429
        if body is None:
            return 413
        at_ms = time.time_ns() // 1_000_000
        made, records = await self._apart(body, self._sender(request), at_ms)
        if not made:
            return 400
        assert self.sink is not None
        try:
            await self.sink.write(made, at_ms)
        except Full:
            return 429
        except NotWritten:
            return 503
        self.counts["records"] += records
        return 204

    async def _body(self, request: Request) -> bytes | None:
        """The body, None if it is too long. What has come of it counts among the sink's bytes until it is whole.

        Raises:
            TimeoutError: it does not come to its end in time.
            Full: too much is in memory already.
        """
        assert self.sink is not None
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.held.body_bytes:
            return None
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.held.body_timeout_ms / 1000):
                async for part in request.stream():
                    size += len(part)
                    self.sink.reading_bytes += len(part)
                    if size > self.held.body_bytes:
                        return None
                    if not self.sink.room(0):
                        raise Full
                    parts.append(part)
        finally:
            self.sink.reading_bytes -= size
        return b"".join(parts)

    async def _apart(self, body: bytes, sender: posts.Sender, at_ms: int) -> tuple[list[posts.Message], int]:
        """`posts.messages`; a long body waits for its turn in the thread and counts as being read until then."""
        given = (body, sender, at_ms, self.held.hosts, self.held.sessions)
        if len(body) <= IN_LOOP_BYTES:
            return posts.messages(*given)
        assert self.sink is not None
        self.sink.reading_bytes += len(body)
        try:
            return await asyncio.get_running_loop().run_in_executor(self.long_ones, posts.messages, *given)
        finally:
            self.sink.reading_bytes -= len(body)

    @staticmethod
    def _knows_token(request: Request, token: str) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        shown = given if scheme.lower() == "bearer" else request.query_params.get("token", "")
        return hmac.compare_digest(shown.encode(), token.encode())

    def _sender(self, request: Request) -> posts.Sender:
        isp, country = self.addresses.place(self._address(request))
        device = posts.device(request.headers.get("user-agent", "")[:512])
        asked = request.query_params
        app, profile = (asked.get(name, "")[:LONGEST_NAME] for name in ("app", "profile"))
        return posts.Sender(isp, country, device, _printable(app), _printable(profile))

    def _address(self, request: Request) -> str:
        """The peer's, or the one the nearest proxy added behind those it was told, in that header or one of its own."""
        if self.held.forwarded_header:
            told = request.headers.getlist(self.held.forwarded_header)
            return bare(told[-1].rpartition(",")[2]) if told else ""
        return request.client.host if request.client else ""

    async def health(self, _request: Request) -> Response:
        """Counters, how much waits for the broker, how much has come of bodies that are being read."""
        assert self.sink is not None
        waiting = self.sink.waiting_bytes
        told = {"waiting_bytes": waiting, "reading_bytes": self.sink.reading_bytes, **sorted_counts(self.counts)}
        return JSONResponse(told, 503 if self.sink.broken or waiting > self.held.buffer_bytes // 2 else 200)


def sorted_counts(counts: Counter[str]) -> dict[str, int]:
    """Counters by name."""
    return dict(sorted(counts.items()))


def _printable(text: str) -> str | None:
    return text if text and text.isprintable() else None


def create(settings: Settings | None = None) -> Starlette:
    """The application; without settings those in force (uvicorn's workers call it so)."""
    collector = Collector(load() if settings is None else settings)
    routes = [
        Route("/cmcd", collector.post, methods=["POST"]),
        Route("/cmcd", collector.preflight, methods=["OPTIONS"]),
        Route("/health", collector.health, methods=["GET"]),
    ]
    return Starlette(routes=routes, lifespan=collector.lifespan)
