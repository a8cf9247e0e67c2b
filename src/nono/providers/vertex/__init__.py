"""Gemini on Vertex AI: batch prediction jobs over Cloud Storage and BigQuery; for the engine, `PROVIDER`.

The same models and requests as the Developer API's (`nono.providers.gemini`), under another host: jobs are resources of
a project and a location, requests and answers stay in the caller's own storage, and Google's credentials take the place
of a key. The service classes speak it with `vertexai=True`, runs as `vertex/…`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nono.errors import InputError, ProviderError
from nono.exchange import Account, Flow, one_line
from nono.facts import Facts, read_facts
from nono.media import Media
from nono.model import Phase, RemoteBatch, RemoteFile, Result
from nono.providers import UNCHECKED, Task, check_options
from nono.providers.gemini import answers, lint, media, translate
from nono.providers.gemini.check import check_request
from nono.providers.gemini.status import error_object
from nono.providers.vertex import rows, settings, wire
from nono.providers.vertex.flows import VertexJobs, answer_objects
from nono.providers.vertex.storage import Bucket

# Tags of runs begin so (`nono.runs.bench.file_name`): a listing of the project's other jobs is not asked for.
_OURS = "nono-"


class VertexProvider:
    """The Provider protocol over Vertex AI; `nono.providers.Provider` says what each part does.

    The input file of a batch is an object that we name, so that its upload can be repeated; its answers are put below
    the same name, and belong to the batch.
    """

    name = "vertex"
    priced_as = "google"
    id_key = "key"
    id_mark = rows.ID_MARK
    keeps_cancelled = True
    facts: Facts = read_facts("vertex")
    options: Mapping[str, str] = {name: what for name, (_, what) in settings.OPTIONS.items()}

    def __init__(self, found: settings.Settings | None = None, options: Mapping[str, str] | None = None) -> None:
        self._found = found
        self._options = options or {}

    def at(self, base_url: str | None = None, options: Mapping[str, str] | None = None) -> VertexProvider:
        given = check_options(self, options)
        return VertexProvider(settings.settings_of(base_url, given), given)

    def account(self, *, api_key: str | None = None, base_url: str | None = None) -> Account:
        """`api_key` is an access token; without one there are gcloud's variable, and google-auth's own search."""
        there = self._settings if base_url is None else settings.settings_of(base_url, self._options)
        return settings.account_of(there, api_key)

    def endpoint_for(self, task: Task) -> str:
        wire.model_name(task.model)
        endpoint = translate.endpoint_for(task)
        if endpoint != translate.GENERATE:
            raise InputError(
                "batches of embeddings on Vertex AI have a protocol of their own, which nono does not speak",
                hint="gemini/… makes embeddings in batches",
            )
        return endpoint

    def request_body(self, task: Task, content: Any) -> dict[str, Any]:
        if task.schema is not None:
            task = replace(task, schema=rows.importable_schema(task.schema))
        return translate.request_body(task, content)

    def request_line(self, custom_id: str, task: Task, body: Mapping[str, Any]) -> dict[str, Any]:
        if task.check:
            check_request(body, self.endpoint_for(task), hint=UNCHECKED)
        line = {"key": f"{self.id_mark}{custom_id}", "request": body}
        if task.check and (problem := rows.import_problem(line)):
            raise InputError(f"Vertex AI would not import this request: {problem}", hint=rows.HINT)
        return line

    def reasked_line(self, line: Mapping[str, Any], *, answer: str, message: str) -> dict[str, Any]:
        return {**line, "request": translate.with_turns(line["request"], answer, message)}

    def lint_schema(self, schema: Mapping[str, Any]) -> list[str]:
        found = lint.lint_schema(schema)
        problem = None if found else rows.import_problem(rows.importable_schema(schema))
        return [*found, f"$: {problem} (a schema that contains itself has no other form)"] if problem else found

    def decode(self, line: bytes) -> Result:
        return rows.decode(line)

    def media_of(self, body: Any) -> list[Media]:
        return media.media_of(body)

    def upload(self, path: Path, *, name: str) -> Flow[RemoteFile]:
        """Repeatable: the object has the name that we give it, and one of that name is replaced."""
        uri = self._settings.object_named(name)
        return wire.remote_file((yield from self._bucket.put(path, uri)), name)

    def create(self, *, file_id: str, task: Task, tag: str) -> Flow[RemoteBatch]:
        """The tag is the display name."""
        answers = f"{file_id.removesuffix('.jsonl')}/answers"
        job = yield from self._jobs.create(task.model, {"gcs_uri": file_id}, dest=answers, display_name=tag)
        return wire.remote_batch(job)

    def get(self, batch_id: str) -> Flow[RemoteBatch]:
        return wire.remote_batch((yield from self._jobs.get(batch_id)))

    def list_page(self, cursor: str | None = None) -> Flow[tuple[list[RemoteBatch], str | None]]:
        page = yield from self._jobs.list_named(_OURS, cursor)
        return [wire.remote_batch(job) for job in page.jobs], page.next_page_token

    def cancel(self, batch_id: str) -> Flow[None]:
        yield from self._jobs.cancel(batch_id)

    def fetch(self, batch: RemoteBatch, into: Path) -> Flow[list[Path]]:
        """The objects with answers in the folder of the batch, in the order of their names."""
        folders = batch.answer_files
        if not folders and batch.phase in (Phase.SUCCEEDED, Phase.PARTIAL):
            folders = (yield from self.get(batch.id)).answer_files
        paths: list[Path] = []
        for folder in folders:
            for file in answer_objects((yield from self._bucket.list(f"{folder.rstrip('/')}/"))):
                shown = re.sub(r"[^A-Za-z0-9._-]", "_", file.display_name or "answers")
                path = into / f"{len(paths):04}-{shown.removesuffix('.jsonl')}.jsonl"
                if not path.exists():
                    yield from self._bucket.fetch(file, path)
                paths.append(path)
        return paths

    def find_file(self, name: str) -> Flow[RemoteFile | None]:
        found = yield from self._bucket.find(self._settings.object_named(name))
        return None if found is None else wire.remote_file(found, name)

    def delete_file(self, file_id: str) -> Flow[None]:
        yield from self._bucket.delete(file_id)

    def ask(self, line: Mapping[str, Any], task: Task) -> Flow[bytes]:
        reply = yield from self._jobs.ask(task.model, self.endpoint_for(task), line["request"])
        return answers.encode(line["key"], response=one_line(reply))

    def refusal_line(self, line: Mapping[str, Any], error: ProviderError) -> bytes:
        return answers.encode(line["key"], error=error_object(error))

    def delete_batch(self, batch: RemoteBatch) -> Flow[None]:
        """The requests, everything in the folder of the answers, and the job's record."""
        if batch.input_file_id:
            yield from self._bucket.delete(batch.input_file_id)
        for folder in batch.answer_files:
            for file in (yield from self._bucket.list(f"{folder.rstrip('/')}/")):
                yield from self._bucket.delete(file.name)
        yield from self._jobs.delete_quietly(batch.id)

    @property
    def _settings(self) -> settings.Settings:
        return self._found or settings.settings_of(None, {})

    @property
    def _jobs(self) -> VertexJobs:
        return VertexJobs(self._settings.place)

    @property
    def _bucket(self) -> Bucket:
        return Bucket(self._settings.storage_url)


PROVIDER = VertexProvider()
