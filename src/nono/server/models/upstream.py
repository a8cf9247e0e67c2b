"""Another model server, behind ours: vLLM, Ollama, llama.cpp, anything that speaks OpenAI's synchronous endpoints.

Requests go through as they are, answers come back as they are; so people with their own GPUs have a real Batch API.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from nono.errors import TransportError, UnreadableAnswer
from nono.exchange import Account, Call, drive
from nono.retry import RetryPolicy, retrying
from nono.secret import Secret
from nono.server.models import CHAT, EMBEDDINGS, IMAGES, MODERATIONS
from nono.transport import Sender

# A synchronous answer has no bill of its own: repeating it is safe, and a busy server is worth waiting for.
_POLICY = RetryPolicy(tries=4, cap_s=20.0)
# How many requests another server is given at a time; it queues what is too much.
SLOTS = 16


class UpstreamModel:
    """Passes requests on to `base_url`, with or without `/v1`. The key: the argument, then `UPSTREAM_API_KEY`."""

    endpoints = frozenset({CHAT, EMBEDDINGS, MODERATIONS, IMAGES})

    def __init__(self, base_url: str, api_key: str | None = None, slots: int = SLOTS) -> None:
        key = api_key or os.environ.get("UPSTREAM_API_KEY")
        self.name = base_url
        self.slots = slots
        account = Account(
            base_url=base_url.rstrip("/").removesuffix("/v1"),
            key=Secret(key) if key else None,
            key_header="authorization",
            key_prefix="Bearer ",
        )
        self._send = Sender(account)

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        def ask() -> Any:
            return (yield Call("POST", endpoint, json=dict(body)))

        try:
            reply = drive(retrying(ask(), _POLICY), self._send)
            answer = reply.json()
        except TransportError as error:
            return 503, _unavailable(f"The upstream model server does not answer: {error.message}")
        except UnreadableAnswer as error:
            return 502, _unavailable(f"The upstream model server answers something else: {error.message}")
        if not isinstance(answer, dict):
            return 502, _unavailable("The upstream model server answers something that is not a JSON object")
        return reply.status, answer

    def close(self) -> None:
        self._send.close()


def _unavailable(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": "upstream_unavailable"}}
