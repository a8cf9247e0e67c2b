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
