"""Cloud Storage, as far as batch jobs need it: objects put, listed, fetched and deleted, as flows.

Three calls of its JSON API through the same sender as the jobs: streamed from and to disk, resumed where they broke,
with the same credentials, blocking and on an event loop alike.
https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nono.download import download
from nono.errors import InputError, NotFound
from nono.exchange import Call, FileSlice, Flow
from nono.providers.gemini.wire import File, parse_time
from nono.providers.vertex.status import raise_for

_PAGE = 1000
_PLAIN = {"accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Bucket:
    """Cloud Storage at `url`."""

    url: str

    def put(self, path: Path, uri: str, *, mime_type: str = "application/jsonl", on_sent: Any = None) -> Flow[File]:
        """Store a local file as an object; one of that name is replaced."""
        bucket, name = split_uri(uri)
        size_bytes = path.stat().st_size
        reply = yield Call(
            "POST",
            f"{self.url}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "media", "name": name},
            headers={"content-type": mime_type},
            content=(FileSlice(path, 0, size_bytes),),
            on_sent=on_sent,
        )
        return _file(raise_for(reply, f"storing {uri}").json())

    def stat(self, uri: str) -> Flow[File]:
        return _file(raise_for((yield Call("GET", self._object(uri))), f"looking for {uri}").json())

    def list(self, prefix: str) -> Flow[list[File]]:
        """Every object whose address begins with `prefix`, by name."""
        bucket, name = split_uri(prefix, folder=True)
        found: list[File] = []
        token = ""
        while True:
            params: dict[str, str | int] = {"prefix": name, "maxResults": _PAGE}
            if token:
                params["pageToken"] = token
            reply = yield Call("GET", f"{self.url}/storage/v1/b/{bucket}/o", params=params)
            page = raise_for(reply, f"listing {prefix}").json()
            found += map(_file, page.get("items") or [])
            token = page.get("nextPageToken") or ""
            if not token:
                return found

    def fetch(self, file: File, path: Path) -> Flow[Path]:
        """Download an object to `path`: whole or not at all, resumed where it broke."""
        call = Call("GET", self._object(file.name), params={"alt": "media"}, headers=_PLAIN)
        generation = str((file.raw or {}).get("generation", ""))
        mark = re.sub(r"[^A-Za-z0-9-]", "_", file.name)[-60:] + generation
        raise_for((yield from download(call, path, size_bytes=file.size_bytes, mark=mark)), f"fetching {file.name}")
        return path

    def delete(self, uri: str) -> Flow[None]:
        """Delete an object; one that is gone already is no error."""
        try:
            raise_for((yield Call("DELETE", self._object(uri))), f"deleting {uri}")
        except NotFound:
            return

    def _object(self, uri: str) -> str:
        bucket, name = split_uri(uri)
        return f"{self.url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}"


def split_uri(uri: Any, *, folder: bool = False) -> tuple[str, str]:
    """Bucket and name of `gs://bucket/name`; for a folder the name may be empty. Raises InputError."""
    match = re.fullmatch(r"gs://([a-z0-9][a-z0-9._-]*)(?:/(.*))?", uri) if isinstance(uri, str) else None
    if match is None or not (folder or match.group(2)):
        raise InputError(f"not an address in Cloud Storage: {uri!r}", hint="gs://bucket/folder/in.jsonl")
    return match.group(1), match.group(2) or ""


def _file(item: Any) -> File:
    uri = f"gs://{item['bucket']}/{item['name']}"
    return File(
        name=uri,
        display_name=item["name"].rpartition("/")[2],
        mime_type=item.get("contentType"),
        size_bytes=int(item["size"]) if str(item.get("size", "")).isdecimal() else None,
        create_time=parse_time(item.get("timeCreated")),
        uri=uri,
        raw=item,
    )
