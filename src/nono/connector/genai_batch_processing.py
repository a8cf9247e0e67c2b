"""The documented import path of the service classes; each is loaded when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nono.connector.gemini_async import AsyncGeminiBatchService
    from nono.connector.gemini_service import GeminiBatchService
    from nono.connector.openai_async import AsyncOpenAIBatchService
    from nono.connector.openai_service import OpenAIBatchService

__all__ = ["AsyncGeminiBatchService", "AsyncOpenAIBatchService", "GeminiBatchService", "OpenAIBatchService"]

_HOMES = {
    "AsyncGeminiBatchService": "nono.connector.gemini_async",
    "AsyncOpenAIBatchService": "nono.connector.openai_async",
    "GeminiBatchService": "nono.connector.gemini_service",
    "OpenAIBatchService": "nono.connector.openai_service",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
