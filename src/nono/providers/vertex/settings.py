"""Where a run's jobs and files are on Vertex AI: its options, what the environment says, and what is missing.

A run keeps what was found (`Account.options`), so that its resumption finds the same jobs whatever the environment says
then. It is bound to the project and the location, not to whose token asks: tokens change every hour.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nono.errors import InputError, MissingKey, SettingsError
from nono.exchange import Account
from nono.providers.vertex.account import (
    API_VERSION,
    OWN_HEADERS,
    AccessToken,
    Place,
    address,
    is_local,
    scoped,
    search,
    storage_url,
)
from nono.providers.vertex.storage import split_uri
from nono.secret import Secret

# Each option, the variable that it comes from otherwise, and what it is.
OPTIONS = {
    "project": ("GOOGLE_CLOUD_PROJECT", "whose jobs these are"),
    "location": ("GOOGLE_CLOUD_LOCATION", "the region of the jobs; `global` without one"),
    "bucket": ("NONO_VERTEX_BUCKET", "a place in Cloud Storage for requests and answers: gs://bucket/folder"),
    "storage_url": ("STORAGE_EMULATOR_HOST", "where Cloud Storage answers, if it is not Google's"),
}
# gcloud's own variable for a token: https://cloud.google.com/sdk/docs/authorizing
TOKEN_VARIABLE = "CLOUDSDK_AUTH_ACCESS_TOKEN"  # noqa: S105 - the name of a variable
# A server on this machine takes any project and any bucket, and asks for no token of Google's.
_LOCAL = {"project": "local", "bucket": "gs://nono"}
_LOCAL_TOKEN = "local"  # noqa: S105 - what the local server's documentation calls a key


@dataclass(frozen=True, slots=True)
class Settings:
    """Where jobs and files are, as far as it is known before anybody is asked."""

    base_url: str
    location: str
    storage_url: str
    project: str | None = None
    bucket: str | None = None

    @property
    def place(self) -> Place:
        """Raises MissingKey without a project."""
        self.refuse_missing(self.project)
        return Place(self.project, self.location, self.storage_url)

    def object_named(self, name: str) -> str:
        """The `gs://` address of an input file."""
        self.refuse_missing(self.project)
        return f"{self.bucket}/{name}.jsonl"

    def refuse_missing(self, project: str | None) -> None:
        """Raises MissingKey that names everything which is missing, and where to say it."""
        missing = [name for name, value in (("project", project), ("bucket", self.bucket)) if not value]
        if missing:
            variables = " and ".join(OPTIONS[name][0] for name in missing)
            options = ", ".join(f'"{name}": "{"gs://…" if name == "bucket" else "…"}"' for name in missing)
            raise MissingKey(
                f"a run on Vertex AI needs a {' and a '.join(missing)}",
                hint=f"set {variables}, or pass options={{{options}}} (--option {missing[-1]}=…)",
            )


def settings_of(
    base_url: str | None, options: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> Settings:
    """Each setting is the option's, else that of its variable. Raises SettingsError for one that makes no sense."""
    environment = os.environ if environment is None else environment
    said = {name: options.get(name) or environment.get(variable, "") for name, (variable, _) in OPTIONS.items()}
    location = said["location"] or "global"
    url = address(base_url, location, environment)
    if is_local(url):
        said = {name: value or _LOCAL.get(name, "") for name, value in said.items()}
    bucket = said["bucket"].rstrip("/")
    if bucket:
        try:
            split_uri(bucket, folder=True)
        except InputError as error:
            raise SettingsError(
                f"the bucket of a run is {bucket!r}, which is no address in Cloud Storage", hint="gs://bucket/folder"
            ) from error
    storage = storage_url(url, {"STORAGE_EMULATOR_HOST": said["storage_url"]})
    return Settings(url, location, storage, said["project"] or None, bucket or None)


def account_of(settings: Settings, token: str | None, environment: Mapping[str, str] | None = None) -> Account:
    """As whom a run calls: `token` is an access token, else there is gcloud's variable, else google-auth's search.

    Raises MissingKey for what is missing, MissingExtra without google-auth.
    """
    environment = os.environ if environment is None else environment
    text = token or environment.get(TOKEN_VARIABLE) or (_LOCAL_TOKEN if is_local(settings.base_url) else "")
    project, quota = settings.project, None
    key: Secret
    if text or not settings.bucket:
        settings.refuse_missing(project)
        key = _token(text)
    else:
        credentials, found = search()
        project, key = project or found, AccessToken(scoped(credentials))
        settings.refuse_missing(project)
        quota = getattr(credentials, "quota_project_id", None)
    kept: dict[str, Any] = {
        "project": project,
        "location": settings.location,
        "bucket": settings.bucket,
        "storage_url": settings.storage_url,
    }
    return Account(
        base_url=settings.base_url,
        key=key,
        key_header="authorization",
        key_prefix="Bearer ",
        headers=OWN_HEADERS | ({"x-goog-user-project": quota} if quota else {}),
        api_version=API_VERSION,
        scope=f"projects/{project}/locations/{settings.location}",
        options=kept,
    )


def _token(text: str) -> Secret:
    text = text.strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError("the access token has characters that no token has", hint="was more copied than the token?")
    return Secret(text)
