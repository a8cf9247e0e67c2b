"""Processes that do what would keep a processor busy: calls go to whoever is free, what they return comes back.

Unlike those of `multiprocessing` they do not import the program's main module again, so that a script needs no
`if __name__ == "__main__"`. A worker ends when nobody can give it anything more: with its process, however that ends.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from queue import LifoQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# A worker finds the same modules as this process.
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from nono.runs.workers import serve; serve()"

# Arrow's own allocators keep what is freed; with the system's a worker takes a quarter less memory.
_ENVIRONMENT = {"ARROW_DEFAULT_MEMORY_POOL": "system"}


class WorkerFailed(Exception):
    """The call did not return: the worker has died, or raised something. Who asked can only do it alone."""


class Workers:
    """So many processes at most, each started when it is needed first; calls may come from several threads."""

    def __init__(self, size: int) -> None:
        # A program that was frozen into one file has no Python to start.
        self._size = size if sys.executable and not getattr(sys, "frozen", False) else 0
        # The last one to be free is the first to be called: no process is started while one that runs is idle.
        self._free: LifoQueue[_Worker | None] = LifoQueue()
        for _ in range(self._size):
            self._free.put(None)

    def __bool__(self) -> bool:
        return self._size > 0

    def call(self, function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Have a function of a module called; all that goes in and comes out has to be picklable.

        Raises WorkerFailed, whatever went wrong.
        """
        worker = self._free.get()
        try:
            worker = worker or _Worker()
            found: T = worker.call(function, given, named)
        except Exception as error:
            if worker is not None:
                worker.end()
                worker = None
            raise WorkerFailed(f"{type(error).__name__}: {error}") from error
        finally:
            self._free.put(worker)
        return found

    def end(self) -> None:
        """End all processes; no call may be under way."""
        for _ in range(self._size):
            worker = self._free.get()
            if worker is not None:
                worker.end()
            self._free.put(None)


class _Worker:
    def __init__(self) -> None:
        command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)]
        environment = _ENVIRONMENT | os.environ
        self._process = subprocess.Popen(  # noqa: S603 - this Python
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def call(self, function: Callable[..., Any], given: Any, named: Any) -> Any:
        calls, answers = self._process.stdin, self._process.stdout
        assert calls is not None and answers is not None
        pickle.dump((function, given, named), calls)
        calls.flush()
        error, found = pickle.load(answers)  # noqa: S301 - from a process of our own
        if error is not None:
            raise RuntimeError(error)
        return found

    def end(self) -> None:
        """End at once, whatever it is doing."""
        self._process.kill()
        self._process.communicate()


def serve() -> None:
    """What a worker does: call after call, until there are no more."""
    # What a function prints belongs into no answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Ctrl-C goes to all processes of a terminal; the first one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            function, given, named = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
        except EOFError:
            return
        try:
            answer = pickle.dumps((None, function(*given, **named)))
        except Exception as error:
            answer = pickle.dumps((f"{type(error).__name__}: {error}", None))
        try:
            answers.write(answer)
            answers.flush()
        except BrokenPipeError:
            return  # the process that asked was killed
