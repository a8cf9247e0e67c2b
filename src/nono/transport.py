"""The two senders: they perform `Call`s over httpx2 and are the only place that opens a connection.

What they promise: bodies are streamed from and to disk; a failure before anything left is `NotSent`, every later one
`AnswerLost`; keys appear in no message; nothing is repeated here (`nono.retry` decides about that).
"""

from __future__ import annotations

import asyncio
import inspect
import re
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

from nono import jsonl
from nono.errors import AnswerLost, NotSent, SettingsError, TransportError
from nono.exchange import Account, Call, Content, FileSlice, Reply, content_length

CHUNK_BYTES = 1 << 18
# Connecting must be quick or the address is wrong; a create may think for minutes.
DEFAULT_TIMEOUT_S = 600.0
CONNECT_TIMEOUT_S = 10.0
# A word like "local" is no secret, and would be taken out of every sentence.
SHORTEST_KEY = 8

_NOTHING_LEFT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
    httpx2.InvalidURL,
)


class _Plan:
    """What both senders share: where a call goes, with which headers and which body."""

    def __init__(self, account: Account, timeout_s: float | None) -> None:
        self.account = account
        self.base_url = account.base_url.rstrip("/")
        read_s = DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s
        if not isinstance(read_s, int | float) or not 0 < read_s < float("inf"):
            raise SettingsError(
                f"timeout_s is {read_s!r}", hint=f"seconds that one answer may take; None is {DEFAULT_TIMEOUT_S:.0f}"
            )
        self.timeout = _timeout(read_s)

    def timeout_of(self, call: Call) -> httpx2.Timeout:
        longest_s = self.timeout.read
        if call.patience_s is None or longest_s is None or call.patience_s >= longest_s:
            return self.timeout
        return _timeout(call.patience_s)

    def request(self, call: Call) -> dict[str, Any]:
        """What httpx is told of a call, its body aside."""
        return {
            "method": call.method,
            "url": self.url(call),
            "params": self.params(call),
            "headers": self.headers(call),
            "timeout": self.timeout_of(call),
            "follow_redirects": call.method == "GET",
        }

    def url(self, call: Call) -> str:
        if "://" in call.path:
            return call.path
        version = self.account.api_version
        return self.base_url + call.path.replace("/{version}", f"/{version}" if version else "")

    def params(self, call: Call) -> dict[str, str | int] | None:
        general = {} if call.bare else self.account.params or {}
        return {**general, **call.params} or None

    def headers(self, call: Call) -> dict[str, str]:
        account = self.account
        headers = {} if call.bare else dict(account.headers or {})
        if account.key and not call.bare:
            headers[account.key_header] = f"{account.key_prefix}{account.key.reveal()}"
        if call.json is not None:
            headers["content-type"] = "application/json"
        if call.content is not None:
            headers["content-length"] = str(content_length(call.content))
        return headers | dict(call.headers)

    def drop_key(self, request: httpx2.Request) -> None:
        """A redirect that leads to another host goes there without the account: httpx takes only `Authorization` out.

        Before every request, those of redirects included, which inherit the extensions of the first.
        """
        if _origin(request.url) != request.extensions.setdefault("nono.origin", _origin(request.url)):
            for name in (self.account.key_header, *(self.account.headers or {})):
                request.headers.pop(name, None)


def _timeout(read_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(read_s, connect=min(CONNECT_TIMEOUT_S, read_s))


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _json_body(call: Call) -> bytes | None:
    return None if call.json is None else jsonl.encode(call.json)


def _reply_headers(response: httpx2.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _refusal(reply: Reply, account: Account, sent: Mapping[str, str]) -> Reply:
    """A service or a proxy that repeats the key in what it refuses does not bring it into our messages and ledgers.

    The key is the one that was sent: to ask for it again may renew it, and fail, when the call has long taken effect.
    """
    key = sent.get(account.key_header, "").removeprefix(account.key_prefix).encode()
    if reply.ok or len(key) < SHORTEST_KEY:
        return reply
    return Reply(reply.status, reply.headers, reply.body.replace(key, b"****"))


def _translate(error: Exception, call: Call, base_url: str) -> TransportError:
    """The one place that decides whether a failed request may have taken effect."""
    path = call.path.split("?")[0].replace("/{version}", "")
    what = f"{call.method} {path}: {type(error).__name__}: {error}"
    if isinstance(error, _NOTHING_LEFT):
        return NotSent(what, hint=f"check the base URL ({base_url}) and the network; nothing was sent")
    return AnswerLost(what)


def _read(piece: bytes | FileSlice) -> Iterator[bytes]:
    if isinstance(piece, bytes):
        yield piece
        return
    with piece.path.open("rb") as file:
        file.seek(piece.start)
        left = piece.length
        while left:
            chunk = file.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise httpx2.LocalProtocolError(f"{piece.path} became shorter while it was sent")
            left -= len(chunk)
            yield chunk


def _body(call: Call, content: Content) -> Iterator[bytes]:
    sent = 0
    for chunk in chain.from_iterable(map(_read, content)):
        yield chunk
        sent += len(chunk)
        if call.on_sent:
            call.on_sent(sent)


async def _async_body(call: Call, content: Content) -> AsyncIterator[bytes]:
    """Files are read in threads; who wants to know how far it is, is told on the event loop."""
    chunks = chain.from_iterable(map(_read, content))
    sent = 0
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
        sent += len(chunk)
        told = call.on_sent(sent) if call.on_sent else None
        if inspect.isawaitable(told):
            await told


def _open_target(call: Call, response: httpx2.Response) -> BinaryIO:
    """The file of `save_to`, positioned where this answer's first byte belongs."""
    assert call.save_to is not None
    here = call.save_to.stat().st_size if call.save_to.exists() else 0
    start = _range_start(response.headers.get("content-range")) if response.status_code == 206 else 0
    if start is None or start > here:
        call.save_to.unlink(missing_ok=True)  # asked for again from its beginning, it comes as it should
        raise httpx2.RemoteProtocolError("a part of the file came, and not where it belongs")
    file = Path(call.save_to).open("r+b" if call.save_to.exists() else "w+b")  # noqa: SIM115 - closed by the caller
    file.truncate(start)
    file.seek(start)
    return file


def _range_start(content_range: str | None) -> int | None:
    match = re.fullmatch(r"bytes (\d{1,18})-\d*/(?:\d+|\*)", content_range or "")
    return int(match.group(1)) if match else None


class Sender:
    """Performs calls with blocking I/O. Threads may share one."""

    def __init__(self, account: Account, *, timeout_s: float | None = None) -> None:
        self._plan = _Plan(account, timeout_s)
        self._client = httpx2.Client(timeout=self._plan.timeout, event_hooks={"request": [self._plan.drop_key]})
        # Most people never close a service; its connections go with it.
        weakref.finalize(self, self._client.close)

    def __call__(self, call: Call) -> Reply:
        """Perform one call.

        Raises NotSent or AnswerLost; a 4xx or 5xx is a Reply like any other.
        """
        try:
            body = _json_body(call) if call.content is None else _body(call, call.content)
            request = self._plan.request(call)
            with self._client.stream(**request, content=body) as response:
                if call.save_to is not None and response.is_success:
                    with _open_target(call, response) as file:
                        # In the pieces that the network gives: what has come is on disk when the connection breaks.
                        for chunk in response.iter_bytes():
                            file.write(chunk)
                    return Reply(response.status_code, _reply_headers(response))
                reply = Reply(response.status_code, _reply_headers(response), response.read())
                return _refusal(reply, self._plan.account, request["headers"])
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise _translate(error, call, self._plan.base_url) from error

    def close(self) -> None:
        self._client.close()


class AsyncSender:
    """Performs calls on the running event loop; one connection pool per loop, so it outlives `asyncio.run`."""

    def __init__(self, account: Account, *, timeout_s: float | None = None) -> None:
        self._plan = _Plan(account, timeout_s)
        self._clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )

    def _client(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            self._clients[loop] = httpx2.AsyncClient(
                timeout=self._plan.timeout, event_hooks={"request": [self._drop_key]}
            )
        return self._clients[loop]

    async def _drop_key(self, request: httpx2.Request) -> None:
        self._plan.drop_key(request)

    async def __call__(self, call: Call) -> Reply:
        """Perform one call; raises as `Sender` does."""
        try:
            body = _json_body(call) if call.content is None else _async_body(call, call.content)
            request = await self._request(call)
            async with self._client().stream(**request, content=body) as response:
                if call.save_to is not None and response.is_success:
                    with _open_target(call, response) as file:
                        async for chunk in response.aiter_bytes():
                            await asyncio.to_thread(file.write, chunk)
                    return Reply(response.status_code, _reply_headers(response))
                reply = Reply(response.status_code, _reply_headers(response), await response.aread())
                return _refusal(reply, self._plan.account, request["headers"])
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise _translate(error, call, self._plan.base_url) from error

    async def _request(self, call: Call) -> dict[str, Any]:
        key = self._plan.account.key
        if key is None or not key.may_wait:
            return self._plan.request(call)
        return await asyncio.to_thread(self._plan.request, call)

    async def close(self) -> None:
        """Close the running loop's connections; those of another loop are not ours to touch."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            with suppress(httpx2.HTTPError):
                await client.aclose()
