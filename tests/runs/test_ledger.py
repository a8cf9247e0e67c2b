"""The ledger refuses impossible states, whoever asks; and what it said is there after it is opened again."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

import nono
from nono.runs.ledger import (
    AttemptState,
    Ledger,
    LedgerError,
    NewerLedger,
    RunState,
    Superseded,
    schema,
)
from nono.runs.ledger.states import ASKED_SYNC, ATTEMPT_MOVES, BATCHED, FINAL, RUN_MOVES, SYNC, diagram
from nono.server.app import LocalServer
from patience import PATIENT_S


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


@pytest.mark.parametrize("before", AttemptState)
def test_an_attempt_makes_exactly_the_legal_moves(ledger: Ledger, before: AttemptState) -> None:
    attempt_id = plan_a_run(ledger)
    with_batch = {"created", "ended", "fetched", "verified", "cleaned", "quarantine"}
    trigger = schema().split("CREATE TRIGGER an_attempt_moves_legally")[1].split("END;")[0]
    raw = sqlite3.connect(ledger.path)
    raw.execute("PRAGMA synchronous = OFF")

    def put_there() -> None:
        """Behind the trigger's back."""
        file_id = None if before in ASKED_SYNC else "file-1"
        batch_id = "batch-1" if before in with_batch else None
        raw.execute("DROP TRIGGER an_attempt_moves_legally")
        raw.execute("UPDATE attempts SET state = ?, file_id = ?, batch_id = ?", (before, file_id, batch_id))
        raw.execute(f"CREATE TRIGGER an_attempt_moves_legally{trigger}END;")
        raw.commit()

    put_there()
    with ledger.transaction() as work:
        epoch = work.take_run("r1", "me", 0)
    moved = set()
    for after in set(AttemptState) - {before}:
        seen = ledger.attempt(attempt_id)
        wanted = replace(seen, state=after, batch_id="batch-1" if after in with_batch - {"quarantine"} else None)
        try:
            with ledger.transaction(run_id="r1", epoch=epoch) as work:
                work.save_attempt(seen, wanted)
        except LedgerError as error:
            assert "does not move that way" in error.message
        else:
            moved.add(after)
            put_there()
    raw.close()
    assert moved == set(ATTEMPT_MOVES[before])


def test_every_state_is_reachable_and_leads_to_an_end() -> None:
    reached = {BATCHED, SYNC}
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
        work.settle_part("r1", 0, **counts, input_tokens=1, output_tokens=1, cost_usd=None, sync_cost_usd=None)


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


OLD = Path(__file__).parent / "ledgers" / "version_1"
# What each version's ledger had more than the one before.
SINCE = {1: "", 2: "ALTER TABLE runs ADD COLUMN reused INTEGER NOT NULL DEFAULT 0; PRAGMA user_version = 2;"}


def ledger_of_version(version: int, home: Path, base_url: str = "http://127.0.0.1:1/v1") -> str:
    """A workspace as that version left it: a run of three rows, one answered and not settled, two not sent."""
    shutil.copytree(OLD, home)
    script = (home / "ledger.sql").read_text().replace("http://127.0.0.1:1/v1", base_url)
    raw = sqlite3.connect(home / "ledger.db")
    raw.executescript(script + "".join(SINCE[number] for number in range(1, version + 1)))
    (run_id,) = raw.execute("SELECT id FROM runs").fetchone()
    raw.close()
    spec = home / "runs" / run_id / "run.json"
    spec.write_text(spec.read_text().replace("http://127.0.0.1:1/v1", base_url))
    return str(run_id)


def test_a_ledger_of_version_1_is_brought_to_this_one_with_all_it_knew(tmp_path: Path) -> None:
    run_id = ledger_of_version(1, tmp_path / "home")
    (run,) = (ledger := Ledger(tmp_path / "home" / "ledger.db")).runs()
    fetched, *unsent = ledger.attempts(run_id)
    assert (run.name, run.reused) == ("from version 1", 0)
    assert fetched.batch_id == "batch_0e66486773c934d5d9eb390bdf66bd96"
    assert [attempt.state for attempt in unsent] == [AttemptState.PLANNED, AttemptState.PLANNED]


@pytest.mark.parametrize("version", SINCE)
def test_a_ledger_of_an_older_version_opens_and_its_run_goes_on(version: int, tmp_path: Path) -> None:
    with LocalServer(data=tmp_path / "server") as server:
        run_id = ledger_of_version(version, tmp_path / "home", server.openai_base_url)
        run = nono.open_run(run_id, home=tmp_path / "home", api_key="local")
        assert run.wait(timeout_s=PATIENT_S).state is RunState.FINISHED
    assert [row["answer"] for row in run.results()] == ["row 0", "row 1", "row 2"]


@pytest.mark.parametrize("version", SINCE)
def test_a_ledger_that_was_brought_up_is_like_a_new_one(version: int, tmp_path: Path) -> None:
    ledger_of_version(version, tmp_path / "old")

    def shape(home: Path) -> tuple[object, ...]:
        Ledger(home / "ledger.db").close()
        raw = sqlite3.connect(home / "ledger.db")
        names = "SELECT type, name, tbl_name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name"
        found = raw.execute(names).fetchall()
        columns = {
            table: raw.execute(f"PRAGMA table_info({table})").fetchall() for kind, table, _ in found if kind == "table"
        }
        (attempts,) = raw.execute("SELECT sql FROM sqlite_schema WHERE name = 'attempts'").fetchone()
        broken = raw.execute("PRAGMA foreign_key_check").fetchall()
        raw.close()
        return found, {name: {column[1:3] for column in columns[name]} for name in columns}, attempts, broken

    assert shape(tmp_path / "old") == shape(tmp_path / "new")


def test_a_ledger_is_readable_by_its_owner_alone(ledger: Ledger) -> None:
    assert ledger.path.stat().st_mode & 0o777 == 0o600
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


def test_two_ledgers_opened_at_once_share_one_file(tmp_path: Path) -> None:
    first, second = Ledger(tmp_path / "ledger.db"), Ledger(tmp_path / "ledger.db")
    plan_a_run(first)
    assert [run.id for run in second.runs()] == ["r1"]


def test_the_diagram_begins_at_the_first_state_and_at_those_that_no_move_leads_to() -> None:
    moves = {RunState.RUNNING: (RunState.STOPPED,), RunState.STOPPED: (RunState.RUNNING,), RunState.CANCELLED: ()}
    assert diagram(moves).splitlines() == [
        "stateDiagram-v2",
        "    [*] --> running",
        "    [*] --> cancelled",
        "    running --> stopped",
        "    stopped --> running",
        "    cancelled --> [*]",
    ]


@pytest.mark.parametrize(
    ("states", "committed_usd"),
    [
        (("cleaned", "verified", "created"), 0.2 + 0.3),  # the part waits for the third, and with it the second's cost
        (("cleaned", "cleaned", "planned"), 0.2),
        (("cleaned", "verified", "verified"), 0.0),
        (("cleaned", "refused", "cleaned"), 0.0),
    ],
)
def test_what_is_answered_counts_as_committed_until_its_part_is_settled_with_it(
    ledger: Ledger, states: tuple[str, ...], committed_usd: float
) -> None:
    attempts = [plan_a_run(ledger)]
    with ledger.transaction() as work:
        for no, cost_usd in ((1, 0.2), (2, 0.3)):
            shard_id = work.insert_shard(
                "r1", no=no, round=2, requests=1, file_bytes=10, tokens=5, cost_usd=cost_usd, parts=[0]
            )
            attempts.append(work.insert_attempt("r1", shard_id, no=1, tag=f"nono-r1-{no}-1-0", due_at=1))
    raw = sqlite3.connect(ledger.path)
    raw.execute("DROP TRIGGER an_attempt_moves_legally")
    for attempt_id, state in zip(attempts, states, strict=True):
        raw.execute(
            "UPDATE attempts SET state = ?, file_id = 'file', batch_id = ? WHERE id = ?",
            (state, None if state in ("planned", "refused") else f"batch-{attempt_id}", attempt_id),
        )
    raw.execute("UPDATE parts SET settled = 1, succeeded = 8, errored = 2")
    raw.commit()
    assert ledger.committed_cost_usd("r1") == pytest.approx(committed_usd)
