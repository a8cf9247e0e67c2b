"""Runs batches: checks them, puts their requests to the models, and writes their ends.

One queue a model: batches in order of priority, then age, with as many answers in the making as the model has slots. A
request that has been answered is in the batch's journal before anything else happens, and is not asked again, whatever
happens. Nothing here knows a protocol; `Dialect` reads and writes the lines.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from nono.server.answer_files import AnswerFile, write_answers
from nono.server.clock import SECOND_NS
from nono.server.database import IllegalMove
from nono.server.dialect import Dialect, Why
from nono.server.journal import Journal
from nono.server.lane import Job, Lane
from nono.server.records import Batch, File, State
from nono.server.store import Store, new_token
from nono.server.weather import FAIR, Weather

log = logging.getLogger("nono.server")

# A full disk is looked at again after this time; nothing is lost meanwhile.
RETRY_S = 5.0
# "Up to 10 minutes" for what is being answered: https://platform.openai.com/docs/api-reference/batch/cancel
PATIENCE_S = 600
# How long a stop waits for answers in the making; what comes later is asked again at the next start.
STOP_S = 5.0

Key = tuple[str, str]


class Work:
    """All running batches of a server; `start` takes up what an earlier process left."""

    def __init__(self, store: Store, dialects: Mapping[str, Dialect], weather: Weather = FAIR) -> None:
        self._store = store
        self._weather = weather
        self._dialects = dialects
        self._lock = threading.RLock()
        self._jobs: dict[Key, Job] = {}
        self._lanes: dict[int, Lane] = {}
        self._retry_ns: dict[Key, int] = {}
        self._ending: set[Key] = set()
        self._wake = threading.Event()
        self._stopping = False
        # Two: a large batch being checked must not keep a small one from its end.
        self._desk = ThreadPoolExecutor(2, thread_name_prefix="nono-desk")
        self._timer = threading.Thread(target=self._keep_time, name="nono-timer", daemon=True)

    def start(self) -> None:
        for batch in self._store.unfinished():
            self._at_desk(self._resume, batch)
        self._timer.start()

    def stop(self) -> None:
        """Stop asking; unfinished batches stay as they are and go on at the next start."""
        self._stopping = True
        self._wake.set()
        for lane in list(self._lanes.values()):
            lane.stop()
        until = time.monotonic() + STOP_S
        for lane in list(self._lanes.values()):
            lane.join(until)
        self._desk.shutdown(wait=True, cancel_futures=True)
        for job in list(self._jobs.values()):
            job.close()
        if self._timer.is_alive():
            self._timer.join()

    def add(self, batch: Batch) -> None:
        """Take up a batch that has just been stored."""
        self._at_desk(self._check, batch)
        self.stir()

    def stir(self) -> None:
        """Look at the clock again: something new will expire."""
        self._wake.set()

    def look(self, batch: Batch) -> Batch:
        """The batch with its counts and usage as they are at this moment."""
        job = self._jobs.get(_key(batch))
        if job is None or batch.state.ended:
            return batch
        counts, usage = job.progress()
        return replace(batch, counts=counts, usage=usage)

    def change(self, batch: Batch, **changes: Any) -> Batch:
        """Change a batch's priority or details; one that waits moves in its queue.

        Raises IllegalMove if the batch has moved meanwhile; trying again helps.
        """
        with self._lock:
            batch = self._store.change_batch(self._current(batch), **changes)
            job = self._jobs.get(_key(batch))
        if job is not None:
            job.lane.rank_anew(job, batch)
        return self.look(batch)

    def cancel(self, batch: Batch) -> Batch:
        """Stop a batch: what is being answered is finished and kept, the rest never runs.

        Raises IllegalMove if it has ended or is being finalized.
        """
        with self._lock:
            batch = self._current(batch)
            unchecked = batch.state is State.VALIDATING
            batch = self._store.move(batch, State.CANCELLING)
            job = self._jobs.get(_key(batch))
        if job is not None:
            job.lane.drop(job)
        elif not unchecked:  # the desk finds out by itself when it has checked the batch
            self._at_desk(self._finish, batch)
        self.stir()
        return self.look(batch)

    def forget(self, batch: Batch) -> None:
        """Remove a batch, its answer files and its remaining work at once."""
        with self._lock:
            job = self._jobs.pop(_key(batch), None)
            self._retry_ns.pop(_key(batch), None)
            current = self._store.batch(batch.protocol, batch.id)
            if current is not None:
                self._store.delete_batch(current)
        if job is not None:
            job.abandon()

    # one batch, from its record to its end

    def _resume(self, batch: Batch) -> None:
        if batch.state is State.VALIDATING:
            self._at_desk(self._check, batch)
        elif batch.state in (State.QUEUED, State.RUNNING):
            self._enqueue(batch)
        else:
            self._at_desk(self._finish, batch)

    def _check(self, batch: Batch) -> None:
        dialect = self._dialects[batch.protocol]
        lines = self._store.work_folder(batch) / "input.jsonl"
        checked = self._weather.checked(batch, lines, dialect.check(batch, lines))
        with self._lock:
            batch = self._current(batch)
            if batch.state is State.VALIDATING:
                if checked.errors is not None:
                    self._store.move(batch, State.FAILED, errors=checked.errors, model=checked.model or batch.model)
                    self._store.clear_work(batch)
                    return
                counts = replace(batch.counts, total=checked.total)
                batch = self._store.move(batch, State.QUEUED, counts=counts, model=checked.model or batch.model)
        if batch.state is State.QUEUED:
            self._enqueue(batch)
        elif not batch.state.ended:
            self._finish(batch)

    def _enqueue(self, batch: Batch) -> None:
        held_ns = self._weather.held_until_ns(batch)
        if held_ns is not None and held_ns > self._store.clock.now_ns():
            self._later(batch, held_ns)
            return
        dialect = self._dialects[batch.protocol]
        model = dialect.model(batch)
        with self._lock:
            batch = self._current(batch)
            # It may have been cancelled, or have expired, since it was checked: then it is finished elsewhere.
            if self._stopping or _key(batch) in self._jobs or batch.state not in (State.QUEUED, State.RUNNING):
                return
            lane = self._lanes.get(id(model))
            if lane is None:
                lane = self._lanes[id(model)] = Lane(model, self)
            job = Job(batch, dialect, lane, self._store, self._weather)
            self._jobs[_key(batch)] = job
            lane.add(job)

    def started(self, job: Job) -> None:
        """The first request of a batch is about to be asked."""
        with self._lock:
            batch = self._store.batch(job.batch.protocol, job.batch.id)
            if batch is not None and batch.state is State.QUEUED:
                self._store.move(batch, State.RUNNING)

    def drained(self, job: Job) -> None:
        """Nothing of the batch is being answered, and nothing will be."""
        self._at_desk(self._finish, job.batch)

    def broken(self, job: Job, error: Exception) -> None:
        """A batch cannot go on: a disk that refuses makes it pause, anything else end."""
        job.abandon()

        def tell(_: Batch) -> None:
            raise error

        self._at_desk(tell, job.batch)

    def _finish(self, batch: Batch) -> None:
        """Write the end of a batch; may be repeated after a crash at any point."""
        with self._lock:
            batch = self._current(batch)
            if batch.state.ended or _key(batch) in self._ending:
                return
            if batch.state in (State.QUEUED, State.RUNNING):  # nobody can cancel it between the look and the move
                batch = self._store.move(batch, self._weather.end(batch).into)
            self._ending.add(_key(batch))
            job = self._jobs.get(_key(batch))
        try:
            if batch.counts.total == 0:  # cancelled before anybody knew what is in it
                batch = self._store.move(batch, State.CANCELLED)
            else:
                path = self._store.work_folder(batch) / "journal"
                journal = job.journal if job else Journal(path, batch.counts.total)
                journal.close()
                batch = self._write_end(batch, journal)
        finally:
            with self._lock:
                self._ending.discard(_key(batch))
        with self._lock:
            self._jobs.pop(_key(batch), None)
        self._store.clear_work(batch)
        self.stir()

    def _write_end(self, batch: Batch, journal: Journal) -> Batch:
        dialect = self._dialects[batch.protocol]
        end = State.CANCELLED
        if batch.state is not State.CANCELLING:
            end = State.COMPLETED if journal.complete else State.EXPIRED
        why = Why.CANCELLED if end is State.CANCELLED else Why.EXPIRED
        roles = dialect.roles(batch, end)
        tokens = {role: new_token() for role in roles.values()}
        try:
            written = write_answers(
                journal,
                self._store.work_folder(batch) / "input.jsonl",
                roles,
                lambda line: dialect.unanswered(batch, line, why),
                lambda role: self._store.incoming(tokens[role]),
                lambda lines: self._weather.answer_lines(batch, lines),
            )
            files = [self._kept(dialect, batch, role, tokens[role], file) for role, file in written.items()]
            outputs = {role: file.id for role, file in zip(written, files, strict=True)}
            return self._store.move(
                batch, end, files=files, outputs=outputs, counts=journal.counts, usage=journal.usage
            )
        except BaseException:
            # A full disk must not be filled further by every try, nor a deleted batch leave its answers behind.
            self._store.discard_unmentioned(tokens.values())
            raise

    def _kept(self, dialect: Dialect, batch: Batch, role: str, token: str, file: AnswerFile) -> File:
        self._store.keep(token)
        return dialect.output(batch, role, token, file.bytes, file.sha256)

    def _current(self, batch: Batch) -> Batch:
        current = self._store.batch(batch.protocol, batch.id)
        if current is None:
            raise IllegalMove(f"batch {batch.id} is gone")
        return current

    # time and trouble

    def _at_desk(self, act: Callable[[Batch], None], batch: Batch) -> None:
        try:
            self._desk.submit(self._act, act, batch)
        except RuntimeError:  # the desk is closed: the next start goes on
            log.debug("batch %s waits for the next start", batch.id)

    def _act(self, act: Callable[[Batch], None], batch: Batch) -> None:
        try:
            act(batch)
        except IllegalMove as error:
            log.debug("%s", error)  # somebody else has moved or removed it meanwhile
        except FileNotFoundError as error:
            if self._store.batch(batch.protocol, batch.id) is not None:  # otherwise it was deleted at this moment
                log.error("batch %s has lost its working files: %s", batch.id, error)
            self._give_up(batch, error)
        except OSError as error:
            log.error("batch %s pauses: %s", batch.id, error)
            self._later(batch, self._soon_ns())
        except Exception as error:
            log.exception("batch %s failed: a bug in the server", batch.id)
            self._give_up(batch, error)

    def _give_up(self, batch: Batch, error: Exception) -> None:
        with self._lock:
            current = self._store.batch(batch.protocol, batch.id)
            if current is not None and not current.state.ended:
                message = f"The server could not go on with this batch ({type(error).__name__}); its log says why."
                found = [{"code": "server_error", "message": message, "param": None, "line": None}]
                try:
                    self._store.move(current, State.FAILED, errors=found)
                except OSError as refused:
                    log.error("batch %s pauses: %s", batch.id, refused)
                    self._later(batch, self._soon_ns())
            self._jobs.pop(_key(batch), None)

    def _later(self, batch: Batch, at_ns: int) -> None:
        with self._lock:
            self._jobs.pop(_key(batch), None)
            self._retry_ns[_key(batch)] = at_ns
        self.stir()

    def _soon_ns(self) -> int:
        return self._store.clock.now_ns() + int(RETRY_S * SECOND_NS)

    def _keep_time(self) -> None:
        while not self._stopping:
            self._wake.clear()
            now = self._store.clock.now_ns()
            try:
                self._store.sweep(now)
                lost = self._end_late(now)
                due = self._resume_paused(now)
                until = min((at for at in (lost, due, self._store.next_expiry_ns(now)) if at is not None), default=None)
            except OSError as error:
                log.error("the timer pauses: %s", error)
                until = now + int(RETRY_S * SECOND_NS)
            self._store.clock.wait(self._wake, until)

    def _end_late(self, now: int) -> int | None:
        """End what has expired; returns when the patience with a model that hangs in an ending batch will be over."""
        patience_ends = []
        for batch in self._store.late(now):
            job = self._jobs.get(_key(batch))
            ending_ns = batch.moved_ns[State.CANCELLING] if batch.state is State.CANCELLING else batch.expires_ns
            lost_ns = ending_ns + PATIENCE_S * SECOND_NS
            if job is not None and not job.handed_over and lost_ns <= now:
                log.error("batch %s ends without answers that its model has not given in time", batch.id)
                job.lane.give_up_on(job)
            elif job is not None:
                if batch.state is not State.CANCELLING:
                    job.lane.drop(job)
                if not job.handed_over:
                    patience_ends.append(lost_ns)
            elif batch.state is State.VALIDATING:
                self._at_desk(self._expire_unchecked, batch)
            elif batch.state is not State.CANCELLING:
                self._at_desk(self._finish, batch)
        return min(patience_ends, default=None)

    def _expire_unchecked(self, batch: Batch) -> None:
        self._store.move(batch, State.EXPIRED)
        self._store.clear_work(batch)

    def _resume_paused(self, now: int) -> int | None:
        with self._lock:
            due = [key for key, at in self._retry_ns.items() if at <= now]
            for key in due:
                del self._retry_ns[key]
            next_ns = min(self._retry_ns.values(), default=None)
        for key in due:
            batch = self._store.batch(*key)
            if batch is not None and not batch.state.ended:
                self._at_desk(self._resume, batch)
        return next_ns


def _key(batch: Batch) -> Key:
    return batch.protocol, batch.id
