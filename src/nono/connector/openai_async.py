"""`AsyncOpenAIBatchService`: the twin of `OpenAIBatchService` for an event loop, made of the same flows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from nono.connector import openai_calls as calls
from nono.connector.openai_calls import Seconds, StrPath
from nono.connector.openai_requests import OpenAIRequests
from nono.connector.service import AsyncService
from nono.model import Request
from nono.providers.openai import bodies, flows
from nono.providers.openai.compatible import facts_for
from nono.providers.openai.wire import Batch, File, Page

P = TypeVar("P", bound=StrPath)


class AsyncOpenAIBatchService(AsyncService, OpenAIRequests):
    """`OpenAIBatchService` for an event loop: the same methods, awaited, and the same settings.

    Reading, checking and writing files happens in threads; the loop stays free.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        client: Any = None,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(calls.account_of(api_key, base_url, client), timeout_s=calls.timeout_of(timeout_s, client))
        self._facts = facts_for(self._account.base_url)

    async def upload_file(
        self, file_path: StrPath, *, expires_after: Seconds | None = None, check: bool = True
    ) -> File:
        """As `OpenAIBatchService.upload_file`."""
        return await self._run(calls.upload(file_path, self._facts, expires_after=expires_after, check_first=check))

    async def create_batch(
        self,
        file_path: StrPath | None = None,
        input_file_id: str | File | None = None,
        endpoint: str = bodies.CHAT,
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        *,
        output_expires_after: Seconds | None = None,
        extra_body: Mapping[str, Any] | None = None,
        check: bool = True,
    ) -> Batch:
        """As `OpenAIBatchService.create_batch`."""
        return await self._run(
            calls.create(
                file_path,
                input_file_id,
                endpoint,
                self._facts,
                check_first=check,
                completion_window=completion_window,
                metadata=metadata,
                output_expires_after=output_expires_after,
                extra_body=extra_body,
            )
        )

    async def get_batch(self, batch_id: str) -> Batch:
        """As `OpenAIBatchService.get_batch`."""
        return await self._run(flows.get_batch(batch_id))

    async def get_batch_status(self, batch_id: str) -> str:
        """As `OpenAIBatchService.get_batch_status`."""
        return (await self.get_batch(batch_id)).status

    async def wait_for_completion(
        self,
        batch_id: str,
        poll_interval: float = 30.0,
        timeout: float | None = None,
        callback: Callable[[Batch, float], Any] | None = None,
    ) -> Batch:
        """As `OpenAIBatchService.wait_for_completion`; the callback may be a coroutine function."""
        return await self._run(calls.wait(batch_id, poll_interval, timeout, callback))

    @overload
    async def get_results(self, batch_id: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    async def get_results(self, batch_id: str, output_path: P) -> P: ...
    async def get_results(self, batch_id: str, output_path: Any = None) -> Any:
        """As `OpenAIBatchService.get_results`."""
        return await self._run(calls.results(batch_id, output_path))

    @overload
    async def get_errors(self, batch_id: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    async def get_errors(self, batch_id: str, output_path: P) -> P: ...
    async def get_errors(self, batch_id: str, output_path: Any = None) -> Any:
        """As `OpenAIBatchService.get_errors`."""
        return await self._run(calls.errors(batch_id, output_path))

    async def cancel_batch(self, batch_id: str) -> Batch:
        """As `OpenAIBatchService.cancel_batch`."""
        return await self._run(flows.cancel_batch(batch_id))

    async def list_batches(self, limit: int = flows.DEFAULT_PAGE, after: str | None = None) -> Page:
        """As `OpenAIBatchService.list_batches`."""
        return await self._run(flows.list_batches(limit, after))

    async def iter_batches(self) -> AsyncIterator[Batch]:
        """As `OpenAIBatchService.iter_batches`: `async for batch in service.iter_batches()`."""
        after: str | None = None
        while True:
            page = await self.list_batches(calls.page_size(), after)
            for batch in page:
                yield batch
            if page.after is None:
                return
            after = page.after

    async def create_jsonl_file(self, requests: Iterable[Mapping[str, Any] | Request], output_path: P) -> P:
        """As `OpenAIBatchService.create_jsonl_file`, in a thread."""
        await asyncio.to_thread(calls.write_requests, requests, output_path)
        return output_path
