"""A process that works on one run, to be killed: `python one_run.py HOME BASE_URL ROWS BEGAN_S`.

Its time runs faster than the machine's, from the instant `BEGAN_S` on: a server that is killed is waited for in
seconds, as always, and they pass quickly.
"""

from __future__ import annotations

import sys
import threading
import time

import nono
from nono.runs.bench import Settings
from nono.runs.run import Run

SPEED = 20


class Hurried:
    """The machine's clock, faster; the same in every process of a history."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s

    def now_ms(self) -> int:
        return int((self._began_s + (time.time() - self._began_s) * SPEED) * 1000)

    def elapsed_s(self) -> float:
        return time.monotonic() * SPEED

    def wait(self, seconds: float, wake: threading.Event) -> None:
        wake.wait(max(0.0, seconds / SPEED))


home, base_url, rows, began_s = sys.argv[1:]
planned = nono.run(
    [{"text": f"[[nono:say {number}]]"} for number in range(int(rows))],
    prompt="{{ text }}",
    model="openai/gpt-4o-mini",
    home=home,
    api_key="local",
    base_url=base_url,
    rows_per_part=3,
    max_attempts=12,
    # Patient enough for a listing that never lags, as this server's.
    settings=Settings(max_attempts=12, poll_first_s=0.4, poll_cap_s=1.0, reconcile_s=6.0, fence_s=10.0, settlers=1),
)
run = Run(planned.workspace, planned.id, api_key="local", clock=Hurried(float(began_s)))
status = run.wait()
print(status.state, status.reason)
sys.exit(0 if status.succeeded == int(rows) else 3)
