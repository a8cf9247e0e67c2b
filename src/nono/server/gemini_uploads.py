"""Gemini's resumable upload: one address, commands in a header, bytes that grow on disk until they are finalized.

Whoever knows an upload's address may feed it: no key is asked for. A chunk is written at its offset, so that one that
comes twice changes nothing, and a broken one leaves what had arrived; `query` tells how much that is, also after a
restart. https://ai.google.dev/api/files
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nono.server.clock import SECOND_NS
from nono.server.database import Taken
from nono.server.dialect import Refused
from nono.server.gemini_files import shown_file
from nono.server.gemini_wire import FACTS, FILE_ID_CHARS, PROTOCOL, UPLOAD, address, new_id, pick, reply
from nono.server.intake import read_object
from nono.server.records import File, Upload
from nono.server.store import new_token

if TYPE_CHECKING:
    from nono.server.app import Core

FILE_BYTES = FACTS.number("limits.file_bytes")
FILE_KEPT_S = FACTS.number("service.file_kept_s")
GRANULARITY = FACTS.number("limits.upload_chunk_bytes")
# https://cloud.google.com/storage/docs/resumable-uploads#session-uris: a week
UPLOAD_KEPT_S = 7 * 86_400
_ID_LENGTH = 12
_WRITE_BYTES = 1 << 20
_LEGAL_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_FIELDS = frozenset({"name", "displayName", "mimeType", "sizeBytes"})


class Uploads:
    """The route of `/upload/…/files`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._store = core.store
        # Who writes to an upload at this moment: a chunk whose connection hangs must not write behind its successor.
        self._writers: dict[str, object] = {}

    def routes(self) -> list[Route]:
        return [Route(f"{UPLOAD}files", self.post, methods=["POST", "PUT"])]

    async def post(self, request: Request) -> Response:
        commands = {word.strip().lower() for word in request.headers.get("x-goog-upload-command", "").split(",")} - {""}
        upload_id = request.query_params.get("upload_id")
        if upload_id is None:
            return await self._start(request, commands)
        upload = await run_in_threadpool(self._upload, upload_id)
        if not commands or not commands <= {"upload", "finalize", "query", "cancel"}:
            raise Refused(400, f"Invalid X-Goog-Upload-Command: {', '.join(sorted(commands)) or 'none'}.")
        if upload.status == "final":
            return self._final(upload, request)
        if "cancel" in commands:
            return await run_in_threadpool(self._cancel, upload)
        if "query" in commands:
            return _active(self._received(upload))
        if "upload" in commands:
            await self._write(upload, request)
        if "finalize" in commands:
            self._writers.pop(upload.id, None)
            self._received(upload)
            return self._final(await run_in_threadpool(self._finalize, upload), request)
        return _active(self._received(upload))

    async def _start(self, request: Request, commands: set[str]) -> Response:
        protocol = request.headers.get("x-goog-upload-protocol", "none").lower()
        if protocol != "resumable" or commands != {"start"}:
            raise Refused(
                400,
                f"Upload protocol {protocol!r} with command {', '.join(sorted(commands)) or 'none'!r} is not imitated "
                "by this local server: start a resumable upload (X-Goog-Upload-Protocol: resumable, "
                "X-Goog-Upload-Command: start), then send 'upload, finalize' to its X-Goog-Upload-URL.",
            )
        about = _about(await read_object(request))
        declared = request.headers.get("x-goog-upload-header-content-length")
        size = _size(declared if declared is not None else about.get("sizeBytes"))
        now = self._core.clock.now_ns()
        upload = Upload(
            id=new_token(),
            protocol=PROTOCOL,
            token=new_token(),
            name=request.headers.get("x-goog-upload-file-name", ""),
            purpose="",
            mime=about.get("mimeType") or request.headers.get("x-goog-upload-header-content-type") or "",
            bytes=size or 0,
            created_ns=now,
            expires_ns=now + UPLOAD_KEPT_S * SECOND_NS,
            file_id=_chosen_id(about.get("name")),
            details={"display_name": about.get("displayName"), "declared": size},
        )
        await run_in_threadpool(self._add, upload)
        self._core.work.stir()
        url = address(request, "upload/", f"files?upload_id={upload.id}&upload_protocol=resumable")
        headers = {
            "X-Goog-Upload-URL": url,
            "X-Goog-Upload-Control-URL": url,
            "X-Goog-Upload-Status": "active",
            "X-Goog-Upload-Chunk-Granularity": str(GRANULARITY),
        }
        return Response(b"", headers=headers, media_type="text/plain")

    def _add(self, upload: Upload) -> None:
        if upload.file_id and self._store.file(PROTOCOL, upload.file_id):
            raise _taken(upload.file_id)
        self._store.incoming(upload.token).touch(mode=0o600)
        self._store.add_upload(upload)

    def _upload(self, upload_id: str) -> Upload:
        upload = self._store.upload(upload_id)
        if upload is None or upload.protocol != PROTOCOL or upload.status not in ("pending", "final"):
            raise _gone()
        if upload.status == "pending" and upload.expires_ns <= self._core.clock.now_ns():
            raise _gone()
        return upload

    def _received(self, upload: Upload) -> int:
        try:
            return self._store.incoming(upload.token).stat().st_size
        except FileNotFoundError:  # cancelled meanwhile, or finalized by a server that was killed before it said so
            raise _gone() from None

    def _cancel(self, upload: Upload) -> Response:
        self._writers.pop(upload.id, None)
        if self._store.change_upload(replace(upload, status="cancelled")):
            self._store.end_upload(upload)
        return Response(b"", headers={"X-Goog-Upload-Status": "cancelled"}, media_type="text/plain")

    async def _write(self, upload: Upload, request: Request) -> None:
        """Write a chunk at its offset. What has been written stays when the connection breaks."""
        received = self._received(upload)
        given = request.headers.get("x-goog-upload-offset", str(received))
        if not re.fullmatch(r"\d{1,18}", given) or int(given) > received:
            raise Refused(
                400,
                f"Invalid X-Goog-Upload-Offset: {given[:40]!r}; {received} bytes have been received.",
                headers={"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": str(received)},
            )
        limit = upload.details["declared"] if upload.details["declared"] is not None else FILE_BYTES
        writer = self._writers[upload.id] = object()
        place = int(given)
        waiting = bytearray()
        try:
            async for piece in request.stream():
                waiting += piece
                if place + len(waiting) > limit:
                    raise Refused(400, f"The upload was announced with {limit} bytes; more have been sent.")
                if len(waiting) >= _WRITE_BYTES:
                    await run_in_threadpool(self._put, upload, writer, place, bytes(waiting))
                    place += len(waiting)
                    waiting.clear()
        finally:
            if waiting:
                await run_in_threadpool(self._put, upload, writer, place, bytes(waiting[: max(0, limit - place)]))
            if self._writers.get(upload.id) is writer:
                del self._writers[upload.id]

    def _put(self, upload: Upload, writer: object, place: int, piece: bytes) -> None:
        if self._writers.get(upload.id) is not writer:
            raise Refused(409, "A later call goes on with this upload.")
        try:
            with self._store.incoming(upload.token).open("rb+") as file:
                file.seek(place)
                file.write(piece)
        except FileNotFoundError:
            raise _gone() from None

    def _finalize(self, upload: Upload) -> Upload:
        path = self._store.incoming(upload.token)
        size, declared = path.stat().st_size, upload.details["declared"]
        if declared is not None and size != declared:
            raise Refused(
                400,
                f"The upload was announced with {declared} bytes, and {size} have been received.",
                headers={"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": str(size)},
            )
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        now = self._core.clock.now_ns()
        file = File(
            id=upload.file_id or new_id(_ID_LENGTH),
            protocol=PROTOCOL,
            token=upload.token,
            name=upload.name,
            purpose="",
            mime=upload.mime or "application/octet-stream",
            bytes=size,
            sha256=digest,
            created_ns=now,
            expires_ns=now + FILE_KEPT_S * SECOND_NS,
            details={"display_name": upload.details["display_name"]},
        )
        final = replace(upload, status="final", file_id=file.id, bytes=size)
        try:
            self._store.keep(upload.token)
            kept = self._store.change_upload(final, file=file)
        except FileNotFoundError:
            kept = False  # another finalize was faster
        except Taken:
            self._store.blob(upload.token).unlink(missing_ok=True)
            self._store.change_upload(replace(upload, status="cancelled"))
            raise _taken(file.id) from None
        self._core.work.stir()
        return final if kept else self._upload(upload.id)

    def _final(self, upload: Upload, request: Request) -> Response:
        """The file that an upload has become; asked for again, the same."""
        file = self._store.file(PROTOCOL, upload.file_id or "")
        if file is None:
            raise Refused(404, "The uploaded file was deleted, or has expired.")
        headers = {"X-Goog-Upload-Status": "final", "X-Goog-Upload-Size-Received": str(upload.bytes)}
        return reply({"file": shown_file(file, request)}, headers=headers)


def _active(received: int) -> Response:
    headers = {"X-Goog-Upload-Status": "active", "X-Goog-Upload-Size-Received": str(received)}
    return Response(b"", headers=headers, media_type="text/plain")


def _about(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the start says about the file, in either spelling. Raises Refused."""
    given = body.get("file") or {}
    if not isinstance(given, Mapping):
        raise Refused(400, "Invalid value at 'file': expected an object.")
    about = {name: pick(given, name) for name in _FIELDS}
    for name in ("name", "displayName", "mimeType"):
        if about[name] is not None and not isinstance(about[name], str):
            raise Refused(400, f"Invalid value at 'file.{name}': expected a string.")
    if len(about["displayName"] or "") > 512:  # https://ai.google.dev/api/files#File
        raise Refused(400, "Invalid value at 'file.displayName': at most 512 characters.")
    return about


def _size(given: Any) -> int | None:
    """The announced size; None if nobody announced one. Raises Refused."""
    if given is None:
        return None
    if isinstance(given, bool) or not re.fullmatch(r"\d{1,18}", str(given)):
        raise Refused(400, f"Invalid size of the upload: {str(given)[:40]!r}.")
    if int(given) > FILE_BYTES:
        raise Refused(400, f"The file is larger than the {FILE_BYTES} bytes that are accepted.")
    return int(given)


def _chosen_id(name: str | None) -> str | None:
    if not name:
        return None
    file_id = name.removeprefix("files/")
    if len(file_id) > FILE_ID_CHARS or not _LEGAL_ID.fullmatch(file_id):
        raise Refused(
            400,
            f"* CreateFileRequest.file.name: {name[:80]!r} is not 'files/' with at most {FILE_ID_CHARS} lowercase "
            "letters, digits and dashes, no dash at the ends.",
        )
    return file_id


def _gone() -> Refused:
    return Refused(404, "This upload does not exist, was cancelled, or has expired. Start a new one.")


def _taken(file_id: str) -> Refused:
    return Refused(409, f"Requested entity already exists: files/{file_id}.")
