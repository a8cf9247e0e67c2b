"""A webhook is believed only when it is signed with the secret, fresh, and untouched."""

from __future__ import annotations

import base64
import json

import pytest

from nono.webhooks import InvalidSignature, sign, verify

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
