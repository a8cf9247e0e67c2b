"""What every model here checks in a chat body in the same way: numbers, stop texts, the frame of a schema.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nono.server.models.refusals import Refused, array_too_long, check_number, invalid_type, invalid_value, missing

# Name → least, most, whether whole.
NUMBERS: dict[str, tuple[float | None, float | None, bool]] = {
    "temperature": (0, 2, False),
    "top_p": (0, 1, False),
    "frequency_penalty": (-2, 2, False),
    "presence_penalty": (-2, 2, False),
    "n": (1, 128, True),
    "max_tokens": (1, None, True),
    "max_completion_tokens": (1, None, True),
    "top_logprobs": (0, 20, True),
    "seed": (None, None, True),
}
# OpenAI takes four, Gemini five (https://ai.google.dev/api/generate-content#generationconfig), and both come here.
MOST_STOPS = 5
_SCHEMA_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_numbers(body: Mapping[str, Any]) -> None:
    """Raises Refused for a field that is no number, or not in its range."""
    for name in body:
        if name in NUMBERS:
            least, most, whole = NUMBERS[name]
            check_number(body, name, least, most, whole=whole)


def read_stops(stop: Any) -> list[str]:
    """The texts before which an answer ends. Raises Refused."""
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise invalid_type("stop", "a string or an array of strings", stop)
    if len(stops) > MOST_STOPS:
        raise array_too_long("stop", MOST_STOPS, stops)
    return stops


def read_schema(form: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Name and schema of a `response_format` of type `json_schema`. Raises Refused."""
    given = form.get("json_schema")
    if not isinstance(given, Mapping):
        raise missing("response_format.json_schema")
    name = given.get("name")
    if name is None:
        raise missing("response_format.json_schema.name")
    if not isinstance(name, str) or not _SCHEMA_NAME.fullmatch(name):
        raise invalid_value(
            "response_format.json_schema.name",
            f"Invalid 'response_format.json_schema.name': {name!r} does not match '^[a-zA-Z0-9_-]+$'.",
        )
    schema = given.get("schema", {"type": "object"})
    if not isinstance(schema, Mapping):
        raise invalid_type("response_format.json_schema.schema", "an object", schema)
    return name, schema


def bad_format(kind: Any) -> Refused:
    return invalid_value(
        "response_format.type",
        f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
    )


def check_message_list(messages: Any) -> None:
    """The messages of a chat are there, a list, and not empty. Raises Refused."""
    if messages is None:
        raise missing("messages")
    if not isinstance(messages, list):
        raise invalid_type("messages", "an array of objects", messages)
    if not messages:
        raise Refused(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param="messages",
            code="empty_array",
        )
