"""Processes that cost a hundredth of a second: one interpreter that has everything imported, and forks.

As a program it reads orders, one JSON object a line, and answers each with one: `{"argv": […], …}` forks a process that
is `nono` with these arguments, `{"wait": true}` waits until any of them has ended. `Forge` is its other side.

An order's `signals` are sent by the process to itself when it reaches boundary `at` (as `world.World.boundary` counts
them: around every commit and every HTTP call), so that a signal hits every moment of a life, and no clock decides.
With `kill_after_s` it dies of SIGKILL then, wherever it is. `program` is a file to run in place of `nono`.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How a process ended: an exit code, or a signal's number below zero."""

    pid: int
    code: int
    said: str


class Forge:
    """Starts processes. Not for threads: one order at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._running: dict[int, Path] = {}
        self._started = 0

    def start(
        self,
        *argv: str,
        environment: Mapping[str, str] | None = None,
        at: int | None = None,
        signals: Sequence[int] = (),
        kill_after_s: float | None = None,
        program: Path | None = None,
    ) -> int:
        """Fork `nono ARGV`, with what it says in a file; returns its process id."""
        self._started += 1
        log = self._folder / f"process-{self._started}.log"
        log.touch()  # it may die before it says anything
        order = {"argv": argv, "environment": dict(environment or {}), "log": str(log), "at": at, "signals": signals}
        pid = int(self._ask({**order, "kill_after_s": kill_after_s, "program": program and str(program)})["pid"])
        self._running[pid] = log
        return pid

    def wait(self) -> Ended:
        """Wait for any of the processes."""
        answer = self._ask({"wait": True})
        pid = int(answer["pid"])
        return Ended(pid, int(answer["code"]), self._running.pop(pid).read_text())

    def run(self, *argv: str, **more: Any) -> Ended:
        self.start(*argv, **more)
        return self.wait()

    def close(self) -> None:
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)
        self._process.communicate()

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def serve() -> None:
    """The program: everything is imported once, nothing is started before the fork."""
    import genai_prices  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import rich.live  # noqa: F401

    import nono.cli
    import nono.providers
    import nono.runs
    import nono.transport

    for package in (nono.cli, nono.providers, nono.runs):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)

    for line in sys.stdin:
        order = json.loads(line)
        if order.get("wait"):
            pid, status = os.wait()
            signal.setitimer(signal.ITIMER_REAL, 0)
            answer = {"pid": pid, "code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if pid == 0:
                become(order)
            if order["kill_after_s"] is not None:
                # Nobody else reaps: the number is still this process's.
                signal.signal(signal.SIGALRM, lambda *_, pid=pid: os.kill(pid, signal.SIGKILL))
                signal.setitimer(signal.ITIMER_REAL, order["kill_after_s"])
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


def become(order: Mapping[str, Any]) -> None:
    """What a forked process does; it does not return."""
    code = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        if order["at"] is not None:
            signal_at(order["at"], order["signals"])
        sys.argv = [order["program"] or "nono", *order["argv"]]
        from nono.cli import main

        try:
            if order["program"]:
                runpy.run_path(order["program"], run_name="__main__")
            else:
                main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def signal_at(boundary: int, signals: Sequence[int]) -> None:
    """Have this process send itself signals when it comes to a boundary."""
    from nono.runs.ledger import Ledger
    from nono.transport import Sender

    passed = [0]
    lock = threading.Lock()

    def pass_by() -> None:
        with lock:
            here, passed[0] = passed[0], passed[0] + 1
        if here == boundary:
            for number in signals:
                os.kill(os.getpid(), number)

    transaction, send = Ledger.transaction, Sender.__call__

    @contextmanager
    def watched(self: Ledger, **words: Any) -> Iterator[Any]:
        with transaction(self, **words) as work:
            yield work
            pass_by()
        pass_by()

    def noted(self: Sender, call: Any) -> Any:
        pass_by()
        reply = send(self, call)
        pass_by()
        return reply

    Ledger.transaction, Sender.__call__ = watched, noted  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
