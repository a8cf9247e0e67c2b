"""What the two hosts of Gemini can be asked about a job, and what is made of it: the same for both service classes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from nono import jsonl
from nono.exchange import Flow, Work
from nono.files import target_path
from nono.providers.gemini import flows
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.wire import Job, JobPage
from nono.waiting import wait_until_ended

Callback = Callable[[Job, float], Any]


class JobCalls(Protocol):
    """What can be asked about jobs: the Developer API's flows, or a Vertex AI project's."""

    def get(self, name: str, /) -> Flow[Job]: ...

    def list_page(
        self, page_size: int | None = None, page_token: str | None = None, filter: str | None = None, /
    ) -> Flow[JobPage]: ...

    def cancel(self, name: str, /) -> Flow[Job]: ...

    def delete(self, name: str, /) -> Flow[None]: ...

    def inline_results(self, name: str, /) -> Flow[list[InlineResult]]: ...

    def save_answers(self, name: str, path: Path, /) -> Flow[Path]: ...

    def answer_of(self, line: Any, /) -> Any: ...


def largest_page() -> int:
    return flows.FACTS.number("limits.page_size")


def wait(
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


def file_results(jobs: JobCalls, job_name: str, output_path: str | os.PathLike[str] | None) -> Flow[Any]:
    if output_path is not None:
        yield from jobs.save_answers(job_name, target_path(output_path))
        return output_path
    with tempfile.TemporaryDirectory(prefix="nono-") as folder:
        path = yield from jobs.save_answers(job_name, Path(folder) / "answers.jsonl")
        return (yield Work(_read, (path, job_name, jobs.answer_of)))


def _read(path: Path, job_name: str, answer_of: Callable[[Any], Any]) -> list[Any]:
    hint = "with output_path= the file is saved as it is, with its other lines"
    return [answer_of(value) for value in jsonl.read_values(path, called=f"answers of {job_name}", hint=hint)]
