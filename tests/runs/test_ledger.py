"""The ledger refuses impossible states, whoever asks; and what it said is there after it is opened again."""

from __future__ import annotations

import itertools
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from nono.runs.ledger import (
    AttemptState,
    Ledger,
    LedgerError,
    NewerLedger,
    RunState,
    Superseded,
    schema,
)
from nono.runs.ledger.states import ATTEMPT_MOVES, FINAL, RUN_MOVES


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "home" / "ledger.db")


def plan_a_run(ledger: Ledger, run_id: str = "r1") -> int:
    with ledger.transaction() as work:
        work.insert_run(
            id=run_id,
            name="nightly",
            fingerprint="f",
            provider="openai",
            model="m",
            endpoint="/v1/chat/completions",
            account="a",
            created_at=1,
            max_cost_usd=None,
            max_attempts=3,
        )
        work.insert_part(run_id, 0, 0, 10)
        shard_id = work.insert_shard(
            run_id, no=0, round=1, requests=10, file_bytes=100, tokens=50, cost_usd=0.5, parts=[0]
        )
        return work.insert_attempt(run_id, shard_id, no=1, tag=f"nono-{run_id}-0-1-0", due_at=1)


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(AttemptState, 2)))
def test_an_attempt_makes_exactly_the_legal_moves(ledger: Ledger, before: AttemptState, after: AttemptState) -> None:
    attempt_id = plan_a_run(ledger)
    with_batch = {"created", "ended", "fetched", "verified", "cleaned", "quarantine"}
    batch_id = "batch-1" if before in with_batch else None
    # Put it there behind the trigger's back.
    raw = sqlite3.connect(ledger.path)
    raw.execute("DROP TRIGGER an_attempt_moves_legally")
    raw.execute("UPDATE attempts SET state = ?, file_id = 'file-1', batch_id = ?", (before, batch_id))
    raw.commit()
    trigger = schema().split("CREATE TRIGGER an_attempt_moves_legally")[1].split("END;")[0]
    raw.execute(f"CREATE TRIGGER an_attempt_moves_legally{trigger}END;")
    raw.commit()
    raw.close()
    seen = ledger.attempt(attempt_id)
    needs_batch = after in {"created", "ended", "fetched", "verified", "cleaned"}
    wanted = replace(seen, state=after, batch_id="batch-1" if needs_batch else None)

    with ledger.transaction() as work:
        epoch = work.take_run("r1", "me", 0)

    def owned() -> None:
        with ledger.transaction(run_id="r1", epoch=epoch) as work:
            work.save_attempt(seen, wanted)

    if after in ATTEMPT_MOVES[before]:
        owned()
        assert ledger.attempt(attempt_id).state is after
    else:
        with pytest.raises(LedgerError, match="does not move that way"):
            owned()


def test_every_state_is_reachable_and_leads_to_an_end() -> None:
    reached = {AttemptState.PLANNED}
    while new := {after for state in reached for after in ATTEMPT_MOVES[state]} - reached:
        reached |= new
    assert reached == set(AttemptState)
    ends = set(FINAL)
    while new := {state for state in AttemptState if set(ATTEMPT_MOVES[state]) & ends} - ends:
        ends |= new
    assert ends == set(AttemptState)


def test_a_run_that_is_finished_can_only_be_opened_again() -> None:
    assert RUN_MOVES[RunState.FINISHED] == (RunState.RUNNING,)


def test_an_owner_that_was_superseded_cannot_write(ledger: Ledger) -> None:
    attempt = ledger.attempt(plan_a_run(ledger))
    with ledger.transaction() as work:
        old = work.take_run("r1", "first", 0)
    with ledger.transaction() as work:
        work.take_run("r1", "second", 0)
    with pytest.raises(Superseded), ledger.transaction(run_id="r1", epoch=old) as work:
        work.save_attempt(attempt, replace(attempt, state=AttemptState.FILE_INTENT))
    assert ledger.attempt(attempt.id).state is AttemptState.PLANNED


def test_an_update_expects_the_state_that_its_caller_saw(ledger: Ledger) -> None:
    attempt = ledger.attempt(plan_a_run(ledger))
    with ledger.transaction() as work:
        epoch = work.take_run("r1", "me", 0)
    moved = replace(attempt, state=AttemptState.FILE_INTENT)
    with ledger.transaction(run_id="r1", epoch=epoch) as work:
        work.save_attempt(attempt, moved)
    with pytest.raises(Superseded), ledger.transaction(run_id="r1", epoch=epoch) as work:
        work.save_attempt(attempt, moved)


def test_a_part_counts_every_row_exactly_once(ledger: Ledger) -> None:
    plan_a_run(ledger)
    counts = {"succeeded": 5, "errored": 1, "expired": 0, "cancelled": 0, "missing": 3}
    with pytest.raises(LedgerError, match="every_settled_row_has_one_outcome"), ledger.transaction() as work:
        work.settle_part("r1", 0, **counts, input_tokens=1, output_tokens=1, cost_usd=None)


def test_a_transaction_that_raises_leaves_nothing(ledger: Ledger) -> None:
    plan_a_run(ledger)
    with pytest.raises(RuntimeError), ledger.transaction() as work:
        work.event(1, "r1", "uploaded")
        raise RuntimeError
    assert ledger.events("r1") == []


def test_a_ledger_of_a_newer_version_is_refused(ledger: Ledger) -> None:
    raw = sqlite3.connect(ledger.path)
    raw.execute("PRAGMA user_version = 99")
    raw.commit()
    raw.close()
    ledger.close()
    with pytest.raises(NewerLedger, match="version 99"):
        Ledger(ledger.path)


def test_a_ledger_of_version_1_is_brought_to_this_one_with_all_it_knew(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "ledger.db")
    raw.executescript((Path(__file__).parent / "ledgers" / "version_1.sql").read_text())
    raw.close()
    old, new = Ledger(tmp_path / "ledger.db"), Ledger(tmp_path / "new.db")
    (run,) = old.runs()
    (attempt,) = old.attempts_at_work(run.id)
    assert (run.name, run.reused, attempt.batch_id) == ("nightly", 0, "batch_1")
    assert columns(old.path) == columns(new.path)


def columns(path: Path) -> dict[str, set[tuple[str, ...]]]:
    raw = sqlite3.connect(path)
    tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {table: {row[1:] for row in raw.execute(f"PRAGMA table_info({table})")} for table in tables}


def test_a_ledger_is_readable_by_its_owner_alone(ledger: Ledger) -> None:
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


def test_two_ledgers_opened_at_once_share_one_file(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path / "ledger.db"), Ledger(tmp_path / "ledger.db")
    plan_a_run(first)
    assert [run.id for run in second.runs()] == ["r1"]
