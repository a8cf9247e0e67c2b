"""The auditor is audited: it is content with a true history, and finds every lie that is planted in one."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import audit
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from system_tools import PRICES, live

from nono.server.app import LocalServer
from nono.server.clock import SteeredClock
from patience import PATIENT_S

Entries = list[dict[str, Any]]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A history in which a row was refused once: log, ledger, results."""
    folder = tmp_path_factory.mktemp("truth")
    rules = [{"fault": "row-error", "nth": 2, "times": 1}]
    with LocalServer(data=folder / "server", clock=SteeredClock(speed=200.0), faults=rules) as server:
        story = live(folder / "home", server, "openai", 6)
        story.run.workspace.close()
    copy = folder / story.run.id
    shutil.copytree(story.run.folder.results, copy / "results")
    shutil.copy(server.data / "faults.jsonl", copy / "log")
    with closing(sqlite3.connect(story.run.ledger.path)) as ledger, closing(sqlite3.connect(copy / "ledger")) as into:
        ledger.backup(into)
    yield copy


@pytest.fixture
def history(truth: Path, tmp_path: Path) -> Path:
    """A copy to lie in; its folder's name is the run's."""
    return Path(shutil.copytree(truth, tmp_path / truth.name))


def wrong(history: Path) -> list[str]:
    names = (history / name for name in ("log", "ledger", "results"))
    return audit.check(*names, history.name, usd_per_million=PRICES["openai"]).wrong


def in_the_log(change: Callable[[Entries], Any]) -> Callable[[Path], None]:
    """A lie in the log, whose entries are numbered anew."""

    def lie(history: Path) -> None:
        path = history / "log"
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        change(entries)
        path.write_text("".join(json.dumps(entry | {"no": no}) + "\n" for no, entry in enumerate(entries, start=1)))

    return lie


def in_the_table(change: Callable[[Entries], Any]) -> Callable[[Path], None]:
    def lie(history: Path) -> None:
        path = sorted((history / "results").iterdir())[0]
        table = pq.read_table(path)
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)

    return lie


def in_the_ledger(statement: str) -> Callable[[Path], None]:
    def lie(history: Path) -> None:
        with closing(sqlite3.connect(history / "ledger")) as db, db:
            for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                db.execute(f"DROP TRIGGER {name}")
            assert db.execute(statement).rowcount

    return lie


def first(entries: Entries, what: str, **fields: Any) -> dict[str, Any]:
    return next(one for one in entries if one["what"] == what and all(one.get(key) == fields[key] for key in fields))


def last_batch(entries: Entries) -> str:
    return str([one for one in entries if one["what"] == "moved"][-1]["batch"])


def executed_again(entries: Entries, batch: str, ordinal: int) -> None:
    at = entries.index(first(entries, "executed", id="r-0"))
    entries.insert(at + 1, entries[at] | {"batch": batch, "ordinal": ordinal})


def swapped(rows: Entries) -> None:
    rows[0], rows[1] = rows[1], rows[0]


def shard_of_another(entries: Entries) -> None:
    tag = entries[entries.index(first(entries, "moved"))]["tag"]
    for one in entries:
        if one["what"] == "moved" and one["batch"] == last_batch(entries):
            one["tag"] = tag


LIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a row is missing": (in_the_table(lambda rows: rows.pop()), "rows_lost: r-3 stands in row 2"),
    "two rows changed places": (in_the_table(swapped), "rows_lost: r-1 stands in row 0"),
    "a row is there twice": (in_the_table(lambda rows: rows.append(rows[0])), "rows_lost: r-0 has two rows"),
    "an answer was lost": (
        in_the_table(lambda rows: rows[0].update(outcome="missing")),
        "rows_lost: r-0 was answered, and its outcome is missing",
    ),
    "an answer was invented": (
        in_the_log(lambda entries: first(entries, "executed", id="r-0").update(ok=False)),
        "rows_lost: r-0 was not answered, and its outcome is succeeded",
    ),
    "an answer was never fetched": (
        in_the_log(lambda entries: entries.remove(first(entries, "call", call="content"))),
        "was not answered, and its outcome is succeeded",
    ),
    "an answer is another row's": (
        in_the_table(lambda rows: rows[0].update(answer="1")),
        "rows_lost: r-0 has another row's answer: '1'",
    ),
    "an outcome is none": (in_the_table(lambda rows: rows[0].update(outcome="fine")), "has the outcome 'fine'"),
    "an answered row ran again": (
        in_the_log(lambda entries: executed_again(entries, last_batch(entries), 77)),
        "paid_again: r-0 was answered in batch_",
    ),
    "a request ran twice in its batch": (
        in_the_log(lambda entries: executed_again(entries, first(entries, "executed", id="r-0")["batch"], 0)),
        "run_twice: r-0 ran twice in batch_",
    ),
    "a shard ran in two batches": (in_the_log(shard_of_another), "run_twice: nono-"),
    "a create was sent twice": (
        in_the_log(lambda entries: entries.append(first(entries, "call", call="create"))),
        "posts: 2 creates with the tag nono-",
    ),
    "an entry of the log was taken out": (
        lambda history: (history / "log").write_text("".join((history / "log").open().readlines()[2:])),  # type: ignore[dict-item, return-value]
        "run_twice: the log is not whole: entry 3 stands where 1 is due",
    ),
    "a row costs more than its tokens": (
        in_the_table(lambda rows: rows[0].update(cost_usd=1.0)),
        "rows_lost: r-0 costs 1.0, its tokens cost 9e-07",
    ),
    "a row has more tokens than were used": (
        in_the_table(lambda rows: rows[0].update(input_tokens=100)),
        "input_tokens, the executions",
    ),
    "the ledger counts a row more": (
        in_the_ledger("UPDATE parts SET row_count = row_count + 1, missing = missing + 1 WHERE no = 0"),
        "books: the ledger says {'rows': 7",
    ),
    "the ledger counts other tokens": (
        in_the_ledger("UPDATE parts SET input_tokens = input_tokens + 1 WHERE no = 0"),
        "books: the ledger says",
    ),
    "the ledger says other money": (
        in_the_ledger("UPDATE parts SET cost_usd = cost_usd * 2 WHERE no = 0"),
        " dollars, the rows ",
    ),
    "the run is not over": (in_the_ledger("UPDATE runs SET state = 'running', ended_at = NULL"), "books: the run is"),
    "an attempt hangs": (
        in_the_ledger("UPDATE attempts SET state = 'verified' WHERE state = 'cleaned' AND id = 1"),
        "is still verified",
    ),
    "a row ran more often than it may": (in_the_ledger("UPDATE runs SET max_attempts = 1"), "ran 2 times, of 1"),
}


def test_a_true_history_is_right(history: Path) -> None:
    assert wrong(history) == []


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_found(name: str, history: Path) -> None:
    lie, said = LIES[name]
    lie(history)
    assert any(said in found for found in wrong(history)), wrong(history)


def test_it_is_a_program_that_imports_nothing_of_nono(history: Path) -> None:
    command = [sys.executable, audit.__file__, *(str(history / name) for name in ("log", "ledger", "results"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENT_S)
    assert (done.returncode, done.stdout) == (0, "6 rows, 8 executions, 3 creates, 0 wrong\n"), done
    in_the_table(swapped)(history)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENT_S)
    assert done.returncode == 1
    assert "rows_lost: r-1 stands in row 0" in done.stdout
    assert "nono" not in {line.split()[1].split(".")[0] for line in _imports(Path(audit.__file__))}


def _imports(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
