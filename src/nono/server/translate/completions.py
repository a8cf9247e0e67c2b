"""Legacy completions as chats: the prompt is a user's only message.

A model that chats answers a prompt, it does not go on with it; so what needs a bare continuation (`echo`, `suffix`,
`best_of`, prompts of tokens) is refused.  https://platform.openai.com/docs/api-reference/completions/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nono.server.models.refusals import Refused, check_number, invalid_type, invalid_value, missing

# Fields that mean the same in both.
_SAME = frozenset(
    {"model", "frequency_penalty", "logit_bias", "max_tokens", "n", "presence_penalty", "seed", "stop", "temperature"}
    | {"top_p", "user"}
)
# Field → the values that ask for nothing.
_NOT_IMITATED: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "stream": (None, False),
    "stream_options": (None,),
}
# https://platform.openai.com/docs/api-reference/completions/create (`max_tokens`, `logprobs`)
_DEFAULT_MAX_TOKENS = 16
_MOST_LOGPROBS = 5


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat with the prompt as its only message. Raises Refused for a bad request, and for what a chat cannot say."""
    for name, value in body.items():
        if name in _NOT_IMITATED:
            if value not in _NOT_IMITATED[name]:
                raise Refused(
                    f"Unsupported parameter: '{name}' is not imitated by this server.",
                    param=name,
                    code="unsupported_parameter",
                )
        elif name not in _SAME and name not in ("prompt", "logprobs"):
            raise Refused(f"Unrecognized request argument supplied: {name}")
    check_number(body, "logprobs", 0, _MOST_LOGPROBS, whole=True)
    chat = {name: body[name] for name in _SAME if body.get(name) is not None}
    chat.setdefault("max_tokens", _DEFAULT_MAX_TOKENS)
    chat["messages"] = [{"role": "user", "content": _prompt(body.get("prompt"))}]
    if body.get("logprobs") is not None:
        chat |= {"logprobs": True, "top_logprobs": body["logprobs"]}
    return chat


def _prompt(given: Any) -> str:
    prompt = given[0] if isinstance(given, list) and len(given) == 1 else given
    if prompt is None:
        raise missing("prompt")
    if isinstance(prompt, list) and prompt and all(isinstance(one, str) for one in prompt):
        raise invalid_value("prompt", "Invalid 'prompt': this server takes one prompt in a request.")
    if isinstance(prompt, list | int):
        raise invalid_value("prompt", "Invalid 'prompt': this server takes a text; its tokens are not OpenAI's.")
    if not isinstance(prompt, str):
        raise invalid_type("prompt", "a string or an array", prompt)
    return prompt


def from_chat(body: Mapping[str, Any], status: int, answer: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """HTTP status and body: the completion that a chat's answer is, or the error."""
    if status != 200:
        return status, dict(answer)
    usage = answer.get("usage") or {}
    return 200, {
        "id": str(answer.get("id")).replace("chatcmpl-", "cmpl-"),
        "object": "text_completion",
        "created": answer["created"],
        "model": answer.get("model"),
        "choices": [
            {
                "text": choice["message"].get("content") or "",
                "index": choice["index"],
                "logprobs": _logprobs((choice.get("logprobs") or {}).get("content")),
                "finish_reason": choice.get("finish_reason"),
            }
            for choice in answer["choices"]
        ],
        "usage": {name: usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens", "total_tokens")},
        "system_fingerprint": answer.get("system_fingerprint"),
    }


def _logprobs(tokens: Any) -> dict[str, Any] | None:
    """The columns that the old endpoint made of the tokens."""
    if not tokens:
        return None
    offsets = [0]
    for token in tokens:
        offsets.append(offsets[-1] + len(token["token"]))
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": [
            {one["token"]: one["logprob"] for one in token.get("top_logprobs") or ()} or None for token in tokens
        ],
        "text_offset": offsets[:-1],
    }
