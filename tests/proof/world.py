"""The provider's truth: a small OpenAI behind `send: Call -> Reply`, with a clock of its own and faults on order.

`gemini_world` is the same world in Gemini's dialect.

It keeps files, batches, executions and a log of everything that arrived, and knows nothing of how runs work. Whatever
is wrong with its answers was asked for by a `Fault` (one call) or by `Weather` (all calls), so that a history can be
told again from its parameters alone.

What rows say decides what becomes of them (the model is a table, not a chance):

| a row's text begins with | |
|---|---|
| `ok` | is answered |
| `flaky` | is refused with a 429 the first time, answered afterwards |
| `bad` | is refused with a 400 every time |
| `expire` | the first batch that has it ends as `expired` in front of it |
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from nono.errors import AnswerLost, NotSent
from nono.exchange import Call, FileSlice, Reply

BASE_URL = "https://world.test/v1"
START_MS = 1_763_800_000_000


class Crash(BaseException):
    """The process dies here. Nothing catches it."""


class Stuck(AssertionError):
    """A history that does not come to its end."""


class WorldClock:
    """Wall time and elapsed time of the whole world; moves when somebody waits."""

    def __init__(self, start_ms: int = START_MS) -> None:
        self.true_ms = start_ms
        self.wrong_by_ms = 0

    def now_ms(self) -> int:
        return self.true_ms + self.wrong_by_ms

    def elapsed_s(self) -> float:
        return self.true_ms / 1000

    def wait(self, seconds: float, wake: threading.Event) -> None:
        if not wake.is_set():
            self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.true_ms += max(1, int(seconds * 1000))


@dataclass
class File:
    id: str
    name: str
    content: bytes
    made_ms: int
    deleted: bool = False


@dataclass
class Batch:
    id: str
    tag: str
    file_id: str
    made_ms: int
    listed_ms: int
    state: str = "validating"
    next_ms: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    output: str | None = None
    error: str | None = None
    named_ms: int = 0
    counts: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one call: the `call`-th that the world gets (from 0)."""

    call: int
    kind: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Weather:
    """What is wrong, or slow, all the time. Seconds; `tokens` is how many requests may be enqueued."""

    validating_s: float = 2.0
    running_s: float = 20.0
    list_lag_s: float = 0.0
    file_lag_s: float = 0.0
    named_late_s: float = 0.0
    enqueued_requests: int | None = None
    empty_ids: bool = False
    unknown_state: bool = False


# Kinds of faults, and whether the call takes effect: before anything else, these are what networks and services do.
WITHOUT_EFFECT = ("refused", "reset", "408", "409", "429", "429s", "429date", "429absurd", "500", "503html")
WITH_EFFECT = ("dropped", "409+", "500+", "garbled")
LATE = ("late",)
DOWNLOADS = ("cut", "cut-quietly")
KINDS = (*WITHOUT_EFFECT, *WITH_EFFECT, *LATE, *DOWNLOADS)


class World:
    """Everything outside of the process. `crash_at` are boundaries (counted over all lives) at which it dies."""

    # What a dialect says of itself: the create's call, and whether a batch that was stopped keeps its answers.
    create = "POST /batches"
    keeps_stopped = True
    # Whether a batch that has no room is made, and refused when it is looked at.
    refuses_late = True

    def __init__(
        self,
        weather: Weather | None = None,
        faults: tuple[Fault, ...] = (),
        crash_at: frozenset[int] = frozenset(),
        *,
        fault_of: Callable[[int, Call], Fault | None] | None = None,
        crash_of: Callable[[int, str], bool] | None = None,
        most_calls: int = 4000,
    ) -> None:
        self.weather = weather or Weather()
        self.clock = WorldClock()
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        self.log: list[dict[str, Any]] = []
        self.places: list[str] = []
        self.calls: list[str] = []
        self.crashes = 0
        self._faults = {fault.call: fault for fault in faults}
        self._fault_of = fault_of or (lambda number, call: self._faults.get(number))
        self._crash_of = crash_of or (lambda number, place: number in crash_at)
        self._most_calls = most_calls
        self._dead = False
        self._asked: Counter[str] = Counter()
        self._expired: set[str] = set()
        self._late: list[tuple[int, Call]] = []
        self._numbers = Counter[str]()

    # --- dying ---

    def boundary(self, place: str) -> None:
        """A moment at which a process may die; every one is counted."""
        if self._dead:
            raise Crash(place)
        number = len(self.places)
        self.places.append(place)
        if self._crash_of(number, place):
            self._dead = True
            self.crashes += 1
            raise Crash(f"at boundary {number}: {place}")

    def revive(self, after_s: float = 1.0) -> None:
        """Another process starts."""
        self._dead = False
        self.clock.advance(after_s)

    # --- the one door ---

    def send(self, call: Call) -> Reply:
        if self._dead:
            raise Crash("a dead process sends nothing")
        number = len(self.calls)
        what = self._what(call)
        self.calls.append(what)
        if number > self._most_calls:
            raise Stuck(f"{number} calls, and no end; the last: {self.calls[-8:]}")
        self.boundary(f"before {what}")
        self.clock.advance(0.05)
        self.pass_time()
        fault = self._fault_of(number, call)
        if what == self.create:
            file_id, tag = self._intent(call)
            self._note("create_sent", tag=tag, file_id=file_id)
        reply = self._perform(call, fault)
        self.boundary(f"after {what}")
        return reply

    def _what(self, call: Call) -> str:
        """A call without what is different in every history."""
        return f"{call.method} {re.sub(r'(file|batch)_[0-9]+', r'{id}', call.path)}"

    def _intent(self, call: Call) -> tuple[str, str]:
        """A create's file and tag."""
        return call.json["input_file_id"], call.json["metadata"]["nono_tag"]

    def _perform(self, call: Call, fault: Fault | None) -> Reply:
        if fault is None:
            return self._answer(call)
        self._note("fault", kind=fault.kind, call=self.calls[-1])
        match fault.kind:
            case "refused":
                raise NotSent("connection refused")
            case "reset":
                raise AnswerLost("reset before it arrived")
            case "dropped":
                self._answer(call)
                raise AnswerLost("the answer was lost")
            case "late":
                if call.method != "GET":  # a question that arrives late is answered to nobody
                    self._late.append((self.clock.true_ms + int(fault.seconds * 1000), call))
                raise AnswerLost("timed out; it arrives later")
            case "garbled":
                reply = self._answer(call)
                return Reply(reply.status, reply.headers, b'{"id": "ba')
            case "cut" | "cut-quietly" if call.save_to is not None:
                reply = self._answer(call)
                whole = call.save_to.read_bytes()
                call.save_to.write_bytes(whole[: len(whole) // 2])
                if fault.kind == "cut":
                    raise AnswerLost("the connection broke")
                return Reply(reply.status, {})
            case "cut" | "cut-quietly":
                return self._answer(call)
            case "503html":
                return Reply(503, {"content-type": "text/html"}, b"<html>busy</html>")
            case kind:
                if kind.endswith("+"):
                    self._answer(call)
                waits = {
                    "429s": {"retry-after": "7"},
                    "429date": {"retry-after": formatdate(self.clock.true_ms / 1000 + 30, usegmt=True)},
                    "429absurd": {"retry-after": "1e9"},
                }
                return self._refusal(int(kind[:3]), "not now", headers=waits.get(kind))

    # --- time ---

    def pass_time(self) -> None:
        """Everything that was due by now happens, in its order."""
        now = self.clock.true_ms
        while True:
            due = [(at, 0, call) for at, call in self._late if at <= now]
            due += [
                (batch.next_ms, 1, batch)
                for batch in self.batches.values()
                if batch.state in ("validating", "in_progress", "cancelling") and batch.next_ms <= now
            ]
            if not due:
                return
            at, _, what = min(due, key=lambda one: one[:2])
            if isinstance(what, Batch):
                self._step(what, at)
            else:
                self._late.remove((at, what))
                self._answer(what, at)

    def _step(self, batch: Batch, at: int) -> None:
        if batch.state == "validating":
            file = self.files.get(batch.file_id)
            if file is None or file.deleted:
                message = f"Cannot find file {batch.file_id}, or organization org-1 does not have access to it."
                self._fail(batch, "invalid_request", message)
                return
            batch.lines = [json.loads(line) for line in file.content.splitlines()]
            room = self.weather.enqueued_requests
            others = sum(len(one.lines) for one in self.batches.values() if one.state == "in_progress")
            if self.refuses_late and room is not None and others + len(batch.lines) > room:
                message = "Enqueued token limit reached for gpt-4o-mini in organization org-1. Please try again later."
                self._fail(batch, "token_limit_exceeded", message)
                return
            batch.state = "in_progress"
            batch.next_ms = at + int(self.weather.running_s * 1000)
            self._note("started", batch=batch.id, tag=batch.tag)
            return
        self._finish(batch, at)

    def _fail(self, batch: Batch, code: str, message: str) -> None:
        batch.state = "failed"
        batch.lines = []
        batch.errors = [{"code": code, "message": message, "line": None, "param": None}]
        self._note("failed", batch=batch.id, tag=batch.tag, code=code)

    def _finish(self, batch: Batch, at: int) -> None:
        """Execute what is to be executed, and write the answer files."""
        end = "cancelled" if batch.state == "cancelling" else "completed"
        run = len(batch.lines) // 2 if end == "cancelled" else len(batch.lines)
        texts = [self._request(line)[1] for line in batch.lines]
        for index, text in enumerate(texts):
            if text.startswith("expire") and text not in self._expired and end != "cancelled":
                self._expired.add(text)
                end, run = "expired", index
                break
        if end != "completed" and not self.keeps_stopped:
            run = 0  # whatever it did is told to nobody, and costs nothing
        good, wrong = [], []
        done = failed = 0
        for index, (line, text) in enumerate(zip(batch.lines, texts, strict=True)):
            if index >= run:
                wrong += self._unexecuted(line, end)
                continue
            first = self._asked[text] == 0
            self._asked[text] += 1
            status = 400 if text.startswith("bad") else 429 if text.startswith("flaky") and first else 200
            self._note(
                "executed", batch=batch.id, tag=batch.tag, custom_id=self._request(line)[0], text=text, status=status
            )
            if status == 200:
                good.append(self._answered(line, text))
                done += 1
            else:
                wrong.append(self._failed(line, status))
                failed += 1
        batch.state, batch.counts, batch.named_ms = end, (len(batch.lines), done, failed), at
        self._write(batch, good, wrong, at)

    def _write(self, batch: Batch, good: list[str], wrong: list[str], at: int) -> None:
        """Answers lie in files: here in one of successes, which may be named late, and one of failures."""
        if good:
            batch.output = self._keep(f"{batch.id}_output.jsonl", "".join(good).encode(), at).id
            batch.named_ms = at + int(self.weather.named_late_s * 1000)
        if wrong:
            batch.error = self._keep(f"{batch.id}_error.jsonl", "".join(wrong).encode(), at).id

    # --- lines ---

    def _request(self, line: dict[str, Any]) -> tuple[str, str]:
        """A request's id and text."""
        return line["custom_id"], str(line["body"]["messages"][-1]["content"])

    def _answered(self, line: dict[str, Any], text: str) -> str:
        return _line(line, _completion(line, text), None)

    def _failed(self, line: dict[str, Any], status: int) -> str:
        return _line(line, {"error": {"message": "no", "code": f"http_{status}"}}, None, status)

    def _unexecuted(self, line: dict[str, Any], end: str) -> list[str]:
        return [_line(line, None, {"code": f"batch_{end}", "message": "This request was not executed."})]

    # --- the service ---

    def _answer(self, call: Call, at: int | None = None) -> Reply:
        """Do what a call asks for, now (or at the instant at which it arrived late)."""
        now = self.clock.true_ms if at is None else at
        first, *rest = call.path.strip("/").split("/")
        match call.method, first, rest:
            case "POST", "files", []:
                return self._upload(call, now)
            case "GET", "files", []:
                alive = [file for file in self.files.values() if not file.deleted]
                return _json({"data": [_file(file) for file in reversed(alive)], "has_more": False})
            case "DELETE", "files", [file_id]:
                file = self.files.get(file_id)
                if file is None or file.deleted:
                    return self._refusal(404, f"No such File object: {file_id}")
                file.deleted = True
                self._note("file_deleted", file=file_id)
                return _json({"id": file_id, "deleted": True})
            case "GET", "files", [file_id, *content]:
                file = self.files.get(file_id)
                if file is None or file.deleted:
                    return self._refusal(404, f"No such File object: {file_id}")
                return self._content(call, file) if content else _json(_file(file))
            case "POST", "batches", []:
                return self._create(call, now)
            case "GET", "batches", []:
                return self._list(call, now)
            case "GET", "batches", [batch_id]:
                batch = self.batches.get(batch_id)
                return (
                    _json(self._batch(batch)) if batch else self._refusal(404, f"No batch found with id '{batch_id}'.")
                )
            case "POST", "batches", [batch_id, "cancel"]:
                batch = self.batches[batch_id]
                if batch.state not in ("validating", "in_progress"):
                    return self._refusal(409, f"Cannot cancel a batch with status '{batch.state}'.")
                self._note("cancel", batch=batch.id, tag=batch.tag)
                if batch.state == "validating":
                    batch.state = "cancelled"
                else:
                    batch.state, batch.next_ms = "cancelling", now + 5000
                return _json(self._batch(batch))
        raise AssertionError(f"the world does not know {call.method} {call.path}")

    def _upload(self, call: Call, now: int) -> Reply:
        assert call.content is not None
        head, body, _ = call.content
        assert isinstance(head, bytes)
        assert isinstance(body, FileSlice)
        named = re.search(rb'filename="([^"]*)"', head)
        assert named
        file = self._keep(named[1].decode(), body.path.read_bytes(), now)
        self._note("uploaded", file=file.id, name=file.name)
        return _json(_file(file))

    def _create(self, call: Call, now: int) -> Reply:
        file_id, tag = self._intent(call)
        file = self.files.get(file_id)
        if file is not None and now - file.made_ms < self.weather.file_lag_s * 1000:
            return self._refusal(400, f"Cannot find file {file_id}, or organization org-1 does not have access to it.")
        listed = now + int(self.weather.list_lag_s * 1000)
        batch = Batch(self._id("batch"), tag, file_id, now, listed)
        batch.next_ms = now + int(self.weather.validating_s * 1000)
        self.batches[batch.id] = batch
        self._note("created", batch=batch.id, tag=tag, file_id=file_id)
        return _json(self._batch(batch))

    def _list(self, call: Call, now: int) -> Reply:
        shown = [batch for batch in reversed(self.batches.values()) if batch.listed_ms <= now]
        after = call.params.get("after")
        if after:
            shown = shown[[batch.id for batch in shown].index(str(after)) + 1 :]
        limit = int(call.params.get("limit", 20))
        page = [self._batch(batch) for batch in shown[:limit]]
        return _json({"object": "list", "data": page, "has_more": len(shown) > limit})

    def _content(self, call: Call, file: File) -> Reply:
        assert call.save_to is not None
        start = int(call.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        size = len(file.content)
        if start >= size:
            return Reply(416, {"content-range": f"bytes */{size}"})
        old = call.save_to.read_bytes() if start else b""
        # The connection may break, or the process die, in the middle.
        call.save_to.write_bytes(old[:start] + file.content[start : (start + size) // 2])
        self.boundary("during a download")
        call.save_to.write_bytes(old[:start] + file.content[start:])
        if start:
            return Reply(206, {"content-range": f"bytes {start}-{size - 1}/{size}"})
        return Reply(200, {"content-length": str(size)})

    def _batch(self, batch: Batch) -> dict[str, Any]:
        nothing = "" if self.weather.empty_ids else None
        named = self.clock.true_ms >= batch.named_ms
        state = batch.state
        if self.weather.unknown_state and state == "in_progress":
            state = "pondering"
        return {
            "id": batch.id,
            "object": "batch",
            "status": state,
            "endpoint": "/v1/chat/completions",
            "input_file_id": batch.file_id,
            "completion_window": "24h",
            "output_file_id": (batch.output if named else None) or nothing,
            "error_file_id": batch.error or nothing,
            "created_at": batch.made_ms // 1000,
            "expires_at": batch.made_ms // 1000 + 86_400,
            "request_counts": dict(zip(("total", "completed", "failed"), batch.counts, strict=True)),
            "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
            "metadata": {"nono_tag": batch.tag},
        }

    def _refusal(self, status: int, message: str, headers: dict[str, str] | None = None) -> Reply:
        error = {"message": message, "type": "error", "param": None, "code": None}
        return Reply(status, headers or {}, json.dumps({"error": error}).encode())

    def _keep(self, name: str, content: bytes, now: int) -> File:
        file = File(self._id("file"), name, content, now)
        self.files[file.id] = file
        return file

    def _id(self, kind: str) -> str:
        self._numbers[kind] += 1
        return f"{kind}_{self._numbers[kind]}"

    def _note(self, what: str, **detail: Any) -> None:
        self.log.append({"what": what, "at_ms": self.clock.true_ms, **detail})


def _json(value: Any) -> Reply:
    return Reply(200, {"content-type": "application/json"}, json.dumps(value).encode())


def _file(file: File) -> dict[str, Any]:
    made = file.made_ms // 1000
    return {"id": file.id, "object": "file", "bytes": len(file.content), "filename": file.name, "created_at": made}


def _line(request: dict[str, Any], body: Any, error: Any, status: int = 200) -> str:
    response = None if body is None else {"status_code": status, "request_id": "r", "body": body}
    line = {"id": "br_1", "custom_id": request["custom_id"], "response": response, "error": error}
    return json.dumps(line) + "\n"


def _completion(request: dict[str, Any], text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": f"answer to {text}"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": request["body"]["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
