"""OpenAI's wire as values: batches, files and pages. No I/O, and no opinion about what to do next.

Reading is tolerant, because many services speak this protocol with an accent: states in upper case, times as ISO text
or null, counters that are missing, `errors` of any shape, file ids that are `""`. What is read differently from how it
was sent is still in `.raw`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from nono.errors import UnreadableAnswer
from nono.model import Counts, Phase, RemoteBatch, RemoteFile, RequestError, Usage

# Where our mark travels inside a batch, so that a create whose answer was lost is found again.
TAG_KEY = "nono_tag"

# https://platform.openai.com/docs/api-reference/batch/object  (`status`)
PHASES = {
    "validating": Phase.PENDING,
    "in_progress": Phase.RUNNING,
    "finalizing": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "expired": Phase.EXPIRED,
    "cancelling": Phase.CANCELLING,
    "cancelled": Phase.CANCELLED,
    # Compatible services: SiliconFlow queues, Novita progresses.
    "in_queue": Phase.PENDING,
    "progress": Phase.RUNNING,
}


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of a batch; all 0 until the provider counts them. Lines that never ran are in `total` alone."""

    total: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class BatchIssue:
    """Why a batch failed validation; `line` counts from 1 and is None where the whole file is meant."""

    code: str | None
    message: str
    line: int | None = None
    param: str | None = None

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        code = f" ({self.code})" if self.code else ""
        return f"{place}{self.message}{code}"


class BatchErrors(tuple[BatchIssue, ...]):
    """The validation errors of a batch, empty for a healthy one; `.data` is the same, as the provider nests it."""

    __slots__ = ()

    @property
    def data(self) -> tuple[BatchIssue, ...]:
        return tuple(self)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the provider describes it. Times are Unix seconds; `status` is in lower case.

    `request_counts` and `errors` are never None. `usage` is None where the provider does not report it. Everything as
    it was sent is in `raw`.
    https://platform.openai.com/docs/api-reference/batch/object
    """

    id: str
    status: str
    endpoint: str | None = None
    input_file_id: str | None = None
    completion_window: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: RequestCounts = field(default_factory=RequestCounts)
    errors: BatchErrors = field(default_factory=BatchErrors)
    usage: Usage | None = None
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    created_at: int | None = None
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    object: str = "batch"
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def phase(self) -> Phase:
        return PHASES.get(self.status, Phase.UNKNOWN)

    @property
    def ended(self) -> bool:
        return self.phase.ended


_TIMES = (
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


@dataclass(frozen=True, slots=True)
class File:
    """A file at the provider. https://platform.openai.com/docs/api-reference/files/object"""

    id: str
    filename: str | None = None
    bytes: int | None = None
    purpose: str | None = None
    status: str | None = None
    created_at: int | None = None
    expires_at: int | None = None
    object: str = "file"
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


class Page(list[Batch]):
    """Some batches, newest first. `after` is the cursor of the next page, None on the last one."""

    def __init__(self, batches: Iterable[Batch] = (), *, after: str | None = None) -> None:
        super().__init__(batches)
        self.after = after

    @property
    def has_more(self) -> bool:
        return self.after is not None


def parse_batch(raw: Any) -> Batch:
    """A batch from its decoded JSON.

    Raises UnreadableAnswer if it is not an object with an id.
    """
    _require_id(raw, "batch")
    times: dict[str, Any] = {name: unix_seconds(raw.get(name)) for name in _TIMES}
    return Batch(
        id=str(raw["id"]),
        status=str(raw.get("status") or "").lower(),
        endpoint=_text(raw.get("endpoint")),
        input_file_id=_text(raw.get("input_file_id")),
        completion_window=_text(raw.get("completion_window")),
        output_file_id=_text(raw.get("output_file_id")),
        error_file_id=_text(raw.get("error_file_id")),
        request_counts=_counts(raw.get("request_counts")),
        errors=BatchErrors(_issues(raw.get("errors"))),
        usage=_usage(raw.get("usage")),
        model=_text(raw.get("model")),
        metadata=dict(raw["metadata"]) if isinstance(raw.get("metadata"), dict) else {},
        raw=raw,
        **times,
    )


def parse_file(raw: Any) -> File:
    """A file from its decoded JSON; raises UnreadableAnswer as `parse_batch` does."""
    _require_id(raw, "file")
    return File(
        id=str(raw["id"]),
        filename=_text(raw.get("filename")),
        bytes=raw["bytes"] if _is_count(raw.get("bytes")) else None,
        purpose=_text(raw.get("purpose")),
        status=_text(raw.get("status")),
        created_at=unix_seconds(raw.get("created_at")),
        expires_at=unix_seconds(raw.get("expires_at")),
        raw=raw,
    )


def parse_list(raw: Any, asked_after: str | None = None) -> tuple[list[Any], str | None]:
    """The elements of one list page, and the cursor of the next page or None.

    The cursor is the last element's id, whatever `last_id` says. Without `has_more` the list goes on until a page is
    empty, as the official SDK reads it, or ends where it has been asked for `asked_after`: a service that takes no
    notice of a cursor gives the same page for ever.
    """
    data = raw.get("data") if isinstance(raw, dict) else None
    if not isinstance(data, list):
        raise UnreadableAnswer(f"a list was expected, not {_shown(raw)}")
    more = raw.get("has_more") is not False and bool(data)
    last = data[-1].get("id") if more and isinstance(data[-1], dict) else None
    return data, str(last) if last and str(last) != asked_after else None


def parse_page(raw: Any, asked_after: str | None = None) -> Page:
    """One page of batches, as `parse_list` reads it."""
    data, after = parse_list(raw, asked_after)
    return Page(map(parse_batch, data), after=after)


def remote_batch(batch: Batch) -> RemoteBatch:
    """The batch in common terms."""
    ended_at = batch.completed_at or batch.failed_at or batch.expired_at or batch.cancelled_at
    crowded = batch.phase is Phase.FAILED and any(map(_is_backpressure, batch.errors))
    counts = batch.request_counts
    return RemoteBatch(
        id=batch.id,
        native_state=batch.status,
        phase=batch.phase,
        tag=batch.metadata.get(TAG_KEY),
        input_file_id=batch.input_file_id,
        answer_files=tuple(id for id in (batch.output_file_id, batch.error_file_id) if id),
        counts=Counts(counts.total, counts.completed, counts.failed) if batch.raw.get("request_counts") else None,
        created_at=_instant(batch.created_at),
        ended_at=_instant(ended_at) if batch.ended else None,
        expires_at=_instant(batch.expires_at),
        errors=tuple(
            RequestError(issue.code or "invalid_batch", str(issue), retryable=_is_backpressure(issue))
            for issue in batch.errors
        ),
        backpressure=crowded,
        backpressure_limit_tokens=next(filter(None, map(_token_limit, batch.errors)), None) if crowded else None,
        raw=batch.raw,
    )


def remote_file(file: File) -> RemoteFile:
    """The file in common terms."""
    return RemoteFile(file.id, file.filename, file.bytes, _instant(file.created_at), _instant(file.expires_at))


def unix_seconds(value: Any) -> int | None:
    """Whole Unix seconds from a number, its text, or an ISO 8601 time (UTC where it names no zone)."""
    if value is None:
        return None  # most times of a batch
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                when = datetime.fromisoformat(value)
            except ValueError:
                return None
            value = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e11:
        return None
    return int(value)


def _instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# "Enqueued token limit reached for gpt-4.1 in organization org-123. Limit: 900,000 enqueued tokens. Please try again …"
# Azure: "The number of enqueued tokens has surpassed the configured limit of 30K for the deployment …"
_CROWDED = re.compile(r"enqueued (?:token|request) limit reached|number of enqueued tokens has surpassed", re.I)
_TOKEN_LIMIT = re.compile(r"limit(?:: | of )([\d,.]*\d) ?([KMB]?)\b", re.I)
_SCALE = {"": 1, "K": 1_000, "M": 1_000_000, "B": 1_000_000_000}


def _is_backpressure(issue: BatchIssue) -> bool:
    return issue.code == "token_limit_exceeded" or bool(_CROWDED.search(issue.message))


def _token_limit(issue: BatchIssue) -> int | None:
    found = _TOKEN_LIMIT.search(issue.message)
    if found is None or "enqueued request" in issue.message.lower():
        return None
    return int(float(found[1].replace(",", "")) * _SCALE[found[2].upper()])


def _require_id(raw: Any, what: str) -> None:
    if not isinstance(raw, dict) or not raw.get("id"):
        raise UnreadableAnswer(
            f"a {what} with an id was expected, not {_shown(raw)}",
            hint="is the base URL that of an OpenAI-compatible API (usually ending in /v1)?",
        )


def _shown(raw: Any) -> str:
    return f"an object with {', '.join(list(raw)[:5]) or 'nothing in it'}" if isinstance(raw, dict) else repr(raw)[:80]


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def _one_line(value: Any) -> str:
    return " ".join(str(value or "").split())[:500]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _counts(raw: Any) -> RequestCounts:
    counts = raw if isinstance(raw, dict) else {}
    return RequestCounts(
        *(counts[name] if _is_count(counts.get(name)) else 0 for name in ("total", "completed", "failed"))
    )


def _usage(raw: Any) -> Usage | None:
    if not isinstance(raw, dict):
        return None

    def count(table: Any, name: str) -> int:
        return table[name] if isinstance(table, dict) and _is_count(table.get(name)) else 0

    return Usage(
        input_tokens=count(raw, "input_tokens"),
        output_tokens=count(raw, "output_tokens"),
        cached_tokens=count(raw.get("input_tokens_details"), "cached_tokens"),
        reasoning_tokens=count(raw.get("output_tokens_details"), "reasoning_tokens"),
    )


def _issues(raw: Any) -> Iterator[BatchIssue]:
    """The entries of `errors`: null, a text, one object, a list of either, or OpenAI's `{"data": [...]}`."""
    if isinstance(raw, dict) and ("data" in raw or raw.get("object") == "list"):
        raw = raw.get("data")
    for entry in raw if isinstance(raw, list) else [raw]:
        if isinstance(entry, dict) and entry:
            line = entry.get("line")
            yield BatchIssue(
                code=_text(entry.get("code")),
                message=_one_line(entry.get("message")) or "no reason given",
                line=line if _is_count(line) else None,
                param=_text(entry.get("param")),
            )
        elif entry and not isinstance(entry, dict):
            yield BatchIssue(code=None, message=_one_line(entry))
