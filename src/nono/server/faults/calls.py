"""Which call of which protocol an HTTP request is, in words that both share: `create`, `list`, `content` …"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# What rules can name; `other` is everything that has no name of its own.
CALLS = (
    "upload",
    "file",
    "files",
    "content",
    "delete",
    "create",
    "list",
    "get",
    "cancel",
    "delete-batch",
    "ask",
    "other",
)

_GEMINI = r"(?:/gemini)?(?:/(?:v1|v1beta|v1alpha))?"
_JOBS = r"/v1(?:beta1)?(?:/projects/[^/]+/locations/[^/]+)?/batchPredictionJobs"
_OBJECT = r"/storage/v1/b/[^/]+/o"

# Method, path and name; the first that fits is it. `file` and `batch` are the ids in a path.
_TABLE: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "openai": (
        ("POST", r"/v1/files", "upload"),
        ("POST", r"/v1/uploads(?:/.*)?", "upload"),
        ("GET", r"/v1/files", "files"),
        ("GET", r"/v1/files/(?P<file>[^/]+)", "file"),
        ("DELETE", r"/v1/files/(?P<file>[^/]+)", "delete"),
        ("GET", r"/v1/files/(?P<file>[^/]+)/content", "content"),
        ("POST", r"/v1/batches", "create"),
        ("GET", r"/v1/batches", "list"),
        ("GET", r"/v1/batches/(?P<batch>[^/]+)", "get"),
        ("POST", r"/v1/batches/(?P<batch>[^/]+)/cancel", "cancel"),
        ("POST", r"/v1/(?!fine_tuning).+", "ask"),
    ),
    "gemini": (
        ("POST|PUT", r"(?:/gemini)?/upload/.*", "upload"),
        ("GET", rf"(?:/gemini)?(?:/download)?{_GEMINI}/files/(?P<file>[^/:]+):download", "content"),
        ("GET", rf"{_GEMINI}/files", "files"),
        ("GET", rf"{_GEMINI}/files/(?P<file>[^/:]+)", "file"),
        ("DELETE", rf"{_GEMINI}/files/(?P<file>[^/:]+)", "delete"),
        ("POST", rf"{_GEMINI}/\w+/[^/:]+:(?:batchGenerateContent|asyncBatchEmbedContent)", "create"),
        ("GET", rf"{_GEMINI}/batches", "list"),
        ("GET", rf"{_GEMINI}/batches/(?P<batch>[^/:]+)", "get"),
        ("POST", rf"{_GEMINI}/batches/(?P<batch>[^/:]+):cancel", "cancel"),
        ("DELETE", rf"{_GEMINI}/batches/(?P<batch>[^/:]+)", "delete-batch"),
        ("POST", rf"{_GEMINI}/\w+/[^/:]+:\w+", "ask"),
    ),
    "vertex": (
        ("POST", rf"/upload{_OBJECT}", "upload"),
        ("GET", rf"/download{_OBJECT}/(?P<file>.+)", "content"),
        ("GET", _OBJECT, "files"),
        ("GET", rf"{_OBJECT}/(?P<file>.+)", "file"),
        ("DELETE", rf"{_OBJECT}/(?P<file>.+)", "delete"),
        ("POST", _JOBS, "create"),
        ("GET", _JOBS, "list"),
        ("GET", rf"{_JOBS}/(?P<batch>[^/:]+)", "get"),
        ("POST", rf"{_JOBS}/(?P<batch>[^/:]+):cancel", "cancel"),
        ("DELETE", rf"{_JOBS}/(?P<batch>[^/:]+)", "delete-batch"),
        ("POST", r".*/models/[^/:]+:\w+", "ask"),
    ),
}
PROVIDERS = tuple(_TABLE)
_COMPILED = {
    provider: [(re.compile(method), re.compile(path), name) for method, path, name in rows]
    for provider, rows in _TABLE.items()
}


@dataclass(frozen=True, slots=True)
class Named:
    """A call by its name, with the ids in its path ("file", "batch")."""

    name: str
    ids: Mapping[str, str]


def name_call(provider: str, method: str, path: str) -> Named:
    for methods, paths, name in _COMPILED.get(provider, ()):
        if methods.fullmatch(method) and (found := paths.fullmatch(path.rstrip("/") or "/")):
            return Named(name, {key: value for key, value in found.groupdict().items() if value})
    return Named("other", {})
