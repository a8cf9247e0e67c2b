"""The calls themselves: what is sent, how often, and what is made of each answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from openai_double import Script, answer_line, batch, file, lines, refusal

from nono.errors import (
    AnswerLost,
    Conflict,
    InputError,
    JobFailed,
    LimitError,
    NotComplete,
    NotFound,
    NotSent,
    OutOfQuota,
    ProviderUnavailable,
    RateLimited,
    UnreadableAnswer,
)
from nono.exchange import Call, FileSlice, Reply, content_length, drive
from nono.model import Phase
from nono.providers import Provider, Task
from nono.providers.openai import PROVIDER, flows, harvest
from nono.retry import RetryPolicy, retrying

SAMPLES = Path(__file__).parent.parent / "samples" / "openai"
TASK = Task("chat", "gpt-4o-mini")


def perform(flow: Any, *replies: Any) -> tuple[Any, Script]:
    """Perform a flow as the service does, retries included, without waiting."""
    script = Script(*replies)
    return drive(retrying(flow, RetryPolicy(draw=lambda low, high: 0.0)), script, sleep=lambda seconds: None), script


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"custom_id": "q-1"}\n')
    return path


def test_the_provider_is_what_the_engine_asks_for() -> None:
    provider: Provider = PROVIDER
    assert provider.name == "openai"
    assert provider.facts["limits.requests_per_file"].value == 50_000


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (AnswerLost("dropped"), AnswerLost),
        (NotSent("refused"), NotSent),
        (refusal(500), ProviderUnavailable),
        (refusal(503, retry_after="1"), ProviderUnavailable),
        (refusal(429, code="rate_limit_exceeded", x_should_retry="true"), RateLimited),
        (refusal(400, "Billing hard limit has been reached", "billing_hard_limit_reached"), OutOfQuota),
        (refusal(408), ProviderUnavailable),
        (refusal(409), Conflict),
        (Reply(200, {}, b"<html>"), UnreadableAnswer),
        (Reply(200, {}, b"{}"), UnreadableAnswer),
    ],
)
def test_a_batch_is_created_by_exactly_one_post_whatever_comes_back(answer: Any, error: type[Exception]) -> None:
    script = Script(answer)
    with pytest.raises(error):
        drive(retrying(PROVIDER.create(file_id="file-in", task=TASK, tag="t-1")), script)
    assert [(call.method, call.path, call.once) for call in script.calls] == [("POST", "/batches", True)]


def test_the_tag_travels_in_the_metadata_and_comes_back() -> None:
    made, script = perform(
        PROVIDER.create(file_id="file-in", task=TASK, tag="t-1"), lambda call: _echo(call, status="validating")
    )
    assert script.calls[0].json == {
        "completion_window": "24h",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-in",
        "metadata": {"nono_tag": "t-1"},
    }
    assert (made.tag, made.phase, made.input_file_id) == ("t-1", Phase.PENDING, "file-in")


def _echo(call: Call, **more: Any) -> Reply:
    return Reply(200, {}, json.dumps(batch(metadata=call.json["metadata"], **more)).encode())


def test_an_upload_is_fields_first_then_the_file_from_disk(input_file: Path) -> None:
    sent, script = perform(flows.upload(input_file, name="run-1.jsonl", expires_after=3600), file(size=21))
    (call,) = script.calls
    assert call.content is not None
    head, body, tail = call.content
    assert body == FileSlice(input_file, 0, 21)
    assert isinstance(head, bytes) and isinstance(tail, bytes)
    boundary = call.headers["content-type"].removeprefix("multipart/form-data; boundary=")
    assert re.findall(r'form-data; name="([^"]+)"', head.decode()) == [
        "purpose",
        "expires_after[anchor]",
        "expires_after[seconds]",
        "file",
    ]
    assert 'filename="run-1.jsonl"' in head.decode()
    assert tail == f"\r\n--{boundary}--\r\n".encode()
    assert content_length(call.content) == len(head) + 21 + len(tail)
    assert (sent.id, sent.bytes) == ("file-in", 21)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("a.jsonl", "a.jsonl"),
        ("a.json", "a.jsonl"),
        ("a", "a.jsonl"),
        ('a"b\r\n.jsonl', "a%22b%0D%0A.jsonl"),
        ("größe.jsonl", "größe.jsonl"),
    ],
)
def test_an_uploaded_file_has_a_name_that_the_service_takes(input_file: Path, name: str, sent: str) -> None:
    _, script = perform(flows.upload(input_file, name=name), file())
    assert script.calls[0].content is not None
    head = script.calls[0].content[0]
    assert isinstance(head, bytes) and f'filename="{sent}"\r\n' in head.decode()


def test_the_engines_upload_is_sent_once_and_a_lost_one_is_found_by_name(input_file: Path) -> None:
    script = Script(AnswerLost("dropped"))
    with pytest.raises(AnswerLost):
        drive(retrying(PROVIDER.upload(input_file, name="shard-7.jsonl")), script)
    found, script = perform(
        PROVIDER.find_file("shard-7.jsonl"),
        {"data": [file("file-1"), file("file-2")], "has_more": True},
        {"data": [file("file-3", 21, filename="shard-7.jsonl")], "has_more": True},
    )
    assert [call.params for call in script.calls] == [
        {"limit": 1000, "order": "desc", "purpose": "batch"},
        {"limit": 1000, "order": "desc", "purpose": "batch", "after": "file-2"},
    ]
    assert (found.id, found.name, found.size_bytes) == ("file-3", "shard-7.jsonl", 21)


def test_a_file_that_is_not_there_is_not_found() -> None:
    assert perform(PROVIDER.find_file("x.jsonl"), {"data": [], "has_more": False})[0] is None


def test_a_server_that_gives_the_same_files_for_ever_is_not_searched_for_ever() -> None:
    same = {"data": [file("file-1", filename="other.jsonl")], "has_more": True}
    assert perform(PROVIDER.find_file("x.jsonl"), same, same)[0] is None


def test_a_deleted_file_may_be_gone_already() -> None:
    perform(PROVIDER.delete_file("file-1"), {"id": "file-1", "deleted": True})
    perform(PROVIDER.delete_file("file-1"), refusal(404))


def test_transient_trouble_is_tried_again_where_that_is_safe() -> None:
    seen, script = perform(
        PROVIDER.get("batch_1"), refusal(503), AnswerLost("x"), refusal(429), batch(status="in_progress")
    )
    assert (seen.phase, len(script.calls)) == (Phase.RUNNING, 4)


def test_ids_are_segments_of_a_path_and_never_empty_or_a_step_up() -> None:
    _, script = perform(PROVIDER.get("a/b ?c"), batch())
    assert script.calls[0].path == "/batches/a%2Fb%20%3Fc"
    for wrong in ("", "  ", None, "..", 7):
        with pytest.raises(InputError, match="not the id of a batch"):
            perform(flows.get_batch(wrong))  # type: ignore[arg-type]


def test_a_page_is_a_hundred_batches_and_names_the_next() -> None:
    page, script = perform(PROVIDER.list_page(), {"data": [batch("batch_1")], "has_more": True})
    assert script.calls[0].params == {"limit": 100}
    assert ([each.id for each in page[0]], page[1]) == (["batch_1"], "batch_1")
    page, script = perform(PROVIDER.list_page("batch_1"), {"data": [batch("batch_2")], "has_more": False})
    assert script.calls[0].params == {"limit": 100, "after": "batch_1"}
    assert page[1] is None


def test_a_longer_list_is_read_page_by_page() -> None:
    first = {"data": [batch(f"batch_{n}") for n in range(100)], "has_more": True}
    second = {"data": [batch(f"batch_{n}") for n in range(100, 130)], "has_more": True}
    page, script = perform(flows.list_batches(130), first, second)
    assert [call.params for call in script.calls] == [{"limit": 100}, {"limit": 30, "after": "batch_99"}]
    assert (len(page), page.after, page.has_more) == (130, "batch_129", True)


def test_a_short_page_is_a_page_and_says_that_there_is_more() -> None:
    page, script = perform(flows.list_batches(20), {"data": [batch("batch_1")], "has_more": True})
    assert (len(script.calls), len(page), page.after) == (1, 1, "batch_1")


def test_a_server_that_repeats_its_cursor_does_not_hold_us() -> None:
    same = {"data": [batch("batch_1")], "has_more": True}
    page, script = perform(flows.list_batches(500), same, same)
    assert (len(script.calls), page.has_more) == (2, False)


@pytest.mark.parametrize("limit", [0, -1, True, "20"])
def test_a_limit_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(InputError, match="limit is"):
        perform(flows.list_batches(limit))


def test_cancelling_a_batch_that_has_ended_is_no_error_and_not_repeated() -> None:
    seen, script = perform(flows.cancel_batch("batch_1"), refusal(409), batch(status="completed"))
    assert (seen.status, [call.method for call in script.calls]) == ("completed", ["POST", "GET"])
    perform(PROVIDER.cancel("batch_1"), refusal(400), batch(status="failed"))


def test_a_cancel_that_is_refused_while_the_batch_runs_is_an_error() -> None:
    with pytest.raises(Conflict):
        perform(flows.cancel_batch("batch_1"), refusal(409), batch(status="finalizing"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({str(n): "x" for n in range(17)}, "metadata: 17 pairs, and at most 16 are taken"),
        ({"k" * 65: "x"}, "65 characters, and at most 64 are taken"),
        ({"k": "v" * 513}, "513 characters, and at most 512 are taken"),
    ],
)
def test_metadata_that_the_service_refuses_is_refused_first(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(LimitError, match=message):
        perform(flows.create_batch("file-in", "/v1/embeddings", metadata=metadata))


def test_metadata_is_text() -> None:
    with pytest.raises(InputError, match="metadata 'n': 7 is not text"):
        perform(flows.create_batch("file-in", "/v1/embeddings", metadata={"n": 7}))  # type: ignore[dict-item]


@pytest.mark.parametrize("seconds", [3599, 2_592_001])
def test_answers_are_kept_an_hour_to_thirty_days(seconds: int) -> None:
    with pytest.raises(LimitError, match="is outside of 3,600 to 2,592,000 s"):
        perform(flows.create_batch("file-in", "/v1/embeddings", output_expires_after=seconds))


def test_an_expiry_is_written_as_the_service_wants_it() -> None:
    assert flows.expiry_of(7200) == {"anchor": "created_at", "seconds": 7200}
    assert flows.expiry_of({"anchor": "created_at", "seconds": 7200}) == {"anchor": "created_at", "seconds": 7200}
    with pytest.raises(InputError, match="an expiry of '1h'"):
        flows.expiry_of("1h")  # type: ignore[arg-type]


# ── What a batch leaves behind ─────────────────────────────────────────────────────────────────────────────────────

OUTPUT = lines(answer_line("a"), answer_line("b"))
ERRORS = lines({"id": "1", "custom_id": "c", "response": None, "error": {"code": "batch_expired", "message": "m"}})


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
@pytest.mark.parametrize(
    ("output", "error", "files"),
    [
        ("file-out", "file-err", [OUTPUT, ERRORS]),
        ("file-out", None, [OUTPUT]),
        ("", "file-err", [ERRORS]),
        (None, "", []),
    ],
)
def test_all_that_is_paid_is_fetched_in_every_terminal_state(
    tmp_path: Path, status: str, output: str | None, error: str | None, files: list[bytes]
) -> None:
    remote, _ = perform(PROVIDER.get("b"), batch(status=status, output_file_id=output, error_file_id=error))
    replies = [reply for content in files for reply in (file(size=len(content)), content)]
    paths, _ = perform(PROVIDER.fetch(remote, tmp_path), *replies)
    assert [path.read_bytes() for path in paths] == files
    again, script = perform(PROVIDER.fetch(remote, tmp_path))
    assert (again, script.calls) == (paths, [])


def test_an_answer_file_that_the_service_dropped_says_so(tmp_path: Path) -> None:
    remote, _ = perform(PROVIDER.get("b"), batch(output_file_id="file-out"))
    with pytest.raises(NotFound):
        perform(PROVIDER.fetch(remote, tmp_path), refusal(404), refusal(404))
    assert list(tmp_path.iterdir()) == []


def test_content_without_a_file_object_is_still_fetched() -> None:
    seen, _ = perform(harvest.results("batch_1"), batch(output_file_id="file-out"), refusal(404), OUTPUT)
    assert [line["custom_id"] for line in seen] == ["a", "b"]


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
def test_a_batch_without_a_single_success_has_no_results(tmp_path: Path, status: str) -> None:
    ended = batch(status=status, output_file_id=None, error_file_id="file-err")
    assert perform(harvest.results("batch_1"), ended)[0] == []
    path = tmp_path / "out.jsonl"
    assert perform(harvest.save_results("batch_1", path), ended)[0] == path
    assert path.read_bytes() == b""


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", "brand_new"])
def test_results_before_the_end_are_not_complete(status: str) -> None:
    with pytest.raises(NotComplete, match=f"batch batch_1 has not ended: it is {status}"):
        perform(harvest.results("batch_1"), batch(status=status))


def failed(count: int = 1) -> dict[str, Any]:
    entries = [
        {"code": "invalid_json_line", "message": "This line is not parseable.", "param": None, "line": n + 2}
        for n in range(count)
    ]
    return batch(status="failed", errors={"object": "list", "data": entries})


def test_a_failed_batch_says_why_in_lines_that_a_person_can_read() -> None:
    with pytest.raises(JobFailed) as caught:
        perform(harvest.results("batch_1"), failed(7))
    assert caught.value.message == (
        "batch batch_1 failed: "
        + "; ".join(f"line {n}: This line is not parseable. (invalid_json_line)" for n in range(2, 7))
        + " (and 2 more)"
    )
    assert caught.value.details["data"][0]["line"] == 2


def test_the_errors_of_a_failed_batch_are_its_own() -> None:
    assert perform(harvest.errors("batch_1"), failed())[0] == [
        {
            "id": None,
            "custom_id": None,
            "response": None,
            "error": {"code": "invalid_json_line", "message": "This line is not parseable.", "param": None, "line": 2},
        }
    ]


def test_every_error_line_has_its_error_filled_in() -> None:
    recorded = (SAMPLES / "responses_error_400_2026-04.jsonl").read_bytes()
    ended = batch(output_file_id="file-out", error_file_id="file-err")
    found, _ = perform(harvest.errors("batch_1"), ended, file(size=len(recorded + ERRORS)), recorded + ERRORS)
    assert [(line["custom_id"], line["error"]["code"]) for line in found] == [
        ("cmniaf6xo00021xc6h42vwxqt", "invalid_type"),
        ("cmniaf6xo00041xc6ap4fqffz", "invalid_type"),
        ("c", "batch_expired"),
    ]
    assert found[0]["response"]["status_code"] == 400


@pytest.mark.parametrize("error_file", [None, ""])
def test_a_batch_without_errors_has_an_empty_list(error_file: str | None) -> None:
    for status in ("in_progress", "completed"):
        assert perform(harvest.errors("batch_1"), batch(status=status, error_file_id=error_file))[0] == []


def test_an_empty_error_file_is_no_error() -> None:
    assert perform(harvest.errors("batch_1"), batch(error_file_id="file-err"), file(size=0), b"")[0] == []


def test_a_line_that_is_no_json_is_named_and_the_way_around_it_too() -> None:
    broken = OUTPUT + b"{broken\n"
    with pytest.raises(InputError, match=r"file-out:3: not one JSON value") as caught:
        perform(harvest.results("batch_1"), batch(output_file_id="file-out"), file(size=len(broken)), broken)
    assert "output_path=" in (caught.value.hint or "")


def test_errors_can_be_saved_with_their_errors_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "errors.jsonl"
    recorded = (SAMPLES / "embeddings_error_400_2025-07.jsonl").read_bytes()
    perform(harvest.save_errors("batch_1", path), batch(error_file_id="file-err"), file(size=len(recorded)), recorded)
    assert json.loads(path.read_bytes())["error"]["type"] == "invalid_request_error"


def test_a_place_where_nothing_can_be_saved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        perform(harvest.save_results("batch_1", tmp_path), batch(output_file_id="file-out"))
    with pytest.raises(InputError, match="does not exist"):
        perform(harvest.save_results("batch_1", tmp_path / "no" / "out.jsonl"), batch(output_file_id="file-out"))


# ── Recorded exchanges ─────────────────────────────────────────────────────────────────────────────────────────────

CASSETTES = sorted((SAMPLES / "cassettes").glob("*.jsonl"))


def exchanges(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


@pytest.mark.parametrize("path", CASSETTES, ids=lambda path: path.stem)
def test_our_calls_are_those_that_the_real_service_answered(path: Path, tmp_path: Path) -> None:
    """Each recorded request, made by our flow, equals it; each recorded answer is read by it."""
    for number, exchange in enumerate(exchanges(path)):
        request, response = exchange["request"], exchange["response"]
        headers = {name.lower(): value for name, value in response["headers"].items()}
        # The bodies were unzipped for the record: their length and coding are no longer those of the headers.
        headers = {name: value for name, value in headers.items() if name not in ("content-length", "content-encoding")}
        reply = Reply(response["status"], headers, response["body"].encode())
        where = urlsplit(request["uri"]).path.removeprefix("/v1")
        id = where.split("/")[2] if where.count("/") > 1 else ""
        sent = json.loads(request["body"]) if request["body"].startswith("{") else None
        flow: Any = {
            ("POST", "/files"): lambda: flows.upload(Path(__file__), name="upload"),
            ("GET", f"/files/{id}"): lambda id=id: flows.get_file(id),
            ("POST", "/batches"): lambda sent=sent: flows.create_batch(**sent),
            ("GET", f"/batches/{id}"): lambda id=id: flows.get_batch(id),
            ("POST", f"/batches/{id}/cancel"): lambda id=id: flows.cancel_batch(id),
            ("GET", f"/files/{id}/content"): lambda id=id, n=number: flows.download_file(id, tmp_path / str(n)),
        }[(request["method"], where)]
        replies = [refusal(404), reply] if where.endswith("/content") else [reply]
        got, script = perform(flow(), *replies)
        call = script.calls[-1]
        assert (call.method, call.path) == (request["method"], where)
        assert call.json == sent
        if where.endswith("/content"):
            for line in got.read_bytes().splitlines():
                assert PROVIDER.decode(line).error is None
        elif where.startswith("/batches"):
            assert got.status in {"validating", "in_progress", "finalizing", "completed", "cancelling"}
            assert got.created_at is not None and got.expires_at == got.created_at + 86_400
        else:
            assert got.id.startswith("file-") and got.bytes in (470, 155)
