"""ASGI: every call passes here; a rule may answer it, and the log says what was sent."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nono.server.dialect import Door
from nono.server.faults.calls import name_call
from nono.server.faults.exchange import Exchange, Reply, ids_in
from nono.server.faults.world import World

# The calls whose replies name what was made.
_MAKING = frozenset({"create", "upload"})
_PATH_CHARS = 300


class Misbehaviour:
    """Wraps one dialect's app, its guard included."""

    def __init__(self, app: ASGIApp, door: Door, world: World) -> None:
        self._app = app
        self._door = door
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        world, provider = self._world, self._door.name
        call = name_call(provider, scope["method"], scope["path"])
        made = Reply()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async def noted(message: Message) -> None:
                await made.take(message)
                await send(message)

            await self._app(scope, receive, noted if call.name in _MAKING else send)

        def tell() -> None:
            if call.name in _MAKING and made.status < 300:
                exchange.told.ids |= ids_in(call.name, asked, made.value() or {})
            self._tell(scope, call.name, exchange)

        asked: dict[str, Any] = {}
        exchange = Exchange(
            scope,
            receive,
            send,
            app=app,
            door=self._door,
            call=call,
            clock=world.clock,
            store=world.store,
            changes=world.changes_for(provider, call),
            tell=tell,
        )
        if call.name == "create":
            asked = await exchange.json()
        exchange.told.ids |= ids_in(call.name, asked, {})
        rule = world.act_for(provider, call)
        try:
            if rule is None or rule.fault.act is None:
                await exchange.perform()
            else:
                exchange.told.fault = rule.fault.name
                await rule.fault.act(rule, exchange)
        finally:
            exchange.tell()

    def _tell(self, scope: Scope, name: str, exchange: Exchange) -> None:
        told = exchange.told
        entry = {
            "provider": self._door.name,
            "call": name,
            "method": scope["method"],
            "path": scope["path"][:_PATH_CHARS],
            "status": told.status,
            "whole": told.whole,
            "effect": told.effect,
            "received": told.received,
            "sent": told.sent,
        }
        if told.range_start:
            entry["range_start"] = told.range_start
        if told.fault:
            entry["fault"] = told.fault
        if told.ids:
            entry["ids"] = told.ids
        self._world.log.write("call", **entry)
