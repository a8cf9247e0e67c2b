"""Ask again what was answered, but not as the schema wants it: the request, the answer, and what is wrong with it.

The answer and its fault are those that stand in the part's results, so that the question can be made again after any
crash, and is the same then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from nono.jsonl import decode
from nono.providers import Provider
from nono.runs.encoding import encode
from nono.runs.results import Results

MESSAGE = (
    "Your answer cannot be used: {fault}. Give the whole answer again, corrected: JSON that fits the schema, and "
    "nothing else."
)


class Misfit(NamedTuple):
    """An answer that does not fit the schema (empty, if there was no text), and why."""

    answer: str
    fault: str


def misfits(part: Path, first_row: int, rows: Collection[int]) -> dict[str, Misfit]:
    """The misfits among the rows (counted from the data set's first) of a part's results, by id."""
    wanted = frozenset(rows)
    if not wanted:
        return {}
    return {
        row["custom_id"]: Misfit(row["answer"] or "", row["error_message"] or "it does not fit the schema")
        for number, row in enumerate(Results([part]), start=first_row)
        if number in wanted
    }


def reasked(line: bytes, misfit: Misfit, provider: Provider) -> bytes:
    """A line of an input file, with the answer and its fault behind the request."""
    request: Mapping[str, object] = decode(line)
    message = MESSAGE.format(fault=misfit.fault)
    return encode(provider.reasked_line(request, answer=misfit.answer, message=message))
