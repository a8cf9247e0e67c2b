"""Real weights for the tests that need them, pulled once, whoever comes first; and small ones, made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_weights import SMALL, make_wheel

from nono import models
from nono.models import Weights
from nono.server.models.embedded import EmbeddedModel
from nono.server.models.embedding import EmbeddingModel


@pytest.fixture(scope="session")
def chat() -> Iterator[EmbeddedModel]:
    """The embedded chat model; one process for all tests of a worker."""
    models.pull("smollm2-135m-instruct")
    model = EmbeddedModel("smollm2-135m-instruct", threads=1, slots=2, context=1024)
    yield model
    model.close()


@pytest.fixture(scope="session")
def embedder() -> Iterator[EmbeddingModel]:
    models.pull("all-minilm-l6-v2")
    model = EmbeddingModel("all-minilm-l6-v2")
    yield model
    model.close()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels in the place of the package index, set up as a user without a network would do it."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def small(index: Path) -> Weights:
    """Weights of some bytes, inside a wheel of that index."""
    return make_wheel(index, SMALL)
