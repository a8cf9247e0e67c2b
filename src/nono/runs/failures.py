"""What a run could not answer: which outcomes that are, and the rows grouped by their reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from nono.runs.results import Results

# What a person may wish to send again, by the word for it.
RETRY_OUTCOMES: dict[str, frozenset[str]] = {
    "failed": frozenset({"errored"}),
    "missing": frozenset({"expired", "cancelled", "missing"}),
    "all": frozenset({"errored", "expired", "cancelled", "missing"}),
}


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Rows that failed for the same reason; `examples` are custom_ids."""

    outcome: str
    code: str
    message: str
    count: int
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def group_errors(results: Results, examples: int) -> list[ErrorGroup]:
    """The rows that failed, grouped by reason, the most frequent first; with so many custom_ids each."""
    groups: dict[tuple[str, str], ErrorGroup] = {}
    for row in results.rows(RETRY_OUTCOMES["all"]):
        key = (row["outcome"], row["error_code"] or row["outcome"])
        group = groups.get(key) or ErrorGroup(*key, message=row["error_message"] or "", count=0, examples=())
        some = (*group.examples, row["custom_id"])[:examples]
        groups[key] = replace(group, count=group.count + 1, examples=some)
    return sorted(groups.values(), key=lambda group: -group.count)
