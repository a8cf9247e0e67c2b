"""Reading what clients send: JSON that cannot hurt, and uploads that go to disk as they come.

An upload is whole or not there: whatever goes wrong on the way removes what has been written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import msgspec
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from nono.server.dialect import Refused
from nono.server.guard import BODY
from nono.server.store import Store, new_token

# Deeper than any request body of either API; the recursive code behind is safe below.
JSON_DEPTH = 128
_FIELD_BYTES = 4096
_FIELDS = 64
_FLUSH_BYTES = 1 << 20
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
# Decoding this much is felt by other clients; more of it goes to a thread.
_DECODE_HERE_BYTES = 1 << 16
_decoder = msgspec.json.Decoder()


def decode_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises ValueError for everything that is not plain JSON of sensible depth and numbers.
    """
    try:
        value = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if body.count(b"[") + body.count(b"{") > JSON_DEPTH and _is_deep(body):
        raise ValueError(f"JSON nested deeper than {JSON_DEPTH} levels")
    return value


def _is_deep(json: bytes) -> bool:
    """Whether brackets nest deeper than allowed, in a text that is known to be JSON (so that strings end)."""
    brackets = _STRING.sub(b"", json).translate(None, _NO_BRACKETS)
    for _ in range(JSON_DEPTH):
        shallower = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(shallower) == len(brackets):
            break
        brackets = shallower
    return bool(brackets)


async def read_whole(request: Request, most: int | None = None) -> bytes:
    """A call's body in memory, once there is room for it. Raises Refused (413 above `most` bytes, 503)."""
    await request.scope[BODY].hold(most)
    return await request.body()


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in a call's body; an empty body is an empty object.

    Raises Refused (400, 415): a body of another type may come from a page that the browser lets send it unasked.
    """
    body = await read_whole(request)
    if not body.strip():
        return {}
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refused(415, f"Unsupported content type: {kind!r}. Send the body as application/json.")
    try:
        value = decode_json(body) if len(body) < _DECODE_HERE_BYTES else await run_in_threadpool(decode_json, body)
    except ValueError as error:
        raise Refused(400, f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(value, dict):
        raise Refused(400, "We could not parse the JSON body of your request: expected a JSON object.")
    return value


@dataclass(slots=True)
class Received:
    """Bytes that have come in, under `store.incoming(token)`."""

    token: str
    name: str
    mime: str
    bytes: int
    sha256: str


@dataclass(slots=True)
class Form:
    fields: dict[str, str] = field(default_factory=dict)
    file: Received | None = None


class Inlet:
    """An incoming file being written, with its size and digest."""

    def __init__(self, store: Store, token: str, limit: int, too_large: Callable[[], Refused]) -> None:
        self.token = token
        self.bytes = 0
        self._store = store
        self._limit = limit
        self._too_large = too_large
        self._digest = hashlib.sha256()
        self._file: BinaryIO = store.incoming(token).open("wb", buffering=0)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Raises what `too_large` makes when the limit is passed."""
        self.bytes += len(chunk)
        if self.bytes > self._limit:
            raise self._too_large()
        self._digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        self._file.close()

    def discard(self) -> None:
        self.close()
        self._store.discard(self.token)


async def read_form(
    request: Request, store: Store, *, file_field: str, file_limit: int, too_large: Callable[[], Refused]
) -> Form:
    """A multipart form; the part `file_field` goes to disk, in constant memory. The caller keeps or discards it.

    Raises Refused (400 for a broken form, `too_large()` for too many bytes); nothing is left then.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Refused(400, "Invalid content type: expected multipart/form-data with a boundary.")
    parts = _Parts(lambda: Inlet(store, new_token(), file_limit, too_large), file_field)
    parser = MultipartParser(boundary, parts.callbacks())
    try:
        async for chunk in request.stream():
            parser.write(chunk)
            if len(parts.waiting) >= _FLUSH_BYTES:
                await run_in_threadpool(parts.flush)
        parser.finalize()
        if not parts.ended:
            raise Refused(400, "The multipart form ends before its closing boundary.")
        await run_in_threadpool(parts.flush)
    except (MultipartParseError, FormParserError) as error:
        parts.discard()
        raise Refused(400, f"The multipart form cannot be read: {error}") from error
    except BaseException:
        parts.discard()
        raise
    return parts.form()


class _Parts:
    """What the parser's callbacks gather. File bytes wait in memory up to the next flush."""

    def __init__(self, open_inlet: Callable[[], Inlet], file_field: str) -> None:
        self.waiting = bytearray()
        self.ended = False
        self._open_inlet = open_inlet
        self._file_field = file_field
        self._fields: dict[str, str] = {}
        self._inlet: Inlet | None = None
        self._file_name = self._file_mime = ""
        self._headers: dict[str, bytes] = {}
        self._header_name = self._header_value = b""
        self._name = ""
        self._value = bytearray()
        self._in_file = False

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def flush(self) -> None:
        if self._inlet is not None and self.waiting:
            self._inlet.write(bytes(self.waiting))
            self.waiting.clear()

    def discard(self) -> None:
        if self._inlet is not None:
            self._inlet.discard()

    def form(self) -> Form:
        if self._inlet is None:
            return Form(self._fields)
        self._inlet.close()
        inlet = self._inlet
        return Form(self._fields, Received(inlet.token, self._file_name, self._file_mime, inlet.bytes, inlet.sha256))

    def _on_part_begin(self) -> None:
        self._headers, self._value = {}, bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._in_file = self._name == self._file_field
        if not self._in_file:
            if len(self._fields) >= _FIELDS:
                raise Refused(400, f"The multipart form has more than {_FIELDS} fields.")
            return
        if self._inlet is not None:
            raise Refused(400, f"There is more than one part {self._file_field!r}.")
        self._inlet = self._open_inlet()
        self._file_name = options.get(b"filename", b"upload").decode("utf-8", "replace")
        self._file_mime = self._headers.get("content-type", b"application/octet-stream").decode("latin-1")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.waiting += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > _FIELD_BYTES:
            raise Refused(400, f"The form field {self._name[:80]!r} is longer than {_FIELD_BYTES} bytes.")

    def _on_part_end(self) -> None:
        if not self._in_file:
            self._fields[self._name] = self._value.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self.ended = True
