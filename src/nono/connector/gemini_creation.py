"""How a Gemini job comes to be, as flows: from requests, from a file here, from one at the service.

Everything is looked at before anything is sent, and the creating call is sent exactly once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nono.errors import AnswerLost, InputError, NonoError, ProviderUnavailable, UnreadableAnswer
from nono.exchange import Flow, Work
from nono.files import source_path
from nono.providers.gemini import flows, uploads
from nono.providers.gemini.check import check_file, check_inline
from nono.providers.gemini.defaults import needs_writing, write_complete
from nono.providers.gemini.translate import GENERATE
from nono.providers.gemini.wire import File, Job
from nono.providers.vertex.flows import VertexJobs

StrPath = str | os.PathLike[str]
_VERTEX_SOURCES = ("gcs_uri", "bigquery_uri")
# After these nobody knows whether there is a job.
_UNKNOWN = (AnswerLost, UnreadableAnswer, ProviderUnavailable)


@dataclass(frozen=True, slots=True)
class Order:
    """What is the same for every way to create a job. `defaults` are merged into each request."""

    model: str
    display_name: str | None = None
    endpoint: str = GENERATE
    check: bool = True
    defaults: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    webhook: Any = None
    dest: str | None = None


def from_inline(vertex: VertexJobs | None, order: Order, requests: Iterable[Any]) -> Flow[Job]:
    refuse_on_vertex(vertex, "requests inside a job")
    flows.model_path(order.model)
    items = yield Work(_checked, (order, requests))
    return (yield from _create(order, requests=items))


def from_file(vertex: VertexJobs | None, order: Order, file_path: StrPath | None, uploaded: Any) -> Flow[Job]:
    """From a file here, which is checked, completed and uploaded, or from one that is uploaded already."""
    refuse_on_vertex(vertex, "a file that is uploaded with the job")
    if (file_path is None) == (uploaded is None):
        raise InputError(
            "a job is made from one input file: file_path or uploaded_file_name",
            hint="give exactly one; a path is checked and uploaded first",
        )
    flows.model_path(order.model)
    if uploaded is not None:
        if order.defaults:
            raise InputError(
                f"{', '.join(order.defaults)} cannot be merged into a file that is uploaded already: "
                "the service gives no upload back",
                hint="pass the file here as file_path=, or put them into its requests",
            )
        return (yield from _create(order, file_name=flows.file_name(getattr(uploaded, "name", uploaded))))
    path = source_path(file_path or "")
    file = yield from _upload(order, path)
    try:
        return (yield from _create(order, file_name=file.name))
    except _UNKNOWN:
        raise
    except NonoError as error:
        again = f"there is no job; create_file_batch(uploaded_file_name={file.name!r}) tries again without an upload"
        error.hint = f"{error.hint}; {again}" if error.hint else again
        raise


def from_embeddings(
    vertex: VertexJobs | None,
    order: Order,
    requests: Iterable[Any] | None,
    file_path: StrPath | None,
    uploaded: str | None,
) -> Flow[Job]:
    refuse_on_vertex(vertex, "a job that makes vectors")
    if requests is None:
        return from_file(vertex, order, file_path, uploaded)
    if file_path is not None or uploaded is not None:
        raise InputError("requests and a file", hint="give exactly one of requests, file_path, uploaded_file_name")
    return from_inline(vertex, order, requests)


def from_source(vertex: VertexJobs | None, order: Order, sources: Mapping[str, Any]) -> Flow[Job]:
    """From the one source that is given among `file_path`, `file_name`, `requests`, `gcs_uri`, `bigquery_uri`."""
    name = only_source(sources)
    given = sources[name]
    if name in _VERTEX_SOURCES:
        return _from_storage(vertex, order, name, given)
    if order.dest is not None:
        raise InputError(
            "dest is Vertex AI's; the Developer API keeps the answers of a job itself", hint="leave it out"
        )
    if name == "requests":
        return from_inline(vertex, order, given)
    return from_file(vertex, order, given if name == "file_path" else None, given if name == "file_name" else None)


def _from_storage(vertex: VertexJobs | None, order: Order, name: str, given: Any) -> Flow[Job]:
    if vertex is None:
        raise InputError(
            f"{name} is a source of Vertex AI; the Developer API reads files that were uploaded to it",
            hint="GeminiBatchService(vertexai=True, project=…, location=…) reads it; here use file_path=",
        )
    settings = [*order.defaults]
    settings += [word for word in ("priority", "webhook") if getattr(order, word) is not None]
    if settings:
        raise InputError(
            f"Vertex AI has no {', '.join(settings)} for a whole job",
            hint="put it into each request: create_jsonl_file() writes them, upload_file(…, name='gs://…') stores them",
        )
    try:
        return (yield from vertex.create(order.model, {name: given}, dest=order.dest, display_name=order.display_name))
    except _UNKNOWN as error:
        error.hint = _look_first(order)
        raise


def refuse_on_vertex(vertex: VertexJobs | None, what: str) -> None:
    if vertex is not None:
        raise InputError(
            f"Vertex AI's batches have no place for {what}: they read Cloud Storage and BigQuery",
            hint="upload_file(path, name='gs://bucket/in.jsonl'), then create_batch(model, gcs_uri='gs://bucket/in.jsonl')",
        )


def only_source(sources: Mapping[str, Any]) -> str:
    """The name of the one source that is given. Raises InputError for none, and for several."""
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        found = f"{' and '.join(given)} are given" if given else "none is given"
        raise InputError(f"a job has one source, and {found}", hint=f"give exactly one of {', '.join(sources)}")
    return given[0]


def _checked(order: Order, requests: Iterable[Any]) -> list[dict[str, Any]]:
    return check_inline(requests, endpoint=order.endpoint, fields=order.check, defaults=order.defaults)


def _upload(order: Order, path: Path) -> Flow[File]:
    """Upload a file as it is, or, where something is missing in its lines, a copy that has it."""
    looked_at = order.endpoint == GENERATE and (order.check or order.defaults)
    if not (looked_at and (yield Work(needs_writing, (path, order.defaults)))):
        if order.check:
            yield Work(_check, (path, order.endpoint, path))
        return (yield from uploads.upload(path, display_name=order.display_name))
    with tempfile.TemporaryDirectory(prefix="nono-") as folder:
        copy = Path(folder) / path.name
        yield Work(write_complete, (path, copy, order.defaults))
        if order.check:
            yield Work(_check, (copy, order.endpoint, path))
        return (yield from uploads.upload(copy, display_name=order.display_name))


def _check(path: Path, endpoint: str, called: Path) -> None:
    check_file(path, endpoint=endpoint, called=called)


def _create(order: Order, **source: Any) -> Flow[Job]:
    try:
        return (
            yield from flows.create(
                order.model,
                display_name=order.display_name,
                endpoint=order.endpoint,
                priority=order.priority,
                webhook=order.webhook,
                **source,
            )
        )
    except _UNKNOWN as error:
        error.hint = _look_first(order)
        raise


def _look_first(order: Order) -> str:
    look = f"a job named {order.display_name!r}" if order.display_name else "a new job"
    return f"it may exist: look for {look} in list_jobs() before another try, which could run and cost twice"
