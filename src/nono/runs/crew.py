"""A few threads that take steps. Unlike those of a `ThreadPoolExecutor` they do not keep the interpreter from ending:
who wants to leave at once must not have to wait for a call that hangs.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Crew:
    """So many daemon threads, which do what they are given in the order of its coming."""

    def __init__(self, size: int, name: str) -> None:
        self._tasks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"{name}-{no}", daemon=True) for no in range(size)]
        for thread in self._threads:
            thread.start()

    def do(self, task: Callable[[], object]) -> None:
        """Do this as soon as a thread is free; the task may not raise."""
        self._tasks.put(task)

    def ask(self, task: Callable[[], T]) -> T:
        """Have this done by one of the threads, and wait for what it returns or raises."""
        told: Future[T] = Future()

        def tell() -> None:
            try:
                told.set_result(task())
            except BaseException as error:
                told.set_exception(error)

        self.do(tell)
        return told.result()

    def end(self) -> None:
        """Return when everything is done; the threads have ended then."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        for task in iter(self._tasks.get, None):
            task()
