"""Legacy completions as chats. https://platform.openai.com/docs/api-reference/completions"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nono.errors import InputError

# Fields that mean the same in both.
_SHARED = (
    "model",
    "frequency_penalty",
    "logit_bias",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "temperature",
    "top_p",
    "user",
)
_NOT_IMITATED = ("best_of", "echo", "suffix", "stream")
# https://platform.openai.com/docs/api-reference/completions/create (`max_tokens`)
_DEFAULT_MAX_TOKENS = 16


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat with the prompt as its only message. Raises InputError for what a chat cannot say."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise InputError("Invalid 'prompt': this server takes one text.")
    for name in _NOT_IMITATED:
        if body.get(name) not in (None, False, 1):
            raise InputError(f"Unsupported parameter: '{name}' is not imitated by this server.")
    shared = {name: body[name] for name in _SHARED if body.get(name) is not None}
    return {"max_tokens": _DEFAULT_MAX_TOKENS, **shared, "messages": [{"role": "user", "content": prompt}]}


def from_chat(body: Mapping[str, Any], status: int, answer: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """The completion that a chat's answer is."""
    if status != 200:
        return status, dict(answer)
    choices = [
        {
            "text": choice["message"].get("content") or "",
            "index": choice["index"],
            "logprobs": None,
            "finish_reason": choice["finish_reason"],
        }
        for choice in answer["choices"]
    ]
    usage = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return 200, {
        "id": str(answer["id"]).replace("chatcmpl-", "cmpl-"),
        "object": "text_completion",
        "created": answer["created"],
        "model": answer["model"],
        "choices": choices,
        "usage": usage,
        "system_fingerprint": answer.get("system_fingerprint"),
    }
