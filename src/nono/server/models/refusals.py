"""A model's no, in OpenAI's words: what the embedded and the simulated models answer to a body they cannot take.

https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sized
from typing import Any

# Status → `error.type`, where it is not the usual one.
_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Refused(Exception):
    """The answer to a request is an error; `answer` is its status and body."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        kind = "server_error" if status >= 500 else _KINDS.get(status, "invalid_request_error")
        self.answer: tuple[int, dict[str, Any]] = (
            status,
            {"error": {"message": message, "type": kind, "param": param, "code": code}},
        )


def invalid_type(param: str, expected: str, value: Any) -> Refused:
    return Refused(
        f"Invalid type for '{param}': expected {expected}, but got {a_kind(value)} instead.",
        param=param,
        code="invalid_type",
    )


def invalid_value(param: str, message: str) -> Refused:
    return Refused(message, param=param, code="invalid_value")


def missing(param: str) -> Refused:
    return Refused(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def array_too_long(param: str, most: int, given: Sized) -> Refused:
    return Refused(
        f"Invalid '{param}': array too long. Expected an array with maximum length {most}, but got an array with "
        f"length {len(given)} instead.",
        param=param,
        code="array_above_max_length",
    )


def check_fields(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Whether a body has no field that the API does not know. Raises Refused."""
    for name in body:
        if name not in known:
            raise Refused(f"Unrecognized request argument supplied: {name}")


def check_number(
    body: Mapping[str, Any], name: str, least: float | None, most: float | None, *, whole: bool = False
) -> None:
    """Whether a field is a number in its range, or is not given. Raises Refused."""
    value = body.get(name)
    if value is None:
        return
    kind = "integer" if whole else "decimal"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise invalid_type(name, "an integer" if whole else "a decimal", value)
    for limit, beyond, word, side in (
        (least, least is not None and value < least, "below minimum", ">="),
        (most, most is not None and value > most, "above maximum", "<="),
    ):
        if beyond:
            raise Refused(
                f"Invalid '{name}': {kind} {word} value. Expected a value {side} {limit}, but got {value} instead.",
                param=name,
                code=f"{kind}_{'below_min' if side == '>=' else 'above_max'}_value",
            )


def a_kind(value: Any) -> str:
    """What a JSON value is, with its article."""
    kinds = {
        dict: "an object",
        list: "an array",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        str: "a string",
        type(None): "null",
    }
    return kinds.get(type(value), "something else")
