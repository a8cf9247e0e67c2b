"""The run as users hold it: start it, wait for it, look at it, steer it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nono.errors import InputError, SettingsError
from nono.exchange import Send
from nono.runs.bench import Settings
from nono.runs.clock import Clock, SystemClock
from nono.runs.engine import Engine
from nono.runs.events import Event
from nono.runs.failures import RETRY_OUTCOMES, ErrorGroup, group_errors
from nono.runs.folder import RunFolder
from nono.runs.ledger import AttemptRow, AttemptState, Ledger, RunRow, RunState
from nono.runs.ledger.states import FINAL, OVER
from nono.runs.media import save_media
from nono.runs.owner import RunOwned
from nono.runs.resolving import resolve as decide
from nono.runs.results import Results
from nono.runs.rounds import plan_next_round
from nono.runs.spec import RunSpec, load_plan, load_spec
from nono.runs.status import RunStatus, read_status
from nono.runs.submission import take_over as take_over_batch
from nono.runs.table import part_path
from nono.runs.working import at_work, carry_on
from nono.runs.workspace import Workspace


@dataclass(frozen=True, slots=True)
class RunCost:
    """Tokens and US dollars of a run; `spent_usd` is None where no price is known. `sync_usd` of it was paid for rows
    that were asked without a batch."""

    input_tokens: int
    output_tokens: int
    spent_usd: float | None
    committed_usd: float
    sync_usd: float | None = None


class Run:
    """One planned run of a workspace. Made by `nono.run`, or by `nono.open_run`.

    All that it knows is on disk: any number of processes may look at it, also after a crash. One at a time works on it
    (`wait`, `retry`, `cancel`, `resolve`); another one's call raises RunOwned, which names the owner.
    """

    def __init__(
        self,
        workspace: Workspace,
        run_id: str,
        *,
        api_key: str | None = None,
        send: Send | None = None,
        clock: Clock | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.workspace = workspace
        self.id = run_id
        self._api_key = api_key
        self._send = send
        self._clock: Clock = clock or SystemClock()
        # What takes the place of the run's own settings when it is worked on the next time.
        self._settings = settings
        self._subscribers: list[Callable[[Event], object]] = []
        self._engine: Engine | None = None
        self._leaving = False

    # --- looking ---

    @property
    def ledger(self) -> Ledger:
        return self.workspace.ledger

    @property
    def folder(self) -> RunFolder:
        """Where requests, answers and results are."""
        return self.workspace.folder(self.id)

    @property
    def row(self) -> RunRow:
        """What the ledger says of the run. Raises InputError if it was purged."""
        run = self.ledger.run(self.id)
        if run is None:
            raise InputError(f"run {self.id} is not in this workspace any more")
        return run

    @property
    def spec(self) -> RunSpec:
        """What was asked for: model, prompt, schema, settings. Raises LedgerError if the run's folder is damaged."""
        return load_spec(self.folder)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What planning had to say, one sentence each."""
        return load_plan(self.folder).warnings

    @property
    def status(self) -> RunStatus:
        """How the run stands now; works from any process, also while another one works on the run."""
        return read_status(self.ledger, self.id)

    def subscribe(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        """Call `callback(event)` for everything that happens while this process works on the run.

        Events come from the engine's threads, after they are durable. Returns a function that ends the subscription.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def __repr__(self) -> str:
        status = self.status
        return f"<Run {self.id} {status.model} {status.state}: {status.succeeded:,} of {status.rows:,} rows answered>"

    def results(self) -> Results:
        """The settled rows, in input order: iterable as dicts, and as Arrow, pandas, polars; see `Results`.

        While the run is under way these are the parts that are complete.
        """
        settled = [part.no for part in self.ledger.parts(self.id) if part.settled]
        return Results([part_path(self.folder.results, no) for no in settled])

    def export(self, target: str | Path, *, format: str | None = None) -> int:
        """Write the results to a file (.jsonl, .csv, .parquet, .arrow) or `-`; returns how many rows."""
        return self.results().export(target, format=format)

    def save_media(self, folder: str | Path) -> list[Path]:
        """Write the pictures and sounds of the answers into a folder, each called by its row's id; returns the files.

        They are read from the answer files, which `nono gc` removes. Raises UnreadableAnswer for damaged ones.
        """
        return save_media(self.ledger, self.id, self.folder, self.spec.provider_there(), folder)

    def errors(self, *, examples: int = 5) -> list[ErrorGroup]:
        """What failed, grouped by reason, the most frequent first; with some custom_ids each."""
        return group_errors(self.results(), examples)

    def row_result(self, row: str) -> dict[str, Any]:
        """One settled row by its custom_id, or else by its number from 0. Raises InputError if there is none."""
        numbered = None
        for number, found in enumerate(self.results()):
            if found["custom_id"] == row:
                return found
            if str(number) == row:
                numbered = found
        if numbered is not None:
            return numbered
        raise InputError(f"run {self.id} has no settled row {row!r}", hint="a custom_id, or a row number from 0")

    def cost(self) -> RunCost:
        """Tokens and US dollars: spent in settled parts, and the high guess for what is under way."""
        status = self.status
        return RunCost(
            status.input_tokens, status.output_tokens, status.cost_usd, status.committed_usd, status.sync_cost_usd
        )

    @property
    def estimated_usd(self) -> float | None:
        """The high guess that the budget is held against, or None where no price is known."""
        return self.ledger.estimated_cost_usd(self.id)

    # --- working ---

    def wait(
        self,
        progress: Callable[[RunStatus], object] | None = None,
        *,
        timeout_s: float | None = None,
        until_submitted: bool = False,
        settings: Settings | None = None,
    ) -> RunStatus:
        """Work on the run until every row has its outcome, and return how it stands then.

        `progress(status)` is called about twice a second. After `timeout_s`, or with `until_submitted` as soon as
        nothing more can be sent, it returns early; batches go on at the provider, and the next `wait` goes on from
        there. `settings` take the place of the run's own from now on (a higher budget). Works inside a running event
        loop (it blocks it: use `wait_async` there).

        Raises RunOwned if another process works on the run; KeyboardInterrupt leaves safely after the steps that are
        being taken, a second one at once.
        """
        if self.row.state is RunState.CANCELLED and self._nothing_to_do():
            return self.status
        try:
            with self._at_work(settings) as engine:
                carry_on(
                    engine,
                    (lambda: progress(self.status)) if progress is not None else None,
                    timeout_s=timeout_s,
                    until_submitted=until_submitted,
                )
        finally:
            self._leaving = False
        status = self.status
        if progress is not None:
            progress(status)
        return status

    async def wait_async(
        self,
        progress: Callable[[RunStatus], object] | None = None,
        *,
        timeout_s: float | None = None,
        until_submitted: bool = False,
        settings: Settings | None = None,
    ) -> RunStatus:
        """`wait` for a running event loop; a cancelled task leaves safely."""
        waiting = asyncio.create_task(
            asyncio.to_thread(
                self.wait, progress, timeout_s=timeout_s, until_submitted=until_submitted, settings=settings
            )
        )
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self.leave()
            await asyncio.wait([waiting])
            raise

    def leave(self) -> None:
        """Ask a `wait` of this process to end after the steps that are being taken; where none has begun, the next."""
        self._leaving = True
        if (engine := self._engine) is not None:
            engine.leave()

    def wake(self) -> None:
        """Look at the provider now rather than at the next poll: for webhooks."""
        if self._engine is not None:
            self._engine.poll_now()

    def _nothing_to_do(self) -> bool:
        return all(attempt.state in FINAL for attempt in self.ledger.attempts(self.id))

    @contextmanager
    def _at_work(self, settings: Settings | None = None) -> Iterator[Engine]:
        work = at_work(
            self.workspace,
            self.row,
            api_key=self._api_key,
            send=self._send,
            clock=self._clock,
            settings=settings or self._settings,
            tell=self._tell,
        )
        with work as engine:
            self._engine = engine
            if self._leaving:  # asked for while there was no engine to ask
                engine.leave()
            try:
                yield engine
            finally:
                self._engine = None

    def _tell(self, event: Event) -> None:
        for callback in list(self._subscribers):
            callback(event)

    # --- steering ---

    def resume(self, progress: Callable[[RunStatus], object] | None = None, **options: Any) -> RunStatus:
        """Go on with a run that was stopped or left: another name for `wait`."""
        return self.wait(progress, **options)

    def cancel(self) -> RunStatus:
        """Cancel the run: unsent work is dropped, batches are asked to stop, answers that came are kept.

        If another process works on the run, it is asked to cancel. Otherwise this one does, and waits for the batches
        to end.
        """
        if self.row.state in OVER:
            return self.status
        with self.ledger.transaction() as work:
            work.set_wish(self.id, "cancel")
        self.wake()
        try:
            return self.wait()
        except RunOwned:
            return self.status

    def plan_retry(self, which: str = "all") -> int:
        """Plan to send again the rows that have no answer: `failed` (an error), `missing` (never answered) or `all`.

        What has an answer is never sent again, nor what may still get one: parts with rows that are under way, or that
        wait for a decision (`resolve`), are left alone. Returns how many requests these are; `wait` sends them.
        """
        outcomes = RETRY_OUTCOMES.get(which)
        if outcomes is None:
            raise InputError(f"retry {which!r}", hint=f"one of {', '.join(RETRY_OUTCOMES)}")
        with self._at_work() as engine:
            # Looked at as the run's owner: who had it before may have brought answers.
            first_rows = [part.first_row for part in self.ledger.parts(self.id) if part.settled]
            rows = [
                first_row + at
                for first_row, part in zip(first_rows, self.results().parts, strict=True)
                for at, found in enumerate(Results([part]))
                if found["outcome"] in outcomes
            ]
            return plan_next_round(engine.bench, rows=rows)

    def retry(self, which: str = "all", progress: Callable[[RunStatus], object] | None = None) -> RunStatus:
        """Send again what has no answer, and wait for it."""
        self.plan_retry(which)
        return self.wait(progress)

    def take_over(self) -> None:
        """Make the batch that this run adopts (`nono.adopt`) its own. Raises NotFound if it does not exist."""
        with self._at_work() as engine:
            (attempt,) = self.ledger.attempts_in(self.id, AttemptState.PLANNED)
            take_over_batch(engine.bench, attempt)

    def unclear(self) -> list[AttemptRow]:
        """The attempts that wait for a decision (`resolve`)."""
        return self.ledger.attempts_in(self.id, AttemptState.QUARANTINE)

    def resolve(self, tag: str, *, adopt: str | None = None, resubmit: bool = False, drop: bool = False) -> None:
        """Decide about a create whose fate is unknown (a quarantined attempt): exactly one of the three.

        `adopt` is the batch's id at the provider; `resubmit` says that there is none, and sends the shard again; `drop`
        gives its rows up as cancelled. Raises InputError if there is no such attempt.
        """
        if sum((adopt is not None, resubmit, drop)) != 1:
            raise SettingsError("choose one of adopt, resubmit, drop")
        with self._at_work() as engine:
            quarantined = self.ledger.attempts_in(self.id, AttemptState.QUARANTINE)
            attempt = next((one for one in quarantined if one.tag == tag), None)
            if attempt is None:
                tags = ", ".join(one.tag for one in quarantined) or "none"
                raise InputError(f"no attempt {tag!r} waits for a decision", hint=f"waiting: {tags}")
            decide(engine.bench, attempt, adopt=adopt, resubmit=resubmit)
