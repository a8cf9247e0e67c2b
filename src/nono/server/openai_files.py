"""OpenAI's files, over the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nono.facts import read_facts
from nono.server.answer_files import is_cut, request_lines
from nono.server.clock import SECOND_NS
from nono.server.dialect import Refused
from nono.server.intake import Received, read_form
from nono.server.openai_wire import (
    file_object,
    missing,
    new_file_id,
    page,
    query_number,
    reply,
    text_of,
    unknown_parameters,
    whole_number,
    wrong_type,
    wrong_value,
)
from nono.server.records import File
from nono.server.store import Store
from nono.server.stored_file import StoredFile

if TYPE_CHECKING:
    from nono.server.app import Core

PROTOCOL = "openai"
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_FACTS = read_facts("openai")
BATCH_FILE_BYTES = _FACTS.number("limits.file_bytes")
FILE_BYTES = 512 * 1024 * 1024
BATCH_FILE_KEPT_S = _FACTS.number("service.input_kept_s")
EXPIRY_S = (
    _FACTS.number("limits.output_expires_after_min_s"),
    _FACTS.number("limits.output_expires_after_max_s"),
)
LIST_LIMIT = 10_000
_PARAMETERS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})


class Files:
    """The routes of `/v1/files`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store = core.store

    def routes(self) -> list[Route]:
        return [
            Route("/v1/files", self.create, methods=["POST"]),
            Route("/v1/files", self.list, methods=["GET"]),
            Route("/v1/files/{file_id}", self.get, methods=["GET"]),
            Route("/v1/files/{file_id}", self.delete, methods=["DELETE"]),
            Route("/v1/files/{file_id}/content", self.content, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        form = await read_form(request, self._store, file_field="file", file_limit=FILE_BYTES, too_large=too_large)
        try:
            unknown_parameters(form.fields, _PARAMETERS)
            purpose = check_purpose(text_of(form.fields, "purpose"))
            expiry = check_expiry("expires_after", _expiry_fields(form.fields))
            if form.file is None:
                raise missing("file")
            file = await run_in_threadpool(self._keep, form.file, purpose, expiry)
        except BaseException:
            if form.file is not None:
                self._store.discard(form.file.token)
            raise
        return reply(file_object(file))

    def list(self, request: Request) -> Response:
        query = request.query_params
        limit = query_number("limit", query.get("limit"), LIST_LIMIT, LIST_LIMIT)
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise wrong_value("order", order, ("asc", "desc"))
        after = query.get("after")
        files = self._store.files(
            PROTOCOL,
            purpose=query.get("purpose"),
            after=self._file(after).seq if after else None,
            newest_first=order == "desc",
            limit=limit + 1,
        )
        return page([file_object(file) for file in files[:limit]], has_more=len(files) > limit)

    def get(self, request: Request) -> Response:
        return reply(file_object(self._file(request.path_params["file_id"])))

    def delete(self, request: Request) -> Response:
        file_id = request.path_params["file_id"]
        if not self._store.delete_file(PROTOCOL, self._file(file_id).id):
            raise no_such_file(file_id)
        return reply({"id": file_id, "object": "file", "deleted": True})

    def content(self, request: Request) -> Response:
        file = self._file(request.path_params["file_id"])
        path = self._store.blob(file.token)
        try:
            found = path.stat()
        except FileNotFoundError:
            self._file(file.id)  # it was deleted at this moment: nobody's fault
            raise
        return StoredFile(
            path,
            media_type="application/octet-stream",
            filename=Path(file.name).name or "file",
            stat_result=found,
        )

    def _file(self, file_id: str) -> File:
        file = self._store.file(PROTOCOL, file_id)
        if file is None:
            raise no_such_file(file_id)
        return file

    def _keep(self, received: Received, purpose: str, expiry_s: int | None) -> File:
        file = file_record(received, purpose, expiry_s, self._store, self._core.clock.now_ns())
        self._store.keep(received.token)
        file = self._store.add_file(file)
        self._core.work.stir()
        return file


def file_record(received: Received, purpose: str, expiry_s: int | None, store: Store, now_ns: int) -> File:
    """The record of bytes that have come in. Raises Refused for what the service does not take."""
    path = store.incoming(received.token)
    if purpose == "batch":
        if received.bytes > BATCH_FILE_BYTES:
            raise too_large()
        _check_jsonl(received.name, path)
    if received.bytes == 0:
        raise Refused(400, "File is empty.")
    kept_s = expiry_s or (BATCH_FILE_KEPT_S if purpose == "batch" else None)
    return File(
        id=new_file_id(),
        protocol=PROTOCOL,
        token=received.token,
        name=received.name,
        purpose=purpose,
        mime=received.mime,
        bytes=received.bytes,
        sha256=received.sha256,
        created_ns=now_ns,
        expires_ns=None if kept_s is None else now_ns + kept_s * SECOND_NS,
    )


def no_such_file(file_id: str) -> Refused:
    return Refused(404, f"No such File object: {file_id}", param="id")


def check_purpose(purpose: str) -> str:
    if purpose not in PURPOSES:
        raise wrong_value("purpose", purpose, PURPOSES)
    return purpose


def check_expiry(name: str, given: Any) -> int | None:
    """Seconds of an `expires_after` object (None: not given). Raises Refused."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise wrong_type(name, "an object", given)
    anchor = given.get("anchor")
    if anchor is None:
        raise missing(f"{name}.anchor")
    if anchor != "created_at":
        raise wrong_value(f"{name}.anchor", str(anchor), ("created_at",))
    if given.get("seconds") is None:
        raise missing(f"{name}.seconds")
    return whole_number(f"{name}.seconds", given["seconds"], *EXPIRY_S)


def _expiry_fields(fields: Mapping[str, str]) -> dict[str, Any] | None:
    given: dict[str, Any] = {
        name: fields[f"expires_after[{name}]"] for name in ("anchor", "seconds") if f"expires_after[{name}]" in fields
    }
    seconds = given.get("seconds")
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit() and len(seconds) <= 18:
        given["seconds"] = int(seconds)
    return given or None


def _check_jsonl(name: str, path: Path) -> None:
    """What the service looks at on upload: the name's ending and the first line."""
    with path.open("rb") as file:
        first = next(request_lines(file), b"")
    try:
        if Path(name).suffix.lower() not in ("", ".jsonl"):
            raise ValueError
        if not is_cut(first):  # validation will find a line that is too long
            msgspec.json.decode(first, type=msgspec.Raw)
    except (ValueError, RecursionError):
        raise Refused(400, "Invalid file format for Batch API. Must be .jsonl") from None


def too_large() -> Refused:
    return Refused(400, "File is too large.")
