"""As whom, and where, Vertex AI is called: project, location and Google's credentials.

Credentials are google-auth's (the extra [vertex]); a token that has run out is renewed when the next call needs it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from nono import __version__
from nono.errors import MissingExtra, MissingKey, NotSent, SettingsError
from nono.exchange import Account
from nono.secret import Secret

API_VERSION = "v1beta1"
STORAGE_URL = "https://storage.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
# Locations whose host is not `<location>-aiplatform`; google-genai knows the same ones.
_HOSTS = {
    "global": "https://aiplatform.googleapis.com",
    "us": "https://aiplatform.us.rep.googleapis.com",
    "eu": "https://aiplatform.eu.rep.googleapis.com",
}
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TRUE = ("true", "1")
OWN_HEADERS = {"user-agent": f"nono-batch/{__version__}"}


@dataclass(frozen=True, slots=True)
class Place:
    """Whose jobs, and where. Without a project (a key in its place, "express mode") the key stands for both.

    `storage_url` is where Cloud Storage answers; `credentials` are google-auth's, for BigQuery's own client.
    """

    project: str | None
    location: str | None
    storage_url: str = STORAGE_URL
    credentials: Any = field(default=None, repr=False, compare=False)

    @property
    def parent(self) -> str:
        """What stands in front of `/batchPredictionJobs`."""
        return f"/projects/{self.project}/locations/{self.location}" if self.project else ""


class AccessToken(Secret):
    """The token of google-auth credentials: the present one, or a new one when that has run out."""

    __slots__ = ("_credentials", "_lock")
    may_wait = True

    def __init__(self, credentials: Any) -> None:
        super().__init__("")
        self._credentials = credentials
        self._lock = threading.Lock()

    def reveal(self) -> str:
        """Raises SettingsError where Google refuses to renew it, NotSent where Google cannot be reached."""
        with self._lock:
            if not self._credentials.valid:
                self._renew()
            return str(self._credentials.token)

    def fingerprint(self) -> str:
        who = getattr(self._credentials, "service_account_email", None) or getattr(self._credentials, "client_id", None)
        return Secret(str(who or "google-auth")).fingerprint()

    def _renew(self) -> None:
        from google.auth.exceptions import GoogleAuthError, TransportError
        from google.auth.transport.requests import Request

        try:
            self._credentials.refresh(Request())
        except TransportError as error:
            raise NotSent(f"Google's token could not be renewed: {error}") from error
        except GoogleAuthError as error:
            raise SettingsError(
                f"Google refuses to renew the token: {error}",
                hint="log in again: gcloud auth application-default login",
            ) from error


def wanted(vertexai: bool | None, client: Any, environment: Mapping[str, str] | None = None) -> bool:
    """Whether Vertex AI is meant: the argument says so, or an SDK client, or GOOGLE_GENAI_USE_VERTEXAI."""
    environment = os.environ if environment is None else environment
    if vertexai is not None:
        return vertexai
    if client is not None:
        return bool(getattr(getattr(client, "_api_client", None), "vertexai", False))
    said = environment.get("GOOGLE_GENAI_USE_ENTERPRISE", environment.get("GOOGLE_GENAI_USE_VERTEXAI", ""))
    return said.lower() in _TRUE


def resolve(
    *,
    api_key: str | None = None,
    project: str | None = None,
    location: str | None = None,
    credentials: Any = None,
    base_url: str | None = None,
    api_version: str | None = None,
    client: Any = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[Account, Place, str]:
    """The account, the place of its jobs, and where the credentials came from.

    Each setting is the argument's, else the client's, else that of the environment (GOOGLE_CLOUD_PROJECT,
    GOOGLE_CLOUD_LOCATION, GOOGLE_VERTEX_BASE_URL, STORAGE_EMULATOR_HOST); credentials, else those of google-auth's own
    search (GOOGLE_APPLICATION_CREDENTIALS, `gcloud`, the machine's service account). Without a location: `global`.

    Raises MissingKey for no project, MissingExtra without google-auth, SettingsError for what contradicts itself.
    """
    environment = os.environ if environment is None else environment
    source = "argument"
    options: Any = None
    if client is not None:
        lent = getattr(client, "_api_client", None)
        options = getattr(lent, "_http_options", None)
        if lent is None or not getattr(lent, "vertexai", None):
            raise SettingsError("the client does not speak Vertex AI", hint="pass genai.Client(vertexai=True, …)")
        project, location = project or lent.project, location or lent.location
        if credentials is None and api_key is None:
            credentials, api_key, source = lent._credentials, lent.api_key, "client"
    if api_key and (project or credentials):
        raise SettingsError(
            "an API key and a project or credentials: Vertex AI takes one or the other",
            hint="leave api_key out, or project and credentials",
        )
    key: Secret | None
    if api_key:
        key, project, location = Secret(api_key.strip()), None, None
    else:
        project = project or environment.get("GOOGLE_CLOUD_PROJECT")
        location = location or environment.get("GOOGLE_CLOUD_LOCATION") or "global"
        if credentials is None:
            credentials, found = search()
            project, source = project or found, "google-auth"
        if not project:
            raise MissingKey("no project for Vertex AI", hint="set GOOGLE_CLOUD_PROJECT, or pass project=")
        key = AccessToken(scoped(credentials))
    url = address(base_url or getattr(options, "base_url", None), location, environment)
    version = api_version or getattr(options, "api_version", None) or environment.get("GOOGLE_GENAI_API_VERSION")
    quota = getattr(credentials, "quota_project_id", None)
    account = Account(
        base_url=url,
        key=key,
        key_header="x-goog-api-key" if api_key else "authorization",
        key_prefix="" if api_key else "Bearer ",
        headers=OWN_HEADERS | ({"x-goog-user-project": quota} if quota else {}),
        api_version=API_VERSION if version in (None, "", "beta") else version,
    )
    return account, Place(project, location, storage_url(url, environment), credentials), source


def address(base_url: str | None, location: str | None, environment: Mapping[str, str]) -> str:
    """The base URL that was given, else GOOGLE_VERTEX_BASE_URL, else Google's host for the location."""
    given = base_url or environment.get("GOOGLE_VERTEX_BASE_URL") or _HOSTS.get(location or "global")
    return (given or f"https://{location}-aiplatform.googleapis.com").strip().rstrip("/")


def is_local(url: str) -> bool:
    """Whether an address is this machine's: a server here keeps its objects itself and has no use for real tokens."""
    return urlsplit(url).hostname in _LOOPBACK


def search() -> tuple[Any, str | None]:
    """google-auth's own credentials, and the project that they name. Raises MissingExtra, MissingKey."""
    try:
        import google.auth
    except ImportError as error:
        raise MissingExtra("Vertex AI", "vertex") from error
    from google.auth.exceptions import DefaultCredentialsError

    try:
        credentials, project = google.auth.default(scopes=SCOPES)
    except DefaultCredentialsError as error:
        raise MissingKey(
            "no Google credentials for Vertex AI",
            hint="gcloud auth application-default login, set GOOGLE_APPLICATION_CREDENTIALS, or pass credentials=",
        ) from error
    return credentials, project


def scoped(credentials: Any) -> Any:
    """Credentials of a service account need to be told what for."""
    if getattr(credentials, "requires_scopes", False):
        return credentials.with_scopes(SCOPES)
    if not hasattr(credentials, "token") or not hasattr(credentials, "refresh"):
        raise SettingsError(
            f"credentials= wants google-auth's credentials, not {type(credentials).__name__}",
            hint="for example google.auth.default()[0]",
        )
    return credentials


def storage_url(vertex_url: str, environment: Mapping[str, str]) -> str:
    """Where Cloud Storage answers: STORAGE_EMULATOR_HOST, else beside a server on this machine, else Google's."""
    # https://cloud.google.com/python/docs/reference/storage/latest: the client's own variable for an emulator
    url = environment.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
    if url:
        return url if "://" in url else f"http://{url}"
    parts = urlsplit(vertex_url)
    return f"{parts.scheme}://{parts.netloc}" if is_local(vertex_url) else STORAGE_URL
