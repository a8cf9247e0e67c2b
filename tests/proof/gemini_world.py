"""The same world in Gemini's dialect: resumable uploads under the client's names, long-running operations.

What is different from OpenAI's: a file has the name that its client chose, and only one may have it; a file that is not
there is a 403; a batch is found by its display name; a queue that is full refuses the create; a job that was cancelled
or has expired keeps no answers; answers lie in one file, which goes with its job.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

from world import Batch, File, World

from nono.exchange import Call, FileSlice, Reply

GEMINI_URL = "https://world.test"
SESSION = f"{GEMINI_URL}/upload/session-"
STATES = {
    "validating": "BATCH_STATE_PENDING",
    "in_progress": "BATCH_STATE_RUNNING",
    "cancelling": "BATCH_STATE_RUNNING",
    "completed": "BATCH_STATE_SUCCEEDED",
    "failed": "BATCH_STATE_FAILED",
    "cancelled": "BATCH_STATE_CANCELLED",
    "expired": "BATCH_STATE_EXPIRED",
}
ERRORS = {"failed": (5, ""), "cancelled": (1, "The job was cancelled."), "expired": (4, "The job expired.")}
STATUSES = {
    400: "INVALID_ARGUMENT",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}


class GeminiWorld(World):
    """`World`, as Gemini's clients see it."""

    create = "POST /{version}/models/gemini-2.5-flash:batchGenerateContent"
    keeps_stopped = False
    refuses_late = False

    def __init__(self, *given: Any, **words: Any) -> None:
        super().__init__(*given, **words)
        self._sessions: dict[str, tuple[str, bytes]] = {}
        self._ended: dict[str, File] = {}

    def _what(self, call: Call) -> str:
        path = re.sub(r"(batches|files)/[^/:]+", r"\1/{id}", call.path)
        path = re.sub(r"session-\d+", f"session {call.headers.get('x-goog-upload-command')}", path)
        return f"{call.method} {path}"

    def _intent(self, call: Call) -> tuple[str, str]:
        batch = call.json["batch"]
        return batch["inputConfig"]["fileName"], batch["displayName"]

    def _refusal(self, status: int, message: str, headers: dict[str, str] | None = None) -> Reply:
        error = {"code": status, "message": message, "status": STATUSES[status]}
        return Reply(status, headers or {}, json.dumps({"error": error}).encode())

    # --- lines ---

    def _request(self, line: dict[str, Any]) -> tuple[str, str]:
        return line["key"], str(line["request"]["contents"][-1]["parts"][-1]["text"])

    def _answered(self, line: dict[str, Any], text: str) -> str:
        content = {"role": "model", "parts": [{"text": f"answer to {text}"}]}
        usage = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
        response = {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}
        return json.dumps({"key": line["key"], "response": response}) + "\n"

    def _failed(self, line: dict[str, Any], status: int) -> str:
        error = {"code": 3 if status == 400 else 8, "message": "no"}
        return json.dumps({"key": line["key"], "error": error}) + "\n"

    def _unexecuted(self, line: dict[str, Any], end: str) -> list[str]:
        return []

    def _write(self, batch: Batch, good: list[str], wrong: list[str], at: int) -> None:
        if batch.state == "completed":
            # As long as the real ones: too long for the service's own delete.
            name = f"files/batch-{batch.id.rpartition('/')[2]}-{'o' * 30}"
            self.files[name] = File(name, name, "".join(good + wrong).encode(), at)
            batch.output, batch.named_ms = name, at + int(self.weather.named_late_s * 1000)

    # --- the service ---

    def _answer(self, call: Call, at: int | None = None) -> Reply:
        now = self.clock.true_ms if at is None else at
        if call.path.startswith(SESSION):
            return self._session(call, now)
        path, _, deed = call.path.removeprefix("/{version}/").partition(":")
        match call.method, path.split("/"), deed:
            case "POST", ["", "upload", *_], _:
                return self._begin_upload(call)
            case "POST", ["models", _], "batchGenerateContent":
                return self._create(call, now)
            case "GET", ["batches"], "":
                return self._list(call, now)
            case "GET", ["files"], "":
                return _json({"files": [_file(file) for file in self.files.values() if not file.deleted]})
            case _, ["files", _], _:
                file = self.files.get(path)
                if file is None or file.deleted:
                    message = f"You do not have permission to access the File {path} or it may not exist."
                    return self._refusal(403, message)
                if deed == "download":
                    return self._content(call, file)
                if call.method == "DELETE":
                    file.deleted = True
                    self._note("file_deleted", file=path)
                    return _json({})
                return _json(_file(file))
            case _, ["batches", _], _:
                batch = self.batches.get(path)
                if batch is None:
                    return self._refusal(404, f"Requested entity was not found: {path}.")
                return self._of_batch(call, batch, deed, now)
        raise AssertionError(f"the world does not know {call.method} {call.path}")

    def _of_batch(self, call: Call, batch: Batch, deed: str, now: int) -> Reply:
        if call.method == "GET":
            return _json(self._batch(batch))
        if deed == "cancel":
            if batch.state in ("validating", "in_progress"):
                self._note("cancel", batch=batch.id, tag=batch.tag)
                quick = batch.state == "validating"
                batch.state, batch.next_ms = ("cancelled", 0) if quick else ("cancelling", now + 5000)
            return _json({})
        assert call.method == "DELETE"
        if batch.output:
            self.files[batch.output].deleted = True
        self._note("batch_deleted", batch=batch.id, tag=batch.tag)
        if batch.state in ("validating", "in_progress", "cancelling"):
            raise AssertionError(f"{batch.id} was deleted while it was at work")
        del self.batches[batch.id]
        return _json({})

    def _begin_upload(self, call: Call) -> Reply:
        name = call.json["file"]["name"]
        if self._taken(name):
            return self._refusal(409, f"Requested entity already exists: {name}.")
        address = f"{SESSION}{self._id('session').removeprefix('session_')}"
        self._sessions[address] = (name, b"")
        return Reply(200, {"x-goog-upload-url": address, "x-goog-upload-status": "active"})

    def _session(self, call: Call, now: int) -> Reply:
        if call.path not in self._sessions:
            return self._refusal(404, "no such upload")
        name, received = self._sessions[call.path]
        command = call.headers["x-goog-upload-command"]
        if command == "query":
            file = self.files.get(name)
            if file is not None and self._ended.get(call.path) is file:
                return Reply(200, {"x-goog-upload-status": "final"}, json.dumps({"file": _file(file)}).encode())
            return Reply(200, {"x-goog-upload-status": "active", "x-goog-upload-size-received": str(len(received))})
        assert call.content is not None
        (piece,) = call.content
        assert isinstance(piece, FileSlice)
        content = piece.path.read_bytes()[piece.start : piece.start + piece.length]
        if int(call.headers["x-goog-upload-offset"]) != len(received) or call.path in self._ended:
            return self._refusal(400, "the upload has come to another place")
        # The connection may break in the middle; what came is kept.
        self._sessions[call.path] = (name, received + content[: len(content) // 2])
        self.boundary("during an upload")
        self._sessions[call.path] = (name, received + content)
        if "finalize" not in command:
            return Reply(200, {"x-goog-upload-status": "active"})
        if self._taken(name):
            return self._refusal(409, f"Requested entity already exists: {name}.")
        file = File(name, name, received + content, now)
        self.files[name] = self._ended[call.path] = file
        self._note("uploaded", file=name, name=name)
        return Reply(200, {"x-goog-upload-status": "final"}, json.dumps({"file": _file(file)}).encode())

    def _taken(self, name: str) -> bool:
        return name in self.files and not self.files[name].deleted

    def _create(self, call: Call, now: int) -> Reply:
        file_name, tag = self._intent(call)
        file = self.files.get(file_name)
        if file is not None and now - file.made_ms < self.weather.file_lag_s * 1000:
            return self._refusal(404, f"File {file_name} was not found.")
        room = self.weather.enqueued_requests
        if room is not None and file is not None:
            under_way = [one for one in self.batches.values() if one.state in ("validating", "in_progress")]
            counted = [self.files[one.file_id].content for one in under_way if one.file_id in self.files]
            if sum(content.count(b"\n") for content in (*counted, file.content)) > room and under_way:
                return self._refusal(429, "You exceeded your current quota of enqueued tokens.")
        batch = Batch(f"batches/{self._id('job').replace('_', '-')}", tag, file_name, now, now)
        batch.listed_ms += int(self.weather.list_lag_s * 1000)
        batch.next_ms = now + int(self.weather.validating_s * 1000)
        self.batches[batch.id] = batch
        self._note("created", batch=batch.id, tag=tag, file_id=file_name)
        return _json(self._batch(batch))

    def _list(self, call: Call, now: int) -> Reply:
        shown = [batch for batch in reversed(self.batches.values()) if batch.listed_ms <= now]
        start = int(call.params.get("pageToken", 0))
        size = int(call.params.get("pageSize", 20))
        page: dict[str, Any] = {"operations": [self._batch(batch) for batch in shown[start : start + size]]}
        if len(shown) > start + size:
            page["nextPageToken"] = str(start + size)
        return _json(page)

    def _batch(self, batch: Batch) -> dict[str, Any]:
        named = batch.output is not None and self.clock.true_ms >= batch.named_ms
        total, done, failed = batch.counts
        pondering = self.weather.unknown_state and batch.state == "in_progress"
        metadata: dict[str, Any] = {
            "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
            "model": "models/gemini-2.5-flash",
            "displayName": batch.tag,
            "inputConfig": {"fileName": batch.file_id},
            "createTime": _time(batch.made_ms),
            "batchStats": {
                "requestCount": str(total),
                "successfulRequestCount": str(done),
                "failedRequestCount": str(failed),
            },
            "state": "BATCH_STATE_PONDERING" if pondering else STATES[batch.state],
            "name": batch.id,
        }
        operation: dict[str, Any] = {"name": batch.id, "metadata": metadata}
        if named:
            metadata["output"] = {"responsesFile": batch.output}
            operation["response"] = {"responsesFile": batch.output}
        if batch.state in ERRORS:
            code, message = ERRORS[batch.state]
            operation["error"] = {"code": code, "message": message or batch.errors[0]["message"]}
        if batch.state in ("completed", *ERRORS):
            operation["done"] = True
        return operation


def _json(value: Any) -> Reply:
    return Reply(200, {"content-type": "application/json"}, json.dumps(value).encode())


def _file(file: File) -> dict[str, Any]:
    return {
        "name": file.id,
        "sizeBytes": str(len(file.content)),
        "createTime": _time(file.made_ms),
        "sha256Hash": base64.b64encode(hashlib.sha256(file.content).hexdigest().encode()).decode(),
        "state": "ACTIVE",
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")
