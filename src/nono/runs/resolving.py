"""A person's word about a batch: what became of an unclear create, or that a batch made elsewhere is a run's."""

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


def adopt(bench: Bench, batch_id: str) -> None:
    """Walk a run's only attempt, unsent, to `created` with a batch that exists. Raises NotFound if it does not."""
    batch = bench.perform(bench.provider.get(batch_id))
    (attempt,) = bench.ledger.attempts(bench.run.id)
    file_id = batch.input_file_id or "unknown"
    with bench.commit() as commit:
        attempt = commit.move(attempt, AttemptState.FILE_INTENT)
        attempt = commit.move(attempt, AttemptState.UPLOADED, file_id=file_id)
        attempt = commit.move(attempt, AttemptState.CREATE_INTENT)
        attempt = commit.move(
            attempt,
            AttemptState.CREATED,
            batch_id=batch.id,
            native_state=batch.native_state,
            created_at=bench.now(),
        )
        commit.event(Happened.ADOPTED, attempt, batch_id=batch.id, by="person")
