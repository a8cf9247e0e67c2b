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
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
    """Starts processes, many at a time if need be; what they say is kept in `folder`. Not for threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        log = self.folder / f"process-{self._started}.log"
        log.touch()  # it may die before it says anything
        order = {"argv": argv, "program": program and str(program), "log": str(log), "folder": str(Path.cwd())}
        order |= {"environment": {**os.environ, **(environment or {})}}
        pid = int(self._ask({**order, "at": at, "signals": signals, "kill_after_s": kill_after_s})["pid"])
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

    def end(self) -> None:
        """Kill what is still running."""
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)  # nobody else reaps: the number is still this process's
        while self._running:
            self.wait()

    def close(self) -> None:
        self.end()
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
    import nono.server.faults
    import nono.server.models.simulated
    import nono.transport

    for package in (nono.cli, nono.providers, nono.runs, nono.server.faults):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)

    doomed = Doomed()
    for line in sys.stdin:
        order = json.loads(line)
        if order.get("wait"):
            pid, code = doomed.reap()
            answer = {"pid": pid, "code": code}
        else:
            pid = os.fork()
            if pid == 0:
                become(order)
            if order["kill_after_s"] is not None:
                doomed.add(pid, order["kill_after_s"])
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


class Doomed:
    """Children that are to die of SIGKILL, each at its instant; one alarm for all of them."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        signal.signal(signal.SIGALRM, self._kill)

    def add(self, pid: int, after_s: float) -> None:
        self._at[pid] = time.monotonic() + after_s
        self._set_alarm()

    def reap(self) -> tuple[int, int]:
        """Wait for any child; its number and how it ended."""
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        # Before its number is anybody else's.
        self._at.pop(ended.si_pid, None)
        _, status = os.waitpid(ended.si_pid, 0)
        return ended.si_pid, os.waitstatus_to_exitcode(status)

    def _kill(self, *_: object) -> None:
        now = time.monotonic()
        for pid in [pid for pid, at in self._at.items() if at <= now]:
            del self._at[pid]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._set_alarm()

    def _set_alarm(self) -> None:
        left_s = min(self._at.values()) - time.monotonic() if self._at else 0.0
        signal.setitimer(signal.ITIMER_REAL, max(left_s, 1e-4) if self._at else 0.0)


def become(order: Mapping[str, Any]) -> None:
    """What a forked process does; it does not return."""
    code = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
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
