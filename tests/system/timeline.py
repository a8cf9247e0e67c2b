"""One time for a run and the server beside it: it runs fast, and leaps where nobody has anything to do."""

from __future__ import annotations

import threading

from nono.server.clock import SECOND_NS, SteeredClock

# Real time for the server to do what is asked of it, before the hands move on.
BREATH_S = 0.003


class Timeline:
    """The engine's clock, over the server's. Waiting moves the hands of both: an hour passes in a breath.

    With a `stride` above 1, who waits is woken late, by that factor: as on a machine that sleeps now and then.
    """

    def __init__(self, hands: SteeredClock, stride: float = 1.0) -> None:
        self.hands = hands
        self._stride = stride

    def now_ms(self) -> int:
        return self.hands.now_ns() // 1_000_000

    def elapsed_s(self) -> float:
        return self.hands.now_ns() / SECOND_NS

    def wait(self, seconds: float, wake: threading.Event) -> None:
        until_ns = self.hands.now_ns() + int(seconds * self._stride * SECOND_NS)
        if not wake.wait(min(BREATH_S, seconds)):
            self.hands.not_before(until_ns)
