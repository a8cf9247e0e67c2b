"""Wall time and waiting, as something that can be handed in: tests move it, the engine never asks `time` itself."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970 (UTC)."""
        ...

    def elapsed_s(self) -> float:
        """Seconds since some instant; never set back, never set forward."""
        ...

    def wait(self, seconds: float, wake: threading.Event) -> None:
        """Wait, or until `wake` is set."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def elapsed_s(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, wake: threading.Event) -> None:
        wake.wait(max(0.0, seconds))
