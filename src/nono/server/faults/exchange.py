"""One HTTP call on its way through the server: to be performed, held back, answered by others, or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nono.server.clock import SECOND_NS, Clock
from nono.server.connections import HANG_UP
from nono.server.dialect import Door, Refused
from nono.server.faults.calls import Named
from nono.server.store import Store

# What is read of a call before it is performed, and of a reply that is looked into.
_BODY_BYTES = 1 << 20
_REPLY_BYTES = 64 << 20
_BODY_PATIENCE_S = 15.0
_LOOK_EVERY_S = 0.02

Change = Callable[[dict[str, Any]], dict[str, Any] | None]
"""What a reply says, instead of what it said; None: leave it."""


@dataclass(slots=True)
class Told:
    """What the log will say: the status that was sent (None: none), bytes of its body, whether the call took effect.

    `whole`: the answer was sent to its end. `cut`: it ends too early all the same, whatever the client sees.
    """

    status: int | None = None
    sent: int = 0
    received: int = 0
    effect: bool = False
    whole: bool = False
    cut: bool = False
    range_start: int = 0
    fault: str | None = None
    ids: dict[str, str] = field(default_factory=dict)


class Exchange:
    """A call, seen from between the network and the server."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        app: ASGIApp,
        door: Door,
        call: Named,
        clock: Clock,
        store: Store,
        changes: tuple[Change, ...] = (),
        tell: Callable[[], None],
    ) -> None:
        self.scope = scope
        self.app = app
        self.door = door
        self.call = call
        self.clock = clock
        self.store = store
        self.changes = changes
        self.told = Told(ids=dict(call.ids))
        self._receive = receive
        self._send = send
        self._tell: Callable[[], None] | None = tell
        self._read: list[Message] = []
        self._whole: bytes | None = None

    # the call

    async def body(self) -> bytes | None:
        """The call's body, kept for whoever performs the call; None if it is too long to be looked at, or stalls."""
        if self._whole is None:
            declared = Headers(scope=self.scope).get("content-length", "0")
            if not declared.isdigit() or int(declared) > _BODY_BYTES:
                return None
            gathered, more = bytearray(), True
            with suppress(TimeoutError):
                while more and len(gathered) <= _BODY_BYTES:
                    message = await asyncio.wait_for(self._receive(), _BODY_PATIENCE_S)
                    self._read.append(message)
                    gathered += message.get("body", b"")
                    more = message.get("more_body", False)
            if more:
                return None
            self._whole = bytes(gathered)
        return self._whole

    async def json(self) -> dict[str, Any]:
        """The object in the call's body; an empty one where there is none."""
        try:
            value = msgspec.json.decode(await self.body() or b"{}")
        except (msgspec.DecodeError, UnicodeError):
            return {}
        return value if isinstance(value, dict) else {}

    async def receive(self) -> Message:
        message = self._read.pop(0) if self._read else await self._receive()
        self.told.received += len(message.get("body", b""))
        return message

    # the answer

    async def send(self, message: Message) -> None:
        """To the client, noted: nobody has an answer that the log does not know."""
        if message["type"] == "http.response.start":
            self.told.status = message["status"]
            headers = Headers(raw=list(message.get("headers", [])))
            start = headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
            self.told.range_start = int(start) if start.isdigit() else 0
        elif message["type"] == "http.response.body":
            self.told.sent += len(message.get("body", b""))
            if not message.get("more_body", False):
                self.told.whole = not self.told.cut
                self.tell()
        await self._send(message)

    def tell(self) -> None:
        """Let the log have what is known of the call; once."""
        if self._tell is not None:
            tell, self._tell = self._tell, None
            tell()

    async def perform(self, send: Send | None = None) -> None:
        """Let the server answer, through `send` where that is given; replies that are looked into pass the changes."""
        self.told.effect = True
        send = send or self.send
        if not self.changes:
            await self.app(self.scope, self.receive, send)
            return
        reply = await self.performed()
        value = reply.value()
        for change in self.changes if reply.status < 300 else ():
            if value is not None and (changed := change(value)) is not None:
                value, reply.body = changed, msgspec.json.encode(changed)
        await reply.give(send)

    async def performed(self) -> Reply:
        """Perform the call and keep its answer from the client."""
        self.told.effect = True
        reply = Reply()
        await self.app(self.scope, self.receive, reply.take)
        return reply

    async def respond(self, response: Response) -> None:
        """Answer in the server's place."""
        await response(self.scope, self.receive, self.send)

    async def refuse(self, refused: Refused) -> None:
        """Answer with an error in the protocol's words."""
        response = self.door.refuse(refused, self.scope["method"], self.scope["path"])
        for name, value in refused.headers.items():
            response.headers[name] = value
        await self.respond(response)

    async def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection without (the rest of) an answer."""
        cut = self.scope.get(HANG_UP)
        if cut is None:
            raise RuntimeError("connections can only be cut by nono's own server (`nono serve`, LocalServer)")
        cut(reset=reset)
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def wait(self, seconds: float | None) -> None:
        """Let so much of the server's time pass (None: all of it), or until the client is gone."""
        until_ns = None if seconds is None else self.clock.now_ns() + int(seconds * SECOND_NS)
        gone = asyncio.ensure_future(self._gone())
        try:
            while not gone.done() and (until_ns is None or self.clock.now_ns() < until_ns):
                await asyncio.wait({gone}, timeout=_LOOK_EVERY_S)
        finally:
            gone.cancel()

    async def _gone(self) -> None:
        while True:
            if (await self._receive())["type"] == "http.disconnect":
                return


class Reply:
    """An answer that has been kept back."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self._gathered = bytearray()

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", []))
        elif len(self._gathered) <= _REPLY_BYTES:
            self._gathered += message.get("body", b"")
            self.body = bytes(self._gathered) if not message.get("more_body", False) else b""

    def value(self) -> dict[str, Any] | None:
        """The JSON object that it is, if it is one."""
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeError):
            return None
        return value if isinstance(value, dict) else None

    async def give(self, send: Send, *, length: bool = True) -> None:
        headers = [(name, value) for name, value in self.headers if name.lower() != b"content-length"]
        if length:
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def ids_in(call: str, asked: Mapping[str, Any], answered: Mapping[str, Any]) -> dict[str, str]:
    """The ids that a create or an upload touched, and the mark by which its maker finds it again."""
    batch = asked.get("batch") if isinstance(asked.get("batch"), Mapping) else {}
    source = (batch or {}).get("inputConfig") or (batch or {}).get("input_config") or {}
    metadata = asked.get("metadata") if isinstance(asked.get("metadata"), Mapping) else {}
    tag = (metadata or {}).get("nono_tag") or (batch or {}).get("displayName") or asked.get("displayName")
    file = asked.get("input_file_id") or source.get("fileName") or source.get("file_name")
    name = answered.get("id") or answered.get("name") or (answered.get("file") or {}).get("name")
    found = {"tag": tag, "file": file, "batch" if call == "create" else "file": name}
    return {key: value.rpartition("/")[2] for key, value in found.items() if isinstance(value, str)}
