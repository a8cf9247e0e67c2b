"""Gemini's files over the store: what can be asked about them, and the download of answers."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nono.server.answer_files import LINE_BYTES
from nono.server.dialect import Refused
from nono.server.gemini_wire import (
    BASE,
    DOWNLOAD,
    FILE_ID_CHARS,
    PROTOCOL,
    address,
    file_object,
    next_page,
    no_such_file,
    page_of,
    reply,
)
from nono.server.records import File
from nono.server.store import Store
from nono.server.stored_file import StoredFile

if TYPE_CHECKING:
    from nono.server.app import Core

_DEFAULT_PAGE = 10
# Addresses that stand for a file of ours: `files/x`, and what a File's `uri` says.
_OWN = re.compile(r"(?:https?://[^/]+/(?:gemini/)?(?:v1|v1beta|v1alpha)/)?files/(?P<id>[a-z0-9-]+)")


class Files:
    """The routes of `files`."""

    def __init__(self, core: Core) -> None:
        self._store = core.store

    def routes(self) -> list[Route]:
        return [
            Route(f"{BASE}files", self.list, methods=["GET"]),
            Route(f"{BASE}files", self.create, methods=["POST"]),
            Route(f"{BASE}files:register", self.register, methods=["POST"]),
            Route(f"{BASE}files/{{file_id:gemini_word}}", self.get, methods=["GET"]),
            Route(f"{BASE}files/{{file_id:gemini_word}}", self.delete, methods=["DELETE"]),
            Route(f"{BASE}files/{{file_id:gemini_word}}:download", self.download, methods=["GET"]),
            Route(f"{DOWNLOAD}files/{{file_id:gemini_word}}:download", self.download, methods=["GET"]),
        ]

    def list(self, request: Request) -> Response:
        """Uploaded files only, newest first."""
        size, seen = page_of(request, _DEFAULT_PAGE)
        files = self._store.files(PROTOCOL, source="uploaded", after=seen, limit=size + 1)
        shown: dict[str, Any] = {"files": [shown_file(file, request) for file in files[:size]]} if files else {}
        return reply(shown | ({"nextPageToken": next_page(files[size - 1].seq)} if len(files) > size else {}))

    def get(self, request: Request) -> Response:
        return reply(shown_file(self._file(request, "GetFileRequest"), request))

    def delete(self, request: Request) -> Response:
        file = self._file(request, "DeleteFileRequest")
        if not self._store.delete_file(PROTOCOL, file.id):
            raise no_such_file(file.id)
        return reply({})

    def download(self, request: Request) -> Response:
        """The bytes of an answer file; asked for with Range, a part of them."""
        file_id = request.path_params["file_id"]
        file = self._store.file(PROTOCOL, file_id)
        if file is None:
            raise _no_such_answers(file_id)
        if file.source == "uploaded":
            raise Refused(400, f"File files/{file_id} was uploaded; only generated files can be downloaded.")
        path = self._store.blob(file.token)
        try:
            found = path.stat()
        except FileNotFoundError:
            if self._store.file(PROTOCOL, file_id) is None:  # its batch was deleted at this moment
                raise _no_such_answers(file_id) from None
            raise
        return StoredFile(path, media_type="application/octet-stream", stat_result=found)

    def create(self, request: Request) -> Response:
        raise Refused(501, "This local server takes files through its upload address: POST /upload/v1beta/files.")

    def register(self, request: Request) -> Response:
        raise Refused(501, "This local server cannot read gs:// addresses; upload the file instead.")

    def _file(self, request: Request, call: str) -> File:
        file_id: str = request.path_params["file_id"]
        if len(file_id) > FILE_ID_CHARS:
            raise Refused(
                400,
                f"* {call}.name: File ID (name excluding 'files/') cannot be more than {FILE_ID_CHARS} characters.",
            )
        file = self._store.file(PROTOCOL, file_id)
        if file is None:
            raise no_such_file(file_id)
        return file


def _no_such_answers(file_id: str) -> Refused:
    if len(file_id) > FILE_ID_CHARS:  # only the server makes such names
        return Refused(404, f"File files/{file_id[:100]} not found.")
    return no_such_file(file_id)


def shown_file(file: File, request: Request) -> dict[str, Any]:
    """A file, with the address under which the client that asks reaches it."""
    return file_object(file, address(request, "", f"files/{file.id}"))


def with_own_files(request: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """The request with every file of this server in the place where it was named.

    Raises Refused for a file that would have to be here and is not.
    """
    contents = [
        content | {"parts": [_with_own_file(part, store) for part in content.get("parts") or []]}
        for content in request.get("contents") or []
    ]
    return {**request, "contents": contents}


def _with_own_file(part: Mapping[str, Any], store: Store) -> Mapping[str, Any]:
    named = part.get("fileData")
    found = _OWN.fullmatch(str(named.get("fileUri"))) if named else None
    if not named or not found:
        return part
    file = store.file(PROTOCOL, found["id"])
    if file is None:
        raise no_such_file(found["id"])
    if file.bytes > LINE_BYTES:
        raise Refused(400, f"File files/{file.id} is too large for a request: {file.bytes} bytes, of {LINE_BYTES}.")
    blob = {
        "mimeType": named.get("mimeType") or file.mime,
        "displayName": file.details.get("display_name") or file.name,
        "data": base64.b64encode(store.blob(file.token).read_bytes()).decode(),
    }
    return {name: value for name, value in part.items() if name != "fileData"} | {"inlineData": blob}
