"""Every line of an answer file becomes one result, and says whether trying again helps."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_double import answer_line

from nono import jsonl
from nono.jsonl import BadLine
from nono.model import Outcome, Result, Usage
from nono.providers.openai import PROVIDER
from nono.providers.openai.answers import error_of

SAMPLES = Path(__file__).parent.parent / "samples" / "openai"


def decode(value: Any) -> Result:
    return PROVIDER.decode(value if isinstance(value, bytes) else json.dumps(value).encode())


def failed(status: int | None, error: dict[str, Any] | None, *, outer: dict[str, Any] | None = None) -> dict[str, Any]:
    response = None if status is None else {"status_code": status, "request_id": "r", "body": {"error": error}}
    return {"id": "batch_req_1", "custom_id": "q-1", "response": response, "error": outer}


# custom_id, outcome, code, again?, stops the run?, beginning of the text, reason of ending, tokens in, out, reasoning
RECORDED = {
    "cancelled_line_reconstructed.jsonl": [
        ("request-4", "cancelled", "batch_cancelled", True, False, None, None, 0, 0, 0),
    ],
    "chat_error_429_insufficient_quota_2025-04.jsonl": [
        ("sou_2003_115", "errored", "insufficient_quota", False, True, None, None, 0, 0, 0),
    ],
    "chat_ok_2025.jsonl": [
        ("task-10160", "succeeded", None, None, None, "Identified Object: NBA", "stop", 111, 11, 0),
        ("task-10161", "succeeded", None, None, None, "Identified Object: ZSC", "stop", 111, 35, 0),
    ],
    "chat_ok_gpt-5-nano.jsonl": [
        ("167512", "succeeded", None, None, None, "buttermilk", "stop", 681, 1421, 1408),
        ("167513", "succeeded", None, None, None, "dough", "stop", 677, 1163, 1152),
    ],
    "dashscope_ok.jsonl": [("1", "succeeded", None, None, None, "This is a test result.", "stop", 20, 6, 0)],
    "embeddings_error_400_2025-07.jsonl": [
        ("post-5897", "errored", "invalid_request_error", False, False, None, None, 0, 0, 0),
    ],
    "embeddings_ok_2025-09.jsonl": [
        ("e4d52600-TRUNCATED_tags", "succeeded", None, None, None, None, None, 13, 0, 0),
    ],
    "expired_line_documented.jsonl": [("request-3", "expired", "batch_expired", True, False, None, None, 0, 0, 0)],
    "groq_chat_ok_2025-03.jsonl": [("request-2", "succeeded", None, None, None, '"Hola, ¿cómo', "stop", 55, 76, 0)],
    "groq_error_400.jsonl": [("pr-9953", "errored", "json_validate_failed", False, False, None, None, 0, 0, 0)],
    "responses_error_400_2026-04.jsonl": [
        ("cmniaf6xo00021xc6h42vwxqt", "errored", "invalid_type", False, False, None, None, 0, 0, 0),
        ("cmniaf6xo00041xc6ap4fqffz", "errored", "invalid_type", False, False, None, None, 0, 0, 0),
    ],
    # tool calls have no text; the body has them
    "responses_ok_gpt-5.4_2026-04.jsonl": [
        ("cmniaf6xm00001xc6kdoddqka", "succeeded", None, None, None, None, "completed", 1234, 191, 115),
        ("cmniaf6xo00031xc6n84gjl5k", "succeeded", None, None, None, None, "completed", 1479, 1134, 1034),
        ("cmniaf6xq00061xc6g6yzqenx", "succeeded", None, None, None, None, "completed", 1409, 4726, 3718),
    ],
    "responses_ok_o3-mini_2025-04.jsonl": [
        ("req-1", "succeeded", None, None, None, '[\n  {"number": "3.1"', "completed", 18004, 23142, 10432),
    ],
    "zhipu_ok.jsonl": [("test103", "succeeded", None, None, None, "(cut)", "stop", 373, 38, 0)],
}


def test_every_recorded_file_is_in_the_table() -> None:
    assert {path.name for path in SAMPLES.glob("*.jsonl")} == RECORDED.keys()


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_line_gives_the_result_that_it_tells(name: str) -> None:
    lines = [line for _, line in jsonl.read_lines(SAMPLES / name)]
    assert len(lines) == len(RECORDED[name])
    for line, (custom_id, outcome, code, again, stops, begin, reason, taken, given_out, reasoning) in zip(
        lines, RECORDED[name], strict=True
    ):
        result = PROVIDER.decode(line)
        assert (result.custom_id, result.outcome.value, result.finish_reason) == (custom_id, outcome, reason)
        assert (result.error and result.error.code) == code
        assert (result.error and result.error.retryable) == again
        assert (result.error and result.error.stops_run) == stops
        assert result.text is begin if begin is None else (result.text or "").startswith(begin)
        assert (result.usage.input_tokens, result.usage.output_tokens) == (taken, given_out)
        assert result.usage.reasoning_tokens == reasoning


def test_the_body_is_the_whole_answer_as_it_was_sent() -> None:
    line = next(line for _, line in jsonl.read_lines(SAMPLES / "chat_ok_gpt-5-nano.jsonl"))
    result = PROVIDER.decode(line)
    assert result.body == json.loads(line)["response"]["body"]
    assert result.body["choices"][0]["message"]["annotations"] == []


def test_cached_tokens_are_counted() -> None:
    line = next(line for _, line in jsonl.read_lines(SAMPLES / "responses_ok_gpt-5.4_2026-04.jsonl"))
    assert PROVIDER.decode(line).usage == Usage(1234, 191, cached_tokens=1024, reasoning_tokens=115)


@pytest.mark.parametrize(
    ("status", "error", "outer", "outcome", "code", "again", "stops"),
    [
        (400, {"code": "context_length_exceeded", "message": "m"}, None, "errored", "context_length_exceeded", 0, 0),
        (400, {"code": None, "type": "invalid_request_error"}, None, "errored", "invalid_request_error", 0, 0),
        (404, {"code": "model_not_found", "message": "m"}, None, "errored", "model_not_found", 0, 0),
        (408, None, None, "errored", "http_408", 1, 0),
        (429, {"code": "rate_limit_exceeded", "message": "m"}, None, "errored", "rate_limit_exceeded", 1, 0),
        (429, {"code": "insufficient_quota", "message": "m"}, None, "errored", "insufficient_quota", 0, 1),
        (429, {"type": "insufficient_quota", "message": "m"}, None, "errored", "insufficient_quota", 0, 1),
        (400, {"code": "billing_hard_limit_reached"}, None, "errored", "billing_hard_limit_reached", 0, 1),
        (500, {"code": "server_error", "message": "m"}, None, "errored", "server_error", 1, 0),
        (503, None, None, "errored", "http_503", 1, 0),
        (0, None, None, "errored", "http_0", 1, 0),
        (200, None, None, "errored", "no_answer", 1, 0),
        (None, None, {"code": "batch_expired", "message": "m"}, "expired", "batch_expired", 1, 0),
        (None, None, {"code": "batch_cancelled", "message": "m"}, "cancelled", "batch_cancelled", 1, 0),
        (None, None, {"code": "request_timeout", "message": "m"}, "errored", "request_timeout", 1, 0),
        (None, None, {"message": "Our servers are currently overloaded."}, "errored", "no_answer", 1, 0),
        (None, None, {"code": "content_policy", "message": "m"}, "errored", "content_policy", 0, 0),
        (None, None, "gone", "errored", "no_answer", 1, 0),
        (None, None, None, "errored", "no_answer", 1, 0),
    ],
)
def test_what_an_error_means_for_its_request(
    status: int | None, error: Any, outer: Any, outcome: str, code: str, again: int, stops: int
) -> None:
    line = failed(status, error, outer=outer)
    if status == 200:
        line["response"]["body"] = None
    result = decode(line)
    assert result.error is not None
    assert (result.outcome.value, result.error.code) == (outcome, code)
    assert (result.error.retryable, result.error.stops_run) == (bool(again), bool(stops))


def test_a_responses_answer_that_failed_inside_a_200_is_an_error() -> None:
    body = {"status": "failed", "error": {"code": "server_error", "message": "m"}, "output": [], "model": "gpt-5"}
    result = decode({"custom_id": "q", "response": {"status_code": 200, "body": body}, "error": None})
    assert (result.outcome, result.error and result.error.retryable) == (Outcome.ERRORED, True)


def test_a_responses_answer_gives_all_its_texts_and_why_it_ended() -> None:
    body = {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "error": None,
        "output": [
            {"type": "reasoning", "summary": []},
            {
                "type": "message",
                "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}],
            },
        ],
    }
    result = decode({"custom_id": "q", "response": {"status_code": 200, "body": body}, "error": None})
    assert (result.text, result.finish_reason) == ("ab", "max_output_tokens")


def test_a_refusal_of_the_model_is_its_answer_and_is_named() -> None:
    line = answer_line("q")
    line["response"]["body"]["choices"][0]["message"] = {"content": None, "refusal": "I will not"}
    result = decode(line)
    assert (result.outcome, result.text, result.finish_reason) == (Outcome.SUCCEEDED, "I will not", "refusal")


def test_a_legacy_completion_gives_its_text() -> None:
    body = {"object": "text_completion", "choices": [{"text": "once", "finish_reason": "length"}], "model": "m"}
    result = decode({"custom_id": "q", "response": {"status_code": 200, "body": body}, "error": None})
    assert (result.text, result.finish_reason) == ("once", "length")


def test_a_packed_embedding_is_unpacked() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    body = {"data": [{"index": 0, "embedding": packed}], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
    assert decode({"custom_id": "q", "response": {"status_code": 200, "body": body}}).vector == [0.5, -2.0]


def test_a_line_with_several_embeddings_keeps_them_in_its_body() -> None:
    body = {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [2.0]}]}
    result = decode({"custom_id": "q", "response": {"status_code": 200, "body": body}})
    assert (result.vector, [each["embedding"] for each in result.body["data"]]) == (None, [[1.0], [2.0]])


def test_a_moderation_is_in_the_body() -> None:
    body = {"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": False}]}
    result = decode({"custom_id": "q", "response": {"status_code": 200, "body": body}})
    assert (result.outcome, result.text, result.body["results"]) == (Outcome.SUCCEEDED, None, [{"flagged": False}])


def test_content_of_a_foreign_shape_is_still_an_answer() -> None:
    line = answer_line("q")
    line["response"]["body"]["choices"][0]["message"]["content"] = [{"type": "text", "text": "parts"}]
    result = decode(line)
    assert (result.outcome, result.text, result.model) == (Outcome.SUCCEEDED, None, "gpt-4o-mini-2024-07-18")


def test_a_number_for_an_id_is_read_as_text() -> None:
    assert decode({**answer_line("q"), "custom_id": 7}).custom_id == "7"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b'{"custom_id": "q", "response": {"status_co',
        b"\x00",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"custom_id": null}',
        b'{"custom_id": true}',
        b"[" * 100_000,
        b'{"custom_id": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
    ],
)
def test_what_is_no_answer_line_is_a_bad_line(line: bytes) -> None:
    with pytest.raises(BadLine):
        PROVIDER.decode(line)


@pytest.mark.parametrize(
    "text",
    ["a\u2028b", "a\u0085b", "a\x1cb", "\ud800", "\x00", "é" * 1000],
    ids=["2028", "0085", "1c", "lone", "nul", "long"],
)
def test_text_survives_whatever_is_in_it(text: str) -> None:
    assert decode(answer_line("q", text)).text == text


def test_a_mark_a_return_and_a_nan_do_not_spoil_a_line() -> None:
    line = answer_line("q")
    line["response"]["body"]["choices"][0]["logprobs"] = float("nan")
    assert decode(b"\xef\xbb\xbf" + json.dumps(line).encode() + b"\r").text == "fine"


JUNK = (None, True, 0, -1, 1.5, 10**30, "", "x", [], {}, [None], [[1]], {"a": 1}, ["b"])


def bent(value: Any) -> Iterator[Any]:
    """The value with every part of it, one at a time, replaced by every piece of junk."""
    yield from JUNK
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(items):
        for other in bent(part):
            copy = value.copy()
            copy[key] = other
            yield copy


@pytest.mark.parametrize("name", [name for name in RECORDED if "gpt-5.4" not in name])
def test_a_line_that_is_bent_anywhere_is_a_result_or_a_bad_line(name: str) -> None:
    line = json.loads(next(line for _, line in jsonl.read_lines(SAMPLES / name)))
    for value in bent(line):
        try:
            result = decode(value)
        except BadLine:
            assert not isinstance(value, dict) or not isinstance(value.get("custom_id"), str)
        else:
            assert (result.error is None) == (result.outcome is Outcome.SUCCEEDED)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_result_or_a_bad_line(line: bytes) -> None:
    with pytest.raises(BadLine):
        PROVIDER.decode(b"\x01" + line)


def test_an_error_is_found_wherever_the_provider_put_it() -> None:
    assert error_of(failed(400, {"code": "c", "message": "m"})) == {"code": "c", "message": "m"}
    assert error_of(failed(None, None, outer={"code": "batch_expired", "message": "m"})) == {
        "code": "batch_expired",
        "message": "m",
    }
    assert error_of(failed(500, None)) == {"code": "http_500", "message": "HTTP 500 without a reason"}
    assert error_of(failed(None, None)) == {"code": "no_answer", "message": "neither an answer nor an error came"}
    assert error_of(answer_line("q")) is None
