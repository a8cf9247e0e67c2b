"""nono: large volumes of LLM requests through the providers' Batch APIs, at half the price.

A data set in, one outcome per row out, through any crash:

    import nono

    run = nono.run("reviews.csv", prompt="Sentiment of: {{ text }}", model="openai/gpt-4o-mini")
    run.wait(progress=print)
    run.export("answers.csv")

The Batch APIs themselves, one method a call:

    from nono.connector.genai_batch_processing import GeminiBatchService, OpenAIBatchService

Without a key: `nono serve` is a batch server on your own machine that speaks both protocols.
Every name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Public name → where it lives, in reading order.
_PUBLIC = {
    "run": "nono.runs.starting",
    "plan": "nono.runs.preview",
    "open_run": "nono.runs.starting",
    "adopt": "nono.runs.starting",
    "PlanReport": "nono.runs.preview",
    "Run": "nono.runs.run",
    "RunStatus": "nono.runs.status",
    "Results": "nono.runs.results",
    "Settings": "nono.runs.bench",
    "FinishSync": "nono.runs.bench",
    "Event": "nono.runs.events",
    "Request": "nono.model",
    "Result": "nono.model",
    "Outcome": "nono.model",
    "Phase": "nono.model",
    "OpenAIBatchService": "nono.connector.genai_batch_processing",
    "GeminiBatchService": "nono.connector.genai_batch_processing",
    "AsyncOpenAIBatchService": "nono.connector.genai_batch_processing",
    "AsyncGeminiBatchService": "nono.connector.genai_batch_processing",
    "NonoError": "nono.errors",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from nono.connector.genai_batch_processing import AsyncGeminiBatchService as AsyncGeminiBatchService
    from nono.connector.genai_batch_processing import AsyncOpenAIBatchService as AsyncOpenAIBatchService
    from nono.connector.genai_batch_processing import GeminiBatchService as GeminiBatchService
    from nono.connector.genai_batch_processing import OpenAIBatchService as OpenAIBatchService
    from nono.errors import NonoError as NonoError
    from nono.model import Outcome as Outcome
    from nono.model import Phase as Phase
    from nono.model import Request as Request
    from nono.model import Result as Result
    from nono.runs.bench import FinishSync as FinishSync
    from nono.runs.bench import Settings as Settings
    from nono.runs.events import Event as Event
    from nono.runs.preview import PlanReport as PlanReport
    from nono.runs.preview import plan as plan
    from nono.runs.results import Results as Results
    from nono.runs.run import Run as Run
    from nono.runs.starting import adopt as adopt
    from nono.runs.starting import open_run as open_run
    from nono.runs.starting import run as run
    from nono.runs.status import RunStatus as RunStatus


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'nono' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
