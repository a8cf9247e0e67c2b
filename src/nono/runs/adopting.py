"""Read an input file that somebody else made: ids, bodies, endpoint, by the shape of the provider's own lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nono.errors import InputError
from nono.jsonl import BadLine, decode, read_lines
from nono.providers import Provider, Task


def requests_of(path: Path, provider: Provider, task: Task) -> tuple[list[dict[str, Any]], str]:
    """The requests of an input file as rows (`custom_id`, `body`), and their endpoint.

    Raises InputError, naming the line, for one that is not a request line of the provider.
    """
    chat = replace(task, kind="chat", endpoint=None)
    probe = replace(chat, endpoint=provider.endpoint_for(chat))
    # Any line of the provider's shows the shape of them all.
    shape = provider.request_line("some id", probe, provider.request_body(probe, "some text"))
    id_key = provider.id_key
    body_key = next(key for key, value in shape.items() if isinstance(value, dict))
    endpoint_key = next((key for key, value in shape.items() if value == probe.endpoint), None)
    rows: list[dict[str, Any]] = []
    endpoints: set[str] = set()
    for number, line in read_lines(path):
        try:
            request = decode(line)
        except BadLine as error:
            raise InputError(f"{path}:{number}: {error.message}") from error
        if not isinstance(request, dict) or not isinstance(request.get(body_key), dict) or id_key not in request:
            raise InputError(
                f"{path}:{number}: not a request line", hint=f"a line has at least {id_key!r} and {body_key!r}"
            )
        rows.append({"custom_id": str(request[id_key]).removeprefix(provider.id_mark), "body": request[body_key]})
        if endpoint_key is not None:
            endpoints.add(str(request.get(endpoint_key)))
    if not rows:
        raise InputError(f"{path}: has no request lines")
    if len(endpoints) > 1:
        raise InputError(f"{path}: has several endpoints: {', '.join(sorted(endpoints))}")
    assert probe.endpoint is not None
    return rows, next(iter(endpoints), probe.endpoint)
