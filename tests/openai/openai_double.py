"""A recording loopback server and a scripted sender: what the service says is written down in each test."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from nono.exchange import Call, Reply


@dataclass
class Seen:
    """One request as it came over the wire."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass
class Says:
    """One answer. `cut` sends only so many bytes of the body and drops the connection."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


DROP = object()
"""Instead of an answer: the connection is closed."""


class Double:
    """Answers by a table of (method, path pattern) → answers; the last answer of a row repeats."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.base_url = ""
        self._rows: list[tuple[str, re.Pattern[str], list[Any]]] = []

    def on(self, method: str, path: str, *answers: Any) -> None:
        self._rows.append((method, re.compile(path), list(answers)))

    def calls(self, method: str = "", path: str = "") -> list[Seen]:
        return [seen for seen in self.seen if seen.method.startswith(method) and re.search(path, seen.path)]

    def answer(self, seen: Seen) -> Any:
        self.seen.append(seen)
        for method, path, answers in self._rows:
            if method == seen.method and path.fullmatch(seen.path):
                said = answers.pop(0) if len(answers) > 1 else answers[0]
                said = said(seen) if callable(said) else said
                return said if isinstance(said, Says) or said is DROP else Says(body=said)
        return Says(404, {"error": {"message": f"nothing at {seen.method} {seen.path}", "code": None}})


@contextmanager
def double() -> Iterator[Double]:
    """A running double on a free port."""
    it = Double()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = it.answer(Seen(self.command, url.path, dict(parse_qsl(url.query)), headers, body))
            if said is DROP:
                self.close_connection = True
                return
            content, status, extra = said.content, said.status, dict(said.headers)
            ranged = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
            if ranged and status == 200:
                start = int(ranged[1])
                extra["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                content, status = content[start:], 206
            self.send_response(status)
            for name, value in ({"content-type": "application/json"} | extra).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if said.cut is None else content[: said.cut])
            if said.cut is not None:
                self.close_connection = True

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    it.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Script:
    """A sender that plays replies in order and keeps the calls. An exception in the list is raised."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        said = self.replies.pop(0)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Callable):
            said = said(call)
        if not isinstance(said, Reply):
            said = Reply(200, {}, said if isinstance(said, bytes) else json.dumps(said).encode())
        if call.save_to is not None and said.ok:
            call.save_to.write_bytes(said.body)
            return Reply(said.status, {"content-length": str(len(said.body)), **said.headers})
        return said


def refusal(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode())


def batch(id: str = "batch_1", status: str = "completed", **more: Any) -> dict[str, Any]:
    """A batch as the service sends it, every null in place."""
    return {
        "id": id,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "errors": None,
        "input_file_id": "file-in",
        "completion_window": "24h",
        "status": status,
        "output_file_id": None,
        "error_file_id": None,
        "created_at": 1736489775,
        "in_progress_at": None,
        "expires_at": 1736576175,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": None,
    } | more


def file(id: str = "file-in", size: int = 10, **more: Any) -> dict[str, Any]:
    return {
        "object": "file",
        "id": id,
        "purpose": "batch",
        "filename": "in.jsonl",
        "bytes": size,
        "created_at": 1744391933,
        "expires_at": None,
        "status": "processed",
        "status_details": None,
    } | more


def answer_line(custom_id: str, text: str = "fine") -> dict[str, Any]:
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    return {
        "id": "batch_req_1",
        "custom_id": custom_id,
        "response": {"status_code": 200, "request_id": "1", "body": body},
        "error": None,
    }


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)
