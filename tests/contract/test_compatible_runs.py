"""Runs at services that speak OpenAI's Batch API with an accent: whatever they write, every row has its outcome.

The local server answers; between it and the run stands the accent, which is made of what the services document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import nono
from nono.errors import InputError, LimitError, MissingKey, SettingsError
from nono.exchange import Account, Call, FileSlice, Reply, Send
from nono.providers import Task, provider_named
from nono.runs.bench import Settings
from nono.runs.run import Run
from nono.runs.workspace import Workspace
from nono.server.app import LocalServer
from nono.transport import Sender
from patience import PATIENT_S

EAGER = Settings(poll_first_s=0.01, poll_cap_s=0.05, reconcile_s=0.05, fence_s=0.1, workers=1)
NO_FILE = "file-empty"
Batch = dict[str, Any]


def iso(seconds: Any) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def azure(batch: Batch) -> Batch:
    """Null counters, ISO dates, an error file in any case (perhaps of 0 bytes)."""
    done = batch["status"] == "completed"
    return batch | {
        "created_at": iso(batch["created_at"]),
        "request_counts": {"total": None, "completed": None, "failed": None},
        "error_file_id": batch["error_file_id"] or (NO_FILE if done else None),
    }


def dashscope(batch: Batch) -> Batch:
    return batch | {"errors": []}


def moonshot(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if name != "errors"}


def siliconflow(batch: Batch) -> Batch:
    return batch | {"status": "in_queue" if batch["status"] == "validating" else batch["status"]}


def novita(batch: Batch) -> Batch:
    """Upper case, `PROGRESS`, ISO dates, `errors` a text."""
    status = "PROGRESS" if batch["status"] == "in_progress" else batch["status"].upper()
    return batch | {"status": status, "created_at": iso(batch["created_at"]), "errors": ""}


def zhipu(batch: Batch) -> Batch:
    return batch | {"request_counts": None, "error_file_id": batch["error_file_id"] or ""}


def doubleword(batch: Batch) -> Batch:
    """Partial results can be read while the batch runs, so their file is named then."""
    partial = {"output_file_id": "file-partial"} if batch["status"] in ("in_progress", "finalizing") else {}
    return batch | {"created_at": None} | partial


@dataclass(frozen=True)
class Accent:
    """How a service writes: its address, its batches, its lists, and the version in front of its endpoints."""

    base_url: str
    batch: Callable[[Batch], Batch] = dict
    list_fields: tuple[str, ...] = ("object", "data", "has_more", "first_id", "last_id")
    version: str = "/v1"
    metadata: bool = True


ACCENTS = {
    "azure": Accent("https://res.openai.azure.com", azure),
    "groq": Accent("https://api.groq.com/openai/v1", list_fields=("object", "data")),
    "dashscope": Accent("https://dashscope.aliyuncs.com/compatible-mode/v1", dashscope),
    "moonshot": Accent("https://api.moonshot.ai/v1", moonshot, list_fields=("object", "data", "has_more")),
    "doubleword": Accent("https://api.doubleword.ai/v1", doubleword),
    "siliconflow": Accent("https://api.siliconflow.cn/v1", siliconflow),
    "novita": Accent("https://api.novita.ai/openai/v1", novita, metadata=False),
    "zhipu": Accent("https://open.bigmodel.cn/api/paas/v4", zhipu, version="/v4"),
}


class Accented:
    """A sender that stands between a run and the local server."""

    def __init__(self, accent: Accent, send: Send) -> None:
        self.accent, self.send = accent, send
        self.created: list[dict[str, Any]] = []
        self.urls: set[str] = set()

    def __call__(self, call: Call) -> Reply:
        if NO_FILE in call.path:
            about = b"" if call.path.endswith("/content") else json.dumps({"id": NO_FILE, "bytes": 0}).encode()
            if call.save_to is not None:
                call.save_to.write_bytes(b"")
            return Reply(204 if call.method == "DELETE" else 200, {"content-length": str(len(about))}, about)
        if call.path == "/files" and call.method == "POST":
            call = replace(call, content=tuple(map(self._translated, call.content or ())))
        if call.path == "/batches" and call.method == "POST":
            self.created.append(call.json)
            endpoint = call.json["endpoint"].replace(self.accent.version, "/v1", 1)
            call = replace(call, json=call.json | {"endpoint": endpoint, "completion_window": "24h"})
        reply = self.send(call)
        if reply.ok and call.path.startswith("/batches"):
            return replace(reply, body=json.dumps(self._accented(reply.json())).encode())
        return reply

    def _translated(self, piece: bytes | FileSlice) -> bytes:
        if isinstance(piece, bytes):
            return piece
        lines = [json.loads(line) for line in piece.path.read_bytes().splitlines()]
        self.urls |= {line["url"] for line in lines}
        ours = [line | {"url": line["url"].replace(self.accent.version, "/v1", 1)} for line in lines]
        return b"".join(json.dumps(line).encode() + b"\n" for line in ours)

    def _accented(self, body: Any) -> Any:
        if "data" in body:
            kept = {name: body[name] for name in self.accent.list_fields}
            return kept | {"data": list(map(self._accented, body["data"]))}
        forgotten = {} if self.accent.metadata else {"metadata": None}
        return self.accent.batch(body) | forgotten


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with LocalServer(data=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(params=ACCENTS)
def accent(request: pytest.FixtureRequest) -> Accent:
    return ACCENTS[request.param]


def start(accent: Accent, server: LocalServer, home: Path, **words: Any) -> tuple[Run, Accented]:
    rows = [{"text": f"[[nono:say {number}]]"} for number in range(3)] + [{"text": "[[nono:error 400]]"}]
    run = nono.run(
        rows,
        prompt="{{ text }}",
        model="openai/gpt-4o-mini",
        home=home,
        api_key="key",
        base_url=accent.base_url,
        settings=EAGER,
        **words,
    )
    local = Accented(accent, Sender(provider_named("openai").account(api_key="local", base_url=server.openai_base_url)))
    return Run(Workspace(home), run.id, api_key="key", send=local), local


def test_every_row_has_its_outcome_whatever_the_accent(accent: Accent, server: LocalServer, tmp_path: Path) -> None:
    run, sent = start(accent, server, tmp_path)
    assert run.wait(timeout_s=PATIENT_S).state == "finished"
    assert [row["answer"] for row in run.results()] == ["0", "1", "2", None]
    assert [row["outcome"] for row in run.results()] == ["succeeded"] * 3 + ["errored"]
    assert len(sent.created) == 1


def test_endpoints_are_spelled_as_the_service_spells_them(accent: Accent, server: LocalServer, tmp_path: Path) -> None:
    run, sent = start(accent, server, tmp_path)
    run.wait(timeout_s=PATIENT_S)
    spelled = f"{accent.version}/chat/completions"
    assert (sent.urls, sent.created[0]["endpoint"]) == ({spelled}, spelled)


def test_azure_also_takes_endpoints_without_a_version(server: LocalServer, tmp_path: Path) -> None:
    line = (
        provider_named("openai")
        .at("https://res.openai.azure.com")
        .request_line(
            "a", Task("chat", "a-deployment", endpoint="/chat/completions"), {"model": "a-deployment", "messages": []}
        )
    )
    assert (line["url"], line["body"]["model"]) == ("/chat/completions", "a-deployment")


def test_a_window_of_the_service_travels_with_the_batch(server: LocalServer, tmp_path: Path) -> None:
    run, sent = start(ACCENTS["groq"], server, tmp_path, options={"completion_window": "7d"})
    assert run.wait(timeout_s=PATIENT_S).succeeded == 3
    assert sent.created[0]["completion_window"] == "7d"


def test_a_window_that_the_service_does_not_offer_is_refused_before_anything_is_sent(
    server: LocalServer, tmp_path: Path
) -> None:
    with pytest.raises(LimitError, match="takes 12h to 168h"):
        start(ACCENTS["moonshot"], server, tmp_path, options={"completion_window": "30d"})


def test_the_files_of_a_run_are_as_large_as_the_service_takes() -> None:
    rows = [{"text": "x"}] * 50_001
    planned = [
        nono.plan(rows, prompt="{{ text }}", model="openai/m", base_url=url, rows_per_part=60_000).plan
        for url in ("https://res.openai.azure.com", "https://api.openai.com/v1")
    ]
    assert [len(plan.parts) for plan in planned] == [1, 2]


@pytest.mark.parametrize(
    ("base_url", "task"),
    [
        ("https://api.moonshot.ai/v1", Task("embedding", "m")),
        ("https://api.siliconflow.cn/v1", Task("moderation", "m")),
        ("https://res.openai.azure.com", Task("embedding", "m")),
        ("https://api.groq.com/openai/v1", Task("chat", "m", endpoint="/v1/responses")),
    ],
)
def test_an_endpoint_that_the_service_does_not_take_is_refused_with_those_it_takes(base_url: str, task: Task) -> None:
    with pytest.raises(InputError, match="do not take") as caught:
        provider_named("openai").at(base_url).endpoint_for(task)
    assert "chat/completions" in str(caught.value.hint)


# ── accounts ──


def account(base_url: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Account:
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "GROQ_API_KEY", "OPENAI_API_VERSION", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return provider_named("openai").at(base_url).account(base_url=base_url)


def test_azure_has_its_own_header_its_own_variable_and_the_path_of_its_api(monkeypatch: pytest.MonkeyPatch) -> None:
    found = account("https://res.openai.azure.com/", monkeypatch, AZURE_OPENAI_API_KEY="a", OPENAI_API_KEY="o")
    assert (found.key_header, found.key_prefix, found.key and found.key.reveal()) == ("api-key", "", "a")
    assert found.base_url == "https://res.openai.azure.com/openai/v1"


def test_azures_older_address_wants_a_version_in_every_query(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="wants a version") as caught:
        account("https://res.openai.azure.com/openai", monkeypatch, AZURE_OPENAI_API_KEY="a")
    assert "/openai/v1" in str(caught.value.hint)
    dated = account(
        "https://res.openai.azure.com/openai", monkeypatch, AZURE_OPENAI_API_KEY="a", OPENAI_API_VERSION="2024-10-21"
    )
    assert dated.params == {"api-version": "2024-10-21"}


def test_a_services_own_key_comes_before_openais(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://api.groq.com/openai/v1"
    found = account(url, monkeypatch, GROQ_API_KEY="g", OPENAI_API_KEY="o")
    assert (found.key_header, found.key and found.key.reveal()) == ("authorization", "g")
    assert (account(url, monkeypatch, OPENAI_API_KEY="o").key or "") == found.key.__class__("o")  # type: ignore[misc]


def test_a_missing_key_is_told_with_the_services_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingKey, match="no API key for Groq") as caught:
        account("https://api.groq.com/openai/v1", monkeypatch)
    assert "GROQ_API_KEY" in str(caught.value.hint)
