"""How a run stands, as one frozen value: what every display shows, from a handful of ledger queries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nono.runs.ledger import AttemptState, Ledger, RunState, Totals

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
    """One moment of a run. Rows: `succeeded` and `failed` have their outcome, `left` have not; `running_done` are
    answered at the provider and not fetched yet; `reused` have an answer of an earlier run. `batches` counts attempts
    in words; `sync_requests` went without a batch, and cost `sync_cost_usd` of `cost_usd`. Instants are ms since 1970.
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
    running_done: int
    reused: int
    batches: dict[str, int]
    oldest_batch_at: int | None
    first_deadline_at: int | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    committed_usd: float
    sync_requests: int
    sync_cost_usd: float | None
    max_cost_usd: float | None
    created_at: int
    ended_at: int | None

    @property
    def over(self) -> bool:
        """Nothing more will happen by itself."""
        return self.state in (RunState.FINISHED, RunState.CANCELLED)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_status(ledger: Ledger, run_id: str) -> RunStatus:
    run = ledger.run(run_id)
    assert run is not None
    totals: Totals = ledger.totals(run_id)
    progress = ledger.progress(run_id)
    counts = {count.state: count.attempts for count in ledger.state_counts(run_id)}
    batches = {word: sum(counts.get(state, 0) for state in states) for word, states in WORDS.items()}
    failed = totals.errored + totals.expired + totals.cancelled + totals.missing
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
        running_done=progress.done_requests,
        reused=run.reused,
        batches={word: count for word, count in batches.items() if count},
        oldest_batch_at=progress.oldest_created_at,
        first_deadline_at=progress.first_expires_at,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        cost_usd=totals.cost_usd,
        committed_usd=ledger.committed_cost_usd(run_id),
        sync_requests=ledger.sync_requests(run_id),
        sync_cost_usd=totals.sync_cost_usd,
        max_cost_usd=run.max_cost_usd,
        created_at=run.created_at,
        ended_at=run.ended_at,
    )
