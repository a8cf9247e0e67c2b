"""A person's word about a create whose fate is unknown."""

from __future__ import annotations

from nono.errors import InputError
from nono.model import RemoteBatch
from nono.runs.bench import Bench
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState
from nono.runs.submission import abandon


def resolve(bench: Bench, attempt: AttemptRow, *, adopt: str | None, resubmit: bool) -> None:
    """quarantine → created (adopt), → abandoned with a new attempt (resubmit), → dropped.

    An adopted id is looked up first: a batch that the provider does not know is not adopted (NotFound), nor is one of
    other requests (InputError).
    """
    if adopt is not None:
        batch = bench.perform(bench.provider.get(adopt))
        _check_origin(bench, attempt, batch)
        with bench.commit() as commit:
            commit.move(
                attempt,
                AttemptState.CREATED,
                batch_id=batch.id,
                native_state=batch.native_state,
                created_at=attempt.created_at or bench.now(),
                expires_at=int(batch.expires_at.timestamp() * 1000) if batch.expires_at else None,
            )
            commit.event(Happened.ADOPTED, attempt, batch_id=batch.id, by="person")
    elif resubmit:
        abandon(bench, attempt, "a person says that there is no batch")
    else:
        with bench.commit() as commit:
            commit.move(attempt, AttemptState.DROPPED)


def _check_origin(bench: Bench, attempt: AttemptRow, batch: RemoteBatch) -> None:
    """A batch of other requests answers none of the attempt's rows: all of them would be sent, and paid for, again."""
    known = {batch_id: (tag, run_id) for tag, (run_id, _, batch_id) in bench.ledger.tags().items() if batch_id}
    owner, run_id = known.get(batch.id, (batch.tag or attempt.tag, None))
    if owner != attempt.tag:
        where = f" of run {run_id}" if run_id else ""
        raise InputError(
            f"batch {batch.id} is that of {owner}{where}, not of {attempt.tag}",
            hint="the batch to adopt has the tag of the attempt, or none, at the provider",
        )
