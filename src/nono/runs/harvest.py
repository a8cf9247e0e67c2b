"""From a batch at work to settled rows: poll by listing, fetch every answer file, settle, clean up.

An ended batch is never thrown away unread: expired, cancelled and "failed" batches hold answers that were paid for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nono.errors import Forbidden, NoDestination, NonoError, NotFound
from nono.jsonl import BadLine, split_lines
from nono.model import Outcome, Phase, RemoteBatch
from nono.runs.bench import Bench, backoff_s, postpone, run_prefix, tag
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState
from nono.runs.ledger.states import FINAL
from nono.runs.reconciling import cancel_double
from nono.runs.shards import split_shard
from nono.runs.submission import MOST_FILES, abandon, is_somebody_elses, names_a_missing_file

# An ended batch may name its output a little late, and storage may not have it yet: so often it is asked again before
# its answers are given up. They are paid for.
LATE_OUTPUT_TRIES = 10
LATE_OUTPUT_S = 15.0
# What is written down where they are gone all the same.
ANSWERS_GONE = "answers_gone"
# Cleaning up is good manners, not worth holding a run.
CLEAN_TRIES = 4


def poll(bench: Bench) -> None:
    """Look at every batch at work, through as few pages of the provider's list as show them all.

    The sweep also finds batches with this run's tags that no attempt owns, and cancels them. What the list does not
    show is asked for by id: listings lag.
    """
    waiting = {attempt.batch_id: attempt for attempt in bench.ledger.attempts_at_work(bench.run.id)}
    if not waiting:
        return
    unseen = dict(waiting)
    bench.refused.clear()
    for page in bench.batch_pages():
        bench.refused.update(batch.id for batch in page if batch.backpressure and batch.id in unseen)
        for batch in page:
            attempt = unseen.pop(batch.id, None)
            if attempt is not None:
                see(bench, attempt, batch)
            elif batch.id not in waiting:
                _sweep(bench, batch)
        if not unseen:
            break
    for attempt in unseen.values():
        check(bench, attempt)


def check(bench: Bench, attempt: AttemptRow) -> None:
    """Ask for one batch by its id."""
    assert attempt.batch_id is not None
    try:
        batch = bench.perform(bench.provider.get(attempt.batch_id))
    except NotFound as error:
        # A batch that was made a moment ago may not be everywhere yet.
        if attempt.tries < LATE_OUTPUT_TRIES or bench.age_s(attempt) < bench.settings.fence_s:
            postpone(bench, attempt, "poll", error)
            return
        with bench.commit() as commit:
            commit.move(attempt, AttemptState.QUARANTINE, error_message=error.message)
            commit.event(Happened.QUARANTINED, attempt, reason=f"the provider has no batch {attempt.batch_id} any more")
        return
    see(bench, attempt, batch)


def see(bench: Bench, attempt: AttemptRow, batch: RemoteBatch) -> None:
    """Take note of how a batch stands; created → ended, → uploaded or split when it was refused for want of room."""
    bench.seen[batch.id] = batch
    done = batch.counts.succeeded + batch.counts.failed if batch.counts else 0
    # A batch that somebody else made is read, never made again.
    if batch.backpressure and bench.adopts is None:
        _refused_for_room(bench, attempt, batch)
        return
    if _had_no_input(batch) and bench.adopts is None and attempt.no < MOST_FILES:
        abandon(bench, attempt, batch.errors[0].message)
        return
    if batch.phase.ended:
        with bench.commit() as commit:
            ended = commit.move(
                attempt,
                AttemptState.ENDED,
                native_state=batch.native_state,
                ended_at=bench.now(),
                done_requests=done,
                error_code=batch.errors[0].code if batch.errors else None,
                error_message=batch.errors[0].message if batch.errors else None,
            )
            commit.work.wake_waiting(bench.run.id, bench.now())
            commit.event(Happened.ENDED, ended, native_state=batch.native_state)
        return
    if (batch.native_state, done) != (attempt.native_state, attempt.done_requests) or attempt.tries:
        with bench.commit() as commit:
            commit.keep(attempt, due_in_s=0, native_state=batch.native_state, done_requests=done, tries=0)
            total = batch.counts.total if batch.counts else None
            what = Happened.UNKNOWN_STATE if batch.phase is Phase.UNKNOWN else Happened.STATE_SEEN
            commit.event(what, attempt, native_state=batch.native_state, done=done, total=total)


def _had_no_input(batch: RemoteBatch) -> bool:
    """The batch never ran: its input file was gone before it was looked at (by the fence, or by the provider)."""
    failed = batch.phase is Phase.FAILED and not batch.answer_files
    return failed and any(names_a_missing_file(error.message) for error in batch.errors)


def _refused_for_room(bench: Bench, attempt: AttemptRow, batch: RemoteBatch) -> None:
    """No room is not a failure: the file stays for the next create, or, too large by itself, the shard is split."""
    with bench.admission:
        _make_room(bench, attempt, batch)


def _make_room(bench: Bench, attempt: AttemptRow, batch: RemoteBatch) -> None:
    shard = bench.shard(attempt)
    _, others = bench.enqueued(attempt)
    limit = batch.backpressure_limit_tokens
    if limit is not None:
        with bench.commit() as commit:
            commit.work.learn_limit(bench.run.account, bench.run.model, limit, bench.now())
    # Room is freed with a lag, of up to a day as users report: what is far below the limit is not what is too large.
    fits = limit is not None and shard.tokens <= limit // 2
    if others == 0 and shard.requests > 1 and not fits:
        split_shard(bench, attempt, shard, limit)
        return
    if others == 0 and limit is not None and shard.tokens > limit:
        # One request cannot be halved, and there will never be more room than this.
        with bench.commit() as commit:
            code, message = batch.errors[0].code, batch.errors[0].message
            commit.move(attempt, AttemptState.REFUSED, batch_id=None, error_code=code, error_message=message)
            commit.event(Happened.REFUSED, attempt, code=code, error=message)
        return
    bench.refused.discard(batch.id)
    bench.crowds[attempt.id] = others and max(1, others - len(bench.refused))
    refusals = attempt.refusals + 1
    wait_s = backoff_s(refusals + 4)
    with bench.commit() as commit:
        commit.work.wake_waiting(bench.run.id, bench.now())  # the others: their chance has come
        commit.move(
            attempt,
            AttemptState.UPLOADED,
            due_in_s=wait_s,
            batch_id=None,
            native_state=None,
            created_at=None,
            expires_at=None,
            refusals=refusals,
            tag=tag(bench.run.id, shard.no, attempt.no, refusals),
        )
        commit.event(Happened.NO_ROOM, attempt, limit_tokens=limit, wait_s=wait_s)


def _sweep(bench: Bench, batch: RemoteBatch) -> None:
    """Cancel a batch that carries a tag of this run although the attempt has another batch, or was given up."""
    ours = (batch.tag or "").startswith(run_prefix(bench.run.id))
    if not ours or batch.phase.ended or batch.phase is Phase.CANCELLING:
        return
    for attempt in bench.ledger.attempts(bench.run.id):
        if attempt.tag == batch.tag and attempt.batch_id != batch.id:
            owned_elsewhere = attempt.batch_id is not None
            if owned_elsewhere or attempt.state in FINAL:
                cancel_double(bench, attempt, batch)
            return


def fetch(bench: Bench, attempt: AttemptRow) -> None:
    """ended → fetched: every answer file is on disk, whole."""
    assert attempt.batch_id is not None
    shard = bench.shard(attempt)
    name = bench.file_name(attempt, shard)
    into = bench.folder.answers(name)
    try:
        batch = bench.seen.get(attempt.batch_id) or bench.perform(bench.provider.get(attempt.batch_id))
        if not batch.phase.ended:
            batch = bench.perform(bench.provider.get(attempt.batch_id))
        files = bench.perform(bench.provider.fetch(batch, into))
        if _is_short(bench, batch, files) and attempt.tries < LATE_OUTPUT_TRIES:
            bench.seen.pop(attempt.batch_id, None)
            # Where nobody names its size, a download that broke off looks whole: it is begun anew.
            for file in files:
                _put_aside(file)
            with bench.commit() as commit:
                commit.keep(attempt, due_in_s=LATE_OUTPUT_S, tries=attempt.tries + 1)
            return
        # A batch that was stopped may have run for nothing; one that succeeded has been paid for.
        if not files and batch.phase is Phase.SUCCEEDED and batch.counts is not None and batch.counts.succeeded:
            raise NoDestination(
                f"batch {batch.id} answered {batch.counts.succeeded} requests and names no file for them",
                batch_id=batch.id,
                state=batch.native_state,
            )
    except (NotFound, Forbidden, NoDestination) as error:
        # What came short before is more than nothing.
        if attempt.tries >= LATE_OUTPUT_TRIES:
            _bring_back(into)
            if files := bench.folder.answer_files(name):
                _fetched(bench, attempt, files)
                return
        # A proxy that lets nothing through says nothing about the answers.
        shut_out = isinstance(error, Forbidden) and is_somebody_elses(error)
        if attempt.tries < (bench.settings.patience if shut_out else LATE_OUTPUT_TRIES):
            bench.seen.pop(attempt.batch_id, None)
            postpone(bench, attempt, "fetch", error)
            return
        with bench.commit() as commit:
            attempt = commit.move(attempt, AttemptState.FETCHED, error_code=ANSWERS_GONE, error_message=error.message)
            commit.event(Happened.ANSWERS_GONE, attempt, error=error.message)
        return
    except NonoError as error:
        postpone(bench, attempt, "fetch", error)
        return
    _bring_back(into)
    _fetched(bench, attempt, bench.folder.answer_files(name) or files)


def _fetched(bench: Bench, attempt: AttemptRow, files: list[Path]) -> None:
    with bench.commit() as commit:
        attempt = commit.move(attempt, AttemptState.FETCHED)
        commit.event(Happened.FETCHED, attempt, files=len(files), bytes=sum(file.stat().st_size for file in files))


def _put_aside(file: Path) -> None:
    """Keep the larger one of what came short now and what came short before."""
    aside = file.with_name(f"{file.name}.short.part")
    if aside.exists() and aside.stat().st_size >= file.stat().st_size:
        file.unlink()
    else:
        file.replace(aside)


def _bring_back(into: Path) -> None:
    """Let each answer file of an attempt be as long as it ever came; what is short of that goes."""
    for aside in sorted(into.glob("*.short.part")):
        file = aside.with_name(aside.name.removesuffix(".short.part"))
        if file.exists() and file.stat().st_size >= aside.stat().st_size:
            aside.unlink()
        else:
            aside.replace(file)


def _is_short(bench: Bench, batch: RemoteBatch, files: list[Path]) -> bool:
    """Whether the counters promise more answers than came: an output that is not named yet, or not all of it.

    There may be more lines than the counters say: what never ran is counted nowhere.
    """
    counts = batch.counts
    if counts is None or not counts.total:
        return batch.phase is Phase.SUCCEEDED and not files
    lines = sum(1 for _ in _lines(files))
    if lines >= counts.total:
        return False
    # Lines of what never ran could stand for answers that are missing: only now they are looked at.
    return lines < counts.succeeded + counts.failed or _successes(bench, files) < counts.succeeded


def _successes(bench: Bench, files: list[Path]) -> int:
    count = 0
    for line in _lines(files):
        with suppress(BadLine):
            count += bench.provider.decode(line).outcome is Outcome.SUCCEEDED
    return count


def _lines(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            yield from (line for line in split_lines(file) if line and not line.isspace())


def clean(bench: Bench, attempt: AttemptRow) -> None:
    """verified → cleaned: what is settled and on disk here need not lie at the provider."""
    assert attempt.file_id is not None and attempt.batch_id is not None
    # Answers that could not be fetched stay where they may be: a person may get at them yet.
    if bench.settings.provider_files == "delete" and attempt.error_code != ANSWERS_GONE:
        try:
            batch = bench.seen.get(attempt.batch_id)
            if batch is None or batch.input_file_id != attempt.file_id:  # otherwise it goes with its batch
                bench.perform(bench.provider.delete_file(attempt.file_id))
            batch = batch or bench.perform(bench.provider.get(attempt.batch_id))
            bench.perform(bench.provider.delete_batch(batch))
        except NotFound:
            pass
        except NonoError as error:
            if attempt.tries < CLEAN_TRIES and error.transient:
                postpone(bench, attempt, "clean", error)
                return
            with bench.commit() as commit:
                commit.event(Happened.NOT_CLEANED, attempt, error=error.message)
    bench.seen.pop(attempt.batch_id, None)
    with bench.commit() as commit:
        commit.move(attempt, AttemptState.CLEANED)
        commit.event(Happened.CLEANED, attempt)


__all__ = ["abandon", "check", "clean", "fetch", "poll", "see"]
