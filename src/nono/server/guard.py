"""What stands between the network and a dialect: hostile or clumsy calls end here, each with a reply that says why.

A local server is reachable from every page in the user's browser. So: only known Host names are served (a rebound DNS
name is not), a page of another origin cannot change anything, a key is compared in constant time and never repeated,
bodies have a limit per route and a least pace, and only so many calls are worked on at a time.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nono.secret import Secret
from nono.server.dialect import Door, Refused
from nono.server.room import Room

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(?::\d{0,5})?", re.ASCII)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SAME_SITE = frozenset({"same-origin", "none"})
# Where a call's scope carries its body.
BODY = "nono.body"


@dataclass(slots=True)
class Gate:
    """The rules of one server, and how many calls are inside.

    `body_pause_s`: a body whose next piece takes longer is given up, and so is one that is late by as much behind
    `body_pace`, in bytes a second: a byte now and then would keep a call busy for ever.
    """

    hosts: frozenset[str] = LOOPBACK_HOSTS
    any_address: bool = False
    key: Secret | None = None
    calls: int = 256
    body_pause_s: float = 60.0
    body_pace: int = 1_000
    room: Room = field(default_factory=Room)
    inside: int = field(default=0, init=False)


def gate_for(host: str, *, also: Iterable[str] = (), key: Secret | None = None, calls: int = 256) -> Gate:
    """The rules for a server bound to `host`. Bound to every interface it is also served under any IP address: a name
    can be rebound by an attacker, an address cannot."""
    return Gate(
        hosts=LOOPBACK_HOSTS | {host.lower().strip("[]"), *(name.lower() for name in also)},
        any_address=host in ("0.0.0.0", "::", ""),  # noqa: S104 - compared, not bound
        key=key,
        calls=calls,
    )


class Guard:
    """ASGI: applies the gate's rules to one dialect's calls."""

    def __init__(self, app: ASGIApp, dialect: Door, gate: Gate) -> None:
        self._app = app
        self._dialect = dialect
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        method, path = scope["method"], scope["path"]
        started = False

        async def reply(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                extra = self._dialect.reply_headers(time.monotonic() - began)
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in extra.items()),
                ]
            await send(message)

        try:
            self._admit(scope)
            limit = self._dialect.body_limit(method, path)
            body = LimitedBody(receive, Headers(scope=scope), limit, self._gate)
            self._gate.inside += 1
            scope[BODY] = body
            try:
                await self._app(scope, body, reply)
            finally:
                self._gate.inside -= 1
                self._gate.room.give(body.held)
        except Refused as refused:
            if started:
                raise
            await self._dialect.refuse(refused, method, path)(scope, receive, reply)

    def _admit(self, scope: Scope) -> None:
        gate, headers, query = self._gate, Headers(scope=scope), QueryParams(scope["query_string"])
        host = _host_name(headers.get("host", ""))
        if host not in gate.hosts and not (gate.any_address and _is_address(host)):
            raise Refused(
                421, "This server is not known under that Host name. Start it with --allow-host NAME to serve it."
            )
        if scope["method"] not in _SAFE_METHODS:
            _check_origin(headers)
        if gate.key is not None and not self._dialect.keyless(scope["path"], query):
            _check_key(gate.key, self._dialect.key_of(headers, query))
        if gate.inside >= gate.calls:
            raise Refused(
                503,
                f"The server is overloaded: {gate.calls} calls are being worked on. Try again later.",
                kind="server_error",
                headers={"retry-after": "1"},
            )


def _check_origin(headers: Headers) -> None:
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = site is not None and site not in _SAME_SITE
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        foreign = True
    if foreign:
        raise Refused(403, "A page of another origin may not change anything here.")


def _check_key(key: Secret, given: str | None) -> None:
    if not given:
        raise Refused(
            401,
            "You didn't provide an API key. This server was started with one: send it as your client does.",
            code="missing_api_key",
        )
    if not hmac.compare_digest(given.encode(), key.reveal().encode()):
        raise Refused(401, "Incorrect API key provided.", code="invalid_api_key")


def _host_name(host: str) -> str:
    """The Host header without its port and brackets; nothing, if it is no host: upload addresses are made of it."""
    found = _HOST.fullmatch(host)
    return (found["v6"] or found["name"]).lower() if found else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class LimitedBody:
    """An ASGI `receive` that refuses a body that is too long, or stands still."""

    def __init__(self, receive: Receive, headers: Headers, limit: int, gate: Gate) -> None:
        declared = headers.get("content-length", "")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):
            raise _too_large(limit)
        self._receive = receive
        self._limit = limit
        self._gate = gate
        self._began = time.monotonic()
        self._seen = 0
        self._ended = False
        self._declared = int(declared) if declared.isdigit() else None
        self.held = 0

    async def hold(self, most: int | None = None) -> None:
        """Make room for the whole body, of at most so many bytes, in memory, before it is read; the call's end gives
        it back.

        Raises Refused (413 for a longer one, 503 when there is no room for long).
        """
        if most is not None:
            self._limit = min(self._limit, most)
        if (self._declared or 0) > self._limit:
            raise _too_large(self._limit)
        if self.held:
            return
        # Without a length it may become as large as it is allowed to.
        self.held = await self._gate.room.take(self._limit if self._declared is None else self._declared)
        self._began = time.monotonic()

    async def __call__(self) -> Message:
        if self._ended:  # what comes now is the client's going away, whenever it likes
            return await self._receive()
        pause_s = self._gate.body_pause_s
        late_s = self._began + pause_s + self._seen / self._gate.body_pace - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, min(pause_s, late_s)))
        except TimeoutError:
            raise Refused(
                408,
                f"The body of your request stood still for {pause_s:g} s, or came slower than {self._gate.body_pace} "
                "bytes a second.",
                headers={"connection": "close"},
            ) from None
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
            if self._seen > self._limit:
                raise _too_large(self._limit)
        return message


def _too_large(limit: int) -> Refused:
    return Refused(413, f"The body of your request is larger than the {limit} bytes that are accepted here.")
