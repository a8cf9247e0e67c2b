"""What comes back for one request, in job objects and answer files alike: the answer's text, its tokens, its error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from nono.jsonl import BadLine, LateObject
from nono.jsonl import decode as decode_json
from nono.model import NO_USAGE, Outcome, RequestError, Result, Usage
from nono.providers.gemini.status import request_error

# Reasons to stop that leave no answer behind, and whether asking again may give one (the answer was sampled).
# https://ai.google.dev/api/generate-content#FinishReason
REFUSALS = {
    "SAFETY": False,
    "BLOCKLIST": False,
    "PROHIBITED_CONTENT": False,
    "SPII": False,
    "LANGUAGE": False,
    "IMAGE_SAFETY": False,
    "IMAGE_PROHIBITED_CONTENT": False,
    "RECITATION": True,
    "IMAGE_RECITATION": True,
    "IMAGE_OTHER": True,
    "NO_IMAGE": True,
    "MALFORMED_FUNCTION_CALL": True,
    "MALFORMED_RESPONSE": True,
    "UNEXPECTED_TOOL_CALL": True,
    "MISSING_THOUGHT_SIGNATURE": False,
    "TOO_MANY_TOOL_CALLS": True,
    "OTHER": True,
}


class InlineResult(str):
    """One answer of an inline job: a `str`, the answer's text, that carries what else came.

    `response` is the whole answer as the service sent it (a dict), `error` the reason why there is none (a dict with
    `code` and `message`), `key` and `metadata` what was given with the request, `vector` an embedding. An item with an
    error is an empty text. It prints, compares and goes into JSON as its text.
    """

    __slots__ = ("_error", "_metadata", "_response")

    _response: dict[str, Any] | None
    _error: dict[str, Any] | None
    _metadata: dict[str, Any]

    def __new__(
        cls,
        text: str = "",
        response: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> InlineResult:
        self = super().__new__(cls, text)
        self._response = response
        self._error = error
        self._metadata = metadata or {}
        return self

    @property
    def response(self) -> dict[str, Any] | None:
        return self._response

    @property
    def error(self) -> dict[str, Any] | None:
        return self._error

    @property
    def metadata(self) -> dict[str, Any]:
        return self._metadata

    @property
    def key(self) -> str | None:
        key = self._metadata.get("key")
        return None if key is None else str(key)

    @property
    def vector(self) -> list[float] | None:
        return vector_of(self._response) if self._response is not None else None

    def __getnewargs__(self) -> tuple[Any, ...]:  # pickle and copy keep what it carries
        return str(self), self._response, self._error, self._metadata


def parse_inline(item: Any) -> InlineResult:
    """One element of `inlinedResponses`."""
    if not isinstance(item, Mapping):
        return InlineResult(error={"code": 13, "message": f"not an answer: {str(item)[:80]!r}"})
    metadata = item.get("metadata")
    error = item.get("error")
    response = item.get("response")
    return InlineResult(
        text_of(response) or "" if isinstance(response, Mapping) and not error else "",
        response if isinstance(response, dict) else None,
        (error if isinstance(error, dict) else {"message": str(error)}) if error else None,
        metadata if isinstance(metadata, dict) else None,
    )


def text_of(response: Mapping[str, Any]) -> str | None:
    """The text of the first candidate: its text parts joined, the model's thoughts left out; None if it has none."""
    texts = [part["text"] for part in _parts(response) if isinstance(part.get("text"), str) and not part.get("thought")]
    return "".join(texts) if texts else None


def vector_of(response: Mapping[str, Any]) -> list[float] | None:
    embedding = response.get("embedding")
    values = embedding.get("values") if isinstance(embedding, Mapping) else None
    return values if isinstance(values, list) else None


def usage_of(response: Mapping[str, Any]) -> Usage:
    """Tokens of an answer. Thoughts are billed as output and counted in it; `reasoning_tokens` says how many."""
    usage = response.get("usageMetadata")
    if not isinstance(usage, Mapping):
        return (
            Usage(_count(response["tokenCount"])) if "tokenCount" in response else NO_USAGE
        )  # embeddings of older models
    thoughts = _count(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=_count(usage.get("promptTokenCount")) + _count(usage.get("toolUsePromptTokenCount")),
        output_tokens=_count(usage.get("candidatesTokenCount")) + thoughts,
        cached_tokens=_count(usage.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
    )


class _Part(msgspec.Struct, gc=False):
    text: str | None = None
    thought: bool | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False):
    content: _Content | None = None
    finishReason: str | None = None


class _Tokens(msgspec.Struct, gc=False):
    promptTokenCount: int = 0
    toolUsePromptTokenCount: int = 0
    candidatesTokenCount: int = 0
    thoughtsTokenCount: int = 0
    cachedContentTokenCount: int = 0


class _Response(msgspec.Struct, gc=False):
    candidates: list[_Candidate]
    usageMetadata: _Tokens | None = None
    modelVersion: str | None = None


class _Line(msgspec.Struct, gc=False):
    key: str
    response: _Response
    error: Any = None
    status: Any = None


_decode_line = msgspec.json.Decoder(_Line).decode


def decode(line: bytes) -> Result:
    """One line of an answer file.

    A line is `{"key", "response"}`, `{"key", "error"}`, `{"key", "status"}` (an object, or a text that is empty on
    success), or a bare answer beside its key. `body` is a mapping that decodes itself when it is looked at.

    Raises BadLine for what is not JSON or has no key, and nothing else.
    """
    try:  # the usual line, by type: an answer with something in it
        parsed = _decode_line(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return _decode_tolerantly(line)
    candidate = parsed.response.candidates[0] if parsed.response.candidates else None
    if parsed.error or parsed.status or candidate is None or candidate.finishReason in REFUSALS:
        return _decode_tolerantly(line)
    if candidate.content is None or not candidate.content.parts:
        return _decode_tolerantly(line)
    texts = [part.text for part in candidate.content.parts if part.text is not None and not part.thought]
    tokens = parsed.response.usageMetadata
    return Result(
        parsed.key,
        Outcome.SUCCEEDED,
        text="".join(texts) if texts else None,
        body=LateObject(line, "response"),
        finish_reason=candidate.finishReason,
        model=parsed.response.modelVersion,
        usage=Usage(
            tokens.promptTokenCount + tokens.toolUsePromptTokenCount,
            tokens.candidatesTokenCount + tokens.thoughtsTokenCount,
            tokens.cachedContentTokenCount,
            tokens.thoughtsTokenCount,
        )
        if tokens
        else NO_USAGE,
    )


def encode(key: str, **told: Any) -> bytes:
    """A line of an answer file: the key, and `response` or `error`; either may be JSON already (`msgspec.Raw`)."""
    return _encode({"key": key, **told})


_encode = msgspec.json.Encoder().encode


def _decode_tolerantly(line: bytes) -> Result:
    """Any other line, through plain dicts: nothing in it is relied on."""
    value = decode_json(line)
    if not isinstance(value, dict):
        raise BadLine("an answer line is not a JSON object")
    key = value.get("key")
    if key is None and isinstance(value.get("metadata"), Mapping):
        key = value["metadata"].get("key")
    if key is None or isinstance(key, (dict, list)):
        raise BadLine("an answer line without a key")
    error = value.get("error") or value.get("status")
    if error and not _is_ok(error):
        return _failed(str(key), request_error(error), body=value)
    response = value.get("response", value)
    if not isinstance(response, dict):
        nothing = RequestError("UNREADABLE", "the line carries neither an answer nor an error", retryable=True)
        return _failed(str(key), nothing, body=value)
    return _answered(str(key), response)


def _answered(key: str, response: dict[str, Any]) -> Result:
    vector = vector_of(response)
    candidate = _candidate(response)
    finish_reason = candidate.get("finishReason")
    text = text_of(response)
    told = vector is not None or any(map(_tells, _parts(response)))
    refusal = None if told else _refusal(response, candidate)
    model = response.get("modelVersion")
    return Result(
        custom_id=key,
        outcome=Outcome.ERRORED if refusal else Outcome.SUCCEEDED,
        text=text,
        body=response,
        vector=vector,
        finish_reason=finish_reason if isinstance(finish_reason, str) else None,
        model=model if isinstance(model, str) else None,
        usage=usage_of(response),
        error=refusal,
    )


def _refusal(response: Mapping[str, Any], candidate: Mapping[str, Any]) -> RequestError | None:
    """Why an answer without content has none: the prompt was blocked, or the model stopped before it said anything."""
    feedback = response.get("promptFeedback")
    blocked = feedback.get("blockReason") if isinstance(feedback, Mapping) else None
    if blocked:
        return RequestError(str(blocked), f"the prompt was blocked: {blocked}")
    reason = candidate.get("finishReason")
    if isinstance(reason, str) and reason in REFUSALS:
        said = candidate.get("finishMessage") or f"the model stopped without an answer: {reason}"
        return RequestError(reason, str(said), retryable=REFUSALS[reason])
    if not candidate:
        return RequestError("NO_CANDIDATES", "the answer holds no candidate", retryable=True)
    return None  # STOP or MAX_TOKENS after nothing but thoughts: an answer that is empty


def _failed(key: str, error: RequestError, body: Any) -> Result:
    outcome = Outcome.CANCELLED if error.code == "CANCELLED" else Outcome.ERRORED
    return Result(custom_id=key, outcome=outcome, body=body, error=error)


def _is_ok(status: Any) -> bool:
    """A `Status` with code 0 says OK."""
    return isinstance(status, Mapping) and status.get("code") in (0, "0") and not status.get("message")


def _candidate(response: Mapping[str, Any]) -> Mapping[str, Any]:
    candidates = response.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    return first if isinstance(first, Mapping) else {}


def _parts(response: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    content = _candidate(response).get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    return [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []


def _tells(part: Mapping[str, Any]) -> bool:
    """A part of an answer, and not a thought or an empty text."""
    return not part.get("thought") and bool(part.get("text") or part.keys() - {"text", "thought", "thoughtSignature"})


def _count(value: Any) -> int:
    """A counter; int64 travels as a text in JSON."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
