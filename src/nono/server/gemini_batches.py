"""Gemini's batches, over the store and the queue. The whole input is checked before a batch is created."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from nono.providers.gemini.requests import camel, snake
from nono.providers.gemini.translate import EMBED, GENERATE
from nono.server.clock import SECOND_NS
from nono.server.database import IllegalMove
from nono.server.dialect import Refused
from nono.server.gemini_lines import check_lines, inline_lines, unknown_name
from nono.server.gemini_wire import (
    BASE,
    FACTS,
    JSON_TYPE,
    PROTOCOL,
    new_id,
    next_page,
    no_such_file,
    operation,
    page_of,
    pick,
    reply,
)
from nono.server.intake import read_object
from nono.server.records import Batch, Counts, State
from nono.server.store import new_token

if TYPE_CHECKING:
    from nono.server.app import Core

EXPIRES_AFTER_S = FACTS.number("service.expires_after_s")
METHODS = {"batchGenerateContent": GENERATE, "asyncBatchEmbedContent": EMBED}
_ID_LENGTH = 36
_DEFAULT_PAGE = 50
_FIELDS = frozenset({"model", "name", "displayName", "inputConfig", "priority", "webhookConfig"})
_UPDATES = ("updateGenerateContentBatch", "updateEmbedContentBatch")
_SOURCES = frozenset({"fileName", "requests"})
_READ_BYTES = 1 << 20
# Stands in an operation for the answers, which are copied from their file when it is sent; nobody else can write it.
_ANSWERS = new_token()


class Batches:
    """The routes of `batches`, and the calls that create one."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store = core.store

    def routes(self) -> list[Route]:
        one = f"{BASE}batches/{{batch_id:gemini_word}}"
        return [
            Route(f"{BASE}batches", self.list, methods=["GET"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(f"{one}:cancel", self.cancel, methods=["POST"]),
            *(Route(f"{one}:{method}", self.update, methods=["PATCH"]) for method in _UPDATES),
        ]

    async def create(self, request: Request, resource: str, endpoint: str) -> Response:
        """`resource` is the model's full name, which is known to be here."""
        body = await read_object(request)
        strangers = body.keys() - {"batch"}
        if strangers:
            raise unknown_name(min(strangers), "")
        batch, source = _new_batch(body.get("batch"), resource, endpoint, self._core.clock.now_ns())
        return reply(operation(await run_in_threadpool(self._add, batch, source)))

    def list(self, request: Request) -> Response:
        """Newest first, without inlined answers."""
        if request.query_params.get("filter"):
            raise Refused(400, "This local server does not imitate 'filter'.")
        size, seen = page_of(request, _DEFAULT_PAGE)
        batches = self._store.batches(PROTOCOL, after=seen, limit=size + 1)
        if not batches:
            return reply({})
        shown = [operation(self._core.work.look(batch), _file_output(batch)) for batch in batches[:size]]
        more = {"nextPageToken": next_page(batches[size - 1].seq)} if len(batches) > size else {}
        return reply({"operations": shown, **more})

    def get(self, request: Request) -> Response:
        batch = self._batch(request)
        if batch.input_file_id is None and batch.state is State.COMPLETED:
            return self._with_answers(batch)
        return reply(operation(self._core.work.look(batch), _file_output(batch)))

    def cancel(self, request: Request) -> Response:
        """One that has ended stays as it ended."""
        batch = self._batch(request)
        try:
            self._core.work.cancel(batch)
        except IllegalMove:
            self._batch(request)
        return reply({})

    def delete(self, request: Request) -> Response:
        """The batch stops, and its answers vanish with it."""
        self._core.work.forget(self._batch(request))
        return reply({})

    async def update(self, request: Request) -> Response:
        """Change the display name or the priority: what `updateMask` names, or what is in the body."""
        given = _known(await read_object(request), _FIELDS, "batch")
        mask = request.query_params.get("updateMask") or request.query_params.get("update_mask") or ",".join(given)
        names = {camel(name.strip()) for name in mask.split(",")}
        if not names <= {"displayName", "priority"}:
            raise Refused(400, "Only 'display_name' and 'priority' of a batch can be changed.")
        return reply(await run_in_threadpool(self._change, request, names, given))

    def _change(self, request: Request, names: set[str], given: Mapping[str, Any]) -> dict[str, Any]:
        batch = self._batch(request)
        changes: dict[str, Any] = {}
        if "priority" in names:
            changes["priority"] = _priority(given.get("priority"))
        if "displayName" in names:
            changes["details"] = {**batch.details, "display_name": _display_name(given)}
        try:
            batch = self._core.work.change(batch, **changes)
        except IllegalMove:
            raise Refused(503, "The batch is moving to another state; try again.") from None
        shown: dict[str, Any] = operation(batch, _file_output(batch))["metadata"]
        return {name: value for name, value in shown.items() if name != "@type"}

    def _batch(self, request: Request) -> Batch:
        batch_id = request.path_params["batch_id"]
        batch = self._store.batch(PROTOCOL, batch_id)
        if batch is None:
            raise Refused(404, f"Batch batches/{batch_id[:100]} not found.")
        return batch

    def _add(self, batch: Batch, source: Mapping[str, Any]) -> Batch:
        try:
            if batch.input_file_id is not None:
                total = self._link(batch, batch.input_file_id)
            else:
                total = self._write(batch, source)
            batch = self._store.add_batch(replace(batch, counts=Counts(total)))
        except BaseException:
            self._store.clear_work(batch)
            raise
        self._core.work.add(batch)
        return batch

    def _link(self, batch: Batch, file_id: str) -> int:
        file = self._store.file(PROTOCOL, file_id)
        if file is None:
            raise no_such_file(file_id)
        try:
            self._store.link_input(batch, file)
        except FileNotFoundError:  # deleted at this moment
            raise no_such_file(file_id) from None
        return check_lines(self._store.work_folder(batch) / "input.jsonl", batch.endpoint)

    def _write(self, batch: Batch, source: Mapping[str, Any]) -> int:
        token, total = new_token(), 0
        try:
            with self._store.incoming(token).open("wb") as file:
                for line in inline_lines(source.get("requests"), batch.endpoint):
                    file.write(line)
                    total += 1
            self._store.take_input(batch, token)
        except BaseException:
            self._store.discard(token)
            raise
        return total

    def _with_answers(self, batch: Batch) -> Response:
        """The operation of an ended inline batch, its answers copied from disk while it is sent (they stand twice)."""
        shown = operation(batch, {"inlinedResponses": {"inlinedResponses": _ANSWERS}})
        pieces = msgspec.json.encode(shown).split(msgspec.json.encode(_ANSWERS))
        file = self._store.file(PROTOCOL, batch.outputs["output"])
        if file is None:  # its time is over, or the batch was deleted at this moment
            return reply(operation(batch))
        try:
            answers = self._store.blob(file.token).open("rb")
        except FileNotFoundError:
            return reply(operation(batch))
        return StreamingResponse(_joined(pieces, answers), media_type=JSON_TYPE)


def _joined(pieces: list[bytes], answers: BinaryIO) -> Iterator[bytes]:
    with answers:
        yield pieces[0]
        for piece in pieces[1:]:
            answers.seek(0)
            waiting = bytearray(b"[")
            for number, line in enumerate(answers):
                waiting += b"," if number else b""
                waiting += line
                if len(waiting) >= _READ_BYTES:
                    yield bytes(waiting)
                    waiting.clear()
            yield bytes(waiting) + b"]" + piece


def _file_output(batch: Batch) -> dict[str, str] | None:
    if batch.input_file_id is None or "output" not in batch.outputs:
        return None
    return {"responsesFile": f"files/{batch.outputs['output']}"}


def _new_batch(given: Any, resource: str, endpoint: str, now_ns: int) -> tuple[Batch, Mapping[str, Any]]:
    """A batch as asked for, and its inline requests. Raises Refused."""
    if not isinstance(given, Mapping):
        raise Refused(400, '* batch: a batch is required: {"batch": {"inputConfig": {…}}}.')
    fields = _known(given, _FIELDS, "batch")
    if fields.get("webhookConfig"):
        raise Refused(400, "This local server does not call webhooks; leave 'webhook_config' out and poll.")
    source = fields.get("inputConfig")
    if not isinstance(source, Mapping):
        raise Refused(400, "* batch.input_config: an input is required: 'fileName' or 'requests'.")
    source = _known(source, _SOURCES, "batch.input_config")
    if len(source) != 1:
        raise Refused(400, "* batch.input_config: exactly one of 'fileName' and 'requests' is required.")
    file_name, requests = source.get("fileName"), source.get("requests")
    if file_name is not None and not (isinstance(file_name, str) and re.fullmatch(r"files/[\w-]+", file_name)):
        raise Refused(400, "Invalid value at 'batch.input_config.file_name': expected 'files/…'.")
    if requests is not None and not isinstance(requests, Mapping):
        raise Refused(400, "Invalid value at 'batch.input_config.requests': expected {\"requests\": […]}.")
    batch = Batch(
        id=new_id(_ID_LENGTH),
        protocol=PROTOCOL,
        token=new_token(),
        endpoint=endpoint,
        model=resource.partition("/")[2],
        input_file_id=file_name.removeprefix("files/") if file_name else None,
        created_ns=now_ns,
        expires_ns=now_ns + EXPIRES_AFTER_S * SECOND_NS,
        priority=_priority(fields.get("priority")),
        details={"display_name": _display_name(fields), "model": resource},
    )
    return batch, requests or {}


def _known(given: Mapping[str, Any], names: frozenset[str], place: str) -> dict[str, Any]:
    """The fields under their camelCase names. Raises Refused for one that there is not."""
    fields = {name: pick(given, name) for name in names}
    spelled = {spelling for name in names for spelling in (name, snake(name))}
    strangers = given.keys() - spelled
    if strangers:
        raise unknown_name(min(strangers), place)
    return {name: value for name, value in fields.items() if value is not None}


def _display_name(fields: Mapping[str, Any]) -> str | None:
    name = fields.get("displayName")
    if name is not None and not isinstance(name, str):
        raise Refused(400, "Invalid value at 'batch.display_name': expected a string.")
    return name


def _priority(given: Any) -> int:
    """An int64, as a number or as a text."""
    if given is None:
        return 0
    if isinstance(given, bool) or not re.fullmatch(r"-?\d{1,18}", str(given)):
        raise Refused(400, f"Invalid value at 'batch.priority' (TYPE_INT64), {str(given)[:40]!r}")
    return int(given)
