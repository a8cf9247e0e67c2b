"""What each fault looks like from outside: over HTTP, with plain calls and with the unmodified official SDKs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.genai import Client
from google.genai.types import HttpOptions
from server_tools import answers, chat_lines, counts, done, jsonl, reached, submit

from nono.server.app import LocalServer
from nono.server.clock import HandClock, SteeredClock
from openai import APIConnectionError, APIStatusError, OpenAI
from patience import PATIENT_S

Serve = Callable[..., tuple[LocalServer, OpenAI]]


@pytest.fixture
def misbehaving(serving: Serve) -> Serve:
    """Starts a server with these rules, whose clock only moves when a test moves it."""

    def serve(*rules: dict[str, Any], clock: SteeredClock | None = None) -> tuple[LocalServer, OpenAI]:
        return serving(faults=list(rules), clock=clock or HandClock())

    return serve


def uploaded(sdk: OpenAI, rows: int = 4) -> str:
    return sdk.files.create(file=("in.jsonl", jsonl(chat_lines(map(str, range(rows))))), purpose="batch").id


def create(sdk: OpenAI, file_id: str) -> Any:
    return sdk.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")


def moved(server: LocalServer, seconds: float) -> None:
    httpx2.post(f"{server.url}/_nono/clock", json={"advance": seconds}).raise_for_status()


# --- calls ---


def test_a_dropped_answer_has_taken_effect(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "drop-answer", "call": "create", "nth": 1})
    with pytest.raises(APIConnectionError):
        create(sdk, uploaded(sdk))
    assert len(sdk.batches.list().data) == 1


def test_a_reset_call_has_not(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "reset", "call": "create", "nth": 1})
    with pytest.raises(APIConnectionError):
        create(sdk, uploaded(sdk))
    assert sdk.batches.list().data == []


@pytest.mark.parametrize(("effect", "batches"), [(True, 1), (False, 0)])
def test_a_call_that_hangs_ends_without_an_answer(serving: Serve, effect: bool, batches: int) -> None:
    rule = {"fault": "hang", "call": "create", "seconds": 100, "effect": effect}
    _, sdk = serving(faults=[rule], clock=SteeredClock(speed=10_000))
    with pytest.raises(APIConnectionError):
        create(sdk, uploaded(sdk))
    assert len(sdk.batches.list().data) == batches


def test_a_late_call_arrives_when_its_client_is_gone(misbehaving: Serve) -> None:
    server, sdk = misbehaving({"fault": "late", "call": "create", "seconds": 60})
    with pytest.raises(APIConnectionError):
        create(sdk, uploaded(sdk))
    assert sdk.batches.list().data == []
    moved(server, 61)
    until = time.monotonic() + PATIENT_S
    while not sdk.batches.list().data:
        assert time.monotonic() < until


@pytest.mark.parametrize("hint", ["7", "1e9", "soon", None])
def test_a_refusal_carries_any_hint(misbehaving: Serve, hint: str | None) -> None:
    rule = {"fault": "rate-limit", "call": "list"} | ({} if hint is None else {"retry_after": hint})
    _, sdk = misbehaving(rule)
    with pytest.raises(APIStatusError, match="Rate limit reached") as refused:
        sdk.batches.list()
    assert refused.value.status_code == 429
    assert refused.value.response.headers.get("retry-after") == hint


def test_a_hint_can_be_a_date(misbehaving: Serve) -> None:
    server, sdk = misbehaving({"fault": "rate-limit", "call": "list", "retry_after": "date:90"})
    with pytest.raises(APIStatusError) as refused:
        sdk.batches.list()
    when = parsedate_to_datetime(refused.value.response.headers["retry-after"]).timestamp()
    assert when == server.settings.clock.now_ns() // 10**9 + 90


@pytest.mark.parametrize(
    ("path", "envelope"),
    [
        ("/v1/batches", {"message": "no", "type": "server_error", "param": None, "code": "c"}),
        ("/gemini/v1beta/batches", {"code": 503, "message": "no", "status": "UNAVAILABLE"}),
        (
            "/v1beta1/projects/p/locations/l/batchPredictionJobs",
            {"code": 503, "message": "no", "status": "c"},
        ),
    ],
    ids=["openai", "gemini", "vertex"],
)
def test_a_refusal_speaks_its_protocol(misbehaving: Serve, path: str, envelope: dict[str, Any]) -> None:
    server, _ = misbehaving(
        {"fault": "refuse", "call": "list", "message": "no", "code": "c", "retry_after": "5"},
    )
    refused = httpx2.get(server.url + path)
    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (503, envelope, "5")


def test_a_rule_for_one_provider_leaves_the_other_alone(misbehaving: Serve) -> None:
    server, _ = misbehaving({"fault": "refuse", "call": "list", "provider": "gemini"})
    assert httpx2.get(f"{server.url}/gemini/v1beta/batches").status_code == 503
    assert httpx2.get(f"{server.url}/v1/batches").status_code == 200


def test_a_proxys_page_is_no_json(misbehaving: Serve) -> None:
    server, _ = misbehaving({"fault": "html", "status": 200})
    page = httpx2.get(f"{server.url}/v1/batches")
    assert (page.status_code, page.headers["content-type"], page.text[:6]) == (
        200,
        "text/html; charset=utf-8",
        "<html>",
    )


def test_an_answer_that_breaks_off_is_a_2xx(misbehaving: Serve) -> None:
    server, _ = misbehaving({"fault": "garble"})
    reply = httpx2.get(f"{server.url}/v1/batches")
    assert reply.status_code == 200
    with pytest.raises(ValueError):
        reply.json()


def test_a_truncated_download_with_a_length_is_noticed(misbehaving: Serve) -> None:
    server, sdk = misbehaving({"fault": "truncate", "at": 10})
    with pytest.raises(httpx2.RemoteProtocolError, match=r"received 10 bytes, expected \d+"):
        httpx2.get(f"{server.url}/v1/files/{uploaded(sdk)}/content")


def test_a_truncated_download_without_a_length_looks_whole(misbehaving: Serve) -> None:
    server, sdk = misbehaving({"fault": "truncate", "at": 10, "length": False})
    assert httpx2.get(f"{server.url}/v1/files/{uploaded(sdk)}/content").content == b'{"custom_i'


def test_a_dripping_answer_is_whole_in_the_end(serving: Serve) -> None:
    server, sdk = serving(
        faults=[{"fault": "drip", "call": "content", "bytes": 50, "seconds": 1}], clock=SteeredClock(speed=1000)
    )
    began_ns = server.settings.clock.now_ns()
    content = httpx2.get(f"{server.url}/v1/files/{uploaded(sdk)}/content").content
    assert content == jsonl(chat_lines(map(str, range(4))))
    assert server.settings.clock.now_ns() - began_ns >= len(content) // 50 * 10**9


def test_a_file_is_unknown_for_a_while_after_its_upload(misbehaving: Serve) -> None:
    server, sdk = misbehaving({"fault": "file-lag", "seconds": 5})
    file_id = uploaded(sdk)
    with pytest.raises(APIStatusError, match="No such File object"):
        create(sdk, file_id)
    moved(server, 5)
    assert create(sdk, file_id).input_file_id == file_id


def test_a_synchronous_call_can_fail_too(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "refuse", "status": 500, "call": "ask"})
    with pytest.raises(APIStatusError) as refused:
        sdk.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    assert refused.value.status_code == 500


# --- what replies show ---


def test_a_list_shows_a_batch_late_and_a_question_by_id_at_once(misbehaving: Serve) -> None:
    server, sdk = misbehaving({"fault": "list-lag", "seconds": 60})
    batch = create(sdk, uploaded(sdk))
    assert sdk.batches.list().data == []
    assert sdk.batches.retrieve(batch.id).id == batch.id
    moved(server, 60)
    assert [one.id for one in sdk.batches.list()] == [batch.id]


def test_an_output_is_named_late(misbehaving: Serve) -> None:
    server, sdk = misbehaving({"fault": "late-output", "seconds": 40})
    batch = done(sdk, chat_lines(["a"]))
    assert batch.output_file_id is None
    moved(server, 40)
    assert len(answers(sdk, sdk.batches.retrieve(batch.id).output_file_id)) == 1


def test_ids_that_are_not_there_can_be_empty(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "empty-ids"})
    batch = done(sdk, chat_lines(["a"]))
    assert (batch.output_file_id != "", batch.error_file_id) == (True, "")


def test_a_batch_at_work_can_be_in_an_unknown_state(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "unknown-state"}, {"fault": "stuck"})
    assert sdk.batches.retrieve(create(sdk, uploaded(sdk)).id).status == "pondering"


def test_tags_and_counters_can_be_missing(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "no-tag"}, {"fault": "no-counts"})
    batch = submit(sdk, chat_lines(["a"]), metadata={"job": "1"})
    shown = sdk.batches.retrieve(batch.id)
    assert (shown.metadata, shown.request_counts) == (None, None)


# --- batches ---


def test_a_stuck_batch_begins_when_its_time_has_come(misbehaving: Serve) -> None:
    server, sdk = misbehaving({"fault": "stuck", "seconds": 3600})
    batch = create(sdk, uploaded(sdk))
    assert reached(sdk, batch, "in_progress").request_counts.completed == 0  # type: ignore[union-attr]
    moved(server, 3601)
    assert counts(reached(sdk, batch)) == (4, 4, 0)


def test_a_batch_that_expires_half_way_keeps_what_was_answered(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "expire", "after": 0.5})
    batch = done(sdk, chat_lines(["a", "b", "c", "d"]))
    assert (batch.status, counts(batch)) == ("expired", (4, 2, 0))
    assert [line["error"]["code"] for line in answers(sdk, batch.error_file_id)] == ["batch_expired"] * 2


def test_a_batch_can_be_cancelled_by_its_provider(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "cancel", "after": 0.25})
    batch = done(sdk, chat_lines(["a", "b", "c", "d"]))
    assert (batch.status, counts(batch)) == ("cancelled", (4, 1, 0))


def test_a_batch_can_fail_for_any_reason(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "fail", "code": "odd", "message": "for no reason", "nth": 2})
    assert done(sdk, chat_lines(["a"])).status == "completed"
    batch = done(sdk, chat_lines(["a"]))
    assert batch.status == "failed"
    assert batch.errors is not None and batch.errors.data is not None
    assert (batch.errors.data[0].code, batch.errors.data[0].message) == ("odd", "for no reason")


def test_the_room_of_an_account_refuses_a_batch_as_the_provider_does(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "token-limit", "tokens": 1_000})
    batch = done(sdk, chat_lines(["x" * 4_100]))
    assert batch.errors is not None and batch.errors.data is not None
    assert batch.errors.data[0].code == "token_limit_exceeded"
    assert "Limit: 1,000 enqueued tokens" in str(batch.errors.data[0].message)
    assert done(sdk, chat_lines(["x" * 3_900])).status == "completed"


def test_requests_fail_once_each(misbehaving: Serve) -> None:
    _, sdk = misbehaving({"fault": "row-error", "share": 1.0, "times": 1})
    assert counts(done(sdk, chat_lines(["a", "b"]))) == (2, 0, 2)
    assert counts(done(sdk, chat_lines(["a", "b", "c"]))) == (3, 2, 1)


# --- answer lines ---


def line_ids(sdk: OpenAI, file_id: str | None) -> list[Any]:
    """The ids of an answer file's lines; None for one that cannot be read."""
    found: list[Any] = []
    assert file_id is not None
    for line in sdk.files.content(file_id).content.split(b"\n"):
        try:
            found += [json.loads(line)["custom_id"]] if line.strip() else []
        except ValueError:
            found.append(None)
    return found


@pytest.mark.parametrize(
    ("fault", "ids"),
    [
        ({"fault": "duplicate-lines"}, ["r0", "r0", "r1", "r1", "r2", "r2"]),
        ({"fault": "duplicate-lines", "nth": 2}, ["r0", "r1", "r1", "r2"]),
        ({"fault": "missing-lines", "nth": 2}, ["r0", "r2"]),
        ({"fault": "corrupt-lines", "nth": 1}, [None, "r1", "r2"]),
        ({"fault": "corrupt-lines", "nth": 1, "how": "html"}, [None, "r1", "r2"]),
        ({"fault": "odd-lines", "how": "blank"}, ["r0", "r1", "r2"]),
        ({"fault": "foreign-lines", "nth": 3}, ["r0", "r1", "r2", "of-another-batch-r2"]),
    ],
)
def test_answer_lines_are_spoiled(misbehaving: Serve, fault: dict[str, Any], ids: list[Any]) -> None:
    _, sdk = misbehaving({"share": 1.0, **fault})
    assert line_ids(sdk, done(sdk, chat_lines(["a", "b", "c"])).output_file_id) == ids


def test_answer_lines_are_shuffled_the_same_way_every_time(tmp_path: Path) -> None:
    orders = []
    for name in ("one", "two"):
        with LocalServer(data=tmp_path / name, faults=[{"fault": "shuffle-lines"}]) as server:
            sdk = OpenAI(base_url=server.openai_base_url, api_key="local")
            orders.append(line_ids(sdk, done(sdk, chat_lines(map(str, range(50)))).output_file_id))
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted(f"r{number}" for number in range(50))
    assert orders[0] != [f"r{number}" for number in range(50)]


# --- Gemini and Vertex AI ---


@pytest.fixture
def google(misbehaving: Serve) -> Iterator[Callable[..., Client]]:
    opened = []

    def serve(*rules: dict[str, Any]) -> Client:
        server, _ = misbehaving(*rules)
        opened.append(Client(api_key="local", http_options=HttpOptions(base_url=server.gemini_base_url)))
        return opened[-1]

    yield serve
    for client in opened:
        client.close()


def inline_job(client: Client, prompts: list[str]) -> Any:
    requests = [{"contents": prompt, "metadata": {"key": prompt}} for prompt in prompts]
    job = client.batches.create(model="gemini-2.5-flash", src=requests)  # type: ignore[arg-type]
    until = time.monotonic() + PATIENT_S
    while not (job := client.batches.get(name=job.name or "")).done:
        assert time.monotonic() < until
    return job


def test_inline_answers_come_in_another_order_and_stay_json(google: Callable[..., Client]) -> None:
    prompts = [f"p{number}" for number in range(12)]
    job = inline_job(google({"fault": "shuffle-lines"}, {"fault": "corrupt-lines", "share": 1.0}), prompts)
    keys = [answer.metadata["key"] for answer in job.dest.inlined_responses]
    assert sorted(keys) == sorted(prompts)
    assert keys != prompts


@pytest.mark.filterwarnings("ignore:BATCH_STATE_PONDERING is not a valid JobState")
def test_a_gemini_job_can_be_in_a_state_that_the_sdk_does_not_know(google: Callable[..., Client]) -> None:
    client = google({"fault": "unknown-state"}, {"fault": "stuck"})
    made = client.batches.create(model="gemini-2.5-flash", src=[{"contents": "hi"}])  # type: ignore[list-item]
    assert client.batches.get(name=made.name or "").state.value == "BATCH_STATE_PONDERING"  # type: ignore[union-attr]


def vertex_job(server: LocalServer) -> str:
    """The address of a new job."""
    folder = server.data / "gcs" / "bkt"
    folder.mkdir(parents=True)
    row = {"request": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}}
    (folder / "in.jsonl").write_text(json.dumps(row))
    body = {
        "displayName": "n",
        "model": "publishers/google/models/gemini-2.5-flash",
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://bkt/in.jsonl"]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "gs://bkt/out"}},
    }
    made = httpx2.post(f"{server.url}/v1beta1/projects/p/locations/l/batchPredictionJobs", json=body).json()
    return f"{server.url}/v1beta1/{made['name']}"


def test_a_vertex_job_can_fail(misbehaving: Serve) -> None:
    server, _ = misbehaving({"fault": "fail", "provider": "vertex", "message": "for no reason"})
    address, until = vertex_job(server), time.monotonic() + PATIENT_S
    while (job := httpx2.get(address).json())["state"] != "JOB_STATE_FAILED":
        assert time.monotonic() < until
    assert job["error"]["message"] == "for no reason"


def test_a_vertex_job_can_be_in_an_unknown_state_and_missing_in_the_list(misbehaving: Serve) -> None:
    server, _ = misbehaving({"fault": "stuck"}, {"fault": "unknown-state"}, {"fault": "list-lag", "seconds": 9})
    address = vertex_job(server)
    assert httpx2.get(address).json()["state"] == "JOB_STATE_PONDERING"
    assert httpx2.get(address.rpartition("/")[0]).json() == {"batchPredictionJobs": []}
    moved(server, 9)
    assert len(httpx2.get(address.rpartition("/")[0]).json()["batchPredictionJobs"]) == 1
