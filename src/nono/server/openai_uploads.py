"""OpenAI's uploads in parts, over the store: parts are kept as they come, and become one file when all is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nono.facts import read_facts
from nono.server.clock import SECOND_NS, unix_s
from nono.server.dialect import Refused
from nono.server.intake import Received, read_form, read_object
from nono.server.openai_files import PROTOCOL, check_expiry, check_purpose, file_record, too_large
from nono.server.openai_wire import (
    missing,
    new_id,
    reply,
    text_of,
    unknown_parameters,
    upload_object,
    whole_number,
    wrong_type,
)
from nono.server.records import File, Part, Upload
from nono.server.store import new_token

if TYPE_CHECKING:
    from nono.server.app import Core

# https://platform.openai.com/docs/api-reference/uploads/create
UPLOAD_BYTES = 8 * 1024**3
UPLOAD_KEPT_S = 3600
PART_BYTES = read_facts("openai").number("limits.upload_part_bytes")
_PARAMETERS = frozenset({"bytes", "filename", "mime_type", "purpose", "expires_after"})


class Uploads:
    """The routes of `/v1/uploads`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store = core.store

    def routes(self) -> list[Route]:
        return [
            Route("/v1/uploads", self.create, methods=["POST"]),
            Route("/v1/uploads/{upload_id}/parts", self.add_part, methods=["POST"]),
            Route("/v1/uploads/{upload_id}/complete", self.complete, methods=["POST"]),
            Route("/v1/uploads/{upload_id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        body = await read_object(request)
        unknown_parameters(body, _PARAMETERS)
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
        form = await read_form(request, self._store, file_field="data", file_limit=PART_BYTES, too_large=too_large)
        if form.file is None:
            raise missing("data")
        part = Part(new_id("part_"), upload.id, form.file.token, form.file.bytes, self._core.clock.now_ns())
        try:
            await run_in_threadpool(self._store.add_part, part)
            self._pending(upload.id)  # it may have ended while the bytes came
        except BaseException:
            self._store.discard(part.token)
            raise
        return reply(
            {
                "id": part.id,
                "object": "upload.part",
                "created_at": unix_s(part.created_ns),
                "upload_id": upload.id,
            }
        )

    async def complete(self, request: Request) -> Response:
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

    def cancel(self, request: Request) -> Response:
        upload = self._pending(request.path_params["upload_id"])
        cancelled = replace(upload, status="cancelled")
        if not self._store.change_upload(cancelled):
            raise _not_pending(self._upload(upload.id))
        self._store.end_upload(upload)
        return reply(upload_object(cancelled))

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
        try:
            token, size, digests = self._store.join_parts([known[part_id] for part_id in part_ids])
        except FileNotFoundError:
            self._pending(upload.id)  # another call has ended it meanwhile
            raise
        try:
            if md5 is not None and md5 != digests["md5"]:
                raise Refused(
                    400,
                    f"The md5 of the uploaded bytes is {digests['md5']}, which differs from the one given.",
                    param="md5",
                )
            received = Received(token, upload.name, upload.mime, size, digests["sha256"])
            file = file_record(
                received, upload.purpose, upload.details["expires_after_s"], self._store, self._core.clock.now_ns()
            )
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


def _not_pending(upload: Upload) -> Refused:
    return Refused(400, f"Upload '{upload.id}' is {upload.status}; only a pending upload can be changed.")
