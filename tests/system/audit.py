"""Was anything lost, was anything paid for twice? An auditor beside a real server: it imports nothing of `nono`.

    python tests/system/audit.py faults.jsonl ledger.db results/ [RUN]

It reads what the server wrote down (every call, every execution of a request, every move of a batch), the ledger (with
plain sqlite3) and the result files (with plain pyarrow), and recomputes from the first what the others must say. It
prints what is wrong, and exits with 1 if anything is.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

OUTCOMES = {"succeeded", "errored", "expired", "cancelled", "missing"}
OVER = ("cleaned", "abandoned", "refused", "split", "dropped")
_SHARD = re.compile(r"(nono-.+-\d+)-\d+-\d+$")
_SAID = re.compile(r"\[\[nono:say (.*?)\]\]", re.DOTALL)


@dataclass
class Verdict:
    """Each list names what is wrong; all are empty for a history that is right."""

    rows_lost: list[str] = field(default_factory=list)
    run_twice: list[str] = field(default_factory=list)
    paid_again: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    books: list[str] = field(default_factory=list)
    rows: int = 0
    executions: int = 0
    creates: int = 0

    @property
    def wrong(self) -> list[str]:
        names = ("rows_lost", "run_twice", "paid_again", "posts", "books")
        return [f"{name}: {found}" for name in names for found in getattr(self, name)]


@dataclass
class Execution:
    """One request that ran. `usable`: its answer was there, whole, named, and fetched."""

    batch: str
    ordinal: int
    id: str
    ok: bool
    tokens: tuple[int, int]
    life: int
    usable: bool = False


class Told:
    """What the server wrote down about one run, read once."""

    def __init__(self, path: Path, run_id: str) -> None:
        self.creates: Counter[str] = Counter()
        self.tags: dict[str, str] = {}
        self.ran: dict[tuple[str, int], Execution] = {}
        self.twice: list[str] = []
        self._outputs: dict[str, dict[str, str]] = {}
        self._fetched: set[str] = set()
        self._spoiled: set[tuple[str, int]] = set()
        lives, number = 0, 0
        for entry in _lines(path):
            number += 1
            if entry["no"] != number:
                self.twice.append(f"the log is not whole: entry {entry['no']} stands where {number} is due")
                number = entry["no"]
            match entry["what"]:
                case "started":
                    lives += 1
                case "call":
                    self._call(entry)
                case "moved" if (entry["tag"] or "").startswith(f"nono-{run_id}-"):
                    self.tags[entry["batch"]] = entry["tag"]
                    self._outputs[entry["batch"]] = entry["outputs"]
                case "executed":
                    self._executed(entry, lives)
                case "spoiled" if not entry["readable"]:
                    self._spoiled.add((entry["batch"], entry["ordinal"]))
        self.ran = {place: one for place, one in self.ran.items() if one.batch in self.tags}
        for place, one in self.ran.items():
            one.usable = (
                one.ok and self._outputs[one.batch].get("output") in self._fetched and place not in self._spoiled
            )

    def kept_back(self, one: Execution) -> bool:
        """Whether nobody could ever have an answer: its batch ended without a file for it, or its line is spoiled."""
        return "output" not in self._outputs[one.batch] or (one.batch, one.ordinal) in self._spoiled

    def _call(self, entry: dict[str, Any]) -> None:
        ids = entry.get("ids", {})
        if entry["call"] == "create" and "tag" in ids:
            self.creates[ids["tag"]] += 1
        if entry["call"] == "content" and entry["whole"] and entry["status"] in (200, 206):
            self._fetched.add(ids.get("file", ""))

    def _executed(self, entry: dict[str, Any], life: int) -> None:
        place = entry["batch"], entry["ordinal"]
        tokens = (entry["input_tokens"], entry["output_tokens"])
        before = self.ran.get(place)
        # A server that is killed between an execution and its journal asks once more: its own loss, and nobody's bill.
        if before is not None and before.life == life:
            self.twice.append(f"{entry['id']} ran twice in {entry['batch']}, in one life of the server")
        self.ran[place] = Execution(*place, entry["id"], entry["ok"], tokens, life)


def check(
    log: Path,
    ledger: Path,
    results: Path,
    run_id: str,
    *,
    text: str = "text",
    usd_per_million: tuple[float, float] | None = None,
) -> Verdict:
    """Audit one run that is over. `text` is the column of the prompts; prices are per million tokens, in and out."""
    told = Told(log, run_id)
    db = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    try:
        run = db.execute("SELECT state, max_attempts FROM runs WHERE id = ?", (run_id,)).fetchone()
        verdict = Verdict(executions=len(told.ran), creates=sum(told.creates.values()), run_twice=list(told.twice))
        table = _Table(results, text, usd_per_million)
        _rows(verdict, told, table)
        _executions(verdict, told, run["max_attempts"])
        _posts(verdict, told, db, run_id)
        _books(verdict, told, table, db, run_id, run["state"])
    finally:
        db.close()
    return verdict


class _Table:
    """The result files: outcomes by id, in their order, and their sums."""

    def __init__(self, results: Path, text: str, usd_per_million: tuple[float, float] | None) -> None:
        self.outcomes: dict[str, str] = {}
        self.wrong: list[str] = []
        self.tokens = [0, 0]
        self.usd = 0.0
        for path in sorted(results.glob("*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches():
                for row in batch.to_pylist():
                    self._enter(row, text, usd_per_million)

    def _enter(self, row: dict[str, Any], text: str, usd_per_million: tuple[float, float] | None) -> None:
        custom_id, outcome = row["custom_id"], row["outcome"]
        if custom_id in self.outcomes:
            self.wrong.append(f"{custom_id} has two rows")
        if outcome not in OUTCOMES:
            self.wrong.append(f"{custom_id} has the outcome {outcome!r}")
        # Ids that nono gives count the rows of the input.
        if custom_id.startswith("r-") and custom_id != f"r-{len(self.outcomes)}":
            self.wrong.append(f"{custom_id} stands in row {len(self.outcomes)}")
        said = _SAID.search(row.get(text) or "")
        if outcome == "succeeded" and said and row["answer"] != said[1]:
            self.wrong.append(f"{custom_id} has another row's answer: {row['answer']!r} to {row[text]!r}")
        tokens = (row["input_tokens"] or 0, row["output_tokens"] or 0)
        if usd_per_million is not None:
            usd = sum(count * price for count, price in zip(tokens, usd_per_million, strict=True)) / 1e6
            if not math.isclose(row["cost_usd"] or 0.0, usd, rel_tol=1e-9, abs_tol=1e-12):
                self.wrong.append(f"{custom_id} costs {row['cost_usd']}, its tokens cost {usd}")
        self.outcomes[custom_id] = outcome
        self.tokens = [self.tokens[0] + tokens[0], self.tokens[1] + tokens[1]]
        self.usd += row["cost_usd"] or 0.0


def _rows(verdict: Verdict, told: Told, table: _Table) -> None:
    """Every row has one outcome, in order; it is `succeeded` exactly when there was an answer to be had."""
    verdict.rows = len(table.outcomes)
    verdict.rows_lost += table.wrong
    answered = {one.id for one in told.ran.values() if one.usable}
    for custom_id, outcome in table.outcomes.items():
        if (outcome == "succeeded") != (custom_id in answered):
            was = "was" if custom_id in answered else "was not"
            verdict.rows_lost.append(f"{custom_id} {was} answered, and its outcome is {outcome}")
    verdict.rows_lost += [f"{stranger} was answered and has no row" for stranger in answered - table.outcomes.keys()]


def _executions(verdict: Verdict, told: Told, max_attempts: int) -> None:
    """No shard in two batches that ran; nothing that was answered is asked again; nothing more often than allowed."""
    batches: dict[str, set[str]] = defaultdict(set)
    by_id: dict[str, list[Execution]] = defaultdict(list)
    for one in told.ran.values():
        shard = _SHARD.match(told.tags[one.batch])
        batches[shard[1] if shard else told.tags[one.batch]].add(one.batch)
        by_id[one.id].append(one)
    verdict.run_twice += [f"{shard} ran in {sorted(ran)}" for shard, ran in batches.items() if len(ran) > 1]
    for custom_id, ran in by_id.items():
        for before, after in pairwise(ran):
            if before.ok and (before.usable or not told.kept_back(before)):
                verdict.paid_again.append(f"{custom_id} was answered in {before.batch} and ran again in {after.batch}")
        if len(ran) > max_attempts:
            verdict.paid_again.append(f"{custom_id} ran {len(ran)} times, of {max_attempts}")


def _posts(verdict: Verdict, told: Told, db: sqlite3.Connection, run_id: str) -> None:
    """At most one POST for each intent in the ledger: exactly one, unless a process died in between."""
    intents: Counter[str] = Counter()
    for row in db.execute("SELECT detail FROM events WHERE run_id = ? AND name = 'create_sent'", (run_id,)):
        intents[json.loads(row["detail"])["tag"]] += 1
    for tag, count in told.creates.items():
        if count > intents[tag]:
            verdict.posts.append(f"{count} creates with the tag {tag} arrived, {intents[tag]} were intended")


def _books(verdict: Verdict, told: Told, table: _Table, db: sqlite3.Connection, run_id: str, state: str) -> None:
    """The ledger's totals are those of the table and of the executions; the run is over; no attempt hangs."""
    if state not in ("finished", "cancelled"):
        verdict.books.append(f"the run is {state}")
    total = db.execute(
        "SELECT SUM(row_count) AS rows, SUM(succeeded) AS succeeded, SUM(errored) AS errored, SUM(expired) AS expired, "
        "SUM(cancelled) AS cancelled, SUM(missing) AS missing, SUM(input_tokens) AS input_tokens, "
        "SUM(output_tokens) AS output_tokens, SUM(cost_usd) AS usd FROM parts WHERE run_id = ?",
        (run_id,),
    ).fetchone()
    usable = [one for one in told.ran.values() if one.usable]
    expected: dict[str, int] = {"rows": len(table.outcomes)}
    expected |= {name: list(table.outcomes.values()).count(name) for name in sorted(OUTCOMES)}
    for name, index in (("input_tokens", 0), ("output_tokens", 1)):
        expected[name] = sum(one.tokens[index] for one in usable)
        if table.tokens[index] != expected[name]:
            verdict.books.append(f"the rows have {table.tokens[index]} {name}, the executions {expected[name]}")
    found = {name: total[name] for name in expected}
    if found != expected:
        verdict.books.append(f"the ledger says {found}, table and executions say {expected}")
    if not math.isclose(total["usd"] or 0.0, table.usd, rel_tol=1e-9, abs_tol=1e-12):
        verdict.books.append(f"the ledger says {total['usd']} dollars, the rows {table.usd}")
    for row in db.execute("SELECT tag, state FROM attempts WHERE run_id = ?", (run_id,)):
        if row["state"] not in OVER:
            verdict.books.append(f"{row['tag']} is still {row['state']}")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


def main() -> None:
    if len(sys.argv) not in (4, 5):
        raise SystemExit(__doc__)
    log, ledger, results = map(Path, sys.argv[1:4])
    run_id = sys.argv[4] if len(sys.argv) == 5 else results.resolve().parent.name
    verdict = check(log, ledger, results, run_id)
    print(
        f"{verdict.rows} rows, {verdict.executions} executions, {verdict.creates} creates, {len(verdict.wrong)} wrong"
    )
    for found in verdict.wrong:
        print(found)
    sys.exit(bool(verdict.wrong))


if __name__ == "__main__":
    main()
