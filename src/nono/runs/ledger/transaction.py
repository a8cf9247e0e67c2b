"""What can be written: the verbs of an open transaction. Each update names the state that it expects."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from nono.runs.ledger import states
from nono.runs.ledger.rows import AttemptRow, RunRow
from nono.runs.ledger.statements import statements
from nono.runs.ledger.states import AttemptState, RunState
from nono.runs.ledger.troubles import Superseded


class Transaction:
    """The writes that are possible; made by `Ledger.transaction`."""

    def __init__(self, db: sqlite3.Connection, run_id: str | None, epoch: int | None) -> None:
        self._db = db
        self._run_id = run_id
        self._epoch = epoch
        self.after_commit: list[Callable[[], object]] = []

    def _do(self, query: str, **values: Any) -> sqlite3.Cursor:
        return self._db.execute(statements()[query], values)

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

    def set_account(self, run_id: str, account: str) -> None:
        self._do("set_account", id=run_id, account=account, epoch=self._epoch)

    def set_name(self, run_id: str, name: str) -> None:
        self._do("set_name", id=run_id, name=name)

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
        values = {name: getattr(after, name) for name in AttemptRow.__slots__}
        values |= {"expected": before.state, "epoch": self._epoch}
        if self._do("save_attempt", **values).rowcount != 1:
            raise Superseded(f"attempt {before.tag} is not {before.state} any more")

    def wake_waiting(self, run_id: str, now: int) -> None:
        self._do("wake_waiting", run_id=run_id, now=now)

    def learn_limit(self, account: str, model: str, tokens: int, at: int) -> None:
        self._do("learn_limit", account=account, model=model, tokens=tokens, learned_at=at)

    def event(self, at: int, run_id: str, name: str, *, attempt_id: int | None = None, **detail: Any) -> None:
        self._do("insert_event", at=at, run_id=run_id, attempt_id=attempt_id, name=name, detail=json.dumps(detail))
