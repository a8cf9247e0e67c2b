"""uvicorn's HTTP protocol with a deadline for the head of a request, and a way to hang up on a client.

uvicorn bounds the pause between two requests, not the time that a client may take to send the first line and the
headers: a few hundred clients that send one byte a minute would hold every connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_DEADLINE_S = 15.0
# Where a call's scope carries `hang_up`: ASGI itself knows no way to leave a call without an answer.
HANG_UP = "nono.hang_up"


class DeadlineProtocol(H11Protocol):
    """Closes a connection whose next request has not come completely by the deadline."""

    header_deadline_s = HEADER_DEADLINE_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._start_deadline()
        app = self.app

        async def with_hang_up(scope: Scope, receive: Receive, send: Send) -> None:
            scope[HANG_UP] = self.hang_up
            await app(scope, receive, send)

        self.app = with_hang_up

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection after what has been written, or reset it at once."""
        if reset:
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.transport.abort()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._start_deadline()
        else:
            self._stop_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.header_deadline_s, self._late)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
