"""The queue before one model: batches in order of priority, then age, and the threads that ask, one a slot.

A request's answer is in its batch's journal before the next one is taken. Knows a batch only while it is asked; what
comes before and after is `Work`'s.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol

from nono.model import Usage
from nono.server.answer_files import request_lines
from nono.server.dialect import Answer, Dialect, Why
from nono.server.journal import Journal
from nono.server.models import Model
from nono.server.records import Batch, Counts, State
from nono.server.store import Store
from nono.server.weather import Weather

log = logging.getLogger("nono.server")

# Made once: `json.dumps` with these words makes one for every answer, which costs as much as the encoding.
_STRICT = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


class Owner(Protocol):
    """Who is told what becomes of a batch. Called by the lane's threads, without its lock."""

    def started(self, job: Job) -> None:
        """The first request is about to be asked."""
        ...

    def drained(self, job: Job) -> None:
        """Nothing is being answered, and nothing will be."""
        ...

    def broken(self, job: Job, error: Exception) -> None:
        """Its answers cannot be kept, or its requests not be read."""
        ...


class Job:
    """One batch while its requests are being asked. Guarded by its lane's lock; the journal has its own.

    A batch that waits has no file open and no journal in memory: thousands may wait.
    """

    def __init__(self, batch: Batch, dialect: Dialect, lane: Lane, store: Store, weather: Weather) -> None:
        self.batch = batch
        self.dialect = dialect
        self.lane = lane
        self.started = batch.state is State.RUNNING
        self.in_flight = 0
        self.exhausted = False
        self.handed_over = False
        self._clock = store.clock
        self._weather = weather
        self._runs = weather.end(batch).after
        self._folder = store.work_folder(batch)
        self._input: BinaryIO | None = None
        self._lines: Iterator[tuple[int, bytes]] = iter(())
        self._journal = self._open_journal() if self.started else None

    @property
    def rank(self) -> tuple[int, int]:
        return (-self.batch.priority, self.batch.seq)

    @property
    def journal(self) -> Journal:
        """Opened when it is first needed."""
        if self._journal is None:
            self._journal = self._open_journal()
        return self._journal

    def progress(self) -> tuple[Counts, Usage]:
        """Counts and tokens as they are at this moment."""
        journal = self._journal
        return (self.batch.counts, self.batch.usage) if journal is None else (journal.counts, journal.usage)

    def take(self) -> tuple[int, bytes] | None:
        """The next request that has no answer yet; none after the batch's time is over."""
        if not self.exhausted:
            if self._clock.now_ns() >= self.batch.expires_ns:
                self.close_input()
                return None
            if self._input is None:
                self._input = (self._folder / "input.jsonl").open("rb", buffering=1 << 18)
                self._lines = enumerate(request_lines(self._input))
            for ordinal, line in self._lines:
                if ordinal == self._runs:
                    break
                if not self.journal.has(ordinal):
                    self.in_flight += 1
                    return ordinal, line
            self.close_input()
        return None

    def close_input(self) -> None:
        self.exhausted = True
        if self._input is not None:
            self._input.close()

    def close(self) -> None:
        """Keep nothing open; answers that still come are dropped."""
        if self._journal is not None:
            try:
                self._journal.close()
            except OSError as error:  # what is not on the disk is asked again
                log.error("batch %s: its last answers could not be forced to disk: %s", self.batch.id, error)

    def _open_journal(self) -> Journal:
        return Journal(self._folder / "journal", self.batch.counts.total)

    def abandon(self) -> None:
        """Stop without an end: answers that still come are dropped."""
        self.lane.drop(self, hand_over=False)
        self.close()

    def answer(self, ordinal: int, line: bytes) -> Answer:
        """Ask for one line's answer: what goes wrong is the answer."""
        try:
            ask = self._weather.asking(self.batch, ordinal, line, self.lane.ask)
            answer = self.dialect.answer(self.batch, line, ask)
        except Exception:
            log.exception("batch %s: a line could not be answered", self.batch.id)
            answer = Answer(False, self.dialect.unanswered(self.batch, line, Why.BROKEN))
        self._weather.answered(self.batch, ordinal, line, answer)
        return answer


class Lane:
    """The queue before one model, and the threads that ask it: one a slot, started with the first batch."""

    def __init__(self, model: Model, owner: Owner) -> None:
        self._model = model
        self._owner = owner
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"nono-{model.name}-{slot}", daemon=True)
            for slot in range(max(1, model.slots))
        ]
        for thread in self._threads:
            thread.start()

    def ask(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        return ask(self._model, endpoint, body)

    def add(self, job: Job) -> None:
        with self._changed:
            self._jobs.append(job)
            self._jobs.sort(key=lambda job: job.rank)
            self._changed.notify_all()

    def rank_anew(self, job: Job, batch: Batch) -> None:
        """Put a batch, whose priority has changed, where it belongs."""
        with self._changed:
            job.batch = batch
            self._jobs.sort(key=lambda job: job.rank)

    def drop(self, job: Job, *, hand_over: bool = True) -> None:
        """Ask nothing more of a batch; it is handed over when its answers in the making have come."""
        with self._changed:
            job.close_input()
            if job in self._jobs:
                self._jobs.remove(job)
            if not hand_over:
                job.handed_over = True
        self._hand_over_if_drained(job)

    def give_up_on(self, job: Job) -> None:
        """Hand a batch over although answers are in the making: its model hangs. What still comes is dropped."""
        self.drop(job, hand_over=False)
        self._owner.drained(job)

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, until_s: float) -> None:
        """Wait for answers in the making until that monotonic time; what comes later is dropped."""
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            job, ordinal, line = taken
            try:
                if not job.started:
                    job.started = True
                    self._owner.started(job)
                job.journal.append(ordinal, job.answer(ordinal, line))
            except Exception as error:
                self._owner.broken(job, error)
            with self._changed:
                job.in_flight -= 1
            if job.exhausted:
                self._hand_over_if_drained(job)

    def _take(self) -> tuple[Job, int, bytes] | None:
        """The next request of the first batch that has one; waits for work, None when the lane stops."""
        while True:
            broken: Exception | None = None
            with self._changed:
                while not self._stopping and not self._jobs:
                    self._changed.wait()
                if self._stopping:
                    return None
                job = self._jobs[0]
                try:
                    taken = job.take()
                except Exception as error:
                    broken = error
                else:
                    if taken is not None:
                        return job, *taken
                    self._jobs.remove(job)
            if broken:
                self._owner.broken(job, broken)
            else:
                self._hand_over_if_drained(job)

    def _hand_over_if_drained(self, job: Job) -> None:
        with self._changed:
            if not job.exhausted or job.in_flight or job.handed_over:
                return
            job.handed_over = True
        self._owner.drained(job)


def ask(model: Model, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """A model's answer; a model that raises, or answers what no JSON reply can carry, has answered 500."""
    try:
        status, answer = model.answer(endpoint, body)
        if type(status) is not int or not (200 <= status < 300 or 400 <= status < 600):
            raise ValueError(f"the model answered with the status {status!r}")
        if not isinstance(answer, dict):
            raise TypeError(f"the model answered with {type(answer).__name__} instead of an object")
        # NaN and half a surrogate pair are no JSON: one of them in an answer file, and no client reads its line.
        _STRICT.encode(answer).encode()
        return status, answer
    except (Exception, SystemExit) as error:
        log.exception("the model %s failed", model.name)
        message = f"The server had an error processing your request: {type(error).__name__}: {error}"
        return 500, {"error": {"message": message, "type": "server_error", "param": None, "code": "server_error"}}
