"""Objects in Cloud Storage: large ones go in chunks and on from where they broke, and Google's own client agrees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as google_storage

from nono.errors import AnswerLost, Forbidden, TransportError, UnreadableAnswer
from nono.exchange import Account, Call, Reply, Send, drive
from nono.providers.vertex import storage
from nono.providers.vertex.storage import Bucket
from nono.secret import Secret
from nono.server.app import LocalServer
from nono.transport import Sender

URI = "gs://bucket/folder/in.jsonl"
CONTENT = b"".join(b'{"n": %d}\n' % number for number in range(1_000))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(data=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "CHUNK_BYTES", 4_000)


@pytest.fixture
def send(server: LocalServer) -> Send:
    return Sender(Account(server.url, Secret("local"), "authorization", "Bearer "))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(CONTENT)
    return path


def put(send: Send, path: Path, on_sent: Any = None) -> Any:
    return drive(Bucket(storage_url(send)).put(path, URI, on_sent=on_sent), send, sleep=lambda seconds: None)


def storage_url(send: Send) -> str:
    return ""  # paths are below the sender's own address


def stored(server: LocalServer) -> bytes:
    return (server.data / "gcs" / "bucket" / "folder" / "in.jsonl").read_bytes()


def test_a_large_object_goes_in_chunks_and_tells_how_far_it_is(server: LocalServer, send: Send, path: Path) -> None:
    told: list[int] = []
    file = put(send, path, told.append)
    assert (file.name, file.size_bytes, stored(server)) == (URI, len(CONTENT), CONTENT)
    assert told[-1] == len(CONTENT) and told == sorted(told) and len(told) == 3


def test_an_interrupted_upload_goes_on_where_it_broke(server: LocalServer, send: Send, path: Path) -> None:
    """Of the second chunk the answer is lost, the third never arrives."""
    seen: list[str] = []

    def breaking(call: Call) -> Reply:
        seen.append(call.headers.get("content-range", call.method))
        if len(seen) == 5:
            raise AnswerLost("reset")
        reply = send(call)
        if len(seen) == 3:
            raise AnswerLost("reset")
        return reply

    put(breaking, path)
    assert stored(server) == CONTENT
    size = len(CONTENT)
    assert seen == [
        "POST",
        f"bytes 0-3999/{size}",
        f"bytes 4000-7999/{size}",
        f"bytes */{size}",
        f"bytes 8000-{size - 1}/{size}",
        f"bytes */{size}",
        f"bytes 8000-{size - 1}/{size}",
    ]


def test_an_upload_that_storage_has_forgotten_begins_anew(server: LocalServer, send: Send, path: Path) -> None:
    begun = 0

    def forgetting(call: Call) -> Reply:
        nonlocal begun
        begun += call.method == "POST"
        if begun == 1 and call.method == "PUT":
            return Reply(410)
        return send(call)

    put(forgetting, path)
    assert (begun, stored(server)) == (2, CONTENT)


def test_a_connection_that_brings_nothing_is_given_up(path: Path) -> None:
    def dead(call: Call) -> Reply:
        if call.method == "POST":
            return Reply(200, {"location": "http://127.0.0.1:9/session"})
        if call.headers["content-range"].startswith("bytes */"):
            return Reply(308)
        raise AnswerLost("reset")

    with pytest.raises((TransportError, UnreadableAnswer)):
        put(dead, path)


def test_a_bucket_that_may_not_be_written_is_told_at_once(path: Path) -> None:
    calls = 0

    def refusing(call: Call) -> Reply:
        nonlocal calls
        calls += 1
        return Reply(403, {}, b'{"error": {"code": 403, "message": "no storage.objects.create"}}')

    with pytest.raises(Forbidden, match="Storage Object Admin"):
        put(refusing, path)
    assert calls == 1


def test_a_chunk_that_begins_elsewhere_is_not_taken(server: LocalServer, send: Send) -> None:
    begin = Call("POST", "/upload/storage/v1/b/bucket/o", params={"uploadType": "resumable", "name": "x"}, json={})
    session = send(begin).headers["location"]
    ahead = send(Call("PUT", session, headers={"content-range": "bytes 5-9/10"}, content=(b"later",)))
    assert (ahead.status, ahead.headers.get("range")) == (308, None)
    send(Call("PUT", session, headers={"content-range": "bytes 0-4/10"}, content=(b"first",)))
    again = send(Call("PUT", session, headers={"content-range": "bytes 0-4/10"}, content=(b"FIRST",)))
    assert (again.status, again.headers.get("range")) == (308, "bytes=0-4")
    assert send(Call("PUT", session, headers={"content-range": "bytes 5-9/10"}, content=(b"later",))).status == 200
    assert (server.data / "gcs" / "bucket" / "x").read_bytes() == b"firstlater"


def test_googles_own_client_uploads_in_chunks(server: LocalServer) -> None:
    client = google_storage.Client(
        project="p", credentials=AnonymousCredentials(), client_options={"api_endpoint": server.url}
    )
    blob = client.bucket("bucket").blob("folder/theirs.bin", chunk_size=256 << 10)
    content = bytes(range(256)) * 2_600
    blob.upload_from_string(content)
    assert client.bucket("bucket").blob("folder/theirs.bin").download_as_bytes() == content
