"""Single hard cases, each one a thing that happens; and that the proof can fail at all."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lives import FULL, PROVIDERS, SETTINGS, SHORT, Plan, WatchedLedger, begin_after, live, opened, planned
from world import KINDS, Call, Fault, Weather, World

from nono.runs.ledger import RunState, StorageFull, Superseded, Transaction
from nono.runs.run import Run

# By default each kind of fault is told at every fifth call, the next kind beginning one later.
EVERY_CALL = 1 if FULL else 5


def call_number(plan: Plan, what: str, weather: Weather | None = None, *, nth: int = 0) -> int:
    """The number of the n-th call of a kind in an undisturbed history."""
    calls = live(plan, begin_after(World(weather), plan)).world.calls
    return [number for number, call in enumerate(calls) if call == what][nth]


# --- the proof can fail ---


@pytest.mark.parametrize(
    ("settings", "weather", "kind"),
    [
        # Who looks once and does not wait runs a batch twice when the list lags …
        (replace(SETTINGS, reconcile_s=0, fence_s=0), Weather(list_lag_s=60, validating_s=0.1), "dropped"),
        # … and a list that lags longer than the fence is more than the protocol promises.
        (SETTINGS, Weather(list_lag_s=600, validating_s=0.1), "dropped"),
    ],
)
def test_an_impatient_engine_and_a_list_that_is_too_late_are_found_out(
    settings: object, weather: Weather, kind: str, home: Path
) -> None:
    plan = planned(home, ("ok 1",), settings=settings)  # type: ignore[arg-type]
    create = call_number(plan, "POST /batches")
    world = begin_after(World(weather, (Fault(create, kind),)), plan)
    wrong = live(plan, world).wrong
    assert any(found.startswith("run_twice") for found in wrong)
    assert any(found.startswith("paid_again") for found in wrong)


# --- one POST an intent ---


@pytest.mark.parametrize("kind", ["dropped", "reset", "408", "409", "409+", "500", "500+", "503html", "garbled", "429"])
def test_one_post_goes_out_for_each_intent(kind: str, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(("ok 1",))
    world = begin_after(World(faults=(Fault(call_number(plan, "POST /batches"), kind),)), plan)
    history = live(plan, world)
    assert history.wrong == []
    posts = [entry["tag"] for entry in world.log if entry["what"] == "create_sent"]
    # A 429 is an answer: the same intent's tag goes out again, after a new commit.
    assert len(posts) == (2 if kind in ("429", "reset", "408", "409", "500", "503html") else 1)
    assert len(set(posts)) == (1 if kind in ("429", "dropped", "409+", "500+", "garbled") else 2)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_fault_at_any_single_call_does_no_harm(
    kind: str, provider: str, plan_of: Callable[..., Plan], figure: Callable[[str], None]
) -> None:
    # The day that an absurd hint asks for is long.
    plan = plan_of(SHORT, provider=provider, settings=replace(SETTINGS, poll_cap_s=300.0))
    count = len(live(plan, plan.world()).world.calls)
    wrong, told = [], range(KINDS.index(kind) % EVERY_CALL, count, EVERY_CALL)
    for call in told:
        history = live(plan, plan.world(faults=(Fault(call, kind, 30.0),)))
        wrong += [f"call {call} ({history.world.calls[call]}): {what}" for what in history.wrong]
    figure(f"{kind} at single calls, {provider}: {len(wrong)} wrong in {len(told)} histories")
    assert wrong == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_call_that_arrives_late_does_no_harm_whatever_it_meets(
    provider: str, plan_of: Callable[..., Plan], figure: Callable[[str], None]
) -> None:
    """Between two calls lie a twentieth of a second and a pause: what is late by less can arrive between any two."""
    plan = plan_of(SHORT, provider=provider)
    calls = live(plan, plan.world()).world.calls
    late = [number for number, call in enumerate(calls) if not call.startswith("GET")]
    wrong, told = [], [(call, step / 40) for call in late for step in (range(1, 80) if FULL else range(1, 40, 3))]
    for call, seconds in told:
        history = live(plan, plan.world(faults=(Fault(call, "late", seconds),)), seed=call)
        wrong += [f"call {call} ({calls[call]}), {seconds} s late: {what}" for what in history.wrong]
    figure(f"calls that arrive late, {provider}: {len(wrong)} wrong in {len(told)} histories")
    assert wrong == []


# --- late creates, doubles, fences ---


@pytest.mark.parametrize("late_s", [1.0, 14.0, 16.0, 60.0, 104.0, 110.0, 3600.0])
@pytest.mark.parametrize("list_lag_s", [0.0, 85.0])
def test_a_create_that_arrives_late_runs_once_or_never(
    late_s: float, list_lag_s: float, plan_of: Callable[..., Plan]
) -> None:
    plan, weather = plan_of(("ok 1", "ok 2")), Weather(list_lag_s=list_lag_s)
    create = call_number(plan, "POST /batches", weather)
    world = begin_after(World(weather, (Fault(create, "late", late_s),)), plan)
    assert live(plan, world, hours_after=30).wrong == []


def test_a_batch_of_an_abandoned_attempt_that_shows_up_is_cancelled_and_not_counted(
    plan_of: Callable[..., Plan],
) -> None:
    plan, weather = plan_of(("ok 1", "ok 2", "ok 3", "ok 4")), Weather(validating_s=400.0, running_s=2000.0)
    create = call_number(plan, "POST /batches", weather)
    world = begin_after(World(weather, (Fault(create, "late", 300.0),)), plan)
    assert live(plan, world, hours_after=30).wrong == []
    assert [entry["what"] for entry in world.log].count("cancel") == 1


def test_a_file_that_the_provider_deleted_while_the_run_slept_is_uploaded_again(
    plan_of: Callable[..., Plan],
) -> None:
    """48 hours after the upload, a weekend after the laptop was closed."""
    plan = plan_of(("ok 1", "ok 2"))
    undisturbed = live(plan, begin_after(World(), plan)).world
    # The process dies after the upload is in the ledger, before the create is intended.
    upload = undisturbed.places.index("after POST /files")
    world = begin_after(World(crash_at=frozenset({upload + 3})), plan)

    def deed(run: Run) -> None:
        if len(world.batches) == 0:
            for file in world.files.values():
                file.deleted = True
        run.wait()

    history = live(plan, world, deed=deed, downtime_s=3 * 86_400.0)
    assert history.wrong == []
    assert len([entry for entry in world.log if entry["what"] == "uploaded"]) == 2


def test_answers_that_are_gone_are_missing_and_not_paid_for_again(plan_of: Callable[..., Plan], home: Path) -> None:
    plan = plan_of(("ok 1", "ok 2"))
    shutil.copytree(plan.home, home, dirs_exist_ok=True)
    world = begin_after(World(), plan)

    def send(call: Call):  # type: ignore[no-untyped-def]
        for batch in world.batches.values():
            if batch.output:
                world.files[batch.output].deleted = True
        return world.send(call)

    run = opened(home, plan.run_id, world)
    run._send = send
    status = run.wait()
    assert (status.state, status.succeeded, status.failed) == (RunState.FINISHED, 0, 2)
    assert [(row["outcome"], row["error_code"]) for row in run.results()] == [("missing", "answers_gone")] * 2
    assert len(world.batches) == 1
    run.workspace.close()


# --- owners ---


def test_an_engine_that_lost_its_run_writes_nothing_and_sends_nothing_more(
    plan_of: Callable[..., Plan], home: Path
) -> None:
    plan = plan_of(SHORT)
    shutil.copytree(plan.home, home, dirs_exist_ok=True)
    world = begin_after(World(), plan)
    run = opened(home, plan.run_id, world)
    calls_then = 0

    def send(call: Call):  # type: ignore[no-untyped-def]
        nonlocal calls_then
        if call.method == "POST" and call.path == "/batches" and not calls_then:
            # Another machine, which does not see our lock, takes the run when our lease is over.
            with closing(sqlite3.connect(home / "ledger.db")) as db:
                db.execute("UPDATE runs SET epoch = epoch + 1, owner = 'elsewhere:1'")
                db.commit()
            calls_then = len(world.calls) + 1
        return world.send(call)

    run._send = send
    with pytest.raises(Superseded):
        run.wait()
    assert len(world.calls) == calls_then
    run.workspace.close()


# --- clocks ---


@pytest.mark.parametrize("jump_s", [3 * 86_400, -86_400, 86_400, -3600])
def test_a_clock_that_jumps_anywhere_expires_nothing_and_loses_nothing(
    jump_s: int, plan_of: Callable[..., Plan]
) -> None:
    plan, weather = plan_of(SHORT), Weather(list_lag_s=80, validating_s=0.1)
    create = call_number(plan, "POST /batches", weather)
    count = len(live(plan, begin_after(World(weather, (Fault(create, "dropped"),)), plan)).world.calls)
    for at in range(0, count, 1 if FULL else 4):
        world = begin_after(World(weather, (Fault(create, "dropped"),)), plan)

        def deed(run: Run, world: World = world, at: int = at) -> None:
            def send(call: Call):  # type: ignore[no-untyped-def]
                if len(world.calls) == at:
                    world.clock.wrong_by_ms += jump_s * 1000
                return world.send(call)

            run._send = send
            run.wait()

        began = world.clock.true_ms
        history = live(plan, world, deed=deed)
        assert history.wrong == [], f"at call {at}"
        # An hour is added by `live`; the jump itself must not be waited out.
        assert (world.clock.true_ms - began) / 1000 < 3600 + 1000, f"at call {at}"


# --- disks ---


class FullDisk(WatchedLedger):
    """A ledger on a disk that is full from its n-th write on, until room is made."""

    def __init__(self, path: Path, world: World, run_id: str, writes: int) -> None:
        super().__init__(path, world)
        self.run_id = run_id
        self.left = writes

    @contextmanager
    def transaction(self, *, run_id: str | None = None, epoch: int | None = None) -> Iterator[Transaction]:
        with super().transaction(run_id=run_id, epoch=epoch) as work:
            self.left -= 1
            if self.left < 0:
                # SQLite's own: no page more than there are.
                pages = self._db.execute("PRAGMA page_count").fetchone()[0]
                self._db.execute(f"PRAGMA max_page_count = {pages}")
                work.event(0, self.run_id, "filler", text="x" * 100_000)
            yield work


def test_a_full_disk_under_the_ledger_pauses_the_run_at_any_write_and_room_lets_it_go_on(
    plan_of: Callable[..., Plan],
) -> None:
    plan = plan_of(SHORT)
    undisturbed = live(plan, begin_after(World(), plan)).world
    writes = undisturbed.places.count("before a commit")
    for number in range(0, writes, 1 if FULL else 3):
        world = begin_after(World(), plan)
        full = True

        def deed(run: Run, world: World = world, number: int = number) -> None:
            nonlocal full
            if full:
                full = False
                path = run.ledger.path
                run.ledger.close()
                run.workspace.ledger = FullDisk(path, world, run.id, number)
                with pytest.raises(StorageFull, match="full"):
                    run.wait()
                run.workspace.close()
                run.workspace.ledger = WatchedLedger(path, world)
            run.wait()

        assert live(plan, world, deed=deed).wrong == [], f"at write {number}"


class FullAt:
    """A disk under a run's files that is full at the n-th thing that is to become durable, until room is made."""

    def __init__(self, number: int, patch: pytest.MonkeyPatch) -> None:
        self.passed = 0
        self._number = number
        for place, name in ((os, "fsync"), (Path, "replace")):
            patch.setattr(place, name, self._watched(getattr(place, name)))

    def _watched(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def perform(*given: Any) -> Any:
            self.passed += 1
            if self.passed - 1 == self._number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*given)

        return perform


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_full_disk_under_the_files_pauses_the_run_at_any_write_and_room_lets_it_go_on(
    provider: str, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, figure: Callable[[str], None]
) -> None:
    plan = plan_of(SHORT, provider=provider)
    for number in itertools.count():
        disks: list[FullAt] = []

        def deed(run: Run, number: int = number, disks: list[FullAt] = disks) -> None:
            if not disks:
                with monkeypatch.context() as patch:
                    disks.append(disk := FullAt(number, patch))
                    with suppress(OSError):
                        run.wait()
                        assert disk.passed <= number, f"nobody heard that the disk was full at write {number}"
            run.wait()

        assert live(plan, plan.world(), deed=deed).wrong == [], f"at write {number}"
        if disks[0].passed <= number:
            break
    assert number > 10
    figure(f"a full disk at each write of a file, {provider}: 0 wrong in {number} histories")


# --- room ---


def test_a_service_that_is_busy_for_an_hour_is_waited_for_and_nothing_is_cut_to_pieces(
    plan_of: Callable[..., Plan],
) -> None:
    plan = plan_of(("ok 1", "ok 2", "ok 3", "ok 4"), rows_per_part=4)
    world = World()

    def busy(number: int, call: Call) -> Fault | None:
        creates = call.method == "POST" and call.path == "/batches"
        return Fault(number, "429") if creates and world.clock.true_ms < until_ms else None

    world = begin_after(World(fault_of=busy), plan)
    until_ms = world.clock.true_ms + 3_600_000
    assert live(plan, world).wrong == []
    assert len(world.batches) == 1
