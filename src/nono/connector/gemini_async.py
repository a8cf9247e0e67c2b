"""`AsyncGeminiBatchService`: the twin of `GeminiBatchService` for an event loop, made of the same flows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, overload

from nono.connector import gemini_creation as creation
from nono.connector import gemini_files as stored
from nono.connector import gemini_jobs as jobs
from nono.connector.gemini_connection import connect, timeout_of
from nono.connector.gemini_creation import Order, StrPath
from nono.connector.gemini_listing import AsyncJobs
from nono.connector.gemini_requests import GeminiRequests
from nono.connector.service import AsyncService
from nono.files import target_path
from nono.providers.gemini import bodies, flows, uploads
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.check import write_file
from nono.providers.gemini.defaults import defaults_of
from nono.providers.gemini.harvest import inline_answers
from nono.providers.gemini.translate import EMBED
from nono.providers.gemini.wire import File, Job, JobPage

P = TypeVar("P", bound=StrPath)


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
        self._jobs: jobs.JobCalls = self._vertex or flows
        super().__init__(account, timeout_s=timeout_of(timeout_s, client))

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
        callback: jobs.Callback | None = None,
    ) -> Job:
        """As `GeminiBatchService.wait_for_completion`; the callback may be a coroutine function."""
        return await self._run(jobs.wait(self._jobs, job_name, poll_interval, timeout, callback))

    async def get_inline_results(self, job_name: str) -> list[InlineResult]:
        """As `GeminiBatchService.get_inline_results`."""
        return await self._run(self._jobs.inline_results(job_name))

    @overload
    async def get_file_results(self, job_name: str, output_path: None = None) -> list[dict[str, Any]]: ...
    @overload
    async def get_file_results(self, job_name: str, output_path: P) -> P: ...
    async def get_file_results(self, job_name: str, output_path: Any = None) -> Any:
        """As `GeminiBatchService.get_file_results`."""
        return await self._run(jobs.file_results(self._jobs, job_name, output_path))

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
        return [job async for job in self.list_jobs(page_size or jobs.largest_page(), filter=filter)]

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
        await asyncio.to_thread(write_file, target_path(output_path), requests, keys, fields=check)
        return output_path
