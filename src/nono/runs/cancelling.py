"""Cancel a run: what was not sent is dropped, what is at work is asked to stop, what was answered is kept."""

from __future__ import annotations

from collections.abc import Container

from nono.errors import NonoError
from nono.runs.asking import give_up
from nono.runs.bench import Bench
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState

UNSENT = (AttemptState.PLANNED, AttemptState.FILE_INTENT, AttemptState.UPLOADED)


def cancel_what_can_be(bench: Bench, *, busy: Container[int]) -> None:
    """Drop and cancel; called until nothing is left to do. Attempts in `busy` are in the middle of a step."""
    for state in UNSENT:
        for attempt in bench.ledger.attempts_in(bench.run.id, state):
            if attempt.id not in busy:
                _drop(bench, attempt)
    for attempt in bench.ledger.attempts_in(bench.run.id, AttemptState.ASKING):
        if attempt.id not in busy:
            give_up(bench, attempt)
    for attempt in bench.ledger.attempts_at_work(bench.run.id):
        if attempt.batch_id not in bench.cancel_asked:
            ask_to_cancel(bench, attempt)


def _drop(bench: Bench, attempt: AttemptRow) -> None:
    if bench.settings.provider_files == "delete":
        try:
            file_id = attempt.file_id
            if attempt.state is AttemptState.FILE_INTENT:  # it may have arrived all the same
                found = bench.perform(bench.provider.find_file(bench.file_name(attempt, bench.shard(attempt))))
                file_id = found.id if found is not None else None
            if file_id is not None:
                bench.perform(bench.provider.delete_file(file_id))
        except NonoError as error:
            with bench.commit() as commit:
                commit.event(Happened.NOT_CLEANED, attempt, error=error.message)
    with bench.commit() as commit:
        commit.move(attempt, AttemptState.DROPPED)


def ask_to_cancel(bench: Bench, attempt: AttemptRow, *, reason: str | None = None) -> None:
    """Ask the provider to stop a batch; its end is seen like any other's."""
    assert attempt.batch_id is not None
    try:
        bench.perform(bench.provider.cancel(attempt.batch_id))
    except NonoError as error:
        if error.transient:
            return
        with bench.commit() as commit:
            commit.event(Happened.TROUBLE, attempt, step="cancel", error=error.message)
    bench.cancel_asked.add(attempt.batch_id)
    with bench.commit() as commit:
        commit.event(Happened.CANCEL_ASKED, attempt, batch_id=attempt.batch_id, reason=reason)
