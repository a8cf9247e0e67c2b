"""OpenAI's files and multi-part uploads, over the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from nono.facts import read_facts
from nono.server.clock import SECOND_NS
from nono.server.dialect import Refused
from nono.server.intake import Received, decode_json, read_form, read_object
from nono.server.openai_wire import (
    file_object,
    missing,
    new_file_id,
    new_id,
    page,
    query_number,
    reply,
    text_of,
    unknown_parameters,
    upload_object,
    whole_number,
    wrong_type,
    wrong_value,
)
from nono.server.records import File, Part, Upload
from nono.server.store import new_token

if TYPE_CHECKING:
    from nono.server.app import Core

PROTOCOL = "openai"
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_FACTS = read_facts("openai")
BATCH_FILE_BYTES = _FACTS.number("limits.file_bytes")
FILE_BYTES = 512 * 1024 * 1024
UPLOAD_BYTES = 8 * 1024**3
PART_BYTES = _FACTS.number("limits.upload_part_bytes")
UPLOAD_KEPT_S = 3600
BATCH_FILE_KEPT_S = _FACTS.number("service.input_kept_s")
EXPIRY_S = (
    _FACTS.number("limits.output_expires_after_min_s"),
    _FACTS.number("limits.output_expires_after_max_s"),
)
LIST_LIMIT = 10_000
_PARAMETERS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})
_UPLOAD_PARAMETERS = frozenset({"bytes", "filename", "mime_type", "purpose", "expires_after"})


class Files:
    """The routes of `/v1/files` and `/v1/uploads`."""

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
            Route("/v1/uploads", self.create_upload, methods=["POST"]),
            Route("/v1/uploads/{upload_id}/parts", self.add_part, methods=["POST"]),
            Route("/v1/uploads/{upload_id}/complete", self.complete_upload, methods=["POST"]),
            Route("/v1/uploads/{upload_id}/cancel", self.cancel_upload, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        form = await read_form(request, self._store, file_field="file", file_limit=FILE_BYTES, too_large=_too_large)
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
        return FileResponse(
            self._store.blob(file.token), media_type="application/octet-stream", filename=Path(file.name).name or "file"
        )

    async def create_upload(self, request: Request) -> Response:
        body = await read_object(request)
        unknown_parameters(body, _UPLOAD_PARAMETERS)
        if body.get("bytes") is None:
            raise missing("bytes")
        now = self._core.clock.now_ns()
        expiry = check_expiry("expires_after", body.get("expires_after"))
        upload = Upload(
            id=new_id("upload_"),
            protocol=PROTOCOL,
            token=new_token(),
            name=text_of(body, "filename"),
            purpose=check_purpose(text_of(body, "purpose")),
            mime=text_of(body, "mime_type"),
            bytes=whole_number("bytes", body["bytes"], 1, UPLOAD_BYTES),
            created_ns=now,
            expires_ns=now + UPLOAD_KEPT_S * SECOND_NS,
            details={"expires_after_s": expiry},
        )
        await run_in_threadpool(self._store.add_upload, upload)
        self._core.work.stir()
        return reply(upload_object(upload))

    async def add_part(self, request: Request) -> Response:
        upload = self._pending(request.path_params["upload_id"])
        form = await read_form(request, self._store, file_field="data", file_limit=PART_BYTES, too_large=_too_large)
        if form.file is None:
            raise missing("data")
        part = Part(new_id("part_"), upload.id, form.file.token, form.file.bytes, self._core.clock.now_ns())
        await run_in_threadpool(self._store.add_part, part)
        return reply(
            {
                "id": part.id,
                "object": "upload.part",
                "created_at": part.created_ns // SECOND_NS,
                "upload_id": upload.id,
            }
        )

    async def complete_upload(self, request: Request) -> Response:
        body = await read_object(request)
        unknown_parameters(body, frozenset({"part_ids", "md5"}))
        part_ids = body.get("part_ids")
        if part_ids is None:
            raise missing("part_ids")
        if not isinstance(part_ids, list) or not all(isinstance(part_id, str) for part_id in part_ids):
            raise wrong_type("part_ids", "an array of strings", part_ids)
        upload = self._pending(request.path_params["upload_id"])
        upload, file = await run_in_threadpool(self._complete, upload, part_ids, body.get("md5"))
        return reply(upload_object(upload, file))

    def cancel_upload(self, request: Request) -> Response:
        upload = self._pending(request.path_params["upload_id"])
        cancelled = replace(upload, status="cancelled")
        if not self._store.change_upload(cancelled):
            raise _not_pending(self._upload(upload.id))
        self._store.end_upload(upload)
        return reply(upload_object(cancelled))

    def _file(self, file_id: str) -> File:
        file = self._store.file(PROTOCOL, file_id)
        if file is None:
            raise no_such_file(file_id)
        return file

    def _upload(self, upload_id: str) -> Upload:
        upload = self._store.upload(upload_id)
        if upload is None or upload.protocol != PROTOCOL:
            raise Refused(404, f"No such Upload object: {upload_id}", param="id")
        return upload

    def _pending(self, upload_id: str) -> Upload:
        upload = self._upload(upload_id)
        if upload.status == "pending" and upload.expires_ns <= self._core.clock.now_ns():
            upload = replace(upload, status="expired")
        if upload.status != "pending":
            raise _not_pending(upload)
        return upload

    def _complete(self, upload: Upload, part_ids: Sequence[str], md5: Any) -> tuple[Upload, File]:
        known = {part.id: part for part in self._store.parts(upload.id)}
        strangers = [part_id for part_id in part_ids if part_id not in known]
        if strangers:
            raise Refused(400, f"No such part in this upload: '{strangers[0]}'.", param="part_ids")
        size = sum(known[part_id].bytes for part_id in part_ids)
        if size != upload.bytes:
            raise Refused(
                400, f"The parts hold {size} bytes, but the upload was created for {upload.bytes}.", param="part_ids"
            )
        token, size, digests = self._store.join_parts([known[part_id] for part_id in part_ids])
        try:
            if md5 is not None and md5 != digests["md5"]:
                raise Refused(
                    400,
                    f"The md5 of the uploaded bytes is {digests['md5']}, which differs from the one given.",
                    param="md5",
                )
            received = Received(token, upload.name, upload.mime, size, digests["sha256"])
            file = self._checked(received, upload.purpose, upload.details["expires_after_s"])
            self._store.keep(token)
            completed = replace(upload, status="completed", file_id=file.id)
            if not self._store.change_upload(completed, file=file):
                self._store.blob(token).unlink(missing_ok=True)
                raise _not_pending(self._upload(upload.id))
        except BaseException:
            self._store.discard(token)
            raise
        self._store.end_upload(upload)
        self._core.work.stir()
        return completed, file

    def _keep(self, received: Received, purpose: str, expiry_s: int | None) -> File:
        file = self._checked(received, purpose, expiry_s)
        self._store.keep(received.token)
        file = self._store.add_file(file)
        self._core.work.stir()
        return file

    def _checked(self, received: Received, purpose: str, expiry_s: int | None) -> File:
        """The record of bytes that have come in. Raises Refused for what the service does not take."""
        path = self._store.incoming(received.token)
        if purpose == "batch":
            if received.bytes > BATCH_FILE_BYTES:
                raise _too_large()
            _check_jsonl(received.name, path)
        if received.bytes == 0:
            raise Refused(400, "File is empty.")
        now = self._core.clock.now_ns()
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
            created_ns=now,
            expires_ns=None if kept_s is None else now + kept_s * SECOND_NS,
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
    suffix = Path(name).suffix.lower()
    with path.open("rb") as file:
        first = file.readline(BATCH_FILE_BYTES)
        while first and first.isspace():
            first = file.readline(BATCH_FILE_BYTES)
    try:
        if suffix not in ("", ".jsonl"):
            raise ValueError
        decode_json(first)
    except ValueError:
        raise Refused(400, "Invalid file format for Batch API. Must be .jsonl") from None


def _too_large() -> Refused:
    return Refused(400, "File is too large.")


def _not_pending(upload: Upload) -> Refused:
    return Refused(400, f"Upload '{upload.id}' is {upload.status}; only a pending upload can be changed.")
