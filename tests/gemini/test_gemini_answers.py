"""Lines of answer files, decoded for the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nono.jsonl import BadLine
from nono.model import Outcome, Result, Usage
from nono.providers.gemini.answers import _decode_tolerantly, decode, text_of


def line(**fields: Any) -> bytes:
    return json.dumps({"key": "k", **fields}).encode()


def answer(*parts: Any, **more: Any) -> bytes:
    return line(response={"candidates": [{"content": {"parts": list(parts)}, "finishReason": "STOP", **more}]})


def test_every_sample_line_decodes(samples: Path) -> None:
    results = [decode(text) for text in (samples / "answers.jsonl").read_bytes().splitlines()]
    assert [(result.custom_id, result.outcome, result.error and result.error.code) for result in results] == [
        ("request-1", Outcome.SUCCEEDED, None),
        ("request-2", Outcome.ERRORED, "INVALID_ARGUMENT"),
        ("request-3", Outcome.ERRORED, "INVALID_ARGUMENT"),
        ("request-4", Outcome.ERRORED, "INTERNAL"),
        ("request_5", Outcome.SUCCEEDED, None),
        ("request-6", Outcome.SUCCEEDED, None),
        ("request-7", Outcome.ERRORED, "RESOURCE_EXHAUSTED"),
    ]
    assert results[0].text == "a cat on a mat"
    assert results[0].usage == Usage(1427, 144)
    assert results[0].model == "gemini-3.5-flash-lite"
    assert results[4].vector == [-0.5, 0.25, 0.125]
    assert results[4].usage == Usage(1)


def test_thoughts_are_not_part_of_the_text() -> None:
    assert decode(answer({"text": "hmm", "thought": True}, {"text": "a"}, {"text": "b"})).text == "ab"


def test_thoughts_are_billed_as_output_and_told_apart() -> None:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": 11, "cachedContentTokenCount": 2}
    result = decode(line(response={"candidates": [{}], "usageMetadata": usage}))
    assert result.usage == Usage(input_tokens=5, output_tokens=18, cached_tokens=2, reasoning_tokens=11)


@pytest.mark.parametrize(
    ("error", "code", "status", "retryable"),
    [
        ({"code": 3}, "INVALID_ARGUMENT", 400, False),
        ({"code": 8}, "RESOURCE_EXHAUSTED", 429, True),
        ({"code": 13}, "INTERNAL", 500, True),
        ({"code": 14}, "UNAVAILABLE", 503, True),
        ({"code": 429}, "RESOURCE_EXHAUSTED", 429, True),
        ({"code": 503}, "UNAVAILABLE", 503, True),
        ({"code": 403}, "PERMISSION_DENIED", 403, False),
        ({"code": 599, "message": "odd"}, "599", 599, True),
        ({"status": "DEADLINE_EXCEEDED"}, "DEADLINE_EXCEEDED", 504, True),
        ("something went wrong", "UNKNOWN", None, False),
        ({"code": "nonsense", "details": 7}, "nonsense", None, False),
    ],
)
def test_an_error_says_whether_trying_again_helps(error: Any, code: str, status: int | None, retryable: bool) -> None:
    found = decode(line(error=error)).error
    assert found is not None
    assert (found.code, found.status, found.retryable) == (code, status, retryable)


def test_a_status_that_is_empty_or_ok_is_no_error() -> None:
    response = {"candidates": [{"content": {"parts": [{"text": "x"}]}}]}
    assert decode(line(status="", response=response)).text == "x"
    assert decode(line(status={"code": 0}, response=response)).text == "x"


def test_a_cancelled_line_is_cancelled() -> None:
    assert decode(line(error={"code": 1})).outcome is Outcome.CANCELLED


def test_a_bare_answer_beside_its_key_is_an_answer() -> None:
    bare = b'{"key": "k", "candidates": [{"content": {"parts": [{"text": "x"}]}}]}'
    assert decode(bare).text == "x"


def test_a_blocked_prompt_is_an_error_that_stays() -> None:
    error = decode(line(response={"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})).error
    assert error is not None
    assert (error.code, error.retryable) == ("PROHIBITED_CONTENT", False)


def test_an_answer_refused_for_safety_is_an_error() -> None:
    result = decode(line(response={"candidates": [{"finishReason": "SAFETY"}]}))
    assert result.error is not None
    assert (result.outcome, result.error.code, result.finish_reason) == (Outcome.ERRORED, "SAFETY", "SAFETY")


def test_an_answer_that_breaks_off_keeps_its_text() -> None:
    result = decode(answer({"text": "half"}, finishReason="MAX_TOKENS"))
    assert (result.outcome, result.text, result.finish_reason) == (Outcome.SUCCEEDED, "half", "MAX_TOKENS")


def test_a_picture_is_an_answer_without_text() -> None:
    result = decode(answer({"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}))
    assert (result.outcome, result.text) == (Outcome.SUCCEEDED, None)


def test_a_reason_never_heard_of_costs_no_answer() -> None:
    assert decode(answer({"text": "x"}, finishReason="BRAND_NEW")).finish_reason == "BRAND_NEW"


def test_the_key_may_stand_in_the_metadata() -> None:
    assert decode(b'{"metadata": {"key": "m"}, "response": {"candidates": []}}').custom_id == "m"


@pytest.mark.parametrize("bad", [b"", b"{", b"[]", b"3", b'{"response": {}}', b'{"key": {}}', b"\xff"])
def test_what_is_no_answer_line_is_a_bad_line(bad: bytes) -> None:
    with pytest.raises(BadLine):
        decode(bad)


NAMES = st.sampled_from(
    [
        *("key", "response", "error", "status", "metadata", "candidates", "content", "parts", "text", "code"),
        *("finishReason", "usageMetadata", "promptTokenCount", "tokenCount", "embedding", "values", "message"),
        "promptFeedback",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, JSON))
def test_no_line_of_whatever_shape_raises_anything_else(value: dict[str, Any]) -> None:
    try:
        result = decode(json.dumps(value).encode())
    except BadLine:
        return
    assert isinstance(result, Result)
    assert (result.error is None) == (result.outcome is Outcome.SUCCEEDED)


PART = st.fixed_dictionaries(
    {}, optional={"text": st.text(max_size=5), "thought": st.booleans(), "inlineData": st.just({"data": "AA"})}
)
TOKENS = st.dictionaries(
    st.sampled_from(["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount"]),
    st.integers(0, 9999),
)


@given(st.lists(PART, max_size=4), TOKENS, st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "NEW"]))
def test_the_quick_way_and_the_tolerant_way_agree(parts: list[Any], tokens: dict[str, int], reason: str) -> None:
    candidate = {"content": {"parts": parts}, "finishReason": reason}
    text = line(response={"candidates": [candidate], "usageMetadata": tokens, "modelVersion": "m"})
    quick, tolerant = decode(text), _decode_tolerantly(text)
    assert dict(quick.body) == dict(tolerant.body)
    for name in ("custom_id", "outcome", "text", "vector", "finish_reason", "model", "usage", "error"):
        assert getattr(quick, name) == getattr(tolerant, name)


def test_an_answer_of_many_parts_is_one_text() -> None:
    assert text_of({"candidates": [{"content": {"parts": [{"text": "a"}, {"x": 1}, {"text": "b"}]}}]}) == "ab"
