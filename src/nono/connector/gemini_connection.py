"""Which of Gemini's two hosts a service class speaks to, and as whom."""

from __future__ import annotations

from typing import Any

from nono.errors import SettingsError
from nono.exchange import Account
from nono.providers.gemini.account import client_timeout_s, resolve
from nono.providers.vertex import account as vertex_account
from nono.providers.vertex.flows import VertexJobs


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


def timeout_of(timeout_s: float | None, client: Any) -> float | None:
    return client_timeout_s(client) if timeout_s is None and client is not None else timeout_s
