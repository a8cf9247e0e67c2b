"""Gemini's files on the local server: the resumable upload, what is told about a file, and the download of answers."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from gemini_tools import Raw, line, refusal, sdk
from google.genai import errors
from server_tools import Told, jsonl

from nono.server.app import LocalServer
from nono.server.clock import HandClock

Serving = Callable[..., tuple[LocalServer, Any]]
CONTENT = b'{"key":"a","request":{"contents":[{"parts":[{"text":"x"}]}]}}\n'


@pytest.fixture
def raw(serving: Serving) -> Raw:
    return Raw(serving(Told())[0])


def started(raw: Raw, size: int | None = None, **about: Any) -> str:
    url: str = raw.start(size, **about).headers["x-goog-upload-url"]
    return url


def file_of(reply: httpx2.Response) -> dict[str, Any]:
    assert (reply.status_code, reply.headers["x-goog-upload-status"]) == (200, "final"), reply.text
    file: dict[str, Any] = reply.json()["file"]
    return file


def content_of(server: LocalServer, name: str) -> bytes:
    file = server.core.store.file("gemini", name.removeprefix("files/"))
    assert file is not None
    return server.core.store.blob(file.token).read_bytes()


# what an upload is


def test_an_upload_starts_with_an_absolute_address_of_its_own(raw: Raw) -> None:
    reply = raw.start(62, display_name="in", mime_type="jsonl", size_bytes=62)
    assert (reply.status_code, reply.content, reply.headers["x-goog-upload-status"]) == (200, b"", "active")
    pattern = re.escape(raw.url) + r"/gemini/upload/v1beta/files\?upload_id=\w{32}&upload_protocol=resumable"
    assert re.fullmatch(pattern, reply.headers["x-goog-upload-url"])


@pytest.mark.parametrize("base", ["/upload/v1", "/upload/v1beta", "/upload/v1alpha", "/upload", "/gemini/upload/v1"])
def test_the_address_keeps_the_prefix_and_the_host_that_the_client_used(raw: Raw, base: str) -> None:
    headers = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start", "host": "localhost:1234"}
    reply = httpx2.post(f"{raw.url}{base}/files", headers=headers, json={})
    assert reply.headers["x-goog-upload-url"].startswith(f"http://localhost:1234{base}/files?upload_id=")


def test_a_file_is_described_as_the_service_describes_it(raw: Raw) -> None:
    file = file_of(
        raw.send(started(raw, len(CONTENT), display_name="in", mime_type="jsonl"), "upload, finalize", CONTENT, 0)
    )
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"
    assert re.fullmatch(r"files/[a-z0-9]{12}", file["name"])
    for name in ("createTime", "updateTime", "expirationTime"):
        assert re.fullmatch(stamp, file.pop(name))
    assert file == {
        "name": file["name"],
        "displayName": "in",
        "mimeType": "jsonl",
        "sizeBytes": str(len(CONTENT)),
        "sha256Hash": base64.b64encode(hashlib.sha256(CONTENT).hexdigest().encode()).decode(),
        "uri": f"{raw.url}/gemini/v1beta/{file['name']}",
        "state": "ACTIVE",
        "source": "UPLOADED",
    }


@pytest.mark.parametrize(
    "about",
    [
        {"display_name": "n", "mime_type": "text/plain", "size_bytes": 3},
        {"displayName": "n", "mimeType": "text/plain", "sizeBytes": "3"},
    ],
)
def test_both_spellings_of_the_start_are_understood(raw: Raw, about: dict[str, Any]) -> None:
    file = file_of(raw.send(started(raw, **about), "upload, finalize", b"abc", 0))
    assert (file["displayName"], file["mimeType"], file["sizeBytes"]) == ("n", "text/plain", "3")


def test_an_upload_takes_chunks_of_any_size(serving: Serving) -> None:
    server, _ = serving(Told())
    raw = Raw(server)
    url = started(raw, 10)
    assert raw.send(url, "upload", b"abc", 0).headers["x-goog-upload-status"] == "active"
    assert raw.send(url, "upload", b"d", 3).headers["x-goog-upload-status"] == "active"
    file = file_of(raw.send(url, "upload, finalize", b"efghij", 4))
    assert content_of(server, file["name"]) == b"abcdefghij"


def test_bytes_and_their_end_may_come_in_two_calls(raw: Raw) -> None:
    url = started(raw, 3)
    raw.send(url, "upload", b"abc", 0)
    assert file_of(raw.send(url, "finalize"))["sizeBytes"] == "3"


def test_an_empty_file_is_a_file(raw: Raw) -> None:
    assert file_of(raw.send(started(raw, 0), "upload, finalize", b"", 0))["sizeBytes"] == "0"


def test_a_chunk_that_comes_twice_changes_nothing(serving: Serving) -> None:
    server, _ = serving(Told())
    raw = Raw(server)
    url = started(raw, 6)
    for _ in range(2):
        raw.send(url, "upload", b"abc", 0)
    raw.send(url, "upload", b"bcd", 1)
    assert raw.send(url, "query").headers["x-goog-upload-size-received"] == "4"
    assert content_of(server, file_of(raw.send(url, "upload, finalize", b"def", 3))["name"]) == b"abcdef"


def test_a_query_tells_how_far_the_upload_has_come(raw: Raw) -> None:
    url = started(raw, 6)
    raw.send(url, "upload", b"abcd", 0)
    headers = raw.send(url, "query").headers
    assert (headers["x-goog-upload-status"], headers["x-goog-upload-size-received"]) == ("active", "4")
    assert raw.send(url, "upload, finalize", b"ef", 4).headers["x-goog-upload-status"] == "final"
    headers = raw.send(url, "query").headers
    assert (headers["x-goog-upload-status"], headers["x-goog-upload-size-received"]) == ("final", "6")


def test_a_finalize_that_comes_twice_names_the_same_file(raw: Raw) -> None:
    url = started(raw, 3)
    first = file_of(raw.send(url, "upload, finalize", b"abc", 0))
    assert file_of(raw.send(url, "upload, finalize", b"abc", 0)) == first


def test_a_chunk_beyond_what_has_come_is_refused_and_says_where_to_go_on(raw: Raw) -> None:
    url = started(raw, 6)
    raw.send(url, "upload", b"ab", 0)
    reply = raw.send(url, "upload", b"ef", 4)
    assert reply.headers["x-goog-upload-size-received"] == "2"
    assert refusal(reply) == (400, "INVALID_ARGUMENT", "Invalid X-Goog-Upload-Offset: '4'; 2 bytes have been received.")


def test_more_or_less_than_announced_is_refused_and_can_be_set_right(raw: Raw) -> None:
    url = started(raw, 3)
    assert refusal(raw.send(url, "upload, finalize", b"abcd", 0))[2] == (
        "The upload was announced with 3 bytes; more have been sent."
    )
    url = started(raw, 3)
    assert refusal(raw.send(url, "upload, finalize", b"ab", 0))[2] == (
        "The upload was announced with 3 bytes, and 2 have been received."
    )
    assert file_of(raw.send(url, "upload, finalize", b"c", 2))["sizeBytes"] == "3"


def test_a_cancelled_upload_is_gone(raw: Raw) -> None:
    url = started(raw, 3)
    raw.send(url, "upload", b"ab", 0)
    assert raw.send(url, "cancel").headers["x-goog-upload-status"] == "cancelled"
    for command in ("query", "upload", "upload, finalize", "cancel"):
        assert refusal(raw.send(url, command, b"c", 2))[:2] == (404, "NOT_FOUND")


def test_an_upload_that_nobody_started_is_not_found(raw: Raw) -> None:
    url = f"{raw.url}/upload/v1beta/files?upload_id={'0' * 32}"
    assert refusal(raw.send(url, "upload, finalize", b"abc", 0))[:2] == (404, "NOT_FOUND")


def test_an_upload_is_not_taken_for_the_other_protocols_and_its_id_is_no_path(raw: Raw) -> None:
    for upload_id in ("../../records.sqlite", "%00", "a" * 5000):
        url = f"{raw.url}/upload/v1beta/files?upload_id={upload_id}"
        assert raw.send(url, "query").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Goog-Upload-Protocol": "raw"},
        {"X-Goog-Upload-Protocol": "multipart"},
        {"X-Goog-Upload-Protocol": "resumable"},
        {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "upload"},
    ],
)
def test_other_ways_to_upload_are_refused_with_the_way_that_works(raw: Raw, headers: dict[str, str]) -> None:
    reply = httpx2.post(f"{raw.url}/upload/v1beta/files", headers=headers, json={})
    assert refusal(reply)[0] == 400
    assert "X-Goog-Upload-Command: start" in refusal(reply)[2]


@pytest.mark.parametrize("size", ["2147483649", "-1", "x"])
def test_a_size_that_cannot_be_is_refused_at_the_start(raw: Raw, size: str) -> None:
    headers = {
        "X-Goog-Upload-Protocol": "resumable",
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": size,
    }
    assert refusal(httpx2.post(f"{raw.url}/upload/v1beta/files", headers=headers))[0] == 400


# names chosen by the user


def test_a_user_may_choose_the_name_once(raw: Raw) -> None:
    file = file_of(raw.send(started(raw, 3, name="files/my-file-1"), "upload, finalize", b"abc", 0))
    assert file["name"] == "files/my-file-1"
    assert refusal(raw.start(3, name="files/my-file-1")) == (
        409,
        "ALREADY_EXISTS",
        "Requested entity already exists: files/my-file-1.",
    )


def test_of_two_uploads_with_one_name_the_first_to_end_has_it(raw: Raw) -> None:
    first, second = started(raw, 3, name="files/same"), started(raw, 3, name="files/same")
    assert file_of(raw.send(second, "upload, finalize", b"two", 0))["name"] == "files/same"
    assert refusal(raw.send(first, "upload, finalize", b"one", 0))[:2] == (409, "ALREADY_EXISTS")
    assert refusal(raw.send(first, "upload, finalize", b"one", 0))[0] == 404


@pytest.mark.parametrize("name", ["files/-a", "files/a-", "files/A", "files/a_b", f"files/{'a' * 41}", "files/../x", 7])
def test_a_name_that_is_not_legal_is_refused(raw: Raw, name: Any) -> None:
    assert refusal(raw.start(3, name=name))[:2] == (400, "INVALID_ARGUMENT")


# asking, listing, deleting


def test_a_missing_file_is_a_403_as_at_the_service(raw: Raw) -> None:
    for method in ("GET", "DELETE"):
        assert refusal(raw(method, "files/nope")) == (
            403,
            "PERMISSION_DENIED",
            "You do not have permission to access the File nope or it may not exist.",
        )


@pytest.mark.parametrize(("method", "call"), [("GET", "GetFileRequest"), ("DELETE", "DeleteFileRequest")])
def test_an_answer_files_id_is_too_long_to_ask_for(raw: Raw, method: str, call: str) -> None:
    assert refusal(raw(method, f"files/batch-{'a' * 36}")) == (
        400,
        "INVALID_ARGUMENT",
        f"* {call}.name: File ID (name excluding 'files/') cannot be more than 40 characters.",
    )


def test_a_deleted_file_is_gone(raw: Raw) -> None:
    name = raw.upload([line("a", "x")])
    assert raw("GET", name).json()["name"] == name
    assert raw("DELETE", name).json() == {}
    assert raw("GET", name).status_code == raw("DELETE", name).status_code == 403


def test_uploaded_files_are_listed_newest_first_and_answers_are_not(raw: Raw) -> None:
    batch = raw.reached(raw.created([line("a", "x")]))
    names = [batch["metadata"]["inputConfig"]["fileName"], *(raw.upload([line("a", "x")]) for _ in range(11))]
    first = raw("GET", "files").json()
    assert [file["name"] for file in first["files"]] == names[:1:-1]
    second = raw("GET", "files", params={"pageToken": first["nextPageToken"]}).json()
    assert [file["name"] for file in second["files"]] == names[1::-1]
    assert "nextPageToken" not in second


def test_no_files_are_an_empty_object(raw: Raw) -> None:
    assert raw("GET", "files").json() == {}


def test_a_file_is_kept_for_48_hours(serving: Serving) -> None:
    clock = HandClock()
    raw = Raw(serving(Told(), clock=clock)[0])
    name = raw.upload([line("a", "x")])
    clock.advance(48 * 3600 - 1)
    assert raw("GET", name).status_code == 200
    clock.advance(2)
    assert raw("GET", name).status_code == 403


def test_registering_files_of_a_bucket_is_refused(raw: Raw) -> None:
    reply = raw("POST", "files:register", json={"uris": ["gs://b/o"]})
    assert refusal(reply)[:2] == (501, "UNIMPLEMENTED")


# downloading


def test_answers_are_downloaded_on_both_paths_and_in_parts(raw: Raw) -> None:
    batch = raw.reached(raw.created([line("a", "x"), line("b", "y")]))
    file = batch["response"]["responsesFile"]
    whole = raw("GET", f"{file}:download", params={"alt": "media"})
    assert (whole.status_code, whole.headers["content-length"]) == (200, str(len(whole.content)))
    assert whole.content.count(b"\n") == 2
    for base in ("/gemini/download/v1beta", "/download/v1", "/v1beta", "/gemini"):
        assert raw("GET", f"{raw.url}{base}/{file}:download?alt=media").content == whole.content
    part = raw("GET", f"{file}:download", headers={"range": "bytes=10-"})
    assert (part.status_code, part.content) == (206, whole.content[10:])
    assert part.headers["content-range"] == f"bytes 10-{len(whole.content) - 1}/{len(whole.content)}"


def test_an_uploaded_file_cannot_be_downloaded(raw: Raw) -> None:
    reply = raw("GET", f"{raw.upload([line('a', 'x')])}:download", params={"alt": "media"})
    assert refusal(reply)[0] == 400
    assert "only generated files" in refusal(reply)[2]


def test_answers_that_are_not_there_are_not_found(raw: Raw) -> None:
    reply = raw("GET", f"files/batch-{'a' * 36}:download", params={"alt": "media"})
    assert refusal(reply)[:2] == (404, "NOT_FOUND")


# the unmodified SDK


def test_the_sdk_uploads_in_chunks_of_its_own(serving: Serving, tmp_path: Path) -> None:
    server, _ = serving(Told())
    client = sdk(server)
    content = bytes(range(256)) * 40_000  # a chunk of 8 MiB and a rest
    path = tmp_path / "large.jsonl"
    path.write_bytes(content)
    file = client.files.upload(file=path, config={"mime_type": "jsonl", "name": "files/my-large-file"})
    assert (file.name, file.size_bytes) == ("files/my-large-file", 10_240_000)
    assert content_of(server, file.name) == content
    assert client.files.upload(file=io.BytesIO(b""), config={"mime_type": "text/plain"}).size_bytes == 0


def test_the_sdk_lists_gets_and_deletes_files(serving: Serving) -> None:
    client = sdk(serving(Told())[0])
    names = [client.files.upload(file=io.BytesIO(CONTENT), config={"mime_type": "jsonl"}).name for _ in range(3)]
    assert [file.name for file in client.files.list(config={"page_size": 2})] == names[::-1]
    assert client.files.get(name=names[0]).source.name == "UPLOADED"
    client.files.delete(name=names[0])
    with pytest.raises(errors.ClientError) as gone:
        client.files.get(name=names[0])
    assert (gone.value.code, gone.value.status) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha", ""])
def test_the_sdk_may_ask_for_any_version(serving: Serving, version: str) -> None:
    server, _ = serving(Told())
    for base in (server.url, server.gemini_base_url):
        client = sdk(server, base_url=base, api_version=version)
        file = client.files.upload(file=io.BytesIO(CONTENT), config={"mime_type": "jsonl"})
        assert client.files.get(name=file.name).uri == "/".join(filter(None, (base, version, file.name)))


# over a restart


def test_an_interrupted_upload_goes_on_after_a_restart_where_it_broke(tmp_path: Path) -> None:
    with LocalServer(Told(), data=tmp_path) as server:
        raw = Raw(server)
        url = started(raw, 6, display_name="in")
        raw.send(url, "upload", b"abcd", 0)
        port = server.url
    with LocalServer(Told(), data=tmp_path) as server:
        raw = Raw(server)
        url = url.replace(port, server.url)
        assert raw.send(url, "query").headers["x-goog-upload-size-received"] == "4"
        file = file_of(raw.send(url, "upload, finalize", b"ef", 4))
        assert (file["displayName"], content_of(server, file["name"])) == ("in", b"abcdef")


def test_a_broken_connection_leaves_what_had_come(raw: Raw) -> None:
    class Broken(Exception):
        pass

    def pieces() -> Any:
        yield b"a" * 70_000
        yield b"b" * 70_000
        raise Broken

    url = started(raw, 200_000)
    with pytest.raises(Broken):
        httpx2.post(url, headers={"X-Goog-Upload-Command": "upload", "X-Goog-Upload-Offset": "0"}, content=pieces())
    for _ in range(400):
        received = int(raw.send(url, "query").headers["x-goog-upload-size-received"])
        if received:
            break
    rest = (b"a" * 70_000 + b"b" * 130_000)[received:]
    assert file_of(raw.send(url, "upload, finalize", rest, received))["sizeBytes"] == "200000"
    assert 0 < received <= 140_000


def test_files_of_both_protocols_do_not_see_each_other(serving: Serving) -> None:
    server, openai = serving(Told())
    raw = Raw(server)
    name = raw.upload([line("a", "x")])
    file = openai.files.create(file=("in.jsonl", jsonl([{"a": 1}])), purpose="batch")
    assert [one.id for one in openai.files.list()] == [file.id]
    assert [one["name"] for one in raw("GET", "files").json()["files"]] == [name]
