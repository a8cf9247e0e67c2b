"""What OpenAI's validation finds in an input: `status: "failed"`, one error for each bad line, with its number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server_tools import Told, chat_line, chat_lines, counts, done, jsonl

from nono.server.app import LocalServer
from nono.server.openai_lines import check_lines
from nono.server.records import Batch
from nono.server.roster import Roster
from openai import OpenAI

Serving = Callable[..., tuple[LocalServer, OpenAI]]

STREAMING = "Chat Completions: Streaming is not supported in the Batch API."
DUPLICATE = (
    "The custom_id 'a' for this request is a duplicate of another request. "
    "The custom_id parameter must be unique for each request in a batch."
)
MISMATCH = (
    "The model 'gpt-4o' for this request does not match the rest of the batch. "
    "Each batch must contain requests for a single model."
)
NO_MATCH = "The URL provided for this request does not match the batch endpoint."


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in chat_line("b").items() if key != name}


# second line of a batch whose first is good → code, param, message
BAD_LINES: dict[str, tuple[Any, str, str | None, str]] = {
    "not JSON": (b"{oops\n", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "NaN": (b'{"custom_id": NaN}\n', "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "bad UTF-8": (b'{"custom_id": "\xff"}\n', "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "deep": (b"[" * 5000 + b"]" * 5000 + b"\n", "invalid_json_line", None, "This line is not parseable as valid JSON."),
    "huge integer": (
        b'{"custom_id": ' + b"9" * 5000 + b"}\n",
        "invalid_json_line",
        None,
        "This line is not parseable as valid JSON.",
    ),
    "an array": (b"[1]\n", "invalid_json_line", None, "This line is an array; expected a JSON object."),
    "no custom_id": (
        without("custom_id"),
        "missing_required_parameter",
        "custom_id",
        "Missing required parameter: 'custom_id'.",
    ),
    "no method": (without("method"), "missing_required_parameter", "method", "Missing required parameter: 'method'."),
    "no url": (without("url"), "missing_required_parameter", "url", "Missing required parameter: 'url'."),
    "no body": (without("body"), "missing_required_parameter", "body", "Missing required parameter: 'body'."),
    "custom_id a number": (
        chat_line("b") | {"custom_id": 7},
        "invalid_type",
        "custom_id",
        "Invalid type for 'custom_id': expected a string, but got an integer instead.",
    ),
    "body a list": (
        chat_line("b") | {"body": []},
        "invalid_type",
        "body",
        "Invalid type for 'body': expected an object, but got an array instead.",
    ),
    "GET": (
        chat_line("b") | {"method": "GET"},
        "invalid_method",
        "method",
        "Invalid method 'GET'. The only supported method is 'POST'.",
    ),
    "no model": (chat_line("b", model=None), "invalid_request", "body.model", "Model parameter is required."),
    "no messages": (
        chat_line("b", messages=None),
        "invalid_request",
        "body.messages",
        "Messages parameter is required.",
    ),
    "stream": (chat_line("b", stream=True), "streaming_unsupported", "body.stream", STREAMING),
    "other endpoint": (chat_line("b") | {"url": "/v1/embeddings"}, "invalid_url", "url", NO_MATCH),
    "no such endpoint": (
        chat_line("b") | {"url": "/v1/chat/completion"},
        "url_not_found",
        "url",
        "The provided url '/v1/chat/completion' is not supported by the Batch API.",
    ),
    "unknown model": (
        chat_line("b", model="nonexistent-model-xyz"),
        "model_not_found",
        "body.model",
        "The provided model 'nonexistent-model-xyz' is not supported by the Batch API.",
    ),
    "two models": (chat_line("b", model="gpt-4o"), "mismatched_model", "body.model", MISMATCH),
    "duplicate id": (chat_line("a"), "duplicate_custom_id", "custom_id", DUPLICATE),
}


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Any]:
    """Validates lines as the server does, without the server."""
    told = Told()
    roster = Roster(told, told, told)

    def checked(lines: Any, endpoint: str = "/v1/chat/completions") -> Any:
        path = tmp_path / "input.jsonl"
        path.write_bytes(jsonl(lines))
        batch = Batch("batch_1", "openai", "t", endpoint, None, "file-1", 0, 1)
        return check_lines(batch, path, roster)

    return checked


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_with_its_number(check: Callable[..., Any], name: str) -> None:
    line, code, param, message = BAD_LINES[name]
    assert check([chat_line("a"), line]).errors == [{"code": code, "message": message, "param": param, "line": 2}]


def test_a_failed_batch_lists_every_bad_line_in_order_and_runs_nothing(serving: Serving) -> None:
    model = Told()
    _, sdk = serving(model)
    batch = done(sdk, [chat_line("a"), without("method"), chat_line("c"), b"}\n", chat_line("a"), without("url")])
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert batch.in_progress_at is None
    assert (counts(batch), batch.output_file_id, batch.error_file_id) == ((0, 0, 0), None, None)
    assert batch.errors is not None
    assert batch.errors.object == "list"
    assert batch.errors.data is not None
    assert [(error.line, error.code) for error in batch.errors.data] == [
        (2, "missing_required_parameter"),
        (4, "invalid_json_line"),
        (5, "duplicate_custom_id"),
        (6, "missing_required_parameter"),
    ]
    assert model.asked == []


def test_a_byte_order_mark_breaks_the_first_line(check: Callable[..., Any]) -> None:
    marked = b"\xef\xbb\xbf" + jsonl([chat_line("a")])
    assert [(error["code"], error["line"]) for error in check([marked]).errors] == [("invalid_json_line", 1)]


def test_blank_lines_and_a_last_line_without_its_line_feed_are_fine(check: Callable[..., Any]) -> None:
    checked = check([jsonl([chat_line("a")]), b"\n", b"  \r\n", json.dumps(chat_line("b")).encode()])
    assert (checked.errors, checked.total) == (None, 2)


def test_a_bad_line_behind_a_blank_one_has_the_number_that_an_editor_shows(check: Callable[..., Any]) -> None:
    checked = check([jsonl([chat_line("a")]), b"\n", b"nonsense\n"])
    assert [error["line"] for error in checked.errors] == [3]


def test_an_empty_input_has_a_code_of_its_own(check: Callable[..., Any]) -> None:
    assert check([b"\n"]).errors[0]["code"] == "empty_file"


def test_more_than_fifty_thousand_requests_are_refused(check: Callable[..., Any]) -> None:
    many = jsonl([chat_line("x")]).replace(b'"x"', b'"%d"')
    assert check([many % n for n in range(50_000)]).errors is None
    (error,) = check([many % n for n in range(50_001)]).errors
    assert (error["code"], error["line"]) == ("too_many_tasks", None)


def test_a_file_that_is_wrong_in_every_line_reports_the_first_thousand(check: Callable[..., Any]) -> None:
    assert len(check([b"{}\n" * 5000]).errors) == 1000


def test_embedding_inputs_are_counted_over_the_whole_file(check: Callable[..., Any]) -> None:
    def line(custom_id: str, given: Any) -> dict[str, Any]:
        body = {"model": "text-embedding-3-small", "input": given}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body}

    tokens = list(range(60_000))
    assert check([line("a", tokens), line("b", ["x"] * 49_999)], "/v1/embeddings").errors is None
    (error,) = check([line("a", ["x"] * 30_000), line("b", ["x"] * 20_001)], "/v1/embeddings").errors
    assert error["message"] == (
        "The batch input file contains 50001 embedding inputs, more than the maximum of 50000 for a batch."
    )


def test_a_moderation_needs_no_model(check: Callable[..., Any]) -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/v1/moderations", "body": {"input": "x"}}
    checked = check([line], "/v1/moderations")
    assert (checked.errors, checked.model) == (None, "omni-moderation-latest")


def test_a_file_of_another_purpose_cannot_be_a_batchs_input(serving: Serving) -> None:
    _, sdk = serving(Told())
    file = sdk.files.create(file=("in.jsonl", jsonl(chat_lines(["a"]))), purpose="user_data")
    batch = sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    while batch.status == "validating":
        batch = sdk.batches.retrieve(batch.id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert batch.errors.data[0].code == "invalid_request"


def test_a_line_that_is_too_long_is_named_and_the_next_one_read(check: Callable[..., Any]) -> None:
    long = chat_line("long", "x" * (20 << 20))
    errors = check([chat_line("a"), long, b"}\n"]).errors
    assert [(error["code"], error["line"]) for error in errors] == [("invalid_request", 2), ("invalid_json_line", 3)]
    assert errors[0]["message"] == "This line is longer than the 20971520 bytes that a request may have."
