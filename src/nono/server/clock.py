"""Time in the server comes from here and from nowhere else, so that tests can hold the hands of the clock.

Instants are nanoseconds since 1970 (UTC): Gemini prints them all, OpenAI only the seconds.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol

SECOND_NS = 1_000_000_000
# The machine may sleep, or its clock be set right, while somebody waits.
_LOOK_AGAIN_S = 600.0


class Clock(Protocol):
    def now_ns(self) -> int: ...

    def wait(self, wake: threading.Event, until_ns: int | None) -> None:
        """Return when `wake` is set or the clock has reached `until_ns` (None: never); it may return earlier."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()

    def wait(self, wake: threading.Event, until_ns: int | None) -> None:
        left_s = _LOOK_AGAIN_S if until_ns is None else (until_ns - self.now_ns()) / SECOND_NS
        wake.wait(max(0.0, min(left_s, _LOOK_AGAIN_S)))


class HandClock:
    """A clock that stands still until somebody moves its hands."""

    def __init__(self, start_ns: int = 1_763_800_000 * SECOND_NS) -> None:
        self._now_ns = start_ns
        self._moved = threading.Lock()
        self._waiting: set[threading.Event] = set()

    def now_ns(self) -> int:
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Move the hands; whoever waits for a later time looks again."""
        with self._moved:
            self._now_ns += int(seconds * SECOND_NS)
            for event in self._waiting:
                event.set()

    def wait(self, wake: threading.Event, until_ns: int | None) -> None:
        with self._moved:
            if until_ns is not None and until_ns <= self._now_ns:
                return
            self._waiting.add(wake)
        wake.wait()
        with self._moved:
            self._waiting.discard(wake)


def unix_s(instant_ns: int | None) -> int | None:
    """Whole seconds, as OpenAI writes an instant."""
    return None if instant_ns is None else instant_ns // SECOND_NS


def rfc3339(instant_ns: int) -> str:
    """With nanoseconds and `Z`, as Google writes an instant."""
    whole, fraction = divmod(instant_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
