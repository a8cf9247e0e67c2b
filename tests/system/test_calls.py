"""Each call, at each misbehaviour, over real connections: repeated where that does no harm, within bounds; otherwise
sent once. And downloads that break off."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nono import jsonl
from nono.errors import NonoError, RateLimited
from nono.exchange import Flow, drive
from nono.model import RemoteBatch
from nono.providers import Provider, Task, provider_named
from nono.retry import RetryPolicy, retrying
from nono.server.app import LocalServer
from nono.transport import Sender

MODELS = {"openai": "gpt-4o-mini", "gemini": "gemini-2.5-flash"}
ENDPOINT = "/v1/chat/completions"
POLICY = RetryPolicy()
# All two hundred bytes of the grid are in `tests/foundation/test_download.py`, without a provider around them.
POINTS = 200 if os.environ.get("NONO_PROOF") == "full" else 10


@dataclass
class Beside:
    """A provider at a server that misbehaves on request, with something to ask for."""

    steer: httpx2.Client
    folder: Path
    provider: Provider
    send: Sender
    task: Task
    batch: RemoteBatch
    pauses: list[float] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def perform(self, flow: Flow[Any]) -> Any:
        return drive(retrying(flow, POLICY), self.send, sleep=self.pauses.append)

    def upload(self) -> Any:
        return self.provider.upload(self.folder / "in.jsonl", name=f"nono-{next(self.numbers)}")

    def create(self) -> Any:
        assert self.batch.input_file_id is not None
        return self.provider.create(file_id=self.batch.input_file_id, task=self.task, tag=f"t-{next(self.numbers)}")

    def ask(self) -> Any:
        return self.provider.ask(jsonl.decode((self.folder / "in.jsonl").read_bytes().strip()), self.task)

    def cancel(self) -> Any:
        return self.provider.cancel(self.batch.id)

    def get(self) -> Any:
        return self.provider.get(self.batch.id)

    def list(self) -> Any:
        return self.provider.list_page()

    def file(self) -> Any:
        """OpenAI's are listed; Gemini's have the names that we gave them."""
        return self.provider.find_file("nono-input")

    def content(self) -> Any:
        into = self.folder / f"answers-{next(self.numbers)}"
        into.mkdir()
        return self.provider.fetch(self.batch, into)

    def delete(self) -> Any:
        return self.provider.delete_file(self.perform(self.upload()).id)

    def misbehave(self, *rules: Mapping[str, Any]) -> None:
        listed = self.provider.name == "openai"
        rules = tuple({**rule, "call": "files"} if rule["call"] == "file" and listed else dict(rule) for rule in rules)
        self.steer.delete("/_nono/faults").raise_for_status()
        self.steer.post("/_nono/faults", json=list(rules)).raise_for_status()
        self.pauses.clear()

    def fired(self) -> int:
        """How often calls have come that a rule befell."""
        rules = self.steer.get("/_nono/faults").raise_for_status().json()["rules"]
        return sum(rule["fired"] for rule in rules)


@pytest.fixture(scope="module", params=MODELS)
def beside(request: pytest.FixtureRequest) -> Iterator[Beside]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="nono-calls-", dir=memory if memory.is_dir() else None))
    with LocalServer(data=folder / "server", faults=[]) as server:
        url = {"openai": server.openai_base_url, "gemini": server.gemini_base_url}[request.param]
        provider = provider_named(request.param)
        task = Task("chat", MODELS[request.param])
        line = provider.request_line("q", task, provider.request_body(task, "[[nono:say yes]]"))
        (folder / "in.jsonl").write_bytes(jsonl.encode(line) + b"\n")
        send = Sender(provider.account(api_key="local", base_url=url), timeout_s=5.0)
        file = drive(provider.upload(folder / "in.jsonl", name="nono-input"), send)
        batch = drive(provider.create(file_id=file.id, task=task, tag="t"), send)
        while not batch.phase.ended:
            batch = drive(provider.get(batch.id), send)
        with httpx2.Client(base_url=server.url) as steer:
            yield Beside(steer, folder, provider, send, task, batch)
        send.close()
    shutil.rmtree(folder, ignore_errors=True)


# What goes out once, whatever comes back; and what may be asked again.
ONCE = ("create", "ask")
AGAIN = ("get", "list", "file", "content", "delete")
# What passes, and how long its hint asks to wait (None: as long as the policy likes).
PASSING: dict[str, tuple[dict[str, Any], float | None]] = {
    "a lost answer": ({"fault": "drop-answer"}, None),
    "a reset": ({"fault": "reset"}, None),
    "408": ({"fault": "refuse", "status": 408}, None),
    "409": ({"fault": "refuse", "status": 409}, None),
    "429": ({"fault": "rate-limit"}, None),
    "429, 7 seconds": ({"fault": "rate-limit", "retry_after": "7"}, 7.0),
    "429, half a second": ({"fault": "rate-limit", "retry_after": "0.5"}, 0.5),
    "429, none at all": ({"fault": "rate-limit", "retry_after": "0"}, 0.0),
    "429, a date": ({"fault": "rate-limit", "retry_after": "date:60"}, 55.0),
    "429, a date in the past": ({"fault": "rate-limit", "retry_after": "date:-60"}, 0.0),
    "429, below nothing": ({"fault": "rate-limit", "retry_after": "-5"}, None),
    "429, a word": ({"fault": "rate-limit", "retry_after": "soon"}, None),
    "429, no number": ({"fault": "rate-limit", "retry_after": "nan"}, None),
    "429, for ever": ({"fault": "rate-limit", "retry_after": "inf"}, None),
    "500": ({"fault": "refuse", "status": 500}, None),
    "502, a page": ({"fault": "html", "status": 502}, None),
    "503, 3 seconds": ({"fault": "refuse", "status": 503, "retry_after": "3"}, 3.0),
    "504": ({"fault": "refuse", "status": 504}, None),
    "529": ({"fault": "refuse", "status": 529}, None),
}
BEYOND_REASON = {"fault": "rate-limit", "retry_after": "1e9"}
UNREADABLE = {"fault": "garble"}


@pytest.mark.parametrize("trouble", [*PASSING, "beyond reason", "unreadable", "with effect", "a page that says 200"])
@pytest.mark.parametrize("call", ONCE)
def test_what_costs_money_is_sent_once_whatever_comes_back(call: str, trouble: str, beside: Beside) -> None:
    others = {
        "beyond reason": BEYOND_REASON,
        "unreadable": UNREADABLE,
        "with effect": {"fault": "refuse", "status": 500, "effect": True},
        "a page that says 200": {"fault": "html", "status": 200},
    }
    rule = others.get(trouble) or PASSING[trouble][0]
    beside.misbehave({**rule, "call": call})
    with pytest.raises(NonoError):
        beside.perform(getattr(beside, call)())
    assert (beside.fired(), beside.pauses) == (1, [])


@pytest.mark.parametrize("trouble", PASSING)
@pytest.mark.parametrize("call", AGAIN)
def test_what_may_be_asked_again_is_when_the_hint_says(call: str, trouble: str, beside: Beside) -> None:
    rule, hint_s = PASSING[trouble]
    beside.misbehave({**rule, "call": call, "times": 1})
    beside.perform(getattr(beside, call)())
    assert beside.fired() == 1
    (pause_s,) = beside.pauses
    # The first pause is drawn from nothing to half a second; a hint is kept where it is longer.
    assert (hint_s or 0.0) <= pause_s <= max((hint_s or 0.0) + 5.0, POLICY.first_s)


@pytest.mark.parametrize("rule", [{"fault": "reset"}, {"fault": "refuse", "status": 503}], ids=["reset", "503"])
@pytest.mark.parametrize("call", AGAIN)
def test_patience_has_bounds(call: str, rule: dict[str, Any], beside: Beside) -> None:
    beside.misbehave({**rule, "call": call})
    with pytest.raises(NonoError):
        beside.perform(getattr(beside, call)())
    assert (beside.fired(), len(beside.pauses)) == (POLICY.tries, POLICY.tries - 1)
    assert all(pause_s <= POLICY.first_s * 2**number for number, pause_s in enumerate(beside.pauses, start=1))


@pytest.mark.parametrize("call", AGAIN)
def test_a_hint_beyond_reason_is_the_callers_to_keep(call: str, beside: Beside) -> None:
    beside.misbehave({**BEYOND_REASON, "call": call})
    with pytest.raises(RateLimited) as caught:
        beside.perform(getattr(beside, call)())
    assert (beside.fired(), caught.value.retry_after_s) == (1, 1e9)


@pytest.mark.parametrize("call", ["upload", *AGAIN, *ONCE])
def test_an_answer_that_drips_is_waited_for(call: str, beside: Beside) -> None:
    beside.misbehave({"fault": "drip", "call": call, "bytes": 97, "seconds": 0.001})
    beside.perform(getattr(beside, call)())
    assert beside.fired() >= 1
    assert beside.pauses == []


def broken_off_anywhere(beside: Beside, *, length: bool) -> int:
    """Break a download off at many bytes; returns at how many."""
    beside.misbehave()
    (path,) = beside.perform(beside.content())
    whole = path.read_bytes()
    points = sorted({0, 1, len(whole) - 1, *(len(whole) * number // POINTS for number in range(POINTS))})
    for at in points:
        beside.misbehave({"fault": "truncate", "call": "content", "at": at, "length": length, "times": 1})
        (path,) = beside.perform(beside.content())
        assert path.read_bytes() == whole, f"at byte {at}"
        assert [one.name for one in path.parent.iterdir()] == [path.name], f"at byte {at}"
    return len(points)


def test_a_download_that_breaks_off_at_any_byte_is_whole_in_the_end(
    beside: Beside, figure: Callable[[str], None]
) -> None:
    points = broken_off_anywhere(beside, length=True)
    figure(f"downloads that broke off, {beside.provider.name}: 0 short in {points}")


# Gemini names no size: what looks whole there is counted by the run (`test_misbehaviour`).
@pytest.mark.parametrize("beside", ["openai"], indirect=True)
def test_a_download_that_looks_whole_is_held_against_the_size_of_its_file(
    beside: Beside, figure: Callable[[str], None]
) -> None:
    points = broken_off_anywhere(beside, length=False)
    figure(f"downloads that broke off without a length, {beside.provider.name}: 0 short in {points}")
