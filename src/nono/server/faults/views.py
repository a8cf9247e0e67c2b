"""What a reply shows of a batch, where it is not what there is: lists that lag, files that have no name yet …

A `View` changes one batch as a protocol writes it; which batch that is, and how it really stands, it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nono.server.clock import SECOND_NS, Clock
from nono.server.records import Batch
from nono.server.store import Store

if TYPE_CHECKING:
    from nono.server.faults.rules import Rule

Shown = dict[str, Any]
Path = tuple[str, ...]
_HIDDEN: Shown = {}


@dataclass(frozen=True, slots=True)
class Spelling:
    """Where a protocol's replies keep what the faults touch. `nulls`: null stands for nothing, otherwise no key."""

    listed: str
    state: Path
    word: Callable[[str], str]
    outputs: tuple[Path, ...]
    tag: Path
    counts: Path
    nulls: bool


SPELLINGS: dict[str, Spelling] = {
    "openai": Spelling(
        "data",
        ("status",),
        str.lower,
        (("output_file_id",), ("error_file_id",)),
        ("metadata",),
        ("request_counts",),
        True,
    ),
    "gemini": Spelling(
        "operations",
        ("metadata", "state"),
        "BATCH_STATE_{}".format,
        (("response", "responsesFile"), ("metadata", "output", "responsesFile")),
        ("metadata", "displayName"),
        ("metadata", "batchStats"),
        False,
    ),
    "vertex": Spelling(
        "batchPredictionJobs",
        ("state",),
        "JOB_STATE_{}".format,
        (("outputInfo", "gcsOutputDirectory"),),
        ("displayName",),
        ("completionStats",),
        False,
    ),
}


@dataclass(frozen=True, slots=True)
class Look:
    """One batch in a reply: as it is written, as it really is, and when somebody looks."""

    shown: Shown
    batch: Batch
    now_ns: int
    spelling: Spelling


View = Callable[["Rule", Look], Shown]


def list_lag(rule: Rule, look: Look) -> Shown:
    return _HIDDEN if _younger(look.batch.created_ns, rule["seconds"], look.now_ns) else look.shown


def late_output(rule: Rule, look: Look) -> Shown:
    batch = look.batch
    if batch.state.ended and _younger(batch.moved_ns[batch.state], rule["seconds"], look.now_ns):
        for path in look.spelling.outputs:
            _take_out(look, path)
    return look.shown


def empty_ids(rule: Rule, look: Look) -> Shown:
    for path in look.spelling.outputs:
        _put(look.shown, path, "", only_missing=True)
    return look.shown


def unknown_state(rule: Rule, look: Look) -> Shown:
    if not look.batch.state.ended:
        _put(look.shown, look.spelling.state, look.spelling.word(rule["word"]))
    return look.shown


def no_counts(rule: Rule, look: Look) -> Shown:
    _take_out(look, look.spelling.counts)
    return look.shown


def no_tag(rule: Rule, look: Look) -> Shown:
    _take_out(look, look.spelling.tag)
    return look.shown


def seen(
    value: Shown, *, provider: str, store: Store, clock: Clock, fires: Callable[[Batch], list[Rule]]
) -> Shown | None:
    """A reply's object with the batches in it as the rules that `fires` names for each show them."""
    spelling = SPELLINGS[provider]
    changed = False
    items = value.get(spelling.listed)
    found = items if isinstance(items, list) else [value]
    kept = []
    for shown, batch in _batches(found, provider, store):
        for rule in fires(batch) if batch is not None else ():
            assert batch is not None and rule.fault.view is not None
            shown, changed = rule.fault.view(rule, Look(shown, batch, clock.now_ns(), spelling)), True
        if shown is not _HIDDEN:
            kept.append(shown)
    if not changed:
        return None
    return {**value, spelling.listed: kept} if isinstance(items, list) else kept[0]


def _batches(found: list[Shown], provider: str, store: Store) -> Iterator[tuple[Shown, Batch | None]]:
    for shown in found:
        name = shown.get("id") or shown.get("name")
        yield shown, store.batch(provider, str(name).rpartition("/")[2]) if name else None


def _younger(since_ns: int, seconds: float | None, now_ns: int) -> bool:
    return seconds is None or now_ns - since_ns < int(seconds * SECOND_NS)


def _take_out(look: Look, path: Path) -> None:
    inner: Any = look.shown
    for name in path[:-1]:
        inner = inner.get(name)
        if not isinstance(inner, dict):
            return
    if look.spelling.nulls:
        inner[path[-1]] = None
    else:
        inner.pop(path[-1], None)


def _put(shown: Shown, path: Path, value: Any, *, only_missing: bool = False) -> None:
    inner: Any = shown
    for name in path[:-1]:
        inner = inner.get(name)
        if not isinstance(inner, dict):
            return
    if not only_missing or inner.get(path[-1]) is None:
        inner[path[-1]] = value
