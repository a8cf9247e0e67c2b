"""Which rows are a run's stragglers, and when they are called in: asked without a batch, rather than a day later.

First the batches that are about to run out are cancelled, and harvested as they ended: only what has no answer then is
asked (`FinishSync` says when, `nono.runs.asking` how).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nono.runs import cost
from nono.runs.admission import over_budget
from nono.runs.bench import Bench
from nono.runs.cancelling import ask_to_cancel
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState, ShardRow
from nono.runs.ledger.states import ASKED_SYNC, FINAL
from nono.runs.shards import rounds_of

# While an attempt is in another state than these, the run's last rows are not all at work yet.
HARVESTED = FINAL | {AttemptState.ENDED, AttemptState.FETCHED, AttemptState.VERIFIED, AttemptState.ASKED}


def call_in(bench: Bench) -> bool:
    """Cancel the batches at work if their time is nearly over and few requests are left; True if that was done."""
    wish, run = bench.settings.finish_sync, bench.run
    at_work = bench.ledger.attempts_at_work(run.id)
    if wish is None or bench.adopts is not None or not at_work:
        return False
    asked = [attempt for attempt in at_work if attempt.batch_id in bench.cancel_asked]
    now = bench.now()
    if asked or not all(_is_near(attempt, now, wish.before_s) for attempt in at_work):
        return False
    others = {count.state for count in bench.ledger.state_counts(run.id)} - {AttemptState.CREATED}
    shards = [bench.shard(attempt) for attempt in at_work]
    if not bench.provider.keeps_cancelled and any(attempt.done_requests for attempt in at_work):
        return False  # what it has answered would be gone, and may have been paid for
    left = sum(max(0, shard.requests - attempt.done_requests) for shard, attempt in zip(shards, at_work, strict=True))
    if not others <= HARVESTED or left > wish.most_rows or not _may_go_on(bench, shards):
        return False
    tokens = sum(shard.tokens for shard in shards) * left / sum(shard.requests for shard in shards)
    at_most_usd = full_price_usd(bench, left, tokens)
    if over_budget(bench, at_most_usd):
        return False
    with bench.commit() as commit:
        commit.event(Happened.STRAGGLERS, requests=left, at_most_usd=at_most_usd)
    for attempt in at_work:
        ask_to_cancel(bench, attempt, reason="its time is nearly over")
    return True


def _is_near(attempt: AttemptRow, now: int, before_s: float) -> bool:
    return attempt.expires_at is not None and attempt.expires_at - now <= before_s * 1000


def _may_go_on(bench: Bench, shards: Collection[ShardRow]) -> bool:
    """Whether another round is allowed: who cancels a batch and then asks nothing has lost what it would have done."""
    rounds = rounds_of(bench)
    parts = {part for shard in shards for part in bench.ledger.parts_of_shard(shard.id)}
    return all(rounds[part] < bench.settings.max_attempts for part in parts)


def are_these(bench: Bench, wanted: Mapping[int, Collection[int]]) -> bool:
    """Whether the rows to be sent again (by part) are stragglers: few, and the last that was tried had no time left.

    All that decides this is in the ledger: after a crash the answer is the same.
    """
    wish = bench.settings.finish_sync
    if wish is None or sum(map(len, wanted.values())) > wish.most_rows:
        return False
    return any(_came_late(bench, part_no, wish.before_s) for part_no in wanted)


def _came_late(bench: Bench, part_no: int, before_s: float) -> bool:
    """Whether the last round of a part ended when the time of its batch was over, or nearly; or had no batch."""
    attempts = bench.ledger.attempts_of_part(bench.run.id, part_no)
    last = max(bench.shard(attempt).round for attempt in attempts)
    return any(
        attempt.state in ASKED_SYNC
        or "expired" in (attempt.native_state or "").lower()
        or (attempt.ended_at is not None and _is_near(attempt, attempt.ended_at, before_s))
        for attempt in attempts
        if bench.shard(attempt).round == last
    )


def full_price_usd(bench: Bench, requests: int, tokens: float) -> float | None:
    """The high guess for so many requests without a batch; None where no price is known."""
    if bench.full_price is None:
        return None
    return cost.cost_usd(requests, round(tokens), bench.task, bench.full_price, 1)
