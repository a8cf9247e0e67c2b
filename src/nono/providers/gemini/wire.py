"""The wire as values: jobs and files as the service sends them, parsed so that no legal answer is lost or fatal.

A job is a long-running operation whose `metadata` is the batch. What the official SDK drops is kept (its error, its
counters, its source), and both spellings of everything are read: `BATCH_STATE_*` and `JOB_STATE_*`, the output in
`metadata.output` and in `response`, camelCase and snake_case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from nono.errors import UnreadableAnswer
from nono.facts import read_facts
from nono.model import Counts, Phase, RemoteBatch, RemoteFile
from nono.providers.gemini.answers import InlineResult, parse_inline
from nono.providers.gemini.status import request_error

# https://ai.google.dev/api/batch-api (BatchState), and the longer list of Vertex AI's JobState.
PHASES = {
    "JOB_STATE_UNSPECIFIED": Phase.UNKNOWN,
    "JOB_STATE_QUEUED": Phase.PENDING,
    "JOB_STATE_PENDING": Phase.PENDING,
    "JOB_STATE_RUNNING": Phase.RUNNING,
    "JOB_STATE_PAUSED": Phase.RUNNING,
    "JOB_STATE_UPDATING": Phase.RUNNING,
    "JOB_STATE_CANCELLING": Phase.CANCELLING,
    "JOB_STATE_SUCCEEDED": Phase.SUCCEEDED,
    "JOB_STATE_PARTIALLY_SUCCEEDED": Phase.PARTIAL,
    "JOB_STATE_FAILED": Phase.FAILED,
    "JOB_STATE_CANCELLED": Phase.CANCELLED,
    "JOB_STATE_EXPIRED": Phase.EXPIRED,
}
_UNDER_WAY = frozenset({"JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"})


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job ended without answers. `code` is a gRPC code, or whatever the service sent."""

    code: int | str | None
    message: str
    details: Any = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class CompletionStats:
    """A job's own counters; they may lag behind its answers."""

    total_count: int = 0
    success_count: int = 0
    failure_count: int = 0
    pending_count: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """Where a job's requests are; an inline job's are not echoed. The last two are Vertex AI's."""

    file_name: str | None = None
    gcs_uri: tuple[str, ...] | None = None
    bigquery_uri: str | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a job's answers are: in itself, in a file of the service, in Cloud Storage or in BigQuery."""

    inlined_responses: tuple[InlineResult, ...] | None = None
    file_name: str | None = None
    gcs_uri: str | None = None
    bigquery_uri: str | None = None

    @property
    def inlined_embed_content_responses(self) -> tuple[InlineResult, ...] | None:
        """The inlined answers of an embeddings job; each has its `vector`."""
        found = self.inlined_responses
        return found if found and any(item.vector is not None for item in found) else None


@dataclass(frozen=True, slots=True)
class Job:
    """A batch job as it was when it was asked for.

    `state` is `JOB_STATE_*`; a state that this version has never heard of stands as the service spelled it. `raw` is
    the whole operation. `error` and `completion_stats` are None where the service sent none.
    """

    name: str
    state: str
    display_name: str | None = None
    model: str | None = None
    src: Source | None = None
    dest: Destination | None = None
    create_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    update_time: datetime | None = None
    error: JobError | None = None
    completion_stats: CompletionStats | None = None
    operation_done: bool = field(default=False, repr=False)
    raw: Any = field(default=None, repr=False, compare=False)

    @property
    def phase(self) -> Phase:
        """The state in common terms.

        A state never heard of is not the end, unless the operation itself says `done`.
        """
        phase = PHASES.get(self.state, Phase.UNKNOWN)
        if phase is Phase.UNKNOWN and self.operation_done:
            return Phase.PARTIAL if self.dest else Phase.FAILED
        return phase

    @property
    def complete(self) -> bool:
        """It has ended, well or badly."""
        return self.phase.ended

    done = complete

    @property
    def succeeded(self) -> bool:
        """It ended as a whole; single requests may have failed nevertheless."""
        return self.state == "JOB_STATE_SUCCEEDED"

    @property
    def partially_succeeded(self) -> bool:
        return self.state == "JOB_STATE_PARTIALLY_SUCCEEDED"

    @property
    def failed(self) -> bool:
        return self.state == "JOB_STATE_FAILED"

    @property
    def cancelled(self) -> bool:
        return self.state == "JOB_STATE_CANCELLED"

    @property
    def expired(self) -> bool:
        return self.state == "JOB_STATE_EXPIRED"

    @property
    def running(self) -> bool:
        """Queued, pending or running."""
        return self.state in _UNDER_WAY

    @property
    def progress(self) -> float | None:
        """Percent of the requests that have their answer or their error; None while the service does not count."""
        stats = self.completion_stats
        if stats is None or stats.total_count <= 0:
            return None
        return (stats.success_count + stats.failure_count) / stats.total_count * 100

    @property
    def id(self) -> str:
        """`abc` of `batches/abc`; any other name stays whole."""
        collection, _, rest = self.name.partition("/")
        return rest if collection in ("batches", "batchPredictionJobs") and rest and "/" not in rest else self.name


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a listing. The listing does not carry inlined answers: get each job for those."""

    jobs: tuple[Job, ...]
    next_page_token: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A file at the service. Uploads expire after 48 hours."""

    name: str
    display_name: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    create_time: datetime | None = None
    expiration_time: datetime | None = None
    sha256_hash: str | None = None
    uri: str | None = None
    state: str | None = None
    raw: Any = field(default=None, repr=False, compare=False)


def parse_job(operation: Any) -> Job:
    """An operation as a job. Raises UnreadableAnswer for what is not one."""
    if not isinstance(operation, Mapping) or not isinstance(operation.get("name"), str):
        raise UnreadableAnswer(f"the answer is not a batch: {str(operation)[:80]!r}")
    metadata = _mapping(operation.get("metadata"))
    done = operation.get("done") is True
    error = parse_error(operation.get("error") or metadata.get("error"))
    dest = _parse_output(_pick(metadata, "output")) or _parse_output(operation.get("response"))
    file_name = _text(_pick(_mapping(_pick(metadata, "inputConfig", "input_config")), "fileName", "file_name"))
    return Job(
        name=operation["name"],
        state=_state(_text(metadata.get("state")), done=done, failed=error is not None),
        display_name=_text(_pick(metadata, "displayName", "display_name")),
        model=_text(metadata.get("model")),
        src=Source(file_name) if file_name else None,
        dest=dest,
        create_time=parse_time(_pick(metadata, "createTime", "create_time")),
        start_time=parse_time(_pick(metadata, "startTime", "start_time")),
        end_time=parse_time(_pick(metadata, "endTime", "end_time")),
        update_time=parse_time(_pick(metadata, "updateTime", "update_time")),
        error=error,
        completion_stats=_parse_stats(_pick(metadata, "batchStats", "batch_stats")),
        operation_done=done,
        raw=operation,
    )


def parse_job_page(answer: Any) -> JobPage:
    listing = _mapping(answer)
    operations = listing.get("operations")
    jobs = tuple(parse_job(operation) for operation in operations) if isinstance(operations, list) else ()
    return JobPage(jobs, _text(listing.get("nextPageToken")))  # "" ends the listing like a missing one


def parse_file(answer: Any) -> File:
    """A File, bare or as `{"file": File}`. Raises UnreadableAnswer for what is not one."""
    file = answer.get("file", answer) if isinstance(answer, Mapping) else None
    if not isinstance(file, Mapping) or not isinstance(file.get("name"), str):
        raise UnreadableAnswer(f"the answer is not a file: {str(answer)[:80]!r}")
    return File(
        name=file["name"],
        display_name=_text(_pick(file, "displayName", "display_name")),
        mime_type=_text(_pick(file, "mimeType", "mime_type")),
        size_bytes=_int(_pick(file, "sizeBytes", "size_bytes")),
        create_time=parse_time(_pick(file, "createTime", "create_time")),
        expiration_time=parse_time(_pick(file, "expirationTime", "expiration_time")),
        sha256_hash=_text(_pick(file, "sha256Hash", "sha256_hash")),
        uri=_text(file.get("uri")),
        state=_text(file.get("state")),
        raw=file,
    )


def parse_time(value: Any) -> datetime | None:
    """An RFC 3339 instant (nanoseconds are cut to microseconds), or None."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def remote_batch(job: Job) -> RemoteBatch:
    """A job in the engine's terms. The tag is the display name."""
    metadata = _mapping(_mapping(job.raw).get("metadata"))
    stats = job.completion_stats
    kept = timedelta(seconds=read_facts("gemini").number("service.expires_after_s"))
    return RemoteBatch(
        id=job.name,
        native_state=_text(metadata.get("state")) or job.state,
        phase=job.phase,
        tag=job.display_name,
        input_file_id=job.src.file_name if job.src else None,
        answer_files=(job.dest.file_name,) if job.dest and job.dest.file_name else (),
        counts=Counts(stats.total_count, stats.success_count, stats.failure_count) if stats else None,
        created_at=job.create_time,
        ended_at=job.end_time or (job.update_time if job.complete else None),
        expires_at=job.create_time + kept if job.create_time else None,
        errors=(request_error({"code": job.error.code, "message": job.error.message}),) if job.error else (),
        raw=job.raw,
    )


def remote_file(file: File) -> RemoteFile:
    return RemoteFile(file.name, file.display_name, file.size_bytes, file.create_time, file.expiration_time)


def _state(native: str | None, *, done: bool, failed: bool) -> str:
    state = (native or "JOB_STATE_UNSPECIFIED").upper()
    ours = "JOB_STATE_" + state.removeprefix("BATCH_STATE_").removeprefix("JOB_STATE_")
    if ours == "JOB_STATE_UNSPECIFIED" and done:
        return "JOB_STATE_FAILED" if failed else "JOB_STATE_SUCCEEDED"
    return ours if ours in PHASES else native or ours


def parse_error(error: Any) -> JobError | None:
    if not error:
        return None
    if not isinstance(error, Mapping):
        return JobError(None, str(error))
    return JobError(error.get("code"), str(error.get("message") or ""), error.get("details"))


def _parse_output(output: Any) -> Destination | None:
    output = _mapping(output)
    file_name = _text(_pick(output, "responsesFile", "responses_file", "fileName"))
    items = _pick(output, "inlinedResponses", "inlined_responses")
    if isinstance(items, Mapping):  # the list is wrapped once more; an empty one is `{}`
        items = _pick(items, "inlinedResponses", "inlined_responses") or []
    inlined = tuple(parse_inline(item) for item in items) if isinstance(items, list) else None
    return Destination(inlined, file_name) if inlined is not None or file_name else None


def _parse_stats(stats: Any) -> CompletionStats | None:
    if not isinstance(stats, Mapping):
        return None
    names = ("requestCount", "successfulRequestCount", "failedRequestCount", "pendingRequestCount")
    return CompletionStats(*(_int(stats.get(name)) or 0 for name in names))  # zeros are left out on the wire


def _pick(mapping: Mapping[str, Any], *names: str) -> Any:
    """The first of several spellings that is there."""
    return next((mapping[name] for name in names if mapping.get(name) is not None), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _int(value: Any) -> int | None:
    """An int64, which JSON carries as a text."""
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
