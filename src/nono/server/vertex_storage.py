"""A stand-in for Cloud Storage on local files: `gs://bucket/name` is `<data>/gcs/bucket/name`.

It speaks the part of the JSON API that the official client needs to store, list, fetch and delete objects. Files that
somebody puts into the folder by hand are objects, too.
https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from nono.errors import InputError
from nono.files import put_in_place, sync_folder
from nono.providers.vertex.storage import split_uri
from nono.server.clock import rfc3339
from nono.server.dialect import Refused
from nono.server.intake import decode_json, read_object, read_whole
from nono.server.store import Store, new_token
from nono.server.stored_file import StoredFile
from nono.server.vertex_wire import reply

if TYPE_CHECKING:
    from nono.server.app import Core

_PAGE = 1000
# The official client sends what is larger in chunks.
_MULTIPART_BYTES = 32 << 20
# Uploads in chunks that are under way; the oldest is forgotten, as the service forgets one after a week.
_MOST_SESSIONS = 100
_CHUNK = re.compile(r"bytes (?:\*|(?P<first>\d{1,18})-(?P<last>\d{1,18}|\*))/(?P<total>\d{1,18}|\*)")


class Storage:
    """The objects, and their routes."""

    def __init__(self, core: Core) -> None:
        self._store: Store = core.store
        self.folder = core.store.folder / "gcs"
        # Where the object of an upload in chunks goes, by the token of its bytes.
        self._sessions: dict[str, str] = {}

    def routes(self) -> list[BaseRoute]:
        objects = "/storage/v1/b/{bucket}/o"
        one = f"{objects}/{{name:path}}"
        return [
            Route("/storage/v1/b", self._make_bucket, methods=["POST"]),
            Route("/storage/v1/b/{bucket}", self._bucket, methods=["GET"]),
            Route(objects, self._list, methods=["GET"]),
            Route(f"/upload{objects}", self._upload, methods=["POST"]),
            Route(f"/upload{objects}", self._go_on, methods=["PUT"]),
            Route(one, self._get, methods=["GET"]),
            Route(f"/download{one}", self._get, methods=["GET"]),
            Route(one, self._delete, methods=["DELETE"]),
        ]

    def path(self, uri: str) -> Path:
        """Where an object's bytes are. Raises Refused for an address that no file can have."""
        try:
            bucket, name = split_uri(uri)
        except InputError as error:
            raise Refused(400, error.message) from error
        parts = name.split("/")
        if any(part in ("", ".", "..") or "\0" in part or len(part.encode()) > 255 for part in parts):
            raise Refused(400, f"This local server cannot keep an object of the name {name[:200]!r} in a file.")
        return self.folder.joinpath(bucket, *parts)

    def put(self, source: Path, uri: str) -> None:
        """Make the bytes of a file the object's; the file itself stays."""
        target = self._room_for(uri)
        part = target.with_name(f"{target.name}.{new_token()}.tmp")
        try:
            os.link(source, part)
        except OSError:  # another file system
            shutil.copyfile(source, part)
        part.replace(target)
        sync_folder(target.parent)

    def _room_for(self, uri: str) -> Path:
        target = self.path(uri)
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except (FileExistsError, NotADirectoryError):
            raise Refused(
                409, f"Part of {uri!r} is an object already, and this server keeps objects in files."
            ) from None
        if target.is_dir():
            raise Refused(409, f"{uri!r} is a folder of other objects, and this server keeps objects in files.")
        return target

    # over HTTP

    async def _make_bucket(self, request: Request) -> Response:
        name = str((await read_object(request)).get("name", ""))
        self.path(f"gs://{name}/x").parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return reply(_bucket_object(name))

    def _bucket(self, request: Request) -> Response:
        name = request.path_params["bucket"]
        if not self.path(f"gs://{name}/x").parent.is_dir():
            raise Refused(404, "The specified bucket does not exist.", code="notFound")
        return reply(_bucket_object(name))

    def _list(self, request: Request) -> Response:
        bucket, query = request.path_params["bucket"], request.query_params
        if query.get("delimiter"):
            raise Refused(501, "This local server does not imitate 'delimiter'.")
        root = self.path(f"gs://{bucket}/x").parent
        prefix, after = query.get("prefix", ""), query.get("pageToken", "")
        size = int(query.get("maxResults") or _PAGE) if (query.get("maxResults") or "1").isdigit() else _PAGE
        found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        names = sorted(name for name in found if name.startswith(prefix) and name > after and not _unfinished(name))
        shown = [_object(bucket, name, root / name) for name in names[:size]]
        more = {"nextPageToken": names[size - 1]} if len(names) > size else {}
        return reply({"kind": "storage#objects", "items": shown, **more})

    def _get(self, request: Request) -> Response:
        bucket, name = request.path_params["bucket"], request.path_params["name"]
        path = self._existing(bucket, name)
        if request.query_params.get("alt") == "media":
            return StoredFile(path, media_type="application/octet-stream")
        return reply(_object(bucket, name, path))

    def _delete(self, request: Request) -> Response:
        self._existing(request.path_params["bucket"], request.path_params["name"]).unlink()
        return Response(status_code=204)

    def _existing(self, bucket: str, name: str) -> Path:
        path = self.path(f"gs://{bucket}/{name}")
        if not path.is_file():
            raise Refused(404, f"No such object: {bucket}/{name[:500]}", code="notFound")
        return path

    async def _upload(self, request: Request) -> Response:
        bucket, kind = request.path_params["bucket"], request.query_params.get("uploadType", "media")
        if kind == "resumable":
            return await self._begin(request, bucket)
        token = new_token()
        try:
            if kind == "media":
                name = request.query_params.get("name", "")
                target = self._room_for(f"gs://{bucket}/{name}")
                await self._receive(request, token)
            elif kind == "multipart":
                name, content = _parts(
                    request.headers.get("content-type", ""), await read_whole(request, _MULTIPART_BYTES)
                )
                target = self._room_for(f"gs://{bucket}/{name or request.query_params.get('name', '')}")
                await run_in_threadpool(self._store.incoming(token).write_bytes, content)
            else:
                raise Refused(501, f"This local server knows uploads media, multipart, resumable, not {kind[:40]!r}.")
            await run_in_threadpool(put_in_place, self._store.incoming(token), target)
        except BaseException:
            self._store.discard(token)
            raise
        return reply(_object(bucket, target.relative_to(self.folder / bucket).as_posix(), target))

    async def _begin(self, request: Request, bucket: str) -> Response:
        """Open an upload in chunks; its address is answered in `Location`."""
        about = await read_object(request) if (request.headers.get("content-length") or "0") != "0" else {}
        name = request.query_params.get("name") or about.get("name")
        if not isinstance(name, str):
            raise Refused(400, "An object has a name.")
        uri, token = f"gs://{bucket}/{name}", new_token()
        self._room_for(uri)
        while len(self._sessions) >= _MOST_SESSIONS:
            self._forget(next(iter(self._sessions)))
        self._sessions[token] = uri
        await run_in_threadpool(self._store.incoming(token).write_bytes, b"")
        address = request.url.replace(query=f"uploadType=resumable&upload_id={token}")
        return Response(status_code=200, headers={"location": str(address), "x-guploader-uploadid": token})

    async def _go_on(self, request: Request) -> Response:
        """A chunk (`bytes 0-99/1000`, `bytes 0-99/*`) or a question (`bytes */1000`): 308 until the object is whole.

        A chunk that does not begin where the last one ended is not taken; the answer says how much is here.
        """
        token = request.query_params.get("upload_id", "")
        uri = self._sessions.get(token)
        if uri is None:
            raise Refused(404, "There is no such upload, or it was forgotten.", code="notFound")
        match = _CHUNK.fullmatch(request.headers.get("content-range", "bytes 0-*/*"))
        if match is None:
            raise Refused(400, "Content-Range: expected bytes FIRST-LAST/TOTAL or bytes */TOTAL.")
        first, total = match["first"], match["total"]
        part = self._store.incoming(token)
        if first is not None and int(first) == part.stat().st_size:
            await self._receive(request, token)
            if match["last"] in (None, "*"):
                total = str(part.stat().st_size)  # all of it in one request, of whatever length
        here = part.stat().st_size
        if total == "*" or here < int(total):
            return Response(status_code=308, headers={"range": f"bytes=0-{here - 1}"} if here else {})
        bucket, name = split_uri(uri)
        if here > int(total):
            self._forget(token)
            raise Refused(400, f"{here} bytes came, and the object was said to have {total}.")
        del self._sessions[token]
        target = self._room_for(uri)
        await run_in_threadpool(put_in_place, part, target)
        return reply(_object(bucket, name, target))

    def _forget(self, token: str) -> None:
        del self._sessions[token]
        self._store.discard(token)

    async def _receive(self, request: Request, token: str) -> None:
        """Append what comes to the bytes of an upload."""
        with self._store.incoming(token).open("ab") as file:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)


def _parts(content_type: str, body: bytes) -> tuple[str, bytes]:
    """Name and bytes out of a multipart/related body: the object's JSON first, its bytes second."""
    head = f"content-type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    boundary = (message.get_boundary() or "").encode()
    pieces = body.split(b"--" + boundary) if boundary else []
    if len(pieces) != 4:
        raise Refused(400, "A multipart upload has two parts: the object's JSON, and its bytes.")
    about = re.search(rb'"name"\s*:\s*("(?:[^"\\]|\\.)*")', pieces[1])
    content = re.split(rb"\r?\n\r?\n", pieces[2], maxsplit=1)
    if len(content) != 2:
        raise Refused(400, "The second part of a multipart upload has no bytes.")
    data = content[1].removesuffix(b"\n").removesuffix(b"\r")
    return (str(decode_json(about.group(1))) if about else ""), data


def _unfinished(name: str) -> bool:
    return re.search(r"\.[0-9a-f]{32}\.tmp$", name) is not None


def _bucket_object(name: str) -> dict[str, Any]:
    return {"kind": "storage#bucket", "id": name, "name": name, "location": "LOCAL"}


def _object(bucket: str, name: str, path: Path) -> dict[str, Any]:
    about = path.stat()
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{about.st_mtime_ns}",
        "name": name,
        "bucket": bucket,
        "generation": str(about.st_mtime_ns),
        "contentType": "application/jsonl" if name.endswith(".jsonl") else "application/octet-stream",
        "size": str(about.st_size),
        "timeCreated": rfc3339(about.st_mtime_ns),
        "updated": rfc3339(about.st_mtime_ns),
        "etag": base64.b64encode(hashlib.sha256(f"{about.st_mtime_ns}".encode()).digest()[:6]).decode(),
    }
