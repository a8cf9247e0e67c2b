"""`/_nono/`: the rules, the clock and the log, over HTTP. It exists only where faults are asked for.

| call | does |
|---|---|
| `GET /_nono/faults` | the rules, each with how often it has fired |
| `POST /_nono/faults` | adds a rule, or a list of rules |
| `DELETE /_nono/faults` | forgets all rules |
| `GET /_nono/clock` | what the server's clock shows, and how fast it runs |
| `POST /_nono/clock` | `{"advance": SECONDS}` moves it on, `{"speed": N}` lets it run N times as fast |
| `GET /_nono/log?after=NO` | what happened, as JSON lines, from the entry behind that number on |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.concurrency import iterate_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from nono.errors import SettingsError
from nono.server.clock import SteeredClock, rfc3339
from nono.server.dialect import Refused
from nono.server.faults.rules import read_rules
from nono.server.faults.world import World
from nono.server.intake import decode_json, read_whole

PREFIX = "/_nono/"
_BODY_BYTES = 1 << 20


class Control:
    """The Door of `/_nono/`."""

    name = "nono"

    def __init__(self, world: World) -> None:
        self._world = world

    def claims(self, path: str, headers: Headers, query: QueryParams) -> bool:
        return path.startswith(PREFIX)

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route(f"{PREFIX}faults", self._show_faults, methods=["GET"]),
            Route(f"{PREFIX}faults", self._add_faults, methods=["POST"]),
            Route(f"{PREFIX}faults", self._clear_faults, methods=["DELETE"]),
            Route(f"{PREFIX}clock", self._show_clock, methods=["GET"]),
            Route(f"{PREFIX}clock", self._steer_clock, methods=["POST"]),
            Route(f"{PREFIX}log", self._show_log, methods=["GET"]),
        ]

    def refuse(self, refused: Refused, method: str, path: str) -> Response:
        message = refused.message
        if refused.status in (404, 405) and message in ("Not Found", "Method Not Allowed"):
            message = f"There is no {method} {path[:200]}; there are /_nono/faults, /_nono/clock and /_nono/log."
        return _reply({"error": {"message": message}}, refused.status)

    def key_of(self, headers: Headers, query: QueryParams) -> str | None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else headers.get("x-goog-api-key")

    def keyless(self, path: str, query: QueryParams) -> bool:
        return False

    def body_limit(self, method: str, path: str) -> int:
        return _BODY_BYTES

    def reply_headers(self, elapsed_s: float) -> Mapping[str, str]:
        return {}

    def _show_faults(self, request: Request) -> Response:
        return _reply({"rules": self._world.counted.shown()})

    async def _add_faults(self, request: Request) -> Response:
        given = await _value(request)
        try:
            self._world.add(read_rules(given))
        except SettingsError as error:
            raise Refused(400, str(error)) from error
        return self._show_faults(request)

    def _clear_faults(self, request: Request) -> Response:
        self._world.counted.clear()
        return self._show_faults(request)

    def _show_clock(self, request: Request) -> Response:
        clock = self._world.clock
        shown = {"now": rfc3339(clock.now_ns()), "now_ns": clock.now_ns()}
        return _reply({**shown, "speed": clock.speed} if isinstance(clock, SteeredClock) else shown)

    async def _steer_clock(self, request: Request) -> Response:
        clock, wishes = self._world.clock, await _value(request)
        if not isinstance(clock, SteeredClock):
            raise Refused(409, "This server was started with a clock of its own, which cannot be steered.")
        known = {"advance": clock.advance, "speed": clock.run_at}
        if not isinstance(wishes, dict) or not wishes or wishes.keys() - known.keys():
            raise Refused(400, 'Expected {"advance": SECONDS} or {"speed": N}, or both.')
        for name, steer in known.items():
            if name in wishes and type(wishes[name]) not in (int, float):
                raise Refused(400, f"{name!r} is a number.")
            try:
                if name in wishes:
                    steer(wishes[name])
            except SettingsError as error:
                raise Refused(400, str(error)) from error
        self._world.log.write("clock", speed=clock.speed)  # what it shows stands in every entry
        return self._show_clock(request)

    async def _show_log(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdigit() or len(after) > 18:
            raise Refused(400, "'after' is the number of an entry.")
        lines = iterate_in_threadpool(self._world.log.read(int(after)))
        return StreamingResponse(lines, media_type="application/jsonl")


async def _value(request: Request) -> Any:
    try:
        return decode_json(await read_whole(request))
    except ValueError as error:
        raise Refused(400, f"The body is not JSON: {error}") from error


def _reply(value: Any, status: int = 200) -> Response:
    body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    return Response(body, status, media_type="application/json")
