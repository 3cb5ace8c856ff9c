"""Bounds on what of a connection is worked on by nobody: uvicorn has none for a request's head."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

FRAME_BYTES = 65_536
"""The longest head. What frames a body counts too (sizes of chunks, trailers): httptools keeps all of it in memory."""


class Bounded(HttpToolsProtocol):
    """Closes a connection whose next head does not come to its end in time, however it trickles; one that goes on with
    the body of a request which is answered already; and one that sends too much that is no body. Between requests
    uvicorn's `timeout_keep_alive` holds."""

    def __init__(self, *words: Any, head_timeout_s: float, **named: Any) -> None:
        super().__init__(*words, **named)
        self.head_timeout_s = head_timeout_s
        self.frame_bytes = 0
        self.last_moment: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._bound()

    def data_received(self, data: bytes) -> None:
        self.frame_bytes += len(data)
        super().data_received(data)
        if self.frame_bytes > FRAME_BYTES:
            self.transport.close()
        self._bound()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self.frame_bytes -= len(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.frame_bytes = 0

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unbound()

    def _idle(self) -> bool:
        """Whether nothing works on a request: its head is not whole, or it is answered while its body still comes."""
        return self.cycle is None or self.cycle.response_complete

    def _bound(self) -> None:
        if not self._idle():
            self._unbound()
        elif self.last_moment is None:
            self.last_moment = self.loop.call_later(self.head_timeout_s, self._close)

    def _unbound(self) -> None:
        if self.last_moment is not None:
            self.last_moment.cancel()
            self.last_moment = None

    def _close(self) -> None:
        if self._idle():
            self.transport.close()
