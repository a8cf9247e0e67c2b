"""Vertex AI's half of the local server: the official SDK, Google's storage client and our own class on one protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google import genai
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.genai import errors
from google.oauth2.credentials import Credentials

from nono.connector.genai_batch_processing import GeminiBatchService
from nono.errors import InvalidRequest, JobFailed, NotFound, ProviderError
from nono.server.app import LocalServer
from patience import PATIENT_S

MODEL = "gemini-2.5-flash"
TOKEN = Credentials("FAKE-OAUTH")  # type: ignore[no-untyped-call]
JOBS = "/v1beta1/projects/p/locations/us-central1/batchPredictionJobs"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    with LocalServer(data=tmp_path / "data") as it:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", it.url)
        yield it


@pytest.fixture
def service(server: LocalServer) -> Iterator[GeminiBatchService]:
    with GeminiBatchService(
        vertexai=True, project="p", location="us-central1", credentials=TOKEN, base_url=server.url
    ) as it:
        yield it


@pytest.fixture
def sdk(server: LocalServer) -> genai.Client:
    return genai.Client(
        vertexai=True, project="p", location="us-central1", credentials=TOKEN, http_options={"base_url": server.url}
    )


def row(prompt: str, **beside: Any) -> dict[str, Any]:
    return {**beside, "request": {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}}


def stored(server: LocalServer, name: str, *rows: Any) -> str:
    path = server.data / "gcs" / "bkt" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows))
    return f"gs://bkt/{name}"


def ended(get: Callable[[], Any]) -> Any:
    until = time.monotonic() + PATIENT_S
    while True:
        job = get()
        state = str(getattr(job.state, "value", job.state))
        if state.endswith(("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")):
            return job
        assert time.monotonic() < until, job
        time.sleep(0.005)


def test_the_official_sdk_runs_a_job_through_storage(server: LocalServer, sdk: genai.Client) -> None:
    source = stored(server, "in.jsonl", row("hi", key="a"), row("ho", key="b"))
    created = sdk.batches.create(model=MODEL, src=source, config={"display_name": "n"})
    assert created.state is not None
    assert created.state.value in ("JOB_STATE_PENDING", "JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED")
    name = created.name or ""
    job = ended(lambda: sdk.batches.get(name=name))
    assert (job.state.value, job.display_name, job.model) == (
        "JOB_STATE_SUCCEEDED",
        "n",
        f"publishers/google/models/{MODEL}",
    )
    assert (job.completion_stats.successful_count, job.completion_stats.failed_count) == (2, 0)
    assert job.output_info.gcs_output_directory.startswith("gs://bkt/in/dest/prediction-model-")
    folder = server.data / "gcs" / job.output_info.gcs_output_directory.removeprefix("gs://")
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert [(one["key"], one["status"]) for one in rows] == [("a", ""), ("b", "")]
    assert all(one["response"]["candidates"][0]["content"]["parts"][0]["text"] for one in rows)
    assert rows[0]["request"] == row("hi")["request"]


def test_the_official_sdk_lists_and_deletes(server: LocalServer, sdk: genai.Client) -> None:
    source = stored(server, "in.jsonl", row("hi"))
    names = [sdk.batches.create(model=MODEL, src=source).name or "" for _ in range(3)]
    for name in names:
        ended(lambda name=name: sdk.batches.get(name=name))
    assert [job.name for job in sdk.batches.list(config={"page_size": 2})] == names[::-1]
    assert list(sdk.batches.list(config={"filter": 'state="JOB_STATE_FAILED"'})) == []
    deleted = sdk.batches.delete(name=names[0])
    assert deleted.done
    assert [job.name for job in sdk.batches.list()] == names[:0:-1]
    with pytest.raises(errors.ClientError, match="does not exist"):
        sdk.batches.get(name=names[0])


def test_our_class_goes_the_whole_way(server: LocalServer, service: GeminiBatchService, tmp_path: Path) -> None:
    path = service.create_jsonl_file([service.build_request("hi"), service.build_request("ho")], tmp_path / "in.jsonl")
    source = service.upload_file(path, name="gs://bkt/some folder/in.jsonl")
    job = service.create_batch(MODEL, gcs_uri=source.name, dest="gs://other/out/")
    done = service.wait_for_completion(job.name, poll_interval=0.005, timeout=PATIENT_S)
    assert (done.succeeded, done.progress) == (True, 100.0)
    answers = service.get_file_results(job.name)
    assert sorted(answer["key"] for answer in answers) == ["request-1", "request-2"]
    assert all("error" not in answer for answer in answers)
    service.delete_job(job.name)
    with pytest.raises(NotFound):
        service.get_job(job.name)


def test_several_files_are_one_job(server: LocalServer, service: GeminiBatchService) -> None:
    uris = [stored(server, f"{number}.jsonl", row("hi", n=number)) for number in range(3)]
    job = service.create_batch(MODEL, gcs_uri=uris, dest="gs://bkt/out")
    service.wait_for_completion(job.name, poll_interval=0.005, timeout=PATIENT_S)
    assert sorted(answer["n"] for answer in service.get_file_results(job.name)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ('{"request": ', "Row 2: JSON parsing error"),
        ('{"prompt": "x"}', "Row 2: the field 'request' is missing"),
        (
            {"request": {**row("x")["request"], "tools": [{"googleSearch": {}}]}},
            "Row 2: the field 'request.tools.googleSearch' is a struct without fields",
        ),
    ],
)
def test_one_bad_row_fails_the_whole_job(server: LocalServer, service: GeminiBatchService, bad: Any, said: str) -> None:
    job = service.create_batch(MODEL, gcs_uri=stored(server, "in.jsonl", row("hi"), bad))
    failed = ended(lambda: service.get_job(job.name))
    assert (failed.state, failed.error.code) == ("JOB_STATE_FAILED", 3)
    assert said in failed.error.message
    with pytest.raises(JobFailed, match="Failed to import data"):
        service.get_file_results(job.name)


def test_a_missing_object_fails_the_job(server: LocalServer, service: GeminiBatchService) -> None:
    job = service.create_batch(MODEL, gcs_uri="gs://bkt/nothing.jsonl")
    failed = ended(lambda: service.get_job(job.name))
    assert failed.error.message == "The Cloud Storage object does not exist: gs://bkt/nothing.jsonl"


def test_an_ended_job_cannot_be_cancelled(server: LocalServer, service: GeminiBatchService) -> None:
    job = service.create_batch(MODEL, gcs_uri=stored(server, "in.jsonl", row("hi")))
    ended(lambda: service.get_job(job.name))
    reply = httpx2.post(f"{server.url}/v1/{job.name}:cancel")
    assert (reply.status_code, reply.json()["error"]["status"]) == (400, "FAILED_PRECONDITION")
    assert service.cancel_job(job.name).succeeded


def test_bigquery_is_refused_loudly(server: LocalServer, service: GeminiBatchService) -> None:
    with pytest.raises(ProviderError, match="This local server has no BigQuery") as caught:
        service.create_batch(MODEL, bigquery_uri="bq://p.d.t")
    assert caught.value.status == 501
    assert httpx2.get(f"{server.url}/bigquery/v2/projects/p/datasets").status_code == 501


def test_an_unknown_field_and_an_unknown_model_are_refused(server: LocalServer, service: GeminiBatchService) -> None:
    with pytest.raises(NotFound, match="The PublisherModel nobody does not exist"):
        service.create_batch("nobody", gcs_uri="gs://bkt/in.jsonl")
    reply = httpx2.post(f"{server.url}{JOBS}", json={"src": {}})
    assert reply.status_code == 400
    assert "src" in reply.json()["error"]["message"]


def test_jobs_of_another_place_are_not_seen(server: LocalServer, service: GeminiBatchService) -> None:
    job = service.create_batch(MODEL, gcs_uri=stored(server, "in.jsonl", row("hi")))
    with GeminiBatchService(
        vertexai=True, project="q", location="us-central1", credentials=TOKEN, base_url=server.url
    ) as other:
        assert other.list_all_jobs() == []
        with pytest.raises(NotFound):
            other.get_job(job.name.rpartition("/")[2])


def test_models_answer_at_once_as_well(sdk: genai.Client) -> None:
    assert sdk.models.generate_content(model=MODEL, contents="hi").text


def test_a_key_of_the_server_is_the_token(tmp_path: Path) -> None:
    with LocalServer(data=tmp_path / "locked", api_key="secret") as locked:
        with (
            GeminiBatchService(vertexai=True, project="p", credentials=TOKEN, base_url=locked.url) as wrong,
            pytest.raises(ProviderError, match="invalid authentication"),
        ):
            wrong.list_jobs()
        right = Credentials("secret")  # type: ignore[no-untyped-call]
        with GeminiBatchService(vertexai=True, project="p", credentials=right, base_url=locked.url) as service:
            assert service.list_all_jobs() == []


# ── storage ──


def test_googles_own_client_stores_lists_fetches_and_deletes(server: LocalServer) -> None:
    client = storage.Client(project="p", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    bucket = client.create_bucket("bkt")
    content = b"first\r\nsecond \xe2\x80\xa8 line\n--not a boundary\n"
    bucket.blob("a folder/x.jsonl").upload_from_string(content)
    bucket.blob("y").upload_from_string(b"")
    assert [blob.name for blob in client.list_blobs("bkt", prefix="a")] == ["a folder/x.jsonl"]
    assert bucket.blob("a folder/x.jsonl").download_as_bytes() == content
    assert (server.data / "gcs" / "bkt" / "a folder" / "x.jsonl").read_bytes() == content
    bucket.blob("y").delete()
    assert not bucket.blob("y").exists()


@pytest.mark.parametrize("name", ["../records.sqlite", "a/../../records.sqlite", "/etc/passwd", "a//b"])
def test_no_object_lies_outside_its_bucket(server: LocalServer, name: str) -> None:
    quoted = name.replace("/", "%2F")
    params = {"uploadType": "media", "name": name}
    stored = httpx2.post(f"{server.url}/upload/storage/v1/b/bkt/o", params=params, content=b"x")
    fetched = httpx2.get(f"{server.url}/storage/v1/b/bkt/o/{quoted}?alt=media")
    assert (stored.status_code, fetched.status_code) in ((400, 400), (400, 404))
    assert not list(server.data.rglob("passwd"))


def test_a_bucket_has_no_way_up(server: LocalServer, service: GeminiBatchService) -> None:
    assert httpx2.get(f"{server.url}/storage/v1/b/../o").status_code >= 400
    assert httpx2.get(f"{server.url}/storage/v1/b/%2E%2E/o").status_code >= 400
    with pytest.raises(InvalidRequest):
        service.create_batch(MODEL, gcs_uri="gs://bkt/../in.jsonl")


def test_an_object_cannot_be_a_folder_too(server: LocalServer, service: GeminiBatchService, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    service.upload_file(tmp_path / "x", name="gs://bkt/a")
    with pytest.raises(ProviderError, match="keeps objects in files"):
        service.upload_file(tmp_path / "x", name="gs://bkt/a/b")


def test_jobs_survive_a_restart(tmp_path: Path) -> None:
    with LocalServer(data=tmp_path / "data") as first:
        source = stored(first, "in.jsonl", row("hi", key="a"))
        with GeminiBatchService(vertexai=True, project="p", credentials=TOKEN, base_url=first.url) as service:
            name = service.create_batch(MODEL, gcs_uri=source).name
    with (
        LocalServer(data=tmp_path / "data") as second,
        GeminiBatchService(vertexai=True, project="p", credentials=TOKEN, base_url=second.url) as service,
    ):
        assert ended(lambda: service.get_job(name)).succeeded
