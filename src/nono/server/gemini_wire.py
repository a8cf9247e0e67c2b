"""Gemini's addresses, objects, ids and errors as the API writes them: key order and wording are the recorded ones.

A path is `/gemini` (optional), a version (optional), and the call: the same calls everywhere, as clients of different
ages ask. https://ai.google.dev/api
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from nono.facts import read_facts
from nono.providers.gemini.requests import snake
from nono.providers.gemini.status import CODES
from nono.providers.gemini.translate import EMBED, GENERATE
from nono.server.clock import rfc3339
from nono.server.dialect import Refused
from nono.server.records import Batch, File, State

PROTOCOL = "gemini"
FACTS = read_facts(PROTOCOL)
FILE_ID_CHARS = FACTS.number("limits.file_id_chars")
PAGE_LIMIT = FACTS.number("limits.page_size")
JSON_TYPE = "application/json; charset=UTF-8"
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main."
_TYPES = {GENERATE: "GenerateContentBatch", EMBED: "EmbedContentBatch"}

# A cancelled batch says so at once: nothing that is still being answered will be shown.
STATES: dict[State, str] = {
    State.VALIDATING: "BATCH_STATE_PENDING",
    State.QUEUED: "BATCH_STATE_PENDING",
    State.RUNNING: "BATCH_STATE_RUNNING",
    State.FINALIZING: "BATCH_STATE_RUNNING",
    State.COMPLETED: "BATCH_STATE_SUCCEEDED",
    State.FAILED: "BATCH_STATE_FAILED",
    State.EXPIRED: "BATCH_STATE_EXPIRED",
    State.CANCELLING: "BATCH_STATE_CANCELLED",
    State.CANCELLED: "BATCH_STATE_CANCELLED",
}
# The operation's error. The live service was seen to answer 13 for a cancelled batch, though its page promises 1.
_ENDS: dict[State, tuple[int, str]] = {
    State.FAILED: (13, "The batch failed."),
    State.EXPIRED: (4, "The batch expired before its requests were processed. Submit it again, or split it."),
    State.CANCELLING: (13, "The batch was cancelled."),
    State.CANCELLED: (13, "The batch was cancelled."),
}


# addresses


class _Prefix(Convertor[str]):
    regex = "(?:gemini/)?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Version(_Prefix):
    regex = "(?:(?:v1|v1beta|v1alpha)/)?"


class _Word(_Prefix):
    """A name in a path, which a colon ends."""

    regex = "[^/:]+"


class _Models(_Prefix):
    regex = "models|tunedModels"


register_url_convertor("gemini_prefix", _Prefix())
register_url_convertor("gemini_version", _Version())
register_url_convertor("gemini_word", _Word())
register_url_convertor("gemini_models", _Models())
BASE = "/{prefix:gemini_prefix}{version:gemini_version}"
UPLOAD = "/{prefix:gemini_prefix}upload/{version:gemini_version}"
DOWNLOAD = "/{prefix:gemini_prefix}download/{version:gemini_version}"
# What OpenAI has nothing like: our prefix, these versions, upload and download, and a method after a colon.
_OURS = re.compile(
    r"/gemini(/|$) | /(v1beta|v1alpha)(/|$) | /upload/(.*/)?files$ | /download/"
    r"| /(v1/)?(files:\w+|(models|tunedModels|batches|files)/[^/]+:\w+)$",
    re.VERBOSE,
)


def is_gemini(path: str, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
    """Whether a call speaks Gemini's protocol: by its path, or by the headers that its clients send."""
    return bool(
        _OURS.match(path) or "x-goog-api-key" in headers or "x-goog-upload-command" in headers or "key" in query
    )


def is_upload(path: str) -> bool:
    return bool(re.match(r"(/gemini)?/upload/", path))


def address(request: Request, kind: str, rest: str) -> str:
    """An absolute address of this server, as the client that asks can reach it; `kind` is "upload/" or nothing."""
    prefix, version = request.path_params.get("prefix", ""), request.path_params.get("version", "")
    return f"{request.url.scheme}://{request.headers['host']}/{prefix}{kind}{version}{rest}"


# replies


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return Response(body, status, headers, media_type=JSON_TYPE)


_BY_HTTP = {code.http: number for number, code in reversed(CODES.items())} | {400: 3, 409: 6, 500: 13}
# Statuses that google.rpc has no code for.
_NEAREST = {405: 501, 408: 504, 413: 400, 415: 400, 421: 403, 422: 400, 507: 429}


def code_of(status: int) -> int:
    """The google.rpc code of an HTTP status."""
    status = _NEAREST.get(status, status)
    return _BY_HTTP.get(status, 3 if status < 500 else 13)


def error_body(status: int, message: str, details: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The envelope of an HTTP error."""
    error = {"code": status, "message": message, "status": CODES[code_of(status)].name}
    return {"error": error | ({"details": details} if details else {})}


def item_error(status: int, message: str) -> dict[str, Any]:
    """The error of one request. Never with details: the official SDK cannot read a batch that has some."""
    return {"code": code_of(status), "message": message}


# objects


def new_id(length: int) -> str:
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))


def file_object(file: File, uri: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": f"files/{file.id}"}
    if file.details.get("display_name"):
        shown["displayName"] = file.details["display_name"]
    return shown | {
        "mimeType": file.mime,
        "sizeBytes": str(file.bytes),
        "createTime": rfc3339(file.created_ns),
        "updateTime": rfc3339(file.created_ns),
        **({"expirationTime": rfc3339(file.expires_ns)} if file.expires_ns else {}),
        "sha256Hash": base64.b64encode(file.sha256.encode()).decode(),  # of the hex digits, as the service does
        "uri": uri,
        "state": "ACTIVE",
        "source": "UPLOADED" if file.source == "uploaded" else "GENERATED",
    }


def operation(batch: Batch, output: Any = None) -> dict[str, Any]:
    """A batch as the operation that clients poll; `output` is where its answers are, or the answers themselves."""
    name, kind = f"batches/{batch.id}", _TYPES[batch.endpoint]
    ended = batch.moved_ns.get(batch.state) if batch.state in _ENDS or batch.state.ended else None
    metadata: dict[str, Any] = {"@type": _TYPE + kind, "model": batch.details["model"]}
    if batch.details.get("display_name"):
        metadata["displayName"] = batch.details["display_name"]
    if output is not None:
        metadata["output"] = output
    if batch.input_file_id:
        metadata["inputConfig"] = {"fileName": f"files/{batch.input_file_id}"}
    metadata["createTime"] = rfc3339(batch.created_ns)
    if ended:
        metadata["endTime"] = rfc3339(ended)
    metadata |= {"updateTime": rfc3339(batch.updated_ns), "batchStats": _stats(batch, bool(ended))}
    metadata["state"] = STATES[batch.state]
    if batch.priority:
        metadata["priority"] = str(batch.priority)
    shown: dict[str, Any] = {"name": name, "metadata": metadata | {"name": name}}
    if not ended:
        return shown
    shown["done"] = True
    if batch.state in _ENDS:
        code, message = _ENDS[batch.state]
        found = "; ".join(str(one.get("message")) for one in batch.errors or ())
        return shown | {"error": {"code": code, "message": found or message}}
    return shown | {"response": {"@type": f"{_TYPE}{kind}Output", **(output or {})}}


def _stats(batch: Batch, ended: bool) -> dict[str, str]:
    """Counters are texts; zeros are left out."""
    counts = batch.counts
    counted = {
        "requestCount": counts.total,
        "successfulRequestCount": counts.ok,
        "failedRequestCount": counts.failed,
        "pendingRequestCount": 0 if ended else counts.total - counts.ok - counts.failed,
    }
    return {name: str(count) for name, count in counted.items() if count}


# what clients send


def pick(fields: Mapping[str, Any], name: str) -> Any:
    """A field under its lowerCamelCase name, or in snake_case."""
    return fields.get(name, fields.get(snake(name)))


def page_of(request: Request, default: int) -> tuple[int, int | None]:
    """Size of the page that is asked for, and the `seq` of the last thing seen. Raises Refused."""
    size = request.query_params.get("pageSize") or request.query_params.get("page_size") or "0"
    if not re.fullmatch(r"\d{1,9}", size):
        raise Refused(400, f"Invalid value at 'page_size' (TYPE_INT32), {size[:40]!r}")
    token = request.query_params.get("pageToken") or request.query_params.get("page_token")
    if token and not re.fullmatch(r"[\w-]{4,40}={0,2}", token):
        raise Refused(400, "The page token is invalid.")
    return min(int(size) or default, PAGE_LIMIT), _seen(token) if token else None


def next_page(seq: int) -> str:
    return base64.urlsafe_b64encode(f"seq:{seq}".encode()).decode()


def _seen(token: str) -> int:
    try:
        found = re.fullmatch(rb"seq:(\d{1,18})", base64.urlsafe_b64decode(token))
    except ValueError:
        found = None
    if found is None:
        raise Refused(400, "The page token is invalid.")
    return int(found[1])


def no_such_file(file_id: str) -> Refused:
    """The service tells nobody whether a file of somebody else exists."""
    return Refused(403, f"You do not have permission to access the File {file_id} or it may not exist.")
