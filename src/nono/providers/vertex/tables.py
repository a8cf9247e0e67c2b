"""Answers that a job has put into BigQuery, read through Google's own client (the extra [bigquery])."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from nono import jsonl
from nono.errors import Forbidden, MissingExtra, NotFound, ProviderError
from nono.files import whole_file
from nono.providers.vertex.account import Place

# Columns that hold JSON, as a text or as BigQuery's own JSON.
# https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-from-bigquery
_JSON_COLUMNS = ("request", "response")
_CLASSES: dict[int, type[ProviderError]] = {403: Forbidden, 404: NotFound}


def save_rows(uri: str, path: Path, place: Place, client: Any = None) -> int:
    """Write a table's rows to `path`, one JSON object a line in the shape of the answers in Cloud Storage.

    Returns how many there were. Raises MissingExtra, NotFound, Forbidden, ProviderError.
    """
    try:
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud import bigquery
    except ImportError as error:
        raise MissingExtra("answers in BigQuery", "bigquery") from error
    client = client or bigquery.Client(project=place.project, credentials=place.credentials)
    count = 0
    try:
        with whole_file(path) as file:
            for row in client.list_rows(client.get_table(uri.removeprefix("bq://"))):
                file.write(jsonl.encode(line_of(dict(row.items()))) + b"\n")
                count += 1
    except GoogleAPICallError as error:
        status = int(error.code or 500)
        raise _CLASSES.get(status, ProviderError)(
            f"reading {uri}: {error.message} (HTTP {status})",
            provider="vertex",
            status=status,
            hint="the account needs the role BigQuery Data Viewer on the table",
        ) from error
    return count


def line_of(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a line: what is JSON becomes a value, times become texts, and empty columns are left out."""
    line = {}
    for name, value in row.items():
        if isinstance(value, str) and name in _JSON_COLUMNS:
            with suppress(msgspec.MsgspecError):
                value = msgspec.json.decode(value)
        elif hasattr(value, "isoformat"):
            value = value.isoformat()
        if value is not None:
            line[name] = value
    return line
