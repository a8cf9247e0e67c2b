"""OpenAI, and every service that speaks its Batch protocol, as the engine sees it: `PROVIDER`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nono.errors import InputError, ProviderError, SettingsError
from nono.exchange import Account, Flow, one_line
from nono.facts import Facts
from nono.media import Media
from nono.model import RemoteBatch, RemoteFile, Result
from nono.providers import UNCHECKED, Task, check_options
from nono.providers.openai import answers, bodies, flows, formats, lint, media, wire
from nono.providers.openai.account import account_from_settings, base_url_of
from nono.providers.openai.compatible import OPENAI, Service, check_window, service_at
from nono.providers.openai.models import check_model

# What a task that names no endpoint means.
_ENDPOINTS = {"chat": bodies.CHAT, "embedding": bodies.EMBEDDINGS, "moderation": bodies.MODERATIONS}


class OpenAIProvider:
    """The Provider protocol over OpenAI's wire; `nono.providers.Provider` says what each part does.

    Bound to an address (`at`) it has the limits and words of the service there.
    """

    name = "openai"
    priced_as = "openai"
    id_key = "custom_id"
    id_mark = ""
    options: Mapping[str, str] = {
        "completion_window": "how long a batch may take where a service leaves a choice: 7d",
        "output_expires_after": "after so many seconds the answer files vanish at the provider",
    }
    keeps_cancelled = True

    def __init__(
        self, service: Service = OPENAI, completion_window: str | None = None, output_expires_after: int | None = None
    ) -> None:
        self._service = service
        self.facts: Facts = service.facts
        self._window = completion_window or "24h"
        self._expires_after_s = output_expires_after

    def at(self, base_url: str | None = None, options: Mapping[str, str] | None = None) -> OpenAIProvider:
        """Raises LimitError for a completion window or an expiry that the service does not offer."""
        service = service_at(base_url_of(base_url))
        given = check_options(self, options)
        window, expiry = given.get("completion_window"), given.get("output_expires_after")
        if window is not None:
            check_window(window, service.facts)
        if expiry is not None:
            if not expiry.isdecimal():
                raise SettingsError(f"option output_expires_after is {expiry!r}", hint="seconds: 86400")
            flows.expiry_of(int(expiry), service.facts)
        return OpenAIProvider(service, window, None if expiry is None else int(expiry))

    def account(self, *, api_key: str | None = None, base_url: str | None = None) -> Account:
        return account_from_settings(api_key=api_key, base_url=base_url)

    def endpoint_for(self, task: Task) -> str:
        endpoint = task.endpoint or _ENDPOINTS.get(task.kind)
        if endpoint is None:
            raise InputError(
                f"a task of kind {task.kind!r} names no endpoint", hint=f"one of {', '.join(bodies.ENDPOINTS)}"
            )
        endpoint = bodies.whole_name(endpoint)
        family = bodies.family_of(endpoint)
        if family is None and endpoint not in bodies.ENDPOINTS:
            raise InputError(
                f"{endpoint!r} is no endpoint of the Batch API", hint=f"endpoints: {', '.join(bodies.ENDPOINTS)}"
            )
        if task.kind != "raw" and (family is None or family.kind != task.kind):
            raise InputError(
                f"{endpoint} is not for tasks of kind {task.kind!r}", hint="leave the endpoint out, or send raw bodies"
            )
        self._service.spelled(endpoint)
        if task.kind != "raw" and task.check and self._service is OPENAI:
            check_model(task.model, endpoint, hint=UNCHECKED)
        return endpoint

    def request_body(self, task: Task, content: Any) -> dict[str, Any]:
        endpoint = self.endpoint_for(task)
        parameters = dict(task.parameters or {})
        if task.kind == "raw":
            if not isinstance(content, Mapping):
                raise InputError(f"a raw body is a mapping, not {type(content).__name__}", hint="one dict per request")
            body = {"model": task.model, **parameters, **content} if task.model else {**parameters, **content}
        else:
            if task.schema is not None:
                parameters["response_format"] = formats.response_format(task.schema, name=task.schema_name)
            body = bodies.build_body(endpoint, content, model=task.model, system=task.system, parameters=parameters)
        return body | dict(task.extra_body or {})

    def request_line(self, custom_id: str, task: Task, body: Mapping[str, Any]) -> dict[str, Any]:
        return bodies.request_line(custom_id, self._service.spelled(self.endpoint_for(task)), body)

    def reasked_line(self, line: Mapping[str, Any], *, answer: str, message: str) -> dict[str, Any]:
        return {**line, "body": bodies.with_turns(line["url"], line["body"], answer, message)}

    def lint_schema(self, schema: Mapping[str, Any]) -> list[str]:
        return lint.lint(lint.complete(schema))

    def decode(self, line: bytes) -> Result:
        return answers.decode(line)

    def media_of(self, body: Any) -> list[Media]:
        return media.media_of(body)

    def upload(self, path: Path, *, name: str) -> Flow[RemoteFile]:
        """Sent once: after a lost answer `find_file` tells whether it arrived."""
        return wire.remote_file((yield from flows.upload(path, name=name, once=True)))

    def create(self, *, file_id: str, task: Task, tag: str) -> Flow[RemoteBatch]:
        endpoint, metadata = self._service.spelled(self.endpoint_for(task)), {wire.TAG_KEY: tag}
        made = yield from flows.create_batch(
            file_id,
            endpoint,
            completion_window=self._window,
            metadata=metadata,
            output_expires_after=self._expires_after_s,
        )
        return wire.remote_batch(made)

    def get(self, batch_id: str) -> Flow[RemoteBatch]:
        return wire.remote_batch((yield from flows.get_batch(batch_id)))

    def list_page(self, cursor: str | None = None) -> Flow[tuple[list[RemoteBatch], str | None]]:
        page = yield from flows.list_page(self.facts.number("limits.page_size"), cursor)
        return [wire.remote_batch(batch) for batch in page], page.after

    def cancel(self, batch_id: str) -> Flow[None]:
        yield from flows.cancel_batch(batch_id)

    def fetch(self, batch: RemoteBatch, into: Path) -> Flow[list[Path]]:
        paths = []
        for number, file_id in enumerate(batch.answer_files):
            path = into / f"{number}-{re.sub(r'[^A-Za-z0-9_-]', '_', file_id)}.jsonl"
            if not path.exists():
                yield from flows.download_file(file_id, path, mark=False)
            paths.append(path)
        return paths

    def find_file(self, name: str) -> Flow[RemoteFile | None]:
        found = yield from flows.find_file(name)
        return None if found is None else wire.remote_file(found)

    def delete_file(self, file_id: str) -> Flow[None]:
        yield from flows.delete_file(file_id)

    def ask(self, line: Mapping[str, Any], task: Task) -> Flow[bytes]:
        reply = yield from flows.ask(line["url"], line["body"])
        return answers.encode(line["custom_id"], 200, one_line(reply), request_id=reply.headers.get("x-request-id"))

    def refusal_line(self, line: Mapping[str, Any], error: ProviderError) -> bytes:
        said = error.body if isinstance(error.body, dict) and "error" in error.body else None
        body = said or {"error": {"code": error.code, "message": error.message}}
        return answers.encode(line["custom_id"], error.status, body, request_id=error.request_id)

    def delete_batch(self, batch: RemoteBatch) -> Flow[None]:
        """OpenAI keeps the record of a batch for ever; what can be removed are its files."""
        for file_id in (batch.input_file_id, *batch.answer_files):
            if file_id:
                yield from flows.delete_file(file_id)


PROVIDER = OpenAIProvider()
