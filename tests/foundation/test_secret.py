"""A key does not get out by accident."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import msgspec
import pytest

from nono.exchange import Account
from nono.secret import Secret

TEXT = "sk-canary-77"


def test_no_rendering_shows_it() -> None:
    secret = Secret(TEXT)
    account = Account("https://api.example.com/v1", secret, "authorization", headers={"x-gateway": TEXT})
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret]), repr(account)):
        assert TEXT not in shown


def test_it_is_neither_pickled_nor_put_into_json() -> None:
    secret = Secret(TEXT)
    for write in (pickle.dumps, json.dumps, msgspec.json.encode, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            write(secret)
        assert TEXT not in "".join(traceback.format_exception(caught.value))


def test_fingerprints_tell_keys_apart_without_giving_them_away() -> None:
    one, other = Secret(TEXT), Secret(TEXT + "x")
    assert one.fingerprint() != other.fingerprint()
    assert one.fingerprint() == Secret(TEXT).fingerprint()
    assert len(one.fingerprint()) == 12


def test_it_can_be_revealed_on_purpose() -> None:
    assert Secret(TEXT).reveal() == TEXT
