"""google.rpc errors: the one place that reads an error's code, its status and its details, and says what follows.

Errors come in three spellings: the envelope of an HTTP answer, the `error` of an operation, and the `error` or `status`
of one answer line, whose code is seen as a gRPC code (3, 13) and as an HTTP status (400). `details` may hold anything;
nothing here relies on its shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from nono.errors import (
    BY_STATUS,
    Forbidden,
    KeyRefused,
    NotFound,
    OutOfQuota,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
)
from nono.exchange import Reply
from nono.model import RequestError
from nono.retry import retry_after_s


@dataclass(frozen=True, slots=True)
class Code:
    """One canonical code: its name, its HTTP status, and whether the same request may succeed another time."""

    name: str
    http: int
    retryable: bool


# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
CODES = {
    1: Code("CANCELLED", 499, True),
    2: Code("UNKNOWN", 500, True),
    3: Code("INVALID_ARGUMENT", 400, False),
    4: Code("DEADLINE_EXCEEDED", 504, True),
    5: Code("NOT_FOUND", 404, False),
    6: Code("ALREADY_EXISTS", 409, False),
    7: Code("PERMISSION_DENIED", 403, False),
    8: Code("RESOURCE_EXHAUSTED", 429, True),
    9: Code("FAILED_PRECONDITION", 400, False),
    10: Code("ABORTED", 409, True),
    11: Code("OUT_OF_RANGE", 400, False),
    12: Code("UNIMPLEMENTED", 501, False),
    13: Code("INTERNAL", 500, True),
    14: Code("UNAVAILABLE", 503, True),
    15: Code("DATA_LOSS", 500, True),
    16: Code("UNAUTHENTICATED", 401, False),
}
_BY_NAME = {code.name: code for code in CODES.values()}
# An HTTP status without a name stands for the first code that maps to it.
_BY_HTTP = {code.http: code for code in reversed(CODES.values())} | {400: CODES[3], 500: CODES[13], 409: CODES[10]}

# `ErrorInfo.reason` is more exact than the status: a bad key is a 400 here.
# https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
_REASONS: dict[str, type[ProviderError]] = {
    "API_KEY_INVALID": KeyRefused,
    "API_KEY_SERVICE_BLOCKED": KeyRefused,
    "API_KEY_HTTP_REFERRER_BLOCKED": KeyRefused,
    "API_KEY_IP_ADDRESS_BLOCKED": KeyRefused,
    "ACCESS_TOKEN_EXPIRED": KeyRefused,
    "CONSUMER_INVALID": KeyRefused,
    "BILLING_DISABLED": OutOfQuota,
}
_MESSAGES: tuple[tuple[str, type[ProviderError]], ...] = (
    ("api key not valid", KeyRefused),
    ("api key expired", KeyRefused),
    ("unregistered callers", KeyRefused),  # no key at all: 403
    ("prepayment credits are depleted", OutOfQuota),
)
_HINTS: dict[type[ProviderError], str] = {
    KeyRefused: "check GOOGLE_API_KEY and GEMINI_API_KEY (the first wins), or pass api_key=",
    Forbidden: "uploads are kept 48 hours and belong to one project; a missing file is answered with 403 as well",
    NotFound: "check the name and the base URL; "
    "previews and -latest aliases exist in API version v1beta only; deleted batches take their answers along",
    RateLimited: "enqueued tokens, 100 batches at once or the request rate are used up: wait until batches have ended",
    OutOfQuota: "enable billing for the project of this key, or top it up",
    ProviderUnavailable: "the service is in trouble: try again later",
}


def raise_for(
    reply: Reply, what: str, *, provider: str = "gemini", hints: Mapping[type[ProviderError], str] = _HINTS
) -> Reply:
    """The reply itself if it is a 2xx; otherwise raise the error that it stands for. `what` was tried, in a few words.

    Raises ProviderError in its narrowest class. Trying again helps where `.transient` is true, and not before
    `.retry_after_s` where the service named it (its `RetryInfo`, or a Retry-After header).
    """
    if reply.ok:
        return reply
    body = _decoded(reply.body)
    error = _envelope(body)
    message = _one_line(error.get("message")) or _one_line(body if isinstance(body, str) else "") or "no message"
    known = _BY_HTTP.get(reply.status)
    code = error.get("status") if isinstance(error.get("status"), str) else known.name if known else None
    kind = _class_of(reply.status, message, error.get("details"))
    raise kind(
        f"{what}: {message} (HTTP {reply.status}{f', {code}' if code else ''})",
        provider=provider,
        status=reply.status,
        code=code,
        retry_after_s=_retry_delay_s(error.get("details")) or retry_after_s(reply.headers),
        request_id=reply.headers.get("x-goog-request-id"),
        body=body,
        hint=hints.get(kind),
    )


def error_object(error: ProviderError) -> dict[str, Any]:
    """What was refused over HTTP, as the error that stands in a line of an answer file."""
    said = _envelope(error.body)
    return {
        "code": error.status,
        "status": said.get("status") or error.code,
        "message": said.get("message") or error.message,
    }


def request_error(error: Any) -> RequestError:
    """A `google.rpc.Status` of any spelling (an object, or only a text) as the reason why a request has no answer."""
    if not isinstance(error, Mapping):
        return RequestError(code="UNKNOWN", message=_one_line(error) or "no message", retryable=False)
    code, name = _number(error.get("code")), error.get("status")
    if code is None and isinstance(error.get("code"), str):
        name = name or error["code"]  # some writers put the name there
    known = (_BY_NAME.get(name) if isinstance(name, str) else None) or CODES.get(code or 0) or _BY_HTTP.get(code or 0)
    message = _one_line(error.get("message")) or "no message"
    if known is None:
        # Unheard-of codes: 5xx is the service's trouble, anything else is taken to be the request's.
        return RequestError(str(name or code or "UNKNOWN"), message, code, retryable=500 <= (code or 0) < 600)
    return RequestError(known.name, message, known.http, known.retryable)


def _class_of(status: int, message: str, details: Any) -> type[ProviderError]:
    for detail in _objects(details):
        if (kind := _REASONS.get(str(detail.get("reason")))) is not None:
            return kind
    lowered = message.lower()
    for words, kind in _MESSAGES:
        if words in lowered:
            return kind
    return BY_STATUS.get(status, ProviderUnavailable if status >= 500 else ProviderError)


def _retry_delay_s(details: Any) -> float | None:
    """`RetryInfo.retryDelay`: "30s", or the object form with seconds and nanos."""
    for detail in _objects(details):
        delay = detail.get("retryDelay", detail.get("retry_delay"))
        if isinstance(delay, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?s", delay):
            return float(delay[:-1])
        if isinstance(delay, Mapping):
            seconds, nanos = _number(delay.get("seconds")) or 0, _number(delay.get("nanos")) or 0
            return seconds + nanos / 1e9 if seconds >= 0 and nanos >= 0 else None
    return None


def _objects(details: Any) -> Iterator[Mapping[str, Any]]:
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, Mapping):
            yield detail


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body[:2000].decode(errors="replace")


def _envelope(body: Any) -> Mapping[str, Any]:
    # Some front ends wrap the envelope into a list.
    first = body[0] if isinstance(body, list) and body else body
    error = first.get("error") if isinstance(first, Mapping) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, Mapping) else {}


def _number(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())[:500] if text else ""
