"""The two service classes over real connections, blocking and awaited alike."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai_double import DROP, Double, Says, answer_line, batch, file, lines, refusal

import openai
from nono.connector import genai_batch_processing
from nono.connector.genai_batch_processing import AsyncOpenAIBatchService, OpenAIBatchService
from nono.errors import (
    AnswerLost,
    InputError,
    KeyRefused,
    LimitError,
    MissingKey,
    NotComplete,
    NotFound,
    RateLimited,
    SettingsError,
    WaitTimeout,
)
from nono.exchange import adrive, drive
from nono.model import Request
from nono.providers.openai import flows, harvest
from nono.providers.openai.account import account_from_settings, client_timeout_s
from nono.retry import retrying
from nono.transport import AsyncSender, Sender

KEY = "sk-canary-4711"
OUTPUT = lines(*(answer_line(f"q-{n}", "x" * 100) for n in range(200)))

Ask = Callable[..., Any]


async def at_once(seconds: float) -> None:
    pass


@pytest.fixture(params=["blocking", "awaited"])
def perform(request: pytest.FixtureRequest, service: Double) -> Ask:
    """Perform a flow at the double as the services do, without the pauses between tries."""
    account = account_from_settings(api_key=KEY, base_url=service.base_url)

    async def awaited(flow: Any) -> Any:
        send = AsyncSender(account)
        try:
            return await adrive(retrying(flow), send, sleep=at_once)
        finally:
            await send.close()

    if request.param == "blocking":
        return lambda flow: drive(retrying(flow), Sender(account), sleep=lambda seconds: None)
    return lambda flow: asyncio.run(awaited(flow))


@pytest.fixture(params=["blocking", "awaited"])
def ask(request: pytest.FixtureRequest, service: Double) -> Ask:
    """Call a method of a service at the double, in either way."""

    def blocking(method: str, *args: Any, **named: Any) -> Any:
        with OpenAIBatchService(KEY, service.base_url) as it:
            return getattr(it, method)(*args, **named)

    def awaited(method: str, *args: Any, **named: Any) -> Any:
        async def run() -> Any:
            async with AsyncOpenAIBatchService(KEY, service.base_url) as it:
                return await getattr(it, method)(*args, **named)

        return asyncio.run(run())

    return blocking if request.param == "blocking" else awaited


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    made = OpenAIBatchService.build_requests_from_prompts(["one", "two"])
    return OpenAIBatchService.create_jsonl_file(made, tmp_path / "in.jsonl")


def says(reply: Any) -> Says:
    return Says(reply.status, reply.body, dict(reply.headers))


# ── The documented surface ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_constants_are_the_documented_ones() -> None:
    states = ["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]
    for it in (OpenAIBatchService, AsyncOpenAIBatchService):
        assert [getattr(it, f"STATE_{state.upper()}") for state in states] == states
        assert (it.ENDPOINT_CHAT_COMPLETIONS, it.ENDPOINT_RESPONSES, it.ENDPOINT_EMBEDDINGS) == (
            "/v1/chat/completions",
            "/v1/responses",
            "/v1/embeddings",
        )
        assert (it.ENDPOINT_COMPLETIONS, it.ENDPOINT_MODERATIONS) == ("/v1/completions", "/v1/moderations")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("__init__", "api_key=None base_url=None * client=None timeout_s=None"),
        ("upload_file", "file_path * expires_after=None check=True"),
        (
            "create_batch",
            (
                "file_path=None input_file_id=None endpoint=/v1/chat/completions completion_window=24h metadata=None "
                "* output_expires_after=None extra_body=None check=True"
            ),
        ),
        ("get_batch", "batch_id"),
        ("get_batch_status", "batch_id"),
        ("wait_for_completion", "batch_id poll_interval=30.0 timeout=None callback=None"),
        ("get_results", "batch_id output_path=None"),
        ("get_errors", "batch_id output_path=None"),
        ("cancel_batch", "batch_id"),
        ("list_batches", "limit=20 after=None"),
        ("iter_batches", ""),
        ("create_jsonl_file", "requests output_path"),
        ("check_file", "file_path endpoint=None"),
        (
            "build_request",
            (
                "prompt model=gpt-4o-mini custom_id=None system_prompt=None endpoint=/v1/chat/completions "
                "temperature=None max_tokens=None top_p=None frequency_penalty=None presence_penalty=None "
                "response_format=None * extra_body=None ** parameters"
            ),
        ),
        (
            "build_requests_from_prompts",
            (
                "prompts model=gpt-4o-mini system_prompt=None endpoint=/v1/chat/completions temperature=None "
                "max_tokens=None custom_id_prefix=request ** parameters"
            ),
        ),
        (
            "build_embedding_request",
            (
                "input_text model=text-embedding-3-small custom_id=None encoding_format=None dimensions=None "
                "* extra_body=None"
            ),
        ),
        (
            "build_moderation_request",
            "input_content model=omni-moderation-latest custom_id=None * extra_body=None",
        ),
    ],
)
def test_both_classes_have_the_documented_parameters_and_defaults(method: str, parameters: str) -> None:
    for it in (OpenAIBatchService, AsyncOpenAIBatchService):
        words, keyword_only = [], False
        for name, each in inspect.signature(getattr(it, method)).parameters.items():
            if name == "self":
                continue
            if each.kind is each.KEYWORD_ONLY and not keyword_only:
                words.append("*")
                keyword_only = True
            prefix = "** " if each.kind is each.VAR_KEYWORD else ""
            words.append(prefix + (name if each.default is each.empty else f"{name}={each.default}"))
        assert " ".join(words) == parameters


def test_every_public_name_is_loaded_from_the_documented_module() -> None:
    assert "OpenAIBatchService" in dir(genai_batch_processing)
    with pytest.raises(AttributeError, match="no attribute 'ClaudeBatchService'"):
        genai_batch_processing.ClaudeBatchService  # noqa: B018


# ── Settings ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_come_from_the_environment(service: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": service.base_url,
        "OPENAI_ORG_ID": "org-1",
        "OPENAI_PROJECT_ID": "proj-1",
    }.items():
        monkeypatch.setenv(name, value)
    service.on("GET", "/v1/batches/batch_1", batch())
    with OpenAIBatchService() as it:
        it.get_batch("batch_1")
    headers = service.seen[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-1", "proj-1")
    assert headers["user-agent"].startswith("nono-batch/")


def test_arguments_win_over_the_environment(service: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    service.on("GET", "/v1/batches/batch_1", batch())
    with OpenAIBatchService(api_key=KEY, base_url=service.base_url + "/") as it:
        it.get_batch("batch_1")
    assert service.seen[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [None, "", "  "])
def test_no_key_is_an_error_with_a_way_out(key: str | None) -> None:
    with pytest.raises(MissingKey, match="no API key for OpenAI") as caught:
        OpenAIBatchService(key)
    assert "OPENAI_API_KEY" in (caught.value.hint or "")


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        OpenAIBatchService("sk-canary\nx")
    assert "canary" not in str(caught.value)


def test_no_rendering_of_a_service_shows_the_key() -> None:
    it = OpenAIBatchService(KEY)
    for text in (repr(it), str(it), repr(vars(it)), repr(it._account), repr(vars(it._send))):
        assert "canary" not in text
    with pytest.raises(TypeError):
        pickle.dumps(it._account)


@pytest.mark.parametrize(
    ("client", "header", "value", "query"),
    [
        (
            lambda url: openai.OpenAI(
                api_key=KEY, base_url=url, organization="org-1", project="proj-1", default_headers={"X-Team": "a"}
            ),
            "authorization",
            f"Bearer {KEY}",
            {},
        ),
        (lambda url: openai.AsyncOpenAI(api_key=KEY, base_url=url), "authorization", f"Bearer {KEY}", {}),
        (lambda url: openai.OpenAI(api_key=lambda: KEY, base_url=url), "authorization", f"Bearer {KEY}", {}),
        (
            lambda url: openai.OpenAI(api_key="x", base_url=url, default_headers={"Authorization": f"Basic {KEY}"}),
            "authorization",
            f"Basic {KEY}",
            {},
        ),
        (
            lambda url: openai.AzureOpenAI(api_key=KEY, base_url=url, api_version="2025-04-01-preview"),
            "api-key",
            KEY,
            {"api-version": "2025-04-01-preview"},
        ),
        (
            lambda url: openai.AzureOpenAI(azure_ad_token=KEY, base_url=url, api_version="v"),
            "authorization",
            f"Bearer {KEY}",
            {"api-version": "v"},
        ),
    ],
    ids=["openai", "async", "made-key", "own-header", "azure", "azure-token"],
)
def test_an_official_client_is_taken_over(
    service: Double, client: Callable[[str], Any], header: str, value: str, query: dict[str, str]
) -> None:
    service.on("GET", "/v1/batches/batch_1", batch())
    with OpenAIBatchService(client=client(service.base_url)) as it:
        it.get_batch("batch_1")
    (seen,) = service.seen
    assert (seen.headers[header], seen.query) == (value, query)
    assert not [name for name in seen.headers if name.startswith("x-stainless")]


def test_a_clients_organization_and_own_headers_are_taken_over(service: Double) -> None:
    client = openai.OpenAI(
        api_key=KEY, base_url=service.base_url, organization="o", project="p", default_headers={"X-Team": "a"}
    )
    service.on("GET", "/v1/batches/batch_1", batch())
    with OpenAIBatchService(client=client) as it:
        it.get_batch("batch_1")
        assert "X-Team" not in repr(it._account)
    headers = service.seen[0].headers
    assert (headers["openai-organization"], headers["openai-project"], headers["x-team"]) == ("o", "p", "a")


@pytest.mark.parametrize(
    ("given", "seconds"), [({}, 600.0), ({"timeout": 7}, 7.0), ({"timeout": httpx2.Timeout(5, read=9)}, 9.0)]
)
def test_a_clients_patience_is_taken_over(given: dict[str, Any], seconds: float) -> None:
    assert client_timeout_s(openai.OpenAI(api_key=KEY, **given)) == seconds


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(SettingsError, match="client= wants an official OpenAI client, not dict"):
        OpenAIBatchService(client={})


def test_a_client_that_awaits_its_key_is_refused() -> None:
    async def key() -> str:
        return KEY

    with pytest.raises(SettingsError, match="makes its key by awaiting"):
        AsyncOpenAIBatchService(client=openai.AsyncOpenAI(api_key=key))


# ── Making a batch ─────────────────────────────────────────────────────────────────────────────────────────────────


def parts_of(body: bytes) -> dict[str, tuple[str | None, bytes]]:
    """Name → (file name, content) of a multipart body, in its order."""
    boundary = body.split(b"\r\n", 1)[0]
    found = {}
    for part in body.split(boundary + b"\r\n")[1:]:
        head, content = part.split(b"\r\n\r\n", 1)
        name = re.search(rb'name="([^"]+)"', head)
        file_name = re.search(rb'filename="([^"]+)"', head)
        assert name is not None
        found[name[1].decode()] = (
            file_name[1].decode() if file_name else None,
            content.removesuffix(boundary + b"--\r\n").removesuffix(b"\r\n"),
        )
    return found


def test_a_batch_is_made_from_a_path(ask: Ask, service: Double, input_file: Path) -> None:
    service.on("POST", "/v1/files", file())
    service.on("POST", "/v1/batches", batch(status="validating"))
    made = ask("create_batch", str(input_file), metadata={"description": "d"}, output_expires_after=3600)
    upload, create = service.seen
    assert parts_of(upload.body) == {
        "purpose": (None, b"batch"),
        "file": ("in.jsonl", input_file.read_bytes()),
    }
    assert int(upload.headers["content-length"]) == len(upload.body)
    assert create.json == {
        "completion_window": "24h",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-in",
        "metadata": {"description": "d"},
        "output_expires_after": {"anchor": "created_at", "seconds": 3600},
    }
    assert (made.id, made.status) == ("batch_1", "validating")


def test_a_batch_is_made_from_an_uploaded_file(ask: Ask, service: Double) -> None:
    service.on("POST", "/v1/batches", batch(status="validating"))
    ask("create_batch", None, "file-7", "/v1/embeddings", "48h", extra_body={"input_blob": "https://x"})
    assert service.seen[0].json == {
        "completion_window": "48h",
        "endpoint": "/v1/embeddings",
        "input_file_id": "file-7",
        "input_blob": "https://x",
    }


@pytest.mark.parametrize("given", [{}, {"file_path": "a.jsonl", "input_file_id": "file-1"}])
def test_a_batch_has_exactly_one_input(ask: Ask, given: dict[str, str]) -> None:
    with pytest.raises(InputError, match="made from one input file: file_path or input_file_id"):
        ask("create_batch", **given)


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "/v1/responses"},
        {"metadata": {"k": "v" * 513}},
        {"output_expires_after": 5},
    ],
)
def test_nothing_is_sent_when_something_is_wrong(
    ask: Ask, service: Double, input_file: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        ask("create_batch", input_file, **wrong)
    assert service.seen == []


def test_a_missing_file_is_a_missing_file(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ask("create_batch", tmp_path / "no.jsonl")


def test_a_service_with_other_rules_can_be_sent_what_ours_forbid(ask: Ask, service: Double, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b'{"anything": 1}\n')
    service.on("POST", "/v1/files", file())
    with pytest.raises(InputError):
        ask("upload_file", path)
    assert ask("upload_file", path, check=False).id == "file-in"


@pytest.mark.parametrize(
    ("answer", "error"),
    [(DROP, AnswerLost), (says(refusal(500)), Exception), (says(refusal(429)), RateLimited)],
    ids=["dropped", "500", "429"],
)
def test_the_creating_call_goes_out_once_and_the_error_names_the_uploaded_file(
    ask: Ask, service: Double, input_file: Path, answer: Any, error: type[Exception]
) -> None:
    service.on("POST", "/v1/files", file("file-up"))
    service.on("POST", "/v1/batches", answer)
    with pytest.raises(error) as caught:
        ask("create_batch", input_file)
    assert len(service.calls("POST", "/batches")) == 1
    hint = str(caught.value)
    assert "file-up" in hint
    assert ("may exist" in hint) == (error is not RateLimited)


def test_an_uploads_broken_connection_is_tried_again(perform: Ask, service: Double, input_file: Path) -> None:
    service.on("POST", "/v1/files", DROP, file())
    assert perform(flows.upload(input_file)).id == "file-in"
    assert len(service.seen) == 2


# ── Watching it ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_waiting_tells_every_poll_and_returns_the_end(ask: Ask, service: Double) -> None:
    states = ["validating", "in_progress", "completed"]
    service.on("GET", "/v1/batches/batch_1", *(batch(status=state) for state in states))
    told: list[str] = []
    ended = ask("wait_for_completion", "batch_1", poll_interval=0.0, callback=lambda b, t: told.append(b.status))
    assert (ended.status, told) == ("completed", states)


@pytest.mark.parametrize("state", ["completed", "failed", "expired", "cancelled"])
def test_every_terminal_state_ends_the_wait(ask: Ask, service: Double, state: str) -> None:
    service.on("GET", "/v1/batches/batch_1", batch(status=state))
    assert ask("wait_for_completion", "batch_1").status == state


def test_a_wait_that_takes_too_long_is_a_timeout_error(ask: Ask, service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch(status="in_progress"))
    with pytest.raises(TimeoutError, match="last state: in_progress") as caught:
        ask("wait_for_completion", "batch_1", poll_interval=0.001, timeout=0.002)
    assert isinstance(caught.value, WaitTimeout) and caught.value.last.id == "batch_1"


def test_a_refused_key_ends_the_wait_at_once(ask: Ask, service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", says(refusal(401)))
    with pytest.raises(KeyRefused):
        ask("wait_for_completion", "batch_1", poll_interval=0.0)


def test_an_async_callback_is_awaited(service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch())
    told: list[str] = []

    async def callback(seen: Any, elapsed: float) -> None:
        await asyncio.sleep(0)
        told.append(seen.status)

    async def run() -> None:
        async with AsyncOpenAIBatchService(KEY, service.base_url) as it:
            await it.wait_for_completion("batch_1", callback=callback)

    asyncio.run(run())
    assert told == ["completed"]


def test_the_status_alone(ask: Ask, service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch(status="FINALIZING"))
    assert ask("get_batch_status", "batch_1") == "finalizing"


def test_batches_are_listed_and_walked_over(ask: Ask, service: Double) -> None:
    first = {"object": "list", "data": [batch(f"batch_{n}") for n in range(100)], "has_more": True}
    second = {"object": "list", "data": [batch("batch_100")], "has_more": False}
    service.on("GET", "/v1/batches", lambda seen: second if "after" in seen.query else first)
    page = ask("list_batches", limit=100)
    assert (len(page), page[0].id, page.after) == (100, "batch_0", "batch_99")
    assert [each.id for each in ask("list_batches", 20, "batch_99")] == ["batch_100"]
    assert [seen.query for seen in service.seen] == [{"limit": "100"}, {"limit": "20", "after": "batch_99"}]


def test_iterating_reads_all_pages(service: Double) -> None:
    first = {"object": "list", "data": [batch("batch_1")], "has_more": True}
    second = {"object": "list", "data": [batch("batch_2")], "has_more": False}
    service.on("GET", "/v1/batches", lambda seen: second if "after" in seen.query else first)
    with OpenAIBatchService(KEY, service.base_url) as it:
        assert [each.id for each in it.iter_batches()] == ["batch_1", "batch_2"]

    async def run() -> list[str]:
        async with AsyncOpenAIBatchService(KEY, service.base_url) as it:
            return [each.id async for each in it.iter_batches()]

    assert asyncio.run(run()) == ["batch_1", "batch_2"]


def test_cancelling_sends_no_body_and_returns_the_batch(ask: Ask, service: Double) -> None:
    service.on("POST", "/v1/batches/batch_1/cancel", batch(status="cancelling"))
    assert ask("cancel_batch", "batch_1").status == "cancelling"
    assert (service.seen[0].body, service.seen[0].headers["content-type"]) == (b"", "application/json")


# ── What came out ──────────────────────────────────────────────────────────────────────────────────────────────────


def ended(service: Double, content: bytes, *answers: Any) -> None:
    service.on("GET", "/v1/batches/batch_1", batch(output_file_id="file-out"))
    service.on("GET", "/v1/files/file-out", file("file-out", len(content)))
    service.on("GET", "/v1/files/file-out/content", *(answers or [Says(200, content)]))


def test_results_are_a_list_of_dicts(ask: Ask, service: Double) -> None:
    ended(service, OUTPUT)
    results = ask("get_results", "batch_1")
    assert len(results) == 200
    assert results[0]["response"]["body"]["choices"][0]["message"]["content"] == "x" * 100


def test_results_are_saved_as_they_are_and_the_path_comes_back(ask: Ask, service: Double, tmp_path: Path) -> None:
    ended(service, OUTPUT)
    path = str(tmp_path / "out.jsonl")
    assert ask("get_results", "batch_1", path) == path
    assert Path(path).read_bytes() == OUTPUT
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_broken_download_goes_on_where_it_broke(perform: Ask, service: Double, tmp_path: Path) -> None:
    ended(service, OUTPUT, Says(200, OUTPUT, cut=10_000), Says(200, OUTPUT))
    perform(harvest.save_results("batch_1", tmp_path / "out.jsonl"))
    assert (tmp_path / "out.jsonl").read_bytes() == OUTPUT
    assert [seen.headers.get("range") for seen in service.calls("GET", "content")] == [None, "bytes=10000-"]


def test_another_batchs_remains_are_never_continued(service: Double, tmp_path: Path) -> None:
    ended(service, OUTPUT)
    path = tmp_path / "out.jsonl"
    for remains in ("out.jsonl.part", "out.jsonl.0123456789ab.part"):
        (tmp_path / remains).write_bytes(b"bytes of another batch")
    with OpenAIBatchService(KEY, service.base_url) as it:
        it.get_results("batch_1", path)
    assert path.read_bytes() == OUTPUT


def test_a_file_that_is_shorter_than_the_service_says_is_no_result(
    perform: Ask, service: Double, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b"of last time")
    ended(service, OUTPUT, Says(200, OUTPUT[:-1]), says(refusal(404)))
    with pytest.raises(NotFound):
        perform(harvest.save_results("batch_1", path))
    assert path.read_bytes() == b"of last time"


def test_errors_are_readable_wherever_they_stand(ask: Ask, service: Double) -> None:
    content = lines(
        {
            "id": "1",
            "custom_id": "a",
            "response": {"status_code": 400, "request_id": "r", "body": {"error": {"code": "c", "message": "m"}}},
            "error": None,
        }
    )
    service.on("GET", "/v1/batches/batch_1", batch(error_file_id="file-err"))
    service.on("GET", "/v1/files/file-err", file("file-err", len(content)))
    service.on("GET", "/v1/files/file-err/content", Says(200, content))
    assert [(e["custom_id"], e["error"]) for e in ask("get_errors", "batch_1")] == [
        ("a", {"code": "c", "message": "m"})
    ]


def test_results_of_a_running_batch_are_not_complete(ask: Ask, service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch(status="in_progress"))
    with pytest.raises(NotComplete):
        ask("get_results", "batch_1")


# ── Files of request lines ─────────────────────────────────────────────────────────────────────────────────────────


def test_request_lines_are_written_and_the_path_comes_back(ask: Ask, tmp_path: Path) -> None:
    made = [
        OpenAIBatchService.build_request("é\u2028", custom_id="a"),
        Request("b", "/v1/embeddings", {"model": "m", "input": "x"}),
    ]
    path = str(tmp_path / "in.jsonl")
    assert ask("create_jsonl_file", made, path) == path
    written = Path(path).read_bytes().split(b"\n")
    assert [json.loads(line)["custom_id"] for line in written if line] == ["a", "b"]
    assert json.loads(written[1]) == {
        "custom_id": "b",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "m", "input": "x"},
    }


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "there are no requests to write"),
        ([{"contents": []}], "request 1 is not a request line"),
        (["text"], "request 1 is not a request line"),
        ([{"custom_id": "a", "url": "/v1/x", "body": {"x": float("nan")}}], "line 1: not representable as JSON"),
        ([{"custom_id": "a", "url": "/v1/x", "body": {"x": "\ud800"}}], "line 1: text with a lone surrogate"),
    ],
)
def test_what_is_no_request_line_leaves_no_file(tmp_path: Path, requests: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        OpenAIBatchService.create_jsonl_file(requests, tmp_path / "in.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_limit_error_is_a_value_error_too(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    with path.open("wb") as it:
        it.truncate(209_715_201)
    with pytest.raises(ValueError, match="209,715,201 bytes") as caught:
        ask("upload_file", path)
    assert isinstance(caught.value, LimitError) and caught.value.limit == 209_715_200


def test_threads_share_a_service(service: Double) -> None:
    service.on("GET", r"/v1/batches/batch_\d+", lambda seen: batch(seen.path.rpartition("/")[2]))
    seen: list[str] = []
    with OpenAIBatchService(KEY, service.base_url) as it:
        threads = [
            threading.Thread(target=lambda n=n: seen.append(it.get_batch(f"batch_{n}").id))  # type: ignore[misc]
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(seen) == [f"batch_{n}" for n in range(8)]


def test_an_async_service_outlives_an_event_loop(service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch())
    it = AsyncOpenAIBatchService(KEY, service.base_url)

    async def once() -> str:
        try:
            return await it.get_batch_status("batch_1")
        finally:
            await it.close()

    assert [asyncio.run(once()), asyncio.run(once())] == ["completed", "completed"]
