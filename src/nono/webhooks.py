"""Tell a provider's webhook from a forged one, and read what it says.

OpenAI, and Gemini's static webhooks, sign as Standard Webhooks do (https://www.standardwebhooks.com): the header
`webhook-signature` holds one or more `v1,<base64>` of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`.
Gemini's dynamic webhooks (those of one job) carry a token in that header instead, signed with a key of Google's.
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
from functools import cache
from typing import Any

from nono.errors import MissingExtra, NonoError
from nono.jsonl import BadLine, decode
from nono.secret import Secret

# https://github.com/standard-webhooks/standard-webhooks: replay protection in both directions.
TOLERANCE_S = 300
# https://ai.google.dev/gemini-api/docs/webhooks: the public keys of dynamic webhooks
GEMINI_KEYS_URL = "https://generativelanguage.googleapis.com/.well-known/jwks.json"


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
    message_id, stamp, signatures = _signed_headers(headers)
    _check_age(stamp, tolerance_s, now_s)
    expected = _signature(_key(secret), message_id, stamp, body)
    offered = [text.partition(",")[2] for text in signatures.split() if text.startswith("v1,")]
    if not any(hmac.compare_digest(expected.encode(), text.encode()) for text in offered):
        raise InvalidSignature(
            "no signature fits",
            hint="is the secret that of this endpoint, and the body untouched (not parsed and written anew)?",
        )
    return _event(message_id, body)


def verify_token(
    payload: bytes | str,
    headers: Mapping[str, str],
    *,
    audience: str | None,
    keys: Mapping[str, Any] | None = None,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> WebhookEvent:
    """Check the token (RS256) of one of Gemini's dynamic webhooks, and the message's age; return what it says.

    `audience` is whom the token has to be made out to; None accepts a token for anybody. `keys` is a JSON Web Key Set;
    without it Google's is fetched, and kept for some minutes. The token says who sends: where it holds the event
    itself, that is returned, otherwise the body, which nothing but the connection protects.

    Raises InvalidSignature; MissingExtra without PyJWT. https://ai.google.dev/gemini-api/docs/webhooks
    """
    try:
        import jwt
    except ImportError as error:
        raise MissingExtra("checking Gemini's dynamic webhooks", "webhooks") from error
    message_id, stamp, token = _signed_headers(headers)
    _check_age(stamp, tolerance_s, now_s)
    try:
        key = _token_key(token, keys)
        claims = jwt.decode(token, key, algorithms=["RS256"], audience=audience, options=_token_rules(audience))
    except (jwt.PyJWTError, ValueError) as error:
        raise InvalidSignature(
            f"the token does not hold: {error}", hint="is audience= that of this endpoint, and the clock right?"
        ) from error
    body = payload.encode() if isinstance(payload, str) else payload
    event = _event(message_id, body)
    if isinstance(claims.get("data"), dict) and claims.get("type"):
        return _told(message_id, claims)
    return event


def sign(payload: bytes, message_id: str, stamp_s: int, secret: str | Secret) -> str:
    """The `webhook-signature` header for a message; for servers that send webhooks."""
    return f"v1,{_signature(_key(secret), message_id, str(stamp_s), payload)}"


def _signed_headers(headers: Mapping[str, str]) -> tuple[str, str, str]:
    named = {name.lower(): value for name, value in headers.items()}
    try:
        return named["webhook-id"], named["webhook-timestamp"], named["webhook-signature"]
    except KeyError as error:
        raise InvalidSignature(f"the header {error.args[0]} is missing") from None


def _check_age(stamp: str, tolerance_s: float, now_s: float | None) -> None:
    try:
        age_s = (time.time() if now_s is None else now_s) - int(stamp)
    except ValueError:
        raise InvalidSignature("the header webhook-timestamp is not a number") from None
    if abs(age_s) > tolerance_s:
        raise InvalidSignature(f"the message is {age_s:.0f} s old, tolerated are {tolerance_s:.0f} s either way")


@cache
def _googles_keys() -> Any:
    from jwt import PyJWKClient

    return PyJWKClient(GEMINI_KEYS_URL, lifespan=TOLERANCE_S)


def _token_key(token: str, keys: Mapping[str, Any] | None) -> Any:
    """The public key that a token names. Raises PyJWTError where there is none of that name."""
    from jwt import InvalidKeyError, PyJWKSet, get_unverified_header

    name = get_unverified_header(token).get("kid")
    if keys is None:
        return _googles_keys().get_signing_key(name).key
    for key in PyJWKSet.from_dict(dict(keys)).keys:
        if key.key_id == name:
            return key.key
    raise InvalidKeyError(f"no key is called {name!r}")


def _token_rules(audience: str | None) -> Any:
    return {"require": ["exp"], "verify_aud": audience is not None}


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
    return _told(message_id, value)


def _told(message_id: str, value: Mapping[str, Any]) -> WebhookEvent:
    data = value.get("data")
    batch_id = data.get("id") if isinstance(data, dict) else None
    return WebhookEvent(message_id, str(value.get("type", "")), batch_id if isinstance(batch_id, str) else None, value)
