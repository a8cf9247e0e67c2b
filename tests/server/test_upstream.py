"""A model server behind ours: what goes through untouched, and what becomes of its troubles."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from nono.server.models import CHAT, EMBEDDINGS
from nono.server.models.upstream import UpstreamModel

ASK = {"model": "qwen", "messages": [{"role": "user", "content": "naïve \u2028"}], "top_k": 3}
SAID = {"id": "1", "object": "chat.completion", "choices": [], "x_engine": {"kept": True}}


class Upstream(ThreadingHTTPServer):
    """Gives the scripted answers, the last one for ever; keeps what it was asked."""

    daemon_threads = True

    def __init__(self, *script: tuple[int, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Recorder)
        self.script = list(script)
        self.asked: list[tuple[str, str | None, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Recorder(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers["authorization"], body))
        status, reply = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        if not status:  # breaks off
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def answers(*bodies: Any, status: int = 200) -> tuple[int, bytes]:
    return status, b"".join(body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies)


@contextmanager
def running(*script: tuple[int, bytes]) -> Iterator[Upstream]:
    server = Upstream(*script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def opened() -> Iterator[Callable[..., UpstreamModel]]:
    models: list[UpstreamModel] = []

    def open_model(url: str, **options: Any) -> UpstreamModel:
        models.append(UpstreamModel(url, sleep=lambda seconds: None, **options))
        return models[-1]

    yield open_model
    for model in models:
        model.close()


Opened = Callable[..., UpstreamModel]


def test_body_and_answer_go_through_as_they_are(opened: Opened) -> None:
    with running(answers(SAID)) as server:
        assert opened(server.url).answer(CHAT, ASK) == (200, SAID)
        assert server.asked == [("/v1/chat/completions", None, ASK)]


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_in_the_version_or_not(opened: Opened, ending: str) -> None:
    with running(answers(SAID)) as server:
        opened(server.url + ending).answer(EMBEDDINGS, {"input": "x"})
        assert server.asked[0][0] == "/v1/embeddings"


def test_the_key_travels_as_a_bearer_token(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_API_KEY", "from-environment")
    with running(answers(SAID)) as server:
        opened(server.url).answer(CHAT, ASK)
        opened(server.url, api_key="given").answer(CHAT, ASK)
        assert [key for _, key, _ in server.asked] == ["Bearer from-environment", "Bearer given"]


def test_a_busy_server_is_asked_again(opened: Opened) -> None:
    with running(
        answers({"error": "busy"}, status=503), answers({"error": "busy"}, status=429), answers(SAID)
    ) as server:
        assert opened(server.url).answer(CHAT, ASK) == (200, SAID)
        assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_the_answer(opened: Opened) -> None:
    with running(answers({"error": {"message": "busy", "type": "x"}}, status=429)) as server:
        status, answer = opened(server.url).answer(CHAT, ASK)
        assert (status, answer["error"]["message"], len(server.asked)) == (429, "busy", 4)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (
            {"error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "bad"}},
            {"message": "no", "type": "invalid_request_error", "param": "n", "code": "bad"},
        ),
        (
            {"object": "error", "message": "no", "type": "BadRequestError", "code": 400},
            {"message": "no", "type": "BadRequestError", "param": None, "code": None},
        ),
        (
            {"error": "model 'qwen' not found"},
            {"message": "model 'qwen' not found", "type": "invalid_request_error", "param": None, "code": None},
        ),
        ({"detail": "no"}, {"message": "no", "type": "invalid_request_error", "param": None, "code": None}),
        (b"404 page\n", {"message": "404 page", "type": "invalid_request_error", "param": None, "code": None}),
        (
            {},
            {
                "message": "HTTP 404 of the upstream model server",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            },
        ),
    ],
)
def test_errors_of_every_form_come_in_openais(opened: Opened, reply: Any, error: Any) -> None:
    with running(answers(reply, status=404)) as server:
        assert opened(server.url).answer(CHAT, ASK) == (404, {"error": error})


def test_an_address_without_a_server_is_a_503(opened: Opened) -> None:
    with running(answers(SAID)) as server:
        url = server.url
    status, answer = opened(url).answer(CHAT, ASK)
    assert (status, answer["error"]["type"]) == (503, "server_error")
    assert answer["error"]["code"] == "upstream_unavailable"
    assert answer["error"]["message"].startswith("The upstream model server cannot be reached: ")


def test_a_server_that_breaks_off_is_a_502(opened: Opened) -> None:
    with running((0, b"")) as server:
        status, answer = opened(server.url).answer(CHAT, ASK)
    assert status == 502
    assert answer["error"]["message"].startswith("The upstream model server broke off: ")


@pytest.mark.parametrize("page", [b"<html>", b"[1]", b'"text"', b'{"error": "out of memory"}'])
def test_an_answer_that_is_none_is_a_502(opened: Opened, page: bytes) -> None:
    with running(answers(page)) as server:
        status, answer = opened(server.url).answer(CHAT, ASK)
    assert (status, answer["error"]["code"]) == (502, "upstream_unavailable")


def test_a_body_that_json_cannot_carry_is_refused_here(opened: Opened) -> None:
    with running(answers(SAID)) as server:
        assert opened(server.url).answer(CHAT, {"messages": [{"role": "user", "content": "\ud800"}]})[0] == 400
        assert server.asked == []
