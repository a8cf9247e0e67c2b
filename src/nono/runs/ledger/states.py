"""The lives of runs and attempts: the only place that knows which states and which moves exist.

The SQL constraints, the triggers that refuse other moves and the diagram in the docs are printed from these tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum


class AttemptState(StrEnum):
    """Where one try to get a shard answered stands. One transaction per arrow, one foreign call between two."""

    PLANNED = "planned"
    FILE_INTENT = "file_intent"
    UPLOADED = "uploaded"
    CREATE_INTENT = "create_intent"
    RECONCILE = "reconcile"
    FENCE = "fence"
    FENCED = "fenced"
    QUARANTINE = "quarantine"
    CREATED = "created"
    ENDED = "ended"
    FETCHED = "fetched"
    VERIFIED = "verified"
    CLEANED = "cleaned"
    ABANDONED = "abandoned"
    REFUSED = "refused"
    SPLIT = "split"
    DROPPED = "dropped"
    ASKING = "asking"
    ASKED = "asked"
    SETTLED = "settled"


class RunState(StrEnum):
    """Where a run stands. `STOPPED` keeps its reason and can be resumed; the others that are final cannot go on."""

    RUNNING = "running"
    CANCELLING = "cancelling"
    STOPPED = "stopped"
    FINISHED = "finished"
    CANCELLED = "cancelled"


_A = AttemptState
ATTEMPT_MOVES: Mapping[AttemptState, tuple[AttemptState, ...]] = {
    _A.PLANNED: (_A.FILE_INTENT, _A.SPLIT, _A.DROPPED),
    _A.FILE_INTENT: (_A.UPLOADED, _A.REFUSED, _A.DROPPED),
    _A.UPLOADED: (_A.CREATE_INTENT, _A.SPLIT, _A.DROPPED),
    # What became of the one POST: done, certainly nothing (perhaps because the file is gone), refused, or unknown.
    _A.CREATE_INTENT: (_A.CREATED, _A.UPLOADED, _A.ABANDONED, _A.REFUSED, _A.RECONCILE),
    # Unknown: the provider's own list decides.
    _A.RECONCILE: (_A.CREATED, _A.FENCE, _A.QUARANTINE),
    # Not in the list: the input file is deleted, so that a create which arrives late runs nothing.
    _A.FENCE: (_A.FENCED, _A.CREATED, _A.QUARANTINE),
    # The file is gone: a last look at the list, then a new attempt takes over.
    _A.FENCED: (_A.ABANDONED, _A.CREATED, _A.QUARANTINE),
    # Only a person moves an attempt out of here.
    _A.QUARANTINE: (_A.CREATED, _A.ABANDONED, _A.DROPPED),
    # Refused for want of room at the provider, a batch goes back to its uploaded file.
    _A.CREATED: (_A.ENDED, _A.UPLOADED, _A.SPLIT, _A.REFUSED, _A.ABANDONED, _A.QUARANTINE),
    _A.ENDED: (_A.FETCHED,),
    _A.FETCHED: (_A.VERIFIED,),
    _A.VERIFIED: (_A.CLEANED,),
    _A.CLEANED: (),
    _A.ABANDONED: (),
    _A.REFUSED: (),
    _A.SPLIT: (),
    _A.DROPPED: (),
    # Without a batch: its requests go to the synchronous endpoint, one by one, with a journal beside them.
    _A.ASKING: (_A.ASKED,),
    _A.ASKED: (_A.SETTLED,),
    _A.SETTLED: (),
}

# Where an attempt begins: with a batch to be made, or without one.
BATCHED, SYNC = _A.PLANNED, _A.ASKING
# The life of an attempt without a batch.
ASKED_SYNC = frozenset({_A.ASKING, _A.ASKED, _A.SETTLED})

# Nothing more happens to an attempt in one of these.
FINAL = frozenset(state for state, moves in ATTEMPT_MOVES.items() if not moves)
# A batch of ours may be at work at the provider, and its tokens count against the account's limit.
IN_FLIGHT = frozenset({_A.CREATE_INTENT, _A.RECONCILE, _A.FENCE, _A.FENCED, _A.QUARANTINE, _A.CREATED})
# What was sent may have been billed.
MAY_COST = IN_FLIGHT | {_A.ENDED, _A.FETCHED, _A.VERIFIED, _A.CLEANED} | ASKED_SYNC
# Its answers are on disk.
ANSWERED = frozenset({_A.VERIFIED, _A.CLEANED, _A.SETTLED})
# What it brought is in the results, if its part is settled; it will bring nothing else.
TOLD = FINAL | {_A.VERIFIED}

_R = RunState
# Nothing more will happen to a run by itself.
OVER = frozenset({_R.FINISHED, _R.CANCELLED})
RUN_MOVES: Mapping[RunState, tuple[RunState, ...]] = {
    _R.RUNNING: (_R.CANCELLING, _R.STOPPED, _R.FINISHED),
    _R.CANCELLING: (_R.STOPPED, _R.CANCELLED),
    _R.STOPPED: (_R.RUNNING, _R.CANCELLING),
    # `retry` opens a finished run again for what has no answer yet.
    _R.FINISHED: (_R.RUNNING,),
    _R.CANCELLED: (_R.RUNNING,),
}


def sql_list(states: Iterable[StrEnum]) -> str:
    """The states as the inside of an SQL IN (…)."""
    return ", ".join(f"'{state}'" for state in sorted(states))


def sql_legal_moves(
    moves: Mapping[AttemptState, tuple[AttemptState, ...]] | Mapping[RunState, tuple[RunState, ...]],
) -> str:
    """An SQL expression over OLD.state and NEW.state that is true for exactly the legal moves (and for staying)."""
    pairs = [f"'{before}>{after}'" for before, afters in moves.items() for after in afters]
    return f"OLD.state = NEW.state OR OLD.state || '>' || NEW.state IN ({', '.join(pairs)})"


def diagram(moves: Mapping[AttemptState, tuple[AttemptState, ...]] | Mapping[RunState, tuple[RunState, ...]]) -> str:
    """The moves as a Mermaid state diagram."""
    reached = {after for afters in moves.values() for after in afters}
    first = next(iter(moves))
    begins = [state for state in moves if state is first or state not in reached]
    lines = ["stateDiagram-v2", *(f"    [*] --> {state}" for state in begins)]
    for before, afters in moves.items():
        lines += [f"    {before} --> {after}" for after in afters] or [f"    {before} --> [*]"]
    return "\n".join(lines)
