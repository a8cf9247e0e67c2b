"""The ledger's rows as frozen values; instants are milliseconds since 1970 (UTC)."""

from __future__ import annotations

from dataclasses import dataclass

from nono.runs.ledger.states import AttemptState, RunState


@dataclass(frozen=True, slots=True)
class RunRow:
    id: str
    name: str | None
    fingerprint: str
    provider: str
    model: str
    endpoint: str
    account: str
    state: RunState
    reason: str | None
    wish: str | None
    created_at: int
    ended_at: int | None
    max_cost_usd: float | None
    max_attempts: int
    owner: str | None
    epoch: int
    lease_until: int
    reused: int


@dataclass(frozen=True, slots=True)
class PartRow:
    run_id: str
    no: int
    first_row: int
    row_count: int
    succeeded: int
    errored: int
    expired: int
    cancelled: int
    missing: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    sync_cost_usd: float | None
    settled: int


@dataclass(frozen=True, slots=True)
class ShardRow:
    id: int
    run_id: str
    no: int
    round: int
    requests: int
    file_bytes: int
    tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class AttemptRow:
    id: int
    shard_id: int
    run_id: str
    no: int
    tag: str
    state: AttemptState
    file_id: str | None
    batch_id: str | None
    native_state: str | None
    due_at: int
    since: int
    created_at: int | None
    expires_at: int | None
    ended_at: int | None
    tries: int
    refusals: int
    done_requests: int
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True, slots=True)
class AtWork:
    """The batches that the provider works on, as far as we know."""

    batches: int
    youngest_created_at: int | None


@dataclass(frozen=True, slots=True)
class EventRow:
    id: int
    at: int
    run_id: str
    attempt_id: int | None
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a run's parts; the outcome counters are those of settled parts."""

    parts: int
    row_count: int
    settled: int
    succeeded: int
    errored: int
    expired: int
    cancelled: int
    missing: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    sync_cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """What the provider says of the batches at work."""

    batches: int
    done_requests: int
    requests: int
    oldest_created_at: int | None
    first_expires_at: int | None


@dataclass(frozen=True, slots=True)
class Pace:
    """How long batches took from their creation to their end, and the last instants of those at work."""

    last_ended_at: int | None
    shortest_ms: int | None
    longest_ms: int | None
    newest_created_at: int | None
    last_expires_at: int | None


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How many settled rows have an error, and how many of them are sent again."""

    code: str
    count: int
    again: int


@dataclass(frozen=True, slots=True)
class StateCount:
    state: AttemptState
    attempts: int
