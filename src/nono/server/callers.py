"""Threads in which calls wait for a model: not more than there is room for, and none that keeps a stopped server alive.

The usual pools join their threads when the process ends: one model that hangs, and Ctrl-C would not end the server.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Calls that wait for a model must not keep the quick ones from their threads, so they have their own.
ROOM = 64


class Callers:
    """Belongs to one event loop."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = asyncio.Semaphore(room)

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `work` returns or raises; when nobody waits any more, it is left alone."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()

        def settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
            if not done.cancelled():
                set_outcome(outcome)

        def call() -> None:
            outcome: tuple[Callable[[Any], None], Any]
            try:
                outcome = done.set_result, work(*args, **kwargs)
            except Exception as error:
                outcome = done.set_exception, error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, *outcome)

        async with self._room:
            threading.Thread(target=call, name="nono-caller", daemon=True).start()
            return await done
