"""The lines of Gemini's batches: checking the input's, writing the output's.

A line of a file is `{"key", "request"}` and whatever else the client put beside them, which comes back; a bare request
is taken, too. A line of an inline batch is `{"request", "metadata"}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nono.errors import InputError
from nono.model import Usage
from nono.providers.gemini.answers import usage_of
from nono.providers.gemini.fields import find_misplaced, in_camel_case
from nono.providers.gemini.translate import EMBED, GENERATE
from nono.server.answer_files import numbered_lines
from nono.server.dialect import Answer, Ask, Refused, Why
from nono.server.gemini_files import with_own_files
from nono.server.gemini_wire import item_error
from nono.server.intake import decode_json
from nono.server.models import CHAT, EMBEDDINGS
from nono.server.records import Batch
from nono.server.store import Store
from nono.server.translate import gemini

_BARE = ("contents", "content")
_NEVER_ANSWERED = {
    Why.CANCELLED: (499, "The batch was cancelled before this request was processed."),
    Why.EXPIRED: (504, "The batch expired before this request was processed."),
    Why.BROKEN: (500, "An internal error has occurred. Please retry."),
}


def check_lines(lines: Path, endpoint: str) -> int:
    """How many requests a file holds. Raises Refused for the first line that is wrong, as the service does."""
    total = 0
    with lines.open("rb", buffering=1 << 20) as file:
        for number, line in numbered_lines(file):
            problem = _problem(line, endpoint)
            if problem:
                raise Refused(400, f"Error on line {number}: invalid JSON, {problem}")
            total += 1
    if not total:
        raise Refused(400, "The input file is empty: it must hold at least one request.")
    return total


def _problem(line: bytes, endpoint: str) -> str | None:
    try:
        value = decode_json(line)
    except ValueError as error:
        return str(error)
    if not isinstance(value, dict):
        return f"near column 1: unexpected character: {chr(line.lstrip()[0])!r}; expected '{{'"
    key = value.get("key")
    if key is not None and not isinstance(key, str):
        return f"near column {_column(line, 'key')}: 'key' is a string"
    request = _request_of(value)
    if request is None:
        return "near column 1: no field 'request'"
    found = find_misplaced(request, endpoint) if isinstance(request, Mapping) else "request is an object"
    return found and f"near column {_column(line, _quoted(found))}: {found}"


def _quoted(sentence: str) -> str:
    """The field that a sentence is about."""
    return sentence.split("'")[1] if sentence.count("'") > 1 else sentence.split(" ")[0].rpartition(".")[2]


def _column(line: bytes, name: str) -> int:
    return max(0, line.find(b'"%b"' % name.encode())) + 1


def _request_of(value: Mapping[str, Any]) -> Any:
    if "request" in value:
        return value["request"]
    return {name: inner for name, inner in value.items() if name != "key"} if any(map(value.get, _BARE)) else None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of work: the model's endpoint behind it, and how request and answer are translated."""

    asks: str
    ask: Callable[[Mapping[str, Any]], dict[str, Any]]
    tell: Callable[[Mapping[str, Any], str, Mapping[str, Any]], dict[str, Any]]


KINDS: dict[str, Kind] = {
    GENERATE: Kind(CHAT, gemini.to_chat, gemini.from_chat),
    EMBED: Kind(EMBEDDINGS, gemini.to_embeddings, lambda request, model, answer: gemini.from_embeddings(answer)),
}


def answer_request(
    endpoint: str, request: Mapping[str, Any], model: str, ask: Ask, store: Store
) -> tuple[int, dict[str, Any]]:
    """HTTP status, and the response or the error message (`{"message"}`) for one request with its fields in place."""
    kind = KINDS[endpoint]
    try:
        request = in_camel_case(request, endpoint)
        if endpoint == GENERATE:
            request = with_own_files(request, store)
        body = {"model": model, **kind.ask(request)}
    except InputError as error:
        return 400, {"message": error.message}
    except Refused as refused:
        return refused.status, {"message": refused.message}
    except (TypeError, ValueError, AttributeError) as error:
        return 400, {"message": f"Request contains an invalid argument: {error}"}
    status, answer = ask(kind.asks, body)
    if status >= 400:
        said = answer.get("error")
        message = said.get("message") if isinstance(said, Mapping) else said
        return status, {"message": str(message or "The model gave no reason.")}
    return 200, kind.tell(request, model, answer)


def answer_line(batch: Batch, line: bytes, ask: Ask, store: Store) -> Answer:
    """Ask for one request's answer and write its line."""
    value = decode_json(line)
    status, answer = answer_request(batch.endpoint, _request_of(value), str(batch.model), ask, store)
    if status != 200:
        return Answer(False, _error_line(value, item_error(status, answer["message"])))
    return Answer(True, _written({"response": answer, **_carried(value)}), _usage(answer))


def unanswered_line(line: bytes, why: Why) -> bytes:
    return _error_line(decode_json(line), item_error(*_NEVER_ANSWERED[why]))


def _error_line(value: Mapping[str, Any], error: Mapping[str, Any]) -> bytes:
    carried = _carried(value)
    key = {"key": carried.pop("key")} if "key" in carried else {}
    return _written({**key, "error": error, **carried})


def _carried(value: Mapping[str, Any]) -> dict[str, Any]:
    """What goes from a line into its answer as it is."""
    if "request" not in value:
        return {"key": value["key"]} if "key" in value else {}
    return {name: inner for name, inner in value.items() if name not in ("request", "response", "error")}


def _written(value: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(value) + b"\n"


def _usage(answer: Mapping[str, Any]) -> Usage:
    return usage_of(answer)


def inline_lines(requests: Any, endpoint: str) -> Iterator[bytes]:
    """The lines of an inline batch. Raises Refused for the first request that is wrong."""
    place = "batch.input_config.requests.requests"
    if not isinstance(requests, list) or not requests:
        raise Refused(400, f"* {place}: must hold at least one request.")
    for number, item in enumerate(requests):
        where = f"{place}[{number}]"
        if not isinstance(item, Mapping) or not isinstance(item.get("request"), Mapping):
            raise Refused(400, f"Invalid value at '{where}.request': expected an object.")
        strangers = item.keys() - {"request", "metadata"}
        if strangers:
            raise unknown_name(min(strangers), where)
        found = find_misplaced(item["request"], endpoint)
        if found:
            raise Refused(400, f"Invalid JSON payload received. At '{where}.request': {found}")
        metadata = item.get("metadata")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise Refused(400, f"Invalid value at '{where}.metadata': expected an object.")
        carried = {"metadata": {name: _text(value) for name, value in metadata.items()}} if metadata else {}
        yield _written({"request": item["request"], **carried})


def _text(value: Any) -> str:
    """Texts only come back: the official SDK cannot read a batch whose metadata holds anything else."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def unknown_name(name: str, place: str) -> Refused:
    message = f"Invalid JSON payload received. Unknown name \"{name[:200]}\" at '{place}': Cannot find field."
    return Refused(400, message)
