"""Doubles of the service for the tests of OpenAI's half."""

from __future__ import annotations

from collections.abc import Iterator

import openai_double
import pytest


@pytest.fixture
def service() -> Iterator[openai_double.Double]:
    """A recording loopback server that says what the test writes down."""
    with openai_double.double() as it:
        yield it


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
