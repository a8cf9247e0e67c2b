"""Google Gemini's Developer API, as the engine sees it: `PROVIDER`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nono.errors import ProviderError, SettingsError
from nono.exchange import Account, Flow, one_line
from nono.facts import Facts, read_facts
from nono.media import Media
from nono.model import Phase, RemoteBatch, RemoteFile, Result
from nono.providers import UNCHECKED, Task, check_options
from nono.providers.gemini import answers, flows, harvest, lint, media, translate, uploads, wire
from nono.providers.gemini.account import resolve
from nono.providers.gemini.check import check_request
from nono.providers.gemini.status import error_object


class GeminiProvider:
    """The Provider protocol over Gemini's wire; `nono.providers.Provider` says what each part does.

    `priority` and `webhook` are those of every job that is created.
    """

    name = "gemini"
    priced_as = "google"
    id_key = "key"
    id_mark = ""
    # https://ai.google.dev/api/batch-api: an operation that was cancelled has an error, and no response.
    keeps_cancelled = False
    facts: Facts = read_facts("gemini")
    options: Mapping[str, str] = {
        "priority": "a whole number: which of the account's jobs come first, higher before lower",
        "webhook": "the address that the service calls when a batch ends",
    }

    def __init__(self, priority: int | None = None, webhook: str | None = None) -> None:
        self._priority = priority
        self._webhook = webhook

    def at(self, base_url: str | None = None, options: Mapping[str, str] | None = None) -> GeminiProvider:
        given = check_options(self, options)
        webhook = given.get("webhook")
        if webhook is not None:
            flows.webhook_config(webhook)
        priority = given.get("priority")
        if priority is not None and not re.fullmatch(r"-?\d{1,18}", priority):
            raise SettingsError(f"option priority is {priority!r}", hint="a whole number; the rest have 0")
        return GeminiProvider(None if priority is None else int(priority), webhook)

    def account(self, *, api_key: str | None = None, base_url: str | None = None) -> Account:
        return resolve(api_key=api_key, base_url=base_url)[0]

    def endpoint_for(self, task: Task) -> str:
        flows.model_path(task.model)
        return translate.endpoint_for(task)

    def request_body(self, task: Task, content: Any) -> dict[str, Any]:
        return translate.request_body(task, content)

    def request_line(self, custom_id: str, task: Task, body: Mapping[str, Any]) -> dict[str, Any]:
        if task.check:
            check_request(body, translate.endpoint_for(task), hint=UNCHECKED)
        return {"key": custom_id, "request": body}

    def reasked_line(self, line: Mapping[str, Any], *, answer: str, message: str) -> dict[str, Any]:
        return {**line, "request": translate.with_turns(line["request"], answer, message)}

    def lint_schema(self, schema: Mapping[str, Any]) -> list[str]:
        return lint.lint_schema(schema)

    def decode(self, line: bytes) -> Result:
        return answers.decode(line)

    def media_of(self, body: Any) -> list[Media]:
        return media.media_of(body)

    def upload(self, path: Path, *, name: str) -> Flow[RemoteFile]:
        """Repeatable: the file's id is made of `name`, and a file of that id with this content is taken for ours."""
        return wire.remote_file((yield from uploads.upload(path, name=uploads.id_for(name), display_name=name[:512])))

    def create(self, *, file_id: str, task: Task, tag: str) -> Flow[RemoteBatch]:
        """The tag is the display name. A full queue (429) is raised as RateLimited: the same file goes in later."""
        endpoint = translate.endpoint_for(task)
        return wire.remote_batch(
            (
                yield from flows.create(
                    task.model,
                    file_name=file_id,
                    display_name=tag,
                    endpoint=endpoint,
                    priority=self._priority,
                    webhook=self._webhook,
                )
            )
        )

    def get(self, batch_id: str) -> Flow[RemoteBatch]:
        return wire.remote_batch((yield from flows.get(batch_id)))

    def list_page(self, cursor: str | None = None) -> Flow[tuple[list[RemoteBatch], str | None]]:
        page = yield from flows.list_page(self.facts.number("limits.page_size"), cursor)
        return [wire.remote_batch(job) for job in page.jobs], page.next_page_token

    def cancel(self, batch_id: str) -> Flow[None]:
        yield from flows.cancel(batch_id)

    def fetch(self, batch: RemoteBatch, into: Path) -> Flow[list[Path]]:
        """A batch that has just succeeded may not name its answers yet: it is asked again, for half a minute.

        Raises NoDestination if it never does.
        """
        names = batch.answer_files
        if not names and batch.phase in (Phase.SUCCEEDED, Phase.PARTIAL):
            names = (harvest.answer_file((yield from flows.get_with_output(batch.id))),)
        paths = []
        for name in names:
            path = into / f"{re.sub(r'[^A-Za-z0-9_-]', '_', name.removeprefix('files/'))}.jsonl"
            if not path.exists():
                yield from flows.download_file(name, path)
            paths.append(path)
        return paths

    def find_file(self, name: str) -> Flow[RemoteFile | None]:
        found = yield from uploads.find_file(uploads.id_for(name))
        return None if found is None else wire.remote_file(found)

    def delete_file(self, file_id: str) -> Flow[None]:
        """Answer files, whose ids are too long for the service's own delete, go with their batch."""
        if len(file_id.removeprefix("files/")) <= self.facts.number("limits.file_id_chars"):
            yield from uploads.delete_file(file_id)

    def ask(self, line: Mapping[str, Any], task: Task) -> Flow[bytes]:
        reply = yield from flows.ask(task.model, translate.endpoint_for(task), line["request"])
        return answers.encode(line["key"], response=one_line(reply))

    def refusal_line(self, line: Mapping[str, Any], error: ProviderError) -> bytes:
        return answers.encode(line["key"], error=error_object(error))

    def delete_batch(self, batch: RemoteBatch) -> Flow[None]:
        """The input file, and the record with its answers."""
        if batch.input_file_id:
            yield from self.delete_file(batch.input_file_id)
        yield from flows.delete_quietly(batch.id)


PROVIDER = GeminiProvider()
