"""Short words for what most tests of the server's Gemini half do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import httpx2
from google.genai import Client
from server_tools import jsonl

from nono.server.app import LocalServer
from patience import PATIENT_S

MODEL = "gemini-2.5-flash"
ENDED = ("BATCH_STATE_SUCCEEDED", "BATCH_STATE_FAILED", "BATCH_STATE_CANCELLED", "BATCH_STATE_EXPIRED")


def asking(prompt: str, **more: Any) -> dict[str, Any]:
    """A request with one text."""
    return {"contents": [{"parts": [{"text": prompt}], "role": "user"}], **more}


def line(key: str, prompt: str, **more: Any) -> dict[str, Any]:
    return {"key": key, "request": asking(prompt), **more}


class Raw:
    """Plain HTTP calls to a server's Gemini half, as curl would make them."""

    def __init__(self, server: LocalServer, base: str = "/gemini/v1beta") -> None:
        self.url = server.url
        self._base = f"{server.url}{base}"

    def __call__(self, method: str, path: str, **options: Any) -> httpx2.Response:
        url = path if path.startswith("http") else f"{self._base}/{path}"
        return httpx2.request(method, url, **{"headers": {"x-goog-api-key": "local"}, **options})

    def start(self, size: int | None = None, base: str = "/gemini/upload/v1beta", **about: Any) -> httpx2.Response:
        headers = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
        if size is not None:
            headers["X-Goog-Upload-Header-Content-Length"] = str(size)
        return httpx2.post(f"{self.url}{base}/files", headers=headers, json={"file": about})

    def send(self, url: str, command: str, content: bytes = b"", offset: int | None = None) -> httpx2.Response:
        headers = {"X-Goog-Upload-Command": command}
        if offset is not None:
            headers["X-Goog-Upload-Offset"] = str(offset)
        return httpx2.post(url, headers=headers, content=content)

    def upload(self, lines: Iterable[Any], **about: Any) -> str:
        """The name of a file that has been uploaded."""
        content = jsonl(lines)
        url = self.start(len(content), **about).headers["x-goog-upload-url"]
        name: str = self.send(url, "upload, finalize", content, 0).json()["file"]["name"]
        return name

    def create(self, method: str = "batchGenerateContent", to_model: str = MODEL, **batch: Any) -> httpx2.Response:
        return self("POST", f"models/{to_model}:{method}", json={"batch": batch})

    def created(self, lines: Iterable[Any], **batch: Any) -> str:
        """The name of a batch of a file with these lines."""
        reply = self.create(inputConfig={"fileName": self.upload(lines)}, **batch)
        assert reply.status_code == 200, reply.text
        name: str = reply.json()["name"]
        return name

    def reached(self, name: str, *states: str) -> dict[str, Any]:
        """Poll until the batch is in one of the states (any end, if none is named)."""
        until = time.monotonic() + PATIENT_S
        while True:
            seen: dict[str, Any] = self("GET", name).json()
            if seen["metadata"]["state"] in (states or ENDED):
                return seen
            assert time.monotonic() < until, seen
            time.sleep(0.005)

    def answers(self, operation: dict[str, Any]) -> list[Any]:
        """The lines of an ended batch's answer file."""
        name = operation["response"]["responsesFile"]
        content = self("GET", f"{name}:download", params={"alt": "media"}).content
        return [json.loads(one) for one in content.split(b"\n") if one]


def sdk(server: LocalServer, **options: Any) -> Client:
    """The official SDK, unmodified."""
    return Client(api_key="local", http_options={"base_url": server.gemini_base_url, **options})


def ended(client: Client, name: str) -> Any:
    until = time.monotonic() + PATIENT_S
    while not (job := client.batches.get(name=name)).done:
        assert time.monotonic() < until, job
        time.sleep(0.005)
    return job


def refusal(reply: httpx2.Response) -> tuple[int, str, str]:
    """Status and message of an error envelope."""
    error = reply.json()["error"]
    assert error["code"] == reply.status_code
    return error["code"], error["status"], error["message"]
