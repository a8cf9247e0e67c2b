"""Was anything lost, was anything paid for twice? An auditor that trusts nobody: it imports nothing of `nono`.

It reads three things: the world's own log (what arrived, what was executed), the ledger (with plain sqlite3), and the
result files (with plain pyarrow), and recomputes what they must say.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

# What a run may end as without having been cancelled, and the outcomes that there are.
OUTCOMES = {"succeeded", "errored", "expired", "cancelled", "missing"}


@dataclass
class Verdict:
    """Each list names what is wrong; all are empty for a history that is right."""

    rows_lost: list[str] = field(default_factory=list)
    run_twice: list[str] = field(default_factory=list)
    paid_again: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    books: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        return [
            f"{name}: {found}"
            for name in ("rows_lost", "run_twice", "paid_again", "posts", "books")
            for found in getattr(self, name)
        ]


def check(home: Path, run_id: str, texts: list[str], log: Iterable[Mapping[str, Any]], *, cancelled: bool) -> Verdict:
    """Audit one run. `texts` are the input rows in order; `log` the world's. A `cancelled` run need not have asked
    everything; all that was executed must be there all the same."""
    verdict = Verdict()
    log = list(log)
    executed = [entry for entry in log if entry["what"] == "executed"]
    db = sqlite3.connect(f"file:{home / 'ledger.db'}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    try:
        _rows(verdict, home / "runs" / run_id / "results", texts, executed, cancelled)
        _executions(verdict, executed)
        _posts(verdict, db, log)
        _books(verdict, db, run_id, len(texts), executed, cancelled)
    finally:
        db.close()
    return verdict


def _rows(
    verdict: Verdict, results: Path, texts: list[str], executed: list[Mapping[str, Any]], cancelled: bool
) -> None:
    """Every row has one outcome, in order, and everything that was answered, and paid, is in it."""
    answered = {entry["custom_id"] for entry in executed if entry["status"] == 200}
    rows = [row for path in sorted(results.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    if [row["text"] for row in rows] != texts:
        verdict.rows_lost.append(f"{len(rows)} rows came out of {len(texts)}, or in another order")
        return
    for row in rows:
        custom_id, text, outcome = row["custom_id"], row["text"], row["outcome"]
        if outcome not in OUTCOMES:
            verdict.rows_lost.append(f"{custom_id} has the outcome {outcome!r}")
        if (outcome == "succeeded") != (custom_id in answered):
            verdict.rows_lost.append(f"{custom_id} was answered: {custom_id in answered}, but its outcome is {outcome}")
        if outcome == "succeeded" and row["answer"] != f"answer to {text}":
            verdict.rows_lost.append(f"{custom_id} has another row's answer: {row['answer']!r}")
        if not cancelled and outcome != ("errored" if text.startswith("bad") else "succeeded"):
            verdict.rows_lost.append(f"{custom_id} ({text}) ended as {outcome}: {row['error_message']}")


def _executions(verdict: Verdict, executed: list[Mapping[str, Any]]) -> None:
    """No shard in two batches that ran, no answered row executed again."""
    ran: dict[str, set[str]] = {}
    answered: set[str] = set()
    for entry in executed:
        shard = re.match(r"(nono-\w+-\d+)-\d+-\d+$", entry["tag"])
        assert shard, entry["tag"]
        ran.setdefault(shard[1], set()).add(entry["batch"])
        if entry["custom_id"] in answered:
            verdict.paid_again.append(f"{entry['custom_id']} was executed again in {entry['batch']}")
        if entry["status"] == 200:
            answered.add(entry["custom_id"])
    verdict.run_twice += [f"{shard} ran in {sorted(batches)}" for shard, batches in ran.items() if len(batches) > 1]


def _posts(verdict: Verdict, db: sqlite3.Connection, log: list[Mapping[str, Any]]) -> None:
    """At most one POST for each intent in the ledger: exactly one, unless the process died in between."""
    intents: Counter[str] = Counter()
    for row in db.execute("SELECT detail FROM events WHERE name = 'create_sent'"):
        intents[json.loads(row["detail"])["tag"]] += 1
    posts = Counter(entry["tag"] for entry in log if entry["what"] == "create_sent")
    for tag, count in posts.items():
        if count > intents[tag]:
            verdict.posts.append(f"{count} creates with the tag {tag} arrived, {intents[tag]} were intended")


def _books(
    verdict: Verdict,
    db: sqlite3.Connection,
    run_id: str,
    rows: int,
    executed: list[Mapping[str, Any]],
    cancelled: bool,
) -> None:
    """The ledger's totals are those of the executions; the run is over; no attempt hangs."""
    state = db.execute("SELECT state FROM runs WHERE id = ?", (run_id,)).fetchone()["state"]
    if state != ("cancelled" if cancelled else "finished"):
        verdict.books.append(f"the run is {state}")
    total = db.execute(
        "SELECT SUM(row_count) AS rows, SUM(succeeded) AS succeeded, SUM(settled) AS settled, COUNT(*) AS parts, "
        "SUM(input_tokens) AS input_tokens, SUM(output_tokens) AS output_tokens FROM parts WHERE run_id = ?",
        (run_id,),
    ).fetchone()
    answers = sum(entry["status"] == 200 for entry in executed)
    expected = {"rows": rows, "succeeded": answers, "settled": total["parts"]}
    expected |= {"input_tokens": 10 * answers, "output_tokens": 5 * answers}
    found = {name: total[name] for name in expected}
    if found != expected:
        verdict.books.append(f"the ledger says {found}, the executions say {expected}")
    hanging = db.execute(
        "SELECT tag, state FROM attempts WHERE run_id = ? "
        "AND state NOT IN ('cleaned', 'abandoned', 'refused', 'split', 'dropped')",
        (run_id,),
    ).fetchall()
    verdict.books += [f"{row['tag']} is still {row['state']}" for row in hanging]
