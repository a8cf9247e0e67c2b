"""Claim what is due, take one step, commit: the loop that carries a run from its plan to its last outcome.

The loop holds no state that a crash could lose: what it knows is in the ledger, what it forgets it asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from nono.errors import KeyRefused, NonoError
from nono.runs import admission, asking, cancelling, harvest, reconciling, rounds, stragglers, submission
from nono.runs.bench import Bench, RunStops, backoff_s, nobody_is_there, unreached
from nono.runs.crew import Crew
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState, RunState
from nono.runs.ledger.states import FINAL
from nono.runs.owner import Ownership
from nono.runs.settlers import Settlers, processes_for

Step = Callable[[Bench, AttemptRow], "admission.Wait | None"]

STEPS: dict[AttemptState, Step] = {
    AttemptState.PLANNED: submission.begin_upload,
    AttemptState.FILE_INTENT: submission.resume_upload,
    AttemptState.UPLOADED: submission.submit,
    AttemptState.CREATE_INTENT: submission.resume_create,
    AttemptState.RECONCILE: reconciling.reconcile,
    AttemptState.FENCE: reconciling.fence,
    AttemptState.FENCED: reconciling.watch_fence,
    AttemptState.ENDED: harvest.fetch,
    AttemptState.FETCHED: rounds.settle_attempt,
    AttemptState.VERIFIED: harvest.clean,
    AttemptState.ASKING: asking.ask,
    AttemptState.ASKED: rounds.settle_attempt,
}

SUBMISSIONS = frozenset({AttemptState.PLANNED, AttemptState.UPLOADED, AttemptState.ASKING})
# Nothing of the run is at work at the provider and nothing is on its way there.
AT_REST = FINAL | {AttemptState.QUARANTINE}
SENT = AT_REST | {AttemptState.CREATED}
# Above every attempt's id (SQLite's largest integer).
NO_ATTEMPT = (1 << 63) - 1
# Reasons that leave nothing to harvest with: the key does not open the account, or nobody is there.
AT_ONCE = frozenset({"key_refused", "unavailable"})


class Engine:
    """Works on one run, as its owner, until there is nothing more to do, it has to stop, or it is asked to leave."""

    def __init__(self, bench: Bench, ownership: Ownership) -> None:
        self.bench = bench
        self._ownership = ownership
        self._busy: set[int] = set()
        self._failure: BaseException | None = None
        self._stop: RunStops | None = None
        # The gate: attempts from this one on wait for room; those before it are counted in already, and go on.
        self._closed_from = 0
        self._closed_at = 0
        self._closed_s = 0.0
        self._closed_for = ""
        # Attempts whose step stopped the run: taking it again in this stretch of work would stop it again.
        self._held: set[int] = set()
        self._polled_at = 0
        self._poll_after_s = 0.0
        self._poll_failures = 0
        self._leaving = False
        self._nothing_left = False

    def leave(self) -> None:
        """Ask the loop to end after the steps that are being taken; batches go on at the provider."""
        self._leaving = True
        self.bench.leaving.set()
        self.bench.wake.set()

    def poll_now(self) -> None:
        """Look at the provider's list at once."""
        self._poll_after_s = 0.0
        self.bench.wake.set()

    def work(self, *, until_submitted: bool = False) -> RunState:
        """Carry the run on, and return its state when nothing more can be done now.

        With `until_submitted` it ends as soon as nothing more can be sent: what is at work goes on at the provider.
        Raises what a step could not deal with (a full disk, a superseded owner, a bug); the ledger is whole then too.
        """
        bench = self.bench
        crew = Crew(bench.settings.workers, f"nono-{bench.run.id}") if bench.settings.workers else None
        bench.settlers = self._settlers() if crew else None
        try:
            self._begin()
            while True:
                # Cleared before anything is looked at: what happens from here on ends the wait below.
                bench.wake.clear()
                if self._leaving or (self._stop is not None and self._stop.reason in AT_ONCE):
                    break
                self._ownership.renew()
                self._heed_wish()
                self._poll_when_due()
                self._call_stragglers_in()
                started = self._start_steps(crew)
                if self._failure is not None:
                    raise self._failure
                if started or self._busy:
                    # A finished step sets `wake`; without a crew it has been taken already.
                    if self._busy:
                        bench.clock.wait(self._idle_s(), bench.wake)
                    continue
                if self._at_rest() or (until_submitted and self._all_sent()):
                    if until_submitted and not self._at_rest():
                        break
                    if not self._next_round():
                        self._nothing_left = True
                        break
                    continue
                bench.clock.wait(self._idle_s(), bench.wake)
        finally:
            if crew is not None and bench.settlers is not None:
                crew.end()
                bench.settlers.end()
                bench.settlers = None
        if self._failure is not None:
            raise self._failure
        return self._end()

    # --- the parts of the loop ---

    def _settlers(self) -> Settlers:
        bench, wished = self.bench, self.bench.settings.settlers
        processes = processes_for(bench.plan) if wished is None else wished
        return Settlers(f"nono-settles-{bench.run.id}", bench.folder.path, processes)

    def _begin(self) -> None:
        bench, run = self.bench, self.bench.run
        if run.state in (RunState.STOPPED, RunState.FINISHED, RunState.CANCELLED):
            with bench.commit() as commit:
                commit.work.move_run(run, RunState.RUNNING)
                # Wishes of yesterday are forgotten, but who cancels a stopped run does not want it to go on.
                if run.wish != "cancel" or run.state is not RunState.STOPPED:
                    commit.work.set_wish(run.id, None)
            self._reload()
        with bench.commit() as commit:
            commit.event(Happened.RUN_STARTED, owner=bench.run.owner, epoch=bench.run.epoch)

    def _reload(self) -> None:
        run = self.bench.ledger.run(self.bench.run.id)
        assert run is not None
        self.bench.run = replace(run, epoch=self.bench.run.epoch)

    def _heed_wish(self) -> None:
        bench = self.bench
        run = bench.ledger.run(bench.run.id)
        assert run is not None
        if run.wish == "leave":
            with bench.commit() as commit:
                commit.work.set_wish(run.id, None)
            self._leaving = True
        if run.wish == "cancel" and run.state is RunState.RUNNING:
            with bench.commit() as commit:
                commit.work.move_run(bench.run, RunState.CANCELLING)
            self._reload()
        if bench.run.state is RunState.CANCELLING:
            cancelling.cancel_what_can_be(bench, busy=frozenset(self._busy))

    def _poll_when_due(self) -> None:
        bench = self.bench
        now = bench.now()
        # A clock that was set back must not put the next poll off.
        if 0 <= now - self._polled_at < self._poll_after_s * 1000:
            return
        at_work = bench.ledger.at_work(bench.run.id)
        if not at_work.batches:
            return
        try:
            harvest.poll(bench)
            self._poll_failures = 0
        except KeyRefused as error:
            self._stop = RunStops("key_refused", error.message)
        except NonoError as error:
            if nobody_is_there(bench, error, self._poll_failures):
                self._stop = unreached(error)
                return
            self._poll_failures += 1
            wait_s = backoff_s(self._poll_failures, getattr(error, "retry_after_s", None))
            self._polled_at, self._poll_after_s = now, wait_s
            with bench.commit() as commit:
                commit.event(Happened.TROUBLE, step="poll", error=error.message, wait_s=wait_s)
            return
        if bench.ledger.at_work(bench.run.id).batches < at_work.batches:
            self._closed_s = 0.0  # room has come
        age_s = (now - (at_work.youngest_created_at or 0)) / 1000
        self._polled_at, self._poll_after_s = bench.now(), poll_interval_s(bench, age_s)

    def _call_stragglers_in(self) -> None:
        running = self._stop is None and self.bench.run.state is RunState.RUNNING
        if running and self.bench.settings.finish_sync is not None and stragglers.call_in(self.bench):
            self._poll_after_s = 0.0  # the batches end soon

    def _start_steps(self, crew: Crew | None) -> int:
        """Start (or, without a crew, take) the steps that are due; returns how many."""
        bench = self.bench
        room = bench.settings.workers - len(self._busy) if crew else 1
        # Taken before the ledger is read: a step that ends in between has moved its attempt, and the row read is old.
        busy = frozenset(self._busy)
        started = 0
        for attempt in self._due(room + len(busy | self._held)):
            if room <= 0 or self._failure is not None:
                break
            if attempt.id in busy | self._held or (attempt.state in SUBMISSIONS and attempt.id >= self._open_until()):
                continue
            started, room = started + 1, room - 1
            if crew is None:
                self._take(attempt)
            else:
                self._busy.add(attempt.id)
                crew.do(partial(self._take_and_tell, attempt))
        return started

    def _due(self, limit: int) -> list[AttemptRow]:
        bench, now = self.bench, self.bench.now()
        due = bench.ledger.due(bench.run.id, now, limit=limit)
        if bench.run.state is RunState.RUNNING:
            due += bench.ledger.due_submissions(bench.run.id, now, limit=limit, before=self._open_until())
        return due

    def _open_until(self) -> int:
        """The first attempt that may not be submitted now."""
        if self._stop is not None:
            return 0
        closed = 0 <= self.bench.now() - self._closed_at < self._closed_s * 1000
        return self._closed_from if closed else NO_ATTEMPT

    def _take(self, attempt: AttemptRow) -> None:
        try:
            self._step(attempt)
        except BaseException as failure:
            self._failure = self._failure or failure

    def _step(self, attempt: AttemptRow) -> None:
        try:
            verdict = STEPS[attempt.state](self.bench, attempt)
        except RunStops as stop:
            self._stop = self._stop or stop
            if self.bench.ledger.attempt(attempt.id).state is attempt.state:
                self._held.add(attempt.id)
        else:
            if verdict is not None:
                self._close_gate(attempt, verdict)

    def _close_gate(self, attempt: AttemptRow, wait: admission.Wait) -> None:
        bench = self.bench
        self._closed_from = min(attempt.id, self._open_until())
        self._closed_at, self._closed_s = bench.now(), wait.seconds
        if wait.reason != self._closed_for:
            self._closed_for = wait.reason
            with bench.commit() as commit:
                commit.event(Happened.NO_ROOM, reason=wait.reason, wait_s=wait.seconds)

    def _take_and_tell(self, attempt: AttemptRow) -> None:
        self._take(attempt)
        self._busy.discard(attempt.id)
        self.bench.wake.set()

    def _at_rest(self) -> bool:
        if self._stop is None:
            counts = self.bench.ledger.state_counts(self.bench.run.id)
            return all(count.state in AT_REST for count in counts)
        # Unsent work does not keep a run going that has to stop, nor does the step that stopped it.
        return all(
            attempt.state in AT_REST | SUBMISSIONS or attempt.id in self._held
            for attempt in self.bench.ledger.attempts(self.bench.run.id)
        )

    def _all_sent(self) -> bool:
        # Asked at every turn: of a run of a billion rows only the counts are read, as long as they tell enough.
        ledger, run_id, open_until = self.bench.ledger, self.bench.run.id, self._open_until()
        states = {count.state for count in ledger.state_counts(run_id)}
        if states <= SENT:
            return True
        if open_until == NO_ATTEMPT or not states <= SENT | SUBMISSIONS:
            return False
        return all(attempt.id >= open_until for state in SUBMISSIONS for attempt in ledger.attempts_in(run_id, state))

    def _next_round(self) -> bool:
        """When all is at rest: settle what no step has, and send again what may still be answered."""
        bench = self.bench
        rounds.settle_the_rest(bench)
        if self._stop is not None or bench.run.state is not RunState.RUNNING:
            return False
        return rounds.plan_next_round(bench) > 0

    def _idle_s(self) -> float:
        """How long nothing is due."""
        bench, now = self.bench, self.bench.now()
        instants = [now + 60_000]
        due_at = bench.ledger.next_due_at(bench.run.id, now)
        if due_at is not None:
            instants.append(due_at)
        opens_at = self._closed_at + int(self._closed_s * 1000)
        if opens_at > now:
            instants.append(opens_at)
        if bench.ledger.at_work(bench.run.id).batches:
            instants.append(self._polled_at + int(self._poll_after_s * 1000))
        return max(0.0, (min(instants) - now) / 1000)

    def _end(self) -> RunState:
        """Write down how this stretch of work ended."""
        bench = self.bench
        refused = self._stop is not None and self._stop.reason in AT_ONCE
        if not self._nothing_left and not refused:
            # Left, or all is sent. Even where no attempt is at work, another round may be due.
            return bench.run.state
        quarantined = bench.ledger.attempts_in(bench.run.id, AttemptState.QUARANTINE)
        stop = self._stop
        if stop is None and quarantined:
            names = ", ".join(attempt.tag for attempt in quarantined[:5])
            stop = RunStops("unclear_submit", f"what became of {len(quarantined)} creates is unknown: {names}")
        if stop is not None:
            with bench.commit() as commit:
                commit.work.move_run(bench.run, RunState.STOPPED, reason=f"{stop.reason}: {stop.message}")
                commit.event(Happened.RUN_STOPPED, reason=stop.reason, message=stop.message)
        else:
            over = RunState.CANCELLED if bench.run.state is RunState.CANCELLING else RunState.FINISHED
            what = Happened.RUN_CANCELLED if over is RunState.CANCELLED else Happened.RUN_FINISHED
            totals = bench.ledger.totals(bench.run.id)
            with bench.commit() as commit:
                commit.work.move_run(bench.run, over, at=bench.now())
                commit.event(what, succeeded=totals.succeeded, failed=totals.row_count - totals.succeeded)
        self._reload()
        return bench.run.state


def poll_interval_s(bench: Bench, youngest_age_s: float) -> float:
    """Seconds until the next poll: often while a batch is young, then ever more rarely."""
    settings = bench.settings
    return min(settings.poll_cap_s, max(settings.poll_first_s, youngest_age_s / 5))
