"""What every test can have: an environment without keys, a local server, the official SDKs pointed at it, and
figures that are told together at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from google.genai import Client

    from nono.server.app import LocalServer
    from openai import OpenAI


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: a third of the time, tests wait for a disk or a server."""
    return (os.cpu_count() or 1) + 1


# Whatever a developer's shell says about providers must not decide what a test sees.
PROVIDER_VARIABLES = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "OPENAI_WEBHOOK_SECRET",
    "OPENAI_CUSTOM_HEADERS",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_GENAI_API_VERSION",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_GENAI_USE_ENTERPRISE",
    "GOOGLE_GENAI_HTTP_CLIENT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_VERTEX_BASE_URL",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "STORAGE_EMULATOR_HOST",
    "AZURE_OPENAI_API_KEY",
    "GROQ_API_KEY",
    "DASHSCOPE_API_KEY",
    "MOONSHOT_API_KEY",
    "DOUBLEWORD_API_KEY",
    "SILICONFLOW_API_KEY",
    "NOVITA_API_KEY",
    "ZHIPUAI_API_KEY",
    "NONO_HOME",
    "NONO_SERVER_KEY",
    "NONO_VERTEX_BUCKET",
    "NONO_WEBHOOK_SECRET",
)


@pytest.fixture(autouse=True)
def no_provider_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROVIDER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    """A local server with the simulated model, on a free port, with a folder of its own."""
    from nono.server.app import LocalServer

    with LocalServer(data=tmp_path / "server") as running:
        yield running


@pytest.fixture
def openai_sdk(server: LocalServer) -> Iterator[OpenAI]:
    """The official SDK, unmodified; it repeats nothing by itself."""
    from openai import OpenAI

    with OpenAI(base_url=server.openai_base_url, api_key="local", max_retries=0) as client:
        yield client


@pytest.fixture
def google_sdk(server: LocalServer) -> Iterator[Client]:
    """The official SDK, unmodified."""
    from google.genai import Client
    from google.genai.types import HttpOptions

    with Client(api_key="local", http_options=HttpOptions(base_url=server.gemini_base_url)) as client:
        yield client


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Tell a figure; all are printed at the end, also by many processes."""
    return lambda line: record_property("figure", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "figure" and report.when == "call"
    ]
    if lines:
        terminalreporter.section("figures (0 in N: below 3/N at 95 %)")
        for line in sorted(lines):
            terminalreporter.write_line(line)
