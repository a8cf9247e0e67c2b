"""Runs on Vertex AI: where their jobs and files are, how ids and schemas survive the import, crashes on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nono
from nono.errors import InputError, MissingKey, SettingsError
from nono.exchange import Call, Reply, Send
from nono.model import Outcome, Phase
from nono.providers import Task, provider_named
from nono.providers.vertex import wire
from nono.providers.vertex.account import AccessToken
from nono.providers.vertex.settings import account_of, settings_of
from nono.runs.bench import Settings
from nono.runs.problems import PlanRefused
from nono.runs.run import Run
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel
from nono.transport import Sender
from patience import PATIENT_S

EAGER = Settings(poll_first_s=0.01, poll_cap_s=0.05, reconcile_s=0.05, fence_s=0.1, workers=1)
OPTIONS = {"project": "p", "location": "us-central1", "bucket": "gs://mine/nono"}
TASK = Task("chat", "gemini-2.5-flash")


class Asked(SimulatedModel):
    """Counts what it is asked; a prompt that begins with `hold` waits until it is let go."""

    def __init__(self) -> None:
        self.prompts: Counter[str] = Counter()
        self.let_go = threading.Event()
        self.held = threading.Semaphore(0)

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        prompt = str(body["messages"][-1]["content"])
        self.prompts[prompt] += 1
        if prompt.startswith("hold"):
            self.held.release()
            self.let_go.wait(PATIENT_S)
        return super().answer(endpoint, body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(Asked(), data=tmp_path_factory.mktemp("server")) as running:
        yield running


def model_of(server: LocalServer) -> Asked:
    model = server.settings.model
    assert isinstance(model, Asked)
    return model


def start(server: LocalServer, home: Path, rows: list[Any], **words: Any) -> Run:
    given: dict[str, Any] = {"prompt": "{{ text }}", "options": OPTIONS, "settings": EAGER} | words
    return nono.run(rows, model="vertex/gemini-2.5-flash", home=home, base_url=server.url, **given)


def objects(server: LocalServer) -> list[str]:
    root = server.data / "gcs"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def says(text: str) -> str:
    return f"[[nono:say {text}]]"


# ── the whole way ──


def test_ids_that_look_like_numbers_come_back_as_they_were(server: LocalServer, tmp_path: Path) -> None:
    ids = ["007", "1e5", "2024-01-01", "true", "-3.50", "plain"]
    run = start(server, tmp_path, [{"id": one, "text": says(one)} for one in ids], id="id")
    assert run.wait(timeout_s=PATIENT_S).succeeded == 6
    assert [(row["custom_id"], row["answer"]) for row in run.results()] == [(one, one) for one in ids]


def test_nothing_of_a_finished_run_is_left_in_the_bucket(server: LocalServer, tmp_path: Path) -> None:
    before = objects(server)
    run = start(server, tmp_path, [{"text": says("clean")}])
    assert run.wait(timeout_s=PATIENT_S).succeeded == 1
    assert objects(server) == before


def test_what_shall_be_kept_lies_below_the_runs_own_bucket(server: LocalServer, tmp_path: Path) -> None:
    before = objects(server)
    run = start(server, tmp_path, [{"text": says("kept")}], provider_files="keep")
    run.wait(timeout_s=PATIENT_S)
    requests, *answers = sorted(set(objects(server)) - set(before), key=len)
    assert requests == f"mine/nono/nono-{run.id}-0-1.jsonl"
    assert all(one.startswith(f"mine/nono/nono-{run.id}-0-1/answers/prediction-model-") for one in answers)


def test_a_run_finds_its_place_again_whatever_the_environment_says(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "first")
    monkeypatch.setenv("NONO_VERTEX_BUCKET", "gs://first")
    run = start(server, tmp_path, [{"text": says("again")}], options=None)
    run.wait(until_submitted=True)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "second")
    monkeypatch.delenv("NONO_VERTEX_BUCKET")
    again = nono.open_run(run.id, home=tmp_path)
    assert again.wait(timeout_s=PATIENT_S).succeeded == 1
    assert next(iter(again.results()))["batch_id"].startswith("projects/first/locations/global/batchPredictionJobs/")


def test_a_run_of_another_project_is_another_run(server: LocalServer, tmp_path: Path) -> None:
    rows = [{"text": says("whose")}]
    mine = start(server, tmp_path, rows)
    assert start(server, tmp_path, rows).id == mine.id
    assert start(server, tmp_path, rows, options=OPTIONS | {"project": "q"}).id != mine.id


def test_a_schema_with_references_arrives_in_one_piece(server: LocalServer, tmp_path: Path) -> None:
    inner = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"first": {"$ref": "#/$defs/Tag"}},
        "required": ["first"],
        "$defs": {"Tag": inner},
    }
    run = start(server, tmp_path, [{"text": "tag this"}], schema=schema)
    assert run.wait(timeout_s=PATIENT_S).succeeded == 1
    answer = json.loads(next(iter(run.results()))["answer"])
    assert list(answer) == ["first"] and list(answer["first"]) == ["label"]


def test_a_cancelled_run_ends_with_an_outcome_for_every_row(server: LocalServer, tmp_path: Path) -> None:
    run = start(server, tmp_path, [{"text": f"hold {number}"} for number in range(3)])
    run.wait(until_submitted=True)
    sender = Sender(provider_named("vertex").at(server.url, OPTIONS).account())

    def letting_go(call: Call) -> Reply:
        reply = sender(call)
        if call.path.endswith(":cancel"):
            model_of(server).let_go.set()
        return reply

    status = Run(Workspace(tmp_path), run.id, send=letting_go).cancel()
    assert model_of(server).let_go.is_set()
    assert (status.state, status.left) == ("cancelled", 0)
    assert len(list(run.results())) == 3


# ── dying on the way ──


class Crash(BaseException):
    """The process dies here."""


def dying(send: Send, at: int, *, after: bool) -> Send:
    """A sender under which the process dies at its `at`-th call, before it leaves or after it took effect."""
    calls = 0

    def perform(call: Call) -> Reply:
        nonlocal calls
        calls += 1
        if calls - 1 == at and not after:
            raise Crash
        reply = send(call)
        if calls - 1 == at:
            raise Crash
        return reply

    return perform


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after its effect"])
def test_a_crash_at_any_call_loses_nothing_and_asks_nothing_twice(
    server: LocalServer, tmp_path: Path, after: bool
) -> None:
    sender = Sender(provider_named("vertex").at(server.url, OPTIONS).account())
    told = 0
    for at in range(0, 9, 1 if after else 4):  # a life has nine calls at least
        texts = [says(f"{after} {at} {number}") for number in range(2)]
        run = start(server, tmp_path, [{"text": text} for text in texts], settings=replace(EAGER, workers=0))
        crashed = Run(Workspace(tmp_path), run.id, send=dying(sender, at, after=after))
        try:
            crashed.wait(timeout_s=PATIENT_S)
        except Crash:
            told += 1
        crashed.workspace.close()
        again = nono.open_run(run.id, home=tmp_path)
        assert again.wait(timeout_s=PATIENT_S).succeeded == 2, at
        assert [model_of(server).prompts[text] for text in texts] == [1, 1], at
    assert told == (9 if after else 3)


# ── settings ──


def test_everything_that_is_missing_is_named_with_the_ways_to_say_it() -> None:
    with pytest.raises(MissingKey) as caught:
        account_of(settings_of(None, {}, {}), None, {})
    assert caught.value.message == "a run on Vertex AI needs a project and a bucket"
    for word in ("GOOGLE_CLOUD_PROJECT", "NONO_VERTEX_BUCKET", "options=", "--option"):
        assert word in str(caught.value.hint)


def test_an_option_wins_over_its_variable() -> None:
    environment = {"GOOGLE_CLOUD_PROJECT": "e", "GOOGLE_CLOUD_LOCATION": "eu", "NONO_VERTEX_BUCKET": "gs://e/"}
    found = settings_of(None, {"project": "o"}, environment)
    assert (found.project, found.location, found.bucket) == ("o", "eu", "gs://e")
    assert found.base_url == "https://aiplatform.eu.rep.googleapis.com"
    assert found.storage_url == "https://storage.googleapis.com"


def test_a_bucket_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="no address in Cloud Storage"):
        settings_of(None, {"bucket": "my-bucket"}, {})


def test_a_server_on_this_machine_needs_neither_project_nor_bucket_nor_googles_token() -> None:
    account = account_of(settings_of("http://127.0.0.1:8765", {}, {}), None, {})
    assert account.options == {
        "project": "local",
        "location": "global",
        "bucket": "gs://nono",
        "storage_url": "http://127.0.0.1:8765",
    }
    assert account.key is not None and account.key.reveal() == "local"


def test_a_token_of_gclouds_own_variable_is_taken() -> None:
    account = account_of(settings_of(None, OPTIONS, {}), None, {"CLOUDSDK_AUTH_ACCESS_TOKEN": "ya29.x"})
    assert account.key is not None and account.key.reveal() == "ya29.x"
    assert account.fingerprint() == "https://us-central1-aiplatform.googleapis.com#projects/p/locations/us-central1"


def test_without_a_token_google_auth_is_asked_and_names_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(known | {"quota_project_id": "pays"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    account = account_of(settings_of(None, OPTIONS, {}), None, {})
    assert isinstance(account.key, AccessToken)
    assert (account.headers or {})["x-goog-user-project"] == "pays"


def test_embeddings_are_refused_with_the_way_to_them() -> None:
    with pytest.raises(InputError, match="embeddings on Vertex AI") as caught:
        provider_named("vertex").endpoint_for(Task("embedding", "gemini-embedding-001"))
    assert "gemini/" in str(caught.value.hint)


# ── rows and answers ──


def test_a_row_that_could_not_be_imported_is_refused_before_anything_is_sent(
    server: LocalServer, tmp_path: Path
) -> None:
    with pytest.raises(PlanRefused, match=r"the field 'request.tools.googleSearch' is a struct without fields"):
        start(server, tmp_path, [{"text": "news"}], extra_body={"tools": [{"googleSearch": {}}]})


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "object", "properties": {"a b": {"type": "string"}}}, "a name that no column can have"),
        (
            {"$ref": "#/$defs/N", "$defs": {"N": {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}}},
            "a schema that contains itself",
        ),
    ],
)
def test_a_schema_that_no_table_can_hold_is_named(schema: dict[str, Any], said: str) -> None:
    assert any(said in sentence for sentence in provider_named("vertex").lint_schema(schema))


def job(state: str, **more: Any) -> Any:
    return wire.remote_batch(
        wire.parse_job({"name": "projects/p/locations/l/batchPredictionJobs/1", "state": state} | more)
    )


def test_a_job_is_a_batch_with_its_folder_counters_and_deadline() -> None:
    batch = job(
        "JOB_STATE_CANCELLED",
        displayName="nono-x-0-1-0",
        createTime="2026-11-22T00:00:00Z",
        endTime="2026-11-22T01:00:00Z",
        inputConfig={"gcsSource": {"uris": ["gs://b/in.jsonl"]}},
        outputInfo={"gcsOutputDirectory": "gs://b/in/answers/prediction-model-1"},
        completionStats={"successfulCount": "2", "failedCount": "1", "incompleteCount": "4"},
        error={"code": 1, "message": "CANCELED"},
    )
    assert (batch.phase, batch.tag, batch.input_file_id) == (Phase.CANCELLED, "nono-x-0-1-0", "gs://b/in.jsonl")
    assert batch.answer_files == ("gs://b/in/answers/prediction-model-1",)
    assert (batch.counts.total, batch.counts.succeeded, batch.counts.failed) == (7, 2, 1)
    assert batch.expires_at.isoformat() == "2026-11-26T00:00:00+00:00"
    assert batch.errors[0].message == "CANCELED"


def test_a_job_that_runs_names_no_answers_yet() -> None:
    running = job("JOB_STATE_RUNNING", outputConfig={"gcsDestination": {"outputUriPrefix": "gs://b/out"}})
    assert running.answer_files == ()


def test_an_answer_of_a_foreign_job_is_read_by_the_number_that_its_key_became() -> None:
    line = b'{"status":"","key":7,"request":{},"response":{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}}'
    assert provider_named("vertex").decode(line).custom_id == "7"


def test_a_status_that_is_only_words_is_an_error_of_the_row() -> None:
    result = provider_named("vertex").decode(b'{"status":"Internal: something","key":"id:a","request":{}}')
    assert (result.custom_id, result.outcome) == ("a", Outcome.ERRORED)
    assert result.error is not None and result.error.message == "Internal: something"


def test_a_process_that_is_killed_in_the_middle_is_taken_up_by_the_next(server: LocalServer, tmp_path: Path) -> None:
    """The real thing: `kill -9` of `nono run` as soon as the first requests of its batches are answered."""
    model = model_of(server)
    model.let_go.clear()
    model.held = threading.Semaphore(0)
    prompts = [f"hold {number} killed" for number in range(20)]
    (tmp_path / "rows.csv").write_text("text\n" + "\n".join(prompts))
    words = ["run", "rows.csv", "-p", "{{ text }}", "-m", "vertex/gemini-2.5-flash", "--rows-per-batch", "5", "--yes"]
    environment = os.environ | {"NONO_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "nono.cli", *words, "--base-url", server.url, "--quiet"], cwd=tmp_path, env=environment
    )
    try:
        assert model.held.acquire(timeout=PATIENT_S)
    finally:
        process.kill()
        process.wait()
    model.let_go.set()
    run = nono.open_run(home=tmp_path / "home")
    hurried = replace(run.spec.settings, reconcile_s=0.05, fence_s=0.1)
    assert run.wait(timeout_s=PATIENT_S, settings=hurried).succeeded == 20
    assert [model.prompts[prompt] for prompt in prompts] == [1] * 20
