"""How a run stands, as one frozen value: what every display shows, from a handful of ledger queries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nono.runs.ledger import AttemptState, Ledger, Pace, RunState, Totals
from nono.runs.ledger.states import OVER

# The states of attempts in a person's words, in the order of their life.
WORDS: dict[str, frozenset[AttemptState]] = {
    "waiting": frozenset({AttemptState.PLANNED, AttemptState.FILE_INTENT, AttemptState.UPLOADED}),
    "unclear": frozenset({AttemptState.CREATE_INTENT, AttemptState.RECONCILE, AttemptState.FENCE, AttemptState.FENCED}),
    "asking you": frozenset({AttemptState.QUARANTINE}),
    "running": frozenset({AttemptState.CREATED}),
    "asking": frozenset({AttemptState.ASKING, AttemptState.ASKED}),
    "fetching": frozenset({AttemptState.ENDED, AttemptState.FETCHED}),
    "done": frozenset({AttemptState.VERIFIED, AttemptState.CLEANED, AttemptState.SETTLED}),
    "refused": frozenset({AttemptState.REFUSED}),
    "dropped": frozenset({AttemptState.DROPPED}),
}


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One moment of a run. Rows: `succeeded` and `failed` have their outcome, `left` have not; `sent_again` of these
    were refused and may get an answer yet; `running_done` are answered at the provider and not fetched yet; `reused`
    have an answer of an earlier run. `batches` counts attempts in words; `sync_requests` went without a batch, and cost
    `sync_cost_usd` of `cost_usd`; `estimated_usd` is the high guess for the whole. Instants are ms since 1970;
    `end_from` and `end_until` are a guess (see `expected_end`).
    """

    id: str
    name: str | None
    model: str
    state: RunState
    reason: str | None
    owner: str | None
    rows: int
    succeeded: int
    failed: int
    left: int
    sent_again: int
    running_done: int
    reused: int
    batches: dict[str, int]
    oldest_batch_at: int | None
    first_deadline_at: int | None
    last_result_at: int | None
    end_from: int | None
    end_until: int | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    committed_usd: float
    estimated_usd: float | None
    sync_requests: int
    sync_cost_usd: float | None
    max_cost_usd: float | None
    created_at: int
    ended_at: int | None

    @property
    def over(self) -> bool:
        """Nothing more will happen by itself."""
        return self.state in OVER

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_status(ledger: Ledger, run_id: str) -> RunStatus:
    run = ledger.run(run_id)
    assert run is not None
    totals: Totals = ledger.totals(run_id)
    progress = ledger.progress(run_id)
    counts = {count.state: count.attempts for count in ledger.state_counts(run_id)}
    batches = {word: sum(counts.get(state, 0) for state in states) for word, states in WORDS.items()}
    pace = ledger.pace(run_id)
    end_from, end_until = expected_end(pace, progress.batches, batches["waiting"])
    unanswered = totals.errored + totals.expired + totals.cancelled + totals.missing
    # Rows that share a request are sent again together, as one.
    sent_again = min(unanswered, ledger.sent_again(run_id))
    failed = unanswered - sent_again
    return RunStatus(
        id=run.id,
        name=run.name,
        model=f"{run.provider}/{run.model}",
        state=run.state,
        reason=run.reason,
        owner=run.owner,
        rows=totals.row_count,
        succeeded=totals.succeeded,
        failed=failed,
        left=totals.row_count - totals.succeeded - failed,
        sent_again=sent_again,
        running_done=progress.done_requests,
        reused=run.reused,
        batches={word: count for word, count in batches.items() if count},
        oldest_batch_at=progress.oldest_created_at,
        first_deadline_at=progress.first_expires_at,
        last_result_at=pace.last_ended_at,
        end_from=end_from,
        end_until=end_until,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        cost_usd=totals.cost_usd,
        committed_usd=ledger.committed_cost_usd(run_id),
        estimated_usd=ledger.estimated_cost_usd(run_id),
        sync_requests=ledger.sync_requests(run_id),
        sync_cost_usd=totals.sync_cost_usd,
        max_cost_usd=run.max_cost_usd,
        created_at=run.created_at,
        ended_at=run.ended_at,
    )


def expected_end(pace: Pace, running: int, waiting: int) -> tuple[int, int] | tuple[None, None]:
    """From when until when the run may end, in ms since 1970; nothing as long as no batch has ended.

    As if the batches at work took as long as the shortest and as the longest that have ended, and those that wait
    followed them, as many at a time. Where none waits, nothing goes on past the provider's deadline.
    """
    if pace.shortest_ms is None or pace.longest_ms is None or pace.newest_created_at is None:
        return None, None
    turns = 1 + -(-waiting // running)
    first = pace.newest_created_at + turns * pace.shortest_ms
    last = pace.newest_created_at + turns * pace.longest_ms
    if not waiting and pace.last_expires_at is not None:
        last = min(last, pace.last_expires_at)
    return min(first, last), last
