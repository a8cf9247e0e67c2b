"""Objects in Cloud Storage: large ones go in chunks and on from where they broke.

The same tests run against the local server's stand-in and against an emulator that is not ours (gcp-storage-emulator);
Google's own client runs against the first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gcp_storage_emulator.server import create_server
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
# Chunks of the smallest legal size, so that there are three of them.
CHUNK = 256 << 10
CONTENT = b"".join(b'{"n": %06d}\n' % number for number in range(50_000))
SIZE = len(CONTENT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(data=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    running = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    with running:
        while running._api._httpd is None:
            time.sleep(0.001)
        yield f"http://127.0.0.1:{running._api._httpd.server_port}"


@pytest.fixture(params=["local server", "emulator"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("emulator") if request.param == "emulator" else address(request))


def address(request: pytest.FixtureRequest) -> str:
    server: LocalServer = request.getfixturevalue("server")
    return server.url


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "CHUNK_BYTES", CHUNK)


@pytest.fixture
def send(url: str) -> Send:
    return Sender(Account(url, Secret("local"), "authorization", "Bearer "))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(CONTENT)
    return path


def put(send: Send, path: Path, on_sent: Any = None) -> Any:
    """Paths are below the sender's own address."""
    return perform(Bucket("").put(path, URI, on_sent=on_sent), send)


def perform(flow: Any, send: Send) -> Any:
    return drive(flow, send, sleep=lambda seconds: None)


def stored(send: Send, into: Path) -> bytes:
    bucket = Bucket("")
    file = perform(bucket.stat(URI), send)
    return bytes(perform(bucket.fetch(file, into / "fetched"), send).read_bytes())


def test_a_large_object_goes_in_chunks_and_tells_how_far_it_is(send: Send, path: Path, tmp_path: Path) -> None:
    told: list[int] = []
    file = put(send, path, told.append)
    assert (file.name, file.size_bytes) == (URI, SIZE)
    assert stored(send, tmp_path) == CONTENT
    assert told[-1] == SIZE and told == sorted(told)


def test_an_interrupted_upload_goes_on_where_it_broke(send: Send, path: Path, tmp_path: Path) -> None:
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
    assert stored(send, tmp_path) == CONTENT
    assert seen == [
        "POST",
        f"bytes 0-{CHUNK - 1}/{SIZE}",
        f"bytes {CHUNK}-{2 * CHUNK - 1}/{SIZE}",
        f"bytes */{SIZE}",
        f"bytes {2 * CHUNK}-{SIZE - 1}/{SIZE}",
        f"bytes */{SIZE}",
        f"bytes {2 * CHUNK}-{SIZE - 1}/{SIZE}",
    ]


def test_an_upload_that_storage_has_forgotten_begins_anew(send: Send, path: Path, tmp_path: Path) -> None:
    begun = 0

    def forgetting(call: Call) -> Reply:
        nonlocal begun
        begun += call.method == "POST"
        if begun == 1 and call.method == "PUT":
            return Reply(410)
        return send(call)

    put(forgetting, path)
    assert (begun, stored(send, tmp_path)) == (2, CONTENT)


def test_objects_are_listed_by_their_beginning_fetched_from_where_it_broke_and_deleted_twice(
    send: Send, path: Path, tmp_path: Path
) -> None:
    bucket = Bucket("")
    put(send, path)
    (found,) = perform(bucket.list("gs://bucket/folder/in"), send)
    assert perform(bucket.list("gs://bucket/elsewhere/"), send) == []
    ranges: list[str | None] = []

    def breaking(call: Call) -> Reply:
        ranges.append(call.headers.get("range"))
        if len(ranges) > 1:
            return send(call)
        assert call.save_to is not None
        call.save_to.write_bytes(CONTENT[:1000])
        raise AnswerLost("reset")

    assert perform(bucket.fetch(found, tmp_path / "out"), breaking).read_bytes() == CONTENT
    assert ranges == [None, "bytes=1000-"]
    perform(bucket.delete(URI), send)
    perform(bucket.delete(URI), send)
    assert perform(bucket.find(URI), send) is None


def test_a_connection_that_brings_nothing_is_given_up(path: Path) -> None:
    def dead(call: Call) -> Reply:
        if call.method == "POST":
            return Reply(200, {"location": "http://127.0.0.1:9/session"})
        if call.headers["content-range"].startswith("bytes */"):
            return Reply(308)
        raise AnswerLost("reset")

    with pytest.raises(TransportError):
        put(dead, path)


def test_an_upload_that_never_gets_further_than_it_was_is_given_up(path: Path) -> None:
    """The service takes one chunk, forgets it, takes it again."""
    calls = 0

    def forgetful(call: Call) -> Reply:
        nonlocal calls
        calls += 1
        if call.method == "POST":
            return Reply(200, {"location": "http://127.0.0.1:9/session"})
        return Reply(308, {"range": f"bytes=0-{CHUNK - 1}"} if calls % 2 else {})

    with pytest.raises(UnreadableAnswer, match="and asks on"):
        put(forgetful, path)
    assert calls < 20


def test_a_server_that_gives_the_same_objects_for_ever_is_not_listed_for_ever() -> None:
    asked: list[Any] = []

    def same(call: Call) -> Reply:
        asked.append(call.params.get("pageToken"))
        return Reply(200, {}, b'{"items": [{"bucket": "b", "name": "n", "size": "1"}], "nextPageToken": "t"}')

    assert {file.name for file in perform(Bucket("").list("gs://b/"), same)} == {"gs://b/n"}
    assert asked == [None, "t"]


def test_a_bucket_that_may_not_be_written_is_told_at_once(path: Path) -> None:
    calls = 0

    def refusing(call: Call) -> Reply:
        nonlocal calls
        calls += 1
        return Reply(403, {}, b'{"error": {"code": 403, "message": "no storage.objects.create"}}')

    with pytest.raises(Forbidden, match="Storage Object Admin"):
        put(refusing, path)
    assert calls == 1


def test_a_chunk_that_begins_elsewhere_is_not_taken(server: LocalServer) -> None:
    send = Sender(Account(server.url, Secret("local"), "authorization", "Bearer "))
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
