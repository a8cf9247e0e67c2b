"""What became of a create whose answer is lost: asked of the provider's list, and fenced off before it is repeated.

All batches are listed for the attempt's tag (`reconcile`); then the input file is deleted, so that a create which is
still under way runs nothing (`fence`); the list is looked through once more, and only then there is a new attempt with
a new file. What cannot be asked is never guessed: it waits for a person (`quarantine`, `nono resolve`).
"""

from __future__ import annotations

from nono.errors import NonoError
from nono.model import RemoteBatch
from nono.runs.bench import Bench, postpone, stop_if_account_is_refused
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState
from nono.runs.submission import abandon, created

# While a lost create is looked for, this often.
LOOK_EVERY_S = 5.0


def reconcile(bench: Bench, attempt: AttemptRow) -> None:
    """reconcile → created, if the list has the batch; → fence, when it has not after `reconcile_s`."""
    age_s = bench.age_s(attempt)  # before the look: what the list shows later, this look has not seen
    if not _adopt_if_listed(bench, attempt, "reconcile"):
        return
    with bench.commit() as commit:
        if age_s < bench.settings.reconcile_s:
            commit.keep(attempt, due_in_s=min(LOOK_EVERY_S, bench.settings.reconcile_s - age_s), tries=0)
            return
        attempt = commit.move(attempt, AttemptState.FENCE)
        commit.event(Happened.FENCE_RAISED, attempt, file_id=attempt.file_id)


def fence(bench: Bench, attempt: AttemptRow) -> None:
    """fence → fenced: the input file is deleted, until the provider says that it is gone."""
    assert attempt.file_id is not None
    try:
        bench.perform(bench.provider.delete_file(attempt.file_id))
    except NonoError as error:
        _look_later_or_ask(bench, attempt, "fence", error)
        return
    with bench.commit() as commit:
        commit.move(attempt, AttemptState.FENCED)


def watch_fence(bench: Bench, attempt: AttemptRow) -> None:
    """fenced → created, if the batch shows up late; → abandoned and a new attempt, when `fence_s` has passed."""
    age_s = bench.age_s(attempt)
    if not _adopt_if_listed(bench, attempt, "fenced"):
        return
    if age_s < bench.settings.fence_s:
        with bench.commit() as commit:
            commit.keep(attempt, due_in_s=min(LOOK_EVERY_S * 3, bench.settings.fence_s - age_s), tries=0)
        return
    abandon(bench, attempt, "no batch within the fence")


def _adopt_if_listed(bench: Bench, attempt: AttemptRow, step: str) -> bool:
    """Look through all of the provider's batches for this attempt's. True if the whole list has none."""
    try:
        matches = find_batches(bench, attempt)
    except NonoError as error:
        _look_later_or_ask(bench, attempt, step, error)
        return False
    if not matches:
        return True
    oldest, *doubles = sorted(matches, key=lambda batch: (batch.created_at is None, batch.created_at, batch.id))
    created(bench, attempt, oldest, Happened.ADOPTED)
    for double in doubles:
        cancel_double(bench, attempt, double)
    return False


def find_batches(bench: Bench, attempt: AttemptRow) -> list[RemoteBatch]:
    """Every batch at the provider that this attempt's create made: by tag, or by input file where no tag came back.

    All pages, never a time window: clocks differ, and a batch that is overlooked is paid twice.
    """
    found: dict[str, RemoteBatch] = {}
    for page in bench.batch_pages():
        for batch in page:
            # A file outlives a batch that was refused for want of room: that one was this attempt's before.
            by_file = batch.tag is None and batch.input_file_id == attempt.file_id and not batch.backpressure
            if batch.tag == attempt.tag or by_file:
                found[batch.id] = batch
    return list(found.values())


def cancel_double(bench: Bench, attempt: AttemptRow, batch: RemoteBatch) -> None:
    """Stop a second batch of the same attempt, and say so."""
    if batch.phase.ended:
        return
    try:
        bench.perform(bench.provider.cancel(batch.id))
    except NonoError as error:
        with bench.commit() as commit:
            commit.event(Happened.TROUBLE, attempt, step="cancel_double", error=error.message, batch_id=batch.id)
        return
    with bench.commit() as commit:
        commit.event(Happened.DOUBLE_CANCELLED, attempt, batch_id=batch.id)


def _look_later_or_ask(bench: Bench, attempt: AttemptRow, step: str, error: NonoError) -> None:
    """The provider cannot be asked now; after long enough, a person decides."""
    stop_if_account_is_refused(error)
    if attempt.tries < bench.settings.patience:
        postpone(bench, attempt, step, error)
        return
    with bench.commit() as commit:
        commit.move(attempt, AttemptState.QUARANTINE, error_message=error.message)
        commit.event(Happened.QUARANTINED, attempt, reason=error.message)
