"""Cloud Storage, as far as batch jobs need it: objects put, listed, fetched and deleted, as flows.

A few calls of its JSON API through the same sender as the jobs: streamed from and to disk, resumed where they broke,
with the same credentials, blocking and on an event loop alike.
https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nono.download import download
from nono.errors import InputError, NotFound, TransportError, UnreadableAnswer
from nono.exchange import Call, FileSlice, Flow, Pause, Reply
from nono.facts import read_facts
from nono.providers.gemini.paging import all_items
from nono.providers.gemini.wire import File, parse_time
from nono.providers.vertex.status import raise_for
from nono.retry import RetryPolicy, pause_before_retry

# A multiple of 256 KiB; what is not larger goes in one piece.
CHUNK_BYTES = read_facts("vertex").number("limits.upload_chunk_bytes")
# A connection that breaks without having brought a single byte, so often in a row, is given up.
_POLICY = RetryPolicy(tries=5)
_GO_ON = 308
_FORGOTTEN = (404, 410)
_PAGE = 1000
_PLAIN = {"accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Bucket:
    """Cloud Storage at `url`."""

    url: str

    def put(self, path: Path, uri: str, *, mime_type: str = "application/jsonl", on_sent: Any = None) -> Flow[File]:
        """Store a local file as an object; one of that name is replaced.

        A large one goes in chunks, and after a broken connection on from where Cloud Storage has got to.
        """
        bucket, name = split_uri(uri)
        size_bytes = path.stat().st_size
        if size_bytes > CHUNK_BYTES:
            return (yield from self._put_in_chunks(path, uri, mime_type, on_sent))
        reply = yield Call(
            "POST",
            f"{self.url}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "media", "name": name},
            headers={"content-type": mime_type},
            content=(FileSlice(path, 0, size_bytes),),
            on_sent=on_sent,
        )
        return _file(raise_for(reply, f"storing {uri}").json())

    def _put_in_chunks(self, path: Path, uri: str, mime_type: str, on_sent: Any) -> Flow[File]:
        """https://cloud.google.com/storage/docs/performing-resumable-uploads"""
        bucket, name = split_uri(uri)
        begin = Call(
            "POST",
            f"{self.url}/upload/storage/v1/b/{bucket}/o",
            params={"uploadType": "resumable", "name": name},
            headers={"x-upload-content-type": mime_type, "x-upload-content-length": str(path.stat().st_size)},
            json={"name": name, "contentType": mime_type},
        )
        for _ in range(_POLICY.tries):
            session = raise_for((yield begin), f"storing {uri}").headers.get("location")
            if not session:
                raise UnreadableAnswer("Cloud Storage began an upload and named no address for it")
            last = yield from _feed(session, path, uri, on_sent)
            if last is not None:
                return _file(last.json())
        raise UnreadableAnswer(f"storing {uri}: Cloud Storage lost the upload {_POLICY.tries} times")

    def stat(self, uri: str) -> Flow[File]:
        return _file(raise_for((yield Call("GET", self._object(uri))), f"looking for {uri}").json())

    def find(self, uri: str) -> Flow[File | None]:
        """The object, or None."""
        try:
            return (yield from self.stat(uri))
        except NotFound:
            return None

    def list(self, prefix: str) -> Flow[list[File]]:
        """Every object whose address begins with `prefix`, by name."""
        bucket, name = split_uri(prefix, folder=True)
        call = Call("GET", f"{self.url}/storage/v1/b/{bucket}/o", params={"prefix": name, "maxResults": _PAGE})
        found = yield from all_items(call, "items", lambda reply: raise_for(reply, f"listing {prefix}").json())
        return [_file(item) for item in found]

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


def _feed(session: str, path: Path, uri: str, on_sent: Any) -> Flow[Reply | None]:
    """Send a file chunk by chunk and return the last reply; None if the session has been forgotten."""
    size_bytes = path.stat().st_size
    offset, furthest, idle_tries = 0, 0, 0
    while True:
        length = min(CHUNK_BYTES, size_bytes - offset)
        call = Call(
            "PUT",
            session,
            headers={"content-range": f"bytes {offset}-{offset + length - 1}/{size_bytes}"},
            content=(FileSlice(path, offset, length),),
            once=True,  # what a broken chunk left behind is asked, not guessed
            on_sent=_told(on_sent, offset),
        )
        reply: Reply | None = None
        broken: TransportError | None = None
        try:
            reply = yield call
        except TransportError as error:
            broken = error
        if reply is None or not (reply.ok or reply.status in (_GO_ON, *_FORGOTTEN)):
            wait_s = pause_before_retry(call, reply, broken, idle_tries, _POLICY)
            if wait_s is None or idle_tries + 1 >= _POLICY.tries:
                if broken is not None:
                    raise broken
                assert reply is not None
                raise_for(reply, f"storing {uri}")
            yield Pause(wait_s or 0.0)
            reply = yield Call("PUT", session, headers={"content-range": f"bytes */{size_bytes}"}, content=())
        if reply.ok:
            return reply
        if reply.status in _FORGOTTEN:
            return None
        if reply.status != _GO_ON:
            raise_for(reply, f"asking how far the upload of {uri} has come")
        received = _received(reply)
        idle_tries = 0 if received > furthest else idle_tries + 1
        furthest = max(furthest, received)
        if received >= size_bytes or idle_tries >= _POLICY.tries:
            raise UnreadableAnswer(f"storing {uri}: Cloud Storage has {received:,} of {size_bytes:,} bytes and asks on")
        offset = received


def _told(on_sent: Any, offset: int) -> Callable[[int], object] | None:
    return None if on_sent is None else lambda sent: on_sent(offset + sent)


def _received(reply: Reply) -> int:
    """How many bytes have come: `Range: bytes=0-N`, or none without one."""
    match = re.fullmatch(r"bytes=0-(\d{1,18})", reply.headers.get("range", ""))
    return int(match.group(1)) + 1 if match else 0


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
