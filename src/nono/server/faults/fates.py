"""What becomes of a batch, or of one request, where a rule says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nono.server.answer_files import request_lines
from nono.server.clock import SECOND_NS
from nono.server.intake import decode_json
from nono.server.records import Batch, State
from nono.server.store import Store
from nono.server.weather import End

if TYPE_CHECKING:
    from nono.server.faults.rules import Rule

# https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them: some four characters of English.
_BYTES_PER_TOKEN = 4
_NEVER_NS = (1 << 63) - 1
_PROMPTS = ("messages", "input", "prompt", "contents", "content", "systemInstruction", "instructions")


@dataclass(frozen=True, slots=True)
class Fate:
    """What is decided about a batch: errors that refuse it, an instant before which it does not begin, its end."""

    errors: list[dict[str, Any]] | None = None
    held_ns: int | None = None
    end: End | None = None


@dataclass(frozen=True, slots=True)
class Occasion:
    """A batch when its fate is decided; `lines` is its input, `total` how many requests it has."""

    batch: Batch
    lines: Path
    total: int
    store: Store


Decide = Callable[["Rule", Occasion], Fate | None]
Fail = Callable[["Rule"], tuple[int, dict[str, Any]]]


def stuck(rule: Rule, occasion: Occasion) -> Fate:
    if rule["seconds"] is None:
        return Fate(held_ns=_NEVER_NS)
    return Fate(held_ns=occasion.batch.created_ns + int(rule["seconds"] * SECOND_NS))


def fail(rule: Rule, occasion: Occasion) -> Fate:
    return Fate(errors=[{"code": rule["code"], "message": rule["message"], "param": None, "line": None}])


def expire(rule: Rule, occasion: Occasion) -> Fate:
    return Fate(end=End(int(occasion.total * rule["after"])))


def cancel(rule: Rule, occasion: Occasion) -> Fate:
    return Fate(end=End(int(occasion.total * rule["after"]), State.CANCELLING))


def token_limit(rule: Rule, occasion: Occasion) -> Fate | None:
    """OpenAI takes the batch and lets it fail; Gemini refuses the create (`replies.token_limit`)."""
    batch, store = occasion.batch, occasion.store
    if batch.protocol != "openai" or not exceeds(rule, store, batch, count_tokens(occasion.lines)):
        return None
    message = (
        f"Enqueued token limit reached for {batch.model or 'the model'} in organization org-local. "
        f"Limit: {rule['tokens']:,} enqueued tokens. "
        "Please try again once some in_progress batches have been completed."
    )
    return Fate(errors=[{"code": "token_limit_exceeded", "message": message, "param": None, "line": None}])


def exceeds(rule: Rule, store: Store, batch: Batch | None, tokens: int) -> bool:
    """Whether so many tokens more are too many beside what is enqueued; `batch` itself does not count."""
    protocol = batch.protocol if batch else "gemini"
    enqueued = sum(
        count_tokens(store.work_folder(one) / "input.jsonl")
        for one in store.unfinished()
        if one.protocol == protocol and (batch is None or one.id != batch.id) and one.state is not State.VALIDATING
    )
    return bool(enqueued + tokens > rule["tokens"])


def count_tokens(lines: Path) -> int:
    """A guess from the texts of the prompts."""
    total = 0
    try:
        with lines.open("rb", buffering=1 << 20) as file:
            for line in request_lines(file):
                try:
                    value = decode_json(line)
                except ValueError:
                    continue
                body = value.get("body") or value.get("request") if isinstance(value, Mapping) else None
                if isinstance(body, Mapping):
                    total += sum(_bytes_in(body.get(name)) for name in _PROMPTS) // _BYTES_PER_TOKEN
    except FileNotFoundError:  # it has just ended
        pass
    return total


def _bytes_in(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return sum(map(_bytes_in, inner))


_CODES = {429: ("requests", "rate_limit_exceeded"), 400: ("invalid_request_error", "invalid_value")}


def row_error(rule: Rule) -> tuple[int, dict[str, Any]]:
    status = rule["status"]
    kind, code = _CODES.get(
        status, ("server_error", "server_error") if status >= 500 else ("invalid_request_error", None)
    )
    message = rule["message"] or f"The request was refused with {status}."
    return status, {"error": {"message": message, "type": kind, "param": None, "code": rule["code"] or code}}
