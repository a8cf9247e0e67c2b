"""What happened, as frozen values: the engine emits them, every display reads them.

The names of events stand here once; the ledger keeps the same events, so that a display can start anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Happened(StrEnum):
    """Every kind of event, with what its `detail` holds."""

    RUN_STARTED = "run_started"  # owner, epoch
    RUN_STOPPED = "run_stopped"  # reason
    RUN_FINISHED = "run_finished"  # outcome counters
    RUN_CANCELLED = "run_cancelled"
    KEY_CHANGED = "key_changed"  # before, after (fingerprints)
    UPLOADED = "uploaded"  # file_id, bytes
    CREATE_SENT = "create_sent"  # tag
    CREATED = "created"  # batch_id
    CREATE_WITHOUT_EFFECT = "create_without_effect"  # error
    CREATE_UNCLEAR = "create_unclear"  # error
    ADOPTED = "adopted"  # batch_id
    DOUBLE_CANCELLED = "double_cancelled"  # batch_id
    FENCE_RAISED = "fence_raised"  # file_id
    ABANDONED = "abandoned"  # reason
    QUARANTINED = "quarantined"  # reason
    NO_ROOM = "no_room"  # limit_tokens, wait_s
    SPLIT = "split"  # into
    STATE_SEEN = "state_seen"  # native_state, done, total
    UNKNOWN_STATE = "unknown_state"  # native_state
    ENDED = "ended"  # native_state
    FETCHED = "fetched"  # files, bytes
    ANSWERS_GONE = "answers_gone"  # error
    SETTLED = "settled"  # part, counters, errors by code, and how many of each are sent again
    ODD_ANSWERS = "odd_answers"  # part, duplicates, unknown, corrupt
    RETRY_PLANNED = "retry_planned"  # requests, shards; sync and at_most_usd, where it goes without a batch
    STRAGGLERS = "stragglers"  # requests, at_most_usd
    ASKED = "asked"  # answered, lost
    REFUSED = "refused"  # error
    CLEANED = "cleaned"
    NOT_CLEANED = "not_cleaned"  # error
    TROUBLE = "trouble"  # step, error, wait_s
    CANCEL_ASKED = "cancel_asked"  # batch_id, reason


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `at_ms` is milliseconds since 1970 (UTC); `attempt` is the attempt's tag."""

    at_ms: int
    run_id: str
    what: Happened
    attempt: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
