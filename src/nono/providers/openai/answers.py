"""One line of an answer file becomes one `Result`.

The usual line is decoded by type, only the fields that a Result needs; any other JSON goes the tolerant way through
plain dicts. What a line's error means for the request (again, or never) is the table below and nowhere else.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from nono import jsonl
from nono.jsonl import BadLine
from nono.model import NO_USAGE, Outcome, RequestError, Result, Usage
from nono.providers.openai.refusals import OUT_OF_QUOTA

# Codes of lines that never got an HTTP answer.
# https://platform.openai.com/docs/api-reference/batch/request-output  (`error.code`)
NEVER_RAN = {
    "batch_expired": Outcome.EXPIRED,
    "batch_cancelled": Outcome.CANCELLED,
    "request_timeout": Outcome.ERRORED,
}
# Errors that pass, by code where there is no telling status (a Responses answer can fail inside a 200).
_PASSING_CODES = frozenset(
    {"server_error", "rate_limit_exceeded", "batch_expired", "batch_cancelled", "request_timeout"}
)
# Status 0 was seen in output files of real batches: the request never reached a model.
_PASSING_STATUSES = frozenset({0, 408, 429})


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    audio: Any = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Cached(msgspec.Struct, gc=False):
    cached_tokens: int | None = 0


class _Reasoned(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Reasoned | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Cached | None = None
    output_tokens_details: _Reasoned | None = None


class _Piece(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    content: list[_Piece] | None = None


class _Embedding(msgspec.Struct, gc=False):
    embedding: list[float] | str | None = None


class _Incomplete(msgspec.Struct, gc=False):
    reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    """The bodies of all endpoints in one: each fills its own fields."""

    model: str | None = None
    usage: _Usage | None = None
    choices: list[_Choice] | None = None
    output: list[_Item] | None = None
    data: list[_Embedding] | None = None
    status: str | None = None
    incomplete_details: _Incomplete | None = None
    error: Any = None


class _Response(msgspec.Struct, gc=False):
    status_code: int | None = 200
    body: _Body | None = None


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    response: _Response | None = None
    error: Any = None


_decode_line = msgspec.json.Decoder(_Line).decode


def decode(line: bytes) -> Result:
    """The result that one line of an output or error file tells.

    `text` is the answer's text, or the refusal where the model refused (`finish_reason` is then `refusal`); `vector` is
    set for a line with one embedding. `body` is a mapping that decodes itself when it is looked at.

    Raises BadLine, and nothing else: the line is not JSON, not an object, or names no `custom_id`.
    """
    try:
        parsed = _decode_line(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return _decode_tolerantly(line)
    response = parsed.response
    if response is None or response.body is None or response.status_code != 200 or parsed.error or response.body.error:
        return _decode_tolerantly(line)
    return _succeeded(
        parsed.custom_id, response.body, jsonl.LateObject(line, "response", "body")
    ) or _decode_tolerantly(line)


def _succeeded(custom_id: str, body: _Body, whole: Any) -> Result | None:
    """The result of an answered request, or None if the answer says that it failed after all."""
    text = vector = finish_reason = None
    if body.choices:
        choice = body.choices[0]
        message = choice.message
        finish_reason = choice.finish_reason
        if message is None:
            text = choice.text
        elif message.content is None and message.refusal:
            text, finish_reason = message.refusal, "refusal"
        elif message.content is None and isinstance(message.audio, dict):
            spoken = message.audio.get("transcript")  # what was said stands for the answer; the sound is in the body
            text = spoken if isinstance(spoken, str) else None
        else:
            text = message.content
    elif body.output is not None:
        if body.status in ("failed", "cancelled"):
            return None
        text, finish_reason = _response_text(body)
    elif body.data and len(body.data) == 1:
        vector = _floats(body.data[0].embedding)
    return Result(
        custom_id,
        Outcome.SUCCEEDED,
        text=text,
        body=whole,
        vector=vector,
        finish_reason=finish_reason,
        model=body.model,
        usage=NO_USAGE if body.usage is None else _count(body.usage),
    )


def _response_text(body: _Body) -> tuple[str | None, str | None]:
    """Text and reason of ending of a Responses answer: all texts of its messages, one after the other."""
    pieces = [piece for item in body.output or () if item.type == "message" for piece in item.content or ()]
    texts = [piece.text for piece in pieces if piece.text is not None]
    reason = body.incomplete_details.reason if body.incomplete_details else body.status
    if texts:
        return "".join(texts), reason
    refusals = [piece.refusal for piece in pieces if piece.refusal]
    return ("".join(refusals), "refusal") if refusals else (None, reason)


def _count(usage: _Usage) -> Usage:
    cached = usage.prompt_tokens_details or usage.input_tokens_details
    reasoned = usage.completion_tokens_details or usage.output_tokens_details
    return Usage(
        usage.prompt_tokens or usage.input_tokens or 0,
        usage.completion_tokens or usage.output_tokens or 0,
        cached.cached_tokens or 0 if cached else 0,
        reasoned.reasoning_tokens or 0 if reasoned else 0,
    )


def _floats(embedding: list[float] | str | None) -> list[float] | None:
    """A vector as numbers; `encoding_format: base64` sends it as little-endian 32-bit floats."""
    if not isinstance(embedding, str):
        return embedding
    try:
        packed = base64.b64decode(embedding, validate=True)
        return list(struct.unpack(f"<{len(packed) // 4}f", packed))
    except (ValueError, struct.error):
        return None


def encode(custom_id: str, status: int, body: Any, *, request_id: str | None = None) -> bytes:
    """A line of an answer file, as a batch would have written it; `body` may be JSON already (`msgspec.Raw`).

    https://platform.openai.com/docs/api-reference/batch/request-output
    """
    response = {"status_code": status, "request_id": request_id, "body": body}
    return _encode({"custom_id": custom_id, "response": response, "error": None})


_encode = msgspec.json.Encoder().encode


def _decode_tolerantly(line: bytes) -> Result:
    """Any line that is a JSON object with a `custom_id`, whatever else is in it."""
    value = jsonl.decode(line)
    if not isinstance(value, dict):
        raise BadLine("an object was expected")
    custom_id = value.get("custom_id")
    if isinstance(custom_id, int) and not isinstance(custom_id, bool):
        custom_id = str(custom_id)
    if not isinstance(custom_id, str):
        raise BadLine("a `custom_id` was expected; the line belongs to no request")
    response = value.get("response")
    response = response if isinstance(response, dict) else {}
    body = response.get("body")
    status = response.get("status_code")
    if isinstance(status, bool) or not isinstance(status, int):
        status = 200 if body and not _error_in(value) else None
    error = _error_in(value)
    if not error and status is not None and 200 <= status < 300 and isinstance(body, dict):
        try:
            result = _succeeded(custom_id, msgspec.convert(body, _Body, strict=False), body)
        except (msgspec.ValidationError, ValueError, RecursionError):
            result = Result(custom_id, Outcome.SUCCEEDED, body=body, model=_word(body.get("model")))
        if result is not None:
            return result
    if not error and status is not None and 200 <= status < 300:
        status = None  # answered, it says, but there is no answer
    failure = classify(error, status)
    never_ran = NEVER_RAN.get(failure.code) if status is None else None
    return Result(custom_id, never_ran or Outcome.ERRORED, body=body, error=failure)


def error_of(line: Mapping[str, Any]) -> dict[str, Any] | None:
    """The error of a decoded line as an object with `code` and `message`, wherever the provider put it, or None.

    An HTTP failure stands in `response.body.error` while `error` is null; a line that never ran has it in `error`.
    """
    response = line.get("response")
    status = response.get("status_code") if isinstance(response, dict) else None
    error = _error_in(line)
    answered = isinstance(response, dict) and isinstance(status, int) and 200 <= status < 300
    if not error and (answered or "response" not in line):
        return None
    if not isinstance(error, dict):
        error = {"message": str(error)} if error else {}
    if isinstance(status, int) and not isinstance(status, bool):
        fallback, said = f"http_{status}", f"HTTP {status} without a reason"
    else:
        fallback, said = "no_answer", "neither an answer nor an error came"
    return {
        **error,
        "code": error.get("code") or error.get("type") or fallback,
        "message": error.get("message") or said,
    }


def classify(error: Any, status: int | None) -> RequestError:
    """What an error means for its request. `status` is None for a line that never got an HTTP answer."""
    table = error if isinstance(error, dict) else {"message": error}
    named = table.get("code") or table.get("type")
    code = str(named) if named else "no_answer" if status is None else f"http_{status}"
    stops_run = not OUT_OF_QUOTA.isdisjoint(map(str, (table.get("code"), table.get("type"))))
    if status is None:
        passing = not named or code in _PASSING_CODES or "overloaded" in str(table.get("message")).lower()
    else:
        passing = status in _PASSING_STATUSES or status >= 500 or (status < 300 and code in _PASSING_CODES)
    return RequestError(
        code=code,
        message=" ".join(str(table.get("message") or "no reason given").split()),
        status=status,
        retryable=passing and not stops_run,
        stops_run=stops_run,
    )


def _error_in(line: Mapping[str, Any]) -> Any:
    """The line's own error, or else its body's; an object of nulls is none."""
    response = line.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    for error in (line.get("error"), body.get("error") if isinstance(body, dict) else None):
        if any(error.values()) if isinstance(error, dict) else error:
            return error
    return None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None
