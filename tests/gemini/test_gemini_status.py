"""Refusals of the service: the narrowest error, with what a person can do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gemini_double import reply

from nono import errors
from nono.errors import ProviderError
from nono.providers.gemini.status import raise_for


def envelope(status: str, message: str, *details: Any) -> dict[str, Any]:
    return {"error": {"code": 0, "message": message, "status": status, "details": list(details)}}


def info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def refusal(http: int, body: Any = None, **headers: str) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        raise_for(reply(http, body, **headers), "trying")
    return caught.value


@pytest.mark.parametrize(
    ("http", "body", "kind"),
    [
        (400, envelope("INVALID_ARGUMENT", "Error on line 2: invalid JSON"), errors.InvalidRequest),
        (400, envelope("INVALID_ARGUMENT", "API key not valid.", info("API_KEY_INVALID")), errors.KeyRefused),
        (400, envelope("INVALID_ARGUMENT", "API key expired. Please renew the API key."), errors.KeyRefused),
        (400, envelope("FAILED_PRECONDITION", "Billing is off", info("BILLING_DISABLED")), errors.OutOfQuota),
        (401, envelope("UNAUTHENTICATED", "who are you"), errors.KeyRefused),
        (403, envelope("PERMISSION_DENIED", "or it may not exist."), errors.Forbidden),
        (403, envelope("PERMISSION_DENIED", "Method doesn't allow unregistered callers"), errors.KeyRefused),
        (404, envelope("NOT_FOUND", "models/x is not found"), errors.NotFound),
        (409, envelope("ALREADY_EXISTS", "there"), errors.Conflict),
        (413, "too large", errors.InvalidRequest),
        (429, envelope("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."), errors.RateLimited),
        (499, envelope("CANCELLED", "gone"), errors.ProviderError),
        (500, envelope("INTERNAL", "oops"), errors.ProviderUnavailable),
        (503, b"<html>busy</html>", errors.ProviderUnavailable),
        (504, b"", errors.ProviderUnavailable),
    ],
)
def test_each_refusal_has_its_class(http: int, body: Any, kind: type[ProviderError]) -> None:
    assert type(refusal(http, body)) is kind


def test_a_refusal_tells_what_was_tried_and_what_came_back() -> None:
    error = refusal(400, envelope("INVALID_ARGUMENT", "Error on line 1: no such field: 'x'"))
    assert error.message == "trying: Error on line 1: no such field: 'x' (HTTP 400, INVALID_ARGUMENT)"
    assert (error.status, error.code, error.provider) == (400, "INVALID_ARGUMENT", "gemini")
    assert error.body["error"]["message"] == "Error on line 1: no such field: 'x'"


@pytest.mark.parametrize(
    ("detail", "seconds"),
    [
        ({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}, 30.0),
        ({"retryDelay": "1.5s"}, 1.5),
        ({"retryDelay": {"seconds": "7", "nanos": 500_000_000}}, 7.5),
        ({"retryDelay": "soon"}, None),
        ({"retryDelay": {"seconds": []}}, 0),
    ],
)
def test_a_full_queue_says_when_to_come_back(detail: Any, seconds: float | None) -> None:
    error = refusal(429, envelope("RESOURCE_EXHAUSTED", "full", detail))
    assert error.transient
    assert error.retry_after_s == (seconds or None)


def test_a_header_says_when_to_come_back_as_well() -> None:
    assert refusal(429, envelope("RESOURCE_EXHAUSTED", "full"), retry_after="12").retry_after_s == 12.0


@pytest.mark.parametrize("details", [None, "text", 7, {"reason": 3}, ["a", None, 5], [[{"retryDelay": "3s"}]], [{}]])
def test_details_of_any_shape_do_no_harm(details: Any) -> None:
    body = {"error": {"code": 429, "message": "full", "status": "RESOURCE_EXHAUSTED", "details": details}}
    assert isinstance(refusal(429, body), errors.RateLimited)


@pytest.mark.parametrize("body", [[], "text", 5, {"error": "text"}, {"error": 3}, [{"error": {"message": "m"}}], None])
def test_a_body_of_any_shape_does_no_harm(body: Any) -> None:
    assert isinstance(refusal(503, json.dumps(body).encode()), errors.ProviderUnavailable)
