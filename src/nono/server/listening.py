"""The socket that a server listens on, and the uvicorn behind it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from nono.errors import SettingsError
from nono.server.connections import DeadlineProtocol


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections. Raises SettingsError where that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, or asyncio does not set TCP_NODELAY: each answer in two pieces would wait 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="another server may be running there; choose another port with --port (0: any free one)",
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"


def uvicorn_of(app: ASGIApp, on_ready: Callable[[], None] | None) -> uvicorn.Server:
    """A uvicorn server that is not running yet; `on_ready` is called when it accepts calls."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if on_ready is not None and not self.should_exit:
                on_ready()

    return Server(
        uvicorn.Config(
            app,
            http=DeadlineProtocol,
            ws="none",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=3,
            # The guard answers in each protocol's own words before this many connections are reached.
            limit_concurrency=1024,
        )
    )
