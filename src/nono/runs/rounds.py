"""Settle parts from everything that was answered, and send again what may still be.

A part's results are made from its rows and the answer files of all attempts that carried them, every time anew: there
is no state between two settlings that a crash could lose. Results are on disk before the ledger says so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from nono.files import whole_file
from nono.jsonl import split_lines
from nono.model import Outcome, RequestError
from nono.runs import stragglers
from nono.runs.admission import over_budget
from nono.runs.asked import LOST, SYNC_ANSWERS
from nono.runs.bench import Bench, Commit, RunStops
from nono.runs.cost import cost_usd
from nono.runs.encoding import generated_id
from nono.runs.events import Happened
from nono.runs.harvest import ANSWERS_GONE
from nono.runs.joining import Answers, IdReader
from nono.runs.kept import kept_rows
from nono.runs.ledger import AttemptRow, AttemptState
from nono.runs.ledger.states import ASKED_SYNC, BATCHED, FINAL, SYNC, TOLD
from nono.runs.lines import BYTES_PER_TOKEN
from nono.runs.reasking import misfits, reasked
from nono.runs.render import as_text
from nono.runs.settle import PartSummary, settle
from nono.runs.shards import add_shard, rounds_of
from nono.runs.submission import names_a_missing_file
from nono.runs.table import part_path

# An attempt in one of these can add nothing more to its part.
DECIDED = FINAL | {AttemptState.FETCHED, AttemptState.VERIFIED, AttemptState.ASKED}
# Attempts that brought, or could not bring, something for their rows.
TELLING = {
    AttemptState.FETCHED,
    AttemptState.VERIFIED,
    AttemptState.CLEANED,
    AttemptState.REFUSED,
    AttemptState.DROPPED,
    AttemptState.ASKED,
    AttemptState.SETTLED,
}
# What stands for the batch of an answer that came without one.
NO_BATCH = "sync"
# What the end of a batch means for requests that it did not answer.
GIVEN_UP = RequestError("given_up", "the row was given up before it was sent")
UNANSWERED = {"expired": Outcome.EXPIRED, "cancelled": Outcome.CANCELLED, "failed": Outcome.ERRORED}


def settle_attempt(bench: Bench, attempt: AttemptRow) -> None:
    """fetched → verified, asked → settled: the parts that are complete now have results on disk and counts here."""
    numbers = bench.ledger.parts_of_shard(attempt.shard_id)
    with bench.settling.hold(numbers):
        summaries = [_settle(bench, no) for no in numbers if _is_decided(bench, no)]
        with bench.commit() as commit:
            _enter(commit, summaries)
            asked = attempt.state is AttemptState.ASKED
            commit.move(attempt, AttemptState.SETTLED if asked else AttemptState.VERIFIED)
    stop = next((summary.stops_run for summary in summaries if summary.stops_run), None)
    if stop is not None:
        raise RunStops("out_of_quota", stop.message, hint="top the account up and run `nono resume`")


def settle_the_rest(bench: Bench) -> None:
    """Settle the parts that no answer completed: refused, dropped, or borrowing from others. Lenders come first."""
    borrowing = {part.no for part in bench.plan.parts if part.borrows_from}
    with bench.settling.hold(range(len(bench.plan.parts))):
        open_parts = [
            part.no
            for part in bench.ledger.parts(bench.run.id)
            if not part.settled or (part.no in borrowing and part.succeeded < part.row_count)
        ]
        for no in sorted(open_parts, key=lambda no: (no in borrowing, no)):
            if _is_decided(bench, no):
                summary = _settle(bench, no)
                with bench.commit() as commit:
                    _enter(commit, [summary])


def plan_next_round(bench: Bench, *, rows: Sequence[int] | None = None) -> int:
    """Make shards of the rows that may still get an answer; returns how many requests these are.

    Without `rows`: what is retryable in parts that have not had `max_attempts` rounds. With `rows` (a person's wish,
    in ascending order): these, whatever they ended as. Either way, parts with an attempt that may still bring an answer
    (it is under way, or waits for a person) wait for it, and rows whose answer did not fit the schema are sent with it
    and with what is wrong, as often as the run's settings say.
    """
    wanted: dict[int, list[int]] = {}
    rounds = rounds_of(bench)
    for part in bench.ledger.parts(bench.run.id):
        if part.succeeded == part.row_count or not part.settled:
            continue
        if rows is not None:
            mine = list(rows[bisect_left(rows, part.first_row) : bisect_left(rows, part.first_row + part.row_count)])
        elif rounds.get(part.no, 0) < bench.settings.max_attempts:
            mine = list(_summary(bench, part.no).retryable)
        else:
            continue
        if mine and _is_told(bench, part.no):
            wanted[part.no] = mine
    if not wanted:
        return 0
    sync = rows is None and stragglers.are_these(bench, wanted)
    with bench.settling.hold(wanted):
        made = list(_write_shards(bench, wanted))
        if not made:
            return 0
        requests = sum(shard.requests for shard in made)
        prices = [_price(bench, shard, sync=sync) for shard in made]
        at_most_usd = None if None in prices else sum(usd for usd in prices if usd is not None)
        if sync and over_budget(bench, at_most_usd):
            # A batch costs half, and waits for its own turn with the budget.
            sync, prices = False, [_price(bench, shard, sync=False) for shard in made]
        with bench.commit() as commit:
            for shard, usd in zip(made, prices, strict=True):
                add_shard(
                    commit,
                    no=shard.no,
                    round=1 + max(rounds[no] for no in shard.parts),
                    requests=shard.requests,
                    file_bytes=shard.file_bytes,
                    tokens=round(shard.tokens),
                    cost_usd=usd,
                    parts=shard.parts,
                    begin=SYNC if sync else BATCHED,
                )
            how: dict[str, Any] = {"sync": True, "at_most_usd": at_most_usd} if sync else {}
            commit.event(Happened.RETRY_PLANNED, requests=requests, shards=[one.no for one in made], **how)
    return requests


# --- settling ---


def _is_decided(bench: Bench, part_no: int) -> bool:
    return all(attempt.state in DECIDED for attempt in bench.ledger.attempts_of_part(bench.run.id, part_no))


def _is_told(bench: Bench, part_no: int) -> bool:
    return all(attempt.state in TOLD for attempt in bench.ledger.attempts_of_part(bench.run.id, part_no))


def _summary(bench: Bench, part_no: int) -> PartSummary:
    return bench.summaries.get(part_no) or _settle(bench, part_no)


def _round_of(bench: Bench, part_no: int) -> int:
    attempts = bench.ledger.attempts_of_part(bench.run.id, part_no)
    return max((bench.shard(attempt).round for attempt in attempts), default=0)


def _settle(bench: Bench, part_no: int) -> PartSummary:
    plan = bench.plan
    attempts = bench.ledger.attempts_of_part(bench.run.id, part_no)
    settled = settle if bench.settlers is None else bench.settlers.settle
    summary = settled(
        plan.parts[part_no],
        [_answers(bench, attempt, part_no) for attempt in attempts if attempt.state in TELLING],
        provider=bench.provider,
        task=bench.task,
        columns=plan.columns,
        id_column=plan.id_column,
        rows=bench.folder.rows,
        results=bench.folder.results,
        price=bench.price,
        full_price=bench.full_price,
        reask=bench.settings.reask,
    )
    bench.summaries[part_no] = summary
    return summary


def _answers(bench: Bench, attempt: AttemptRow, part_no: int) -> Answers:
    """What an attempt brought, with the reason for what it did not bring."""
    shard = bench.shard(attempt)
    if attempt.state in ASKED_SYNC:
        # The journal has a line for each request that was sent; the others were never this attempt's.
        name = bench.file_name(attempt, shard)
        answers = [bench.folder.answers(name) / SYNC_ANSWERS]
        return Answers(answers, bench.folder.asked(name), NO_BATCH, Outcome.MISSING, LOST, sync=True)
    whole_part = shard.no == part_no and shard.requests == bench.plan.parts[part_no].requests
    requests = None if whole_part else bench.folder.shard_file(shard.no)
    unanswered, error = _reason(attempt)
    files = bench.folder.answer_files(bench.file_name(attempt, shard))
    return Answers(files, requests, attempt.batch_id, unanswered, error)


def _reason(attempt: AttemptRow) -> tuple[Outcome, RequestError | None]:
    if attempt.state is AttemptState.DROPPED:
        return Outcome.CANCELLED, GIVEN_UP
    native = (attempt.native_state or "").lower()
    outcome = next((outcome for word, outcome in UNANSWERED.items() if word in native), Outcome.MISSING)
    error = None
    if attempt.error_message is not None:
        code = attempt.error_code or "batch_failed"
        # What did not run for want of time or of its input file may run another time. Every other word about a whole
        # batch is final, above all that its answers are gone: they were paid for, a person decides about paying again.
        unran = outcome in (Outcome.EXPIRED, Outcome.CANCELLED) or names_a_missing_file(attempt.error_message)
        error = RequestError(code, attempt.error_message, retryable=unran and code != ANSWERS_GONE)
    if attempt.state is AttemptState.REFUSED:
        return Outcome.ERRORED, error
    return outcome, error


def _enter(commit: Commit, summaries: Iterable[PartSummary]) -> None:
    for summary in summaries:
        outcomes: dict[str, Any] = {outcome.value: count for outcome, count in summary.outcomes.items()}
        commit.work.settle_part(
            commit.bench.run.id,
            summary.no,
            **outcomes,
            input_tokens=summary.usage.input_tokens,
            output_tokens=summary.usage.output_tokens,
            cost_usd=summary.cost_usd,
            sync_cost_usd=summary.sync_cost_usd,
        )
        codes = {error.code: error.count for error in summary.errors}
        again = {error.code: error.again for error in summary.errors if error.again}
        last = _round_of(commit.bench, summary.no) >= commit.bench.settings.max_attempts
        commit.event(Happened.SETTLED, part=summary.no, **outcomes, errors=codes, again={} if last else again)
        if summary.oddities:
            commit.event(
                Happened.ODD_ANSWERS,
                part=summary.no,
                duplicates=summary.oddities.duplicates,
                unknown=summary.oddities.unknown,
                corrupt=summary.oddities.corrupt,
            )


# --- the next round ---


@dataclass(slots=True)
class _Shard:
    """A shard file that has been written."""

    no: int
    requests: int = 0
    file_bytes: int = 0
    tokens: float = 0.0
    parts: list[int] = field(default_factory=list)


def _write_shards(bench: Bench, wanted: dict[int, list[int]]) -> Iterator[_Shard]:
    """Copy the wanted rows' request lines out of their parts' shard files into as few new files as the limits allow."""
    facts = bench.provider.facts
    most_requests = facts["limits.requests_per_file"].value if "limits.requests_per_file" in facts else None
    most_bytes = facts.number("limits.file_bytes")
    most_tokens = bench.settings.max_enqueued_tokens
    next_no = bench.ledger.next_shard_no(bench.run.id)
    shard: _Shard | None = None
    with ExitStack() as files:
        for part_no, line, added in _lines(bench, wanted):
            part = bench.plan.parts[part_no]
            tokens = part.tokens / max(1, part.requests) + added / BYTES_PER_TOKEN
            full = shard is not None and (
                shard.requests == most_requests
                or shard.file_bytes + len(line) > most_bytes
                or (most_tokens is not None and shard.tokens + tokens > most_tokens)
            )
            if shard is None or full:
                files.close()
                if shard is not None:
                    yield shard
                shard = _Shard(next_no)
                next_no += 1
                file = files.enter_context(whole_file(bench.folder.shard_file(shard.no), mode=0o600))
            file.write(line)
            shard.requests += 1
            shard.file_bytes += len(line)
            shard.tokens += tokens
            if not shard.parts or shard.parts[-1] != part_no:
                shard.parts.append(part_no)
    if shard is not None:
        yield shard


def _lines(bench: Bench, wanted: dict[int, list[int]]) -> Iterator[tuple[int, bytes, int]]:
    """The request lines of the wanted rows, each with its part and with how many bytes longer it is than at first.

    Borrowed rows have none of their own.
    """
    reader = IdReader(bench.provider.id_key, bench.provider.id_mark)
    for part_no, rows in wanted.items():
        part = bench.plan.parts[part_no]
        if not part.requests:
            continue
        ids = _ids(bench, part_no, rows)
        again = set(_summary(bench, part_no).reasked).intersection(rows) if bench.settings.reask else ()
        wrong = misfits(part_path(bench.folder.results, part_no), part.first_row, again)
        with bench.folder.shard_file(part_no).open("rb") as file:
            for line in split_lines(file):
                custom_id = reader.read(line)
                if custom_id in ids:
                    misfit = wrong.get(custom_id)
                    asked = reasked(line, misfit, bench.provider) if misfit else line
                    yield part_no, asked + b"\n", len(asked) - len(line)


def _ids(bench: Bench, part_no: int, rows: list[int]) -> set[str]:
    column = bench.plan.id_column
    if column is None:
        return {generated_id(row) for row in rows}
    first = bench.plan.parts[part_no].first_row
    chosen = set(rows)
    return {
        as_text(value)
        for batch in kept_rows(bench.folder.rows, part_no).batches()
        for row, value in enumerate(batch.column(column), start=first + batch.first)
        if row in chosen
    }


def _price(bench: Bench, shard: _Shard, *, sync: bool) -> float | None:
    """The high guess for a shard that has been written."""
    if sync:
        return stragglers.full_price_usd(bench, shard.requests, shard.tokens)
    return None if bench.price is None else cost_usd(shard.requests, round(shard.tokens), bench.task, bench.price, 1)
