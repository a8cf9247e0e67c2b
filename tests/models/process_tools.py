"""What tests ask about processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from patience import PATIENT_S


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended (one that nobody has waited for has)."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def soon(holds: Callable[[], bool], within_s: float = PATIENT_S) -> bool:
    """Whether something comes true, asked every 20 ms."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
