"""`GeminiBatchService`: the documented class over Gemini's Batch API, and its async twin from the same flows.

Thin and stateless: every method is one flow of `nono.providers.gemini`, performed blocking or on the event loop.
Whoever wants a data set processed through crashes, retries and several batches wants `nono.run` instead.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from nono import jsonl
from nono.connector import gemini_creation as creation
from nono.connector import gemini_files as stored
from nono.connector.gemini_connection import JobCalls, connect
from nono.connector.gemini_creation import Order
from nono.connector.gemini_requests import GeminiRequests
from nono.connector.service import AsyncService, SyncService
from nono.errors import InputError
from nono.exchange import Flow, Work
from nono.files import target_path
from nono.providers.gemini import bodies, flows, uploads
from nono.providers.gemini.account import client_timeout_s
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.check import write_file
from nono.providers.gemini.defaults import defaults_of
from nono.providers.gemini.harvest import inline_answers
from nono.providers.gemini.translate import EMBED
from nono.providers.gemini.wire import File, Job, JobPage
from nono.waiting import wait_until_ended

StrPath = str | os.PathLike[str]
P = TypeVar("P", bound=StrPath)
Callback = Callable[[Job, float], Any]


class Jobs:
    """The account's jobs, newest first as the service lists them: iterate over it, page after page is fetched.

    The first page is here already: `page`, `next_page_token`, `has_more_pages`. A listing carries no inlined answers.
    """

    def __init__(self, first: JobPage, fetch: Callable[[str], JobPage]) -> None:
        self._first = first
        self._fetch = fetch

    @property
    def page(self) -> tuple[Job, ...]:
        return self._first.jobs

    @property
    def next_page_token(self) -> str | None:
        return self._first.next_page_token

    @property
    def has_more_pages(self) -> bool:
        return self.next_page_token is not None

    def __iter__(self) -> Iterator[Job]:
        page = self._first
        yield from page.jobs
        while page.next_page_token is not None:
            page = self._fetch(page.next_page_token)
            yield from page.jobs


class AsyncJobs:
    """`Jobs` for an event loop: `async for job in service.list_jobs()`; awaited, it has its first page."""

    def __init__(self, fetch: Callable[[str | None], Any], page_token: str | None) -> None:
        self._fetch = fetch
        self._page_token = page_token
        self._first: JobPage | None = None

    async def _load(self) -> AsyncJobs:
        if self._first is None:
            self._first = await self._fetch(self._page_token)
        return self

    def __await__(self) -> Generator[Any, None, AsyncJobs]:
        return self._load().__await__()

    @property
    def page(self) -> tuple[Job, ...]:
        return self._loaded.jobs

    @property
    def next_page_token(self) -> str | None:
        return self._loaded.next_page_token

    @property
    def has_more_pages(self) -> bool:
        return self.next_page_token is not None

    @property
    def _loaded(self) -> JobPage:
        if self._first is None:
            raise InputError("the first page is not here yet", hint="jobs = await service.list_jobs()")
        return self._first

    async def __aiter__(self) -> AsyncIterator[Job]:
        page = (await self._load())._loaded
        while True:
            for job in page.jobs:
                yield job
            if page.next_page_token is None:
                return
            page = await self._fetch(page.next_page_token)


class GeminiBatchService(SyncService, GeminiRequests):
    """Gemini's Batch API, blocking. Threads may share one; it holds connections and nothing else.

    The key comes from `api_key`, then GOOGLE_API_KEY, then GEMINI_API_KEY (`key_source` says which); the address from
    `base_url`, then GOOGLE_GEMINI_BASE_URL, then Google; the version from `api_version`, then
    GOOGLE_GENAI_API_VERSION, then `v1beta`. `client` is a `google.genai.Client` whose key, address, version, headers
    and timeout are taken over. `timeout_s` is how long one answer may take, 600 seconds where neither says it.

    With `vertexai=True` (or GOOGLE_GENAI_USE_VERTEXAI) it speaks to Vertex AI: jobs of `project` (GOOGLE_CLOUD_PROJECT)
    and `location` (GOOGLE_CLOUD_LOCATION, else `global`), as `credentials` or whom google-auth finds; the address from
    `base_url`, then GOOGLE_VERTEX_BASE_URL. There, requests and answers stay in Cloud Storage or BigQuery:
    `create_batch(gcs_uri=…)`.

    Raises MissingKey; MissingExtra where google-auth is not installed.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        api_version: str | None = None,
        client: Any = None,
        timeout_s: float | None = None,
        vertexai: bool | None = None,
        project: str | None = None,
        location: str | None = None,
        credentials: Any = None,
    ) -> None:
        account, self._vertex, self.key_source = connect(
            vertexai,
            client,
            api_key=api_key,
            base_url=base_url,
            api_version=api_version,
            project=project,
            location=location,
            credentials=credentials,
        )
        self._jobs: JobCalls = self._vertex or flows
        super().__init__(account, timeout_s=_timeout(timeout_s, client))

    def create_batch(
        self,
        model: str = bodies.DEFAULT_MODEL,
        *,
        file_path: StrPath | None = None,
        file_name: str | File | None = None,
        requests: Iterable[Any] | None = None,
        gcs_uri: str | Sequence[str] | None = None,
        bigquery_uri: str | None = None,
        dest: str | None = None,
        display_name: str | None = None,
        generation_config: Any = None,
        system_instruction: Any = None,
        safety_settings: Any = None,
        tools: Any = None,
        cached_content: str | None = None,
        priority: int | None = None,
        webhook_config: Any = None,
        check: bool = True,
    ) -> Job:
        """Create a job from one source: a file here, an uploaded one, requests, or (Vertex AI) `gs://` and `bq://`.

        `generation_config`, `system_instruction`, `safety_settings`, `tools` and `cached_content` hold for every
        request of a file here or of `requests`; what a request says itself wins. A file's requests may be bare
        (`{"contents": […]}`): they get the keys `request-1`, `request-2`, …, by their line. `dest` is where Vertex AI
        puts the answers; without it, beside the source. `priority` orders your own jobs, higher first;
        `webhook_config` is one address or `{"uris": […], "user_metadata": {…}}`, told when the job ends.

        Raises as `create_inline_batch` and `create_file_batch`.
        """
        return self._run(
            creation.from_source(
                self._vertex,
                Order(
                    model,
                    display_name,
                    check=check,
                    defaults=defaults_of(
                        generation_config=generation_config,
                        system_instruction=system_instruction,
                        safety_settings=safety_settings,
                        tools=tools,
                        cached_content=cached_content,
                    ),
                    priority=priority,
                    webhook=webhook_config,
                    dest=dest,
                ),
                {
                    "file_path": file_path,
                    "file_name": file_name,
                    "requests": requests,
                    "gcs_uri": gcs_uri,
                    "bigquery_uri": bigquery_uri,
                },
            )
        )

    def create_inline_batch(
        self,
        requests: Iterable[Any],
        model_name: str = bodies.DEFAULT_MODEL,
        display_name: str | None = None,
        *,
        check: bool = True,
    ) -> Job:
        """Create a job with its requests inside, 20 MB of them at most.

        A request is what the builders make, a REST `GenerateContentRequest` in snake_case or camelCase, a JSONL line
        with its key, the SDK's `InlinedRequest`, or a text. One without a key gets `request-1`, `request-2`, …. The
        creating call is sent exactly once, whatever happens: a repetition could be a second job, and a second bill.
        Without `check` the fields of the requests are left to the service to judge (it may know newer ones).

        Raises InputError (naming the request and the right place) or LimitError before anything is sent; ProviderError
        if the service refuses; AnswerLost if it is unknown whether the job exists: `list_jobs` tells.
        """
        return self._run(creation.from_inline(self._vertex, Order(model_name, display_name, check=check), requests))

    def create_file_batch(
        self,
        file_path: StrPath | None = None,
        uploaded_file_name: str | None = None,
        model_name: str = bodies.DEFAULT_MODEL,
        display_name: str | None = None,
        *,
        check: bool = True,
    ) -> Job:
        """Create a job from a JSONL file of 2 GB at most, which is checked and uploaded, or from an uploaded file.

        Without `check` the file is not read before it is uploaded. Raises as `create_inline_batch`; what is wrong in
        the file is named by its line.
        """
        return self._run(
            creation.from_file(
                self._vertex, Order(model_name, display_name, check=check), file_path, uploaded_file_name
            )
        )

    def create_embeddings_batch(
        self,
        requests: Iterable[Any] | None = None,
        file_path: StrPath | None = None,
        uploaded_file_name: str | None = None,
        model_name: str = bodies.DEFAULT_EMBEDDING_MODEL,
        display_name: str | None = None,
        *,
        check: bool = True,
    ) -> Job:
        """Create a job that makes vectors, from texts or `build_embedding_request`s, from a file, or an uploaded one.

        Inline results have a `vector` each. Raises as `create_inline_batch`.
        """
        return self._run(
            creation.from_embeddings(
                self._vertex, Order(model_name, display_name, EMBED, check), requests, file_path, uploaded_file_name
            )
        )

    def get_job(self, job_name: str) -> Job:
        """The job as it is now. `job_name` is `batches/…`, or the bare id."""
        return self._run(self._jobs.get(job_name))

    def get_job_status(self, job_name: str) -> str:
        """The job's state alone, one of the STATE constants."""
        return self.get_job(job_name).state

    def wait_for_completion(
        self,
        job_name: str,
        poll_interval: float = 30,
        timeout: float | None = None,
        callback: Callback | None = None,
    ) -> Job:
        """Poll until the job has ended, and return it: succeeded, failed, cancelled or expired.

        `callback(job, elapsed_seconds)` is called at every poll, the last included. Trouble that passes is waited out.
        Raises WaitTimeout (a TimeoutError) after `timeout` seconds; the job goes on then.
        """
        return self._run(_wait(self._jobs, job_name, poll_interval, timeout, callback))

    def get_inline_results(self, job_name: str) -> list[InlineResult]:
        """The answers of an ended inline job, in the order of its requests where they came without keys.

        Each is its text, a `str`, with `.response`, `.error`, `.key` and `.metadata`; where there is an error the text
        is empty. Requests with keys of their own are found again by `.key`: the service may answer in another order.

        Raises NotComplete, JobFailed, NoDestination, or FileOutput if the answers are in a file.
        """
        return self._run(self._jobs.inline_results(job_name))

    @overload
    def get_file_results(self, job_name: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    def get_file_results(self, job_name: str, output_path: P) -> P: ...
    def get_file_results(self, job_name: str, output_path: Any = None) -> Any:
        """The answers of an ended file job: a list of dicts, or with `output_path` the file streamed there.

        A dict has `key` and either `response` or `error`; find them by `key`, not by position. A file lands whole or
        not at all, and a broken download goes on where it broke. Raises NotComplete, JobFailed or NoDestination.
        """
        return self._run(_file_results(self._jobs, job_name, output_path))

    def get_responses(self, job: Job | str) -> list[InlineResult]:
        """`get_inline_results` for a job object, without asking the service again."""
        return inline_answers(job) if isinstance(job, Job) else self.get_inline_results(job)

    def cancel_job(self, job_name: str) -> Job:
        """Cancel a job and return it as it is then. One that has ended already stays as it ended."""
        return self._run(self._jobs.cancel(job_name))

    def list_jobs(self, page_size: int | None = None, page_token: str | None = None, filter: str | None = None) -> Jobs:
        """All jobs, fetched page by page while they are iterated over; `page_token` is where to begin."""

        def fetch(token: str | None) -> JobPage:
            return self._run(self._jobs.list_page(page_size, token, filter))

        return Jobs(fetch(page_token), fetch)

    def list_all_jobs(self, page_size: int | None = None, filter: str | None = None) -> list[Job]:
        """All jobs of all pages, as a list."""
        return list(self.list_jobs(page_size or _largest_page(), filter=filter))

    def delete_job(self, job_name: str) -> None:
        """Delete a job; its answers vanish with it. Cancel one that still runs first: deleting may not stop it."""
        self._run(self._jobs.delete(job_name))

    def upload_file(
        self,
        file_path: StrPath,
        name: str | None = None,
        display_name: str | None = None,
        mime_type: str = uploads.MIME_TYPE,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> File:
        """Upload a file; its `name` is what `create_file_batch(uploaded_file_name=…)` wants. It is kept 48 hours.

        After a broken connection the upload goes on where it broke. `on_progress(sent, total)` counts bytes.
        """
        return self._run(stored.upload(self._vertex, file_path, name, display_name, mime_type, on_progress))

    def get_file(self, file_name: str) -> File:
        """What the service knows about an uploaded file; answer files cannot be asked about."""
        return self._run(stored.get(self._vertex, file_name))

    def list_files(self, prefix: str | None = None) -> list[File]:
        """Every uploaded file that is still kept; on Vertex AI, every object whose address begins with `prefix`."""
        return self._run(stored.everything(self._vertex, prefix))

    def delete_file(self, file_name: str) -> None:
        """Delete an uploaded file; one that is gone already is no error."""
        self._run(stored.delete(self._vertex, file_name))

    def download_file(self, file_name: str, output_path: P) -> P:
        """Download an answer file; uploads cannot be downloaded. It lands whole or not at all."""
        self._run(stored.download(self._vertex, file_name, target_path(output_path)))
        return output_path

    @staticmethod
    def create_jsonl_file(
        requests: Iterable[Any], output_path: P, keys: Iterable[str] | None = None, *, check: bool = True
    ) -> P:
        """Write requests as an input file, one line each, and return the path; it appears whole or not at all.

        Without `keys`, requests that bring none get `request-1`, `request-2`, ….

        Raises InputError naming the request: for a key that is empty, no text or used twice, for a field in the wrong
        place, for values that JSON cannot carry.
        """
        write_file(target_path(output_path), requests, keys, fields=check)
        return output_path


class AsyncGeminiBatchService(AsyncService, GeminiRequests):
    """`GeminiBatchService` for an event loop: the same methods, awaited, and the same settings.

    Reading, checking and writing files happens in threads; the loop stays free.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        api_version: str | None = None,
        client: Any = None,
        timeout_s: float | None = None,
        vertexai: bool | None = None,
        project: str | None = None,
        location: str | None = None,
        credentials: Any = None,
    ) -> None:
        account, self._vertex, self.key_source = connect(
            vertexai,
            client,
            api_key=api_key,
            base_url=base_url,
            api_version=api_version,
            project=project,
            location=location,
            credentials=credentials,
        )
        self._jobs: JobCalls = self._vertex or flows
        super().__init__(account, timeout_s=_timeout(timeout_s, client))

    async def create_batch(
        self,
        model: str = bodies.DEFAULT_MODEL,
        *,
        file_path: StrPath | None = None,
        file_name: str | File | None = None,
        requests: Iterable[Any] | None = None,
        gcs_uri: str | Sequence[str] | None = None,
        bigquery_uri: str | None = None,
        dest: str | None = None,
        display_name: str | None = None,
        generation_config: Any = None,
        system_instruction: Any = None,
        safety_settings: Any = None,
        tools: Any = None,
        cached_content: str | None = None,
        priority: int | None = None,
        webhook_config: Any = None,
        check: bool = True,
    ) -> Job:
        """As `GeminiBatchService.create_batch`."""
        return await self._run(
            creation.from_source(
                self._vertex,
                Order(
                    model,
                    display_name,
                    check=check,
                    defaults=defaults_of(
                        generation_config=generation_config,
                        system_instruction=system_instruction,
                        safety_settings=safety_settings,
                        tools=tools,
                        cached_content=cached_content,
                    ),
                    priority=priority,
                    webhook=webhook_config,
                    dest=dest,
                ),
                {
                    "file_path": file_path,
                    "file_name": file_name,
                    "requests": requests,
                    "gcs_uri": gcs_uri,
                    "bigquery_uri": bigquery_uri,
                },
            )
        )

    async def create_inline_batch(
        self,
        requests: Iterable[Any],
        model_name: str = bodies.DEFAULT_MODEL,
        display_name: str | None = None,
        *,
        check: bool = True,
    ) -> Job:
        """As `GeminiBatchService.create_inline_batch`."""
        return await self._run(
            creation.from_inline(self._vertex, Order(model_name, display_name, check=check), requests)
        )

    async def create_file_batch(
        self,
        file_path: StrPath | None = None,
        uploaded_file_name: str | None = None,
        model_name: str = bodies.DEFAULT_MODEL,
        display_name: str | None = None,
        *,
        check: bool = True,
    ) -> Job:
        """As `GeminiBatchService.create_file_batch`."""
        return await self._run(
            creation.from_file(
                self._vertex, Order(model_name, display_name, check=check), file_path, uploaded_file_name
            )
        )

    async def create_embeddings_batch(
        self,
        requests: Iterable[Any] | None = None,
        file_path: StrPath | None = None,
        uploaded_file_name: str | None = None,
        model_name: str = bodies.DEFAULT_EMBEDDING_MODEL,
        display_name: str | None = None,
        *,
        check: bool = True,
    ) -> Job:
        """As `GeminiBatchService.create_embeddings_batch`."""
        return await self._run(
            creation.from_embeddings(
                self._vertex, Order(model_name, display_name, EMBED, check), requests, file_path, uploaded_file_name
            )
        )

    async def get_job(self, job_name: str) -> Job:
        """As `GeminiBatchService.get_job`."""
        return await self._run(self._jobs.get(job_name))

    async def get_job_status(self, job_name: str) -> str:
        """As `GeminiBatchService.get_job_status`."""
        return (await self.get_job(job_name)).state

    async def wait_for_completion(
        self,
        job_name: str,
        poll_interval: float = 30,
        timeout: float | None = None,
        callback: Callback | None = None,
    ) -> Job:
        """As `GeminiBatchService.wait_for_completion`; the callback may be a coroutine function."""
        return await self._run(_wait(self._jobs, job_name, poll_interval, timeout, callback))

    async def get_inline_results(self, job_name: str) -> list[InlineResult]:
        """As `GeminiBatchService.get_inline_results`."""
        return await self._run(self._jobs.inline_results(job_name))

    @overload
    async def get_file_results(self, job_name: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    async def get_file_results(self, job_name: str, output_path: P) -> P: ...
    async def get_file_results(self, job_name: str, output_path: Any = None) -> Any:
        """As `GeminiBatchService.get_file_results`."""
        return await self._run(_file_results(self._jobs, job_name, output_path))

    async def get_responses(self, job: Job | str) -> list[InlineResult]:
        """As `GeminiBatchService.get_responses`."""
        return inline_answers(job) if isinstance(job, Job) else await self.get_inline_results(job)

    async def cancel_job(self, job_name: str) -> Job:
        """As `GeminiBatchService.cancel_job`."""
        return await self._run(self._jobs.cancel(job_name))

    def list_jobs(
        self, page_size: int | None = None, page_token: str | None = None, filter: str | None = None
    ) -> AsyncJobs:
        """As `GeminiBatchService.list_jobs`: `async for job in service.list_jobs()`, awaited before or not."""

        async def fetch(token: str | None) -> JobPage:
            return await self._run(self._jobs.list_page(page_size, token, filter))

        return AsyncJobs(fetch, page_token)

    async def list_all_jobs(self, page_size: int | None = None, filter: str | None = None) -> list[Job]:
        """As `GeminiBatchService.list_all_jobs`."""
        return [job async for job in self.list_jobs(page_size or _largest_page(), filter=filter)]

    async def delete_job(self, job_name: str) -> None:
        """As `GeminiBatchService.delete_job`."""
        await self._run(self._jobs.delete(job_name))

    async def upload_file(
        self,
        file_path: StrPath,
        name: str | None = None,
        display_name: str | None = None,
        mime_type: str = uploads.MIME_TYPE,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> File:
        """As `GeminiBatchService.upload_file`."""
        return await self._run(stored.upload(self._vertex, file_path, name, display_name, mime_type, on_progress))

    async def get_file(self, file_name: str) -> File:
        """As `GeminiBatchService.get_file`."""
        return await self._run(stored.get(self._vertex, file_name))

    async def list_files(self, prefix: str | None = None) -> list[File]:
        """As `GeminiBatchService.list_files`."""
        return await self._run(stored.everything(self._vertex, prefix))

    async def delete_file(self, file_name: str) -> None:
        """As `GeminiBatchService.delete_file`."""
        await self._run(stored.delete(self._vertex, file_name))

    async def download_file(self, file_name: str, output_path: P) -> P:
        """As `GeminiBatchService.download_file`."""
        await self._run(stored.download(self._vertex, file_name, target_path(output_path)))
        return output_path

    async def create_jsonl_file(
        self, requests: Iterable[Any], output_path: P, keys: Iterable[str] | None = None, *, check: bool = True
    ) -> P:
        """As `GeminiBatchService.create_jsonl_file`, in a thread."""
        return await asyncio.to_thread(GeminiBatchService.create_jsonl_file, requests, output_path, keys, check=check)


# ── What each method means, as flows ────────────────────────────────────────────────────────────────────────────────


def _timeout(timeout_s: float | None, client: Any) -> float | None:
    return client_timeout_s(client) if timeout_s is None and client is not None else timeout_s


def _largest_page() -> int:
    return flows.FACTS.number("limits.page_size")


def _wait(
    jobs: JobCalls, job_name: str, poll_interval: float, timeout: float | None, callback: Callback | None
) -> Flow[Job]:
    return wait_until_ended(
        lambda: jobs.get(job_name),
        ended=lambda job: job.complete,
        describe=lambda job: job.state,
        poll_interval_s=poll_interval,
        timeout_s=timeout,
        callback=callback,
    )


def _file_results(jobs: JobCalls, job_name: str, output_path: StrPath | None) -> Flow[Any]:
    if output_path is not None:
        yield from jobs.save_answers(job_name, target_path(output_path))
        return output_path
    with tempfile.TemporaryDirectory(prefix="nono-") as folder:
        path = yield from jobs.save_answers(job_name, Path(folder) / "answers.jsonl")
        return (yield Work(_read, (path, job_name, jobs.answer_of)))


def _read(path: Path, job_name: str, answer_of: Callable[[Any], Any]) -> list[Any]:
    hint = "with output_path= the file is saved as it is, with its other lines"
    return [answer_of(value) for value in jsonl.read_values(path, called=f"answers of {job_name}", hint=hint)]
