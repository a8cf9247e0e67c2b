"""Which of Gemini's two hosts a service class speaks to, and what both can be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from nono.errors import SettingsError
from nono.exchange import Account, Flow
from nono.providers.gemini.account import resolve
from nono.providers.gemini.answers import InlineResult
from nono.providers.gemini.wire import Job, JobPage
from nono.providers.vertex import account as vertex_account
from nono.providers.vertex.flows import VertexJobs


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


def connect(
    vertexai: bool | None, client: Any, *, project: str | None, location: str | None, credentials: Any, **given: Any
) -> tuple[Account, VertexJobs | None, str]:
    """The account, the jobs of Vertex AI if that is meant, and where the key came from.

    Raises MissingKey, MissingExtra, and SettingsError for what contradicts itself.
    """
    if vertexai is None and given["api_key"]:
        vertexai = None if client is not None else False  # a key alone is the Developer API's
    if vertex_account.wanted(vertexai, client):
        account, place, source = vertex_account.resolve(
            client=client, project=project, location=location, credentials=credentials, **given
        )
        return account, VertexJobs(place), source
    for name, value in (("project", project), ("location", location), ("credentials", credentials)):
        if value is not None:
            raise SettingsError(f"{name}= is Vertex AI's", hint="add vertexai=True, or leave it out")
    account, source = resolve(client=client, **given)
    return account, None, source
