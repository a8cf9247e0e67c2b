"""Doubles of the service for the tests of Gemini's half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gemini_double
import pytest

from nono.connector.genai_batch_processing import GeminiBatchService


@pytest.fixture
def gemini() -> Iterator[gemini_double.GeminiDouble]:
    """A recording loopback server."""
    with gemini_double.double() as it:
        yield it


@pytest.fixture
def service(gemini: gemini_double.GeminiDouble) -> Iterator[GeminiBatchService]:
    with GeminiBatchService(api_key="k", base_url=gemini.base_url) as it:
        yield it


@pytest.fixture
def samples() -> Path:
    return Path(__file__).parent.parent / "samples" / "gemini"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_GENAI_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
