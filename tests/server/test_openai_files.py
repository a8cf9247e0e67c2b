"""OpenAI's files and uploads on the local server."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from server_tools import Told, answers, chat_lines, done, jsonl

import openai
from nono.server.app import LocalServer
from nono.server.clock import HandClock
from openai import OpenAI
from patience import PATIENT_S

Serving = Callable[..., tuple[LocalServer, OpenAI]]
LINES = jsonl(chat_lines(["a", "b"]))


def put(sdk: OpenAI, content: bytes = LINES, name: str = "in.jsonl", **options: Any) -> Any:
    return sdk.files.create(file=(name, content), purpose=options.pop("purpose", "batch"), **options)


def left_behind(server: LocalServer) -> list[Path]:
    return list((server.data / "incoming").iterdir())


def test_an_uploaded_file_has_every_field_in_the_recorded_order(serving: Serving) -> None:
    server, sdk = serving(Told())
    file = put(sdk)
    shown = httpx2.get(f"{server.openai_base_url}/files/{file.id}").json()
    assert list(shown) == [
        "object",
        "id",
        "purpose",
        "filename",
        "bytes",
        "created_at",
        "expires_at",
        "status",
        "status_details",
    ]
    assert re.fullmatch(r"file-[0-9A-Za-z]{22}", file.id)
    assert (file.purpose, file.filename, file.bytes) == ("batch", "in.jsonl", len(LINES))
    assert (file.status, shown["status_details"]) == ("processed", None)
    assert file.expires_at == file.created_at + 2_592_000
    assert sdk.files.retrieve(file.id) == file


def test_only_batch_files_expire_by_themselves(serving: Serving) -> None:
    _, sdk = serving(Told())
    assert put(sdk, purpose="user_data").expires_at is None


def test_a_file_expires_when_its_uploader_says_so(serving: Serving) -> None:
    clock = HandClock()
    server, sdk = serving(Told(), clock=clock)
    file = put(sdk, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    clock.advance(3601)
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(file.id)
    assert sdk.files.list().data == []
    until = time.monotonic() + PATIENT_S
    while list((server.data / "blobs").iterdir()):
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("seconds", "code"), [(3599, "integer_below_min_value"), (2_592_001, "integer_above_max_value")]
)
def test_a_file_cannot_expire_sooner_or_later_than_the_service_lets_it(
    serving: Serving, seconds: int, code: str
) -> None:
    server, sdk = serving(Told())
    with pytest.raises(openai.BadRequestError) as refused:
        put(sdk, expires_after={"anchor": "created_at", "seconds": seconds})
    assert (refused.value.code, refused.value.param) == (code, "expires_after.seconds")
    assert left_behind(server) == []


def test_content_comes_back_byte_for_byte(serving: Serving, tmp_path: Path) -> None:
    _, sdk = serving(Told())
    file = put(sdk)
    assert sdk.files.content(file.id).content == LINES
    with sdk.files.with_streaming_response.content(file.id) as reply:
        reply.stream_to_file(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == LINES


def test_a_part_of_the_content_can_be_asked_for(serving: Serving) -> None:
    _, sdk = serving(Told())
    file = put(sdk)
    reply = sdk.files.with_raw_response.content(file.id, extra_headers={"Range": "bytes=10-"})
    assert reply.http_response.status_code == 206
    assert reply.headers["content-range"] == f"bytes 10-{len(LINES) - 1}/{len(LINES)}"
    assert reply.content == LINES[10:]


def test_a_part_behind_the_end_is_not_satisfiable(serving: Serving) -> None:
    server, sdk = serving(Told())
    file = put(sdk)
    reply = httpx2.get(f"{server.openai_base_url}/files/{file.id}/content", headers={"range": "bytes=999999-"})
    assert reply.status_code == 416
    assert reply.headers["content-range"] == f"bytes */{len(LINES)}"


@pytest.mark.parametrize(
    "said",
    ["bytes", "bytes=", "bytes=-", "bytes=x-", "bytes=5-2", "bytes=0-1,4-5", "lines=0-", "bytes=" + "9" * 99 + "-"],
)
def test_a_range_that_makes_no_sense_asks_for_the_whole_file(serving: Serving, said: str) -> None:
    server, sdk = serving(Told())
    file = put(sdk)
    reply = httpx2.get(f"{server.openai_base_url}/files/{file.id}/content", headers={"range": said})
    assert (reply.status_code, reply.content) == (200, LINES)


@pytest.mark.parametrize(("said", "part"), [("bytes=2-4", slice(2, 5)), ("bytes=-7", slice(-7, None))])
def test_a_part_in_the_middle_or_at_the_end_can_be_asked_for(serving: Serving, said: str, part: slice) -> None:
    server, sdk = serving(Told())
    file = put(sdk)
    reply = httpx2.get(f"{server.openai_base_url}/files/{file.id}/content", headers={"range": said})
    assert (reply.status_code, reply.content) == (206, LINES[part])


def test_a_deleted_file_is_gone(serving: Serving) -> None:
    server, sdk = serving(Told())
    file = put(sdk)
    assert sdk.files.delete(file.id).model_dump() == {"id": file.id, "deleted": True, "object": "file"}
    for call in (sdk.files.retrieve, sdk.files.content, sdk.files.delete):
        with pytest.raises(openai.NotFoundError) as refused:
            call(file.id)
        assert refused.value.body == {
            "message": f"No such File object: {file.id}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }
    assert list((server.data / "blobs").iterdir()) == []


def test_files_are_listed_by_purpose_and_order_in_pages(serving: Serving) -> None:
    server, sdk = serving(Told())
    ids = [put(sdk).id for _ in range(3)]
    other = put(sdk, purpose="user_data").id
    assert [file.id for file in sdk.files.list()] == [other, *ids[::-1]]
    assert [file.id for file in sdk.files.list(purpose="batch", limit=2, order="asc")] == ids
    page = httpx2.get(f"{server.openai_base_url}/files?limit=2&purpose=batch&order=asc").json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[1], True)


def test_a_listing_knows_two_orders(serving: Serving) -> None:
    server, _ = serving(Told())
    reply = httpx2.get(f"{server.openai_base_url}/files?order=random")
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "Invalid value: 'random'. Supported values are: 'asc' and 'desc'."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.jsonl", b"no json\n"),
        ("in.jsonl", b""),
        ("in.jsonl", b"\n\n"),
        ("in.csv", LINES),
        ("in.jsonl", b"\xef\xbb\xbf" + LINES),
    ],
    ids=["text", "empty", "blank", "csv", "byte order mark"],
)
def test_what_is_not_jsonl_is_refused_at_upload(serving: Serving, name: str, content: bytes) -> None:
    server, sdk = serving(Told())
    with pytest.raises(openai.BadRequestError) as refused:
        put(sdk, content, name)
    assert refused.value.body == {
        "message": "Invalid file format for Batch API. Must be .jsonl",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert left_behind(server) == []


def test_a_file_without_a_name_is_called_upload_and_accepted(serving: Serving) -> None:
    _, sdk = serving(Told())
    assert sdk.files.create(file=LINES, purpose="batch").filename == "upload"


def test_a_batch_file_over_two_hundred_megabytes_is_too_large(serving: Serving) -> None:
    server, sdk = serving(Told())
    with pytest.raises(openai.BadRequestError) as refused:
        put(sdk, LINES + b" " * (209_715_201 - len(LINES)))
    assert refused.value.body == {
        "message": "File is too large.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert left_behind(server) == []


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        ({}, "missing_required_parameter", "purpose"),
        ({"purpose": "world-domination"}, "invalid_value", "purpose"),
        ({"purpose": "batch", "colour": "red"}, "unknown_parameter", "colour"),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, "missing_required_parameter", "expires_after.anchor"),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
            "invalid_type",
            "expires_after.seconds",
        ),
    ],
)
def test_a_wrong_form_is_refused_and_leaves_nothing(
    serving: Serving, data: dict[str, str], code: str, param: str
) -> None:
    server, _ = serving(Told())
    reply = httpx2.post(f"{server.openai_base_url}/files", data=data, files={"file": ("in.jsonl", LINES)})
    assert reply.status_code == 400
    assert (reply.json()["error"]["code"], reply.json()["error"]["param"]) == (code, param)
    assert left_behind(server) == []


def test_a_form_without_a_file_is_refused(serving: Serving) -> None:
    server, _ = serving(Told())
    reply = httpx2.post(f"{server.openai_base_url}/files", files={"purpose": (None, "batch")})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "file")


def test_a_form_that_breaks_off_is_refused_and_leaves_nothing(serving: Serving) -> None:
    server, _ = serving(Told())
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n' + LINES
    reply = httpx2.post(
        f"{server.openai_base_url}/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert reply.status_code == 400
    assert left_behind(server) == []


def test_an_upload_whose_client_goes_away_leaves_nothing(serving: Serving) -> None:
    server, sdk = serving(Told())
    head = (
        b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1]))) as connection:
        connection.sendall(head + LINES + b"x" * 2_000_000)
        until = time.monotonic() + PATIENT_S
        while not left_behind(server):
            assert time.monotonic() < until
            time.sleep(0.005)
    while left_behind(server):
        assert time.monotonic() < until
        time.sleep(0.005)
    assert sdk.files.list().data == []


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd.jsonl", "/etc/cron.d/x.jsonl", "..", "a\\b.jsonl", "é\u202e.jsonl"]
)
def test_a_clients_file_name_is_never_a_path(serving: Serving, name: str, tmp_path: Path) -> None:
    server, sdk = serving(Told())
    file = put(sdk, LINES, name, purpose="user_data")
    assert sdk.files.content(file.id).content == LINES
    inside = {path.name for path in (server.data / "blobs").iterdir()}
    assert all(re.fullmatch(r"[0-9a-f]{32}", token) for token in inside)


def test_an_upload_in_parts_becomes_a_file(serving: Serving) -> None:
    _, sdk = serving(Told())
    big = jsonl(chat_lines([f"p{n}" for n in range(2000)]))
    upload = sdk.uploads.upload_file_chunked(
        file=big,
        filename="big.jsonl",
        bytes=len(big),
        mime_type="application/jsonl",
        purpose="batch",
        part_size=50_000,
        md5=hashlib.md5(big).hexdigest(),
    )
    assert upload.status == "completed"
    assert upload.file is not None
    assert (upload.file.bytes, upload.file.filename, upload.bytes) == (len(big), "big.jsonl", len(big))
    assert sdk.files.content(upload.file.id).content == big
    batch = sdk.batches.create(input_file_id=upload.file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert batch.status == "validating"


@pytest.fixture
def upload(serving: Serving) -> Iterator[tuple[LocalServer, OpenAI, Any, Any]]:
    """An upload of LINES with its one part sent."""
    server, sdk = serving(Told())
    made = sdk.uploads.create(bytes=len(LINES), filename="in.jsonl", mime_type="application/jsonl", purpose="batch")
    part = sdk.uploads.parts.create(made.id, data=io.BytesIO(LINES))
    yield server, sdk, made, part


def test_a_new_upload_is_pending_for_an_hour(upload: Any) -> None:
    _, _, made, part = upload
    assert (made.status, made.expires_at - made.created_at, made.object) == ("pending", 3600, "upload")
    assert re.fullmatch(r"upload_[0-9a-f]{32}", made.id)
    assert (part.object, part.upload_id) == ("upload.part", made.id)


def test_a_cancelled_upload_takes_no_more_parts_and_keeps_no_bytes(upload: Any) -> None:
    server, sdk, made, part = upload
    assert sdk.uploads.cancel(made.id).status == "cancelled"
    assert left_behind(server) == []
    for call in (
        lambda: sdk.uploads.parts.create(made.id, data=io.BytesIO(LINES)),
        lambda: sdk.uploads.complete(made.id, part_ids=[part.id]),
        lambda: sdk.uploads.cancel(made.id),
    ):
        with pytest.raises(openai.BadRequestError, match="is cancelled"):
            call()


def test_an_upload_with_another_digest_is_not_completed(upload: Any) -> None:
    server, sdk, made, part = upload
    with pytest.raises(openai.BadRequestError, match="md5"):
        sdk.uploads.complete(made.id, part_ids=[part.id], md5="0" * 32)
    assert sdk.files.list().data == []
    assert len(left_behind(server)) == 1
    assert sdk.uploads.complete(made.id, part_ids=[part.id]).status == "completed"


def test_an_upload_whose_parts_do_not_add_up_is_not_completed(upload: Any) -> None:
    _, sdk, made, part = upload
    with pytest.raises(openai.BadRequestError, match=f"hold {2 * len(LINES)} bytes"):
        sdk.uploads.complete(made.id, part_ids=[part.id, part.id])
    with pytest.raises(openai.BadRequestError, match="No such part"):
        sdk.uploads.complete(made.id, part_ids=["part_x"])


def test_an_unknown_upload_is_not_found(serving: Serving) -> None:
    _, sdk = serving(Told())
    with pytest.raises(openai.NotFoundError, match="No such Upload object: upload_x"):
        sdk.uploads.cancel("upload_x")


def test_an_upload_that_nobody_finishes_expires(serving: Serving) -> None:
    clock = HandClock()
    server, sdk = serving(Told(), clock=clock)
    made = sdk.uploads.create(bytes=len(LINES), filename="in.jsonl", mime_type="application/jsonl", purpose="batch")
    sdk.uploads.parts.create(made.id, data=io.BytesIO(LINES))
    clock.advance(3601)
    with pytest.raises(openai.BadRequestError, match="is expired"):
        sdk.uploads.parts.create(made.id, data=io.BytesIO(LINES))
    until = time.monotonic() + PATIENT_S
    while left_behind(server):
        assert time.monotonic() < until
        time.sleep(0.005)


def test_an_answer_file_can_be_deleted(serving: Serving) -> None:
    _, sdk = serving(Told())
    batch = done(sdk, chat_lines(["a"]))
    assert batch.output_file_id is not None
    assert len(answers(sdk, batch.output_file_id)) == 1
    sdk.files.delete(batch.output_file_id)
    with pytest.raises(openai.NotFoundError):
        sdk.files.content(batch.output_file_id)


def test_a_part_whose_upload_ends_while_it_comes_is_refused_and_keeps_no_bytes(serving: Serving) -> None:
    server, sdk = serving()
    upload = sdk.uploads.create(bytes=4, filename="in.jsonl", mime_type="application/jsonl", purpose="batch")

    def pieces() -> Iterator[bytes]:
        yield b'--B\r\ncontent-disposition: form-data; name="data"; filename="upload"\r\n\r\n{}'
        until = time.monotonic() + PATIENT_S
        while not left_behind(server):
            assert time.monotonic() < until
            time.sleep(0.002)
        sdk.uploads.cancel(upload.id)
        yield b"{}\r\n--B--\r\n"

    reply = httpx2.post(
        f"{server.url}/v1/uploads/{upload.id}/parts",
        content=pieces(),
        headers={"content-type": "multipart/form-data; boundary=B"},
    )
    assert (reply.status_code, left_behind(server)) == (400, [])


def test_a_form_of_very_many_fields_is_refused(serving: Serving) -> None:
    server, _ = serving()
    fields = b"".join(b'--B\r\ncontent-disposition: form-data; name="n%d"\r\n\r\nx\r\n' % n for n in range(65))
    reply = httpx2.post(
        f"{server.url}/v1/files",
        content=fields + b"--B--\r\n",
        headers={"content-type": "multipart/form-data; boundary=B"},
    )
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "The multipart form has more than 64 fields."
