"""A webhook is believed only when it is signed with the secret, fresh, and untouched."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from nono.webhooks import InvalidSignature, sign, verify, verify_token

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()
BODY = json.dumps({"id": "evt_1", "type": "batch.completed", "data": {"id": "batch_7"}}).encode()


def headers(body: bytes = BODY, secret: str = SECRET, stamp: int = 1_000_000) -> dict[str, str]:
    return {
        "Webhook-Id": "wh_1",
        "Webhook-Timestamp": str(stamp),
        "Webhook-Signature": f"v1,bm90IHRoaXMgb25l {sign(body, 'wh_1', stamp, secret)}",
    }


def test_a_signed_message_says_which_batch_it_speaks_of() -> None:
    event = verify(BODY, headers(), SECRET, now_s=1_000_010)
    assert (event.id, event.type, event.batch_id) == ("wh_1", "batch.completed", "batch_7")


def test_a_secret_without_prefix_is_taken_as_it_stands() -> None:
    assert verify(BODY, headers(secret="plain"), "plain", now_s=1_000_000).batch_id == "batch_7"


@pytest.mark.parametrize("now_s", [1_000_301, 999_699])
def test_a_message_outside_the_tolerance_is_refused_in_both_directions(now_s: int) -> None:
    with pytest.raises(InvalidSignature, match="s old"):
        verify(BODY, headers(), SECRET, now_s=now_s)


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(InvalidSignature, match="no signature fits"):
        verify(BODY + b" ", headers(), SECRET, now_s=1_000_000)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
def test_a_missing_header_is_named(name: str) -> None:
    with pytest.raises(InvalidSignature, match=name.lower()):
        verify(BODY, {key: value for key, value in headers().items() if key != name}, SECRET, now_s=1_000_000)


def test_the_official_sdk_accepts_what_we_sign_and_we_accept_what_it_accepts() -> None:
    import openai

    client = openai.OpenAI(api_key="k", webhook_secret=SECRET)
    import time

    fresh = headers(stamp=int(time.time()))
    client.webhooks.verify_signature(BODY, fresh)
    assert verify(BODY, fresh, SECRET).type == "batch.completed"


# ── Gemini's dynamic webhooks: a token in place of the signature ──

AUDIENCE = "https://example.com/hook"
DYNAMIC = json.dumps({"type": "batch.succeeded", "version": "v1", "data": {"id": "batches/7"}}).encode()


@pytest.fixture(scope="module")
def private() -> Any:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def keys(private: Any) -> dict[str, Any]:
    return {"keys": [{**RSAAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "k1", "alg": "RS256"}]}


def token_headers(private: Any, kid: str = "k1", algorithm: str = "RS256", **claims: Any) -> dict[str, str]:
    now = int(time.time())
    told = {"aud": AUDIENCE, "exp": now + 60, **claims}
    token = jwt.encode({name: value for name, value in told.items() if value is not None}, private, algorithm,
                       headers={"kid": kid})  # fmt: skip
    return {"webhook-id": "wh_1", "webhook-timestamp": str(now), "webhook-signature": token}


def test_a_message_with_googles_token_is_believed(private: Any, keys: dict[str, Any]) -> None:
    event = verify_token(DYNAMIC, token_headers(private), audience=AUDIENCE, keys=keys)
    assert (event.id, event.type, event.batch_id) == ("wh_1", "batch.succeeded", "batches/7")


def test_an_event_inside_the_token_wins_over_the_body(private: Any, keys: dict[str, Any]) -> None:
    signed = token_headers(private, type="batch.failed", data={"id": "batches/8"})
    event = verify_token(DYNAMIC, signed, audience=AUDIENCE, keys=keys)
    assert (event.type, event.batch_id) == ("batch.failed", "batches/8")


@pytest.mark.parametrize(
    "claims",
    [{"aud": "https://example.com/other"}, {"aud": None}, {"exp": 1}, {"exp": None}, {"kid": "k2"}],
)
def test_a_token_for_another_or_too_old_or_of_another_key_is_refused(
    private: Any, keys: dict[str, Any], claims: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSignature, match="the token does not hold"):
        verify_token(DYNAMIC, token_headers(private, **claims), audience=AUDIENCE, keys=keys)


def test_a_token_signed_by_somebody_else_is_refused(keys: dict[str, Any]) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(InvalidSignature, match="the token does not hold"):
        verify_token(DYNAMIC, token_headers(stranger), audience=AUDIENCE, keys=keys)


def test_a_token_signed_with_a_shared_secret_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignature, match="the token does not hold"):
        forged = token_headers("0123456789abcdef0123456789abcdef", algorithm="HS256")
        verify_token(DYNAMIC, forged, audience=AUDIENCE, keys=keys)


def test_what_is_no_token_is_refused(private: Any, keys: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignature, match="the token does not hold"):
        verify_token(DYNAMIC, token_headers(private) | {"webhook-signature": "v1,x"}, audience=AUDIENCE, keys=keys)


def test_an_old_message_with_a_good_token_is_refused(private: Any, keys: dict[str, Any]) -> None:
    with pytest.raises(InvalidSignature, match="s old"):
        verify_token(DYNAMIC, token_headers(private), audience=AUDIENCE, keys=keys, now_s=time.time() + 301)
