"""Big files pass through without staying in memory, both ways, blocking and awaited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from openai_double import batch, file

from patience import PATIENT_S

LINE_BYTES = 4096
REQUESTS = 25_000
SIZE = LINE_BYTES * REQUESTS  # 102 MB
GROWTH_MB = 20

# VmHWM is the peak of this program alone, and begins anew with it.
CLIENT = """
import asyncio, sys
from nono.connector.genai_batch_processing import AsyncOpenAIBatchService, OpenAIBatchService

def peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

way, what, url, path = sys.argv[1:]

def act(service, small):
    if what == "up":
        return service.upload_file(path + ".small" if small else path)
    return service.get_results("small" if small else "large", path)

if way == "blocking":
    service = OpenAIBatchService("k", url)
    act(service, True)
    before = peak_mb()
    act(service, False)
else:
    async def run():
        service = AsyncOpenAIBatchService("k", url)
        await act(service, True)
        before = peak_mb()
        await act(service, False)
        return before
    before = asyncio.run(run())
print(peak_mb() - before)
"""


def line(number: int) -> bytes:
    head = b'{"custom_id":"%d","method":"POST","url":"/v1/moderations","body":{"input":"' % number
    return head + b"x" * (LINE_BYTES - len(head) - 4) + b'"}}\n'


@pytest.fixture(scope="module")
def sink() -> Iterator[tuple[str, list[int]]]:
    """A service that counts what is uploaded and makes up what is downloaded; it keeps neither."""
    uploaded: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _say(self, value: Any) -> None:
            content = json.dumps(value).encode()
            self._head(len(content), "application/json")
            self.wfile.write(content)

        def _head(self, length: int, kind: str) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(length))
            self.end_headers()

        def do_POST(self) -> None:
            left = int(self.headers["content-length"])
            uploaded.append(left)
            while left:
                left -= len(self.rfile.read(min(left, 1 << 20)))
            self._say(file())

        def do_GET(self) -> None:
            name = self.path.split("/")[3]
            requests = REQUESTS if "large" in name else 10
            if self.path.startswith("/v1/batches/"):
                self._say(batch(output_file_id=f"file-{name}"))
            elif self.path.endswith("/content"):
                self._head(requests * LINE_BYTES, "application/octet-stream")
                for _ in range(requests):
                    self.wfile.write(b"x" * (LINE_BYTES - 1) + b"\n")
            else:
                self._say(file(name, requests * LINE_BYTES))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1", uploaded
    server.shutdown()
    server.server_close()


def growth_mb(way: str, what: str, url: str, path: Path) -> float:
    told = subprocess.run(
        [sys.executable, "-c", CLIENT, way, what, url, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENT_S,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    assert told.returncode == 0, told.stderr
    return float(told.stdout)


@pytest.mark.parametrize("way", ["blocking", "awaited"])
def test_a_large_upload_with_its_check_does_not_stay_in_memory(
    way: str, sink: tuple[str, list[int]], tmp_path: Path
) -> None:
    url, uploaded = sink
    path = tmp_path / "in.jsonl"
    with path.open("wb") as it:
        for number in range(REQUESTS):
            it.write(line(number))
    (tmp_path / "in.jsonl.small").write_bytes(line(1))
    grown = growth_mb(way, "up", url, path)
    path.unlink()
    assert SIZE < uploaded[-1] < SIZE + 1000
    assert grown < GROWTH_MB


@pytest.mark.parametrize("way", ["blocking", "awaited"])
def test_a_large_download_does_not_stay_in_memory(way: str, sink: tuple[str, list[int]], tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    grown = growth_mb(way, "down", sink[0], path)
    assert path.stat().st_size == SIZE
    path.unlink()
    assert grown < GROWTH_MB
