"""As whom OpenAI is called: from arguments, the environment, or an official SDK client."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any

from nono import __version__
from nono.errors import MissingKey, SettingsError
from nono.exchange import Account
from nono.providers.openai.compatible import service_at
from nono.secret import Secret

BASE_URL = "https://api.openai.com/v1"
_OWN_HEADERS = {"accept": "application/json", "user-agent": f"nono-batch/{__version__}"}
# The environment variables of the official SDKs, and the headers that they become.
_HEADERS_FROM = {"OPENAI_ORG_ID": "openai-organization", "OPENAI_PROJECT_ID": "openai-project"}
# What an SDK client says about itself, not about the account.
_NOT_TAKEN = ("accept", "content-type", "user-agent", "authorization", "api-key", "x-stainless-")


def account_from_settings(
    *, api_key: str | None = None, base_url: str | None = None, environment: Mapping[str, str] | None = None
) -> Account:
    """Key and base URL from the arguments, then from OPENAI_API_KEY and OPENAI_BASE_URL.

    A service that is known by its host (`compatible.toml`) has its own variable for the key, which comes first, and
    perhaps its own header. OPENAI_ORG_ID and OPENAI_PROJECT_ID become headers. Raises MissingKey.
    """
    environment = os.environ if environment is None else environment
    url = base_url_of(base_url, environment)
    service = service_at(url)
    key = api_key or next(filter(None, map(environment.get, service.key_variables)), "")
    if isinstance(key, str) and not key.strip():
        raise MissingKey(
            f"no API key for {service.name}",
            hint=f"set {' or '.join(service.key_variables)} (`--env-file` reads one), or pass api_key=; "
            "the local server (`nono serve`) takes any text for a key",
        )
    scopes = {header: environment[name] for name, header in _HEADERS_FROM.items() if environment.get(name)}
    return Account(
        base_url=url,
        key=_secret(key),
        key_header=service.key_header,
        key_prefix="Bearer " if service.key_header == "authorization" else "",
        headers=_OWN_HEADERS | scopes,
        params=_dated(url, environment),
    )


def base_url_of(base_url: str | None, environment: Mapping[str, str] | None = None) -> str:
    """The base URL that is meant; a service's bare host gets the path of its API."""
    environment = os.environ if environment is None else environment
    url = (base_url or environment.get("OPENAI_BASE_URL") or BASE_URL).strip()
    return service_at(url).address(url)


def _dated(url: str, environment: Mapping[str, str]) -> dict[str, str] | None:
    """Azure's older addresses (`…/openai`) want a version in every query; the newer ones (`…/openai/v1`) do not.

    https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    """
    service = service_at(url)
    if service.key_header == "authorization" or not url.rstrip("/").endswith("/openai"):
        return None
    version = environment.get("OPENAI_API_VERSION")
    if not version:
        raise SettingsError(
            f"{url} wants a version in every call",
            hint=f"use {url.rstrip('/')}/v1, which wants none, or set OPENAI_API_VERSION",
        )
    return {"api-version": version}


def account_from_client(client: Any, *, api_key: str | None = None, base_url: str | None = None) -> Account:
    """What an `OpenAI`, `AsyncOpenAI`, `AzureOpenAI` or `AsyncAzureOpenAI` client calls as.

    Key, base URL, organization, project, default headers and default query are taken over; `api_key` and `base_url`
    win over the client's. A key that the client makes by calling a function is made once, now.
    """
    if inspect.ismodule(client) or not hasattr(client, "base_url") or not hasattr(client, "api_key"):
        raise SettingsError(
            f"client= wants an official OpenAI client, not {type(client).__name__}",
            hint="pass openai.OpenAI(...) or openai.AsyncOpenAI(...), or use api_key= and base_url=",
        )
    sent = {name.lower(): text for name, text in client.default_headers.items() if isinstance(text, str)}
    headers = {name: text for name, text in sent.items() if not name.startswith(_NOT_TAKEN)}
    query = {name: str(value) for name, value in getattr(client, "default_query", {}).items()}
    header, prefix, key = ("authorization", "Bearer ", api_key) if api_key else _key_of(client, sent)
    return Account(
        base_url=(base_url or str(client.base_url)).strip(),
        key=_secret(key),
        key_header=header,
        key_prefix=prefix,
        headers=_OWN_HEADERS | headers,
        params=query or None,
    )


def client_timeout_s(client: Any) -> float | None:
    """How long a client waits for one answer, or None if it does not say."""
    timeout = getattr(client, "timeout", None)
    seconds = getattr(timeout, "read", timeout)
    return float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else None


def _key_of(client: Any, sent: Mapping[str, str]) -> tuple[str, str, str]:
    """Header, prefix and text of the key that a client sends."""
    for name in ("authorization", "api-key"):
        if text := sent.get(name, "").removeprefix("Bearer "):
            return name, "Bearer " if sent[name].startswith("Bearer ") else "", text
    azure_token = getattr(client, "_azure_ad_token", None) or _made(getattr(client, "_azure_ad_token_provider", None))
    if azure_token:
        return "authorization", "Bearer ", azure_token
    key = client.api_key or _made(getattr(client, "_api_key_provider", None))
    if not key:
        raise MissingKey("the client has no API key", hint="give it one, or pass api_key=")
    # https://learn.microsoft.com/azure/ai-foundry/openai/reference#authentication
    return ("api-key", "", key) if "Azure" in type(client).__name__ else ("authorization", "Bearer ", key)


def _secret(key: Any) -> Secret:
    """Raises SettingsError for what no HTTP header can carry."""
    if not isinstance(key, str):
        raise SettingsError(f"an API key is a text, not {type(key).__name__}", hint="pass the text itself")
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise SettingsError(
            "the API key has characters that no HTTP header can carry", hint="was more copied than the key?"
        )
    return Secret(key)


def _made(provider: Any) -> str | None:
    if provider is None:
        return None
    key = provider()
    if inspect.isawaitable(key):
        if inspect.iscoroutine(key):
            key.close()
        raise SettingsError(
            "the client makes its key by awaiting a function", hint="await it yourself, and pass the key as api_key="
        )
    return str(key) if key else None
