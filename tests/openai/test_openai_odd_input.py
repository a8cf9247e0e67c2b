"""What people get wrong, or do a little differently, at the service class: it works, or they are told at once."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from openai_double import DROP, Double, Says, answer_line, batch, double, file, lines
from pydantic import BaseModel

import openai
from nono.connector.genai_batch_processing import AsyncOpenAIBatchService, OpenAIBatchService
from nono.errors import AnswerLost, InputError, MissingFile, NotComplete, NotFound, NotSent, SettingsError
from nono.exchange import Account, Call, FileSlice, Reply
from nono.secret import Secret
from nono.transport import AsyncSender, Sender

Build = OpenAIBatchService


@pytest.fixture
def it(service: Double) -> OpenAIBatchService:
    return OpenAIBatchService("k", service.base_url)


# ── Settings ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8765/v1", "localhost", "ftp://host/v1", "http://", "   ", "http://host/v1?x=1", "http://a b"]
)
def test_an_address_that_is_none_is_told_when_the_service_is_made(url: str) -> None:
    with pytest.raises(SettingsError, match="not a base URL"):
        OpenAIBatchService("k", url)


@pytest.mark.parametrize("key", [123, b"k", ["k"]])
def test_a_key_is_a_text(key: Any) -> None:
    with pytest.raises(SettingsError, match="an API key is a text"):
        OpenAIBatchService(key)


def test_a_line_feed_behind_the_key_does_not_matter_beside_a_client(service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch("batch_1"))
    client = openai.OpenAI(api_key="sdk", base_url=service.base_url)
    OpenAIBatchService("mine\n", client=client).get_batch("batch_1")
    assert service.seen[0].headers["authorization"] == "Bearer mine"


def test_the_sdk_module_is_no_client() -> None:
    with pytest.raises(SettingsError, match="not module"):
        OpenAIBatchService(client=openai)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "60"])
def test_a_timeout_is_a_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(SettingsError, match="timeout_s is"):
        OpenAIBatchService("k", timeout_s=seconds)


def test_a_wrong_path_in_the_address_is_suggested(it: OpenAIBatchService) -> None:
    with pytest.raises(NotFound, match="the base URL ends as the service wants it"):
        it.list_batches()


# ── Files and ids ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("check", [True, False])
def test_a_missing_file_is_told_in_both_languages(it: OpenAIBatchService, tmp_path: Path, check: bool) -> None:
    with pytest.raises(MissingFile, match="no such file") as caught:
        it.upload_file(tmp_path / "no.jsonl", check=check)
    assert isinstance(caught.value, FileNotFoundError) and isinstance(caught.value, InputError)


def test_a_folder_is_no_input_file(it: OpenAIBatchService, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        it.create_batch(tmp_path)


def test_an_uploaded_file_stands_for_its_id(it: OpenAIBatchService, service: Double, tmp_path: Path) -> None:
    service.on("POST", "/v1/files", file())
    service.on("POST", "/v1/batches", batch("batch_1"))
    path = Build.create_jsonl_file([Build.build_request("x")], tmp_path / "in.jsonl")
    it.create_batch(input_file_id=it.upload_file(path))
    assert service.seen[-1].json["input_file_id"] == "file-in"


@pytest.mark.parametrize("id", ["", " ", 5, {}])
def test_what_is_no_file_id_is_not_sent(it: OpenAIBatchService, service: Double, id: Any) -> None:
    with pytest.raises(InputError, match="not the id of a file"):
        it.create_batch(input_file_id=id)
    assert service.seen == []


def test_a_batch_in_place_of_its_id_is_told_shortly(it: OpenAIBatchService, service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch("batch_1"))
    with pytest.raises(InputError, match=r"^not the id of a batch: Batch object\n"):
        it.get_batch(it.get_batch("batch_1"))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["", ".", "nowhere/in.jsonl", None])
def test_a_path_that_cannot_be_written_is_told_before_anything_else(
    path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        Build.create_jsonl_file([Build.build_request("x")], path)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_has_nowhere_to_go_before_the_service_is_asked(it: OpenAIBatchService, service: Double) -> None:
    with pytest.raises(InputError, match="does not exist"):
        it.get_results("batch_1", "nowhere/out.jsonl")
    assert service.seen == []


@pytest.mark.parametrize("requests", [None, "x", Build.build_request("x")])
def test_one_request_is_not_a_list(requests: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="requests is a list of requests, not one"):
        Build.create_jsonl_file(requests, tmp_path / "in.jsonl")


@pytest.mark.parametrize("metadata", [[1], "x"])
def test_metadata_is_a_dict(it: OpenAIBatchService, service: Double, metadata: Any) -> None:
    with pytest.raises(InputError, match="metadata is a dict"):
        it.create_batch(input_file_id="file-1", metadata=metadata)
    assert service.seen == []


@pytest.mark.parametrize("body", [{"x": object()}, {"x": float("nan")}, {"x": "\ud800"}])
def test_what_json_cannot_carry_is_bad_input(it: OpenAIBatchService, service: Double, body: Any) -> None:
    with pytest.raises(InputError):
        it.create_batch(input_file_id="file-1", extra_body=body)
    assert service.seen == []


# ── Requests ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_prompt_that_is_none_is_named_by_its_number() -> None:
    with pytest.raises(InputError, match="prompt 3: a prompt is a text"):
        Build.build_requests_from_prompts(["a", "b", float("nan")])  # type: ignore[list-item]


def test_a_schema_and_a_verbosity_share_the_text_of_a_responses_request() -> None:
    class Label(BaseModel):
        label: str

    body = Build.build_request(
        "x", endpoint="/v1/responses", response_format=Label, text={"verbosity": "low"}, reasoning={"effort": "low"}
    )["body"]
    assert (body["text"]["verbosity"], body["text"]["format"]["name"]) == ("low", "Label")
    assert body["reasoning"] == {"effort": "low"}


def test_lines_with_several_faults_are_named_once(tmp_path: Path) -> None:
    path = Build.create_jsonl_file(Build.build_requests_from_prompts(["a", "b", "c"]), tmp_path / "in.jsonl")
    with pytest.raises(InputError, match=r"\(and 5 more, lines 2, 3\)"):
        OpenAIBatchService("k", "http://127.0.0.1:1").create_batch(path, endpoint="/v1/embeddings")


def test_a_forgotten_endpoint_is_told_with_the_way_out(tmp_path: Path) -> None:
    path = Build.create_jsonl_file([Build.build_embedding_request("a")], tmp_path / "in.jsonl")
    with pytest.raises(InputError, match=r"hint: give create_batch\(\) the endpoint= of the lines"):
        OpenAIBatchService("k", "http://127.0.0.1:1").create_batch(path)


def test_a_line_without_a_method_gets_the_only_one(tmp_path: Path) -> None:
    line = {name: part for name, part in Build.build_request("x").items() if name != "method"}
    path = Build.create_jsonl_file([line], tmp_path / "in.jsonl")
    assert json.loads(path.read_text())["method"] == "POST"


# ── Waiting and results ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_callback_that_runs_out_is_not_taken_for_the_end(it: OpenAIBatchService, service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch("batch_1", "completed"))
    nothing_left = iter(())
    with pytest.raises(StopIteration):
        it.wait_for_completion("batch_1", callback=lambda *_: next(nothing_left))


@pytest.mark.parametrize(
    "wrong",
    [
        {"poll_interval": None},
        {"poll_interval": "30"},
        {"poll_interval": float("nan")},
        {"poll_interval": float("inf")},
        {"timeout": "60"},
        {"timeout": float("nan")},
        {"callback": 5},
    ],
)
def test_a_wait_is_told_how_long_in_seconds(it: OpenAIBatchService, service: Double, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        it.wait_for_completion("batch_1", **wrong)
    assert service.seen == []


def test_answers_that_are_named_in_a_state_never_heard_of_are_given(it: OpenAIBatchService, service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch("batch_1", "archived", output_file_id="file-out"))
    service.on("GET", "/v1/batches/batch_2", batch("batch_2", "archived"))
    service.on("GET", "/v1/files/file-out/content", Says(body=lines(answer_line("q-1", "yes"))))
    assert [line["custom_id"] for line in it.get_results("batch_1")] == ["q-1"]
    with pytest.raises(NotComplete, match="archived"):
        it.get_results("batch_2")


# ── Connections ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["blocking", "awaited"])
def test_a_redirect_to_another_host_takes_no_key_along(service: Double, way: str) -> None:
    with double() as elsewhere:
        elsewhere.on("GET", "/v1/there", {})
        service.on("GET", "/v1/here", Says(302, {}, {"location": f"{elsewhere.base_url}/there"}))
        service.on("GET", "/v1/near", Says(302, {}, {"location": "/v1/home"}))
        service.on("GET", "/v1/home", {})
        account = Account(service.base_url, Secret("canary"), "x-goog-api-key", headers={"x-gateway": "canary"})
        calls = [Call("GET", "/here"), Call("GET", "/near")]
        if way == "blocking":
            send = Sender(account)
            for call in calls:
                send(call)
        else:

            async def run() -> None:
                send = AsyncSender(account)
                for call in calls:
                    await send(call)
                await send.close()

            asyncio.run(run())
        assert "canary" not in str(elsewhere.seen) and len(elsewhere.seen) == 1
        (home,) = service.calls("GET", "/v1/home")
        assert (home.headers["x-goog-api-key"], home.headers["x-gateway"]) == ("canary", "canary")


def test_a_service_that_nobody_closes_leaves_no_connection_behind(service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch("batch_1"))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        OpenAIBatchService("k", service.base_url).get_batch("batch_1")
        gc.collect()
    assert [str(each.message) for each in heard if each.category is ResourceWarning] == []


def test_closing_on_one_loop_leaves_another_loops_connections_alone(service: Double) -> None:
    service.on("GET", "/v1/batches/batch_1", batch("batch_1"))
    it = AsyncOpenAIBatchService("k", service.base_url)

    async def ask() -> None:
        await it.get_batch("batch_1")

    async def ask_and_close() -> None:
        await it.get_batch("batch_1")
        await it.close()

    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        one.run_until_complete(ask())
        other.run_until_complete(ask_and_close())
        assert len(it._send._clients) == 1
        one.run_until_complete(it.close())
        assert len(it._send._clients) == 0
    finally:
        one.close()
        other.close()


class Renewed(Secret):
    """A key that is a new one each time it is asked for, and at last none."""

    __slots__ = ("asked",)
    may_wait = True

    def __init__(self) -> None:
        super().__init__("")
        self.asked: list[str] = []

    def reveal(self) -> str:
        self.asked.append(threading.current_thread().name)
        if len(self.asked) > 1:
            raise NotSent("the token could not be renewed")
        return "canary-1"


@pytest.mark.parametrize("way", ["blocking", "awaited"])
@pytest.mark.parametrize("status", [200, 400])
def test_a_key_is_asked_for_before_a_call_and_never_for_its_answer(service: Double, way: str, status: int) -> None:
    service.on("POST", "/v1/batches", Says(status, {"said": "Bearer canary-1"}))
    key = Renewed()
    reply = perform(way, Account(service.base_url, key, "authorization", "Bearer "), Call("POST", "/batches", json={}))
    assert reply.status == status
    assert len(key.asked) == 1
    assert (b"canary" in reply.body) == (status == 200)
    if way == "awaited":
        assert key.asked != [threading.main_thread().name]


def test_progress_of_an_awaited_upload_is_told_on_its_loop(service: Double, tmp_path: Path) -> None:
    service.on("POST", "/v1/files", file())
    path = tmp_path / "in.jsonl"
    path.write_bytes(bytes(100))
    told: list[tuple[int, str]] = []

    async def tell(sent: int) -> None:
        told.append((sent, threading.current_thread().name))

    content = (b"before", FileSlice(path, 10, 90))
    perform("awaited", Account(service.base_url, None, "authorization"), Call("POST", "/files", content=content,
                                                                             on_sent=tell))  # fmt: skip
    assert told == [(6, threading.main_thread().name), (96, threading.main_thread().name)]


def perform(way: str, account: Account, call: Call) -> Reply:
    if way == "blocking":
        return Sender(account)(call)

    async def run() -> Reply:
        send = AsyncSender(account)
        try:
            return await send(call)
        finally:
            await send.close()

    return asyncio.run(run())


@pytest.mark.parametrize("way", ["blocking", "awaited"])
def test_a_call_waits_no_longer_than_its_patience(service: Double, way: str) -> None:
    enough = threading.Event()
    service.on("GET", "/v1/slow", lambda _: enough.wait(5) and DROP)
    account = Account(service.base_url, None, "authorization")
    call = Call("GET", "/slow", patience_s=0.02)
    try:
        # On a busy machine the patience may be over before the connection stands.
        with pytest.raises((AnswerLost, NotSent), match="Timeout"):
            if way == "blocking":
                Sender(account)(call)
            else:
                asyncio.run(AsyncSender(account)(call))  # type: ignore[arg-type]
    finally:
        enough.set()


def test_an_address_where_nobody_answers_is_named() -> None:
    with pytest.raises(NotSent, match=r"check the base URL \(http://127.0.0.1:9/v1\)"):
        Sender(Account("http://127.0.0.1:9/v1", None, "authorization"))(Call("GET", "/batches"))


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(
        SettingsError, match=r"not a base URL: 'http://127.0.0.1:9/v1'(?s:.)*neither a query nor a user"
    ):
        Account("http://me:canary@127.0.0.1:9/v1", None, "authorization")
