"""What was measured on: processors, memory, Python and the versions that matter; never a name of the machine."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("nono-batch", "httpx2", "msgspec", "pyarrow", "orjson", "openai", "google-genai")


def describe() -> str:
    """The machine, how busy it was, and the software."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = _found(r"model name\s*:\s*(.+)", "/proc/cpuinfo") or platform.machine()
    memory = _found(r"MemTotal:\s+(\d+)", "/proc/meminfo")
    memory_gb = f", {int(memory) / (1 << 20):.0f} GB of memory" if memory else ""
    python = f"Python {platform.python_version()}, SQLite {_sqlite()}"
    load = f"; on average {os.getloadavg()[2]:.1f} processes wanted to run in the last 15 minutes, these included"
    return f"{cores} cores ({processor}){memory_gb}, {platform.system()}{load}. {python}; {', '.join(_versions())}"


def _found(pattern: str, path: str) -> str | None:
    file = Path(path)
    found = re.search(pattern, file.read_text()) if file.exists() else None
    return found[1].strip() if found else None


def _sqlite() -> str:
    import sqlite3

    return sqlite3.sqlite_version


def _versions() -> list[str]:
    named = []
    for package in PACKAGES:
        try:
            named.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return named
