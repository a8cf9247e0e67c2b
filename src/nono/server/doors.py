"""Which protocol a call is meant for, and how whatever goes wrong in it is told in that protocol's words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from nono.server.dialect import Door, Refused
from nono.server.guard import Gate, Guard

log = logging.getLogger("nono.server")


class Switchboard:
    """ASGI: hands each call to the door that it is meant for."""

    def __init__(self, apps: list[tuple[Door, ASGIApp]]) -> None:
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await Response("this server speaks plain HTTP only", status_code=404)(scope, receive, send)
            return
        path, headers, query = scope["path"], Headers(scope=scope), QueryParams(scope["query_string"])
        for door, app in self._apps[:-1]:
            if door.claims(path, headers, query):
                await app(scope, receive, send)
                return
        await self._apps[-1][1](scope, receive, send)


def door_app(door: Door, gate: Gate) -> ASGIApp:
    """A door's routes behind the guard; whatever goes wrong is refused in the door's own words."""

    async def refuse(request: Request, error: Exception) -> Response:
        return door.refuse(_as_refused(error), request.method, request.url.path)

    async def nobody_listens(request: Request, error: Exception) -> Response:
        return Response(status_code=400)

    handlers: dict[Any, Callable[..., Any]] = {
        Refused: refuse,
        HTTPException: refuse,
        OSError: refuse,
        ClientDisconnect: nobody_listens,
        Exception: refuse,
    }
    return Guard(Starlette(routes=list(door.routes()), exception_handlers=handlers), door, gate)


def _as_refused(error: Exception) -> Refused:
    match error:
        case Refused():
            return error
        case HTTPException():
            return Refused(error.status_code, error.detail, headers=error.headers)
        case OSError() if not isinstance(error, FileNotFoundError):
            log.error("the disk refuses: %s", error)
            return Refused(507, "The server's disk refuses to write; its log says why.", kind="server_error")
        case _:
            log.error("a call failed: %r", error)
            return Refused(500, "The server had an error while processing your request.", kind="server_error")
