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
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from nono.errors import InputError
from nono.files import put_in_place, sync_folder
from nono.providers.vertex.storage import split_uri
from nono.server.clock import rfc3339
from nono.server.dialect import Refused
from nono.server.intake import decode_json, read_object, read_whole
from nono.server.store import Store, new_token
from nono.server.vertex_wire import reply

if TYPE_CHECKING:
    from nono.server.app import Core

_PAGE = 1000
# The official client sends more than this in pieces, which has no route here.
_MULTIPART_BYTES = 32 << 20


class Storage:
    """The objects, and their routes."""

    def __init__(self, core: Core) -> None:
        self._store: Store = core.store
        self.folder = core.store.folder / "gcs"

    def routes(self) -> list[BaseRoute]:
        objects = "/storage/v1/b/{bucket}/o"
        one = f"{objects}/{{name:path}}"
        return [
            Route("/storage/v1/b", self._make_bucket, methods=["POST"]),
            Route("/storage/v1/b/{bucket}", self._bucket, methods=["GET"]),
            Route(objects, self._list, methods=["GET"]),
            Route(f"/upload{objects}", self._upload, methods=["POST"]),
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
            return FileResponse(path, media_type="application/octet-stream")
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
                raise Refused(501, f"This local server takes uploads whole (media, multipart), not {kind[:40]!r}.")
            await run_in_threadpool(put_in_place, self._store.incoming(token), target)
        except BaseException:
            self._store.discard(token)
            raise
        return reply(_object(bucket, target.relative_to(self.folder / bucket).as_posix(), target))

    async def _receive(self, request: Request, token: str) -> None:
        with self._store.incoming(token).open("wb") as file:
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
