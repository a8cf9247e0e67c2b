"""Parts that somebody is settling: one at a time for each, different ones at the same time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Condition


class Held:
    """Numbers of parts: while somebody holds some of them, others who want one of these wait."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._held: set[int] = set()

    @contextmanager
    def hold(self, numbers: Iterable[int]) -> Iterator[None]:
        """All of the numbers, as soon as nobody holds one of them."""
        wanted = set(numbers)
        with self._changed:
            self._changed.wait_for(lambda: self._held.isdisjoint(wanted))
            self._held |= wanted
        try:
            yield
        finally:
            with self._changed:
                self._held -= wanted
                self._changed.notify_all()
