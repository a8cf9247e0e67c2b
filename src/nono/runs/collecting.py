"""What can be thrown away, and what nobody owns: folders of finished runs, and batches with a tag of ours."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nono.errors import InputError
from nono.exchange import Account, drive
from nono.model import RemoteBatch
from nono.providers import Provider, provider_named
from nono.retry import retrying
from nono.runs.clock import SystemClock
from nono.runs.ledger.states import ANSWERED, MAY_COST, OVER
from nono.runs.owner import Ownership
from nono.runs.workspace import Workspace

# What a finished run can do without: its results stand for themselves.
SPARE = ("shards", "answers", "asked", "rows")
# A folder without a run that nobody has touched for so long was left behind by a process that died.
ABANDONED_AFTER_S = 86_400


def collect(workspace: Workspace) -> int:
    """Delete the requests and answers of finished runs whose rows all succeeded, and folders of runs that nobody knows.

    Runs with rows that could be tried again keep everything. Returns the bytes that were freed.
    """
    freed = 0
    known = {run.id: run for run in workspace.runs()}
    root = workspace.home / "runs"
    for folder in root.iterdir() if root.is_dir() else ():
        run = known.get(folder.name)
        if run is None:
            # It may be that somebody plans it at this moment: its row comes last. And what has answers was once known:
            # the ledger is another one, perhaps from a backup.
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER_S and not _has_answers(folder):
                freed += _remove(folder)
        elif run.state in OVER:
            totals = workspace.ledger.totals(run.id)
            if totals.succeeded == totals.row_count:
                freed += sum(_remove(folder / name) for name in SPARE)
    return freed


def purge(workspace: Workspace, run_id: str) -> None:
    """Forget a run. Raises RunOwned if somebody works on it, InputError while batches of it may be at the provider."""
    run = workspace.ledger.run(run_id)
    assert run is not None
    folder = workspace.folder(run_id)
    with Ownership(workspace.ledger, run, folder.path, SystemClock()):
        attempts = workspace.ledger.attempts(run_id)
        at_work = sum(attempt.state in MAY_COST - ANSWERED for attempt in attempts)
        if at_work:
            raise InputError(
                f"{at_work} batches of run {run_id} may be at the provider",
                hint=f"`nono cancel {run_id}` (or `nono resolve {run_id}`) first: their answers would be paid and lost",
            )
        with workspace.ledger.transaction() as work:
            work.delete_run(run_id)
    folder.remove()


@dataclass(frozen=True, slots=True)
class There:
    """A provider and an account of it, where orphans are looked for."""

    provider: Provider
    account: Account


def account_at(model: str, base_url: str | None = None, options: Mapping[str, str] | None = None) -> There:
    """Where a run with this `provider/model` (or the provider alone) would send its batches. Raises MissingKey."""
    provider = provider_named(model.partition("/")[0]).at(base_url, options)
    return There(provider, provider.account(base_url=base_url))


def find_orphans(workspace: Workspace, there: There) -> list[RemoteBatch]:
    """Batches of the account that carry a nono tag which no run of this workspace knows."""
    from nono.transport import Sender

    provider, sender = there.provider, Sender(there.account)
    known = workspace.ledger.tags()
    found: list[RemoteBatch] = []
    cursor: str | None = None
    try:
        while True:
            page, cursor = drive(retrying(provider.list_page(cursor)), sender)
            found += [batch for batch in page if (batch.tag or "").startswith("nono-") and batch.tag not in known]
            if cursor is None:
                return found
    finally:
        sender.close()


def cancel_orphans(there: There, batches: list[RemoteBatch]) -> int:
    """Cancel those that are still at work; returns how many."""
    from nono.transport import Sender

    provider, sender = there.provider, Sender(there.account)
    at_work = [batch for batch in batches if not batch.phase.ended]
    try:
        for batch in at_work:
            drive(retrying(provider.cancel(batch.id)), sender)
    finally:
        sender.close()
    return len(at_work)


def _has_answers(folder: Path) -> bool:
    return any(any((folder / name).iterdir()) for name in ("answers", "asked", "results") if (folder / name).is_dir())


def _remove(path: Path) -> int:
    if not path.exists():
        return 0
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    shutil.rmtree(path)
    return size
