"""The SQLite file that remembers what was decided and what happened; the only module that sees `sqlite3`.

One writer at a time, short `BEGIN IMMEDIATE` transactions, `synchronous=FULL`: what a transaction said is true after
any crash. Every write of an owner carries its epoch, so that a superseded process cannot write. No network inside a
transaction, no prompt and no answer in a row.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from nono.errors import NonoError
from nono.runs.ledger import states
from nono.runs.ledger.rows import (
    AttemptRow,
    CodeCount,
    EventRow,
    Pace,
    PartRow,
    Progress,
    RunRow,
    ShardRow,
    StateCount,
    Totals,
)
from nono.runs.ledger.states import AttemptState, RunState

R = TypeVar("R")

# `upgrade_<n>` in queries.sql leads from version n to the next.
VERSION = 3


class LedgerError(NonoError):
    """The ledger cannot be read or written; nothing was changed by the call that raised this."""


class StorageFull(LedgerError):
    """The disk is full (or a quota is): the run pauses, the ledger is whole."""


class NewerLedger(LedgerError):
    """The ledger was written by a newer version of nono."""


class Superseded(LedgerError):
    """Another process owns the run now; this one must not write any more."""


_ABOUT_ATTEMPTS = re.compile(r"^CREATE \w+ \w*attempt", re.MULTILINE)


@cache
def _statements() -> dict[str, str]:
    attempts = "".join(part for part in _split(schema()) if _ABOUT_ATTEMPTS.search(part))
    text = (resources.files(__package__) / "queries.sql").read_text("utf-8")
    text = text.format(**_printed(), attempts_of_the_schema=attempts)
    found = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(found[::2], found[1::2], strict=True)}


def _printed() -> dict[str, str]:
    """The parts of the SQL that are printed from the tables in `states`."""
    in_doubt_or_running = states.MAY_COST - states.ANSWERED
    return {
        "run_states": states.sql_list(states.RUN_MOVES),
        "attempt_states": states.sql_list(states.ATTEMPT_MOVES),
        "final_states": states.sql_list(states.FINAL),
        "in_flight_states": states.sql_list(states.IN_FLIGHT),
        "committed_states": states.sql_list(frozenset(in_doubt_or_running)),
        "answered_states": states.sql_list(states.ANSWERED),
        "sync_states": states.sql_list(states.ASKED_SYNC),
        "attempt_moves": states.sql_legal_moves(states.ATTEMPT_MOVES),
        "run_moves": states.sql_legal_moves(states.RUN_MOVES),
    }


def schema() -> str:
    """The whole schema as SQL, with the constraints that the tables of moves print."""
    return (resources.files(__package__) / "schema.sql").read_text("utf-8").format(**_printed())


class Ledger:
    """One open ledger file. Threads of one process may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _translated(path):
            # Made before SQLite opens it, so that nobody else can read it even for a moment.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._prepare()

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise NewerLedger(
                f"{self.path} has version {version}, this nono reads up to {VERSION}",
                hint="upgrade nono, or choose another workspace with NONO_HOME",
            )
        if version == VERSION:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have made the tables while this one waited for the lock.
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version < VERSION:
                for statement in _way_up(version):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # --- reading ---

    def _rows(self, kind: type[R], query: str, **values: Any) -> list[R]:
        with self._lock, _translated(self.path):
            found = self._db.execute(_statements()[query], values).fetchall()
        return [_row(kind, row) for row in found]

    def _value(self, query: str, **values: Any) -> Any:
        with self._lock, _translated(self.path):
            row = self._db.execute(_statements()[query], values).fetchone()
        return None if row is None else row[0]

    def run(self, run_id: str) -> RunRow | None:
        return next(iter(self._rows(RunRow, "run_by_id", id=run_id)), None)

    def runs(self) -> list[RunRow]:
        return self._rows(RunRow, "all_runs")

    def runs_named(self, name: str) -> list[RunRow]:
        """Runs with this name, or whose id begins with it, newest first."""
        return self._rows(RunRow, "runs_by_name", name=name, prefix=_like(name))

    def latest_run_with(self, fingerprint: str) -> RunRow | None:
        return next(iter(self._rows(RunRow, "latest_run_with_fingerprint", fingerprint=fingerprint)), None)

    def parts(self, run_id: str) -> list[PartRow]:
        return self._rows(PartRow, "parts_of", run_id=run_id)

    def part(self, run_id: str, no: int) -> PartRow:
        return self._rows(PartRow, "part", run_id=run_id, no=no)[0]

    def shard(self, shard_id: int) -> ShardRow:
        return self._rows(ShardRow, "shard_by_id", id=shard_id)[0]

    def shards(self, run_id: str) -> list[ShardRow]:
        return self._rows(ShardRow, "shards_of_run", run_id=run_id)

    def next_shard_no(self, run_id: str) -> int:
        return int(self._value("next_shard_no", run_id=run_id))

    def parts_of_shard(self, shard_id: int) -> list[int]:
        with self._lock, _translated(self.path):
            found = self._db.execute(_statements()["parts_of_shard"], {"shard_id": shard_id}).fetchall()
        return [row[0] for row in found]

    def attempt(self, attempt_id: int) -> AttemptRow:
        return self._rows(AttemptRow, "attempt_by_id", id=attempt_id)[0]

    def attempts(self, run_id: str) -> list[AttemptRow]:
        return self._rows(AttemptRow, "attempts_of_run", run_id=run_id)

    def attempts_at_work(self, run_id: str) -> list[AttemptRow]:
        return self._rows(AttemptRow, "attempts_at_work", run_id=run_id)

    def attempts_in(self, run_id: str, state: AttemptState) -> list[AttemptRow]:
        return self._rows(AttemptRow, "attempts_in_state", run_id=run_id, state=state)

    def due(self, run_id: str, now: int, *, limit: int) -> list[AttemptRow]:
        """Attempts whose next step is due, submissions aside."""
        return self._rows(AttemptRow, "due_attempts", run_id=run_id, now=now, limit=limit)

    def due_submissions(self, run_id: str, now: int, *, limit: int, before: int) -> list[AttemptRow]:
        """Attempts that may be submitted now, of those with an id below `before`."""
        return self._rows(AttemptRow, "due_submissions", run_id=run_id, now=now, limit=limit, before=before)

    def next_due_at(self, run_id: str, now: int) -> int | None:
        due_at: int | None = self._value("next_due_at", run_id=run_id, now=now)
        return due_at

    def attempts_of_part(self, run_id: str, part_no: int) -> list[AttemptRow]:
        return self._rows(AttemptRow, "attempts_of_part", run_id=run_id, part_no=part_no)

    def state_counts(self, run_id: str) -> list[StateCount]:
        return self._rows(StateCount, "count_attempts_by_state", run_id=run_id)

    def totals(self, run_id: str) -> Totals:
        return self._rows(Totals, "totals", run_id=run_id)[0]

    def progress(self, run_id: str) -> Progress:
        return self._rows(Progress, "in_flight_progress", run_id=run_id)[0]

    def pace(self, run_id: str) -> Pace:
        return self._rows(Pace, "pace", run_id=run_id)[0]

    def estimated_cost_usd(self, run_id: str) -> float | None:
        """The high guess for the whole run; None where no price is known."""
        usd: float | None = self._value("estimated_cost", run_id=run_id)
        return usd

    def error_counts(self, run_id: str) -> list[CodeCount]:
        """How many rows of the settled parts have each error code, the most frequent first."""
        return self._rows(CodeCount, "error_counts", run_id=run_id)

    def committed_cost_usd(self, run_id: str) -> float:
        return float(self._value("committed_cost", run_id=run_id))

    def enqueued(self, account: str, model: str, *, ahead_of: AttemptRow) -> tuple[int, int]:
        """Estimated tokens and number of batches that are at work for an account and model, or will be before
        `ahead_of`."""
        values = {"account": account, "model": model, "ahead_of": ahead_of.id, "run_id": ahead_of.run_id}
        with self._lock, _translated(self.path):
            row = self._db.execute(_statements()["enqueued_tokens"], values).fetchone()
        return row["tokens"], row["batches"]

    def sync_requests(self, run_id: str) -> int:
        """How many requests went, or will go, to the synchronous endpoint."""
        return int(self._value("sync_requests", run_id=run_id))

    def creates_since(self, account: str, since: int) -> int:
        return int(self._value("creates_since", account=account, since=since))

    def learned_limit(self, account: str, model: str) -> int | None:
        limit: int | None = self._value("learned_limit", account=account, model=model)
        return limit

    def tags(self) -> dict[str, tuple[str, AttemptState, str | None]]:
        """Every tag with its run, state and batch id."""
        with self._lock, _translated(self.path):
            found = self._db.execute(_statements()["all_tags"]).fetchall()
        return {row["tag"]: (row["run_id"], AttemptState(row["state"]), row["batch_id"]) for row in found}

    def events(self, run_id: str, *, after: int = 0, limit: int = 10_000) -> list[EventRow]:
        return self._rows(EventRow, "events_after", run_id=run_id, after=after, limit=limit)

    # --- writing ---

    @contextmanager
    def transaction(self, *, run_id: str | None = None, epoch: int | None = None) -> Iterator[Transaction]:
        """All of the block's writes, or none. With an `epoch`, only if it is still the run's.

        Raises Superseded, StorageFull or LedgerError; what `on_commit` was given is called after the commit.
        """
        with self._lock, _translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            work = Transaction(self._db, run_id, epoch)
            try:
                work.check_epoch()
                yield work
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
        for callback in work.after_commit:
            callback()


class Transaction:
    """The writes that are possible; made by `Ledger.transaction`."""

    def __init__(self, db: sqlite3.Connection, run_id: str | None, epoch: int | None) -> None:
        self._db = db
        self._run_id = run_id
        self._epoch = epoch
        self.after_commit: list[Callable[[], object]] = []

    def _do(self, query: str, **values: Any) -> sqlite3.Cursor:
        return self._db.execute(_statements()[query], values)

    def check_epoch(self) -> None:
        if self._epoch is None:
            return
        row = self._do("epoch_of", id=self._run_id).fetchone()
        if row is None or row[0] != self._epoch:
            raise Superseded(f"another process has taken over run {self._run_id}")

    def insert_run(self, *, reused: int = 0, **values: Any) -> None:
        self._do("insert_run", reused=reused, **values)

    def delete_run(self, run_id: str) -> None:
        self._do("delete_run", id=run_id)

    def move_run(self, run: RunRow, state: RunState, *, reason: str | None = None, at: int | None = None) -> None:
        """Move a run; `at` is the instant of its end, for the states that are over."""
        changed = self._do(
            "move_run",
            id=run.id,
            state=state,
            reason=reason,
            ended_at=at,
            expected=run.state,
            epoch=run.epoch if self._epoch is None else self._epoch,
        ).rowcount
        if changed != 1:
            raise Superseded(f"run {run.id} is not {run.state} any more")

    def set_wish(self, run_id: str, wish: str | None) -> None:
        self._do("set_wish", id=run_id, wish=wish)

    def set_run_limits(self, run_id: str, *, max_cost_usd: float | None, max_attempts: int) -> None:
        self._do("set_run_limits", id=run_id, max_cost_usd=max_cost_usd, max_attempts=max_attempts, epoch=self._epoch)

    def take_run(self, run_id: str, owner: str, lease_until: int) -> int:
        row = self._do("take_run", id=run_id, owner=owner, lease_until=lease_until).fetchone()
        return int(row[0])

    def renew_lease(self, run_id: str, lease_until: int) -> None:
        if self._do("renew_lease", id=run_id, lease_until=lease_until, epoch=self._epoch).rowcount != 1:
            raise Superseded(f"another process has taken over run {run_id}")

    def release_run(self, run_id: str, epoch: int) -> None:
        """Give a run back; without effect if somebody else has taken it over since."""
        self._do("release_run", id=run_id, epoch=epoch)

    def insert_part(self, run_id: str, no: int, first_row: int, row_count: int) -> None:
        self._do("insert_part", run_id=run_id, no=no, first_row=first_row, row_count=row_count)

    def settle_part(self, run_id: str, no: int, **values: Any) -> None:
        self._do("settle_part", run_id=run_id, no=no, **values)

    def insert_shard(
        self,
        run_id: str,
        *,
        no: int,
        round: int,
        requests: int,
        file_bytes: int,
        tokens: int,
        cost_usd: float | None,
        parts: list[int],
    ) -> int:
        """A shard and the parts that its rows belong to; returns its id."""
        row = self._do(
            "insert_shard",
            run_id=run_id,
            no=no,
            round=round,
            requests=requests,
            file_bytes=file_bytes,
            tokens=tokens,
            cost_usd=cost_usd,
        ).fetchone()
        shard_id = int(row[0])
        for part_no in parts:
            self._do("insert_shard_part", shard_id=shard_id, part_no=part_no)
        return shard_id

    def insert_attempt(
        self,
        run_id: str,
        shard_id: int,
        *,
        no: int,
        tag: str,
        due_at: int,
        state: AttemptState = states.BATCHED,
    ) -> int:
        """A new attempt at its beginning: `states.BATCHED`, or `states.SYNC`."""
        values = {"run_id": run_id, "shard_id": shard_id, "no": no, "tag": tag, "state": state, "due_at": due_at}
        row = self._do("insert_attempt", **values).fetchone()
        return int(row[0])

    def save_attempt(self, before: AttemptRow, after: AttemptRow) -> None:
        """Write an attempt as it is now, if it is still where the caller saw it."""
        values = asdict(after) | {"expected": before.state, "epoch": self._epoch}
        if self._do("save_attempt", **values).rowcount != 1:
            raise Superseded(f"attempt {before.tag} is not {before.state} any more")

    def wake_waiting(self, run_id: str, now: int) -> None:
        self._do("wake_waiting", run_id=run_id, now=now)

    def learn_limit(self, account: str, model: str, tokens: int, at: int) -> None:
        self._do("learn_limit", account=account, model=model, tokens=tokens, learned_at=at)

    def event(self, at: int, run_id: str, name: str, *, attempt_id: int | None = None, **detail: Any) -> None:
        self._do("insert_event", at=at, run_id=run_id, attempt_id=attempt_id, name=name, detail=json.dumps(detail))


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "disk I/O" in str(error):
            raise StorageFull(
                f"{path}: {error}", hint="make room and run `nono resume`: the ledger is whole, nothing is lost"
            ) from error
        raise LedgerError(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path}: {error}") from error


def _row(kind: type[R], row: sqlite3.Row) -> R:
    values: dict[str, Any] = {field.name: row[field.name] for field in fields(kind)}  # type: ignore[arg-type]
    if kind is RunRow:
        values["state"] = RunState(values["state"])
    elif "state" in values:
        values["state"] = AttemptState(values["state"])
    return kind(**values)


def _like(text: str) -> str:
    """`text` as the beginning of a LIKE pattern that matches nothing but itself; empty matches no id."""
    return text if re.fullmatch(r"[A-Za-z0-9-]+", text) else "\0"


def _way_up(version: int) -> Iterator[str]:
    """The statements that make a ledger of some version one of this version; of nothing, too (0)."""
    if version == 0:
        yield from _split(schema())
    else:
        for older in range(version, VERSION):
            yield from _split(_statements()[f"upgrade_{older}"] + "\n")


def _split(script: str) -> Iterator[str]:
    """The statements of a script; a trigger's body holds semicolons of its own."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


__all__ = [
    "AttemptRow",
    "AttemptState",
    "CodeCount",
    "EventRow",
    "Ledger",
    "LedgerError",
    "NewerLedger",
    "Pace",
    "PartRow",
    "Progress",
    "RunRow",
    "RunState",
    "ShardRow",
    "StateCount",
    "StorageFull",
    "Superseded",
    "Totals",
    "Transaction",
    "schema",
]
