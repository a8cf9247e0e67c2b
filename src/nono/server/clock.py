"""Time in the server comes from here and from nowhere else, so that tests can hold the hands of the clock.

Instants are nanoseconds since 1970 (UTC): Gemini prints them all, OpenAI only the seconds.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol

from nono.errors import SettingsError

SECOND_NS = 1_000_000_000
# The machine may sleep, or its clock be set right, while somebody waits.
_LOOK_AGAIN_S = 600.0
# A day in some milliseconds: faster than that, nothing that takes real time would ever be done in time.
FASTEST = 1e7


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


class SteeredClock:
    """A clock that others steer: it runs `speed` times as fast as the machine's, and its hands can be moved on.

    It starts at `start_ns` (now, where that is not given), and never goes back.
    """

    def __init__(self, start_ns: int | None = None, speed: float = 1.0) -> None:
        self._speed = _checked_speed(speed)
        self._set_ns = time.time_ns() if start_ns is None else start_ns
        self._set_at_ns = time.monotonic_ns()
        self._moved = threading.Lock()
        self._waiting: set[threading.Event] = set()

    @property
    def speed(self) -> float:
        return self._speed

    def now_ns(self) -> int:
        with self._moved:
            return self._shown_ns()

    def advance(self, seconds: float) -> None:
        """Move the hands on; whoever waits for a later time looks again. Raises SettingsError for a way back."""
        if not 0 <= seconds < float("inf"):
            raise SettingsError(f"the clock cannot be moved by {seconds} s", hint="time goes on: 0 seconds or more")
        with self._moved:
            self._set(self._shown_ns() + int(seconds * SECOND_NS))

    def run_at(self, speed: float) -> None:
        """Run so many times as fast as the machine's clock from now on (0: stand still). Raises SettingsError."""
        with self._moved:
            self._set(self._shown_ns())
            self._speed = _checked_speed(speed)

    def not_before(self, instant_ns: int) -> None:
        """Go on from that instant, if it is later than what the clock shows."""
        with self._moved:
            self._set(max(self._shown_ns(), instant_ns))

    def wait(self, wake: threading.Event, until_ns: int | None) -> None:
        with self._moved:
            left_ns = None if until_ns is None else until_ns - self._shown_ns()
            if left_ns is not None and left_ns <= 0:
                return
            self._waiting.add(wake)
            real_s = left_ns / SECOND_NS / self._speed if left_ns is not None and self._speed else _LOOK_AGAIN_S
        wake.wait(min(real_s, _LOOK_AGAIN_S))
        with self._moved:
            self._waiting.discard(wake)

    def _shown_ns(self) -> int:
        return self._set_ns + int((time.monotonic_ns() - self._set_at_ns) * self._speed)

    def _set(self, instant_ns: int) -> None:
        self._set_ns, self._set_at_ns = instant_ns, time.monotonic_ns()
        for event in self._waiting:
            event.set()


class HandClock(SteeredClock):
    """A clock that stands still until somebody moves its hands."""

    def __init__(self, start_ns: int = 1_763_800_000 * SECOND_NS) -> None:
        super().__init__(start_ns, speed=0.0)


def _checked_speed(speed: float) -> float:
    if not 0 <= speed <= FASTEST:
        raise SettingsError(f"a clock cannot run {speed} times as fast", hint=f"0 (it stands still) to {FASTEST:g}")
    return speed


def unix_s(instant_ns: int | None) -> int | None:
    """Whole seconds, as OpenAI writes an instant."""
    return None if instant_ns is None else instant_ns // SECOND_NS


def rfc3339(instant_ns: int) -> str:
    """With nanoseconds and `Z`, as Google writes an instant."""
    whole, fraction = divmod(instant_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
