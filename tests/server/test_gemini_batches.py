"""The life of a Gemini batch on the local server, over raw HTTP and through the unmodified SDK."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from gemini_tools import MODEL, Raw, asking, ended, line, refusal, sdk
from google.genai import errors, types
from server_tools import Held, Told, jsonl

from nono.server import work
from nono.server.app import LocalServer
from nono.server.clock import HandClock

Serving = Callable[..., tuple[LocalServer, Any]]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"
BATCH_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"


def held(serving: Serving, **options: Any) -> tuple[Held, Raw]:
    model = Held()
    return model, Raw(serving(model, **options)[0])


# a batch of a file


def test_a_new_batch_looks_as_the_services_does(serving: Serving) -> None:
    model, raw = held(serving)
    file = raw.upload([line("a", "x"), line("b", "y")])
    made = raw.create(inputConfig={"fileName": file}, displayName="mine")
    assert made.headers["content-type"] == "application/json; charset=UTF-8"
    shown = made.json()
    assert list(shown) == ["name", "metadata"]
    assert re.fullmatch(r"batches/[a-z0-9]{36}", shown["name"])
    metadata = shown["metadata"]
    assert re.fullmatch(STAMP, metadata.pop("createTime"))
    assert re.fullmatch(STAMP, metadata.pop("updateTime"))
    assert metadata == {
        "@type": BATCH_TYPE,
        "model": "models/gemini-2.5-flash",
        "displayName": "mine",
        "inputConfig": {"fileName": file},
        "batchStats": {"requestCount": "2", "pendingRequestCount": "2"},
        "state": "BATCH_STATE_PENDING",
        "name": shown["name"],
    }
    model.allow(2)


def test_an_ended_batch_names_its_answers_twice_and_counts_in_texts(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    shown = raw.reached(raw.created([line("a", "x"), line("b", "fail"), line("c", "z")]))
    output = {"responsesFile": f"files/batch-{shown['name'].removeprefix('batches/')}"}
    assert shown["metadata"]["output"] == output
    assert shown["response"] == {"@type": BATCH_TYPE + "Output", **output}
    assert (shown["done"], "error" in shown) == (True, False)
    assert shown["metadata"]["batchStats"] == {
        "requestCount": "3",
        "successfulRequestCount": "2",
        "failedRequestCount": "1",
    }
    assert re.fullmatch(STAMP, shown["metadata"]["endTime"])


def test_every_line_has_an_answer_in_input_order_with_its_key(serving: Serving) -> None:
    raw = Raw(serving(Told(slots=4))[0])
    answers = raw.answers(raw.reached(raw.created([line(f"k{number}", f"p{number}") for number in range(20)])))
    said = [one["response"]["candidates"][0]["content"]["parts"][0]["text"] for one in answers]
    assert said == [f"p{number}" for number in range(20)]
    assert [one["key"] for one in answers] == [f"k{number}" for number in range(20)]


def test_an_answer_is_written_as_the_service_writes_it(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    (answer,) = raw.answers(raw.reached(raw.created([line("k", "hello")])))
    assert re.fullmatch(r"[\w-]{22}", answer["response"].pop("responseId"))
    assert answer == {
        "response": {
            "candidates": [
                {"content": {"parts": [{"text": "hello"}], "role": "model"}, "finishReason": "STOP", "index": 0}
            ],
            "usageMetadata": {
                "promptTokenCount": 5,
                "candidatesTokenCount": 6,
                "totalTokenCount": 12,
                "cachedContentTokenCount": 2,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
                "thoughtsTokenCount": 1,
            },
            "modelVersion": "gemini-2.5-flash",
        },
        "key": "k",
    }


def test_a_request_that_fails_has_a_code_and_a_message_and_no_details(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    shown = raw.reached(raw.created([line("good", "x"), line("bad", "fail"), line("worse", "raise")]))
    assert shown["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
    _, bad, worse = raw.answers(shown)
    assert bad == {"key": "bad", "error": {"code": 3, "message": "no"}}
    assert (worse["key"], worse["error"]["code"], set(worse["error"])) == ("worse", 13, {"code", "message"})


def test_what_stands_beside_a_request_comes_back(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    lines = [line("k", "x", custom_id=7, tags=["a"]), line("k", "fail", custom_id=8)]
    first, second = raw.answers(raw.reached(raw.created(lines)))
    assert (first["key"], first["custom_id"], first["tags"]) == ("k", 7, ["a"])
    assert second == {"key": "k", "error": {"code": 3, "message": "no"}, "custom_id": 8}


def test_a_bare_request_is_taken_and_answered_without_a_key(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    (answer,) = raw.answers(raw.reached(raw.created([asking("bare")])))
    assert set(answer) == {"response"}


def test_the_states_are_seen_on_the_way_and_no_done_before_the_end(serving: Serving) -> None:
    model, raw = held(serving)
    name = raw.created([line("a", "x"), line("b", "y")])
    model.wait_for(1)
    running = raw.reached(name, "BATCH_STATE_RUNNING")
    assert "done" not in running
    assert "output" not in running["metadata"]
    model.allow()
    model.wait_for(2)
    assert raw("GET", name).json()["metadata"]["batchStats"] == {
        "requestCount": "2",
        "successfulRequestCount": "1",
        "pendingRequestCount": "1",
    }
    model.allow()
    assert raw.reached(name)["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"


def test_deleting_the_input_does_not_disturb_the_batch(serving: Serving) -> None:
    model, raw = held(serving)
    name = raw.created([line("a", "x")])
    file = raw("GET", name).json()["metadata"]["inputConfig"]["fileName"]
    assert raw("DELETE", file).json() == {}
    model.allow()
    assert len(raw.answers(raw.reached(name))) == 1


# creating


@pytest.mark.parametrize(
    "batch",
    [
        {"inputConfig": {"fileName": "FILE"}, "displayName": "n"},
        {"input_config": {"file_name": "FILE"}, "display_name": "n"},
        {"inputConfig": {"file_name": "FILE"}, "displayName": "n", "model": "models/gemini-2.5-flash"},
        {"inputConfig": {"fileName": "FILE"}, "displayName": "n", "priority": 5},
        {"inputConfig": {"fileName": "FILE"}, "displayName": "n", "priority": "-5"},
    ],
)
def test_every_spelling_of_a_create_is_understood(serving: Serving, batch: dict[str, Any]) -> None:
    raw = Raw(serving(Told())[0])
    text = json.dumps(batch).replace("FILE", raw.upload([line("a", "x")]))
    metadata = raw.create(**json.loads(text)).json()["metadata"]
    assert metadata["displayName"] == "n"
    assert metadata.get("priority") == ("5" if batch.get("priority") == 5 else batch.get("priority"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line("a", "x"), b"not json\n"], r"Error on line 2: invalid JSON, .*"),
        ([b"[1]\n"], r"Error on line 1: invalid JSON, near column 1: unexpected character: '\['; expected '\{'"),
        ([{"key": "a"}], r"Error on line 1: invalid JSON, near column 1: no field 'request'"),
        ([{"key": 1, "request": asking("x")}], r"Error on line 1: invalid JSON, near column 2: 'key' is a string"),
        (
            [line("a", "x"), {"key": "b", "request": asking("x", thinking_config={"thinking_budget": 0})}],
            r"Error on line 2: invalid JSON, near column 84: no such field: 'thinking_config' in the request; .*",
        ),
        (
            [{"key": "b", "request": asking("x", systemInstruction=[{"text": "a list"}])}],
            r"Error on line 1: invalid JSON, near column \d\d: systemInstruction is an object, not a list",
        ),
        (
            [{"key": "b", "request": asking("x", cachedContent="cachedContents/1", tools=[{"googleSearch": {}}])}],
            r"Error on line 1: .*'tools' cannot stand beside cached_content.*",
        ),
        ([], r"The input file is empty: it must hold at least one request."),
        ([b"\n \n"], r"The input file is empty: it must hold at least one request."),
    ],
)
def test_a_bad_line_refuses_the_whole_batch_with_its_number(serving: Serving, lines: list[Any], message: str) -> None:
    raw = Raw(serving(Told())[0])
    status, name, said = refusal(raw.create(inputConfig={"fileName": raw.upload(lines)}))
    assert (status, name) == (400, "INVALID_ARGUMENT")
    assert re.fullmatch(message, said)
    assert raw("GET", "batches").json() == {}


@pytest.mark.parametrize(
    ("batch", "status", "message"),
    [
        (None, 400, "a batch is required"),
        ({}, 400, "an input is required"),
        ({"inputConfig": {}}, 400, "exactly one of"),
        ({"inputConfig": {"fileName": "files/x", "requests": {"requests": []}}}, 400, "exactly one of"),
        ({"inputConfig": {"fileName": "gs://b/o"}}, 400, "expected 'files/…'"),
        ({"inputConfig": {"fileName": "files/nope"}}, 403, "You do not have permission to access the File nope or it"),
        ({"inputConfig": {"requests": {"requests": []}}}, 400, "must hold at least one request"),
        ({"inputConfig": {"requests": []}}, 400, "'batch.input_config.requests'"),
        ({"src": {"fileName": "files/x"}}, 400, "Unknown name \"src\" at 'batch': Cannot find field."),
        ({"inputConfig": {"fileName": "files/x"}, "priority": "high"}, 400, "'batch.priority'"),
        ({"inputConfig": {"fileName": "files/x"}, "displayName": 7}, 400, "'batch.display_name'"),
        (
            {"inputConfig": {"fileName": "files/x"}, "webhookConfig": {"uris": ["https://h"]}},
            400,
            "does not call webhooks",
        ),
    ],
)
def test_a_create_that_makes_no_sense_is_refused(serving: Serving, batch: Any, status: int, message: str) -> None:
    raw = Raw(serving(Told())[0])
    reply = raw("POST", f"models/{MODEL}:batchGenerateContent", json={} if batch is None else {"batch": batch})
    assert refusal(reply)[0] == status
    assert message in refusal(reply)[2]


def test_an_unknown_model_is_not_found(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    reply = raw.create(to_model="nonexistent-model", inputConfig={"fileName": "files/x"})
    assert refusal(reply) == (
        404,
        "NOT_FOUND",
        (
            "models/nonexistent-model is not found for API version v1beta, or is not supported for "
            "batchGenerateContent. Call ListModels to see the list of available models and their supported methods."
        ),
    )


def test_an_inline_batch_larger_than_the_limit_is_refused(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    reply = raw.create(inputConfig={"requests": {"requests": [{"request": asking("x" * 20_971_520)}]}})
    assert refusal(reply) == (
        400,
        "INVALID_ARGUMENT",
        "Request payload size exceeds the limit: 20971520 bytes.",
    )


# inline


def inline(raw: Raw, *items: dict[str, Any], **batch: Any) -> str:
    reply = raw.create(inputConfig={"requests": {"requests": list(items)}}, **batch)
    assert reply.status_code == 200, reply.text
    name: str = reply.json()["name"]
    return name


def test_inline_answers_stand_in_the_operation_twice_with_their_metadata(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    name = inline(
        raw,
        {"request": asking("one"), "metadata": {"key": "a", "then": "b"}},
        {"request": asking("fail"), "metadata": {"key": "c"}},
        {"request": asking("three")},
    )
    shown = raw.reached(name)
    answers = shown["metadata"]["output"]["inlinedResponses"]["inlinedResponses"]
    assert shown["response"]["inlinedResponses"]["inlinedResponses"] == answers
    assert [set(one) for one in answers] == [{"response", "metadata"}, {"error", "metadata"}, {"response"}]
    assert answers[0]["metadata"] == {"key": "a", "then": "b"}
    assert answers[1] == {"error": {"code": 3, "message": "no"}, "metadata": {"key": "c"}}
    assert "inputConfig" not in shown["metadata"]


def test_metadata_comes_back_as_texts(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    shown = raw.reached(inline(raw, {"request": asking("x"), "metadata": {"n": 1, "o": {"p": True}, "t": "s"}}))
    (answer,) = shown["response"]["inlinedResponses"]["inlinedResponses"]
    assert answer["metadata"] == {"n": "1", "o": '{"p":true}', "t": "s"}


def test_a_display_name_is_never_taken_for_the_place_of_the_answers(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    shown = raw.reached(inline(raw, {"request": asking("x")}, displayName="the inlined answers"))
    assert shown["metadata"]["displayName"] == "the inlined answers"


def test_a_listing_shows_no_inlined_answers(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    raw.reached(inline(raw, {"request": asking("x")}))
    (listed,) = raw("GET", "batches").json()["operations"]
    assert listed["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
    assert "output" not in listed["metadata"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"key": "a", "request": asking("x")}, "Unknown name \"key\" at 'batch.input_config.requests.requests[0]'"),
        ({"metadata": {}}, "'batch.input_config.requests.requests[0].request': expected an object"),
        ({"request": asking("x", temperature=1)}, "no such field: 'temperature' in the request"),
        ({"request": asking("x"), "metadata": "k"}, ".metadata': expected an object"),
    ],
)
def test_a_bad_inline_request_refuses_the_whole_batch(serving: Serving, item: Any, message: str) -> None:
    raw = Raw(serving(Told())[0])
    reply = raw.create(inputConfig={"requests": {"requests": [item]}})
    assert refusal(reply)[0] == 400
    assert message in refusal(reply)[2]


def test_ten_thousand_inline_answers_come_whole(serving: Serving) -> None:
    raw = Raw(serving(Told(slots=2))[0])
    name = inline(raw, *({"request": asking(f"p{number}" * 30)} for number in range(10_000)))
    answers = raw.reached(name)["response"]["inlinedResponses"]["inlinedResponses"]
    assert len(answers) == 10_000
    assert answers[9_999]["response"]["candidates"][0]["content"]["parts"][0]["text"].startswith("p9999p")


# listing


def test_a_listing_is_newest_first_and_its_last_page_has_no_token(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    names = [inline(raw, {"request": asking("x")}) for _ in range(4)]
    first = raw("GET", "batches", params={"pageSize": 2}).json()
    second = raw("GET", "batches", params={"pageSize": 2, "pageToken": first["nextPageToken"]}).json()
    assert [one["name"] for one in first["operations"] + second["operations"]] == names[::-1]
    assert "nextPageToken" not in second


def test_an_empty_listing_is_an_empty_object(serving: Serving) -> None:
    assert Raw(serving(Told())[0])("GET", "batches").json() == {}


@pytest.mark.parametrize(
    "query",
    [
        {"pageToken": "@@"},
        {"pageToken": "abcd"},
        {"pageToken": "c2VxOjk5OTk5OTk5OTk5OTk5OTk5OTk5"},  # seq:99999999999999999999
        {"pageToken": "c2VxOi01"},  # seq:-5
        {"pageSize": "x"},
        {"pageSize": "-1"},
    ],
)
def test_a_page_that_cannot_be_is_refused(serving: Serving, query: dict[str, str]) -> None:
    assert refusal(Raw(serving(Told())[0])("GET", "batches", params=query))[:2] == (400, "INVALID_ARGUMENT")


def test_a_filter_is_refused_rather_than_ignored(serving: Serving) -> None:
    reply = Raw(serving(Told())[0])("GET", "batches", params={"filter": "state=SUCCEEDED"})
    assert "does not imitate 'filter'" in refusal(reply)[2]


# cancel, delete, update, expiry


def test_a_cancelled_batch_is_cancelled_at_the_next_look_and_has_no_output(serving: Serving) -> None:
    model, raw = held(serving)
    name = raw.created([line("a", "x"), line("b", "y")])
    model.wait_for(1)
    reply = raw("POST", f"{name}:cancel", content=b"")
    assert (reply.status_code, reply.json()) == (200, {})
    shown = raw("GET", name).json()
    assert (shown["metadata"]["state"], shown["done"]) == ("BATCH_STATE_CANCELLED", True)
    assert shown["error"] == {"code": 13, "message": "The batch was cancelled."}
    assert "response" not in shown and "output" not in shown["metadata"]
    model.allow()
    assert raw("POST", f"{name}:cancel", json={}).json() == {}
    assert model.asked in ([], ["x"])


def test_an_ended_batch_stays_as_it_ended_when_it_is_cancelled(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    name = raw.created([line("a", "x")])
    before = raw.reached(name)
    assert raw("POST", f"{name}:cancel").json() == {}
    assert raw("GET", name).json() == before


def test_a_deleted_batch_and_its_answers_are_gone(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    shown = raw.reached(raw.created([line("a", "x")]))
    name, file = shown["name"], shown["response"]["responsesFile"]
    assert raw("DELETE", name).json() == {}
    for reply in (raw("GET", name), raw("DELETE", name), raw("POST", f"{name}:cancel"), raw("GET", f"{file}:download")):
        assert refusal(reply)[:2] == (404, "NOT_FOUND")
    assert raw("GET", "batches").json() == {}


def test_deleting_a_running_batch_stops_it(serving: Serving) -> None:
    model, raw = held(serving)
    name = raw.created([line(str(number), f"p{number}") for number in range(5)])
    model.wait_for(1)
    raw("DELETE", name)
    model.allow(5)
    other = raw.created([line("a", "after")])
    raw.reached(other)
    assert model.asked == ["p0", "after"]


def test_the_batch_of_the_higher_priority_goes_first(serving: Serving) -> None:
    model, raw = held(serving)
    raw.created([line("a", "first")])
    model.wait_for(1)
    low = raw.created([line("a", "low")], priority="-1")
    raw.created([line("a", "plain")])
    changed = raw.created([line("a", "changed")])
    high = raw.created([line("a", "high")], priority=9)
    reply = raw(
        "PATCH",
        f"{changed}:updateGenerateContentBatch",
        params={"updateMask": "priority,displayName"},
        json={"priority": "10", "displayName": "urgent"},
    ).json()
    assert (reply["name"], reply["priority"], reply["displayName"]) == (changed, "10", "urgent")
    model.allow(5)
    for name in (low, high):
        raw.reached(name)
    assert model.asked == ["first", "changed", "high", "plain", "low"]


def test_nothing_else_of_a_batch_can_be_changed(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    name = inline(raw, {"request": asking("x")})
    assert refusal(raw("PATCH", f"{name}:updateGenerateContentBatch", json={"model": "models/x"}))[0] == 400


def test_a_batch_that_takes_two_days_expires_without_answers(serving: Serving) -> None:
    clock = HandClock()
    model, raw = held(serving, clock=clock)
    name = raw.created([line("a", "x"), line("b", "y")])
    model.wait_for(1)
    clock.advance(48 * 3600 + 1)
    model.allow()
    shown = raw.reached(name)
    assert shown["metadata"]["state"] == "BATCH_STATE_EXPIRED"
    assert shown["error"]["code"] == 4
    assert "output" not in shown["metadata"]


# embeddings


def test_embeddings_are_answered_in_a_file_and_inline(serving: Serving) -> None:
    raw = Raw(serving(Told(), embedding_model="simulated")[0])
    request = {"output_dimensionality": 3, "content": {"parts": [{"text": "Explain GenAI"}]}}
    file = raw.upload([{"key": "r", "request": request}])
    made = raw.create("asyncBatchEmbedContent", "gemini-embedding-001", inputConfig={"file_name": file}).json()
    assert made["metadata"]["@type"].endswith(".EmbedContentBatch")
    (answer,) = raw.answers(raw.reached(made["name"]))
    assert (answer["key"], len(answer["response"]["embedding"]["values"])) == ("r", 3)
    assert int(answer["response"]["tokenCount"]) > 0
    newer = {"content": {"parts": [{"text": "t"}]}, "embedContentConfig": {"outputDimensionality": 4}}
    source = {"requests": {"requests": [{"request": newer, "metadata": {"key": "k"}}]}}
    made = raw.create("asyncBatchEmbedContent", "gemini-embedding-001", inputConfig=source).json()
    (inlined,) = raw.reached(made["name"])["response"]["inlinedResponses"]["inlinedResponses"]
    assert (inlined["metadata"], len(inlined["response"]["embedding"]["values"])) == ({"key": "k"}, 4)


def test_a_chat_request_in_a_batch_of_embeddings_is_refused(serving: Serving) -> None:
    raw = Raw(serving(Told())[0])
    file = raw.upload([line("a", "x")])
    reply = raw.create("asyncBatchEmbedContent", "gemini-embedding-001", inputConfig={"fileName": file})
    assert "no such field: 'contents'" in refusal(reply)[2]


# the unmodified SDK


def test_the_sdk_runs_a_file_batch_from_upload_to_answers(serving: Serving, tmp_path: Any) -> None:
    server, _ = serving(Told())
    client = sdk(server)
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl([line("a", "x"), line("b", "fail")]))
    file = client.files.upload(file=path, config={"mime_type": "jsonl", "display_name": "in"})
    job = client.batches.create(model=MODEL, src=file.name, config={"display_name": "job"})
    assert job.state == types.JobState.JOB_STATE_PENDING
    job = ended(client, job.name)
    assert (job.state, job.display_name) == (types.JobState.JOB_STATE_SUCCEEDED, "job")
    lines = client.files.download(file=job.dest.file_name).split(b"\n")
    assert [json.loads(one)["key"] for one in lines if one] == ["a", "b"]
    client.files.download(file=job.dest.file_name, destination=tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes().split(b"\n") == lines


def test_the_sdk_reads_inline_answers_errors_and_metadata(serving: Serving) -> None:
    client = sdk(serving(Told())[0])
    job = client.batches.create(
        model=MODEL,
        src=[
            {"contents": "one", "metadata": {"key": "a"}},
            {"contents": "fail", "metadata": {"key": "b"}, "config": {"temperature": 0.5}},
        ],
    )
    one, two = ended(client, job.name).dest.inlined_responses
    assert (one.response.text, one.metadata) == ("one", {"key": "a"})
    assert (two.error.code, two.error.message, two.metadata) == (3, "no", {"key": "b"})


def test_the_sdk_gives_a_priority_cancels_deletes_and_lists(serving: Serving) -> None:
    model = Held()
    client = sdk(serving(model)[0])
    config: Any = {"http_options": {"extra_body": {"batch": {"priority": "5"}}}}
    job = client.batches.create(model=MODEL, src=[{"contents": "x"}], config=config)
    model.wait_for(1)
    assert client.batches.cancel(name=job.name) is None
    assert client.batches.get(name=job.name).state == types.JobState.JOB_STATE_CANCELLED
    assert [one.name for one in client.batches.list()] == [job.name]
    client.batches.delete(name=job.name)
    assert list(client.batches.list()) == []
    with pytest.raises(errors.ClientError) as gone:
        client.batches.delete(name=job.name)
    assert (gone.value.code, gone.value.status) == (404, "NOT_FOUND")
    model.allow()


@pytest.mark.filterwarnings("ignore:batches.create_embeddings")
def test_the_sdk_reads_embeddings_of_a_batch(serving: Serving) -> None:
    client = sdk(serving(Told(), embedding_model="simulated")[0])
    job = client.batches.create_embeddings(
        model="gemini-embedding-001",
        src=types.EmbeddingsBatchJobSource(
            inlined_requests=types.EmbedContentBatch(
                contents=["t1", "t2"],
                config=types.EmbedContentConfig(task_type="RETRIEVAL_DOCUMENT", title="T", output_dimensionality=8),
            )
        ),
    )
    items = ended(client, job.name).dest.inlined_embed_content_responses
    assert [(len(one.response.embedding.values), one.response.token_count) for one in items] == [(8, 1), (8, 1)]


def test_the_sdk_sends_a_picture_in_its_own_alphabet(serving: Serving) -> None:
    model = Told()
    asked: list[Any] = []
    answer = model.answer
    model.answer = lambda endpoint, body: (
        asked.append(body),
        answer(endpoint, {**body, "messages": [{"content": "ok"}]}),
    )[1]  # type: ignore[method-assign]
    client = sdk(serving(model)[0])
    data = bytes(range(256))
    part = types.Part.from_bytes(data=data, mime_type="image/png")
    job = client.batches.create(model=MODEL, src=[types.InlinedRequest(contents=["see", part])])
    assert ended(client, job.name).dest.inlined_responses[0].response.text == "ok"
    (text, picture) = asked[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "see"}
    assert base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"), validate=True) == data


# over a restart


def test_a_stopped_server_goes_on_with_its_batches_and_keeps_the_ended_ones(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "STOP_S", 0.05)
    model = Held()
    with LocalServer(model, data=tmp_path) as server:
        raw = Raw(server)
        done = raw.created([line("a", "done")])
        model.allow()
        before = raw.reached(done)
        names = [raw.created([line(str(number), f"p{number}") for number in range(4)], displayName="mine")]
        names.append(inline(raw, {"request": asking("q"), "metadata": {"key": "k"}}))
        model.wait_for(2)
        model.allow(1)
        model.wait_for(3)  # one is being answered while the server stops
    asked = list(model.asked)
    assert asked == ["done", "p0"]
    told = Told()
    with LocalServer(told, data=tmp_path) as server:
        raw = Raw(server)
        assert raw("GET", done).json() == before
        first = raw.reached(names[0])
        assert [one["key"] for one in raw.answers(first)] == ["0", "1", "2", "3"]
        assert first["metadata"]["displayName"] == "mine"
        (answer,) = raw.reached(names[1])["response"]["inlinedResponses"]["inlinedResponses"]
        assert answer["metadata"] == {"key": "k"}
    assert sorted(asked + told.asked) == ["done", "p0", "p1", "p2", "p3", "q"]
