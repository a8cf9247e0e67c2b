"""The life of an OpenAI batch on the local server, seen through the unmodified SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from server_tools import Held, Told, answers, chat_line, chat_lines, counts, done, jsonl, peak_mb, reached, submit

import openai
from nono.server.app import LocalServer
from nono.server.clock import HandClock
from openai import OpenAI

Serving = Callable[..., tuple[LocalServer, OpenAI]]

NULLS_OF_A_NEW_BATCH = (
    "errors",
    "output_file_id",
    "error_file_id",
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def raw(server: LocalServer, method: str, path: str, **options: Any) -> httpx2.Response:
    return httpx2.request(method, f"{server.url}{path}", **options)


def test_a_batch_goes_from_validating_to_completed_and_has_every_answer(serving: Serving) -> None:
    _, sdk = serving(Told())
    batch = submit(sdk, chat_lines(["a", "b", "c"]), metadata={"job": "1"})
    assert batch.status == "validating"
    batch = reached(sdk, batch)
    assert batch.status == "completed"
    assert counts(batch) == (3, 3, 0)
    assert batch.error_file_id is None
    lines = answers(sdk, batch.output_file_id)
    said = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}
    assert said == {"r0": "a", "r1": "b", "r2": "c"}


def test_the_states_are_seen_on_the_way(serving: Serving) -> None:
    model = Held()
    _, sdk = serving(model)
    batch = submit(sdk, chat_lines(["a", "b"]))
    model.wait_for(1)
    seen = sdk.batches.retrieve(batch.id)
    assert (seen.status, counts(seen)) == ("in_progress", (2, 0, 0))
    assert seen.in_progress_at is not None
    model.allow()
    model.wait_for(2)
    assert counts(sdk.batches.retrieve(batch.id)) == (2, 1, 0)
    model.allow()
    batch = reached(sdk, batch)
    assert batch.finalizing_at is not None
    assert batch.completed_at is not None


def test_a_new_batch_has_every_field_in_the_recorded_order(serving: Serving) -> None:
    server, sdk = serving(Told())
    file = sdk.files.create(file=("in.jsonl", jsonl(chat_lines(["a"]))), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    reply = raw(server, "POST", "/v1/batches", json=body)
    batch = reply.json()
    assert list(batch) == [
        "id",
        "object",
        "endpoint",
        "model",
        "errors",
        "input_file_id",
        "completion_window",
        "status",
        "output_file_id",
        "error_file_id",
        "created_at",
        "in_progress_at",
        "expires_at",
        "finalizing_at",
        "completed_at",
        "failed_at",
        "expired_at",
        "cancelling_at",
        "cancelled_at",
        "request_counts",
        "usage",
        "metadata",
    ]
    assert [name for name in NULLS_OF_A_NEW_BATCH if batch[name] is not None] == []
    assert batch["expires_at"] - batch["created_at"] == 86_400
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert batch["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    assert re.fullmatch(r"batch_[0-9a-f]{32}", batch["id"])
    assert reply.headers["content-type"] == "application/json"
    assert reply.text.startswith('{\n  "id": ')


def test_every_reply_has_a_request_id(serving: Serving) -> None:
    server, _ = serving(Told())
    reply = raw(server, "GET", "/v1/batches/batch_x")
    assert re.fullmatch(r"req_[0-9a-f]{32}", reply.headers["x-request-id"])
    assert reply.headers["openai-version"] == "2020-10-01"


def test_usage_and_model_are_summed_up(serving: Serving) -> None:
    _, sdk = serving(Told())
    batch = done(sdk, chat_lines(["a", "b", "c"]))
    assert batch.usage is not None
    assert batch.usage.model_dump() == {
        "input_tokens": 15,
        "input_tokens_details": {"cached_tokens": 6},
        "output_tokens": 21,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 36,
    }
    assert batch.model == "gpt-4o-mini"


def test_answer_lines_have_the_recorded_form(serving: Serving) -> None:
    _, sdk = serving(Told())
    batch = done(sdk, chat_lines(["é"]))
    assert batch.output_file_id is not None
    line = sdk.files.content(batch.output_file_id).content
    assert line.endswith(b"\n")
    assert re.match(
        rb'\{"id": "batch_req_[0-9a-f]{32}", "custom_id": "r0", "response": \{"status_code": 200, '
        rb'"request_id": "[0-9a-f]{32}", "body": \{"id": "chatcmpl-1", ',
        line,
    )
    assert b'"content": "\\u00e9"' in line
    assert line.rstrip().endswith(b'}, "error": null}')


def test_refused_requests_are_in_the_error_file_with_their_status(serving: Serving) -> None:
    _, sdk = serving(Told())
    batch = done(sdk, chat_lines(["a", "fail"]))
    assert (batch.status, counts(batch)) == ("completed", (2, 1, 1))
    assert [line["custom_id"] for line in answers(sdk, batch.output_file_id)] == ["r0"]
    (line,) = answers(sdk, batch.error_file_id)
    assert line["custom_id"] == "r1"
    assert line["error"] is None
    assert line["response"]["status_code"] == 400
    assert line["response"]["body"]["error"]["code"] == "bad"


def test_a_completed_batch_without_a_success_has_no_output_file(serving: Serving) -> None:
    _, sdk = serving(Told())
    batch = done(sdk, chat_lines(["fail", "fail"]))
    assert (batch.status, counts(batch), batch.output_file_id) == ("completed", (2, 0, 2), None)
    assert len(answers(sdk, batch.error_file_id)) == 2


def test_a_model_that_raises_fails_that_request_only(serving: Serving) -> None:
    _, sdk = serving(Told())
    batch = done(sdk, chat_lines(["a", "raise", "b"]))
    assert (batch.status, counts(batch)) == ("completed", (3, 2, 1))
    (line,) = answers(sdk, batch.error_file_id)
    assert line["response"]["status_code"] == 500
    assert line["response"]["body"]["error"]["type"] == "server_error"
    assert "this model has a bug" in line["response"]["body"]["error"]["message"]


def test_a_cancelled_batch_keeps_what_was_answered(serving: Serving) -> None:
    model = Held()
    server, sdk = serving(model)
    batch = submit(sdk, chat_lines(["a", "b", "c", "d"]))
    model.allow()
    model.wait_for(2)
    reply = raw(server, "POST", f"/v1/batches/{batch.id}/cancel", headers={"content-type": "application/json"})
    assert reply.status_code == 200
    assert "\n" not in reply.text
    assert reply.json()["status"] == "cancelling"
    assert reply.json()["cancelling_at"] is not None
    model.allow(10)
    batch = reached(sdk, batch)
    assert (batch.status, counts(batch)) == ("cancelled", (4, 2, 0))
    assert batch.cancelled_at is not None
    assert batch.finalizing_at is None
    assert {line["custom_id"] for line in answers(sdk, batch.output_file_id)} == {"r0", "r1"}
    never_run = answers(sdk, batch.error_file_id)
    assert [(line["custom_id"], line["response"], line["error"]) for line in never_run] == [
        (
            name,
            None,
            {
                "code": "batch_cancelled",
                "message": "This request was not executed because the batch was cancelled.",
            },
        )
        for name in ("r2", "r3")
    ]
    assert model.asked == ["a", "b"]


def test_a_batch_that_waits_behind_another_is_cancelled_at_once(serving: Serving) -> None:
    model = Held()
    _, sdk = serving(model)
    submit(sdk, chat_lines(["first"]))
    model.wait_for(1)
    second = reached(sdk, submit(sdk, chat_lines(["second"])), "in_progress")
    sdk.batches.cancel(second.id)
    second = reached(sdk, second)
    assert (second.status, counts(second), second.output_file_id) == ("cancelled", (1, 0, 0), None)
    assert [line["custom_id"] for line in answers(sdk, second.error_file_id)] == ["r0"]
    model.allow(5)


def test_a_cancelled_batch_may_be_cancelled_again(serving: Serving) -> None:
    model = Held()
    _, sdk = serving(model)
    batch = submit(sdk, chat_lines(["a"]))
    model.wait_for(1)
    sdk.batches.cancel(batch.id)
    model.allow()
    batch = reached(sdk, batch, "cancelled")
    assert sdk.batches.cancel(batch.id).status == "cancelled"


@pytest.mark.parametrize("lines", [chat_lines(["a"]), [{"custom_id": "a"}]], ids=["completed", "failed"])
def test_an_ended_batch_is_not_cancelled(serving: Serving, lines: list[Any]) -> None:
    _, sdk = serving(Told())
    batch = done(sdk, lines)
    with pytest.raises(openai.ConflictError) as refused:
        sdk.batches.cancel(batch.id)
    assert refused.value.body == {
        "message": f"Cannot cancel a batch with status '{batch.status}'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_a_batch_expires_by_the_clock_and_keeps_what_was_answered(serving: Serving) -> None:
    model, clock = Held(), HandClock()
    _, sdk = serving(model, clock=clock)
    batch = submit(sdk, chat_lines(["a", "b", "c"]))
    model.allow()
    model.wait_for(2)
    clock.advance(86_399)
    assert sdk.batches.retrieve(batch.id).status == "in_progress"
    clock.advance(2)
    model.allow()
    batch = reached(sdk, batch)
    assert (batch.status, counts(batch)) == ("expired", (3, 2, 0))
    assert batch.expired_at == batch.created_at + 86_401
    (line,) = answers(sdk, batch.error_file_id)
    assert (line["custom_id"], line["response"]) == ("r2", None)
    assert line["error"] == {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }


def test_answer_files_expire_when_the_batch_says_so(serving: Serving) -> None:
    clock = HandClock()
    _, sdk = serving(Told(), clock=clock)
    batch = done(sdk, chat_lines(["a"]), output_expires_after={"anchor": "created_at", "seconds": 3600})
    assert batch.output_file_id is not None
    file = sdk.files.retrieve(batch.output_file_id)
    assert file.expires_at == file.created_at + 3600
    clock.advance(3601)
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(batch.output_file_id)


def test_an_answer_file_is_a_generated_file_of_thirty_days(serving: Serving) -> None:
    server, sdk = serving(Told())
    batch = done(sdk, chat_lines(["a", "fail"]))
    for file_id, role in ((batch.output_file_id, "output"), (batch.error_file_id, "error")):
        assert file_id is not None
        file = sdk.files.retrieve(file_id)
        assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_{role}.jsonl")
        assert file.expires_at == file.created_at + 2_592_000
        assert re.fullmatch(r"file-[0-9A-Za-z]{22}", file.id)
        reply = raw(server, "GET", f"/v1/files/{file_id}/content")
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.headers["content-disposition"] == f'attachment; filename="{batch.id}_{role}.jsonl"'
        assert int(reply.headers["content-length"]) == file.bytes == len(reply.content)


def test_deleting_the_input_does_not_disturb_a_running_batch(serving: Serving) -> None:
    model = Held()
    _, sdk = serving(model)
    batch = submit(sdk, chat_lines(["a", "b"]))
    model.wait_for(1)
    sdk.files.delete(batch.input_file_id)
    model.allow(2)
    assert counts(reached(sdk, batch)) == (2, 2, 0)


def test_a_batch_that_names_a_deleted_file_runs_nothing(serving: Serving) -> None:
    model = Told()
    _, sdk = serving(model)
    file = sdk.files.create(file=("in.jsonl", jsonl(chat_lines(["a"]))), purpose="batch")
    sdk.files.delete(file.id)
    batch = reached(
        sdk, sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    )
    assert batch.status == "failed"
    assert model.asked == []
    assert batch.errors is not None and batch.errors.data is not None
    assert batch.errors.data[0].model_dump() == {
        "code": "invalid_request",
        "line": None,
        "message": f"Cannot find file {file.id}, or organization org-local does not have access to it.",
        "param": "file_id",
    }


def test_batches_are_listed_newest_first_in_pages(serving: Serving) -> None:
    server, sdk = serving(Told())
    ids = [submit(sdk, chat_lines(["a"])).id for _ in range(5)]
    first = sdk.batches.list(limit=2)
    assert [batch.id for batch in first.data] == [ids[4], ids[3]]
    assert first.has_more is True
    assert [batch.id for batch in sdk.batches.list(limit=2)] == ids[::-1]
    last = raw(server, "GET", f"/v1/batches?limit=2&after={ids[1]}").json()
    assert (last["object"], last["first_id"], last["last_id"], last["has_more"]) == ("list", ids[0], ids[0], False)


def test_an_empty_listing_says_that_there_is_no_more(serving: Serving) -> None:
    server, _ = serving(Told())
    assert raw(server, "GET", "/v1/batches").json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=101", "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead."),
        ("limit=0", "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead."),
        ("limit=ten", "Invalid type for 'limit': expected an integer, but got 'ten' instead."),
        ("limit=" + "9" * 5000, "Invalid type for 'limit': expected an integer, but got '" + "9" * 200 + "…' instead."),
    ],
)
def test_a_listing_refuses_a_limit_that_the_service_does_not_have(serving: Serving, query: str, message: str) -> None:
    server, _ = serving(Told())
    reply = raw(server, "GET", f"/v1/batches?{query}")
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, message)


def test_an_unknown_batch_is_not_found(serving: Serving) -> None:
    _, sdk = serving(Told())
    for call in (sdk.batches.retrieve, sdk.batches.cancel):
        with pytest.raises(openai.NotFoundError) as refused:
            call("batch_x")
        assert refused.value.body == {
            "message": "No batch found with id 'batch_x'.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }


GOOD: dict[str, Any] = {"input_file_id": "file-x", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {"input_file_id": None},
        "missing_required_parameter",
        "input_file_id",
        "Missing required parameter: 'input_file_id'.",
    ),
    ({"endpoint": None}, "missing_required_parameter", "endpoint", "Missing required parameter: 'endpoint'."),
    (
        {"completion_window": None},
        "missing_required_parameter",
        "completion_window",
        "Missing required parameter: 'completion_window'.",
    ),
    (
        {"endpoint": "/v1/invalid/endpoint"},
        "invalid_value",
        "endpoint",
        (
            "Invalid value: '/v1/invalid/endpoint'. Supported values are: '/v1/chat/completions', '/v1/completions', "
            "'/v1/embeddings', '/v1/moderations', '/v1/images/generations', '/v1/images/edits', '/v1/videos', and "
            "'/v1/responses'."
        ),
    ),
    (
        {"completion_window": "48h"},
        "invalid_value",
        "completion_window",
        "Invalid value: '48h'. Supported values for 'completion_window' are: '24h'.",
    ),
    (
        {"completion_window": ""},
        "invalid_value",
        "completion_window",
        "Invalid value: ''. Supported values for 'completion_window' are: '24h'.",
    ),
    (
        {"metadata": {"tags": ["a"]}},
        "invalid_type",
        "metadata.tags",
        "Invalid type for 'metadata.tags': expected a string, but got an array instead.",
    ),
    (
        {"metadata": {f"k{n}": "v" for n in range(17)}},
        "object_above_max_properties",
        "metadata",
        (
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
            "but got an object with 17 properties instead."
        ),
    ),
    (
        {"metadata": {"k": "v" * 513}},
        "string_above_max_length",
        "metadata.k",
        (
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
            "but got a string with length 513 instead."
        ),
    ),
    (
        {"output_expires_after": {"anchor": "created_at", "seconds": 10}},
        "integer_below_min_value",
        "output_expires_after.seconds",
        (
            "Invalid 'output_expires_after.seconds': integer below minimum value. "
            "Expected a value >= 3600, but got 10 instead."
        ),
    ),
    ({"color": "red"}, "unknown_parameter", "color", "Unknown parameter: 'color'."),
    (
        {"endpoint": "/v1/videos"},
        "invalid_value",
        "endpoint",
        (
            "This local server does not imitate batches of '/v1/videos'; it answers /v1/chat/completions, "
            "/v1/responses, /v1/embeddings, /v1/completions, /v1/moderations, /v1/images/generations, /v1/images/edits."
        ),
    ),
]


@pytest.mark.parametrize(
    ("change", "code", "param", "message"), REFUSED, ids=[row[2] + " " + row[1] for row in REFUSED]
)
def test_a_create_that_is_wrong_is_refused_in_the_services_words(
    serving: Serving, change: dict[str, Any], code: str, param: str, message: str
) -> None:
    server, _ = serving(Told())
    body = {name: value for name, value in (GOOD | change).items() if value is not None}
    reply = raw(server, "POST", "/v1/batches", json=body)
    assert reply.status_code == 400
    assert reply.json() == {
        "error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    }


def test_answers_stand_in_input_order_although_many_are_made_at_once(serving: Serving) -> None:
    _, sdk = serving(Told(slots=8))
    prompts = [f"p{number}" for number in range(500)]
    batch = done(sdk, chat_lines(prompts))
    assert [line["custom_id"] for line in answers(sdk, batch.output_file_id)] == [f"r{n}" for n in range(500)]


def test_unicode_line_separators_in_a_prompt_do_not_split_a_line(serving: Serving) -> None:
    _, sdk = serving(Told())
    line = json.dumps(chat_line("r0", "a\u2028b\u0085c"), ensure_ascii=False).encode() + b"\n"
    batch = done(sdk, [line])
    (answer,) = answers(sdk, batch.output_file_id)
    assert answer["response"]["body"]["choices"][0]["message"]["content"] == "a\u2028b\u0085c"


def test_a_large_batch_costs_little_memory(process: tuple[str, int]) -> None:
    url, pid = process
    with OpenAI(base_url=f"{url}/v1", api_key="local") as sdk:
        done(sdk, chat_lines(["warm up"]))
        before = peak_mb(pid)
        batch = done(sdk, chat_lines(["x" * 3000] * 20_000))
        assert counts(batch) == (20_000, 20_000, 0)
    # The input has 63 MB; ids and places of 20,000 requests are 3 MB.
    assert peak_mb(pid) - before < 25
