"""OpenAI's objects, ids and errors as the API writes them: key order, nulls and wording are the recorded ones."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec
from starlette.responses import Response

from nono.server.clock import unix_s
from nono.server.dialect import Refused
from nono.server.records import Batch, File, State, Upload

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

STATUS: dict[State, str] = {
    State.VALIDATING: "validating",
    State.QUEUED: "in_progress",
    State.RUNNING: "in_progress",
    State.FINALIZING: "finalizing",
    State.CANCELLING: "cancelling",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.EXPIRED: "expired",
    State.CANCELLED: "cancelled",
}


def new_file_id() -> str:
    return "file-" + "".join(secrets.choice(_BASE62) for _ in range(22))


def new_id(prefix: str) -> str:
    """`batch_…`, `upload_…`, `part_…`, `req_…`: 32 hex digits after the prefix."""
    return prefix + os.urandom(16).hex()


def reply(
    value: Any, status: int = 200, *, compact: bool = False, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON reply, indented by two spaces as the service's are (the cancel reply is not)."""
    body = msgspec.json.encode(value)
    if not compact:
        body = msgspec.json.format(body, indent=2) + b"\n"
    return Response(body, status, headers, media_type="application/json")


def error_body(refused: Refused) -> dict[str, Any]:
    return {
        "error": {
            "message": refused.message,
            "type": refused.kind,
            "param": refused.param,
            "code": refused.code,
        }
    }


def file_object(file: File) -> dict[str, Any]:
    return {
        "object": "file",
        "id": file.id,
        "purpose": file.purpose,
        "filename": file.name,
        "bytes": file.bytes,
        "created_at": unix_s(file.created_ns),
        "expires_at": unix_s(file.expires_ns),
        "status": "processed",
        "status_details": None,
    }


def upload_object(upload: Upload, file: File | None = None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": unix_s(upload.created_ns),
        "filename": upload.name,
        "purpose": upload.purpose,
        "status": upload.status,
        "expires_at": unix_s(upload.expires_ns),
    }
    return shown | {"file": file_object(file)} if file else shown


def batch_object(batch: Batch) -> dict[str, Any]:
    def at(state: State) -> int | None:
        return unix_s(batch.moved_ns.get(state))

    counts, usage = batch.counts, batch.usage
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": batch.errors and {"object": "list", "data": batch.errors},
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": STATUS[batch.state],
        "output_file_id": batch.outputs.get("output"),
        "error_file_id": batch.outputs.get("error"),
        "created_at": unix_s(batch.created_ns),
        "in_progress_at": at(State.QUEUED),
        "expires_at": unix_s(batch.expires_ns),
        "finalizing_at": at(State.FINALIZING),
        "completed_at": at(State.COMPLETED),
        "failed_at": at(State.FAILED),
        "expired_at": at(State.EXPIRED),
        "cancelling_at": at(State.CANCELLING),
        "cancelled_at": at(State.CANCELLED),
        "request_counts": {"total": counts.total, "completed": counts.ok, "failed": counts.failed},
        "usage": {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            "total_tokens": usage.total_tokens,
        },
        "metadata": batch.details.get("metadata"),
    }


def page(objects: Sequence[Mapping[str, Any]], *, has_more: bool) -> Response:
    return reply(
        {
            "object": "list",
            "data": objects,
            "first_id": objects[0]["id"] if objects else None,
            "last_id": objects[-1]["id"] if objects else None,
            "has_more": has_more,
        }
    )


# refusals, in the service's words


def missing(name: str) -> Refused:
    return Refused(400, f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)


def wrong_type(name: str, expected: str, value: Any) -> Refused:
    message = f"Invalid type for '{name}': expected {expected}, but got {kind_of(value)} instead."
    return Refused(400, message, code="invalid_type", param=name)


def wrong_value(name: str, value: str, supported: Sequence[str], *, naming: bool = False) -> Refused:
    """`naming`: the text names the parameter."""
    what = f"Supported values for '{name}' are" if naming else "Supported values are"
    return Refused(
        400, f"Invalid value: '{_cut(value)}'. {what}: {_listed(supported)}.", code="invalid_value", param=name
    )


def unknown_parameters(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Raises Refused for the first parameter that the call does not have."""
    for name in body:
        if name not in known:
            raise Refused(400, f"Unknown parameter: '{_cut(name)}'.", code="unknown_parameter", param=_cut(name))


def text_of(body: Mapping[str, Any], name: str) -> str:
    """A required string. Raises Refused."""
    value = body.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """An integer between the two. Raises Refused."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(name, "an integer", value)
    if value < low:
        _out_of_range(name, "below minimum", ">=", low, value)
    if value > high:
        _out_of_range(name, "above maximum", "<=", high, value)
    return value


def _out_of_range(name: str, side: str, sign: str, bound: int, value: int) -> NoReturn:
    code = f"integer_{side.replace(' ', '_').replace('imum', '')}_value"
    message = (
        f"Invalid '{name}': integer {side} value. Expected a value {sign} {bound}, but got {_number(value)} instead."
    )
    raise Refused(400, message, code=code, param=name)


def query_number(name: str, text: str | None, default: int, high: int) -> int:
    """A number of the query string, 1 to `high`. Raises Refused."""
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(
            400,
            f"Invalid type for '{name}': expected an integer, but got '{_cut(text)}' instead.",
            code="invalid_type",
            param=name,
        )
    return whole_number(name, int(text), 1, high)


def kind_of(value: Any) -> str:
    """A JSON value's type, as the messages name it."""
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a decimal"),
        (str, "a string"),
        (list, "an array"),
        (dict, "an object"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "null")


def _listed(values: Sequence[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def _number(value: int) -> str:
    return str(value) if abs(value) < 10**30 else "a larger number"
