"""Shard files made from shard files: halves of one that is too large, and rows of several that are tried again.

Lines are copied byte for byte; the file is there, whole, before the ledger says so.
"""

from __future__ import annotations

from nono.files import whole_file
from nono.jsonl import split_lines
from nono.runs.bench import Bench, Commit, tag
from nono.runs.events import Happened
from nono.runs.ledger import AttemptRow, AttemptState, ShardRow
from nono.runs.ledger.states import BATCHED


def split_shard(bench: Bench, attempt: AttemptRow, shard: ShardRow, limit_tokens: int | None) -> None:
    """Replace a shard by its two halves; the attempt is over, its uploaded file (if any) is left to expire."""
    first_requests = shard.requests // 2
    numbers = _next_numbers(bench, 2)
    source = bench.folder.shard_file(shard.no)
    sizes: list[int] = []
    with source.open("rb") as file:
        lines = split_lines(file)
        for number, count in zip(numbers, (first_requests, shard.requests - first_requests), strict=True):
            size = 0
            with whole_file(bench.folder.shard_file(number), mode=0o600) as half:
                for _ in range(count):
                    size += half.write(next(lines) + b"\n")
            sizes.append(size)
    parts = bench.ledger.parts_of_shard(shard.id)
    with bench.commit() as commit:
        after = commit.move(attempt, AttemptState.SPLIT, batch_id=None)
        for number, count, size in zip(numbers, (first_requests, shard.requests - first_requests), sizes, strict=True):
            share = count / shard.requests
            add_shard(
                commit,
                no=number,
                round=shard.round,
                requests=count,
                file_bytes=size,
                tokens=round(shard.tokens * share),
                cost_usd=None if shard.cost_usd is None else shard.cost_usd * share,
                parts=parts,
            )
        commit.event(Happened.SPLIT, after, into=numbers, limit_tokens=limit_tokens)


def add_shard(
    commit: Commit,
    *,
    no: int,
    round: int,
    requests: int,
    file_bytes: int,
    tokens: int,
    cost_usd: float | None,
    parts: list[int],
    begin: AttemptState = BATCHED,
) -> None:
    """Enter a shard and its first attempt; its file is in place already."""
    run_id = commit.bench.run.id
    shard_id = commit.work.insert_shard(
        run_id,
        no=no,
        round=round,
        requests=requests,
        file_bytes=file_bytes,
        tokens=tokens,
        cost_usd=cost_usd,
        parts=parts,
    )
    commit.work.insert_attempt(
        run_id, shard_id, no=1, tag=tag(run_id, no, 1, 0), due_at=commit.bench.now(), state=begin
    )


def rounds_of(bench: Bench) -> dict[int, int]:
    """How many rounds each part has had."""
    rounds: dict[int, int] = {}
    for shard in bench.ledger.shards(bench.run.id):
        for part_no in bench.ledger.parts_of_shard(shard.id):
            rounds[part_no] = max(rounds.get(part_no, 0), shard.round)
    return rounds


def _next_numbers(bench: Bench, count: int) -> list[int]:
    first = bench.ledger.next_shard_no(bench.run.id)
    return list(range(first, first + count))
