"""What Vertex AI's and Cloud Storage's refusals mean: google.rpc errors, with hints about projects and roles."""

from __future__ import annotations

from nono.errors import Forbidden, KeyRefused, NotFound, ProviderError, ProviderUnavailable, RateLimited
from nono.exchange import Reply
from nono.providers.gemini import status

_HINTS: dict[type[ProviderError], str] = {
    KeyRefused: "the token is refused: gcloud auth application-default login, or pass other credentials=",
    Forbidden: "the account needs the roles Vertex AI User and, for gs:// places, Storage Object Admin",
    NotFound: "check project, location, bucket and model: each region has its own jobs and models",
    RateLimited: "the project's quota is used up for now: wait until jobs have ended, or ask for more",
    ProviderUnavailable: "the service is in trouble: try again later",
}


def raise_for(reply: Reply, what: str) -> Reply:
    """As `nono.providers.gemini.status.raise_for`."""
    return status.raise_for(reply, what, provider="vertex", hints=_HINTS)
