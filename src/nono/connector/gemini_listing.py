"""Listings of jobs: one page is here, the others are fetched while somebody iterates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

from nono.errors import InputError
from nono.providers.gemini.wire import Job, JobPage


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
