"""`OpenAIBatchService`: the documented class over OpenAI's Batch API, blocking.

Thin and stateless: every method is one flow of `nono.connector.openai_calls`, as it is of the async twin.
Whoever wants a data set processed through crashes, retries and several batches wants `nono.run` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from nono.connector import openai_calls as calls
from nono.connector.openai_calls import Seconds, StrPath
from nono.connector.openai_requests import OpenAIRequests
from nono.connector.service import SyncService
from nono.model import Request
from nono.providers.openai import bodies, flows
from nono.providers.openai.compatible import facts_for
from nono.providers.openai.wire import Batch, File, Page

P = TypeVar("P", bound=StrPath)


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
        super().__init__(calls.account_of(api_key, base_url, client), timeout_s=calls.timeout_of(timeout_s, client))
        self._facts = facts_for(self._account.base_url)

    def upload_file(self, file_path: StrPath, *, expires_after: Seconds | None = None, check: bool = True) -> File:
        """Check a JSONL file and upload it for batches; the returned file's `id` is what `create_batch` wants.

        The file streams from disk. It is checked first, whole, unless `check` is False (a service with other rules);
        `expires_after` is in seconds. Raises InputError or LimitError before anything is sent, ProviderError after.
        """
        return self._run(calls.upload(file_path, self._facts, expires_after=expires_after, check_first=check))

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
        return self._run(calls.wait(batch_id, poll_interval, timeout, callback))

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
        return self._run(calls.results(batch_id, output_path))

    @overload
    def get_errors(self, batch_id: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    def get_errors(self, batch_id: str, output_path: P) -> P: ...
    def get_errors(self, batch_id: str, output_path: Any = None) -> Any:
        """What went wrong, one dict per request with `custom_id` and a filled `error`; empty if nothing did.

        For a batch that failed validation: its own errors, with `custom_id` None and the line in `error["line"]`.
        """
        return self._run(calls.errors(batch_id, output_path))

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
            page = self.list_batches(calls.page_size(), after)
            yield from page
            if page.after is None:
                return
            after = page.after

    @staticmethod
    def create_jsonl_file(requests: Iterable[Mapping[str, Any] | Request], output_path: P) -> P:
        """Write request lines, one a line, and return the path; the file appears whole or not at all.

        Raises InputError for an empty set, for what is not a request line, and for values that JSON cannot carry.
        """
        calls.write_requests(requests, output_path)
        return output_path
