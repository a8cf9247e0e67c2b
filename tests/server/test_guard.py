"""Hostile and clumsy calls end in a 4xx that says why, in the protocol's own envelope."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from server_tools import Held, Told, chat_lines, jsonl, peak_mb
from starlette.datastructures import Headers

import openai
from nono.server import guard
from nono.server.app import LocalServer, Settings, check_exposure
from nono.server.connections import DeadlineProtocol
from nono.server.dialect import Refused
from nono.server.intake import decode_json
from nono.server.room import Room
from openai import OpenAI
from patience import PATIENT_S

Serving = Callable[..., tuple[LocalServer, OpenAI]]
CANARY = "sk-canary-7f3a"


def address(server: LocalServer) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return host, int(port)


# who may ask


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "", "evil.example:80", "[::2]:80", "127.0.0.1:1@evil.example", "[::1]x"],
)
def test_a_rebound_host_name_is_not_served(serving: Serving, host: str) -> None:
    server, _ = serving(Told())
    reply = httpx2.get(f"{server.url}/v1/models", headers={"host": host})
    assert reply.status_code == 421
    assert "--allow-host" in reply.json()["error"]["message"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8765", "[::1]", "[::1]:8765"])
def test_this_machines_own_names_are_served(serving: Serving, host: str) -> None:
    server, _ = serving(Told())
    assert httpx2.get(f"{server.url}/v1/models", headers={"host": host}).status_code == 200


def test_a_server_on_every_interface_is_served_under_addresses_and_the_names_it_was_given() -> None:
    gate = guard.gate_for("0.0.0.0", also=("Batch.Example",))
    assert gate.any_address
    assert "batch.example" in gate.hosts
    assert not guard.gate_for("192.168.1.5").any_address
    assert "192.168.1.5" in guard.gate_for("192.168.1.5").hosts


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_page_of_another_origin_changes_nothing(serving: Serving, headers: dict[str, str], method: str) -> None:
    server, sdk = serving(Told())
    file = sdk.files.create(file=("in.jsonl", jsonl(chat_lines(["a"]))), purpose="batch")
    path = "/v1/batches" if method == "POST" else f"/v1/files/{file.id}"
    reply = httpx2.request(method, server.url + path, headers=headers)
    assert reply.status_code == 403
    assert reply.json()["error"]["message"] == "A page of another origin may not change anything here."
    assert [file.id for file in sdk.files.list()] == [file.id]


def test_the_servers_own_page_may_change_things(serving: Serving) -> None:
    server, _ = serving(Told())
    headers = {"origin": server.url, "sec-fetch-site": "same-origin"}
    assert httpx2.post(f"{server.url}/v1/batches", headers=headers, json={}).status_code == 400


def test_a_body_that_a_form_could_have_sent_is_not_json(serving: Serving) -> None:
    server, _ = serving(Told())
    reply = httpx2.post(f"{server.url}/v1/batches", content=b"{}", headers={"content-type": "text/plain"})
    assert reply.status_code == 415


# keys


def test_any_key_and_none_will_do_when_the_server_has_none(serving: Serving) -> None:
    server, _ = serving(Told())
    for headers in ({}, {"authorization": "Bearer whatever"}, {"authorization": "Basic x"}, {"api-key": "k"}):
        assert httpx2.get(f"{server.url}/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("wrong", [CANARY, CANARY + "x", "é", ""])
def test_a_wrong_key_is_refused_and_not_repeated(serving: Serving, wrong: str) -> None:
    server, _ = serving(Told(), api_key="sk-right-key")
    reply = httpx2.get(f"{server.url}/v1/models", headers={"authorization": f"Bearer {wrong}".strip().encode()})
    assert reply.status_code == 401
    said = reply.text + str(reply.headers)
    assert "right" not in said
    assert not wrong or wrong not in said


def test_the_sdk_with_the_right_key_is_served_and_with_a_wrong_one_told_so(serving: Serving) -> None:
    server, sdk = serving(Told(), api_key="sk-right-key")
    assert sdk.models.list().data
    with OpenAI(base_url=server.openai_base_url, api_key="sk-wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            stranger.models.list()
        assert refused.value.code == "invalid_api_key"


def test_azures_key_header_is_understood(serving: Serving) -> None:
    server, _ = serving(Told(), api_key="k")
    assert httpx2.get(f"{server.url}/v1/models", headers={"api-key": "k"}).status_code == 200


def test_listening_to_others_without_a_key_is_warned_about() -> None:
    assert check_exposure(Settings(host="127.0.0.1")) is None
    assert "everybody who can reach this machine" in str(check_exposure(Settings(host="0.0.0.0")))


# bodies


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"a": "\xff\xfe"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b"{",
        b"[]",
        b'"text"',
        b"\x00",
    ],
    ids=["open", "deep", "utf-8", "integer", "nan", "float", "surrogate", "cut", "list", "string", "nul"],
)
@pytest.mark.parametrize("path", ["/v1/batches", "/v1/chat/completions", "/v1/uploads", "/v1/embeddings"])
def test_json_that_hurts_is_a_400(serving: Serving, path: str, body: bytes) -> None:
    server, _ = serving(Told())
    reply = httpx2.post(server.url + path, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith("We could not parse the JSON body of your request: ")
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_brackets_inside_strings_do_not_count_as_depth() -> None:
    text = b'{"a": "' + b"[{" * 10_000 + b'\\"", "b": [[[]]]}'
    assert decode_json(text)["b"] == [[[]]]
    with pytest.raises(ValueError, match="deeper than 128 levels"):
        decode_json(b"[" * 129 + b"]" * 129)
    assert decode_json(b"[" * 128 + b"]" * 128)


def test_a_body_that_says_it_is_too_long_is_refused_unread(serving: Serving) -> None:
    server, _ = serving(Told())
    with socket.create_connection(address(server)) as connection:
        connection.sendall(
            b"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 300000000\r\n\r\n{"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", ["99999999999999999999999999", "-1", "1e9"])
def test_a_length_that_is_no_length_is_refused(serving: Serving, length: str) -> None:
    server, _ = serving(Told())
    with socket.create_connection(address(server)) as connection:
        connection.sendall(f"POST /v1/batches HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode())
        assert re.match(rb"HTTP/1.1 4(00|13) ", connection.recv(4096))


def test_a_body_without_a_length_is_refused_when_it_gets_too_long(serving: Serving) -> None:
    server, _ = serving(Told())
    pieces = (b" " * 100_000 for _ in range(40))
    reply = httpx2.post(f"{server.url}/v1/batches", content=pieces, headers={"content-type": "application/json"})
    assert reply.status_code == 413
    assert reply.json()["error"]["message"] == (
        "The body of your request is larger than the 1048576 bytes that are accepted here."
    )


def test_a_body_that_stands_still_is_given_up() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    body = guard.LimitedBody(never, Headers({}), 100, guard.Gate(body_pause_s=0.01))
    with pytest.raises(Refused) as refused:
        asyncio.run(body())  # type: ignore[arg-type]
    assert refused.value.status == 408


def test_a_body_that_comes_a_byte_now_and_then_is_given_up() -> None:
    async def drip() -> Any:
        await asyncio.sleep(0.002)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read() -> None:
        body = guard.LimitedBody(drip, Headers({}), 10_000, guard.Gate(body_pause_s=0.02, body_pace=100_000))
        while True:
            await body()

    with pytest.raises(Refused, match="slower than 100000 bytes a second") as refused:
        asyncio.run(read())
    assert refused.value.status == 408


# connections


def test_a_client_that_never_finishes_its_headers_is_dropped(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    server, sdk = serving(Told())
    with monkeypatch.context() as brief:
        brief.setattr(DeadlineProtocol, "header_deadline_s", 0.05)
        with socket.create_connection(address(server)) as silent, socket.create_connection(address(server)) as slow:
            slow.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            for connection in (silent, slow):
                connection.settimeout(PATIENT_S)
                assert connection.recv(100) == b""
    assert sdk.models.list().data


def test_a_call_that_takes_longer_than_the_header_deadline_is_answered(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadlineProtocol, "header_deadline_s", 0.02)
    model = Held()
    _, sdk = serving(model)

    def allow_late() -> None:
        model.wait_for(1)
        time.sleep(0.05)
        model.allow()

    threading.Thread(target=allow_late).start()
    # On a busy machine the headers themselves may be late: such a call is made again, and has never been asked.
    patient = sdk.with_options(max_retries=10)
    said = patient.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "late"}])
    assert said.choices[0].message.content == "late"
    assert model.asked == ["late"]


def test_too_many_calls_at_once_are_told_to_come_back(serving: Serving) -> None:
    model = Held()
    server, sdk = serving(model, calls=1)

    def call() -> None:
        sdk.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "a"}])

    first = threading.Thread(target=call)
    first.start()
    model.wait_for(1)
    reply = httpx2.get(f"{server.url}/v1/models")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["error"]["type"] == "server_error"
    model.allow()
    first.join()
    assert httpx2.get(f"{server.url}/v1/models").status_code == 200


# routes


def test_an_unknown_route_says_what_there_is(serving: Serving) -> None:
    server, _ = serving(Told())
    reply = httpx2.post(f"{server.url}/v1/audio/speech", json={})
    assert reply.status_code == 404
    assert reply.json() == {
        "error": {
            "message": "Invalid URL (POST /v1/audio/speech). This local server imitates files, uploads, batches, "
            "models, and /v1/chat/completions, /v1/responses, /v1/embeddings, /v1/completions, /v1/moderations, "
            "/v1/images/generations, /v1/images/edits.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }


def test_a_base_url_without_its_version_is_pointed_out(serving: Serving) -> None:
    server, _ = serving(Told())
    reply = httpx2.get(f"{server.url}/files")
    assert reply.status_code == 404
    assert "base URL ends with /v1" in reply.json()["error"]["message"]


def test_a_wrong_method_is_a_405_in_the_envelope(serving: Serving) -> None:
    server, _ = serving(Told())
    reply = httpx2.get(f"{server.url}/v1/chat/completions")
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method_not_supported")


def test_a_failure_of_the_server_itself_gives_nothing_away(serving: Serving) -> None:
    server, sdk = serving(Told())
    file = sdk.files.create(file=("in.jsonl", jsonl(chat_lines(["a"]))), purpose="batch")
    for blob in (server.data / "blobs").iterdir():
        blob.unlink()
    reply = httpx2.get(f"{server.url}/v1/files/{file.id}/content")
    assert reply.status_code == 500
    assert reply.json()["error"] == {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    }


# memory


def test_large_bodies_take_turns_in_the_order_in_which_they_came() -> None:
    order: list[str] = []

    async def call(room: Room, name: str, size: int) -> None:
        taken = await room.take(size)
        order.append(name)
        await asyncio.sleep(0)
        room.give(taken)

    async def all_calls() -> int:
        room = Room(10_000_000)
        await asyncio.gather(
            call(room, "first", 6_000_000),
            call(room, "large", 9_000_000),
            call(room, "behind the large one", 1_000_000),
            call(room, "small", 1_000),
            call(room, "larger than all", 50_000_000),
        )
        return room.free

    assert asyncio.run(all_calls()) == 10_000_000
    assert order == ["first", "small", "large", "behind the large one", "larger than all"]


def test_a_large_body_that_finds_no_room_is_told_to_come_back_and_keeps_none() -> None:
    async def wait() -> tuple[Refused, int]:
        room = Room(10_000_000)
        taken = await room.take(10_000_000)
        with pytest.raises(Refused) as refused:
            await room.take(1_000_000, patience_s=0.01)
        room.give(taken)
        return refused.value, room.free

    refused, free = asyncio.run(wait())
    assert (refused.status, refused.headers, free) == (503, {"retry-after": "1"}, 10_000_000)


def test_a_client_that_goes_while_it_waits_gives_its_turn_to_the_next() -> None:
    async def leave() -> int:
        room = Room(10_000_000)
        taken = await room.take(6_000_000)
        gone = asyncio.create_task(room.take(9_000_000))
        next_one = asyncio.create_task(room.take(4_000_000))
        await asyncio.sleep(0)
        gone.cancel()
        return taken + await next_one

    assert asyncio.run(leave()) == 10_000_000


def test_many_large_bodies_at_once_cost_no_more_memory_than_a_few(process: tuple[str, int]) -> None:
    url, pid = process
    httpx2.get(f"{url}/v1/models")
    before = peak_mb(pid)
    body = b'{"model": "gpt-4o-mini", "x": [' + b",".join([b'"%030d"' % 7] * 300_000) + b"]}"
    with ThreadPoolExecutor(24) as callers:
        replies = list(callers.map(lambda _: httpx2.post(f"{url}/v1/chat/completions", **large(body)), range(24)))
    assert {reply.status_code for reply in replies} == {400}
    assert peak_mb(pid) - before < 300  # 24 × 10 MB, and three times as much decoded, would be a gigabyte


def large(body: bytes) -> dict[str, Any]:
    return {"content": body, "headers": {"content-type": "application/json"}, "timeout": 120}


def test_three_hundred_megabytes_of_anything_cost_little_memory(process: tuple[str, int]) -> None:
    url, pid = process
    httpx2.get(f"{url}/v1/models")
    before = peak_mb(pid)

    def pieces(megabytes: int) -> Iterator[bytes]:
        return (b"x" * 1_000_000 for _ in range(megabytes))

    json = {"content-type": "application/json"}
    assert httpx2.post(f"{url}/v1/chat/completions", content=pieces(300), headers=json).status_code == 413
    form = {"content-type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n'
    upload = (piece for part in ([head], pieces(300)) for piece in part)
    assert httpx2.post(f"{url}/v1/files", content=upload, headers=form).status_code == 400
    field = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
    endless = (piece for part in ([field], pieces(300)) for piece in part)
    assert httpx2.post(f"{url}/v1/files", content=endless, headers=form).status_code == 400
    assert peak_mb(pid) - before < 50
    started = time.monotonic()
    assert httpx2.get(f"{url}/v1/models").status_code == 200
    assert time.monotonic() - started < 5
