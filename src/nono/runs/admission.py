"""May another batch be created now? Budget, room at the provider, creations an hour; and what a refusal teaches."""

from __future__ import annotations

from dataclasses import dataclass

from nono.facts import Facts
from nono.runs.bench import Bench
from nono.runs.ledger import AttemptRow, ShardRow
from nono.runs.money import dollars

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: look again after `seconds`, or when a batch of ours ends."""

    reason: str
    seconds: float


GRANTED = Wait("nothing is in the way", 0.0)


@dataclass(frozen=True, slots=True)
class Stop:
    """Not in this run: it stops for `reason`, and `message` is for the person."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Halve:
    """The shard is too large by itself for what the account may enqueue."""

    limit_tokens: int | None


def decide(bench: Bench, attempt: AttemptRow, shard: ShardRow) -> Wait | Stop | Halve:
    """`GRANTED` if the shard may be submitted now.

    Tokens are estimates; the limit is what the user gave or the account has taught us. A shard that is larger than the
    limit, although nothing of ours is at work, is too large by itself.
    """
    ledger, run, settings = bench.ledger, bench.run, bench.settings
    if over_budget(bench, shard.cost_usd):
        return Stop(
            "budget",
            f"the next batch (at most ~{dollars(shard.cost_usd or 0.0)}) would pass --max-cost "
            f"{dollars(settings.max_cost_usd or 0.0)}: {dollars(spent_or_under_way_usd(bench))} is spent or under way",
        )
    tokens, batches = bench.enqueued(attempt)
    limit = _token_limit(bench)
    if batches == 0:
        if limit is not None and shard.tokens > limit and shard.requests > 1:
            return Halve(limit)
    elif limit is not None and tokens + shard.tokens > limit:
        return Wait(f"enqueued tokens {tokens:,} + {shard.tokens:,} > {limit:,}", 60.0)
    crowd = bench.crowds.get(attempt.id, 0)
    if 0 < crowd <= batches:
        return Wait(f"no room beside {crowd} batches", 60.0)
    most = most_batches(settings.max_batches, bench.provider.facts)
    if batches >= most:
        return Wait(f"{most:,} batches at a time", 60.0)
    per_hour = bench.provider.facts.get("limits.creates_per_hour")
    if per_hour is not None and ledger.creates_since(run.account, bench.now() - HOUR_MS) >= per_hour.value:
        return Wait(f"{per_hour.value:,} batches created within the hour", 60.0)
    return GRANTED


def most_batches(wished: int, facts: Facts) -> int:
    """How many batches may be at work at a time: as many as are wished for, where the provider has no limit below."""
    limit = facts.get("limits.concurrent_batches")
    return wished if limit is None else min(wished, limit.value)


def over_budget(bench: Bench, more_usd: float | None) -> bool:
    """Whether so much more would pass the budget; never, where the cost is not known."""
    limit_usd = bench.settings.max_cost_usd
    return limit_usd is not None and more_usd is not None and spent_or_under_way_usd(bench) + more_usd > limit_usd


def spent_or_under_way_usd(bench: Bench) -> float:
    return (bench.ledger.totals(bench.run.id).cost_usd or 0.0) + bench.ledger.committed_cost_usd(bench.run.id)


def _token_limit(bench: Bench) -> int | None:
    known = [
        limit
        for limit in (
            bench.settings.max_enqueued_tokens,
            bench.ledger.learned_limit(bench.run.account, bench.run.model),
        )
        if limit is not None
    ]
    return min(known, default=None)
