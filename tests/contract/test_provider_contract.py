"""What every provider promises the engine, in one body of tests; what differs between them is a row."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nono import jsonl
from nono.errors import AnswerLost, InputError, LimitError, MissingKey, NonoError, NotSent, SettingsError
from nono.exchange import Call, Reply, adrive, drive
from nono.jsonl import BadLine
from nono.model import Outcome, Phase
from nono.providers import Provider, Task, provider_named
from nono.retry import retrying


def said(value: Any, status: int = 200) -> Reply:
    return Reply(status, {}, value if isinstance(value, bytes) else json.dumps(value).encode())


def openai_batch(state: str, **more: Any) -> dict[str, Any]:
    return {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "status": state, **more}


def vertex_job(state: str, **more: Any) -> dict[str, Any]:
    return {"name": "projects/p/locations/global/batchPredictionJobs/1", "state": state, **more}


def gemini_batch(state: str, **metadata: Any) -> dict[str, Any]:
    return {"name": "batches/1", "metadata": {"name": "batches/1", "state": state, **metadata}}


@dataclass(frozen=True)
class Row:
    """One provider's words for the same things."""

    model: str
    key_names: tuple[str, ...]
    states: Mapping[str, Phase]
    batch: Callable[..., dict[str, Any]]
    page: Callable[[list[dict[str, Any]], bool], dict[str, Any]]
    file_id: str
    tagged: Callable[[str], dict[str, Any]]
    succeeded: bytes
    refused: bytes
    refusal: Mapping[str, Any]
    # The provider's own options, and whether another key is another account.
    options: Mapping[str, str] = field(default_factory=dict)
    key_is_account: bool = True


ROWS = {
    "openai": Row(
        model="gpt-4o-mini",
        key_names=("OPENAI_API_KEY",),
        states={
            "validating": Phase.PENDING,
            "in_progress": Phase.RUNNING,
            "completed": Phase.SUCCEEDED,
            "failed": Phase.FAILED,
            "expired": Phase.EXPIRED,
            "cancelled": Phase.CANCELLED,
            "never_heard_of": Phase.UNKNOWN,
        },
        batch=openai_batch,
        page=lambda batches, more: {"object": "list", "data": batches, "has_more": more},
        file_id="file-1",
        tagged=lambda tag: openai_batch("validating", metadata={"nono_tag": tag}),
        succeeded=(
            b'{"custom_id":"q-1","response":{"status_code":200,"body":{"model":"m","choices":[{"message":{"content":'
            b'"fine"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}},"error":null}'
        ),
        refused=(
            b'{"custom_id":"q-1","response":{"status_code":400,"body":{"error":{"code":"invalid_value","message":"no"}}}'
            b',"error":null}'
        ),
        refusal={"error": {"message": "no", "type": "x", "param": None, "code": None}},
    ),
    "gemini": Row(
        model="gemini-3-flash-preview",
        key_names=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        states={
            "BATCH_STATE_PENDING": Phase.PENDING,
            "BATCH_STATE_RUNNING": Phase.RUNNING,
            "BATCH_STATE_SUCCEEDED": Phase.SUCCEEDED,
            "BATCH_STATE_FAILED": Phase.FAILED,
            "BATCH_STATE_EXPIRED": Phase.EXPIRED,
            "BATCH_STATE_CANCELLED": Phase.CANCELLED,
            "BATCH_STATE_NEVER_HEARD_OF": Phase.UNKNOWN,
        },
        batch=gemini_batch,
        page=lambda batches, more: {"operations": batches} | ({"nextPageToken": "next"} if more else {}),
        file_id="files/1",
        tagged=lambda tag: gemini_batch("BATCH_STATE_PENDING", displayName=tag),
        succeeded=(
            b'{"key":"q-1","response":{"candidates":[{"content":{"parts":[{"text":"fine"}],"role":"model"},'
            b'"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2},"modelVersion":"m"}}'
        ),
        refused=b'{"key":"q-1","error":{"code":3,"message":"no","status":"INVALID_ARGUMENT"}}',
        refusal={"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}},
    ),
    "vertex": Row(
        model="gemini-2.5-flash",
        key_names=("GOOGLE_CLOUD_PROJECT", "NONO_VERTEX_BUCKET"),
        states={
            "JOB_STATE_QUEUED": Phase.PENDING,
            "JOB_STATE_RUNNING": Phase.RUNNING,
            "JOB_STATE_SUCCEEDED": Phase.SUCCEEDED,
            "JOB_STATE_PARTIALLY_SUCCEEDED": Phase.PARTIAL,
            "JOB_STATE_FAILED": Phase.FAILED,
            "JOB_STATE_EXPIRED": Phase.EXPIRED,
            "JOB_STATE_CANCELLED": Phase.CANCELLED,
            "JOB_STATE_NEVER_HEARD_OF": Phase.UNKNOWN,
        },
        batch=vertex_job,
        page=lambda jobs, more: {"batchPredictionJobs": jobs} | ({"nextPageToken": "next"} if more else {}),
        file_id="gs://bucket/nono-1.jsonl",
        tagged=lambda tag: vertex_job("JOB_STATE_PENDING", displayName=tag),
        succeeded=(
            b'{"status":"","processed_time":"2026-11-22T18:13:16.826+00:00","request":{"contents":[{"parts":[{"text":'
            b'"hi"}],"role":"user"}]},"response":{"candidates":[{"content":{"parts":[{"text":"fine"}],"role":"model"},'
            b'"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2},'
            b'"modelVersion":"m"},"key":"id:q-1"}'
        ),
        refused=(
            b'{"status":"Bad Request: {\\"error\\": {\\"code\\": 400, \\"message\\": \\"no\\", '
            b'\\"status\\": \\"INVALID_ARGUMENT\\"}}","request":{},"key":"id:q-1"}'
        ),
        refusal={"error": {"code": 404, "message": "no", "status": "NOT_FOUND"}},
        options={"project": "p", "location": "global", "bucket": "gs://bucket"},
        key_is_account=False,
    ),
}


@pytest.fixture(params=ROWS)
def named(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def row(named: str) -> Row:
    return ROWS[named]


@pytest.fixture
def provider(named: str, row: Row) -> Provider:
    return provider_named(named).at(options=row.options)


@pytest.fixture
def task(row: Row) -> Task:
    return Task("chat", row.model)


class Script:
    """Plays replies in order, to a blocking and to an awaiting driver."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, Reply)
        return reply


Perform = Callable[..., Any]


@pytest.fixture(params=["blocking", "awaited"])
def perform(request: pytest.FixtureRequest) -> Perform:
    async def rest(seconds: float) -> None:
        pass

    def run(flow: Any, script: Script) -> Any:
        if request.param == "blocking":
            return drive(retrying(flow), script, sleep=lambda seconds: None)

        async def send(call: Call) -> Reply:
            return script(call)

        return asyncio.run(adrive(retrying(flow), send, sleep=rest))

    return run


def test_a_provider_has_every_part_with_the_engines_parameters(provider: Provider, named: str) -> None:
    assert provider.name == named
    for name, part in inspect.getmembers(Provider, inspect.isfunction):
        if not name.startswith("_"):
            theirs = inspect.signature(getattr(provider, name)).parameters
            wanted = [each for each in inspect.signature(part).parameters if each != "self"]
            assert [each for each in theirs if each in wanted] == wanted, name


def test_no_key_is_an_error_that_names_the_variable(named: str, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in row.key_names:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingKey) as caught:
        provider_named(named).at().account()
    assert any(name in str(caught.value) for name in row.key_names)


def test_an_option_that_a_provider_does_not_have_is_refused_with_those_it_has(provider: Provider) -> None:
    with pytest.raises(SettingsError, match="has no option 'colour'") as caught:
        provider.at(options={"colour": "red"})
    assert all(name in str(caught.value.hint) for name in provider.options)


@pytest.mark.parametrize(
    ("name", "options", "field", "sent"),
    [
        ("gemini", {"priority": "-5"}, "priority", "-5"),
        ("gemini", {"webhook": "https://example.com/hook"}, "webhookConfig", {"uris": ["https://example.com/hook"]}),
        (
            "openai",
            {"output_expires_after": "86400"},
            "output_expires_after",
            {"anchor": "created_at", "seconds": 86400},
        ),
    ],
)
def test_an_option_travels_with_every_batch(
    perform: Perform, name: str, options: dict[str, str], field: str, sent: Any
) -> None:
    row = ROWS[name]
    script = Script(said(row.tagged("t-1")))
    provider = provider_named(name).at(options=options)
    perform(provider.create(file_id=row.file_id, task=Task("chat", row.model), tag="t-1"), script)
    body = script.calls[0].json
    assert body.get("batch", body)[field] == sent


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gemini", {"priority": "high"}),
        ("gemini", {"webhook": "example.com"}),
        ("openai", {"output_expires_after": "a day"}),
        ("openai", {"output_expires_after": "60"}),
        ("openai", {"completion_window": ""}),
        ("vertex", {"bucket": "my-bucket"}),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_anything_is_sent(name: str, options: dict[str, str]) -> None:
    with pytest.raises((SettingsError, InputError, LimitError)):
        provider_named(name).at(options=options)


def test_an_account_shows_no_key_and_its_fingerprint_gives_none_away(provider: Provider, row: Row) -> None:
    account = provider.account(api_key="canary-4711", base_url="http://127.0.0.1:9")
    other = provider.account(api_key="canary-4712", base_url="http://127.0.0.1:9")
    assert "canary" not in repr(account) + account.fingerprint()
    assert (account.fingerprint() != other.fingerprint()) is row.key_is_account


def test_a_request_line_carries_its_id_exactly_once(provider: Provider, task: Task) -> None:
    line = provider.request_line("needle-4711", task, provider.request_body(task, "hello"))
    assert jsonl.encode(line).count(b"needle-4711") == 1


def test_a_kind_that_nobody_knows_is_refused(provider: Provider, row: Row) -> None:
    with pytest.raises(InputError):
        provider.endpoint_for(Task("divination", row.model))


def test_a_state_is_told_in_our_words_and_an_unknown_one_has_not_ended(
    provider: Provider, row: Row, perform: Perform
) -> None:
    for state, phase in row.states.items():
        batch = perform(provider.get("1"), Script(said(row.batch(state))))
        assert batch.phase is phase
        assert batch.phase.ended == (phase not in (Phase.PENDING, Phase.RUNNING, Phase.UNKNOWN))


def test_a_batch_is_created_by_one_call_with_the_tag_inside(
    provider: Provider, row: Row, task: Task, perform: Perform
) -> None:
    script = Script(said(row.tagged("t-1")))
    made = perform(provider.create(file_id=row.file_id, task=task, tag="t-1"), script)
    assert (made.tag, len(script.calls)) == ("t-1", 1)
    assert "t-1" in json.dumps(script.calls[0].json)
    assert row.file_id in json.dumps(script.calls[0].json)


@pytest.mark.parametrize(
    "trouble",
    [
        AnswerLost("x"),
        NotSent("x"),
        said({}, 500),
        said({}, 503),
        said({}, 429),
        said({}, 408),
        said(b"<html>"),
        said({}),
    ],
    ids=["lost", "not sent", "500", "503", "429", "408", "html", "empty"],
)
def test_a_create_is_never_repeated_whatever_comes_back(
    provider: Provider, row: Row, task: Task, perform: Perform, trouble: Any
) -> None:
    script = Script(trouble)
    with pytest.raises(NonoError):
        perform(provider.create(file_id=row.file_id, task=task, tag="t-1"), script)
    assert len(script.calls) == 1


def test_reading_is_repeated_when_the_trouble_passes(provider: Provider, row: Row, perform: Perform) -> None:
    state = next(iter(row.states))
    script = Script(said({}, 503), AnswerLost("x"), said({}, 429), said(row.batch(state)))
    assert perform(provider.get("1"), script).native_state == state


def test_a_list_is_walked_by_its_cursor(provider: Provider, row: Row, perform: Perform) -> None:
    state = next(iter(row.states))
    script = Script(said(row.page([row.batch(state)], True)), said(row.page([], False)))
    first, cursor = perform(provider.list_page(), script)
    assert len(first) == 1 and cursor is not None
    assert perform(provider.list_page(cursor), script) == ([], None)
    assert cursor in map(str, script.calls[1].params.values())


def test_what_is_gone_can_be_deleted_again(provider: Provider, row: Row, perform: Perform) -> None:
    perform(provider.delete_file(row.file_id), Script(said(row.refusal, 404)))


def test_an_ended_batch_without_answers_fetches_nothing(
    provider: Provider, row: Row, perform: Perform, tmp_path: Path
) -> None:
    failed = next(state for state, phase in row.states.items() if phase is Phase.FAILED)
    batch = perform(provider.get("1"), Script(said(row.batch(failed))))
    assert perform(provider.fetch(batch, tmp_path), Script()) == []
    assert list(tmp_path.iterdir()) == []


def test_an_answer_is_a_result(provider: Provider, row: Row) -> None:
    result = provider.decode(row.succeeded)
    assert (result.custom_id, result.outcome, result.text, result.error) == ("q-1", Outcome.SUCCEEDED, "fine", None)
    assert (result.usage.input_tokens, result.usage.output_tokens, result.model) == (3, 2, "m")


def test_a_refusal_is_a_result_that_is_not_tried_again(provider: Provider, row: Row) -> None:
    result = provider.decode(row.refused)
    assert (result.custom_id, result.outcome) == ("q-1", Outcome.ERRORED)
    assert result.error is not None
    assert (result.error.message, result.error.retryable, result.error.stops_run) == ("no", False, False)


@pytest.mark.parametrize("line", [b"", b"{", b"null", b"[]", b'"x"', b"\x00", b"\xff", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_answer_line_is_a_bad_line_and_nothing_else(provider: Provider, line: bytes) -> None:
    with pytest.raises(BadLine):
        provider.decode(line)


def test_a_line_cut_anywhere_is_a_bad_line(provider: Provider, row: Row) -> None:
    for end in range(len(row.succeeded)):
        with pytest.raises(BadLine):
            provider.decode(row.succeeded[:end])


def test_a_good_schema_passes_and_a_bad_one_is_named_with_its_place(provider: Provider) -> None:
    assert provider.lint_schema({"type": "object", "properties": {"label": {"type": "string"}}}) == []
    assert all("$" in sentence or "schema" in sentence for sentence in provider.lint_schema({"type": "no such type"}))
    assert provider.lint_schema({"type": "no such type"})
