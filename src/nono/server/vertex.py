"""Vertex AI's half of the server: batch prediction jobs over a stand-in for Cloud Storage.

Jobs are created as the service creates them: at once, whatever their input; a row that cannot be imported fails the
whole job later. BigQuery is not imitated and refused in words that say so.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from nono.providers.gemini.fields import find_misplaced
from nono.providers.gemini.translate import GENERATE
from nono.server.callers import Callers
from nono.server.clock import SECOND_NS
from nono.server.database import IllegalMove
from nono.server.dialect import Answer, Ask, Checked, Kind, Refused, Why
from nono.server.gemini_lines import answer_request
from nono.server.gemini_wire import next_page, page_of
from nono.server.intake import read_object
from nono.server.lane import ask
from nono.server.models import CHAT, Model
from nono.server.records import Batch, File, State
from nono.server.store import new_token
from nono.server.vertex_lines import answer_line, find_problem, unanswered_line
from nono.server.vertex_storage import Storage
from nono.server.vertex_wire import FACTS, PROTOCOL, STATES, is_vertex, job_object, output_folder, refusal, reply

if TYPE_CHECKING:
    from nono.server.app import Core

_FIELDS = frozenset({"model", "displayName", "inputConfig", "outputConfig", "labels", "name"})
_DEFAULT_PAGE = 50
_CALL_BYTES = 20 << 20
_FILE_BYTES = FACTS.number("limits.file_bytes")
_KEPT_S = FACTS.number("service.queued_s") + FACTS.number("service.window_s")
_NO_BIGQUERY = "This local server has no BigQuery: give requests and answers places in Cloud Storage (gs://…)."
# https://cloud.google.com/vertex-ai/docs/reference/rest: filters of a listing, as far as they are understood here.
_FILTER = re.compile(r'\s*(state|display_name|displayName)\s*([=:])\s*"([^"*]*)(\*?)"\s*')


class Vertex:
    """The Dialect of Vertex AI."""

    name = PROTOCOL

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store = core.store
        self._storage = Storage(core)
        self._callers = Callers()

    # over HTTP

    def claims(self, path: str, headers: Headers, query: QueryParams) -> bool:
        return is_vertex(path)

    def routes(self) -> Sequence[BaseRoute]:
        place = "/{version}/projects/{project}/locations/{location}"
        jobs = [f"{parent}/batchPredictionJobs" for parent in (place, "/{version}")]  # without a place: express mode
        model = f"{place}/publishers/{{publisher}}/models/{{model:gemini_word}}:{{method:gemini_word}}"
        routes: list[BaseRoute] = [*self._storage.routes(), Route(model, self._call, methods=["POST"])]
        for base in jobs:
            one = f"{base}/{{job:gemini_word}}"
            routes += [
                Route(base, self._create, methods=["POST"]),
                Route(base, self._list, methods=["GET"]),
                Route(one, self._get, methods=["GET"]),
                Route(one, self._delete, methods=["DELETE"]),
                Route(f"{one}:cancel", self._cancel, methods=["POST"]),
            ]
        return routes

    def refuse(self, refused: Refused, method: str, path: str) -> Response:
        status, message, name = refused.status, refused.message, refused.code
        if path.startswith("/bigquery/"):
            status, message = 501, _NO_BIGQUERY
        elif name in ("missing_api_key", "invalid_api_key"):
            name, message = "UNAUTHENTICATED", "Request had invalid authentication credentials."
        elif status in (404, 405) and message in ("Not Found", "Method Not Allowed"):
            status, message = 404, f"This local server has no call {method} {path[:200]}."
        return refusal(status, message, name)

    def key_of(self, headers: Headers, query: QueryParams) -> str | None:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        return bearer if scheme.lower() == "bearer" else headers.get("x-goog-api-key") or query.get("key")

    def keyless(self, path: str, query: QueryParams) -> bool:
        return False

    def body_limit(self, method: str, path: str) -> int:
        return _FILE_BYTES if path.startswith("/upload/") else _CALL_BYTES

    def reply_headers(self, elapsed_s: float) -> Mapping[str, str]:
        return {}

    async def _create(self, request: Request) -> Response:
        body = await read_object(request)
        batch, uris = self._new_batch(body, _parent(request))
        return reply(job_object(await run_in_threadpool(self._add, batch, uris)))

    def _list(self, request: Request) -> Response:
        """Newest first."""
        size, seen = page_of(request, _DEFAULT_PAGE)
        wanted, parent = _filter(request.query_params.get("filter", "")), _parent(request)
        found: list[Batch] = []
        while len(found) <= size and (page := self._store.batches(PROTOCOL, after=seen, limit=100)):
            seen = page[-1].seq
            found += [batch for batch in page if batch.details["parent"] == parent and wanted(batch)]
        shown = [job_object(self._core.work.look(batch)) for batch in found[:size]]
        more = {"nextPageToken": next_page(found[size - 1].seq)} if len(found) > size else {}
        return reply({**({"batchPredictionJobs": shown} if shown else {}), **more})

    def _get(self, request: Request) -> Response:
        return reply(job_object(self._core.work.look(self._job(request))))

    def _cancel(self, request: Request) -> Response:
        batch = self._job(request)
        try:
            self._core.work.cancel(batch)
        except IllegalMove:
            if self._job(request).state is not State.CANCELLING:
                raise Refused(
                    400,
                    f"The batch prediction job is in state {STATES[batch.state]} and cannot be cancelled.",
                    code="FAILED_PRECONDITION",
                ) from None
        return reply({})

    def _delete(self, request: Request) -> Response:
        """Only what has ended; the answers stay where they are."""
        batch = self._job(request)
        if not batch.state.ended:
            raise Refused(
                400,
                f"The batch prediction job is in state {STATES[batch.state]} and cannot be deleted; cancel it first.",
                code="FAILED_PRECONDITION",
            )
        self._core.work.forget(batch)
        name = f"{batch.details['parent']}/operations/{secrets.randbelow(10**18):018d}"
        return reply({"name": name, "done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}})

    def _job(self, request: Request) -> Batch:
        job, parent = request.path_params["job"], _parent(request)
        batch = self._store.batch(PROTOCOL, job)
        if batch is None or batch.details["parent"] != parent:
            raise Refused(404, f'The BatchPredictionJob "{parent}/batchPredictionJobs/{job[:100]}" does not exist.')
        return batch

    async def _call(self, request: Request) -> Response:
        method, name = request.path_params["method"], request.path_params["model"]
        if method != GENERATE:
            raise Refused(501, f"This local server does not imitate :{method[:60]} here; it answers :{GENERATE}.")
        self._known(name)
        body = await read_object(request)
        if found := find_misplaced(body, GENERATE):
            raise Refused(400, f"Invalid JSON payload received. {found}")
        work = partial(answer_request, GENERATE, body, name, partial(ask, self._core.roster.pick(name, CHAT)))
        status, answer = await self._callers.run(work, self._store)
        if status != 200:
            raise Refused(status, answer["message"])
        return reply(answer)

    def _known(self, name: str) -> None:
        if not self._core.roster.knows(name):
            raise Refused(404, f"The PublisherModel {name[:200]} does not exist.")

    def _new_batch(self, body: Mapping[str, Any], parent: str) -> tuple[Batch, list[str]]:
        """A job as asked for, and the places of its requests. Raises Refused."""
        if strangers := body.keys() - _FIELDS:
            raise Refused(
                400, f'Invalid JSON payload received. Unknown name "{min(strangers)[:200]}": Cannot find field.'
            )
        reads, writes = _object(body, "inputConfig"), _object(body, "outputConfig")
        if "bigquerySource" in reads or "bigqueryDestination" in writes:
            raise Refused(501, _NO_BIGQUERY)
        uris = _object(reads, "gcsSource").get("uris")
        if reads.get("instancesFormat") != "jsonl" or not isinstance(uris, list) or not uris:
            raise Refused(400, 'inputConfig: expected instancesFormat "jsonl" and gcsSource.uris.')
        prefix = _object(writes, "gcsDestination").get("outputUriPrefix")
        if writes.get("predictionsFormat") != "jsonl" or not isinstance(prefix, str):
            raise Refused(400, 'outputConfig: expected predictionsFormat "jsonl" and gcsDestination.outputUriPrefix.')
        for uri in (*uris, f"{prefix.rstrip('/')}/x"):
            self._storage.path(uri)
        model, display_name = body.get("model"), body.get("displayName")
        if not isinstance(display_name, str) or not display_name:
            raise Refused(400, "displayName is required.")
        if not isinstance(model, str) or not re.fullmatch(r"(publishers/[\w-]+/)?models/[^/]+", model):
            raise Refused(400, "model: expected publishers/google/models/….")
        name = model.rpartition("/")[2]
        self._known(name)
        now_ns = self._core.clock.now_ns()
        told = {"parent": parent, "model": model, "displayName": display_name}
        return Batch(
            id=f"{secrets.randbelow(9 * 10**18) + 10**18}",
            protocol=PROTOCOL,
            token=new_token(),
            endpoint=GENERATE,
            model=name,
            input_file_id=None,
            created_ns=now_ns,
            expires_ns=now_ns + _KEPT_S * SECOND_NS,
            details={**told, "inputConfig": reads, "outputConfig": writes},
        ), uris

    def _add(self, batch: Batch, uris: list[str]) -> Batch:
        """Take a copy of the requests as they are now; what is missing fails the job when it is checked."""
        token, missing = new_token(), ""
        try:
            with self._store.incoming(token).open("wb") as whole:
                for uri in uris:
                    try:
                        with self._storage.path(uri).open("rb") as file:
                            shutil.copyfileobj(file, whole, 1 << 20)
                    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                        missing = missing or uri
                        continue
                    whole.write(b"\n")  # a last line without a line feed is whole; blank lines are none
            self._store.take_input(batch, token)
            if missing:
                batch = replace(batch, details={**batch.details, "missing": missing})
            batch = self._store.add_batch(batch)
        except BaseException:
            self._store.discard(token)
            self._store.clear_work(batch)
            raise
        self._core.work.add(batch)
        return batch

    # in batches

    def check(self, batch: Batch, lines: Path) -> Checked:
        if missing := batch.details.get("missing"):
            return Checked(errors=[{"code": 5, "message": f"The Cloud Storage object does not exist: {missing}"}])
        total, problem = find_problem(lines)
        return Checked(total, batch.model, [{"code": 3, "message": problem}] if problem else None)

    def model(self, batch: Batch) -> Model:
        return self._core.roster.pick(batch.model, CHAT)

    def answer(self, batch: Batch, line: bytes, ask: Ask) -> Answer:
        return answer_line(batch, line, ask, self._store, self._core.clock.now_ns())

    def unanswered(self, batch: Batch, line: bytes, why: Why) -> bytes:
        return unanswered_line(line, self._core.clock.now_ns())

    def roles(self, batch: Batch, end: State) -> Mapping[Kind, str]:
        """One file; a job that was stopped exports the rows that it finished."""
        kinds = tuple(Kind) if end is State.COMPLETED else (Kind.OK, Kind.FAILED)
        return dict.fromkeys(kinds, "output")

    def output(self, batch: Batch, role: str, token: str, size: int, sha256: str) -> File:
        """The answers become an object in the destination; the record beside it says that they are there."""
        self._storage.put(self._store.blob(token), f"{output_folder(batch)}/predictions.jsonl")
        return File(
            id=f"predictions-{batch.id}",
            protocol=PROTOCOL,
            token=token,
            name="predictions.jsonl",
            purpose="batch_output",
            mime="application/jsonl",
            bytes=size,
            sha256=sha256,
            created_ns=self._core.clock.now_ns(),
            source="generated",
        )


def _parent(request: Request) -> str:
    place = request.path_params
    if "project" not in place:
        return "projects/express/locations/global"
    return f"projects/{place['project']}/locations/{place['location']}"


def _object(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise Refused(400, f"Invalid value at '{name}': expected an object.")
    return value


def _filter(text: str) -> Callable[[Batch], bool]:
    """The jobs that a filter wants. Raises Refused for one that is not understood."""
    if not text.strip():
        return lambda batch: True
    rules = [_FILTER.fullmatch(part) for part in re.split(r"\sAND\s", text)]
    if not all(rules):
        raise Refused(400, 'This local server understands filters like state="JOB_STATE_PAUSED" AND display_name:"x*".')
    wanted = [rule.groups() for rule in rules if rule]

    def fits(batch: Batch, field: str, sign: str, value: str, star: str) -> bool:
        found = str(STATES[batch.state] if field == "state" else batch.details["displayName"])
        return found.startswith(value) if sign == ":" and star else found == value + star

    return lambda batch: all(fits(batch, *rule) for rule in wanted)
