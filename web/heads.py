"""A bound on the time in which nothing of a connection is worked on: uvicorn has none for a request's head."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Bounded(H11Protocol):
    """Closes a connection whose next head does not come to its end in time, however it trickles; and one that goes on
    with the body of a request which is answered already. Between requests uvicorn's `timeout_keep_alive` holds."""

    def __init__(self, *words: Any, head_timeout_s: float, **named: Any) -> None:
        super().__init__(*words, **named)
        self.head_timeout_s = head_timeout_s
        self.last_moment: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._bound()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._bound()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unbound()

    def _idle(self) -> bool:
        """Whether nothing works on a request: its head is not whole, or it is answered while its body still comes."""
        return self.conn.their_state is h11.IDLE or (
            self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
        )

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
        if self._idle() and not self.transport.is_closing():
            self.conn.send(h11.ConnectionClosed())
            self.transport.close()
