"""Our requests equal the unmodified official SDK's, call by call; each meant difference stands here with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai_double import Double, Says, Seen, answer_line, batch, file, lines

import openai
from nono.connector.genai_batch_processing import OpenAIBatchService
from nono.exchange import drive
from nono.providers.openai import flows
from nono.providers.openai.account import account_from_settings
from nono.transport import Sender

KEY = "sk-test"
OUTPUT = lines(answer_line("q-1"))


@dataclass(frozen=True)
class Pair:
    """One thing, asked for through the SDK and through ours. `extra` are calls that only we make, with the reason."""

    sdk: Callable[[openai.OpenAI, Path], Any]
    ours: Callable[[OpenAIBatchService, Path], Any]
    extra: tuple[tuple[str, str], ...] = ()
    why: str = ""


def flow(make: Callable[[Path], Any]) -> Callable[[OpenAIBatchService, Path], Any]:
    return lambda it, path: it._run(make(path))


SETTINGS = {"metadata": {"job": "1"}, "output_expires_after": {"anchor": "created_at", "seconds": 3600}}
PAIRS = {
    "upload": Pair(
        lambda sdk, path: sdk.files.create(file=path.open("rb"), purpose="batch"),
        lambda it, path: it.upload_file(path),
    ),
    "upload that expires": Pair(
        lambda sdk, path: sdk.files.create(
            file=path.open("rb"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        ),
        lambda it, path: it.upload_file(path, expires_after=3600),
    ),
    "file": Pair(lambda sdk, path: sdk.files.retrieve("file-1"), flow(lambda path: flows.get_file("file-1"))),
    "files": Pair(
        lambda sdk, path: sdk.files.list(purpose="batch", limit=1000, order="desc"),
        flow(lambda path: flows.find_file("none.jsonl")),
    ),
    "delete file": Pair(lambda sdk, path: sdk.files.delete("file-1"), flow(lambda path: flows.delete_file("file-1"))),
    "create": Pair(
        lambda sdk, path: sdk.batches.create(
            input_file_id="file-1", endpoint="/v1/responses", completion_window="24h", **SETTINGS
        ),
        lambda it, path: it.create_batch(input_file_id="file-1", endpoint="/v1/responses", **SETTINGS),
    ),
    "create, plain": Pair(
        lambda sdk, path: sdk.batches.create(
            input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"
        ),
        lambda it, path: it.create_batch(input_file_id="file-1"),
    ),
    "retrieve": Pair(lambda sdk, path: sdk.batches.retrieve("batch_1"), lambda it, path: it.get_batch("batch_1")),
    "odd id": Pair(lambda sdk, path: sdk.batches.retrieve("a/b c"), lambda it, path: it.get_batch("a/b c")),
    "cancel": Pair(lambda sdk, path: sdk.batches.cancel("batch_1"), lambda it, path: it.cancel_batch("batch_1")),
    "list": Pair(
        lambda sdk, path: sdk.batches.list(limit=20),
        lambda it, path: it.list_batches(),
    ),
    "list after": Pair(
        lambda sdk, path: sdk.batches.list(limit=7, after="batch_9"),
        lambda it, path: it.list_batches(7, "batch_9"),
    ),
    "all pages": Pair(
        lambda sdk, path: list(sdk.batches.list(limit=100)),
        lambda it, path: list(it.iter_batches()),
    ),
    "content": Pair(
        lambda sdk, path: sdk.files.content("file-1").content,
        flow(lambda path: flows.download_file("file-1", path.with_name("out.jsonl"))),
        extra=(("GET", "/v1/files/file-1"),),
        why="the size that a download must have is asked for first: a cut answer without a length looks complete",
    ),
}

# Headers that differ on purpose.
HEADERS = {
    "user-agent": "nono is not the SDK, and says so",
    "x-stainless-*": "the SDK's telemetry about itself",
    "accept-encoding": "a download is resumed by its bytes, which a coding would change",
    "content-type of GET": "a GET has no body to have a type (old versions of the SDK sent one)",
}


def answers(service: Double) -> None:
    page = {"object": "list", "data": [batch("batch_1"), batch("batch_2")], "has_more": True}
    last = {"object": "list", "data": [batch("batch_3")], "has_more": False}
    service.on("POST", "/v1/files", file())
    service.on("GET", "/v1/files", {"object": "list", "data": [file()], "has_more": False})
    service.on("GET", "/v1/files/file-1", file("file-1", len(OUTPUT)))
    service.on("DELETE", "/v1/files/file-1", {"id": "file-1", "object": "file", "deleted": True})
    service.on("GET", "/v1/files/file-1/content", Says(200, OUTPUT))
    service.on("POST", "/v1/batches", batch(status="validating"))
    service.on("GET", "/v1/batches", lambda seen: last if seen.query.get("after") == "batch_2" else page)
    service.on("POST", "/v1/batches/[^/]+/cancel", batch(status="cancelling"))
    service.on("GET", "/v1/batches/.+", batch())


def told(seen: Seen) -> tuple[Any, ...]:
    """What a service can tell requests apart by."""
    body: Any = seen.body
    kind = seen.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        boundary = kind.partition("boundary=")[2]
        body = seen.body.replace(boundary.encode(), b"BOUNDARY")
        kind = kind.replace(boundary, "BOUNDARY")
    elif seen.body:
        body = seen.json
    return (
        seen.method,
        seen.path,
        seen.query,
        seen.headers["authorization"],
        seen.headers["accept"],
        None if seen.method == "GET" else kind,
        body,
    )


@pytest.mark.parametrize("name", PAIRS)
def test_our_requests_are_the_official_sdks(name: str, service: Double, tmp_path: Path) -> None:
    pair = PAIRS[name]
    answers(service)
    path = tmp_path / "in.jsonl"
    OpenAIBatchService.create_jsonl_file(OpenAIBatchService.build_requests_from_prompts(["a", "b"]), path)
    with openai.OpenAI(api_key=KEY, base_url=service.base_url, max_retries=0) as sdk:
        pair.sdk(sdk, path)
    theirs, service.seen = service.seen, []
    with OpenAIBatchService(KEY, service.base_url) as it:
        pair.ours(it, path)
    ours = [seen for seen in service.seen if (seen.method, seen.path) not in pair.extra]
    assert [told(seen) for seen in ours] == [told(seen) for seen in theirs]
    assert len(service.seen) == len(ours) + len(pair.extra)
    assert bool(pair.extra) == bool(pair.why)


def test_our_headers_differ_from_the_sdks_only_where_that_is_meant(service: Double, tmp_path: Path) -> None:
    answers(service)
    with openai.OpenAI(api_key=KEY, base_url=service.base_url, max_retries=0) as sdk:
        sdk.batches.create(input_file_id="file-1", endpoint="/v1/responses", completion_window="24h")
    with OpenAIBatchService(KEY, service.base_url) as it:
        it.create_batch(input_file_id="file-1", endpoint="/v1/responses")
    theirs, ours = (
        {re.sub("x-stainless-.*", "x-stainless-*", n): v for n, v in s.headers.items()} for s in service.seen
    )
    different = {name for name in theirs | ours if theirs.get(name) != ours.get(name)}
    assert different <= HEADERS.keys()
    assert different >= {"user-agent", "x-stainless-*"}


def test_the_sdk_reads_what_the_double_says_as_we_do(service: Double) -> None:
    answers(service)
    with openai.OpenAI(api_key=KEY, base_url=service.base_url, max_retries=0) as sdk:
        theirs = sdk.batches.retrieve("batch_1")
    account = account_from_settings(api_key=KEY, base_url=service.base_url)
    ours = drive(flows.get_batch("batch_1"), Sender(account))
    for name in type(ours).__slots__:
        if name not in ("raw", "errors", "metadata", "request_counts"):
            assert getattr(ours, name) == getattr(theirs, name, None), name
    assert theirs.request_counts is not None
    assert ours.request_counts.total == theirs.request_counts.total


def test_the_sdk_would_send_a_lost_create_three_times_and_we_once(service: Double) -> None:
    service.on("POST", "/v1/batches", Says(500, {"error": {"message": "m"}}, {"retry-after-ms": "1"}))
    with openai.OpenAI(api_key=KEY, base_url=service.base_url) as sdk, pytest.raises(openai.InternalServerError):
        sdk.batches.create(input_file_id="f", endpoint="/v1/embeddings", completion_window="24h")
    theirs, service.seen = len(service.seen), []
    with OpenAIBatchService(KEY, service.base_url) as it, pytest.raises(Exception, match="HTTP 500"):
        it.create_batch(input_file_id="f", endpoint="/v1/embeddings")
    assert (theirs, len(service.seen)) == (3, 1)
