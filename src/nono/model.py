"""The nouns: requests, results and remote batches, as values that know no provider and do no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class Phase(StrEnum):
    """Where a remote batch is in its life, in our words; `native_state` keeps the provider's.

    `UNKNOWN` is a state that this version has never heard of. It is never treated as ended: whoever stops paying
    attention to a batch loses what it cost.
    """

    PENDING = "pending"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        return self in _ENDED


_ENDED = frozenset({Phase.SUCCEEDED, Phase.PARTIAL, Phase.FAILED, Phase.CANCELLED, Phase.EXPIRED})


class Outcome(StrEnum):
    """What became of one request. Every request of a run ends with exactly one."""

    SUCCEEDED = "succeeded"
    ERRORED = "errored"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Request:
    """One line of work: an id that the answer will carry, and a body for one endpoint.

    `endpoint` is a provider's name for the kind of work (`/v1/chat/completions`, `generateContent`, …).
    """

    custom_id: str
    endpoint: str
    body: Mapping[str, Any]


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer, or the sum over many. A struct, like `Result`: there is one per answer line."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


class RequestError(msgspec.Struct, frozen=True, gc=False):
    """Why one request has no answer. `retryable`: the same request may succeed in another batch.

    `stops_run`: no other request will fare better (the account is out of quota).
    """

    code: str
    message: str
    status: int | None = None
    retryable: bool = False
    stops_run: bool = False


NO_USAGE = Usage()


class Result(msgspec.Struct, frozen=True, gc=False):
    """One answer line, decoded: `error` is set exactly when `outcome` is not succeeded.

    `text` is the answer's text (chat, responses, completions); `vector` an embedding; `body` the whole answer as the
    provider sent it.
    """

    custom_id: str
    outcome: Outcome
    text: str | None = None
    body: Any = None
    vector: list[float] | None = None
    finish_reason: str | None = None
    model: str | None = None
    usage: Usage = NO_USAGE
    error: RequestError | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file at the provider. `size_bytes` is None where the provider does not say."""

    id: str
    name: str | None = None
    size_bytes: int | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """The provider's own counters of a batch; they may lag behind the answer files (trust the files)."""

    total: int = 0
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch at a provider, in common terms.

    `tag` is our mark inside it; `answer_files` are ids in reading order, successes first; `backpressure` says that the
    batch was refused for want of room (an enqueued-token limit), so that the same file can be submitted again later,
    and `backpressure_limit_tokens` is the limit if the provider named it.
    """

    id: str
    native_state: str
    phase: Phase
    tag: str | None = None
    input_file_id: str | None = None
    answer_files: tuple[str, ...] = ()
    counts: Counts | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    expires_at: datetime | None = None
    errors: tuple[RequestError, ...] = ()
    backpressure: bool = False
    backpressure_limit_tokens: int | None = None
    raw: Any = None
