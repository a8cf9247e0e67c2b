"""The wire as values: a `BatchPredictionJob` becomes the same `Job` that the Developer API's batches become.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.batchPredictionJobs
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from nono.errors import InputError, UnreadableAnswer
from nono.facts import read_facts
from nono.model import Counts, Phase, RemoteBatch, RemoteFile
from nono.providers.gemini.status import request_error
from nono.providers.gemini.wire import (
    PHASES,
    CompletionStats,
    Destination,
    File,
    Job,
    JobPage,
    Source,
    parse_error,
    parse_time,
)
from nono.providers.vertex.storage import split_uri

_FACTS = read_facts("vertex")
# A job waits for its turn, and then it runs; what takes longer expires.
_KEPT = timedelta(seconds=_FACTS.number("service.queued_s") + _FACTS.number("service.window_s"))
_ENDED_BADLY = (Phase.FAILED, Phase.CANCELLED, Phase.EXPIRED)


def job_body(model: str, source: Mapping[str, Any], dest: str | None, display_name: str, unique: str) -> dict[str, Any]:
    """The body of a create. Without `dest` the answers go beside the source, where the official SDK puts them, too."""
    if (table := source.get("bigquery_uri")) is not None:
        read: dict[str, Any] = {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": table_uri(table)}}
        dest = dest or f"{table}_dest_{unique}"
    else:
        given = source["gcs_uri"]
        uris = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else []
        for uri in uris:
            split_uri(uri)
        if not uris:
            raise InputError("gcs_uri is one gs:// address, or a list of them", hint="gcs_uri='gs://bucket/in.jsonl'")
        read = {"instancesFormat": "jsonl", "gcsSource": {"uris": uris}}
        if dest is None:
            if len(uris) > 1 or not uris[0].endswith(".jsonl"):
                raise InputError(
                    "where the answers go is not clear from the source", hint="name it: dest='gs://bucket/folder'"
                )
            dest = f"{uris[0].removesuffix('.jsonl')}/dest"
    return {"model": model_name(model), "inputConfig": read, "displayName": display_name, "outputConfig": _write(dest)}


def _write(dest: str) -> dict[str, Any]:
    if isinstance(dest, str) and dest.startswith("bq://"):
        return {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": dest}}
    split_uri(dest, folder=True)
    return {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": dest}}


def model_name(model: str) -> str:
    """`publishers/google/models/x` for a bare name. Raises InputError for what is no name."""
    if not isinstance(model, str) or not re.fullmatch(r"[A-Za-z0-9._@/-]+", model) or ".." in model:
        raise InputError(f"not the name of a model: {model!r}", hint='for example "gemini-2.5-flash"')
    if model.startswith(("publishers/", "projects/", "models/")):
        return model
    publisher, slash, name = model.partition("/")
    return f"publishers/{publisher}/models/{name}" if slash else f"publishers/google/models/{model}"


def table_uri(uri: str) -> str:
    if not isinstance(uri, str) or not re.fullmatch(r"bq://[^\s./]+\.[^\s./]+\.[^\s/]+", uri):
        raise InputError(f"not the address of a table: {uri!r}", hint="bq://project.dataset.table")
    return uri


def parse_job(answer: Any) -> Job:
    """A BatchPredictionJob as a job. Raises UnreadableAnswer for what is not one."""
    if not isinstance(answer, Mapping) or not isinstance(answer.get("name"), str):
        raise UnreadableAnswer(f"the answer is not a batch prediction job: {str(answer)[:80]!r}")
    state = str(answer.get("state") or "JOB_STATE_UNSPECIFIED").upper()
    reads = _mapping(answer.get("inputConfig"))
    uris = _mapping(reads.get("gcsSource")).get("uris")
    return Job(
        name=answer["name"],
        state=state,
        display_name=answer.get("displayName"),
        model=answer.get("model"),
        src=Source(
            gcs_uri=tuple(uris) if isinstance(uris, list) else None,
            bigquery_uri=_mapping(reads.get("bigquerySource")).get("inputUri"),
        ),
        dest=_destination(answer, PHASES.get(state)),
        create_time=parse_time(answer.get("createTime")),
        start_time=parse_time(answer.get("startTime")),
        end_time=parse_time(answer.get("endTime")),
        update_time=parse_time(answer.get("updateTime")),
        error=parse_error(answer.get("error")),
        completion_stats=_stats(answer.get("completionStats")),
        raw=answer,
    )


def parse_job_page(answer: Any) -> JobPage:
    jobs = _mapping(answer).get("batchPredictionJobs")
    token = _mapping(answer).get("nextPageToken")
    return JobPage(tuple(map(parse_job, jobs)) if isinstance(jobs, list) else (), token or None)


def remote_batch(job: Job) -> RemoteBatch:
    """A job in the engine's terms. The tag is the display name; an answer "file" is the folder of its answers."""
    named = named_destination(job.raw)
    stats = job.completion_stats
    sources = (job.src.gcs_uri if job.src else None) or ()
    return RemoteBatch(
        id=job.name,
        native_state=job.state,
        phase=job.phase,
        tag=job.display_name,
        input_file_id=sources[0] if len(sources) == 1 else None,
        answer_files=(named.gcs_uri,) if named and named.gcs_uri else (),
        counts=Counts(stats.total_count, stats.success_count, stats.failure_count) if stats else None,
        created_at=job.create_time,
        ended_at=job.end_time or (job.update_time if job.complete else None),
        expires_at=job.create_time + _KEPT if job.create_time else None,
        errors=(request_error({"code": job.error.code, "message": job.error.message}),) if job.error else (),
        raw=job.raw,
    )


def remote_file(file: File, name: str) -> RemoteFile:
    return RemoteFile(file.name, name, file.size_bytes, file.create_time)


def named_destination(answer: Any) -> Destination | None:
    """The folder or table of this job's answers and of no other's: the service names it when they are there."""
    info = _mapping(_mapping(answer).get("outputInfo"))
    if folder := info.get("gcsOutputDirectory"):
        return Destination(gcs_uri=str(folder))
    if table := info.get("bigqueryOutputTable"):
        dataset = str(info.get("bigqueryOutputDataset") or "")
        whole = str(table) if str(table).startswith("bq://") or not dataset else f"{dataset}.{table}"
        return Destination(bigquery_uri=whole)
    return None


def _destination(answer: Mapping[str, Any], phase: Phase | None) -> Destination | None:
    """Where the answers are, or, while the job runs, below which place they will be; None where it left none."""
    named = named_destination(answer)
    if named or phase in _ENDED_BADLY:
        return named
    writes = _mapping(answer.get("outputConfig"))
    gcs = _mapping(writes.get("gcsDestination")).get("outputUriPrefix")
    bigquery = _mapping(writes.get("bigqueryDestination")).get("outputUri")
    return Destination(gcs_uri=gcs, bigquery_uri=bigquery) if gcs or bigquery else None


def _stats(stats: Any) -> CompletionStats | None:
    """Counters are texts; an `incompleteCount` of -1 says that nobody knows how many there are."""
    if not isinstance(stats, Mapping):
        return None
    succeeded, failed, left = (_int(stats.get(name)) for name in ("successfulCount", "failedCount", "incompleteCount"))
    total = succeeded + failed + left if left >= 0 else 0
    return CompletionStats(total, succeeded, failed, max(left, 0))


def answer_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the answers with an `error` where it has none but a `status` that says what went wrong."""
    status = line.get("status")
    if not status or line.get("error"):
        return dict(line)
    words, _, rest = str(status).partition(": ")
    try:
        inner = msgspec.json.decode(rest)
    except msgspec.MsgspecError:
        inner = None
    error = inner.get("error") if isinstance(inner, Mapping) else None
    return dict(line) | {"error": error if isinstance(error, Mapping) else {"message": str(status), "status": words}}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _int(value: Any) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0
