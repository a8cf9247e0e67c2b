"""The SQLite file that remembers what was decided and what happened; only this folder sees `sqlite3`.

One writer at a time, short `BEGIN IMMEDIATE` transactions, `synchronous=FULL`: what a transaction said is true after
any crash. Every write of an owner carries its epoch, so that a superseded process cannot write. No network inside a
transaction, no prompt and no answer in a row.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from nono.runs.ledger.rows import (
    AttemptRow,
    AtWork,
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
from nono.runs.ledger.statements import VERSION, schema, statements, way_up
from nono.runs.ledger.states import AttemptState, RunState
from nono.runs.ledger.transaction import Transaction
from nono.runs.ledger.troubles import LedgerError, NewerLedger, StorageFull, Superseded, translated

R = TypeVar("R")


class Ledger:
    """One open ledger file. Threads of one process may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with translated(path):
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
                for statement in way_up(version):
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
        with self._lock, translated(self.path):
            found = self._db.execute(statements()[query], values).fetchall()
        if not found:
            return []
        places, state = _places(kind.__slots__, tuple(found[0].keys()))  # type: ignore[attr-defined]
        return [_row(kind, [row[place] for place in places], state) for row in found]

    def _value(self, query: str, **values: Any) -> Any:
        with self._lock, translated(self.path):
            row = self._db.execute(statements()[query], values).fetchone()
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
        with self._lock, translated(self.path):
            found = self._db.execute(statements()["parts_of_shard"], {"shard_id": shard_id}).fetchall()
        return [row[0] for row in found]

    def attempt(self, attempt_id: int) -> AttemptRow:
        return self._rows(AttemptRow, "attempt_by_id", id=attempt_id)[0]

    def attempts(self, run_id: str) -> list[AttemptRow]:
        return self._rows(AttemptRow, "attempts_of_run", run_id=run_id)

    def attempts_at_work(self, run_id: str) -> list[AttemptRow]:
        return self._rows(AttemptRow, "attempts_at_work", run_id=run_id)

    def at_work(self, run_id: str) -> AtWork:
        """How many batches the provider works on, without reading them all: the engine asks at every turn."""
        return self._rows(AtWork, "at_work", run_id=run_id)[0]

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

    def sent_again(self, run_id: str) -> int:
        """How many requests of later rounds may still bring an answer."""
        return int(self._value("sent_again", run_id=run_id))

    def enqueued(self, account: str, model: str, *, ahead_of: AttemptRow, now: int) -> tuple[int, int]:
        """Estimated tokens and number of batches that are at work for an account and model, or will be before
        `ahead_of`."""
        values = {"account": account, "model": model, "ahead_of": ahead_of.id, "run_id": ahead_of.run_id, "now": now}
        with self._lock, translated(self.path):
            row = self._db.execute(statements()["enqueued_tokens"], values).fetchone()
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
        with self._lock, translated(self.path):
            found = self._db.execute(statements()["all_tags"]).fetchall()
        return {row["tag"]: (row["run_id"], AttemptState(row["state"]), row["batch_id"]) for row in found}

    def events(self, run_id: str, *, after: int = 0, limit: int = 10_000) -> list[EventRow]:
        return self._rows(EventRow, "events_after", run_id=run_id, after=after, limit=limit)

    # --- writing ---

    @contextmanager
    def transaction(self, *, run_id: str | None = None, epoch: int | None = None) -> Iterator[Transaction]:
        """All of the block's writes, or none. With an `epoch`, only if it is still the run's.

        Raises Superseded, StorageFull or LedgerError; what `on_commit` was given is called after the commit.
        """
        with self._lock, translated(self.path):
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


@lru_cache
def _places(fields: tuple[str, ...], columns: tuple[str, ...]) -> tuple[list[int], int | None]:
    """Where a row has the value of each field, and which field is a state: asked once a query, not once a row."""
    return [columns.index(name) for name in fields], fields.index("state") if "state" in fields else None


def _row(kind: type[R], values: list[Any], state: int | None) -> R:
    if state is not None:
        values[state] = (RunState if kind is RunRow else AttemptState)(values[state])
    return kind(*values)


def _like(text: str) -> str:
    """`text` as the beginning of a LIKE pattern that matches nothing but itself; empty matches no id."""
    return text if re.fullmatch(r"[A-Za-z0-9-]+", text) else "\0"


__all__ = [
    "AtWork",
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
