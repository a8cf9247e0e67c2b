"""Where an ended job's answers are, and in which order: the list inside it, or the name of its answer file."""

from __future__ import annotations

from nono.errors import BigQueryOutput, FileOutput, GcsOutput, InputError, JobFailed, NoDestination, NotComplete
from nono.model import Phase
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.wire import Destination, Job


def inline_answers(job: Job) -> list[InlineResult]:
    """The inlined answers of an ended job, in the order of its requests where our keys tell it.

    Raises NotComplete, JobFailed, NoDestination, or FileOutput and GcsOutput, which name where the answers are.
    """
    dest = _destination(job)
    if dest.inlined_responses is not None:
        return _in_order(dest.inlined_responses, job)
    if dest.file_name:
        raise FileOutput(
            f"{job.name}: the answers are in {dest.file_name}",
            batch_id=job.name,
            place=dest.file_name,
            hint="get_file_results() downloads them",
        )
    raise _elsewhere(job, dest)


def answer_file(job: Job) -> str:
    """The name of an ended job's answer file. Raises as `inline_answers`; InputError if the answers are inline."""
    dest = _destination(job)
    if dest.file_name:
        return dest.file_name
    if dest.inlined_responses is not None:
        raise InputError(f"{job.name}: the answers are inline, not in a file", hint="use get_inline_results()")
    raise _elsewhere(job, dest)


def answer_place(job: Job) -> str:
    """The `gs://` folder or `bq://` table of an ended Vertex AI job's answers. Raises as `inline_answers`."""
    dest = _destination(job)
    return dest.gcs_uri or dest.bigquery_uri or ""


def _elsewhere(job: Job, dest: Destination) -> GcsOutput | BigQueryOutput:
    kind, place = (GcsOutput, dest.gcs_uri) if dest.gcs_uri else (BigQueryOutput, dest.bigquery_uri or "")
    said = f"{job.name}: the answers are in {place}"
    return kind(said, batch_id=job.name, place=place, hint="get_file_results() reads them")


def _destination(job: Job) -> Destination:
    # A state never heard of is not the end; but who asks for answers that are named there gets them.
    if not job.complete and not (job.phase is Phase.UNKNOWN and job.dest):
        raise NotComplete(
            f"{job.name} has not ended yet: {job.state}",
            batch_id=job.name,
            state=job.state,
            hint="wait_for_completion() waits for it",
        )
    if job.dest is not None:
        return job.dest
    if job.succeeded or job.partially_succeeded:
        raise NoDestination(
            f"{job.name} ended as {job.state} but names no place for its answers",
            batch_id=job.name,
            state=job.state,
            hint="the place is sometimes named a little later: try again in a minute",
        )
    why = f": {job.error.message}" if job.error else ""
    hints = {"JOB_STATE_EXPIRED": "the service keeps no answers of an expired job: submit again, or split it"}
    raise JobFailed(
        f"{job.name} ended without answers: {job.state}{why}",
        batch_id=job.name,
        state=job.state,
        details=job.error,
        hint=hints.get(job.state),
    )


def _in_order(items: tuple[InlineResult, ...], job: Job) -> list[InlineResult]:
    """Answers by their number where every one carries a key of ours, each gap filled with an error; else as they came.

    The service has been seen to shuffle inline answers, and people zip them with what they asked.
    """
    numbers = [own_number(item.key) for item in items]
    stats = job.completion_stats
    total = max(len(items), stats.total_count if stats else 0)
    if not items or None in numbers or len(set(numbers)) < len(numbers) or max(n or 0 for n in numbers) > total:
        return list(items)
    by_number = dict(zip(numbers, items, strict=True))
    # An answer without text is false, and still an answer.
    return [by_number[number] if number in by_number else _missing(number) for number in range(1, total + 1)]


def own_key(number: int) -> str:
    """The key that we give to a request that came without one; numbers count from 1."""
    return f"request-{number}"


def own_number(key: str | None) -> int | None:
    digits = (key or "").removeprefix("request-")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else 0
    return number if key == own_key(number) and number > 0 else None


def _missing(number: int) -> InlineResult:
    error = {"code": 5, "status": "MISSING", "message": "the service returned no answer for this request"}
    return InlineResult(error=error, metadata={"key": own_key(number)})
