"""From a shard file to a batch, never two: the file's upload, the intent, and one POST.

Creating a batch is not idempotent and has no idempotency key at either provider. So the intent is committed with the
tag that travels inside the batch, and the POST goes out once. An answer that says "certainly nothing happened" leads
back to the uploaded file, or to the end; whatever is unclear is left to `reconciling`.
"""

from __future__ import annotations

from nono.errors import (
    AnswerLost,
    Forbidden,
    InvalidRequest,
    KeyRefused,
    NonoError,
    NotFound,
    NotSent,
    OutOfQuota,
    RateLimited,
)
from nono.model import RemoteBatch
from nono.runs import admission
from nono.runs.bench import Bench, Commit, RunStops, backoff_s, postpone, stop_if_account_is_refused, tag
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState
from nono.runs.shards import split_shard

# "Cannot find file" right after an upload is lag in the provider's storage, so often at least.
FILE_LAG_TRIES = 6
# So often a shard gets a new file when the one that it had is gone; what eats files faster than that, a person mends.
MOST_FILES = 5
# Answers that say what the request is, not how the provider feels. A conflict (409) is neither: it is asked about.
PERMANENT = (InvalidRequest, NotFound, Forbidden)
# After these a create has certainly had no effect.
CERTAIN = (NotSent, RateLimited, KeyRefused, OutOfQuota, *PERMANENT)
# A 403 or 404 in nobody's words (a proxy's page, half an answer) may pass: so often it is tried again (half a minute).
FOREIGN_TRIES = 5
# A 429 says "too many requests" or "too many tokens enqueued", and not which. So often (about a minute) it is taken for
# the first; and no account is known whose limit of enqueued tokens is smaller than this (Azure's smallest deployment).
PACE_TRIES = 6
SMALLEST_LIMIT_TOKENS = 30_000


def begin_upload(bench: Bench, attempt: AttemptRow) -> admission.Wait | None:
    """planned → file_intent → uploaded; only when the batch has a chance to be created soon: files do not live long."""
    if bench.adopts is not None and bench.shard(attempt).no == 0:
        take_over(bench, attempt)
        return None
    with bench.admission:
        verdict = _admit(bench, attempt)
        if verdict is not admission.GRANTED:
            return verdict
        with bench.commit() as commit:
            attempt = commit.move(attempt, AttemptState.FILE_INTENT)
    _upload(bench, attempt)
    return None


def resume_upload(bench: Bench, attempt: AttemptRow) -> None:
    """file_intent → uploaded, when an upload may have arrived already: it is looked for by its name first."""
    shard = bench.shard(attempt)
    name = bench.file_name(attempt, shard)
    try:
        found = bench.perform(bench.provider.find_file(name))
        if found is not None and found.size_bytes == shard.file_bytes:
            _uploaded(bench, attempt, found.id, shard.file_bytes)
            return
        if found is not None:
            bench.perform(bench.provider.delete_file(found.id))
    except NonoError as error:
        _upload_failed(bench, attempt, error)
        return
    _upload(bench, attempt)


def _upload(bench: Bench, attempt: AttemptRow) -> None:
    shard = bench.shard(attempt)
    path = bench.folder.shard_file(shard.no)
    try:
        file = bench.perform(bench.provider.upload(path, name=bench.file_name(attempt, shard)))
    except NonoError as error:
        _upload_failed(bench, attempt, error)
        return
    _uploaded(bench, attempt, file.id, shard.file_bytes)


def _uploaded(bench: Bench, attempt: AttemptRow, file_id: str, file_bytes: int) -> None:
    with bench.commit() as commit:
        attempt = commit.move(attempt, AttemptState.UPLOADED, file_id=file_id)
        commit.event(Happened.UPLOADED, attempt, file_id=file_id, bytes=file_bytes)


def _upload_failed(bench: Bench, attempt: AttemptRow, error: NonoError) -> None:
    if isinstance(error, InvalidRequest) and not is_somebody_elses(error):
        _refuse(bench, attempt, error.code or "upload_refused", error.message)
    elif isinstance(error, (NotFound, Forbidden)) and not (is_somebody_elses(error) and attempt.tries < FOREIGN_TRIES):
        # Not about this file: the address or the key's rights are wrong, and no other file will fare better.
        raise RunStops("upload_refused", error.message, hint=error.hint) from error
    else:
        postpone(bench, attempt, "upload", error)


def submit(bench: Bench, attempt: AttemptRow) -> admission.Wait | None:
    """uploaded → create_intent → created | uploaded | refused | reconcile: the one POST of this intent."""
    with bench.admission:
        verdict = _admit(bench, attempt)
        if verdict is not admission.GRANTED:
            return verdict
        with bench.commit() as commit:
            attempt = commit.move(attempt, AttemptState.CREATE_INTENT, tries=attempt.tries)
            commit.event(Happened.CREATE_SENT, attempt, tag=attempt.tag)
    assert attempt.file_id is not None
    try:
        batch = bench.perform(bench.provider.create(file_id=attempt.file_id, task=bench.task, tag=attempt.tag))
    except NonoError as error:
        if isinstance(error, CERTAIN) and not is_somebody_elses(error):
            _without_effect(bench, attempt, error)
        else:
            _unclear(bench, attempt, error)
    else:
        created(bench, attempt, batch, Happened.CREATED)
    return None


def _admit(bench: Bench, attempt: AttemptRow) -> admission.Wait | None:
    """GRANTED if the shard may go on; the wait that it needs; or None when it is being split instead."""
    shard = bench.shard(attempt)
    match admission.decide(bench, attempt, shard):
        case admission.Stop(reason, message):
            raise RunStops(reason, message, hint="raise the limit and run `nono resume`")
        case admission.Halve(limit):
            split_shard(bench, attempt, shard, limit)
            return None
        case verdict:
            return verdict


def _without_effect(bench: Bench, attempt: AttemptRow, error: NonoError) -> None:
    """The provider (or the network) said no before anything happened: back to the uploaded file, or the end."""
    if isinstance(error, PERMANENT):
        file_is_missing = names_a_missing_file(error.message)
        if file_is_missing and attempt.tries >= FILE_LAG_TRIES and attempt.no < MOST_FILES:
            abandon(bench, attempt, error.message)
            return
        if not file_is_missing or attempt.tries >= FILE_LAG_TRIES:
            _refuse(bench, attempt, error.code or "create_refused", error.message)
            return
    wait_s = backoff_s(attempt.tries, getattr(error, "retry_after_s", None))
    with bench.commit() as commit:
        after = commit.move(attempt, AttemptState.UPLOADED, due_in_s=wait_s, tries=attempt.tries + 1)
        commit.event(Happened.CREATE_WITHOUT_EFFECT, attempt, error=error.message, wait_s=wait_s)
    stop_if_account_is_refused(error)
    if isinstance(error, RateLimited) and after.tries >= PACE_TRIES:
        _halve_if_alone(bench, after)


def _halve_if_alone(bench: Bench, attempt: AttemptRow) -> None:
    """A 429 that does not pass although nothing of ours is at work may mean that the shard is too large by itself."""
    shard = bench.shard(attempt)
    with bench.admission:
        _, others = bench.enqueued(attempt)
        if others == 0 and shard.requests > 1 and shard.tokens > SMALLEST_LIMIT_TOKENS:
            split_shard(bench, attempt, shard, None)


def is_somebody_elses(error: NonoError) -> bool:
    """A refusal that is not in the API's words: a proxy's page, or half an answer."""
    return isinstance(error, PERMANENT) and not isinstance(error.body, dict)


def names_a_missing_file(message: str) -> bool:
    text = message.lower()
    return ("file" in text or "object" in text) and any(
        sign in text for sign in ("cannot find", "not found", "no such", "not exist")
    )


def _unclear(bench: Bench, attempt: AttemptRow, error: NonoError) -> None:
    with bench.commit() as commit:
        attempt = commit.move(attempt, AttemptState.RECONCILE)
        commit.event(Happened.CREATE_UNCLEAR, attempt, error=error.message)


def resume_create(bench: Bench, attempt: AttemptRow) -> None:
    """create_intent → reconcile: this process did not send that POST, so what became of it is unknown."""
    _unclear(bench, attempt, AnswerLost("the process ended between the intent and the answer"))


def abandon(bench: Bench, attempt: AttemptRow, reason: str) -> None:
    """Give an attempt up and make the next one, with a new file, in the same transaction."""
    shard = bench.shard(attempt)
    with bench.commit() as commit:
        commit.move(attempt, AttemptState.ABANDONED, batch_id=None)
        commit.event(Happened.ABANDONED, attempt, reason=reason)
        number = attempt.no + 1
        commit.work.insert_attempt(
            bench.run.id, shard.id, no=number, tag=tag(bench.run.id, shard.no, number, 0), due_at=bench.now()
        )


def take_over(bench: Bench, attempt: AttemptRow) -> None:
    """planned → created, with the batch that the run adopts. Raises NotFound if it does not exist."""
    assert bench.adopts is not None
    batch = bench.perform(bench.provider.get(bench.adopts))
    file_id = batch.input_file_id or "unknown"
    # In one transaction: between these moves nothing is sent, and nothing may be fenced off.
    with bench.commit() as commit:
        for state in (AttemptState.FILE_INTENT, AttemptState.UPLOADED, AttemptState.CREATE_INTENT):
            attempt = commit.move(attempt, state, file_id=file_id)
        _enter_batch(commit, attempt, batch, Happened.ADOPTED)
    bench.seen[batch.id] = batch


def created(bench: Bench, attempt: AttemptRow, batch: RemoteBatch, how: Happened) -> None:
    """→ created: the attempt has its batch."""
    bench.seen[batch.id] = batch
    with bench.commit() as commit:
        _enter_batch(commit, attempt, batch, how)


def _enter_batch(commit: Commit, attempt: AttemptRow, batch: RemoteBatch, how: Happened) -> None:
    attempt = commit.move(
        attempt,
        AttemptState.CREATED,
        batch_id=batch.id,
        native_state=batch.native_state,
        created_at=commit.bench.now(),
        expires_at=int(batch.expires_at.timestamp() * 1000) if batch.expires_at else None,
    )
    commit.event(how, attempt, batch_id=batch.id)


def _refuse(bench: Bench, attempt: AttemptRow, code: str, message: str) -> None:
    with bench.commit() as commit:
        commit.move(attempt, AttemptState.REFUSED, error_code=code, error_message=message)
        commit.event(Happened.REFUSED, attempt, code=code, error=message)
