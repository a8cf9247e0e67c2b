"""The ledger of a run of a billion rows: what it costs to write the plan down, to look at the run, to take it up again.

Some shards go through a real run; their rows in the ledger are then copied until there are twenty thousand.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

import nono
from benchmarks.job import Goal, Job, Stage, Way, at_most, median
from nono.exchange import Call, Reply
from nono.runs.bench import Settings, tag
from nono.runs.folder import RunFolder
from nono.runs.ledger import Ledger
from nono.runs.run import Run
from nono.runs.spec import load_plan, save_plan
from nono.runs.starting import open_run
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer

SHARDS = 20_000
REAL_SHARDS = 20
# Of a run that is under way.
AT_WORK = 40
DAY_MS = 86_400_000
MODEL = "openai/gpt-4o-mini"
STATUS, COMMAND, RESUME, PLAN = "status", "`nono status`, the process", "resume, to the first upload", "plan"


def prepare(folder: Path, size: int) -> None:
    """Two workspaces: in `over` all shards are settled, in `halfway` every second one."""
    for name, done in (("over", size), ("halfway", size // 2)):
        with LocalServer() as server:
            run = nono.run(
                [{"text": f"row {number}"} for number in range(REAL_SHARDS)],
                prompt="{{ text }}",
                model=MODEL,
                home=folder / name,
                api_key="local",
                base_url=server.openai_base_url,
                rows_per_part=1,
                settings=Settings(poll_first_s=0.05, poll_cap_s=0.05),
                max_batches=2 * AT_WORK,
            )
            run.wait()
        run.ledger.close()
        with sqlite3.connect(folder / name / "ledger.db") as db:
            _copy_rows(db, run.id, size, done)
        db.close()
        _copy_plan(run.folder, size)


def _copy_rows(db: sqlite3.Connection, run_id: str, size: int, done: int) -> None:
    """Copy the real shards until there are `size`, those from `done` on as they are before they are sent."""
    db.row_factory = sqlite3.Row
    real = {
        table: [dict(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]
        for table in ("parts", "shards", "shard_parts", "attempts")
    }
    events = [dict(row) for row in db.execute("SELECT * FROM events WHERE attempt_id IS NOT NULL ORDER BY id")]
    if done < size:
        db.execute("UPDATE runs SET state = 'running', ended_at = NULL")
    for no in range(REAL_SHARDS, size):
        at = no % REAL_SHARDS
        shard_id = real["shards"][-1]["id"] + 1 + no
        place = {"no": no, "id": shard_id, "shard_id": shard_id, "part_no": no, "first_row": no}
        sent = no < done + AT_WORK
        made = {name: f"{name}-{no:08d}" for name in ("file_id", "batch_id")} if sent else {}
        attempt = {"no": 1, "tag": tag(run_id, no, 1, 0), **made}
        # Created long ago: no provider takes so many within the hour.
        attempt["created_at"] = real["attempts"][at]["created_at"] - DAY_MS
        if done <= no:
            unanswered = {"ended_at": None, "done_requests": 0}
            attempt |= unanswered | ({"state": "created"} if sent else {"state": "planned"})
            attempt |= (
                {} if sent else dict.fromkeys(("file_id", "batch_id", "native_state", "created_at", "expires_at"))
            )
            counts = ("succeeded", "input_tokens", "output_tokens", "settled")
            place |= dict.fromkeys(counts, 0)
        _insert(db, "parts", real["parts"][at], place)
        _insert(db, "shards", real["shards"][at], place)
        _insert(db, "shard_parts", real["shard_parts"][at], place)
        _insert(db, "attempts", real["attempts"][at], place | attempt)
        if no < done:
            for event in events:
                if event["attempt_id"] == real["attempts"][at]["id"]:
                    _insert(db, "events", event, {"id": None, "attempt_id": shard_id})


def _insert(db: sqlite3.Connection, table: str, row: dict[str, Any], changes: dict[str, Any]) -> None:
    values = {name: changes.get(name, value) for name, value in row.items()}
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", values)


def _copy_plan(folder: RunFolder, size: int) -> None:
    made = load_plan(folder)
    parts = tuple(msgspec.structs.replace(made.parts[no % REAL_SHARDS], no=no, first_row=no) for no in range(size))
    save_plan(msgspec.structs.replace(made, parts=parts, rows=size), folder)
    source = folder.shard_file(0).read_bytes()
    for no in range(size // 2, size // 2 + 2 * AT_WORK):  # those that may be uploaded
        folder.shard_file(no).write_bytes(source)


def status(stage: Stage) -> None:
    with stage.timed():
        found = open_run(home=stage.folder / "over").status
    assert found.rows == max(stage.size, REAL_SHARDS), found
    stage.notes["ledger_mb"] = sum(file.stat().st_size for file in (stage.folder / "over").glob("ledger.db*")) / 1e6


def command(stage: Stage) -> None:
    arguments = [sys.executable, "-m", "nono.cli", "status", _run_id(stage.folder / "over")]
    from benchmarks.measuring import ENVIRONMENT

    environment = ENVIRONMENT | {"NONO_HOME": str(stage.folder / "over")}
    with stage.timed():
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=environment)


def _run_id(home: Path) -> str:
    return Workspace(home).find().id


class _Provider:
    """Says that all batches go on, and notes when the first file comes."""

    def __init__(self, ids: Iterable[str]) -> None:
        batch = {"object": "batch", "endpoint": "/v1/chat/completions", "status": "in_progress", "created_at": 1}
        self._page = [batch | {"id": batch_id, "input_file_id": "file", "metadata": {}} for batch_id in ids]
        self.first_upload_at: float | None = None
        self.run: Run | None = None

    def __call__(self, call: Call) -> Reply:
        from nono import jsonl

        assert self.run is not None
        if call.method == "GET":
            return Reply(200, {}, jsonl.encode({"object": "list", "data": self._page, "has_more": False}))
        if self.first_upload_at is None:
            self.first_upload_at = time.perf_counter()
            self.run.leave()
        return Reply(200, {}, jsonl.encode({"id": "file", "object": "file", "bytes": 1, "created_at": 1}))


def resume(stage: Stage) -> None:
    """From opening the workspace to the first call that sends something."""
    home = stage.folder / "begun"
    shutil.copytree(stage.folder / "halfway", home)
    peek = Workspace(home)
    run_id = peek.find().id
    provider = _Provider([attempt.batch_id or "" for attempt in peek.ledger.attempts_at_work(run_id)])
    peek.ledger.close()
    began = time.perf_counter()
    run = provider.run = Run(Workspace(home), run_id, api_key="local", send=provider)
    run.wait()
    assert provider.first_upload_at is not None
    stage.seconds = provider.first_upload_at - began
    run.ledger.close()
    shutil.rmtree(home)


def plan(stage: Stage) -> None:
    """What a plan adds to the ledger, in one transaction."""
    with tempfile.TemporaryDirectory(dir=stage.folder) as folder:
        ledger = Ledger(Path(folder) / "ledger.db")
        run = {"id": "r", "name": None, "fingerprint": "f", "provider": "openai", "model": "m", "endpoint": "e"}
        with stage.timed(), ledger.transaction() as work:
            work.insert_run(**run, account="a", created_at=1, max_cost_usd=None, max_attempts=3)
            for no in range(stage.size):
                work.insert_part("r", no, no * 50_000, 50_000)
                shard_id = work.insert_shard(
                    "r", no=no, round=1, requests=50_000, file_bytes=1, tokens=1, cost_usd=None, parts=[no]
                )
                work.insert_attempt("r", shard_id, no=1, tag=tag("r", no, 1, 0), due_at=1)


JOBS = (
    Job(
        name="ledger",
        ways=(Way(STATUS, status), Way(COMMAND, command), Way(RESUME, resume), Way(PLAN, plan)),
        size=SHARDS,
        unit="shards",
        prepare=prepare,
        least=REAL_SHARDS * 10,
        goals=(
            Goal("a run's status", lambda found: median(found, STATUS), most=0.15, unit=" s"),
            Goal("taking a run up again", lambda found: median(found, RESUME), most=2, unit=" s"),
            at_most("ledger_mb", 50, "the ledger's file when all is over", " MB", way=STATUS),
        ),
        columns={"ledger_mb": "ledger MB"},
        says="Twenty thousand shards of 50,000 rows are a billion rows. *Status* opens the workspace and reads; "
        "*resume* takes up a run of which half is done, from opening the workspace to the first upload; *plan* writes "
        "all shards down.",
    ),
)
