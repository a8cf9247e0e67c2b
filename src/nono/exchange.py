"""HTTP described, not performed: flows yield `Call`s and are sent `Reply`s.

A flow is a generator. `drive` performs its steps with a blocking sender, `adrive` with an async one; they are the whole
difference between the sync and the async half of the library, and a scripted sender makes every flow testable without a
network. Big bodies travel by path, never through memory.

    def poll(batch_id: str) -> Flow[Batch]:
        return parse_batch((yield Call("GET", f"/batches/{batch_id}")).json())
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nono.errors import NonoError, SettingsError, UnreadableAnswer
from nono.secret import Secret, without_secrets

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileSlice:
    """Bytes `start` to `start + length` of a local file, as (a part of) a request body."""

    path: Path
    start: int
    length: int


Content = tuple["bytes | FileSlice", ...]
"""A request body in pieces; its length is known before it is sent."""


def content_length(content: Content) -> int:
    return sum(piece.length if isinstance(piece, FileSlice) else len(piece) for piece in content)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request.

    `path` is relative to the sender's base URL, or an absolute URL that the provider handed out. `json` becomes the
    body; `content` is a body by pieces instead. With `save_to` a 2xx body goes into that file: a 206 is written at the
    offset that its Content-Range names, anything else from the start. `once` forbids every automatic repetition: the
    call is not idempotent. `bare` leaves the key out (the URL itself is the permission). `final` are statuses that the
    `retrying` layer must not repeat although they usually are worth it. `on_sent` is told how many body bytes are out.
    `patience_s` is how long the answer may take, where the sender would wait longer.
    """

    method: str
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: Content | None = None
    save_to: Path | None = None
    once: bool = False
    bare: bool = False
    final: frozenset[int] = frozenset()
    on_sent: Callable[[int], object] | None = None
    patience_s: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer. `headers` has lower-case names; `body` is empty when it went into a file."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The decoded body.

        Raises UnreadableAnswer if it is not JSON.
        """
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableAnswer(
                f"HTTP {self.status} with a body that is not JSON: {self.body[:80]!r}",
                hint="the base URL may point at something that is not this API (a proxy, a login page)",
            ) from error


def one_line(reply: Reply) -> msgspec.Raw:
    """The object that a reply's body is, as the service wrote it, on one line: to be put into a line of JSON lines.

    Raises UnreadableAnswer if it is not an object.
    """
    if not isinstance(reply.json(), dict):
        raise UnreadableAnswer(f"HTTP {reply.status} with a body that is not an object: {reply.body[:80]!r}")
    return msgspec.Raw(msgspec.json.format(reply.body, indent=-1))


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait `seconds` before the flow goes on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Call a user's callback; under `adrive` an awaitable result is awaited."""

    callback: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Work:
    """Local work that takes its time (reading a large file); `adrive` does it in a thread, the loop stays free."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """Where a provider is reached, and as whom. `params` go into the query of every call.

    Raises SettingsError for a base URL that no path can be put behind.
    """

    base_url: str
    key: Secret | None
    key_header: str
    key_prefix: str = ""
    headers: Mapping[str, str] | None = field(default=None, repr=False)  # a gateway's secret may be among them
    params: Mapping[str, str] | None = field(default=None, repr=False)
    # Takes the place of `{version}` in a call's path; "" takes the whole segment away. Gemini's version stands in front
    # of most paths and in the middle of others (`/upload/{version}/files`), so it cannot be part of the base URL.
    api_version: str = ""
    # Whose batches are seen, where that is a place and not whoever holds the key (a project of Vertex AI, whose tokens
    # change every hour): a run is bound to it instead of to the key.
    scope: str = ""
    # What a run keeps beside the base URL, so that its resumption finds the same batches (`Provider.at`).
    options: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        # A password in it would be kept in every run's folder and stand in every message about the address.
        if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", self.base_url):
            raise SettingsError(
                f"not a base URL: {without_secrets(self.base_url)!r}",
                hint="it begins with https:// or http:// and has neither a query nor a user and a password in it, for "
                "example http://127.0.0.1:8765/v1",
            )

    def fingerprint(self) -> str:
        """Tells two accounts apart without giving a key away; a run is bound to it."""
        who = self.scope or (self.key.fingerprint() if self.key else "no-key")
        return f"{self.base_url.rstrip('/')}#{who}"


Step = Call | Pause | Tell | Work
Flow = Generator[Step, Any, T]
Send = Callable[[Call], Reply]
AsyncSend = Callable[[Call], Awaitable[Reply]]


def drive(flow: Flow[T], send: Send, *, sleep: Callable[[float], object] = time.sleep) -> T:
    """Perform a flow's steps one after the other and return what it returns.

    A NonoError of the sender is raised inside the flow, at the `yield` that asked, so that a flow can tell a request
    that never left from an answer that was lost.
    """

    def perform(step: Step) -> Any:
        match step:
            case Call():
                return send(step)
            case Pause(seconds):
                return sleep(seconds)
            case Tell(callback, arguments):
                return callback(*arguments)
            case Work(function, arguments):
                return function(*arguments)

    advance: Callable[[], Step] = partial(next, flow)
    try:
        while True:
            try:
                step = advance()
            except StopIteration as stop:  # the flow's end; one that a callback lets out passes below
                return stop.value  # type: ignore[no-any-return]
            try:
                advance = partial(flow.send, perform(step))
            except NonoError as error:
                advance = partial(flow.throw, error)
    finally:
        flow.close()


async def adrive(flow: Flow[T], send: AsyncSend, *, sleep: Callable[[float], Awaitable[object]] | None = None) -> T:
    """`drive` for a running event loop."""
    import asyncio

    sleep = sleep or asyncio.sleep

    async def perform(step: Step) -> Any:
        match step:
            case Call():
                return await send(step)
            case Pause(seconds):
                return await sleep(seconds)
            case Tell(callback, arguments):
                told = callback(*arguments)
                return await told if inspect.isawaitable(told) else told
            case Work(function, arguments):
                return await asyncio.to_thread(function, *arguments)

    try:
        step = next(flow)
        while True:
            try:
                answer = await perform(step)
            except NonoError as error:
                step = flow.throw(error)
            else:
                step = flow.send(answer)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        flow.close()
