"""What the engine costs beside the work itself: calls to the provider and commits to the ledger, a shard."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nono
from benchmarks.job import OURS, Job, Stage, Way, at_most
from nono.exchange import Call, Reply
from nono.providers import provider_named
from nono.runs import harvest
from nono.runs.ledger import Ledger
from nono.runs.run import Run
from nono.transport import Sender

SHARDS = 1_000
ROWS_A_SHARD = 10
MOST_BATCHES = 100


@contextmanager
def counted(counts: Counter[str]) -> Iterator[None]:
    """Count commits and polls of everything that happens meanwhile."""
    transaction, poll = Ledger.transaction, harvest.poll

    def counted_transaction(ledger: Ledger, **words: Any) -> Any:
        counts["commits"] += 1
        return transaction(ledger, **words)

    def counted_poll(bench: Any) -> None:
        counts["polls"] += 1
        poll(bench)

    Ledger.transaction, harvest.poll = counted_transaction, counted_poll  # type: ignore[method-assign]
    try:
        yield
    finally:
        Ledger.transaction, harvest.poll = transaction, poll  # type: ignore[method-assign]


class CountedSender(Sender):
    """Counts pages of the list of batches, and all other calls."""

    def __init__(self, account: Any, counts: Counter[str]) -> None:
        super().__init__(account)
        self._counts = counts

    def __call__(self, call: Call) -> Reply:
        self._counts["pages" if call.method == "GET" and call.path == "/batches" else "calls"] += 1
        return super().__call__(call)


def run_counted(base_url: str, home: str, shards: int, **words: Any) -> tuple[Run, Counter[str]]:
    """A run of so many shards of ten rows to its end, with the counts of what it took."""
    counts: Counter[str] = Counter()
    rows = [{"text": f"row {number}"} for number in range(shards * ROWS_A_SHARD)]
    with counted(counts):
        run = nono.run(
            rows,
            prompt="{{ text }}",
            model="openai/gpt-4o-mini",
            home=home,
            api_key="local",
            base_url=base_url,
            rows_per_part=ROWS_A_SHARD,
            max_batches=MOST_BATCHES,
            **words,
        )
        account = provider_named("openai").account(api_key="local", base_url=base_url)
        run = Run(run.workspace, run.id, api_key="local", send=CountedSender(account, counts))
        status = run.wait()
    assert status.succeeded == len(rows), status
    return run, counts


def whole_run(stage: Stage) -> None:
    with tempfile.TemporaryDirectory(dir=stage.folder) as home, stage.timed():
        _, counts = run_counted(stage.openai_base_url, home, stage.size)
    stage.notes |= {
        "calls": counts["calls"] / stage.size,
        "commits": counts["commits"] / stage.size,
        "pages": counts["pages"] / counts["polls"],
        "polls": float(counts["polls"]),
    }


JOBS = (
    Job(
        name="engine",
        ways=(Way(OURS, whole_run),),
        size=SHARDS,
        unit="shards of 10 rows",
        server=True,
        repeats=1,
        least=5,
        goals=(
            at_most("calls", 6, "HTTP calls a shard, polls aside"),
            at_most("commits", 12, "commits a shard"),
            at_most("pages", 1, "calls a poll, 100 batches being at work"),
        ),
        columns={"calls": "calls a shard", "commits": "commits a shard", "polls": "polls", "pages": "calls a poll"},
        says="A run of a thousand tiny batches, a hundred of them at work at a time, against the local server: what a "
        "shard costs beside its requests. All of it is counted, from planning to cleaning up at the provider.",
    ),
)
