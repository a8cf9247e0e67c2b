"""The seam between the server and the two protocols that it speaks.

A dialect knows one provider's routes, envelopes, states and lines. What is below it (store, work, guard) knows neither
dialect; what is beside it is the other dialect, which it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.routing import BaseRoute

from nono.model import Usage
from nono.server.models import Model
from nono.server.records import Batch, File, State

Ask = Callable[[str, Mapping[str, Any]], tuple[int, dict[str, Any]]]
"""Put one question to the model: endpoint and body in, HTTP status and body out. Never raises."""


class Refused(Exception):
    """A call is answered with an error; the dialect puts it into its envelope.

    `code` and `param` are OpenAI's fields of these names; Gemini's envelope derives its own from the status.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.headers = dict(headers or {})


class Kind(StrEnum):
    """What a line of an answer file tells about its request."""

    OK = "ok"
    FAILED = "failed"
    UNRUN = "unrun"


class Why(StrEnum):
    """Why a request has no answer of the model."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Answer:
    """One finished line, with its line feed, ready for the answer file."""

    ok: bool
    line: bytes
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Checked:
    """What validation found: `errors` in the protocol's form refuse the batch, otherwise `total` lines will run."""

    total: int = 0
    model: str | None = None
    errors: Any = None


class Door(Protocol):
    """The HTTP half of a dialect: whose calls are whose, and in which words they are refused."""

    name: str

    def claims(self, path: str, headers: Headers, query: QueryParams) -> bool:
        """Whether a call is meant for this dialect (the first that says yes gets it)."""
        ...

    def routes(self) -> Sequence[BaseRoute]: ...

    def refuse(self, refused: Refused, method: str, path: str) -> Response:
        """The error reply in this protocol's envelope; it never repeats a key."""
        ...

    def key_of(self, headers: Headers, query: QueryParams) -> str | None:
        """The key that a call carries."""
        ...

    def keyless(self, path: str, query: QueryParams) -> bool:
        """Whether the call's URL itself is the permission."""
        ...

    def body_limit(self, method: str, path: str) -> int:
        """How many bytes a call's body may have."""
        ...

    def reply_headers(self, elapsed_s: float) -> Mapping[str, str]:
        """Headers that every reply carries."""
        ...


class Dialect(Door, Protocol):
    """The whole of one provider's protocol."""

    def check(self, batch: Batch, lines: Path) -> Checked:
        """Validate a batch's input (the file may be gone). Runs once, before anything else."""
        ...

    def model(self, batch: Batch) -> Model:
        """Who answers a batch that has been validated."""
        ...

    def answer(self, batch: Batch, line: bytes, ask: Ask) -> Answer:
        """Read one line, ask, and write its answer."""
        ...

    def unanswered(self, batch: Batch, line: bytes, why: Why) -> bytes:
        """The line of a request that has no answer."""
        ...

    def roles(self, batch: Batch, end: State) -> Mapping[Kind, str]:
        """Which answer file takes which kind of line, once the batch ends so; a kind that is missing is dropped."""
        ...

    def output(self, batch: Batch, role: str, token: str, size: int, sha256: str) -> File:
        """The record of a finished answer file."""
        ...
