"""A person's word about a create whose fate is unknown."""

from __future__ import annotations

from nono.runs.bench import Bench
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState
from nono.runs.submission import abandon


def resolve(bench: Bench, attempt: AttemptRow, *, adopt: str | None, resubmit: bool) -> None:
    """quarantine → created (adopt), → abandoned with a new attempt (resubmit), → dropped.

    An adopted id is looked up first: a batch that the provider does not know is not adopted (NotFound).
    """
    if adopt is not None:
        batch = bench.perform(bench.provider.get(adopt))
        with bench.commit() as commit:
            commit.move(
                attempt,
                AttemptState.CREATED,
                batch_id=batch.id,
                native_state=batch.native_state,
                created_at=attempt.created_at or bench.now(),
            )
            commit.event(Happened.ADOPTED, attempt, batch_id=batch.id, by="person")
    elif resubmit:
        abandon(bench, attempt, "a person says that there is no batch")
    else:
        with bench.commit() as commit:
            commit.move(attempt, AttemptState.DROPPED)
