"""What the server remembers, as values: files, uploads in progress, batches, and the moves a batch can make.

One vocabulary for both protocols; each has its own words for the states (`queued` is `in_progress` to an OpenAI client
and `BATCH_STATE_PENDING` to a Gemini client).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nono.model import Usage


class State(StrEnum):
    VALIDATING = "validating"
    QUEUED = "queued"
    RUNNING = "running"
    FINALIZING = "finalizing"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in MOVES


# Where a batch can go from here; what is not a key has ended. The store refuses every other move.
MOVES: dict[State, frozenset[State]] = {
    State.VALIDATING: frozenset({State.QUEUED, State.FAILED, State.CANCELLING, State.EXPIRED}),
    State.QUEUED: frozenset({State.RUNNING, State.FINALIZING, State.CANCELLING, State.FAILED}),
    State.RUNNING: frozenset({State.FINALIZING, State.CANCELLING, State.FAILED}),
    State.FINALIZING: frozenset({State.COMPLETED, State.EXPIRED, State.FAILED}),
    State.CANCELLING: frozenset({State.CANCELLED, State.FAILED}),
}


@dataclass(frozen=True, slots=True)
class File:
    """A file that clients can see. `token` names its bytes on disk; `name` is the client's and is never a path.

    `sha256` is the hex digest. `source` tells uploads from generated files ("uploaded", "generated"). `details` is
    whatever else its protocol wants back.
    """

    id: str
    protocol: str
    token: str
    name: str
    purpose: str
    mime: str
    bytes: int
    sha256: str
    created_ns: int
    expires_ns: int | None = None
    source: str = "uploaded"
    details: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in more than one call: OpenAI's parts, or Gemini's resumable one (whose bytes grow under `token`).

    `status` is the protocol's word (`pending` until it ends).
    """

    id: str
    protocol: str
    token: str
    name: str
    purpose: str
    mime: str
    bytes: int
    created_ns: int
    expires_ns: int
    status: str = "pending"
    file_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an OpenAI upload."""

    id: str
    upload_id: str
    token: str
    bytes: int
    created_ns: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of a batch. What never ran is neither `ok` nor `failed`."""

    total: int = 0
    ok: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch. `moved_ns` tells when it entered each state; `outputs` maps a role ("output", "error") to a file id.

    `endpoint` is the protocol's own word for the kind of work; `details` what else the client gave (metadata, display
    name, expiry of outputs …); `errors` what validation found, in the protocol's form. `token` names its folder.
    """

    id: str
    protocol: str
    token: str
    endpoint: str
    model: str | None
    input_file_id: str | None
    created_ns: int
    expires_ns: int
    state: State = State.VALIDATING
    priority: int = 0
    counts: Counts = field(default_factory=Counts)
    usage: Usage = field(default_factory=Usage)
    details: Mapping[str, Any] = field(default_factory=dict)
    errors: Any = None
    outputs: Mapping[str, str] = field(default_factory=dict)
    moved_ns: Mapping[str, int] = field(default_factory=dict)
    updated_ns: int = 0
    seq: int = 0
