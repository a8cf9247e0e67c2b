"""The short way of settling, for nearly all rows: the part's only attempt has one line for a row, and it is an answer.

Such rows are settled column by column. The few that are not so are left to the general way, which knows every case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from nono.jsonl import BadLine
from nono.model import Outcome, Result
from nono.runs.joining import JoinedAnswers
from nono.runs.tally import Tally

# So many answers are in memory as they came, beside their columns.
AT_ONCE = 256
# Stands for a row that is left to the general way: it adds nothing to any count.
_LEFT = Result("", Outcome.SUCCEEDED)


class PlainRows:
    """Settles rows the short way; `joined` is the part's only attempt, a batch whose answers are texts."""

    def __init__(self, joined: JoinedAnswers, decode: Callable[[bytes], Result], tally: Tally) -> None:
        self._joined = joined
        self._decode = decode
        self._tally = tally

    def columns(self, rows: range, ids: Sequence[str]) -> tuple[list[list[Any]], list[int]]:
        """The result columns of these rows (`table.BEFORE` and `AFTER`), and the places among them that were left."""
        answers: list[str | None] = []
        reasons: list[str | None] = []
        models: list[str | None] = []
        inputs: list[int] = []
        outputs: list[int] = []
        costs: list[float | None] = []
        left: list[int] = []
        for start in range(0, len(rows), AT_ONCE):
            results = self._results(rows[start : start + AT_ONCE], list(ids[start : start + AT_ONCE]), start, left)
            usages = [result.usage for result in results]
            answers += [result.text for result in results]
            reasons += [result.finish_reason for result in results]
            models += [result.model for result in results]
            inputs += [usage.input_tokens for usage in usages]
            outputs += [usage.output_tokens for usage in usages]
            costs += self._tally.enter_usages(usages)
        count = len(rows)
        self._tally.enter_succeeded(count - len(left))
        same: list[Any] = [Outcome.SUCCEEDED.value, None, None, 1, self._joined.answers.batch_id]
        outcomes, codes, messages, attempts, batches = ([value] * count for value in same)
        return [
            list(ids), outcomes, answers, reasons, codes, messages, inputs, outputs, costs, models, attempts, batches
        ], left  # fmt: skip

    def _results(self, rows: range, ids: list[str], start: int, left: list[int]) -> list[Result]:
        """What the lines say, with `_LEFT` for rows that are to be looked at in the general way."""
        lines, decode = self._joined.only_lines(rows), self._decode
        try:
            results = [_LEFT if line is None else decode(line) for line in lines]
        except BadLine:
            results = [self._result(line) for line in lines]
        if list(map(_custom_id, results)) == ids and all(map(_is_answer, results)):
            return results
        for at, (result, custom_id) in enumerate(zip(results, ids, strict=True)):
            if result.custom_id != custom_id or not _is_answer(result):
                left.append(start + at)
                results[at] = _LEFT
        return results

    def _result(self, line: bytes | None) -> Result:
        try:
            return _LEFT if line is None else self._decode(line)
        except BadLine:
            return _LEFT


def _is_answer(result: Result) -> bool:
    return result.outcome is Outcome.SUCCEEDED and result.text is not None


_custom_id = attrgetter("custom_id")
