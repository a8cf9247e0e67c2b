"""The lines of Vertex AI's jobs: what the service's import refuses, and answers beside their requests.

An answer line is the request's line with `status`, `processed_time` and, where there is one, `response` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from nono.providers.gemini.answers import usage_of
from nono.providers.gemini.fields import find_misplaced
from nono.providers.gemini.translate import GENERATE
from nono.providers.vertex.rows import import_problem
from nono.server.answer_files import request_lines
from nono.server.clock import rfc3339
from nono.server.dialect import Answer, Ask
from nono.server.gemini_lines import answer_request
from nono.server.gemini_wire import error_body
from nono.server.intake import decode_json
from nono.server.records import Batch
from nono.server.store import Store
from nono.server.vertex_wire import FACTS

_NUMBER = re.compile(r"[+-]?\d{1,15}(\.\d{1,15})?([eE][+-]?\d{1,2})?")
_WORDS = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests", 500: "Internal"}


def find_problem(lines: Path) -> tuple[int, str | None]:
    """How many requests the input has, and why the whole job fails if it does."""
    number, limit = 0, FACTS["limits.requests_per_file"]
    with lines.open("rb", buffering=1 << 20) as file:
        for number, line in enumerate(request_lines(file), start=1):
            if problem := _problem(line):
                return number, f"Failed to import data. Row {number}: {problem}"
    if not number:
        return 0, "Failed to import data. The input has no rows."
    if number > limit.value:
        return number, f"The input has {number} requests; a job takes {limit.value}."
    return number, None


def _problem(line: bytes) -> str | None:
    try:
        value = decode_json(line)
    except ValueError as error:
        return f"JSON parsing error: {error}"
    if not isinstance(value, dict):
        return "a JSON object is expected"
    request = value.get("request")
    if not isinstance(request, Mapping):
        return "the field 'request' is missing"
    if (problem := import_problem(value)) is not None:
        return problem
    return find_misplaced(request, GENERATE)


def answer_line(batch: Batch, line: bytes, ask: Ask, store: Store, now_ns: int) -> Answer:
    """Ask for one request's answer and write its line."""
    value = decode_json(line)
    status, answer = answer_request(GENERATE, value["request"], str(batch.model), ask, store)
    row = {**_imported(value), "processed_time": rfc3339(now_ns)}
    if status != 200:
        return Answer(False, _written({"status": _failure(status, answer["message"]), **row}))
    return Answer(True, _written({"status": "", **row, "response": answer}), usage_of(answer))


def unanswered_line(line: bytes, now_ns: int) -> bytes:
    row = {**_imported(decode_json(line)), "processed_time": rfc3339(now_ns)}
    return _written({"status": _failure(500, "The request was not processed."), **row})


def _imported(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it comes out of the importer of tables: a text beside the request that looks like a number is one."""
    return {name: _number(value) for name, value in row.items()}


def _number(value: Any) -> Any:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def _failure(status: int, message: str) -> str:
    return f"{_WORDS.get(status, 'Error')}: {msgspec.json.encode(error_body(status, message)).decode()}"


def _written(value: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(value) + b"\n"
