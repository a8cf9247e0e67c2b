"""Services that speak OpenAI's Batch API with an accent: what each sends is read, what each takes is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nono.connector.genai_batch_processing import OpenAIBatchService
from nono.errors import LimitError
from nono.model import Counts, Outcome, Phase
from nono.providers import provider_named
from nono.providers.openai import wire
from nono.providers.openai.compatible import check_window, facts_for

SAMPLES = Path(__file__).parent.parent / "samples" / "openai"


@dataclass(frozen=True)
class Service:
    """One service: its address, a batch as it sends it, and what that means."""

    base_url: str
    batch: dict[str, Any]
    phase: Phase
    created_at: int | None
    answer_files: tuple[str, ...] = ()
    counts: Counts | None = None
    errors: tuple[str, ...] = ()
    windows: tuple[str, ...] = ("24h",)
    refused_windows: tuple[str, ...] = ()
    most_bytes: int = 209_715_200
    most_requests: int = 50_000
    lines: tuple[str, ...] = field(default=())


SERVICES = {
    "azure": Service(
        base_url="https://res.openai.azure.com/openai/v1",
        batch={
            "id": "batch_1",
            "status": "completed",
            "created_at": "2026-11-22T02:00:00Z",
            "output_file_id": "file-o",
            "error_file_id": "file-e",
            "request_counts": {"total": None, "completed": None, "failed": None},
        },
        phase=Phase.SUCCEEDED,
        created_at=1795312800,
        answer_files=("file-o", "file-e"),
        counts=Counts(0, 0, 0),
        most_requests=100_000,
    ),
    "groq": Service(
        base_url="https://api.groq.com/openai/v1",
        batch={"id": "batch_01jh", "status": "in_progress", "created_at": 1736472600, "errors": None},
        phase=Phase.RUNNING,
        created_at=1736472600,
        windows=("24h", "7d", "168h"),
        refused_windows=("12h", "8d"),
        lines=("groq_chat_ok_2025-03.jsonl", "groq_error_400.jsonl"),
    ),
    "dashscope": Service(
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        batch={"id": "batch_x", "status": "finalizing", "created_at": 1736472600, "errors": [], "output_file_id": None},
        phase=Phase.RUNNING,
        created_at=1736472600,
        windows=("24h", "336h", "14d"),
        refused_windows=("1h", "15d"),
        most_bytes=524_288_000,
        lines=("dashscope_ok.jsonl",),
    ),
    "moonshot": Service(
        base_url="https://api.moonshot.ai/v1",
        batch={"id": "batch_k", "status": "completed", "created_at": 1736472600, "output_file_id": "f"},
        phase=Phase.SUCCEEDED,
        created_at=1736472600,
        answer_files=("f",),
        windows=("12h", "1d", "3d", "7d"),
        refused_windows=("11h", "8d"),
    ),
    "siliconflow": Service(
        base_url="https://api.siliconflow.cn/v1",
        batch={"id": "batch_s", "status": "in_queue", "created_at": 1736472600},
        phase=Phase.PENDING,
        created_at=1736472600,
        windows=("24h", "336h"),
        refused_windows=("23h", "337h"),
    ),
    "novita": Service(
        base_url="https://api.novita.ai/openai/v1",
        batch={"id": "batch_n", "status": "PROGRESS", "created_at": "2025-01-10T01:30:00+00:00", "errors": "one row"},
        phase=Phase.RUNNING,
        created_at=1736472600,
        errors=("one row",),
    ),
    "zhipu": Service(
        base_url="https://open.bigmodel.cn/api/paas/v4",
        batch={
            "id": "batch_z",
            "status": "completed",
            "created_at": 1736472600,
            "output_file_id": "file-o",
            "error_file_id": "",
            "request_counts": None,
        },
        phase=Phase.SUCCEEDED,
        created_at=1736472600,
        answer_files=("file-o",),
        most_bytes=104_857_600,
        lines=("zhipu_ok.jsonl",),
    ),
    "doubleword": Service(
        base_url="https://api.doubleword.ai/v1",
        batch={"id": "batch_d", "status": "in_progress", "created_at": None, "output_file_id": "file-partial"},
        phase=Phase.RUNNING,
        created_at=None,
        answer_files=("file-partial",),
        windows=("1h", "24h"),
    ),
}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    return SERVICES[request.param]


def test_its_batches_are_read(service: Service) -> None:
    batch = wire.parse_batch(service.batch)
    remote = wire.remote_batch(batch)
    assert (remote.phase, batch.created_at, remote.answer_files, remote.counts) == (
        service.phase,
        service.created_at,
        service.answer_files,
        service.counts,
    )
    assert tuple(error.message for error in remote.errors) == service.errors


def test_its_lines_are_read(service: Service) -> None:
    for name in service.lines:
        for line in (SAMPLES / name).read_bytes().splitlines():
            result = provider_named("openai").decode(line)
            assert result.custom_id
            assert result.outcome is (Outcome.ERRORED if "error" in name else Outcome.SUCCEEDED)


def test_its_limits_are_its_own(service: Service) -> None:
    facts = facts_for(service.base_url)
    assert facts.number("limits.file_bytes") == service.most_bytes
    assert facts.number("limits.requests_per_file") == service.most_requests


def test_its_windows_are_its_own(service: Service) -> None:
    facts = facts_for(service.base_url)
    for window in service.windows:
        check_window(window, facts)
    for window in service.refused_windows:
        with pytest.raises(LimitError, match=f"a completion window of {window}"):
            check_window(window, facts)


def test_an_unknown_service_has_openais_limits() -> None:
    assert facts_for("http://127.0.0.1:8000/v1").number("limits.requests_per_file") == 50_000
    assert facts_for("https://not-api.groq.com.example.com/v1") == facts_for("https://api.openai.com/v1")


def test_a_window_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with (
        OpenAIBatchService("k", base_url="https://api.groq.com/openai/v1") as groq,
        pytest.raises(LimitError, match="24h to 168h"),
    ):
        groq.create_batch(input_file_id="file-1", completion_window="30d")
