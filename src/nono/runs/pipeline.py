"""Reading, working and writing at the same time: a thread ahead of the work, a thread behind it.

Reading tables and writing files do not hold Python's lock, so a second processor has something to do, and nobody waits
for a disk. Order is kept, little is in between, and what goes wrong in a thread is raised in the work.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

# Batches that are read before they are asked for, and things to write that may wait: some megabytes each.
AHEAD = 2
BEHIND = 4
_END = object()
# The most that glibc takes as a sign: https://man7.org/linux/man-pages/man3/mallopt.3.html (M_MMAP_THRESHOLD)
_LARGEST_SIGN = 31 << 20


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed, for the next batch, instead of giving it back and asking for it again.

    That is what glibc does with blocks up to the size of the largest one that was ever freed. This one is never
    touched, so it takes no memory; where the allocator is another one, nothing happens.
    """
    bytes(_LARGEST_SIGN)


def give_back_freed_memory() -> None:
    """Give back what was kept for the next batch: there is none, and what comes after planning may take hours."""
    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    if sys.platform == "linux":
        import ctypes

        # https://man7.org/linux/man-pages/man3/malloc_trim.3.html; other C libraries than glibc have none
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items; the next ones are fetched meanwhile."""
    with ThreadPoolExecutor(1, "nono-read") as thread:
        try:
            waiting: deque[Future[Any]] = deque(thread.submit(next, items, _END) for _ in range(AHEAD))
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, items, _END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)


class Behind:
    """Does things in their order, in a thread of its own. Once one of them has failed, none of the rest is done."""

    def __init__(self, waiting: int = BEHIND) -> None:
        self._most = waiting
        self._thread = ThreadPoolExecutor(1, "nono-write")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def do(self, what: Callable[..., Any], *given: Any) -> None:
        """Have something done soon. Raises what an earlier thing raised."""
        while len(self._waiting) >= self._most:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._do, what, *given))

    def finish(self) -> None:
        """Wait until everything is done. Raises what one of the things raised."""
        while self._waiting:
            self._waiting.popleft().result()
        self._thread.shutdown()

    def stop(self) -> None:
        """Wait for what is being done; the rest is left undone."""
        self._failed = True
        self._thread.shutdown(cancel_futures=True)

    def _do(self, what: Callable[..., Any], *given: Any) -> None:
        if self._failed:
            return
        try:
            what(*given)
        except BaseException:
            self._failed = True
            raise
