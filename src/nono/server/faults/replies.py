"""What networks, proxies and services do to a call: each an `Act`, which answers the call in its own way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse
from starlette.types import Message

from nono.server.clock import SECOND_NS
from nono.server.dialect import Refused
from nono.server.faults import fates
from nono.server.faults.exchange import Exchange
from nono.server.gemini_wire import no_such_file as no_such_gemini_file
from nono.server.openai_files import no_such_file as no_such_openai_file

if TYPE_CHECKING:
    from nono.server.faults.rules import Rule

Act = Callable[["Rule", Exchange], Awaitable[None]]

_WORDS = {
    408: "Request Timeout",
    409: "The request could not be completed because of a conflict; try again.",
    429: "Rate limit reached for requests.",
    503: "The server is overloaded or not ready yet.",
}
_PAGE = (
    "<html><head><title>{status} Bad Gateway</title></head><body><center><h1>{status} Bad Gateway</h1></center>"
    "<hr><center>nginx</center></body></html>"
)
# https://ai.google.dev/gemini-api/docs/troubleshooting: what a full queue says.
_FULL = "Resource has been exhausted (e.g. check quota)."


async def drop_answer(rule: Rule, call: Exchange) -> None:
    await call.performed()
    await call.hang_up()


async def reset(rule: Rule, call: Exchange) -> None:
    await call.hang_up(reset=True)


async def hang(rule: Rule, call: Exchange) -> None:
    if rule["effect"]:
        await call.performed()
    await call.wait(rule["seconds"])
    await call.hang_up()


async def late(rule: Rule, call: Exchange) -> None:
    """The client is gone at once; its call waits somewhere on the way. One that is too large for that is spared."""
    if await call.body() is None:
        call.told.fault = None
        await call.perform()
        return
    await call.hang_up(reset=True)
    until_ns = call.clock.now_ns() + int((rule["seconds"] or 0) * SECOND_NS)
    while call.clock.now_ns() < until_ns:
        await asyncio.sleep(0.02)
    await call.performed()


async def refuse(rule: Rule, call: Exchange) -> None:
    if rule["effect"]:
        await call.performed()
    headers = {}
    if rule["retry_after"] is not None:
        headers["retry-after"] = _retry_after(rule["retry_after"], call.clock.now_ns())
    status = rule["status"]
    message = rule["message"] or _WORDS.get(status, "The server had an error while processing your request.")
    kind = "server_error" if status >= 500 else "invalid_request_error"
    await call.refuse(Refused(status, message, code=rule["code"], kind=kind, headers=headers))


def _retry_after(given: str, now_ns: int) -> str:
    kind, _, seconds = given.partition(":")
    if kind == "date" and seconds.lstrip("-").isdigit():
        return formatdate(now_ns / SECOND_NS + int(seconds), usegmt=True)
    return given


async def page(rule: Rule, call: Exchange) -> None:
    if rule["effect"]:
        await call.performed()
    await call.respond(HTMLResponse(_PAGE.format(status=rule["status"]), rule["status"]))


async def garble(rule: Rule, call: Exchange) -> None:
    reply = await call.performed()
    reply.body = reply.body[: max(1, len(reply.body) // 3)]
    call.told.cut = True
    await reply.give(call.send)


async def drip(rule: Rule, call: Exchange) -> None:
    async def send(message: Message) -> None:
        if message["type"] != "http.response.body":
            await call.send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        for start in range(0, len(body), rule["bytes"]) if body else ():
            await call.send({**message, "body": body[start : start + rule["bytes"]], "more_body": True})
            await call.wait(rule["seconds"])
        if not more:
            await call.send({"type": "http.response.body", "body": b"", "more_body": False})

    await call.perform(send)


async def truncate(rule: Rule, call: Exchange) -> None:
    left = rule["at"]
    ended = False

    async def send(message: Message) -> None:
        nonlocal left, ended
        if ended:
            return
        if message["type"] == "http.response.start":
            if not rule["length"]:
                # A body in chunks, whose end is said and not counted.
                kept = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
                message = {**message, "headers": kept}
            await call.send(message)
            return
        piece = message.get("body", b"")[:left]
        left -= len(piece)
        whole = not message.get("more_body", False) and len(piece) == len(message.get("body", b""))
        ended = whole or left == 0
        call.told.cut = ended and not whole
        await call.send({**message, "body": piece, "more_body": not (whole or (ended and not rule["length"]))})
        if call.told.cut and rule["length"]:
            await call.hang_up()

    await call.perform(send)


async def file_lag(rule: Rule, call: Exchange) -> None:
    file_id = call.told.ids.get("file")
    file = call.store.file(call.door.name, file_id) if file_id else None
    young_ns = int((rule["seconds"] or 0) * SECOND_NS)
    if file is None or file.source != "uploaded" or call.clock.now_ns() - file.created_ns >= young_ns:
        call.told.fault = None
        await call.perform()
    else:
        await call.refuse(_unknown(call.door.name, file.id))


async def gone(rule: Rule, call: Exchange) -> None:
    await call.refuse(_unknown(call.door.name, call.told.ids.get("file", "")))


async def token_limit(rule: Rule, call: Exchange) -> None:
    """Gemini's queue says no at once; OpenAI's lets the batch fail (`fates.token_limit`)."""
    file_id = call.told.ids.get("file")
    file = call.store.file("gemini", file_id) if call.door.name == "gemini" and file_id else None
    if file is None or not fates.exceeds(rule, call.store, None, fates.count_tokens(call.store.blob(file.token))):
        call.told.fault = None
        await call.perform()
    else:
        await call.refuse(Refused(429, _FULL))


def _unknown(provider: str, file_id: str) -> Refused:
    return _UNKNOWN.get(provider, _no_such_object)(file_id)


def _no_such_object(name: str) -> Refused:
    return Refused(404, f"No such object: {name[:200]}", code="notFound")


_UNKNOWN: dict[str, Callable[[str], Refused]] = {"openai": no_such_openai_file, "gemini": no_such_gemini_file}
