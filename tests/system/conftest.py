"""Folders in memory, where there is such a place: a history has some hundred fsyncs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="nono-system-", dir=where))
    yield path
    shutil.rmtree(path, ignore_errors=True)
