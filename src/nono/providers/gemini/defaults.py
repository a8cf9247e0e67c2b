"""What all requests of a job have in common, merged into each of them; a request's own values win.

The service knows no settings for a whole job: a generation config or a system instruction travels in every request.
Input files whose lines are bare requests (`{"contents": […]}`) are made into lines with keys on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nono import jsonl
from nono.errors import InputError
from nono.files import whole_file
from nono.jsonl import BadLine
from nono.providers.gemini.harvest import own_key
from nono.providers.gemini.requests import Item, camel, item_of

# A schema has two homes; a request with one of them wants no other schema beside it.
_SCHEMAS = frozenset({"responseSchema", "responseJsonSchema"})


def defaults_of(**given: Any) -> dict[str, Any]:
    """The parts of a `GenerateContentRequest` that every request of a job starts from; what is None is left out.

    Names may be snake_case or camelCase, values what a request's may be. Raises InputError for what is no such part.
    """
    present = {name: value for name, value in given.items() if value is not None}
    if not present:
        return {}
    request = item_of({**present, "contents": "x"}).request
    del request["contents"]
    defaults = {camel(name): value for name, value in request.items()}
    config = defaults.get("generationConfig")
    if config is not None:
        if not isinstance(config, dict):
            raise InputError(
                f"generation_config is a dict, not {type(config).__name__}", hint='for example {"temperature": 0.7}'
            )
        defaults["generationConfig"] = {camel(name): value for name, value in config.items()}
    return defaults


def with_defaults(request: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The request with what it does not say itself; the fields of its generation config count one by one."""
    own = {camel(name): name for name in request}
    merged = {name: value for name, value in defaults.items() if name not in own} | dict(request)
    config = request.get(own.get("generationConfig", ""))
    if "generationConfig" in defaults and isinstance(config, Mapping):
        said = {camel(name) for name in config}
        if said & _SCHEMAS:
            said |= _SCHEMAS
        ours = {name: value for name, value in defaults["generationConfig"].items() if name not in said}
        merged[own["generationConfig"]] = ours | dict(config)
    return merged


def needs_writing(path: Path, defaults: Mapping[str, Any]) -> bool:
    """Whether an input file cannot be sent as it is: there are defaults to merge, or requests without a key."""
    if defaults:
        return True
    for _, line in jsonl.read_lines(path):
        try:
            value = jsonl.decode(line)
        except BadLine:
            return False  # told, with its line, by the check
        if isinstance(value, dict) and "key" not in value and ("request" in value or "contents" in value):
            return True
    return False


def write_complete(path: Path, target: Path, defaults: Mapping[str, Any]) -> int:
    """Write the requests of `path` to `target` with keys and defaults, line by line, and return how many they are.

    A request without a key gets `request-n`, n being its line; blank lines stay, so that lines keep their numbers.
    Raises InputError naming file and line.
    """
    requests = 0
    with whole_file(target) as file:
        written = 0
        for number, line in jsonl.read_lines(path):
            file.write(b"\n" * (number - written - 1))
            written = number
            try:
                item = item_of(_object(line))
                file.write(jsonl.encode(complete_line(item, number, defaults)) + b"\n")
            except InputError as error:
                raise InputError(f"{path}: line {number}: {error.message}", hint=error.hint) from error
            requests += 1
    return requests


def complete_line(item: Item, number: int, defaults: Mapping[str, Any]) -> dict[str, Any]:
    line = {
        "key": own_key(number) if item.key is None else item.key,
        "request": with_defaults(item.request, defaults),
    }
    return line | ({"metadata": dict(item.metadata)} if item.metadata else {})


def _object(line: bytes) -> dict[str, Any]:
    value = jsonl.decode(line)
    if not isinstance(value, dict):
        raise BadLine(f"a JSON {type(value).__name__}, not an object")
    return value
