"""How much of clients' bodies the server holds in memory at a time: one body has its limit, their sum has this one.

A body that is read whole asks for room before it is read, and gives it back when its call has been answered: what is
decoded from it lives as long. Whoever finds none waits in line; uploads go to disk and need none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from nono.server.dialect import Refused

# Decoded, a body takes some three times as much as it has bytes.
ROOM_BYTES = 48 << 20
# Smaller ones are let through: their sum is bounded by the number of calls.
SMALL_BYTES = 64 << 10
PATIENCE_S = 60.0


@dataclass(slots=True)
class Room:
    """Bytes that are free, and who waits for them. For one event loop."""

    free: int = ROOM_BYTES
    size: int = field(init=False)
    _line: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self.size = self.free

    async def take(self, wanted: int, patience_s: float = PATIENCE_S) -> int:
        """Wait, first come first served, for so many bytes; returns what to `give` back.

        Raises Refused (503) when none came free in time.
        """
        if wanted <= SMALL_BYTES:
            return 0
        taken = min(wanted, self.size)  # what is larger than all there is has all there is to itself
        if not self._line and taken <= self.free:
            self.free -= taken
            return taken
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((taken, turn))
        try:
            await asyncio.wait_for(asyncio.shield(turn), patience_s)
        except BaseException as error:
            if turn.done():  # the turn came in the same moment
                self.give(taken)
            else:
                self._line.remove((taken, turn))
                self._call_next()
            if isinstance(error, TimeoutError):
                raise Refused(
                    503,
                    "The server is overloaded: too many large bodies are being worked on. Try again later.",
                    kind="server_error",
                    headers={"retry-after": "1"},
                ) from None
            raise
        return taken

    def give(self, taken: int) -> None:
        self.free += taken
        self._call_next()

    def _call_next(self) -> None:
        while self._line and self._line[0][0] <= self.free:
            taken, turn = self._line.popleft()
            self.free -= taken
            turn.set_result(None)
