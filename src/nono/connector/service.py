"""What the service classes share: how a flow is performed, blocking or on an event loop."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

from nono.exchange import Account, Flow, adrive, drive
from nono.retry import retrying
from nono.transport import AsyncSender, Sender

T = TypeVar("T")


class SyncService:
    """Performs flows with blocking I/O; usable from several threads, and as a context manager."""

    def __init__(self, account: Account, *, timeout_s: float | None = None) -> None:
        self._account = account
        self._send = Sender(account, timeout_s=timeout_s)

    def _run(self, flow: Flow[T]) -> T:
        return drive(retrying(flow), self._send)

    def close(self) -> None:
        """Close the connections. The service is not usable afterwards."""
        self._send.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncService:
    """Performs flows on the running event loop; may be used from several loops, one after the other or at once."""

    def __init__(self, account: Account, *, timeout_s: float | None = None) -> None:
        self._account = account
        self._send = AsyncSender(account, timeout_s=timeout_s)

    async def _run(self, flow: Flow[T]) -> T:
        return await adrive(retrying(flow), self._send)

    async def close(self) -> None:
        """Close this loop's connections. The next call opens new ones."""
        await self._send.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
