"""What a refusal means: an HTTP answer that is not a 2xx becomes the narrowest error of the tree, with a way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nono.errors import (
    BY_STATUS,
    Forbidden,
    InvalidRequest,
    KeyRefused,
    NotFound,
    OutOfQuota,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    UnreadableAnswer,
)
from nono.exchange import Reply
from nono.retry import retry_after_s

# The account cannot pay, whatever the status: https://platform.openai.com/docs/guides/error-codes
OUT_OF_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})

_HINTS: dict[type[ProviderError], str] = {
    KeyRefused: "check the API key (api_key= or OPENAI_API_KEY), and that it belongs to the service at the base URL",
    Forbidden: "check what the key's project, organization and role may do",
    NotFound: "check the id, and that the base URL ends as the service wants it (usually in /v1); "
    "batches and files are seen only by the project that made them, and files expire",
    RateLimited: "wait, then try again; fewer calls at a time help",
    OutOfQuota: "add credit or raise the limit at https://platform.openai.com/settings/organization/billing",
    ProviderUnavailable: "try again later; https://status.openai.com says what is wrong",
}


def raise_for(reply: Reply) -> Reply:
    """The reply itself if it is a 2xx; otherwise the narrowest ProviderError.

    Money is told apart from pace: `insufficient_quota` is OutOfQuota, any other 429 RateLimited.
    """
    if reply.ok:
        return reply
    body, error = _error_of(reply)
    code = _word(error.get("code")) or _word(error.get("type"))
    if not OUT_OF_QUOTA.isdisjoint(map(str, (error.get("code"), error.get("type")))):
        kind: type[ProviderError] = OutOfQuota
    elif reply.status >= 500:
        kind = ProviderUnavailable
    else:
        kind = BY_STATUS.get(reply.status, InvalidRequest if reply.status >= 400 else ProviderError)
    # The answer to a wrong key quotes (a part of) the key, so it is not repeated.
    said = "the API key was refused" if kind is KeyRefused else _one_line(error.get("message")) or "no reason given"
    wait_s = retry_after_s(reply.headers)
    hint = _HINTS.get(kind)
    if kind is RateLimited and wait_s:
        hint = f"try again in {wait_s:g} s; fewer calls at a time help"
    raise kind(
        f"openai: HTTP {reply.status}: {said}",
        provider="openai",
        status=reply.status,
        code=code,
        retry_after_s=wait_s,
        request_id=reply.headers.get("x-request-id"),
        body=body,
        hint=hint,
    )


def _error_of(reply: Reply) -> tuple[Any, Mapping[str, Any]]:
    """The decoded body (or its text) of a refusal, and the `error` object in it."""
    try:
        body = reply.json()
    except UnreadableAnswer:
        text = reply.body[:2000].decode("utf-8", "replace")
        return text, {"message": text}
    error = body.get("error", body) if isinstance(body, dict) else body
    return body, error if isinstance(error, dict) else {"message": error}


def _word(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def _one_line(value: Any) -> str:
    return " ".join(str(value or "").split())[:500]
