"""A recording loopback server that speaks as much Gemini as these tests need, and a sender that follows a script.

The server keeps every request. What it answers can be overridden once (`once`) or for good (`always`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from nono.errors import NonoError
from nono.exchange import Call, Flow, Reply, drive

TIME = "2026-11-22T02:00:00.015405218Z"
KEPT_BYTES = 1 << 20


@dataclass
class Seen:
    """One request as it came over the wire; of a large body only the length and the digest are kept."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    length: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def command(self) -> str:
        return self.headers.get("x-goog-upload-command", "")


@dataclass
class Says:
    """One answer. `cut` sends only so many bytes of the body and drops the connection."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


class Drop:
    """Instead of an answer the connection is closed, after `kept` bytes of the body have been taken in."""

    def __init__(self, kept: int | None = None) -> None:
        self.kept = kept


class Upload:
    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about
        self.received = 0
        self.digest = hashlib.sha256()
        self.content = b""

    def take(self, data: bytes) -> None:
        self.received += len(data)
        self.digest.update(data)
        self.content = self.content + data if self.received <= KEPT_BYTES else b""


Rule = tuple[str, "re.Pattern[str]", list[Any]]


class GeminiDouble:
    def __init__(self) -> None:
        self.base_url = ""
        self.created = 0
        self.seen: list[Seen] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.outputs: dict[str, Path | bytes] = {}
        self.uploads: dict[str, Upload] = {}
        self._rules: list[Rule] = []

    def once(self, method: str, path: str, *answers: Any) -> None:
        """The next requests of this kind are answered so, one after the other; later ones as usual."""
        self._rules.append((method, re.compile(path), list(answers)))

    def calls(self, method: str = "", path: str = "") -> list[Seen]:
        return [seen for seen in self.seen if seen.method.startswith(method) and re.search(path, seen.path)]

    def scripted(self, seen: Seen) -> Any:
        for method, path, answers in self._rules:
            if answers and method == seen.method and path.search(f"{seen.path} {seen.command}"):
                return answers.pop(0)
        return None

    # ── what the service does ──

    def answer(self, seen: Seen) -> Any:
        path = re.sub(r"^/(v1beta|v1alpha|v1)(?=/)", "", seen.path)
        path = re.sub(r"^/upload/(v1beta|v1alpha|v1)(?=/)", "/upload", path)
        name = path.removeprefix("/")
        if path == "/upload/files" and seen.command == "start":
            return self._start_upload(seen)
        if seen.method == "POST" and path.endswith((":batchGenerateContent", ":asyncBatchEmbedContent")):
            return self._create(seen, path)
        if path == "/batches":
            return self._list(seen)
        if path == "/files":
            return {"files": list(self.files.values())}
        if path.endswith(":download"):
            return self._download(name.removesuffix(":download"))
        if path.endswith(":cancel"):
            job = self.jobs.get(name.removesuffix(":cancel"))
            if job is None:
                return refusal(404, "NOT_FOUND", "no such batch")
            job["metadata"]["state"] = "BATCH_STATE_CANCELLED"
            job |= {"done": True, "error": {"code": 13, "message": "cancelled"}}
            return {}
        if name.startswith("batches/"):
            if name not in self.jobs:
                return refusal(404, "NOT_FOUND", "no such batch")
            return self.jobs.pop(name) and {} if seen.method == "DELETE" else self.jobs[name]
        if name.startswith("files/"):
            if len(name) - 6 > 40:
                return refusal(400, "INVALID_ARGUMENT", "File ID cannot be more than 40 characters.")
            if name not in self.files:
                said = f"You do not have permission to access the File {name[6:]} or it may not exist."
                return refusal(403, "PERMISSION_DENIED", said)
            return self.files.pop(name) and {} if seen.method == "DELETE" else self.files[name]
        return refusal(404, "NOT_FOUND", f"no route {seen.path}")

    def _start_upload(self, seen: Seen) -> Says:
        about = seen.json["file"]
        upload_id = f"u{len(self.uploads)}"
        self.uploads[upload_id] = Upload(about)
        version = re.match(r"/upload(/v\w+)?/files", seen.path).group(1) or ""  # type: ignore[union-attr]
        url = f"{self.base_url}/upload{version}/files?upload_id={upload_id}&upload_protocol=resumable"
        headers = {"x-goog-upload-url": url, "x-goog-upload-status": "active"}
        return Says(headers=headers | {"x-goog-upload-chunk-granularity": "8388608"})

    def feed(self, seen: Seen) -> Says:
        """What a chunk or a query is answered, after the body has been taken in."""
        upload = self.uploads.get(seen.query["upload_id"])
        if upload is None:
            return refusal(404, "NOT_FOUND", "no such upload")
        if seen.command == "query":
            received = str(upload.received)
            return Says(headers={"x-goog-upload-status": "active", "x-goog-upload-size-received": received})
        if "finalize" not in seen.command:
            return Says(headers={"x-goog-upload-status": "active"})
        about = upload.about
        name = about.get("name") or f"files/f{len(self.files)}"
        self.files[name] = {
            "name": name,
            "mimeType": about["mime_type"],
            "sizeBytes": str(upload.received),
            "createTime": TIME,
            "expirationTime": "2026-11-24T02:00:00.0Z",
            "sha256Hash": base64.b64encode(upload.digest.hexdigest().encode()).decode(),
            "state": "ACTIVE",
            "source": "UPLOADED",
        } | ({"displayName": about["display_name"]} if "display_name" in about else {})
        self.contents[name] = upload.content
        return Says(body={"file": self.files[name]}, headers={"x-goog-upload-status": "final"})

    def _create(self, seen: Seen, path: str) -> Any:
        batch = seen.json["batch"]
        source = batch["inputConfig"]
        self.created += 1
        name = f"batches/b{self.created}"
        requests = (source.get("requests") or {}).get("requests")
        if requests is None:
            file_name = source.get("fileName") or source.get("file_name")
            if file_name not in self.files and file_name != "files/abc123xyz":
                return refusal(404, "NOT_FOUND", f"{file_name} not found")
            requests = [json.loads(line) for line in self.contents.get(file_name, b"").splitlines()]
            answers = [{"key": item["key"], "response": answered(item["request"])} for item in requests]
            lines = b"".join(json.dumps(answer).encode() + b"\n" for answer in answers)
            output: dict[str, Any] = {"responsesFile": f"files/batch-{name[8:]}{'x' * 34}"}
            self.outputs[output["responsesFile"]] = lines
        else:
            items = [
                {"response": answered(item["request"])} | ({"metadata": item["metadata"]} if "metadata" in item else {})
                for item in requests
            ]
            output = {"inlinedResponses": {"inlinedResponses": items}}
        self.jobs[name] = operation(
            name,
            "BATCH_STATE_SUCCEEDED",
            displayName=batch.get("displayName"),
            model=path.removeprefix("/").rpartition(":")[0],
            output=output,
            batchStats={"requestCount": str(len(requests)), "successfulRequestCount": str(len(requests))},
        )
        pending = operation(name, "BATCH_STATE_PENDING", displayName=batch.get("displayName"))
        return {key: value for key, value in pending.items() if key != "done"}

    def _list(self, seen: Seen) -> Any:
        size, start = int(seen.query.get("pageSize", "10")), int(seen.query.get("pageToken", "0"))
        operations = list(self.jobs.values())[start : start + size]
        more = start + size < len(self.jobs)
        return {"operations": operations} | ({"nextPageToken": str(start + size)} if more else {})

    def _download(self, name: str) -> Any:
        if name not in self.outputs:
            return refusal(404, "NOT_FOUND", "no such file")
        return Says(body=self.outputs[name], headers={"content-type": "application/octet-stream"})


def operation(name: str, state: str, **metadata: Any) -> dict[str, Any]:
    """A long-running operation as the service sends it."""
    ended = state.endswith(("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "ENDED"))
    return {
        "name": name,
        "metadata": {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "createTime": TIME,
            "updateTime": TIME,
            "state": state,
            "name": name,
            **{key: value for key, value in metadata.items() if value is not None},
        },
    } | ({"done": True} if ended else {})


def answered(request: dict[str, Any]) -> dict[str, Any]:
    """An answer that repeats the question, or JSON where JSON is wanted."""
    if "content" in request:
        return {"embedding": {"values": [0.25, 0.5]}, "tokenCount": "3"}
    question = "".join(part.get("text", "") for content in request["contents"] for part in content["parts"])
    generation = request.get("generation_config") or request.get("generationConfig") or {}
    wants_json = "response_mime_type" in generation or "responseMimeType" in generation
    text = json.dumps({"echo": question}) if wants_json else f"echo: {question}"
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 9}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "double"}


def refusal(status: int, name: str, message: str, details: Any = None) -> Says:
    error = {"code": status, "message": message, "status": name} | ({"details": details} if details else {})
    return Says(status, {"error": error})


@contextmanager
def double(it: GeminiDouble | None = None) -> Iterator[GeminiDouble]:
    """A running double on a free port."""
    it = it or GeminiDouble()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, parts.path, dict(parse_qsl(parts.query)), headers)
            seen.length = int(headers.get("content-length", 0))
            it.seen.append(seen)
            feeding = "upload_id" in seen.query
            said = it.scripted(seen)
            upload = it.uploads.get(seen.query.get("upload_id", ""))
            left = seen.length if not isinstance(said, Drop) or said.kept is None else said.kept
            while left:
                data = self.rfile.read(min(left, 1 << 16))
                left -= len(data)
                if seen.length <= KEPT_BYTES:
                    seen.body += data
                if upload is not None and not isinstance(said, Says):
                    upload.take(data)
            if isinstance(said, Drop):
                self.close_connection = True
                self.connection.shutdown(2)
                return
            if said is None:
                said = it.feed(seen) if feeding else it.answer(seen)
            self._say(said if isinstance(said, Says) else Says(body=said), headers)

        def _say(self, said: Says, headers: dict[str, str]) -> None:
            body = said.body
            if isinstance(body, Path):
                self._say_file(body, headers)
                return
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            status, extra, start = said.status, dict(said.headers), 0
            wanted = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
            if wanted and status == 200:
                start, status = int(wanted.group(1)), 206
                extra["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_response(status)
            lengthless = "transfer-encoding" in extra
            for name, value in ({} if lengthless else {"content-length": str(len(content) - start)} | extra).items():
                self.send_header(name, value)
            if lengthless:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(content[start:] if said.cut is None else content[start : start + said.cut])
            if said.cut is not None or lengthless:
                self.close_connection = True
                self.wfile.flush()
                self.connection.shutdown(2)

        def _say_file(self, path: Path, headers: dict[str, str]) -> None:
            self.send_response(200)
            self.send_header("content-length", str(path.stat().st_size))
            self.end_headers()
            with path.open("rb") as file:
                while chunk := file.read(1 << 16):
                    self.wfile.write(chunk)

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    it.base_url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Script:
    """Performs a flow against answers written down beforehand; keeps the calls and the pauses."""

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.calls: list[Call] = []
        self.pauses: list[float] = []

    def run(self, flow: Flow[Any]) -> Any:
        return drive(flow, self._send, sleep=self.pauses.append)

    def _send(self, call: Call) -> Reply:
        self.calls.append(call)
        answer = self._answers.pop(0)
        if callable(answer):
            answer = answer(call)
        if isinstance(answer, NonoError):
            raise answer
        if isinstance(answer, Reply):
            return answer
        return Reply(200, {}, json.dumps(answer).encode())


def reply(status: int, body: Any = None, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)
