"""Files of 200 MB to the server and back, against the official SDKs' plain calls and their best."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.job import OURS, Found, Goal, Job, Stage, Way, at_most, median
from benchmarks.jobs.server import PROMPT_BYTES
from benchmarks.measuring import high_water_mb
from nono.connector.genai_batch_processing import GeminiBatchService, OpenAIBatchService
from nono.exchange import drive
from nono.providers import provider_named
from nono.providers.openai import flows
from nono.transport import Sender

SIZE_MB = 200
# Two clocks are never equal: so much slower is as fast.
AS_FAST = 1.1
LARGE, SMALL = "large.jsonl", "small.jsonl"
PLAIN, STREAMED, PARTS, IN_MEMORY = "SDK, open file", "SDK, streamed", "SDK, upload in parts", "SDK, in memory"

# Does the transfer of a file, with everything that it needs made ready; returns what names the file.
Transfer = Callable[[Path], Any]


def prepare(folder: Path, size: int) -> None:
    line = b'{"custom_id": "q-%09d", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4o-mini", '
    rest = b'"messages": [{"role": "user", "content": "%b"}]}}\n' % (b"x" * PROMPT_BYTES)
    for name, size_bytes in ((LARGE, size * 1_000_000), (SMALL, 1)):
        with (folder / name).open("wb") as file:
            number = 0
            while file.tell() < size_bytes:
                file.write(line % number + rest)
                number += 1


def _measured(ready: Callable[[Stage], Transfer]) -> Callable[[Stage], None]:
    """Transfer a small file first, so that modules and connections are there; then the large one, timed."""

    def do(stage: Stage) -> None:
        transfer = ready(stage)
        transfer(stage.folder / SMALL)
        before_mb = high_water_mb("self")
        with stage.timed():
            transfer(stage.folder / LARGE)
        stage.notes["extra_mb"] = high_water_mb("self") - before_mb

    return do


def _openai_sdk(stage: Stage) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=stage.openai_base_url, api_key="local")


# --- to OpenAI ---


def _upload(stage: Stage) -> Transfer:
    service = OpenAIBatchService(api_key="local", base_url=stage.openai_base_url)
    return lambda path: service.upload_file(path, check=False)


def _upload_plain(stage: Stage) -> Transfer:
    client = _openai_sdk(stage)

    def upload(path: Path) -> None:
        with path.open("rb") as file:
            client.files.create(file=file, purpose="batch")

    return upload


def _upload_path(stage: Stage) -> Transfer:
    client = _openai_sdk(stage)
    return lambda path: client.files.create(file=path, purpose="batch")


def _upload_in_parts(stage: Stage) -> Transfer:
    client = _openai_sdk(stage)
    return lambda path: client.uploads.upload_file_chunked(file=path, mime_type="application/jsonl", purpose="batch")


# --- from OpenAI ---


def _uploaded(download: Callable[[str, Path], Any], stage: Stage) -> Transfer:
    """Downloading what lies at the server under the file's name: uploaded before, once."""
    service = OpenAIBatchService(api_key="local", base_url=stage.openai_base_url)
    ids = {name: service.upload_file(stage.folder / name, check=False).id for name in (SMALL, LARGE)}
    return lambda path: download(ids[path.name], path.with_name(f"back-{path.name}"))


def _download(stage: Stage) -> Transfer:
    account = provider_named("openai").account(api_key="local", base_url=stage.openai_base_url)
    send = Sender(account)
    return _uploaded(lambda file_id, path: drive(flows.download_file(file_id, path), send), stage)


def _download_plain(stage: Stage) -> Transfer:
    client = _openai_sdk(stage)
    return _uploaded(lambda file_id, path: path.write_bytes(client.files.content(file_id).content), stage)


def _download_streamed(stage: Stage) -> Transfer:
    client = _openai_sdk(stage)

    def download(file_id: str, path: Path) -> None:
        with client.files.with_streaming_response.content(file_id) as response:
            response.stream_to_file(path)

    return _uploaded(download, stage)


# --- to Gemini ---


def _gemini_upload(stage: Stage) -> Transfer:
    service = GeminiBatchService(api_key="local", base_url=stage.gemini_base_url)
    return lambda path: service.upload_file(path)


def _gemini_upload_sdk(stage: Stage) -> Transfer:
    from google import genai

    client = genai.Client(api_key="local", http_options={"base_url": stage.gemini_base_url})
    return lambda path: client.files.upload(file=path, config={"mime_type": "application/jsonl"})


def _job(name: str, ready: dict[str, Callable[[Stage], Transfer]], says: str) -> Job:
    others = [way for way in ready if way != OURS]

    def against_best(found: Found) -> float:
        return median(found, OURS) / min(median(found, way) for way in others)

    return Job(
        name=name,
        ways=tuple(Way(way, _measured(one)) for way, one in ready.items()),
        size=SIZE_MB,
        unit="MB",
        prepare=prepare,
        server=True,
        goals=(
            Goal("the time of the SDK's best call", against_best, most=AS_FAST, unit=" ×"),
            at_most("extra_mb", 20, "memory that it adds", " MB"),
        ),
        columns={"extra_mb": "adds MB", "server_mb": "server MB"},
        says=says,
    )


JOBS = (
    _job(
        "upload to OpenAI",
        {OURS: _upload, PLAIN: _upload_plain, "SDK, path": _upload_path, PARTS: _upload_in_parts},
        "The local server, which receives the file on the same machine, has a part in every figure.",
    ),
    _job(
        "download from OpenAI",
        {OURS: _download, IN_MEMORY: _download_plain, STREAMED: _download_streamed},
        "nono checks the length against what the provider says, forces the file to disk and can go on where it broke.",
    ),
    _job(
        "upload to Gemini",
        {OURS: _gemini_upload, PLAIN: _gemini_upload_sdk},
        "In pieces that can be taken up again where one broke, as the service asks for.",
    ),
)
