"""The calls of Vertex AI's batch prediction jobs, as flows: what is asked, and what the answer means.

`create` is sent exactly once, as everywhere: a second POST is a second job, and a second bill.
https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.batchPredictionJobs
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nono.errors import Conflict, InputError, InvalidRequest, NoDestination, NotFound, ProviderError
from nono.exchange import Call, Flow, Pause, Reply, Work
from nono.facts import read_facts
from nono.files import put_in_place, whole_file
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.harvest import answer_place, inline_answers
from nono.providers.gemini.status import CODES
from nono.providers.gemini.wire import File, Job, JobPage
from nono.providers.vertex import tables, wire
from nono.providers.vertex.account import Place
from nono.providers.vertex.status import raise_for
from nono.providers.vertex.storage import Bucket

FACTS = read_facts("vertex")
# Deleting takes the service some seconds; after these it is under way anyhow.
_DELETE_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
_PLACE_PAUSES_S = (1.0, 2.0, 4.0)
# Names of answer objects begin so; the first kind that is there is the whole.
_ANSWERS = ("predictions", "incremental_predictions", "")


@dataclass(frozen=True, slots=True)
class VertexJobs:
    """The jobs of one project and location."""

    place: Place

    def create(
        self, model: str, source: Mapping[str, Any], *, dest: str | None = None, display_name: str | None = None
    ) -> Flow[Job]:
        """Create a job from `gcs_uri` or `bigquery_uri`: exactly one POST.

        Raises AnswerLost when it is unknown whether there is a job now.
        """
        unique = f"{datetime.now():%Y%m%d%H%M%S}_{uuid.uuid4().hex[:5]}"
        body = wire.job_body(model, source, dest, display_name or f"nono_batch_job_{unique}", unique)
        reply = yield Call("POST", self._jobs, json=body, once=True)
        return wire.parse_job(raise_for(reply, f"creating a job with {model}").json())

    def ask(self, model: str, endpoint: str, request: Mapping[str, Any]) -> Flow[Reply]:
        """One request at the synchronous endpoint: exactly one POST.

        https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
        """
        name = wire.model_name(model)
        path = name if name.startswith("projects/") else f"{self.place.parent.lstrip('/')}/{name}".lstrip("/")
        call = Call("POST", f"/{{version}}/{path}:{endpoint}", json=dict(request), once=True)
        return raise_for((yield call), f"asking {model}")

    def get(self, name: str) -> Flow[Job]:
        return wire.parse_job(raise_for((yield Call("GET", self.path(name))), f"getting {name}").json())

    def list_page(
        self, page_size: int | None = None, page_token: str | None = None, filter: str | None = None
    ) -> Flow[JobPage]:
        """One page of the place's jobs; `filter` is the service's language (`state="JOB_STATE_RUNNING"`)."""
        if page_size is not None and page_size < 1:
            raise InputError(f"a page of {page_size} jobs", hint="page_size is at least 1")
        wishes = {"pageSize": page_size, "pageToken": page_token or None, "filter": filter}
        params = {name: value for name, value in wishes.items() if value is not None}
        return wire.parse_job_page(raise_for((yield Call("GET", self._jobs, params=params)), "listing jobs").json())

    def list_named(self, beginning: str, page_token: str | None = None) -> Flow[JobPage]:
        """One page, as large as the service allows, of the jobs whose display name begins so."""
        page_size = FACTS.number("limits.page_size")
        return (yield from self.list_page(page_size, page_token, f'display_name:"{beginning}*"'))

    def cancel(self, name: str) -> Flow[Job]:
        """Ask for cancellation, and return the job as it is afterwards. One that has ended stays as it ended."""
        call = Call("POST", f"{self.path(name)}:cancel", content=(), final=frozenset({409}))
        try:
            raise_for((yield call), f"cancelling {name}")
        except (InvalidRequest, Conflict):
            job = yield from self.get(name)
            if not job.complete:
                raise
            return job
        return (yield from self.get(name))

    def delete(self, name: str) -> Flow[None]:
        """Delete an ended job's record, and wait until the service has done so; its answers stay where they are."""
        operation = raise_for((yield Call("DELETE", self.path(name))), f"deleting {name}").json()
        for pause_s in _DELETE_PAUSES_S:
            if not isinstance(operation, Mapping) or operation.get("done") or not operation.get("name"):
                break
            yield Pause(pause_s)
            reply = yield Call("GET", f"/{{version}}/{operation['name']}")
            try:
                operation = raise_for(reply, f"deleting {name}").json()
            except NotFound:
                return
        if isinstance(operation, Mapping) and (error := operation.get("error")):
            code = CODES.get(error.get("code") or 2, CODES[2])
            raise ProviderError(
                f"deleting {name}: {error.get('message')}",
                provider="vertex",
                status=code.http,
                code=code.name,
                body=operation,
                hint="a job that still runs has to be cancelled first",
            )

    def inline_results(self, name: str) -> Flow[list[InlineResult]]:
        """Raises NotComplete, JobFailed, or GcsOutput or BigQueryOutput: there are no inline answers here."""
        return inline_answers((yield from self.get(name)))

    def delete_quietly(self, name: str) -> Flow[None]:
        """`delete`, where a job that is gone already is as good."""
        try:
            yield from self.delete(name)
        except NotFound:
            return

    def save_answers(self, name: str, path: Path) -> Flow[Path]:
        """Bring the answers of an ended job to `path`, one JSON object a line, from wherever they were put.

        Raises NotComplete, JobFailed, and NoDestination where the service does not say which folder is this job's:
        the one that was asked for may hold the folders of others.
        """
        job = yield from self._ended(name)
        place = answer_place(job)
        if place.startswith("bq://"):
            yield Work(tables.save_rows, (place, path, self.place))
            return path
        return (yield from self._save_objects(job, place, path))

    def _ended(self, name: str) -> Flow[Job]:
        """A job that has ended, with the place that it names itself; that may take it a moment."""
        for pause_s in _PLACE_PAUSES_S:
            job = yield from self._as_named(name)
            if job.dest or not (job.succeeded or job.partially_succeeded):
                return job
            yield Pause(pause_s)
        return (yield from self._as_named(name))

    def _as_named(self, name: str) -> Flow[Job]:
        job = yield from self.get(name)
        return replace(job, dest=wire.named_destination(job.raw))

    def _save_objects(self, job: Job, folder: str, path: Path) -> Flow[Path]:
        bucket = Bucket(self.place.storage_url)
        found = answer_objects((yield from bucket.list(folder.rstrip("/") + "/")))
        if not found:
            raise NoDestination(
                f"{job.name}: no answers below {folder}",
                batch_id=job.name,
                state=job.state,
                hint="were they moved or deleted?",
            )
        pieces = []
        for number, file in enumerate(found):
            pieces.append(path.with_name(f"{path.name}.{number}.piece"))
            yield from bucket.fetch(file, pieces[-1])
        yield Work(_join, (pieces, path))
        return path

    def answer_of(self, line: Any) -> Any:
        """An answer with its `error` told as an object, where the service has only a text."""
        return wire.answer_of(line) if isinstance(line, Mapping) else line

    def path(self, name: str) -> str:
        """The path of a job, given by its whole name or its bare id. Raises InputError for anything else."""
        text = name if isinstance(name, str) else ""
        if re.fullmatch(r"projects/[^/\s]+/locations/[^/\s]+/batchPredictionJobs/[^/\s?#]+", text):
            return f"/{{version}}/{text}"
        bare = text.removeprefix("batchPredictionJobs/")
        if not re.fullmatch(r"[^/\s?#:]+", bare) or bare in (".", ".."):
            raise InputError(
                f"not the name of a job: {name!r}",
                hint='a name is "projects/…/locations/…/batchPredictionJobs/…", as in job.name, or the bare id',
            )
        return f"{self._jobs}/{bare}"

    @property
    def _jobs(self) -> str:
        return f"/{{version}}{self.place.parent}/batchPredictionJobs"


def answer_objects(files: list[File]) -> list[File]:
    """Those objects of an output directory that are the answers."""
    for kind in _ANSWERS:
        chosen = [file for file in files if (file.display_name or "").startswith(kind) and ".jsonl" in file.name]
        if chosen:
            return chosen
    return []


def _join(pieces: list[Path], path: Path) -> None:
    if len(pieces) == 1:
        put_in_place(pieces[0], path)
        return
    with whole_file(path) as whole:
        for piece in pieces:
            with piece.open("rb") as file:
                shutil.copyfileobj(file, whole, 1 << 20)
    for piece in pieces:
        piece.unlink()
