"""`GeminiBatchService`: the documented class over Gemini's Batch API, blocking.

Thin and stateless: every method is one flow of `nono.providers.gemini`, as it is of the async twin.
Whoever wants a data set processed through crashes, retries and several batches wants `nono.run` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, overload

from nono.connector import gemini_creation as creation
from nono.connector import gemini_files as stored
from nono.connector import gemini_jobs as jobs
from nono.connector.gemini_connection import connect, timeout_of
from nono.connector.gemini_creation import Order, StrPath
from nono.connector.gemini_listing import Jobs
from nono.connector.gemini_requests import GeminiRequests
from nono.connector.service import SyncService
from nono.files import target_path
from nono.providers.gemini import bodies, flows, uploads
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.check import write_file
from nono.providers.gemini.defaults import defaults_of
from nono.providers.gemini.harvest import inline_answers
from nono.providers.gemini.translate import EMBED
from nono.providers.gemini.wire import File, Job, JobPage

P = TypeVar("P", bound=StrPath)


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
        self._jobs: jobs.JobCalls = self._vertex or flows
        super().__init__(account, timeout_s=timeout_of(timeout_s, client))

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
        callback: jobs.Callback | None = None,
    ) -> Job:
        """Poll until the job has ended, and return it: succeeded, failed, cancelled or expired.

        `callback(job, elapsed_seconds)` is called at every poll, the last included. Trouble that passes is waited out.
        Raises WaitTimeout (a TimeoutError) after `timeout` seconds; the job goes on then.
        """
        return self._run(jobs.wait(self._jobs, job_name, poll_interval, timeout, callback))

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
        return self._run(jobs.file_results(self._jobs, job_name, output_path))

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
        return list(self.list_jobs(page_size or jobs.largest_page(), filter=filter))

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
