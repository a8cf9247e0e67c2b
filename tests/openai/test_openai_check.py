"""A file that the service would fail is refused before it is sent, with its lines and the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nono.connector.genai_batch_processing import OpenAIBatchService
from nono.errors import InputError, LimitError
from nono.providers.openai.check import Problem, check, inspect

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}


def line(custom_id: Any = "q-1", url: str = "/v1/chat/completions", body: Any = CHAT, **more: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body} | more


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "in.jsonl"
    path.write_bytes(
        b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in lines)
    )
    return path


def test_a_good_file_gives_its_figures(tmp_path: Path) -> None:
    path = written(tmp_path, line("a"), line("b"))
    found = check(path, endpoint="/v1/chat/completions")
    assert (found.requests, found.endpoint, found.model) == (2, "/v1/chat/completions", "gpt-4o-mini")
    assert (found.size_bytes, found.problems, found.embedding_inputs) == (path.stat().st_size, (), 0)


@pytest.mark.parametrize(
    ("bad", "code", "message"),
    [
        (b"{", "invalid_json_line", "not one JSON object: "),
        (b'{"custom_id": NaN}', "invalid_json_line", "not one JSON object: "),
        (b"[]", "invalid_type", "the line: expected object, got array"),
        (b'{"custom_id": "\xff"}', "invalid_json_line", "not UTF-8 text: byte 16 of the line cannot be read"),
        (line(7), "invalid_type", "custom_id: expected str, got int"),
        (line(None), "missing_required_parameter", "custom_id is missing"),
        (line(""), "missing_required_parameter", "custom_id is missing"),
        (line(method=None), "missing_required_parameter", "method is missing"),
        (line(method="GET"), "invalid_method", "method is 'GET'; only POST is taken"),
        (line(url=None), "missing_required_parameter", "url is missing"),
        (line(body=None), "missing_required_parameter", "body is missing"),
        (line(body="x"), "invalid_type", "body: expected object, got str"),
        (line(body={"messages": [1]}), "missing_required_parameter", "body.model is missing"),
        (line(body={"model": "gpt-4o-mini"}), "missing_required_parameter", "body.messages is missing"),
        (
            line(body={"model": "gpt-4o-mini", "messages": []}),
            "missing_required_parameter",
            "body.messages is missing",
        ),
        (line(body=CHAT | {"stream": True}), "streaming_unsupported", "body.stream is true; a batch cannot stream"),
        (
            line(url="/v1/embeddings"),
            "invalid_url",
            "url is '/v1/embeddings', and lines before it have '/v1/chat/completions'",
        ),
        (
            line(body=CHAT | {"model": "gpt-4o"}),
            "mismatched_model",
            "body.model is 'gpt-4o', and lines before it have 'gpt-4o-mini'",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: Any, code: str, message: str) -> None:
    path = written(tmp_path, line("first"), bad)
    (problem,) = inspect(path).problems
    assert (problem.line, problem.code) == (2, code)
    assert problem.message.startswith(message)
    with pytest.raises(InputError) as caught:
        check(path)
    assert caught.value.message.startswith(f"{path}:2: {message}")
    assert "nothing was sent" in (caught.value.hint or "")
    assert OpenAIBatchService.check_file(path).problems == (problem,)


@pytest.mark.parametrize(
    ("url", "body", "message"),
    [
        ("/v1/responses", {"model": "m"}, "body.input or body.prompt is missing"),
        ("/v1/responses", {"input": "x"}, "body.model or body.prompt is missing"),
        ("/v1/completions", {"model": "m"}, "body.prompt is missing"),
        ("/v1/embeddings", {"model": "m", "input": ""}, "body.input is missing"),
        ("/v1/moderations", {"input": None}, "body.input is missing"),
        ("/v1/images/generations", {"model": "m"}, "body.prompt is missing"),
    ],
)
def test_every_endpoint_has_fields_that_must_be_there(
    tmp_path: Path, url: str, body: dict[str, Any], message: str
) -> None:
    assert [problem.message for problem in inspect(written(tmp_path, line(url=url, body=body))).problems] == [message]


def test_the_batchs_endpoint_is_the_lines_endpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="url is '/v1/chat/completions', and the batch's endpoint is '/v1/responses'"):
        check(written(tmp_path, line()), endpoint="/v1/responses")


def test_an_endpoint_that_nobody_knows_is_left_to_the_service(tmp_path: Path) -> None:
    assert check(written(tmp_path, line(url="/v1/chat/ds-test"))).endpoint == "/v1/chat/ds-test"


def test_lines_that_share_an_id_are_named_together(tmp_path: Path) -> None:
    path = written(tmp_path, *(line(f"q-{n}") for n in range(1, 2207)), line("q-18"))
    with pytest.raises(InputError) as caught:
        check(path)
    assert caught.value.message == (
        f"{path}:2207: lines 18 and 2207 share custom_id 'q-18'; their answers could not be told apart"
    )


def test_many_problems_are_counted_and_some_named(tmp_path: Path) -> None:
    path = written(tmp_path, *(line(method="GET") | {"custom_id": str(n)} for n in range(200)))
    assert (inspect(path).problem_count, len(inspect(path).problems)) == (200, 100)
    with pytest.raises(
        InputError, match=r":1: method is 'GET'; only POST is taken \(and 199 more, lines 2, 3, 4, 5, 6, …\)"
    ):
        check(path)


def test_a_byte_order_mark_is_found_and_the_line_behind_it_still_read(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf" + json.dumps(line(method="GET")).encode())
    assert [problem.code for problem in inspect(path).problems] == ["invalid_json_line", "invalid_method"]


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert inspect(written(tmp_path)).problems == (
        Problem("empty_file", "the file is empty; a batch needs at least one request"),
    )


def test_line_separators_inside_text_are_no_line_ends(tmp_path: Path) -> None:
    text = json.dumps(line(body=CHAT | {"user": "a\u2028b\u0085c"}), ensure_ascii=False).encode()
    assert check(written(tmp_path, text)).requests == 1


def test_carriage_returns_and_blank_lines_are_harmless(tmp_path: Path) -> None:
    assert check(written(tmp_path, json.dumps(line()).encode() + b"\r", b"", b"")).requests == 1


def test_too_many_requests_are_refused_with_limit_source_and_way_out(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        for n in range(50_001):
            file.write(b'{"custom_id":"%d","method":"POST","url":"/v1/moderations","body":{"input":"x"}}\n' % n)
    with pytest.raises(LimitError) as caught:
        check(path)
    assert (caught.value.limit, caught.value.found) == (50_000, 50_001)
    assert caught.value.message == (
        f"{path}: 50,001 requests, and a batch takes at most 50,000 "
        "(https://platform.openai.com/docs/guides/batch#rate-limits)"
    )
    assert caught.value.hint == "split it into 2 files, one batch each, or let `nono run` do that; nothing was sent"


def test_too_large_a_file_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    with path.open("wb") as file:
        file.truncate(209_715_201)
    with pytest.raises(LimitError, match="209,715,201 bytes, and a batch takes at most 209,715,200"):
        check(path)


@pytest.mark.parametrize(
    ("given", "count"),
    [("text", 1), (["a", "b", "c"], 3), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([[1], "a"], 2)],
)
def test_embedding_inputs_are_counted_as_the_service_counts(tmp_path: Path, given: Any, count: int) -> None:
    body = {"model": "text-embedding-3-small", "input": given}
    assert check(written(tmp_path, line(url="/v1/embeddings", body=body))).embedding_inputs == count


def test_too_many_embedding_inputs_are_refused(tmp_path: Path) -> None:
    body = {"model": "text-embedding-3-small", "input": ["x"] * 25_001}
    path = written(tmp_path, *(line(str(n), "/v1/embeddings", body) for n in range(2)))
    with pytest.raises(LimitError, match="50,002 inputs, and a batch takes at most 50,000"):
        check(path)


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        (
            "/v1/chat/completions",
            CHAT
            | {
                "response_format": {"type": "json_schema", "json_schema": {"strict": True, "schema": {"type": "array"}}}
            },
        ),
        (
            "/v1/responses",
            {
                "model": "m",
                "input": "x",
                "text": {"format": {"type": "json_schema", "strict": True, "schema": {"type": "array"}}},
            },
        ),
    ],
)
def test_a_schema_that_strict_mode_refuses_is_found_once(tmp_path: Path, url: str, fields: dict[str, Any]) -> None:
    found = inspect(written(tmp_path, line("a", url, fields), line("b", url, fields)))
    assert [(problem.line, problem.code) for problem in found.problems][:1] == [(1, "invalid_schema")]
    assert {problem.line for problem in found.problems} == {1}
