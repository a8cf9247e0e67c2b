"""Vertex AI through the service classes: settings, jobs, storage and answers; our requests are the official SDK's."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gemini_double import Drop, Says, Script, double, refusal, reply
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials
from vertex_double import DIRECTORY, VertexDouble

from nono.connector.genai_batch_processing import AsyncGeminiBatchService, GeminiBatchService
from nono.errors import (
    AnswerLost,
    BigQueryOutput,
    GcsOutput,
    InputError,
    JobFailed,
    MissingKey,
    NoDestination,
    NotComplete,
    NotFound,
    ProviderError,
    SettingsError,
)
from nono.exchange import Call, Reply
from nono.providers.vertex import wire
from nono.providers.vertex.account import AccessToken, Place, resolve
from nono.providers.vertex.flows import VertexJobs, answer_objects
from nono.providers.vertex.storage import Bucket

TOKEN = Credentials("FAKE-OAUTH")  # type: ignore[no-untyped-call]
JOBS = "/v1beta1/projects/p/locations/us-central1/batchPredictionJobs"
LINE = '{"key": "a", "request": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}}\n'


@pytest.fixture
def vertex(monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexDouble]:
    with double(VertexDouble()) as it:
        assert isinstance(it, VertexDouble)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", it.base_url)
        yield it


@pytest.fixture
def service(vertex: VertexDouble) -> Iterator[GeminiBatchService]:
    with GeminiBatchService(
        vertexai=True, project="p", location="us-central1", credentials=TOKEN, base_url=vertex.base_url
    ) as it:
        yield it


# ── settings ──


def settings(environment: dict[str, str] | None = None, **given: Any) -> tuple[str, str | None, str | None]:
    account, place, _ = resolve(environment=environment or {}, **{"credentials": TOKEN, **given})
    return account.base_url, place.project, place.location


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_the_host_is_that_of_the_location(location: str, host: str) -> None:
    assert settings(project="p", location=location) == (host, "p", location)


def test_project_and_location_come_from_the_environment() -> None:
    environment = {"GOOGLE_CLOUD_PROJECT": "q", "GOOGLE_CLOUD_LOCATION": "europe-west4"}
    assert settings(environment) == ("https://europe-west4-aiplatform.googleapis.com", "q", "europe-west4")
    assert settings(environment, project="p", location="us-west1")[1:] == ("p", "us-west1")


def test_without_a_location_jobs_are_global() -> None:
    assert settings(project="p")[2] == "global"


def test_the_vertex_address_of_the_environment_is_taken() -> None:
    assert settings({"GOOGLE_VERTEX_BASE_URL": "http://127.0.0.1:1"}, project="p")[0] == "http://127.0.0.1:1"


def test_no_project_is_told_with_the_way_to_one() -> None:
    with pytest.raises(MissingKey, match="set GOOGLE_CLOUD_PROJECT"):
        settings()


def test_a_key_and_a_project_contradict_each_other() -> None:
    with pytest.raises(SettingsError, match="one or the other"):
        settings(api_key="k", project="p", credentials=None)


def test_what_are_no_credentials_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"wants google-auth's credentials, not str"):
        settings(project="p", credentials="token")


@pytest.mark.parametrize("setting", [{"project": "p"}, {"location": "l"}, {"credentials": TOKEN}])
def test_settings_of_vertex_are_refused_without_it(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="add vertexai=True"):
        GeminiBatchService(api_key="k", **setting)


def test_the_environment_turns_vertex_on(vertex: VertexDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    with GeminiBatchService(project="p", location="us-central1", credentials=TOKEN, base_url=vertex.base_url) as it:
        it.list_all_jobs()
    assert vertex.seen[0].path == JOBS


def test_an_sdk_client_lends_project_place_and_credentials(vertex: VertexDouble) -> None:
    client = genai.Client(
        vertexai=True,
        project="p",
        location="us-central1",
        credentials=TOKEN,
        http_options={"base_url": vertex.base_url},
    )
    with GeminiBatchService(client=client) as it:
        assert it.key_source == "client"
        it.list_all_jobs()
    (seen,) = vertex.seen
    assert (seen.path, seen.headers["authorization"]) == (JOBS, "Bearer FAKE-OAUTH")


def test_a_key_alone_is_express_mode(vertex: VertexDouble) -> None:
    with GeminiBatchService("VKEY", vertexai=True, base_url=vertex.base_url) as it:
        it.list_all_jobs()
    (seen,) = vertex.seen
    assert (seen.path, seen.headers["x-goog-api-key"]) == ("/v1beta1/batchPredictionJobs", "VKEY")


class Renewable:
    token = "old"
    valid = False

    def refresh(self, request: Any) -> None:
        self.token, self.valid = "new", True


def test_a_token_that_has_run_out_is_renewed_when_it_is_needed() -> None:
    credentials = Renewable()
    token = AccessToken(credentials)
    assert credentials.token == "old"
    assert token.reveal() == "new"
    assert "new" not in repr(token)


def test_credentials_that_cannot_be_renewed_are_told(vertex: VertexDouble) -> None:
    spent = Credentials("old", expiry=__import__("datetime").datetime(2020, 1, 1))  # type: ignore[no-untyped-call]
    with (
        GeminiBatchService(vertexai=True, project="p", credentials=spent, base_url=vertex.base_url) as it,
        pytest.raises(SettingsError, match="Google refuses to renew the token"),
    ):
        it.list_jobs()
    assert vertex.seen == []


# ── our requests are the SDK's ──

GCS = types.BatchJobSource(format="jsonl", gcs_uri=["gs://b/1.jsonl", "gs://b/2.jsonl"])
SAME: dict[str, tuple[Callable[[Any], Any], Callable[[GeminiBatchService], Any]]] = {
    "gcs": (
        lambda sdk: sdk.create(model="gemini-2.5-flash", src="gs://bkt/in.jsonl", config={"dest": "gs://bkt/out"}),
        lambda us: us.create_batch("gemini-2.5-flash", gcs_uri="gs://bkt/in.jsonl", dest="gs://bkt/out"),
    ),
    "gcs without a destination": (
        lambda sdk: sdk.create(model="gemini-2.5-flash", src="gs://bkt/in.jsonl", config={"display_name": "n"}),
        lambda us: us.create_batch("gemini-2.5-flash", gcs_uri=["gs://bkt/in.jsonl"], display_name="n"),
    ),
    "several files": (
        lambda sdk: sdk.create(
            model="gemini-2.5-flash", src=GCS, config={"dest": {"format": "jsonl", "gcs_uri": "gs://b/o/"}}
        ),
        lambda us: us.create_batch("gemini-2.5-flash", gcs_uri=["gs://b/1.jsonl", "gs://b/2.jsonl"], dest="gs://b/o/"),
    ),
    "bigquery": (
        lambda sdk: sdk.create(model="publishers/google/models/m", src="bq://p.d.t", config={"display_name": "n"}),
        lambda us: us.create_batch("publishers/google/models/m", bigquery_uri="bq://p.d.t", display_name="n"),
    ),
    "bigquery with a destination": (
        lambda sdk: sdk.create(model="meta/llama", src="bq://p.d.t", config={"dest": "bq://p.d.u"}),
        lambda us: us.create_batch("meta/llama", bigquery_uri="bq://p.d.t", dest="bq://p.d.u"),
    ),
    "get": (lambda sdk: sdk.get(name="1"), lambda us: us.get_job("1")),
    "get by the whole name": (
        lambda sdk: sdk.get(name="projects/p/locations/us-central1/batchPredictionJobs/1"),
        lambda us: us.get_job("projects/p/locations/us-central1/batchPredictionJobs/1"),
    ),
    "list": (
        lambda sdk: sdk.list(config={"page_size": 3, "filter": 'state="JOB_STATE_RUNNING"'}),
        lambda us: us.list_jobs(page_size=3, filter='state="JOB_STATE_RUNNING"'),
    ),
    "delete": (lambda sdk: sdk.delete(name="1"), lambda us: us.delete_job("1")),
}


def recorded(vertex: VertexDouble) -> list[Any]:
    calls = [(seen.method, seen.path, seen.query, without_names(seen.json)) for seen in vertex.seen]
    vertex.seen.clear()
    return calls


def without_names(body: Any) -> Any:
    """Names that nobody gave are made of the time and chance; the SDK's begin otherwise than ours."""
    text = re.sub(r"(genai|nono)_batch_job_\d{14}_[0-9a-f]{5}", "NAME", json.dumps(body))
    return json.loads(re.sub(r"_dest_\d{14}_[0-9a-f]{5}", "_dest_UNIQUE", text))


@pytest.mark.parametrize("what", SAME)
def test_our_requests_are_the_official_sdks(vertex: VertexDouble, service: GeminiBatchService, what: str) -> None:
    for uri in ("gs://bkt/in.jsonl", "gs://b/1.jsonl", "gs://b/2.jsonl"):
        vertex.objects[uri] = LINE.encode()
    job = {"name": f"{JOBS[9:]}/1", "state": "JOB_STATE_SUCCEEDED"}
    client = genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=TOKEN,
        http_options={"base_url": vertex.base_url},
    )  # fmt: skip
    theirs, ours = SAME[what]
    vertex.jobs["1"] = job
    theirs(client.batches)
    expected = recorded(vertex)
    vertex.jobs["1"] = job
    ours(service)
    assert recorded(vertex) == expected
    assert len(expected) == 1


def test_cancelling_is_the_sdks_request_and_a_look(vertex: VertexDouble, service: GeminiBatchService) -> None:
    vertex.jobs["1"] = {"name": f"{JOBS[9:]}/1", "state": "JOB_STATE_CANCELLING"}
    vertex.once("POST", ":cancel", {})
    assert service.cancel_job("1").state == "JOB_STATE_CANCELLING"
    assert [(seen.method, seen.path, seen.body) for seen in vertex.seen] == [
        ("POST", f"{JOBS}/1:cancel", b""),
        ("GET", f"{JOBS}/1", b""),
    ]


# ── jobs and their answers ──


def test_a_file_goes_through_storage_and_its_answers_come_back(
    vertex: VertexDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(LINE + LINE.replace('"a"', '"b"').replace("hi", "ho"))
    file = service.upload_file(path, name="gs://bkt/in.jsonl")
    job = service.create_batch("gemini-2.5-flash", gcs_uri=file.name)
    assert job.state == service.STATE_PENDING
    ended = service.wait_for_completion(job.name, poll_interval=0)
    assert (ended.succeeded, ended.progress) == (True, 100.0)
    assert ended.dest is not None
    assert ended.dest.gcs_uri == f"gs://bkt/in/dest/{DIRECTORY}"
    answers = {answer["key"]: answer for answer in service.get_file_results(job.name)}
    assert answers["a"]["response"]["candidates"][0]["content"]["parts"] == [{"text": "echo: hi"}]
    assert answers["b"]["response"]["candidates"][0]["content"]["parts"] == [{"text": "echo: ho"}]


def test_the_async_class_speaks_vertex_alike(vertex: VertexDouble, tmp_path: Path) -> None:
    async def go() -> list[Any]:
        async with AsyncGeminiBatchService(
            vertexai=True, project="p", location="us-central1", credentials=TOKEN, base_url=vertex.base_url
        ) as service:
            vertex.objects["gs://bkt/in.jsonl"] = LINE.encode()
            job = await service.create_batch("m", gcs_uri="gs://bkt/in.jsonl")
            assert [one.name async for one in service.list_jobs()] == [job.name]
            answers: list[Any] = await service.get_file_results(job.name)
            await service.delete_job(job.name)
            return answers

    assert [answer["key"] for answer in asyncio.run(go())] == ["a"]
    assert vertex.jobs == {}


def test_answers_in_several_objects_become_one_file(
    vertex: VertexDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    vertex.objects |= {"gs://b/out/predictions.jsonl-00000-of-00002": b'{"n":1}\n',
                       "gs://b/out/predictions.jsonl-00001-of-00002": b'{"n":2}\n',
                       "gs://b/out/incremental_predictions.jsonl": b'{"n":1}\n'}  # fmt: skip
    vertex.jobs["1"] = {
        "name": f"{JOBS[9:]}/1",
        "state": "JOB_STATE_SUCCEEDED",
        "outputInfo": {"gcsOutputDirectory": "gs://b/out"},
    }
    assert service.get_file_results("1", tmp_path / "out.jsonl").read_bytes() == b'{"n":1}\n{"n":2}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_inline_answers_are_refused_with_the_place_where_they_are(
    vertex: VertexDouble, service: GeminiBatchService
) -> None:
    vertex.jobs["1"] = {
        "name": f"{JOBS[9:]}/1",
        "state": "JOB_STATE_SUCCEEDED",
        "outputInfo": {"gcsOutputDirectory": "gs://b/o"},
    }
    with pytest.raises(GcsOutput) as caught:
        service.get_responses(service.get_job("1"))
    assert caught.value.place == "gs://b/o"
    vertex.jobs["1"]["outputInfo"] = {"bigqueryOutputTable": "bq://p.d.t"}
    with pytest.raises(BigQueryOutput) as elsewhere:
        service.get_inline_results("1")
    assert elsewhere.value.place == "bq://p.d.t"


def test_a_job_that_has_not_ended_or_failed_has_no_answers(vertex: VertexDouble, service: GeminiBatchService) -> None:
    out = {"outputConfig": {"gcsDestination": {"outputUriPrefix": "gs://b/o"}}}
    vertex.jobs["1"] = {"name": f"{JOBS[9:]}/1", "state": "JOB_STATE_RUNNING", **out}
    with pytest.raises(NotComplete):
        service.get_file_results("1")
    vertex.jobs["1"] |= {"state": "JOB_STATE_FAILED", "error": {"code": 3, "message": "Failed to import data"}}
    with pytest.raises(JobFailed, match="Failed to import data"):
        service.get_file_results("1")


PLACE = {"outputInfo": {"gcsOutputDirectory": "gs://b/o/mine"}}
WISH = {"outputConfig": {"gcsDestination": {"outputUriPrefix": "gs://b/o"}}}
ENDED = {"name": f"{JOBS[9:]}/1", "state": "JOB_STATE_SUCCEEDED"} | WISH


def test_a_place_that_a_job_names_late_is_waited_for(tmp_path: Path) -> None:
    objects = {"items": [{"name": "o/mine/predictions.jsonl", "bucket": "b", "size": "3"}]}

    def content(call: Call) -> Reply:
        assert call.save_to is not None
        call.save_to.write_bytes(b"{}\n")
        return Reply(200)

    script = Script(ENDED, ENDED, ENDED | PLACE, objects, content)
    assert script.run(VertexJobs(Place("p", "l")).save_answers("1", tmp_path / "out")).read_bytes() == b"{}\n"
    assert script.calls[3].params["prefix"] == "o/mine/"
    assert script.pauses == [1.0, 2.0]


def test_answers_of_other_jobs_below_the_same_place_are_not_taken(tmp_path: Path) -> None:
    script = Script(ENDED, ENDED, ENDED, ENDED)
    with pytest.raises(NoDestination, match="names no place"):
        script.run(VertexJobs(Place("p", "l")).save_answers("1", tmp_path / "out"))


def test_a_state_never_heard_of_is_no_end_unless_a_place_is_named(tmp_path: Path) -> None:
    dreaming = ENDED | {"state": "JOB_STATE_DREAMING"}
    with pytest.raises(NotComplete):
        Script(dreaming).run(VertexJobs(Place("p", "l")).save_answers("1", tmp_path / "out"))
    with pytest.raises(NoDestination, match="no answers below gs://b/o/mine"):
        Script(dreaming | PLACE, {}).run(VertexJobs(Place("p", "l")).save_answers("1", tmp_path / "out"))


def test_a_cancelled_job_gives_the_rows_that_it_finished(vertex: VertexDouble, service: GeminiBatchService) -> None:
    vertex.objects["gs://b/o/predictions.jsonl"] = b'{"key":"a","status":"","response":{}}\n'
    vertex.jobs["1"] = {
        "name": f"{JOBS[9:]}/1",
        "state": "JOB_STATE_CANCELLED",
        "outputInfo": {"gcsOutputDirectory": "gs://b/o"},
    }
    assert [answer["key"] for answer in service.get_file_results("1")] == ["a"]


def test_a_status_with_trouble_in_it_becomes_an_error() -> None:
    status = 'Bad Request: {"error": {"code": 400, "message": "Please use a valid role", "status": "INVALID_ARGUMENT"}}'
    assert wire.answer_of({"status": status})["error"] == {
        "code": 400,
        "message": "Please use a valid role",
        "status": "INVALID_ARGUMENT",
    }
    assert wire.answer_of({"status": "Internal"})["error"] == {"message": "Internal", "status": "Internal"}
    assert "error" not in wire.answer_of({"status": "", "response": {}})


def test_unknown_counts_make_no_progress() -> None:
    counts = {"successfulCount": "3", "failedCount": "1", "incompleteCount": "-1"}
    job = wire.parse_job({"name": "n", "state": "JOB_STATE_RUNNING", "completionStats": counts})
    assert job.progress is None
    counts["incompleteCount"] = "4"
    assert wire.parse_job({"name": "n", "state": "JOB_STATE_RUNNING", "completionStats": counts}).progress == 50.0


def test_a_state_never_heard_of_is_not_the_end() -> None:
    assert not wire.parse_job({"name": "n", "state": "JOB_STATE_DREAMING"}).complete
    assert wire.parse_job({"name": "n", "state": "JOB_STATE_PARTIALLY_SUCCEEDED"}).complete


def test_deleting_waits_until_it_is_done() -> None:
    script = Script({"name": "operations/7"}, {"name": "operations/7"}, {"name": "operations/7", "done": True})
    script.run(VertexJobs(Place("p", "l")).delete("1"))
    assert [call.path for call in script.calls[1:]] == ["/{version}/operations/7"] * 2
    assert script.pauses == [0.5, 1.0]


def test_a_delete_that_fails_late_is_told() -> None:
    failed = {"name": "operations/7", "done": True, "error": {"code": 9, "message": "it still runs"}}
    with pytest.raises(ProviderError, match="it still runs"):
        Script(failed).run(VertexJobs(Place("p", "l")).delete("1"))


def test_a_job_whose_creation_has_no_answer_may_exist(vertex: VertexDouble, service: GeminiBatchService) -> None:
    vertex.once("POST", "batchPredictionJobs", Drop())
    with pytest.raises(AnswerLost, match=r"look for a job named 'n' in list_jobs\(\)"):
        service.create_batch("m", gcs_uri="gs://b/in.jsonl", display_name="n")
    assert len(vertex.calls("POST")) == 1


# ── what is refused before anything is sent ──


@pytest.mark.parametrize(
    "create",
    [
        lambda us: us.create_inline_batch(["a"]),
        lambda us: us.create_file_batch(uploaded_file_name="files/a"),
        lambda us: us.create_embeddings_batch(["a"]),
        lambda us: us.create_batch(requests=["a"]),
        lambda us: us.create_batch(file_name="files/a"),
    ],
)
def test_sources_of_the_developer_api_are_refused(
    vertex: VertexDouble, service: GeminiBatchService, create: Any
) -> None:
    with pytest.raises(InputError, match=r"gcs_uri='gs://bucket/in.jsonl'"):
        create(service)
    assert vertex.seen == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gcs_uri": "/tmp/in.jsonl"}, "not an address in Cloud Storage"),
        ({"gcs_uri": []}, "gcs_uri is one gs:// address"),
        ({"gcs_uri": "gs://b/in.txt"}, "where the answers go is not clear"),
        ({"gcs_uri": ["gs://b/1.jsonl", "gs://b/2.jsonl"]}, "where the answers go is not clear"),
        ({"gcs_uri": "gs://b/in.jsonl", "dest": "/tmp"}, "not an address in Cloud Storage"),
        ({"bigquery_uri": "bq://table"}, "not the address of a table"),
        ({"gcs_uri": "gs://b/in.jsonl", "system_instruction": "x"}, "no systemInstruction for a whole job"),
        ({"gcs_uri": "gs://b/in.jsonl", "priority": 1}, "no priority for a whole job"),
        ({"gcs_uri": "gs://b/in.jsonl", "model": "a b"}, "not the name of a model"),
    ],
)
def test_what_vertex_would_refuse_is_refused_here(
    vertex: VertexDouble, service: GeminiBatchService, given: Any, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        service.create_batch(**given)
    assert vertex.seen == []


@pytest.mark.parametrize("name", ["", "batches/1/2", "projects/p/1", ".."])
def test_what_is_no_job_is_refused(vertex: VertexDouble, service: GeminiBatchService, name: str) -> None:
    with pytest.raises(InputError, match="not the name of a job"):
        service.get_job(name)


def test_refusals_name_the_role_that_is_missing(vertex: VertexDouble, service: GeminiBatchService) -> None:
    vertex.once("GET", "batchPredictionJobs", refusal(403, "PERMISSION_DENIED", "no"))
    with pytest.raises(ProviderError) as caught:
        service.get_job("1")
    assert (caught.value.provider, caught.value.status) == ("vertex", 403)
    assert "Vertex AI User" in str(caught.value)


# ── storage ──


def test_objects_are_files_of_the_service(vertex: VertexDouble, service: GeminiBatchService, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(LINE)
    told: list[tuple[int, int]] = []
    service.upload_file(path, name="gs://bkt/a b/in.jsonl", on_progress=lambda sent, total: told.append((sent, total)))
    assert told[-1] == (len(LINE), len(LINE))
    assert service.get_file("gs://bkt/a b/in.jsonl").size_bytes == len(LINE)
    assert service.download_file("gs://bkt/a b/in.jsonl", tmp_path / "back").read_text() == LINE
    service.delete_file("gs://bkt/a b/in.jsonl")
    service.delete_file("gs://bkt/a b/in.jsonl")
    with pytest.raises(NotFound):
        service.get_file("gs://bkt/a b/in.jsonl")


def test_an_upload_wants_a_place(service: GeminiBatchService, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(LINE)
    with pytest.raises(InputError, match=r"name='gs://bucket/in\.jsonl'"):
        service.upload_file(tmp_path / "in.jsonl")


def test_a_broken_download_goes_on_where_it_broke(
    vertex: VertexDouble, service: GeminiBatchService, tmp_path: Path
) -> None:
    vertex.objects["gs://b/o.jsonl"] = LINE.encode() * 100
    vertex.once("GET", r"/o/o\.jsonl", vertex._about("gs://b/o.jsonl"), Says(body=LINE.encode() * 100, cut=1000))
    assert service.download_file("gs://b/o.jsonl", tmp_path / "o").read_text() == LINE * 100
    assert vertex.seen[-1].headers["range"] == "bytes=1000-"


def test_listings_of_storage_are_read_to_their_end() -> None:
    item = {"bucket": "b", "name": "x", "size": "1"}
    script = Script({"items": [item], "nextPageToken": "t"}, {"items": [item]})
    assert [file.name for file in script.run(Bucket("http://s").list("gs://b/x"))] == ["gs://b/x", "gs://b/x"]
    assert script.calls[1].params["pageToken"] == "t"


def test_only_answers_are_taken_from_a_folder() -> None:
    def named(*names: str) -> list[str]:
        script = Script({"items": [{"bucket": "b", "name": name} for name in names]})
        return [file.name for file in answer_objects(script.run(Bucket("http://s").list("gs://b/")))]

    assert named("o/predictions.jsonl", "o/prediction.errors_stats-1") == ["gs://b/o/predictions.jsonl"]
    assert named("o/incremental_predictions.jsonl") == ["gs://b/o/incremental_predictions.jsonl"]
    assert named("o/readme.txt") == []


def test_a_delete_without_a_reply_body_is_no_error() -> None:
    Script(reply(204)).run(Bucket("http://s").delete("gs://b/x"))


# ── BigQuery, through Google's own client ──


def table(vertex: VertexDouble) -> None:
    names = ("key", "request", "response", "status", "processed_time")
    kinds = ("STRING", "STRING", "STRING", "STRING", "TIMESTAMP")
    fields = [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in zip(names, kinds, strict=True)]
    reference = {"projectId": "p", "datasetId": "d", "tableId": "t"}
    vertex.always["/bigquery/v2/projects/p/datasets/d/tables/t"] = {
        "tableReference": reference,
        "schema": {"fields": fields},
        "numRows": "2",
    }
    rows = [["a", '{"contents":[]}', '{"candidates":[]}', "", "1762000000000000"], ["b", "{}", None, "Internal", None]]
    vertex.always["/bigquery/v2/projects/p/datasets/d/tables/t/data"] = {
        "totalRows": "2",
        "rows": [{"f": [{"v": value} for value in row]} for row in rows],
    }
    vertex.jobs["1"] = {
        "name": f"{JOBS[9:]}/1",
        "state": "JOB_STATE_SUCCEEDED",
        "outputInfo": {"bigqueryOutputTable": "bq://p.d.t"},
    }


def test_answers_in_bigquery_come_as_lines_like_the_others(
    vertex: VertexDouble, service: GeminiBatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", vertex.base_url)
    table(vertex)
    assert service.get_file_results("1") == [
        {
            "key": "a",
            "request": {"contents": []},
            "response": {"candidates": []},
            "status": "",
            "processed_time": "2025-11-01T12:26:40+00:00",
        },
        {"key": "b", "request": {}, "status": "Internal", "error": {"message": "Internal", "status": "Internal"}},
    ]


def test_a_table_that_is_gone_is_told(
    vertex: VertexDouble, service: GeminiBatchService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", vertex.base_url)
    table(vertex)
    vertex.always.clear()
    with pytest.raises(NotFound, match=r"reading bq://p\.d\.t"):
        service.get_file_results("1", tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_objects_are_listed_by_their_beginning(vertex: VertexDouble, service: GeminiBatchService) -> None:
    vertex.objects |= {"gs://b/in/1.jsonl": b"", "gs://b/out/1.jsonl": b""}
    assert [file.name for file in service.list_files("gs://b/in/")] == ["gs://b/in/1.jsonl"]
    with pytest.raises(InputError, match="prefix='gs://bucket/folder/'"):
        service.list_files()
