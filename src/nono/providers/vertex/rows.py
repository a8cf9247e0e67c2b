"""What Vertex AI's import of requests refuses, and how the id of a request survives it.

Requests pass through an importer of tables on their way in, and one row that it cannot take fails the whole job. It
reads what looks like a number or a date as one (`"007"` comes back as `7`), so an id travels with a mark in front.
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-gemini
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from nono.model import Result
from nono.providers.gemini import answers
from nono.providers.gemini.schemas import in_one_piece
from nono.providers.gemini.status import request_error
from nono.providers.vertex.wire import answer_of

# Nothing that begins so is a number, a date or a truth value.
ID_MARK = "id:"
# https://cloud.google.com/bigquery/docs/nested-repeated#limitations
MOST_LEVELS = 15
HINT = "one row that cannot be imported fails the whole job; nothing was sent"


def import_problem(row: Any) -> str | None:
    """Why a row (a line of an input file) could not be imported, or None."""
    return next(_problems(row, "", 0), None)


def _problems(value: Any, place: str, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping):
        if not value:
            # https://github.com/googleapis/python-genai/issues/2123
            known = '; {"timeRangeFilter": null} in it is known to pass' if "earch" in place else ""
            yield f"the field '{place}' is a struct without fields, which cannot be imported{known}"
        if depth == MOST_LEVELS:
            yield f"it is nested deeper than {MOST_LEVELS} levels"
            return
        for name, inner in value.items():
            below = f"{place}.{name}".lstrip(".")
            if name.startswith("$") or " " in name or not name:
                yield f"the field '{below}' has a name that no column can have"
            yield from _problems(inner, below, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _problems(item, place, depth)


def importable_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema in one piece: references are written out where they end, and words with a `$` are left out."""
    whole = in_one_piece(dict(schema))
    return {word: value for word, value in whole.items() if word not in ("$schema", "$id", "$comment")}


def decode(line: bytes) -> Result:
    """One line of an answer file: the request's row with `status`, and with `response` where that is empty.

    Raises BadLine for what is not JSON or has no key, and nothing else.
    """
    found = answers.decode(line)
    if found.error is not None and isinstance(found.body, Mapping) and isinstance(found.body.get("status"), str):
        found = msgspec.structs.replace(found, error=request_error(answer_of(found.body).get("error")))
    if found.custom_id.startswith(ID_MARK):
        return msgspec.structs.replace(found, custom_id=found.custom_id[len(ID_MARK) :])
    return found
