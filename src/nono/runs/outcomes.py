"""What becomes of each row of a part, of all that its attempts brought: the best outcome of any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nono.datasets import Batch
from nono.jsonl import BadLine
from nono.model import NO_USAGE, Outcome, RequestError, Result
from nono.runs.borrowed import Borrowed
from nono.runs.encoding import generated_id
from nono.runs.joining import JoinedAnswers
from nono.runs.plain import PlainRows
from nono.runs.plan import Column
from nono.runs.render import as_text
from nono.runs.reused import Lent, Reused
from nono.runs.shape import Mismatch, Shape
from nono.runs.table import Layout, json_text
from nono.runs.tally import NOT_SENT, RANK, UNSAID, WAITS, Settled, Tally

# What stands in the results for each outcome.
WORDS = {outcome: outcome.value for outcome in Outcome}
SCHEMA_MISMATCH = "schema_mismatch"
# Ends of answers that an error message would not mend: cut off at the limit of tokens, refused, filtered. The first
# three are Chat Completions', Responses' and Gemini's words for the same.
BEYOND_REASKING = frozenset({"length", "max_output_tokens", "max_tokens", "refusal", "content_filter"})
MODERATION_COLUMNS = (Column("flagged", "bool"), Column("categories", "json"), Column("category_scores", "json"))


class Outcomes:
    """Settles rows, batch by batch, into lists of the result columns."""

    def __init__(
        self,
        kind: str,
        layout: Layout,
        shape: Shape | None,
        decode: Callable[[bytes], Result],
        joined: Sequence[JoinedAnswers],
        tally: Tally,
        borrowed: Borrowed,
        reused: Reused,
        id_column: str | None,
        reask: int,
    ) -> None:
        self._kind = kind
        self._layout = layout
        self._shape = shape
        self._decode = decode
        self._joined = joined
        self._tally = tally
        self._borrowed = borrowed
        self._reused = reused
        self._id_column = id_column
        self._reask = reask
        self._nothing = (None,) * len(layout.parsed)
        sole = joined[0] if len(joined) == 1 and not joined[0].answers.sync else None
        self._only = sole
        self._batch_id = sole.answers.batch_id if sole else None
        texts = kind == "chat" and shape is None and not borrowed and not reused
        self._plain = PlainRows(sole, decode, tally) if texts and sole is not None else None

    def columns(self, batch: Batch, first_row: int) -> Mapping[str, Sequence[Any]]:
        """The result columns of a batch; `first_row` is the part's first in the data set."""
        names = [column.name for column in self._layout.result_columns]
        rows = range(batch.first, batch.first + batch.size)
        if self._id_column is None:
            ids: Sequence[str] = [generated_id(first_row + row) for row in rows]
        else:
            ids = as_texts(batch.column(self._id_column))
        if self._plain is not None:
            columns, left = self._plain.columns(rows, ids)
            for at in left:
                for column, value in zip(columns, self._values(rows[at], ids[at]), strict=True):
                    column[at] = value
            return dict(zip(names, columns, strict=True))
        lines = []
        for row, custom_id in zip(rows, ids, strict=True):
            if row in self._borrowed.rows:
                lines.append(self._borrow(row, custom_id, names))
                continue
            values = self._values(row, custom_id)
            lines.append(values)
            if row in self._borrowed.lenders:
                self._borrowed.lend(row, dict(zip(names, values, strict=True)))
        return dict(zip(names, zip(*lines, strict=True), strict=True))

    def _values(self, row: int, custom_id: str) -> tuple[Any, ...]:
        lent = self._reused.answer(row) if self._reused else None
        if lent is None:
            settled = self._short(row, custom_id) or self._best(row, custom_id)
        else:
            settled = self._reuse(lent, custom_id)
        result, error, usage = settled.result, settled.error, settled.usage
        cost = self._tally.enter(row, settled)
        return (
            custom_id,
            WORDS[settled.outcome],
            settled.answer,
            *settled.parsed,
            result.finish_reason if result else None,
            error.code if error else None,
            error.message if error else None,
            usage.input_tokens,
            usage.output_tokens,
            cost,
            result.model if result else None,
            settled.attempts,
            settled.batch_id,
        )

    def _reuse(self, lent: Lent, custom_id: str) -> Settled:
        """An earlier run's answer: it is paid for, and no attempt of this run's."""
        try:
            settled = self._read(self._decode(lent.line), lent.batch_id)
        except BadLine as error:  # it was read before it was kept
            self._tally.oddities.note("corrupt", custom_id[:80], error.message)
            return Settled(error=NOT_SENT, parsed=self._nothing)
        settled.usage = NO_USAGE
        return settled

    def _short(self, row: int, custom_id: str) -> Settled | None:
        """What the only attempt's only line says if that is an answer: the short way, for nearly all rows."""
        line = self._only.only_line(row) if self._only is not None else None
        if line is None:
            return None
        try:
            result = self._decode(line)
        except BadLine:
            return None
        if result.outcome is not Outcome.SUCCEEDED or result.custom_id != custom_id:
            return None
        settled = self._read(result, self._batch_id)
        settled.attempts = 1
        return settled if settled.outcome is Outcome.SUCCEEDED else None

    def _best(self, row: int, custom_id: str) -> Settled:
        """The best of what all attempts say about a row; tokens are paid for each of them."""
        best = last = Settled(parsed=self._nothing)
        attempts, misfits, usage, sync_usage = 0, 0, NO_USAGE, NO_USAGE
        for joined in self._joined:
            if not joined.asked(row):
                continue
            attempts += 1
            one = last = self._one(joined, row, custom_id)
            if one.usage is not NO_USAGE:
                usage = one.usage if usage is NO_USAGE else usage + one.usage
                if joined.answers.sync:
                    sync_usage = sync_usage + one.usage
            # Of answers the first one stays; of equal failures the last one tells most.
            if one.outcome is Outcome.SUCCEEDED:
                better = best.outcome is not Outcome.SUCCEEDED
            else:
                misfits += _is_misfit(one)
                better = best.outcome is not Outcome.SUCCEEDED and _rank(one) <= _rank(best)
            if better:
                best = one
        best.attempts, best.usage, best.sync_usage = attempts, usage, sync_usage
        if best.outcome is not Outcome.SUCCEEDED:
            best.last = last.error or (UNSAID[last.outcome] if attempts else NOT_SENT)
            best.error = best.error or (UNSAID[best.outcome] if attempts else NOT_SENT)
            best.reask = 0 < misfits <= self._reask and _can_be_mended(best) and (last is best or best.last.retryable)
        return best

    def _one(self, joined: JoinedAnswers, row: int, custom_id: str) -> Settled:
        """What one attempt says about a row."""
        answers = joined.answers
        best: Settled | None = None
        for line in joined.lines(row):
            try:
                result = self._decode(line)
            except BadLine as error:
                self._tally.oddities.note("corrupt", custom_id[:80], error.message)
                continue
            if result.custom_id != custom_id:
                self._tally.oddities.note("corrupt", custom_id[:80], "the line has several ids")
            elif best is None or (best.outcome is not Outcome.SUCCEEDED and result.outcome is Outcome.SUCCEEDED):
                best = self._read(result, answers.batch_id)
        if best is not None:
            return best
        return Settled(answers.unanswered, None, answers.error, self._nothing, None, answers.batch_id)

    def _read(self, result: Result, batch_id: str | None) -> Settled:
        """An answer as outcome, text and parsed values."""
        settled = Settled(result.outcome, result, result.error, self._nothing, result.text, batch_id, 0, result.usage)
        if result.outcome is not Outcome.SUCCEEDED:
            return settled
        if self._shape is not None:
            try:
                settled.parsed = self._shape.parse(result.text)
            except Mismatch as error:
                ended = result.finish_reason
                why = f" (finish_reason {ended})" if ended and ended.lower() not in ("stop", "completed") else ""
                settled.outcome = Outcome.ERRORED
                settled.error = RequestError(SCHEMA_MISMATCH, error.message + why)
        elif self._kind == "embedding":
            settled.parsed = (result.vector,)
        elif self._kind == "moderation":
            settled.parsed = _moderation(result.body)
        # A vector has a column of its own only where embeddings are the task.
        in_a_column = self._kind == "embedding" and result.vector is not None
        if settled.answer is None and not in_a_column:
            settled.answer = json_text(_plain(result.body))
        return settled

    def _borrow(self, row: int, custom_id: str, names: Sequence[str]) -> tuple[Any, ...]:
        """The outcome of the row whose request this one shares: free, and without an attempt of its own."""
        lent = self._borrowed.values(row)
        own: dict[str, Any] = {"custom_id": custom_id, "input_tokens": 0, "output_tokens": 0, "attempts": 0}
        own["cost_usd"] = 0.0 if self._tally.priced else None
        if lent is None:
            self._tally.enter_borrowed(row, Outcome.MISSING, WAITS)
            own |= {"outcome": Outcome.MISSING.value, "error_code": WAITS.code, "error_message": WAITS.message}
            return tuple(own.get(name) for name in names)
        error = RequestError(lent["error_code"], lent["error_message"] or "") if lent["error_code"] else None
        self._tally.enter_borrowed(row, lent["outcome"], error)
        return tuple(({**lent, **own})[name] for name in names)


def _is_misfit(settled: Settled) -> bool:
    return settled.error is not None and settled.error.code == SCHEMA_MISMATCH


def _can_be_mended(settled: Settled) -> bool:
    """Whether an answer that does not fit came to its own end."""
    ended = settled.result.finish_reason if settled.result else None
    return (ended or "").lower() not in BEYOND_REASKING


def _rank(settled: Settled) -> float:
    """The smaller, the more it tells about a row: an answer that does not fit more than none; that an answer was lost
    (and may have been paid for) as much as a refusal, and more than that the request never ran."""
    if _is_misfit(settled):
        return RANK[Outcome.ERRORED] - 0.5
    lost = settled.outcome is Outcome.MISSING and settled.error is not None and not settled.error.retryable
    return RANK[Outcome.ERRORED if lost else settled.outcome]


def _moderation(body: Any) -> tuple[Any, ...]:
    """The first result of a moderation answer, cut into its columns."""
    found = body.get("results") if isinstance(body, Mapping) else None
    result = found[0] if isinstance(found, list) and found and isinstance(found[0], Mapping) else {}
    return tuple(result.get(column.name) for column in MODERATION_COLUMNS)


def _plain(body: Any) -> Any:
    return dict(body) if isinstance(body, Mapping) else body


def as_texts(values: Sequence[Any]) -> Sequence[str]:
    return values if set(map(type, values)) == {str} else [as_text(value) for value in values]
