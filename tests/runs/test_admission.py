"""When another batch may be created: how many at a time, how many an hour."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from engine_tools import Beside, batches, events, texts

from nono.exchange import Call, Reply, Send
from nono.facts import read_facts
from nono.runs.admission import most_batches
from nono.runs.run import Run
from nono.server.app import LocalServer
from patience import PATIENT_S

HOUR_MS = 3_600_000


@pytest.fixture
def beside(tmp_path: Path, server: LocalServer) -> Beside:
    return Beside(tmp_path / "home", server)


def never_ending(send: Send) -> Send:
    """A service whose batches are all at work for ever."""

    def wrapped(call: Call) -> Reply:
        reply = send(call)
        if call.path.startswith("/batches") and call.method == "GET":
            body = json.loads(reply.body)
            for batch in body.get("data", [body]):
                batch |= {"status": "in_progress", "output_file_id": None, "error_file_id": None}
            return Reply(reply.status, reply.headers, json.dumps(body).encode())
        return reply

    return wrapped


def reasons(run: Run) -> list[str]:
    return [json.loads(event.detail)["reason"] for event in events(run, "no_room")]


def test_no_more_than_max_batches_are_at_work_at_a_time(beside: Beside) -> None:
    run = beside.run(texts(6), through=never_ending, rows_per_part=1, max_batches=2)
    run.wait(until_submitted=True)
    assert len(batches(beside.server)) == 2
    assert reasons(run) == ["2 batches at a time"]


@pytest.mark.parametrize(
    ("provider", "wished", "most"), [("gemini", 200, 100), ("gemini", 50, 50), ("openai", 200, 200)]
)
def test_no_more_batches_are_at_work_than_the_provider_takes(provider: str, wished: int, most: int) -> None:
    assert most_batches(wished, read_facts(provider)) == most


@pytest.mark.parametrize(
    ("age_ms", "created", "said"),
    [(HOUR_MS // 2, 1, ["2,000 batches created within the hour"]), (HOUR_MS + 60_000, 2, [])],
)
def test_two_thousand_batches_are_created_in_an_hour_and_no_more(
    beside: Beside, age_ms: int, created: int, said: list[str]
) -> None:
    first = beside.run(texts(1))
    first.wait(timeout_s=PATIENT_S)
    _pretend_created(first, 2_000, age_ms)
    run = beside.run(texts(1, begin="another"))
    run.wait(until_submitted=True)
    assert len(batches(beside.server)) == created
    assert reasons(run) == said


def _pretend_created(run: Run, count: int, age_ms: int) -> None:
    """The run's only attempt stands in the ledger `count` times, all created so long ago."""
    with closing(sqlite3.connect(run.ledger.path)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info(attempts)")]
        made = {
            "id": "NULL",
            "no": "n + 1",
            "tag": "tag || n",
            "batch_id": "batch_id || n",
            "created_at": "created_at - ?",
        }
        values = ", ".join(made.get(name, name) for name in columns)
        db.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "
            f"INSERT INTO attempts SELECT {values} FROM attempts, numbers WHERE run_id = ?",
            (count, age_ms, run.id),
        )
        db.execute("UPDATE attempts SET created_at = created_at - ? WHERE no = 1", (2 * HOUR_MS,))
        db.commit()
