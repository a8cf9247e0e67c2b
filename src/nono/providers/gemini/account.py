"""As whom, and where, Gemini is called: from arguments, from an official SDK client, from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from nono import __version__
from nono.errors import MissingKey, SettingsError
from nono.exchange import Account
from nono.secret import Secret

BASE_URL = "https://generativelanguage.googleapis.com"
# The published documentation, the discovery document and every recorded answer of the service are v1beta, and preview
# models, `-latest` aliases and speech models exist only there; google-genai uses v1 since 3.0.0 (2026-11-05).
# https://github.com/googleapis/python-genai/releases/tag/v3.0.0
API_VERSION = "v1beta"
# The first wins, as in the official SDKs.
KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
_OWN_HEADERS = {"user-agent": f"nono-batch/{__version__}"}
# What an SDK client says about itself and its key, not about the account.
_NOT_TAKEN = ("accept", "authorization", "content-type", "host", "user-agent", "x-goog-api-client", "x-goog-api-key")


def resolve(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    api_version: str | None = None,
    client: Any = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Account, str]:
    """The account, and where its key came from: `argument`, `client` or the name of an environment variable.

    Each setting is the argument's, else the client's, else that of the environment (GOOGLE_API_KEY before
    GEMINI_API_KEY, GOOGLE_GEMINI_BASE_URL, GOOGLE_GENAI_API_VERSION), else the service's. A base URL may end in a
    version (`http://127.0.0.1:8765/v1beta`).

    Raises MissingKey, and SettingsError for a client that speaks Vertex AI (`nono.providers.vertex`) or is no client.
    """
    environment = os.environ if environment is None else environment
    taken = _options_of(client) if client is not None else None
    candidates = [(api_key, "argument")]
    if getattr(getattr(client, "_api_client", None), "vertexai", None):
        raise SettingsError(
            "the client speaks Vertex AI, and vertexai=False was asked for",
            hint="leave vertexai out, or make the client with an API key and without vertexai=True",
        )
    if taken is not None:
        candidates.append((getattr(client._api_client, "api_key", None), "client"))
    candidates += [(environment.get(name), name) for name in KEY_VARIABLES]
    if api_key is not None and not isinstance(api_key, str):
        raise SettingsError(f"an API key is a text, not {type(api_key).__name__}", hint="pass the text itself")
    key, source = next(((key.strip(), source) for key, source in candidates if key and key.strip()), ("", ""))
    if not key:
        raise MissingKey(
            "no API key for Gemini",
            hint="set GEMINI_API_KEY (`--env-file` reads one), or pass api_key=; "
            "the local server (`nono serve`) takes any text for a key",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError(
            f"the API key (from: {source}) has characters that no key has", hint="was more copied than the key?"
        )
    url = base_url or (taken and taken.base_url) or environment.get("GOOGLE_GEMINI_BASE_URL") or BASE_URL
    url, version_in_url = _split_version(str(url).strip())
    version = api_version if api_version is not None else version_in_url
    if version is None and taken is not None:
        version = taken.api_version
    if version is None:
        version = environment.get("GOOGLE_GENAI_API_VERSION") or API_VERSION
    headers = {name.lower(): str(text) for name, text in ((taken and taken.headers) or {}).items()}
    account = Account(
        base_url=url,
        key=Secret(key),
        key_header="x-goog-api-key",
        headers=_OWN_HEADERS | {name: text for name, text in headers.items() if name not in _NOT_TAKEN},
        api_version={"beta": "v1beta"}.get(version.strip("/ "), version.strip("/ ")),
    )
    return account, source


def client_timeout_s(client: Any) -> float | None:
    """An SDK client's timeout, which it keeps in milliseconds."""
    timeout = _options_of(client).timeout
    return timeout / 1000 if timeout else None


def _options_of(client: Any) -> Any:
    """The HTTP options of a `genai.Client` or its `.aio`; the SDK has no public way to them."""
    api_client = getattr(client, "_api_client", None)
    options = getattr(api_client, "_http_options", None)
    if options is None:
        raise SettingsError(
            f"client= wants a google.genai.Client, not {type(client).__name__}",
            hint="pass genai.Client(...), or use api_key= and base_url=",
        )
    return options


def _split_version(url: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(.*?://.*?)/(v\d+(?:alpha|beta)?\d*)/*", url)
    return (match.group(1), match.group(2)) if match else (url, None)
