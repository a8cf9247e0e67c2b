"""Another model server, behind ours: vLLM, Ollama, llama.cpp, anything that speaks OpenAI's synchronous endpoints.

Requests go through as they are, answers come back as they are; so people with their own GPUs have a real Batch API.
Only errors are brought into OpenAI's form: servers have forms of their own for those.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from nono.errors import AnswerLost, NotSent, UnreadableAnswer
from nono.exchange import Account, Call, Flow, Reply, drive
from nono.retry import RetryPolicy, retrying
from nono.secret import Secret
from nono.server.models import CHAT, EMBEDDINGS, IMAGE_EDITS, IMAGES, MODERATIONS
from nono.server.models.refusals import Refused
from nono.transport import Sender

# A synchronous answer has no bill of its own: repeating it is safe, and a busy server is worth waiting for.
_POLICY = RetryPolicy(tries=4, cap_s=20.0)
# How many requests another server is given at a time; it queues what is too much.
SLOTS = 16
_SHOWN_CHARS = 300


class UpstreamModel:
    """Passes requests on to `base_url`, with or without `/v1`. The key: the argument, then `UPSTREAM_API_KEY`.

    A server that cannot be reached is a 503, one that breaks off or answers something else a 502; both are tried again
    first.
    """

    endpoints = frozenset({CHAT, EMBEDDINGS, MODERATIONS, IMAGES, IMAGE_EDITS})

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        slots: int = SLOTS,
        *,
        timeout_s: float | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        key = api_key or os.environ.get("UPSTREAM_API_KEY")
        self.name = base_url
        self.slots = slots
        account = Account(
            base_url=base_url.rstrip("/").removesuffix("/v1"),
            key=Secret(key) if key else None,
            key_header="authorization",
            key_prefix="Bearer ",
        )
        self._send = Sender(account, timeout_s=timeout_s)
        self._sleep = sleep

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        def ask() -> Flow[Reply]:
            return (yield Call("POST", endpoint, json=dict(body)))  # type: ignore[no-any-return]

        try:
            return _read(drive(retrying(ask(), _POLICY), self._send, sleep=self._sleep))
        except NotSent as error:
            return _unavailable(503, f"The upstream model server cannot be reached: {error.message}")
        except AnswerLost as error:
            return _unavailable(502, f"The upstream model server broke off: {error.message}")
        except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
            return Refused(f"Invalid request: the body cannot be passed on as JSON: {error}").answer

    def close(self) -> None:
        self._send.close()


def _read(reply: Reply) -> tuple[int, dict[str, Any]]:
    try:
        answer = reply.json()
    except UnreadableAnswer:
        answer = reply.body.decode("utf-8", "replace")
    if reply.ok:
        if isinstance(answer, dict) and answer.get("error") is None:
            return reply.status, answer
        return _unavailable(
            502, f"The upstream model server answers something that is no answer: {str(answer)[:_SHOWN_CHARS]!r}"
        )
    if reply.status < 400:
        return _unavailable(502, f"The upstream model server answers HTTP {reply.status}; check its address.")
    return reply.status, {"error": _error(reply.status, answer)}


def _error(status: int, answer: Any) -> dict[str, Any]:
    """OpenAI's error object, from the forms that servers have: an object, its content alone, a text."""
    given = answer.get("error", answer) if isinstance(answer, Mapping) else answer
    if not isinstance(given, Mapping):
        given = {"message": str(given).strip()[:_SHOWN_CHARS]}
    usual: dict[str, Any] = Refused("", status=status).answer[1]["error"]
    code = given.get("code")
    return {
        "message": str(given.get("message") or given.get("detail") or f"HTTP {status} of the upstream model server"),
        "type": given.get("type") or usual["type"],
        "param": given.get("param"),
        "code": code if isinstance(code, str) else None,  # vLLM repeats the status here
    }


def _unavailable(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return Refused(message, status=status, code="upstream_unavailable").answer
