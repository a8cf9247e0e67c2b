"""What a batch left behind: its answers and its errors, for people who ask for them by the batch's id."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from nono import jsonl
from nono.errors import JobFailed, NotComplete
from nono.exchange import Flow, Work
from nono.files import target_path
from nono.model import Phase
from nono.providers.openai.answers import error_of
from nono.providers.openai.flows import download_file, empty_file, get_batch
from nono.providers.openai.wire import Batch

P = TypeVar("P", bound="str | os.PathLike[str]")
_SHOWN_ISSUES = 5


def results(batch_id: str) -> Flow[list[dict[str, Any]]]:
    """The lines of the output file, in its order, which is not that of the requests: match them by `custom_id`.

    Raises NotComplete before the batch has ended, JobFailed (with the reasons) if it failed validation, BadLine for a
    line that is not JSON. A batch that ended without a single success has none.
    """
    batch = yield from get_batch(batch_id)
    _refuse_unless_readable(batch)
    return [] if batch.output_file_id is None else (yield from _read(batch.output_file_id))


def save_results(batch_id: str, output_path: P) -> Flow[P]:
    """Stream the output file to `output_path` as it is, and return that path. Raises as `results` does."""
    path = target_path(output_path)
    batch = yield from get_batch(batch_id)
    _refuse_unless_readable(batch)
    if batch.output_file_id is None:
        yield from empty_file(path)
    else:
        yield from download_file(batch.output_file_id, path)
    return output_path


def errors(batch_id: str) -> Flow[list[dict[str, Any]]]:
    """Every error that is known, as lines like those of the error file, each with `error` filled.

    For a batch that failed validation these are its own errors, with `custom_id` None and `error["line"]` counting from
    1. Empty if there are none, or none yet.
    """
    batch = yield from get_batch(batch_id)
    lines = [] if batch.error_file_id is None else (yield from _read(batch.error_file_id))
    return [*map(_with_error, lines), *_own_errors(batch)]


def save_errors(batch_id: str, output_path: P) -> Flow[P]:
    """Write what `errors` gives to `output_path`, one JSON object a line, and return that path."""
    path = target_path(output_path)
    lines = yield from errors(batch_id)
    yield Work(jsonl.write_values, (path, lines))
    return output_path


def _refuse_unless_readable(batch: Batch) -> None:
    if batch.phase is Phase.FAILED and batch.output_file_id is None:
        shown = "; ".join(map(str, batch.errors[:_SHOWN_ISSUES])) or "the provider gives no reason"
        more = len(batch.errors) - _SHOWN_ISSUES
        raise JobFailed(
            f"batch {batch.id} failed: {shown}{f' (and {more} more)' if more > 0 else ''}",
            batch_id=batch.id,
            state=batch.status,
            details=batch.raw.get("errors"),
            hint="nothing ran and nothing is billed; get_errors() lists every reason with its line",
        )
    # A state never heard of is not the end; but who asks for answers that are named there gets them.
    if not batch.ended and not (batch.phase is Phase.UNKNOWN and batch.output_file_id):
        raise NotComplete(
            f"batch {batch.id} has not ended: it is {batch.status or 'in an unnamed state'}",
            batch_id=batch.id,
            state=batch.status,
            hint="wait_for_completion() returns when it has",
        )


def _read(file_id: str) -> Flow[list[dict[str, Any]]]:
    with tempfile.TemporaryDirectory(prefix="nono-") as folder:
        path = yield from download_file(file_id, Path(folder) / "answers.jsonl", mark=False)
        lines: list[dict[str, Any]] = yield Work(_decode, (path, file_id))
    return lines


def _decode(path: Path, file_id: str) -> list[dict[str, Any]]:
    hint = "with output_path= the file is saved as it is, with its other lines"
    return list(jsonl.read_values(path, called=file_id, hint=hint))


def _with_error(line: Any) -> dict[str, Any]:
    if not isinstance(line, dict):
        return {"custom_id": None, "response": None, "error": {"code": "unreadable_line", "message": str(line)}}
    return {"custom_id": None, **line, "error": error_of(line) or line.get("error")}


def _own_errors(batch: Batch) -> list[dict[str, Any]]:
    return [
        {
            "id": None,
            "custom_id": None,
            "response": None,
            "error": {"code": issue.code, "message": issue.message, "param": issue.param, "line": issue.line},
        }
        for issue in batch.errors
    ]
