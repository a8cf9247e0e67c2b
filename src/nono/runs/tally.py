"""What becomes of rows, counted while they are settled: outcomes, tokens, money, errors, and who may be asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from nono.model import NO_USAGE, Outcome, RequestError, Result, Usage
from nono.runs.cost import Price
from nono.runs.joining import Oddities
from nono.runs.parts import PlannedPart

# The best comes first.
RANK = {
    Outcome.SUCCEEDED: 0,
    Outcome.ERRORED: 1,
    Outcome.EXPIRED: 2,
    Outcome.CANCELLED: 3,
    Outcome.MISSING: 4,
}


class ErrorCount(msgspec.Struct, frozen=True):
    """How often an error occurred in a part, with one message and the row (from the data set's first) that had it;
    `again` of these rows may get an answer yet."""

    code: str
    count: int
    message: str
    row: int
    again: int = 0


class PartSummary(msgspec.Struct, frozen=True):
    """What became of a part's rows. `outcomes` has all five; they add up to the part's rows.

    `retryable` are rows (counted from the data set's first) that have no answer and may get one in another batch;
    those of them that are `reasked` get their last answer and what is wrong with it along. `stops_run`
    is an error after which no other request will fare better. `cost_usd` is None where the price is not known;
    `sync_cost_usd` of it was paid without a batch.
    """

    no: int
    path: Path
    outcomes: Mapping[Outcome, int]
    usage: Usage
    cost_usd: float | None
    sync_cost_usd: float | None = None
    retryable: tuple[int, ...] = ()
    reasked: tuple[int, ...] = ()
    errors: tuple[ErrorCount, ...] = ()
    oddities: Oddities = msgspec.field(default_factory=Oddities)
    stops_run: RequestError | None = None


# More is a mistake of the service, and more than the ledger can hold.
MOST_TOKENS = 1 << 53
# What is said of rows whose failure the provider gave no reason for.
UNSAID = {
    Outcome.ERRORED: RequestError("errored", "the provider gave no reason", retryable=True),
    Outcome.EXPIRED: RequestError("expired", "the batch's time was over before the request ran", retryable=True),
    Outcome.CANCELLED: RequestError("cancelled", "the batch was cancelled before the request ran", retryable=True),
    Outcome.MISSING: RequestError("missing", "the batch ended without a line for the request", retryable=True),
}
NOT_SENT = RequestError("not_sent", "no batch with the request has ended yet")
WAITS = RequestError("waits", "the same request of another row is not settled yet")


class Settled(msgspec.Struct, gc=False):
    """A row's best outcome so far. What it ends as is the best that was said of it; whether it is asked again, the last
    attempt says (`last`, for a row without an answer). `reask`: with its answer and what is wrong with it.
    """

    outcome: Outcome = Outcome.MISSING
    result: Result | None = None
    error: RequestError | None = None
    parsed: tuple[Any, ...] = ()
    answer: str | None = None
    batch_id: str | None = None
    attempts: int = 0
    usage: Usage = NO_USAGE
    # What of it came without a batch.
    sync_usage: Usage = NO_USAGE
    last: RequestError | None = None
    reask: bool = False


class Tally:
    """Counts while rows are settled."""

    def __init__(self, part: PlannedPart, price: Price | None, full_price: Price | None = None) -> None:
        self.oddities = Oddities()
        self._part = part
        self._price = price
        self._full_price = full_price
        self._sync_cost_usd = 0.0
        self._outcomes = dict.fromkeys(Outcome, 0)
        self._input = self._output = self._cached = self._reasoning = 0
        self._cost_usd = 0.0
        self._retryable: list[int] = []
        self._reasked: list[int] = []
        self._errors: dict[str, ErrorCount] = {}
        self._stops_run: RequestError | None = None

    @property
    def priced(self) -> bool:
        return self._price is not None

    def enter(self, row: int, settled: Settled) -> float | None:
        """Count a row; returns what it cost."""
        self._outcomes[settled.outcome] += 1
        error = settled.error
        if error is not None:
            last = settled.last or error
            # Where the account is empty, the run stops; who resumes it has filled the account.
            again = last.retryable or last.stops_run or settled.reask
            self._count(error, row, again=again)
            if again:
                self._retryable.append(self._part.first_row + row)
                if settled.reask:
                    self._reasked.append(self._part.first_row + row)
            if last.stops_run:
                self._stops_run = last
        usage = settled.usage
        if usage is NO_USAGE:
            return 0.0 if self._price is not None else None
        self._input += usage.input_tokens
        self._output += usage.output_tokens
        self._cached += usage.cached_tokens
        self._reasoning += usage.reasoning_tokens
        if self._price is None:
            return None
        cost = self._price.cost_usd(usage)
        if settled.sync_usage is not NO_USAGE and self._full_price is not None:
            sync_usd = self._full_price.cost_usd(settled.sync_usage)
            cost += sync_usd - self._price.cost_usd(settled.sync_usage)
            self._sync_cost_usd += sync_usd
        self._cost_usd += cost
        return cost

    def enter_succeeded(self, count: int) -> None:
        """Count rows with an answer; what they cost is entered by itself."""
        self._outcomes[Outcome.SUCCEEDED] += count

    def enter_usages(self, usages: Sequence[Usage]) -> Sequence[float | None]:
        """Count the tokens of answers that came in a batch; returns what each of them cost."""
        self._input += sum([usage.input_tokens for usage in usages])
        self._output += sum([usage.output_tokens for usage in usages])
        self._cached += sum([usage.cached_tokens for usage in usages])
        self._reasoning += sum([usage.reasoning_tokens for usage in usages])
        if self._price is None:
            return [None] * len(usages)
        costs = list(map(self._price.cost_usd, usages))
        self._cost_usd += sum(costs)
        return costs

    def enter_borrowed(self, row: int, outcome: str, error: RequestError | None) -> None:
        """Count a row that shares another's request, and therefore its fate, but not its price."""
        self._outcomes[Outcome(outcome)] += 1
        if error is not None:
            self._count(error, row)

    def _count(self, error: RequestError, row: int, *, again: bool = False) -> None:
        known = self._errors.get(error.code)
        if known is None:
            known = ErrorCount(error.code, 0, error.message, self._part.first_row + row)
        self._errors[error.code] = msgspec.structs.replace(known, count=known.count + 1, again=known.again + again)

    def summary(self, path: Path) -> PartSummary:
        counts = (self._input, self._output, self._cached, self._reasoning)
        return PartSummary(
            no=self._part.no,
            path=path,
            outcomes=self._outcomes,
            usage=Usage(*(min(count, MOST_TOKENS) for count in counts)),
            cost_usd=None if self._price is None else self._cost_usd,
            sync_cost_usd=self._sync_cost_usd or None,
            retryable=tuple(self._retryable),
            reasked=tuple(self._reasked),
            errors=tuple(sorted(self._errors.values(), key=lambda one: -one.count)),
            oddities=self.oddities,
            stops_run=self._stops_run,
        )
