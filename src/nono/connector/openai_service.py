"""`OpenAIBatchService`: the documented class over OpenAI's Batch API, and its async twin from the same flows.

Thin and stateless: every method is one flow of `nono.providers.openai`, performed blocking or on the event loop.
Whoever wants a data set processed through crashes, retries and several batches wants `nono.run` instead.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from nono import jsonl
from nono.connector.openai_requests import OpenAIRequests
from nono.connector.service import AsyncService, SyncService
from nono.errors import AnswerLost, InputError, NonoError, ProviderUnavailable, UnreadableAnswer
from nono.exchange import Account, Flow, Work
from nono.facts import Facts
from nono.files import source_path, target_path
from nono.model import Request
from nono.providers.openai import bodies, flows, harvest
from nono.providers.openai.account import account_from_client, account_from_settings, client_timeout_s
from nono.providers.openai.check import check
from nono.providers.openai.compatible import check_window, facts_for
from nono.providers.openai.wire import Batch, File, Page
from nono.waiting import wait_until_ended

StrPath = str | os.PathLike[str]
P = TypeVar("P", bound=StrPath)
Seconds = int | Mapping[str, Any]


class OpenAIBatchService(SyncService, OpenAIRequests):
    """OpenAI's Batch API, blocking. Threads may share one; it holds connections and nothing else.

    The key comes from `api_key`, then OPENAI_API_KEY; the address from `base_url`, then OPENAI_BASE_URL, then OpenAI;
    OPENAI_ORG_ID and OPENAI_PROJECT_ID are honoured. `client` is an official SDK client (`OpenAI`, `AsyncOpenAI`, or
    their Azure kin) whose key, address, headers and timeout are taken over. `timeout_s` is how long one answer may
    take, 600 seconds where neither says it.

    Raises MissingKey.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        *,
        client: Any = None,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(_account(api_key, base_url, client), timeout_s=_timeout_s(timeout_s, client))
        self._facts = facts_for(self._account.base_url)

    def upload_file(self, file_path: StrPath, *, expires_after: Seconds | None = None, check: bool = True) -> File:
        """Check a JSONL file and upload it for batches; the returned file's `id` is what `create_batch` wants.

        The file streams from disk. It is checked first, whole, unless `check` is False (a service with other rules);
        `expires_after` is in seconds. Raises InputError or LimitError before anything is sent, ProviderError after.
        """
        return self._run(_upload(file_path, self._facts, expires_after=expires_after, check_first=check))

    def create_batch(
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
        """Create a batch from a local file, which is checked and uploaded, or from the id of an uploaded one.

        The creating call is sent exactly once, whatever happens: a repetition could be a second batch, and a second
        bill. `output_expires_after` is how many seconds the answer files are kept (an hour to 30 days).

        Raises InputError or LimitError before anything is sent; ProviderError if the service refuses; AnswerLost if it
        is unknown whether the batch exists: `list_batches` tells.
        https://platform.openai.com/docs/api-reference/batch/create
        """
        return self._run(
            _create(
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

    def get_batch(self, batch_id: str) -> Batch:
        """The batch as it is now: `status`, `request_counts`, file ids, times, `errors`, and `raw`."""
        return self._run(flows.get_batch(batch_id))

    def get_batch_status(self, batch_id: str) -> str:
        """The batch's status alone, one of the STATE constants, in lower case."""
        return self.get_batch(batch_id).status

    def wait_for_completion(
        self,
        batch_id: str,
        poll_interval: float = 30.0,
        timeout: float | None = None,
        callback: Callable[[Batch, float], Any] | None = None,
    ) -> Batch:
        """Poll until the batch has ended, and return it: completed, failed, expired or cancelled.

        `callback(batch, elapsed_seconds)` is called at every poll, the last included. Trouble that passes is waited
        out. Raises WaitTimeout (a TimeoutError) after `timeout` seconds; the batch goes on then.
        """
        return self._run(_wait(batch_id, poll_interval, timeout, callback))

    @overload
    def get_results(self, batch_id: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    def get_results(self, batch_id: str, output_path: P) -> P: ...
    def get_results(self, batch_id: str, output_path: Any = None) -> Any:
        """The answers of an ended batch: a list of dicts, or with `output_path` the file streamed there.

        Also of an expired or cancelled batch: what was done is in it, and is billed. The order is not that of the
        requests; match by `custom_id`. Empty where nothing succeeded. A file lands whole or not at all, and a broken
        download goes on where it broke.

        Raises NotComplete before the end, JobFailed with the reasons if the batch failed validation.
        """
        return self._run(_results(batch_id, output_path))

    @overload
    def get_errors(self, batch_id: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    def get_errors(self, batch_id: str, output_path: P) -> P: ...
    def get_errors(self, batch_id: str, output_path: Any = None) -> Any:
        """What went wrong, one dict per request with `custom_id` and a filled `error`; empty if nothing did.

        For a batch that failed validation: its own errors, with `custom_id` None and the line in `error["line"]`.
        """
        return self._run(_errors(batch_id, output_path))

    def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel a batch and return it as it is then, usually `cancelling`; up to ten minutes later `cancelled`.

        A batch that has ended already stays as it ended. What was done until then can be fetched, and is billed.
        """
        return self._run(flows.cancel_batch(batch_id))

    def list_batches(self, limit: int = flows.DEFAULT_PAGE, after: str | None = None) -> Page:
        """The `limit` newest batches, newest first; `after` is the id of the batch to go on behind.

        The returned list's `.after` is the next call's `after`, None at the end.
        """
        return self._run(flows.list_batches(limit, after))

    def iter_batches(self) -> Iterator[Batch]:
        """All batches, newest first, a page at a time."""
        after: str | None = None
        while True:
            page = self.list_batches(_page_size(), after)
            yield from page
            if page.after is None:
                return
            after = page.after

    @staticmethod
    def create_jsonl_file(requests: Iterable[Mapping[str, Any] | Request], output_path: P) -> P:
        """Write request lines, one a line, and return the path; the file appears whole or not at all.

        Raises InputError for an empty set, for what is not a request line, and for values that JSON cannot carry.
        """
        jsonl.write_values(target_path(output_path), _lines(requests))
        return output_path


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
        super().__init__(_account(api_key, base_url, client), timeout_s=_timeout_s(timeout_s, client))
        self._facts = facts_for(self._account.base_url)

    async def upload_file(
        self, file_path: StrPath, *, expires_after: Seconds | None = None, check: bool = True
    ) -> File:
        """As `OpenAIBatchService.upload_file`."""
        return await self._run(_upload(file_path, self._facts, expires_after=expires_after, check_first=check))

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
            _create(
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
        return await self._run(_wait(batch_id, poll_interval, timeout, callback))

    @overload
    async def get_results(self, batch_id: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    async def get_results(self, batch_id: str, output_path: P) -> P: ...
    async def get_results(self, batch_id: str, output_path: Any = None) -> Any:
        """As `OpenAIBatchService.get_results`."""
        return await self._run(_results(batch_id, output_path))

    @overload
    async def get_errors(self, batch_id: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    async def get_errors(self, batch_id: str, output_path: P) -> P: ...
    async def get_errors(self, batch_id: str, output_path: Any = None) -> Any:
        """As `OpenAIBatchService.get_errors`."""
        return await self._run(_errors(batch_id, output_path))

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
            page = await self.list_batches(_page_size(), after)
            for batch in page:
                yield batch
            if page.after is None:
                return
            after = page.after

    async def create_jsonl_file(self, requests: Iterable[Mapping[str, Any] | Request], output_path: P) -> P:
        """As `OpenAIBatchService.create_jsonl_file`, in a thread."""

        return await asyncio.to_thread(OpenAIBatchService.create_jsonl_file, requests, output_path)


def _account(api_key: str | None, base_url: str | None, client: Any) -> Account:
    if client is not None:
        return account_from_client(client, api_key=api_key, base_url=base_url)
    return account_from_settings(api_key=api_key, base_url=base_url)


def _timeout_s(timeout_s: float | None, client: Any) -> float | None:
    return client_timeout_s(client) if timeout_s is None else timeout_s


def _page_size() -> int:
    return flows.FACTS.number("limits.page_size")


def _lines(requests: Iterable[Mapping[str, Any] | Request]) -> Iterator[Mapping[str, Any]]:
    if isinstance(requests, str | Mapping) or not isinstance(requests, Iterable):
        raise InputError(
            f"requests is a list of requests, not one {type(requests).__name__}", hint="put it into a list"
        )
    number = 0
    for number, request in enumerate(requests, start=1):
        if isinstance(request, Request):
            yield bodies.request_line(request.custom_id, request.endpoint, request.body)
        elif isinstance(request, Mapping) and {"custom_id", "url", "body"} <= request.keys():
            yield request if "method" in request else {**request, "method": "POST"}
        else:
            raise InputError(
                f"request {number} is not a request line: {str(request)[:80]}",
                hint="build_request() makes one: custom_id, method, url and body",
            )
    if not number:
        raise InputError("there are no requests to write", hint="a batch needs at least one")


def _upload(file_path: StrPath, facts: Facts, *, expires_after: Seconds | None, check_first: bool) -> Flow[File]:
    path = source_path(file_path)
    if expires_after is not None:
        flows.expiry_of(expires_after, facts)
    if check_first:
        yield Work(_check_for, (path, None, facts))
    return (yield from flows.upload(path, expires_after=expires_after))


def _create(
    file_path: StrPath | None,
    input_file_id: str | File | None,
    endpoint: str,
    facts: Facts,
    *,
    check_first: bool,
    **settings: Any,
) -> Flow[Batch]:
    if (file_path is None) == (input_file_id is None):
        raise InputError(
            "a batch is made from one input file: file_path or input_file_id",
            hint="give exactly one; a path is checked and uploaded first",
        )
    # Every setting is looked at before the upload: it would be in vain.
    metadata, expiry = settings["metadata"], settings["output_expires_after"]
    flows.check_metadata(metadata or {})
    if check_first:
        check_window(settings["completion_window"], facts)
    if expiry is not None:
        flows.expiry_of(expiry, facts)
    if input_file_id is not None:
        file_id = input_file_id.id if isinstance(input_file_id, File) else input_file_id
        if not isinstance(file_id, str) or not file_id.strip():
            raise InputError(f"not the id of a file: {file_id!r}", hint="upload_file() returns a file; pass its id")
        return (yield from _create_from(file_id, endpoint, **settings))
    path = source_path(file_path or "")
    if check_first:
        yield Work(_check_for, (path, endpoint, facts))
    file = yield from flows.upload(path)
    return (yield from _create_from(file.id, endpoint, **settings))


def _create_from(file_id: str, endpoint: str, **settings: Any) -> Flow[Batch]:
    try:
        return (yield from flows.create_batch(file_id, endpoint, **settings))
    except (AnswerLost, UnreadableAnswer, ProviderUnavailable) as error:
        error.hint = f"the batch may exist: look in list_batches() for input_file_id {file_id!r} before another try"
        raise
    except NonoError as error:
        uploaded = f"there is no batch; create_batch(input_file_id={file_id!r}) tries again without an upload"
        error.hint = f"{error.hint}; {uploaded}" if error.hint else uploaded
        raise


def _check_for(path: Path, endpoint: str | None, facts: Facts) -> None:
    check(path, endpoint=endpoint, facts=facts)


def _wait(
    batch_id: str, poll_interval: float, timeout: float | None, callback: Callable[[Batch, float], Any] | None
) -> Flow[Batch]:
    return wait_until_ended(
        lambda: flows.get_batch(batch_id),
        ended=lambda batch: batch.ended,
        describe=lambda batch: batch.status,
        poll_interval_s=poll_interval,
        timeout_s=timeout,
        callback=callback,
    )


def _results(batch_id: str, output_path: StrPath | None) -> Flow[Any]:
    return harvest.results(batch_id) if output_path is None else harvest.save_results(batch_id, output_path)


def _errors(batch_id: str, output_path: StrPath | None) -> Flow[Any]:
    return harvest.errors(batch_id) if output_path is None else harvest.save_errors(batch_id, output_path)
