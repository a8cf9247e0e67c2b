"""The two service classes: settings, waiting, results, blocking and on an event loop."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from gemini_double import GeminiDouble, operation, refusal
from google import genai

from nono.connector.genai_batch_processing import AsyncGeminiBatchService, GeminiBatchService
from nono.errors import InputError, MissingKey, NotComplete, SettingsError, WaitTimeout
from nono.providers.gemini.account import resolve
from nono.providers.gemini.wire import Job

REAL = "https://generativelanguage.googleapis.com"


def settings(environment: dict[str, str] | None = None, **given: Any) -> tuple[str | None, str, str, str]:
    account, source = resolve(environment=environment or {}, **given)
    return account.key and account.key.reveal(), source, account.base_url, account.api_version


def test_without_settings_the_service_is_googles() -> None:
    assert settings(api_key="k") == ("k", "argument", REAL, "v1beta")


def test_google_api_key_wins_over_gemini_api_key() -> None:
    assert settings({"GEMINI_API_KEY": "gem", "GOOGLE_API_KEY": "goo"})[:2] == ("goo", "GOOGLE_API_KEY")
    assert settings({"GEMINI_API_KEY": "gem"})[:2] == ("gem", "GEMINI_API_KEY")


def test_an_argument_wins_over_the_environment() -> None:
    environment = {
        "GOOGLE_API_KEY": "goo",
        "GOOGLE_GEMINI_BASE_URL": "http://env",
        "GOOGLE_GENAI_API_VERSION": "v9",
    }
    assert settings(environment) == ("goo", "GOOGLE_API_KEY", "http://env", "v9")
    assert settings(environment, api_key="k", base_url="http://arg", api_version="v1") == (
        "k",
        "argument",
        "http://arg",
        "v1",
    )


def test_the_version_beta_is_short_for_v1beta() -> None:
    assert settings({"GOOGLE_GENAI_API_VERSION": "beta"}, api_key="k")[3] == "v1beta"


def test_a_base_url_may_end_in_its_version() -> None:
    assert settings(api_key="k", base_url="http://127.0.0.1:8765/v1alpha/")[2:] == ("http://127.0.0.1:8765", "v1alpha")


def test_no_key_is_told_with_the_way_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingKey, match="set GEMINI_API_KEY"):
        GeminiBatchService()


def test_a_key_with_more_than_a_key_in_it_is_told_without_being_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve(api_key="secret key”", environment={})
    assert "secret" not in str(caught.value)


def test_the_service_says_where_its_key_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "gem")
    assert GeminiBatchService().key_source == "GEMINI_API_KEY"
    assert GeminiBatchService(api_key="k").key_source == "argument"


def test_an_sdk_client_lends_its_settings(gemini: GeminiDouble) -> None:
    client = genai.Client(
        api_key="sdk-key",
        http_options={"base_url": gemini.base_url, "api_version": "v1alpha", "headers": {"X-Team": "7"}},
    )
    with GeminiBatchService(client=client) as service:
        assert service.key_source == "client"
        list(service.list_jobs())
    (seen,) = gemini.seen
    assert (seen.path, seen.headers["x-goog-api-key"], seen.headers["x-team"]) == ("/v1alpha/batches", "sdk-key", "7")
    assert "google-genai-sdk" not in seen.headers["user-agent"]


def test_an_sdk_clients_timeout_is_in_milliseconds() -> None:
    client = genai.Client(api_key="k", http_options={"timeout": 7000})
    assert GeminiBatchService(client=client)._send._plan.timeout.read == 7.0


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"wants a google.genai.Client, not str"):
        GeminiBatchService(client="key")


@pytest.mark.parametrize(("version", "path"), [("v1", "/v1/batches"), ("", "/batches")])
def test_the_version_stands_in_every_path(gemini: GeminiDouble, version: str, path: str) -> None:
    with GeminiBatchService(api_key="k", base_url=gemini.base_url, api_version=version) as service:
        list(service.list_jobs())
    assert gemini.seen[0].path == path


def test_waiting_calls_back_at_every_poll(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    gemini.jobs["batches/b"] = operation("batches/b", "BATCH_STATE_SUCCEEDED")
    gemini.once("GET", "/batches/b", operation("batches/b", "BATCH_STATE_PENDING"))
    gemini.once("GET", "/batches/b", operation("batches/b", "BATCH_STATE_HIBERNATING"))
    told: list[tuple[str, bool]] = []
    job = service.wait_for_completion(
        "b", poll_interval=0, callback=lambda job, elapsed: told.append((job.state, elapsed >= 0))
    )
    assert job.state == GeminiBatchService.STATE_SUCCEEDED
    assert told == [("JOB_STATE_PENDING", True), ("BATCH_STATE_HIBERNATING", True), ("JOB_STATE_SUCCEEDED", True)]


def test_waiting_is_given_up_in_time(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    gemini.jobs["batches/b"] = operation("batches/b", "BATCH_STATE_RUNNING")
    with pytest.raises(TimeoutError, match="last state: JOB_STATE_RUNNING") as caught:
        service.wait_for_completion("batches/b", poll_interval=0, timeout=0)
    assert isinstance(caught.value, WaitTimeout)
    assert caught.value.last.state == "JOB_STATE_RUNNING"


def test_a_job_that_is_not_known_is_not_waited_for(service: GeminiBatchService) -> None:
    with pytest.raises(Exception, match="no such batch"):
        service.wait_for_completion("nope", poll_interval=0)


def test_inline_results_print_and_parse_as_their_text(service: GeminiBatchService) -> None:
    request = GeminiBatchService.build_structured_request("name?", {"type": "object"})
    job = service.create_inline_batch([request], display_name="d")
    (result,) = service.get_inline_results(job.name)
    assert f"{result}" == '{"echo": "name?"}'
    assert json.loads(result) == {"echo": "name?"}
    assert result.response is not None
    assert result.response["usageMetadata"]["promptTokenCount"] == 4
    assert result.key == "request-1"


def test_results_of_a_job_that_runs_are_not_there_yet(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    gemini.jobs["batches/b"] = operation("batches/b", "BATCH_STATE_RUNNING")
    with pytest.raises(NotComplete):
        service.get_inline_results("b")


def test_responses_of_a_job_object_need_no_further_call(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    job = service.get_job(service.create_inline_batch(["a"]).name)
    asked = len(gemini.seen)
    assert service.get_responses(job) == ["echo: a"]
    assert len(gemini.seen) == asked


def test_vectors_come_with_their_keys(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    built = GeminiBatchService.build_embedding_request("two", task_type="CLUSTERING")
    job = service.create_embeddings_batch(["one", {"key": "second", "request": built}])
    assert [(result.key, result.vector) for result in service.get_inline_results(job.name)] == [
        ("request-1", [0.25, 0.5]),
        ("second", [0.25, 0.5]),
    ]
    sent = gemini.calls("POST")[0]
    assert sent.path == "/v1beta/models/gemini-embedding-001:asyncBatchEmbedContent"
    assert [item["request"] for item in sent.json["batch"]["inputConfig"]["requests"]["requests"]] == [
        {"content": {"parts": [{"text": "one"}]}},
        {"content": {"parts": [{"text": "two"}]}, "task_type": "CLUSTERING"},
    ]


def test_a_file_of_embeddings_is_checked_as_one(
    gemini: GeminiDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"key":"a","request":{"content":{"parts":[{"text":"x"}]}}}\n')
    job = service.create_embeddings_batch(file_path=path)
    assert service.get_file_results(job.name)[0]["response"]["embedding"]["values"] == [0.25, 0.5]


@pytest.mark.parametrize("sources", [{}, {"file_path": "a", "uploaded_file_name": "b"}])
def test_a_file_job_has_one_source(service: GeminiBatchService, sources: dict[str, str]) -> None:
    with pytest.raises(InputError, match="give exactly one"):
        service.create_file_batch(**sources)


def test_an_uploaded_file_is_named_as_it_is(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    service.create_file_batch(uploaded_file_name="abc123xyz", display_name="d")
    assert gemini.calls("POST")[0].json == {
        "batch": {"inputConfig": {"fileName": "files/abc123xyz"}, "displayName": "d"}
    }


def test_a_deleted_job_is_gone(service: GeminiBatchService) -> None:
    job = service.create_inline_batch(["a"])
    service.delete_job(job.name)
    with pytest.raises(Exception, match="no such batch"):
        service.get_job(job.name)


def test_both_classes_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        return {
            name: [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
            for name, method in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    assert public(AsyncGeminiBatchService) == public(GeminiBatchService)


async def everything(base_url: str, folder: Path) -> dict[str, Any]:
    async with AsyncGeminiBatchService(api_key="k", base_url=base_url) as service:
        path = await service.create_jsonl_file(["a", "b"], folder / "in.jsonl", keys=["x", "y"])
        file_job = await service.create_file_batch(path)
        inline_job = await service.create_inline_batch(["c"])
        states: list[str] = []

        async def tell(job: Job, elapsed: float) -> None:
            states.append(job.state)

        ended = await service.wait_for_completion(file_job.name, poll_interval=0, callback=tell)
        return {
            "ended": ended.state,
            "told": states,
            "status": await service.get_job_status(inline_job.name),
            "inline": await service.get_inline_results(inline_job.name),
            "keys": [line["key"] for line in await service.get_file_results(file_job.name)],
            "saved": (await service.get_file_results(file_job.name, folder / "out.jsonl")).stat().st_size > 100,
            "listed": [job.id async for job in service.list_jobs(page_size=1)],
            "first page": [job.id for job in (await service.list_jobs(page_size=1)).page],
            "all": len(await service.list_all_jobs()),
            "cancelled": (await service.cancel_job(inline_job.name)).cancelled,
            "deleted": await service.delete_job(inline_job.name),
            "vector": (await service.get_responses((await service.create_embeddings_batch(["t"])).name))[0].vector,
            "file": (await service.get_file("files/f0")).size_bytes == path.stat().st_size,
            "file deleted": await service.delete_file("files/f0"),
        }


def test_every_method_works_on_an_event_loop(gemini: GeminiDouble, tmp_path: Path) -> None:
    assert asyncio.run(everything(gemini.base_url, tmp_path)) == {
        "ended": "JOB_STATE_SUCCEEDED",
        "told": ["JOB_STATE_SUCCEEDED"],
        "status": "JOB_STATE_SUCCEEDED",
        "inline": ["echo: c"],
        "keys": ["x", "y"],
        "saved": True,
        "listed": ["b1", "b2"],
        "first page": ["b1"],
        "all": 2,
        "cancelled": True,
        "deleted": None,
        "vector": [0.25, 0.5],
        "file": True,
        "file deleted": None,
    }


def test_one_async_service_outlives_an_event_loop(gemini: GeminiDouble) -> None:
    service = AsyncGeminiBatchService(api_key="k", base_url=gemini.base_url)
    assert asyncio.run(service.list_all_jobs()) == []
    assert asyncio.run(service.list_all_jobs()) == []


def test_a_refused_key_is_told_at_the_call(gemini: GeminiDouble, service: GeminiBatchService) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    gemini.once("GET", "/batches", refusal(400, "INVALID_ARGUMENT", "API key not valid.", details))
    with pytest.raises(Exception, match="API key not valid") as caught:
        service.list_jobs()
    assert type(caught.value).__name__ == "KeyRefused"
    assert service._account.key is not None
    assert "k'" not in repr(service._account)
