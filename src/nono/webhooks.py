"""Tell a provider's webhook from a forged one, and read what it says.

OpenAI, and Gemini's static webhooks, sign as Standard Webhooks do (https://www.standardwebhooks.com): the header
`webhook-signature` holds one or more `v1,<base64>` of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`.
A webhook only ever wakes a run up; what it claims is asked of the provider before anything is believed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nono.errors import NonoError
from nono.jsonl import BadLine, decode
from nono.secret import Secret

# https://github.com/standard-webhooks/standard-webhooks: replay protection in both directions.
TOLERANCE_S = 300


class InvalidSignature(NonoError, ValueError):
    """The message is not from the holder of the secret, or is too old, or not a webhook at all."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified message. `batch_id` is the batch it speaks of, or None; `body` everything that was sent."""

    id: str
    type: str
    batch_id: str | None
    body: Mapping[str, Any]


def verify(
    payload: bytes | str,
    headers: Mapping[str, str],
    secret: str | Secret,
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> WebhookEvent:
    """Check a webhook's signature and age, and return what it says.

    `payload` is the request body, byte for byte as it came; `headers` in any case; `secret` as the provider showed it
    (`whsec_…`, or the raw text). Raises InvalidSignature; trying again with the same message will not help.
    https://platform.openai.com/docs/guides/webhooks · https://ai.google.dev/gemini-api/docs/webhooks
    """
    body = payload.encode() if isinstance(payload, str) else payload
    named = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, stamp, signatures = (named[f"webhook-{part}"] for part in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise InvalidSignature(f"the header {error.args[0]} is missing") from None
    try:
        age_s = (time.time() if now_s is None else now_s) - int(stamp)
    except ValueError:
        raise InvalidSignature("the header webhook-timestamp is not a number") from None
    if abs(age_s) > tolerance_s:
        raise InvalidSignature(f"the message is {age_s:.0f} s old, tolerated are {tolerance_s:.0f} s either way")
    expected = _signature(_key(secret), message_id, stamp, body)
    offered = [text.partition(",")[2] for text in signatures.split() if text.startswith("v1,")]
    if not any(hmac.compare_digest(expected.encode(), text.encode()) for text in offered):
        raise InvalidSignature(
            "no signature fits",
            hint="is the secret that of this endpoint, and the body untouched (not parsed and written anew)?",
        )
    return _event(message_id, body)


def sign(payload: bytes, message_id: str, stamp_s: int, secret: str | Secret) -> str:
    """The `webhook-signature` header for a message; for servers that send webhooks."""
    return f"v1,{_signature(_key(secret), message_id, str(stamp_s), payload)}"


def _key(secret: str | Secret) -> bytes:
    text = secret.reveal() if isinstance(secret, Secret) else secret
    if not text.startswith("whsec_"):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise InvalidSignature("the secret begins with whsec_ but is not base64") from None


def _signature(key: bytes, message_id: str, stamp: str, body: bytes) -> str:
    signed = f"{message_id}.{stamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _event(message_id: str, body: bytes) -> WebhookEvent:
    try:
        value = decode(body)
    except BadLine as error:
        raise InvalidSignature(f"a signed message that is not JSON: {error.message}") from error
    if not isinstance(value, dict):
        raise InvalidSignature("a signed message that is not a JSON object")
    data = value.get("data")
    batch_id = data.get("id") if isinstance(data, dict) else None
    return WebhookEvent(message_id, str(value.get("type", "")), batch_id if isinstance(batch_id, str) else None, value)
