"""The run as users hold it: start it, wait for it, look at it, steer it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nono.errors import InputError, SettingsError
from nono.exchange import Send
from nono.runs.bench import Bench, Settings
from nono.runs.clock import Clock, SystemClock
from nono.runs.engine import Engine
from nono.runs.events import Event
from nono.runs.folder import RunFolder
from nono.runs.ledger import AttemptState, Ledger, RunRow, RunState
from nono.runs.owner import Ownership
from nono.runs.spec import RunSpec, load_spec
from nono.runs.status import RunStatus, read_status
from nono.runs.workspace import Workspace

# How often `progress` is called while a run is worked on.
PROGRESS_EVERY_S = 0.5


class Run:
    """One planned run of a workspace. Made by `nono.run`, or by `nono.open_run`."""

    def __init__(
        self,
        workspace: Workspace,
        run_id: str,
        *,
        api_key: str | None = None,
        send: Send | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.workspace = workspace
        self.id = run_id
        self._api_key = api_key
        self._send = send
        self._clock: Clock = clock or SystemClock()
        self._subscribers: list[Callable[[Event], object]] = []
        self._engine: Engine | None = None

    # --- looking ---

    @property
    def ledger(self) -> Ledger:
        return self.workspace.ledger

    @property
    def folder(self) -> RunFolder:
        return self.workspace.folder(self.id)

    @property
    def row(self) -> RunRow:
        run = self.ledger.run(self.id)
        if run is None:
            raise InputError(f"run {self.id} is not in this workspace any more")
        return run

    @property
    def spec(self) -> RunSpec:
        return load_spec(self.folder)

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
        there. Works inside a running event loop (it blocks it: use `wait_async` there).

        Raises RunOwned if another process works on the run; KeyboardInterrupt leaves safely after the steps that are
        being taken, a second one at once.
        """
        with self._owned(settings) as engine:
            done = threading.Event()
            failure: list[BaseException] = []

            def work() -> None:
                try:
                    engine.work(until_submitted=until_submitted)
                except BaseException as error:
                    failure.append(error)
                finally:
                    done.set()

            worker = threading.Thread(target=work, name=f"nono-{self.id}", daemon=True)
            worker.start()
            left_s = float("inf") if timeout_s is None else timeout_s
            try:
                while not done.wait(min(PROGRESS_EVERY_S, max(0.0, left_s))):
                    left_s -= PROGRESS_EVERY_S
                    if left_s <= 0:
                        engine.leave()
                        done.wait()
                        break
                    if progress is not None:
                        progress(self.status)
            except BaseException:
                engine.leave()
                done.wait()
                raise
            if failure:
                raise failure[0]
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
    ) -> RunStatus:
        """`wait` for a running event loop; a cancelled task leaves safely."""
        waiting = asyncio.create_task(
            asyncio.to_thread(self.wait, progress, timeout_s=timeout_s, until_submitted=until_submitted)
        )
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self.leave()
            await asyncio.wait([waiting])
            raise

    def leave(self) -> None:
        """Ask a `wait` of this process to end after the steps that are being taken."""
        if self._engine is not None:
            self._engine.leave()

    def wake(self) -> None:
        """Look at the provider now rather than at the next poll: for webhooks."""
        if self._engine is not None:
            self._engine.poll_now()

    def _owned(self, settings: Settings | None) -> _Work:
        return _Work(self, settings)

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
        from nono.runs.owner import RunOwned

        with self.ledger.transaction() as work:
            work.set_wish(self.id, "cancel")
        if self.row.state in (RunState.FINISHED, RunState.CANCELLED):
            return self.status
        try:
            return self.wait()
        except RunOwned:
            return self.status

    def resolve(self, tag: str, *, adopt: str | None = None, resubmit: bool = False, drop: bool = False) -> None:
        """Decide about a create whose fate is unknown (a quarantined attempt): exactly one of the three.

        `adopt` is the batch's id at the provider; `resubmit` says that there is none, and sends the shard again; `drop`
        gives its rows up as cancelled. Raises InputError if there is no such attempt.
        """
        if sum((adopt is not None, resubmit, drop)) != 1:
            raise SettingsError("choose one of adopt, resubmit, drop")
        from nono.runs import resolving

        with self._owned(None) as engine:
            quarantined = self.ledger.attempts_in(self.id, AttemptState.QUARANTINE)
            attempt = next((one for one in quarantined if one.tag == tag), None)
            if attempt is None:
                tags = ", ".join(one.tag for one in quarantined) or "none"
                raise InputError(f"no attempt {tag!r} waits for a decision", hint=f"waiting: {tags}")
            resolving.resolve(engine.bench, attempt, adopt=adopt, resubmit=resubmit)


class _Work:
    """A run while this process works on it: ownership, connections, engine; gives everything back at the end."""

    def __init__(self, run: Run, settings: Settings | None) -> None:
        self._run = run
        self._settings = settings

    def __enter__(self) -> Engine:
        from nono.providers import provider_named
        from nono.transport import Sender

        run, row, spec = self._run, self._run.row, self._run.spec
        provider = provider_named(spec.provider)
        account = provider.account(api_key=run._api_key, base_url=spec.base_url)
        if account.fingerprint() != row.account:
            raise SettingsError(
                f"run {row.id} belongs to another account ({row.account} is not {account.fingerprint()})",
                hint="use the key and the base URL it was started with: another account does not see its batches",
            )
        self._ownership = Ownership(run.ledger, row, run.folder.path, run._clock)
        try:
            self._sender = None if run._send is not None else Sender(account)
            send = run._send if run._send is not None else self._sender
            assert send is not None
            owned = run.ledger.run(row.id)
            assert owned is not None
            bench = Bench(
                ledger=run.ledger,
                run=replace(owned, epoch=self._ownership.epoch),
                provider=provider,
                task=spec.task,
                send=send,
                clock=run._clock,
                folder=run.folder,
                settings=self._settings or spec.settings,
                tell=run._tell,
            )
            run._engine = Engine(bench, self._ownership)
        except BaseException:
            self._ownership.release()
            raise
        return run._engine

    def __exit__(self, *_: object) -> None:
        self._run._engine = None
        if self._sender is not None:
            self._sender.close()
        self._ownership.release()
