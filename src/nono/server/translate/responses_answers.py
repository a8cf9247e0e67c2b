"""A chat's answer as a response, with the request's settings in it as the service repeats them.

https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# What a chat's complaint names → what the caller wrote; longest first.
_SPELLINGS = {
    "response_format.json_schema": "text.format",
    "response_format": "text.format",
    "max_tokens": "max_output_tokens",
    "messages": "input",
}
_NAMES = "|".join(map(re.escape, _SPELLINGS))
_QUOTED = re.compile(rf"(?<=')(?:{_NAMES})(?=['.\[])")
_WHOLE = re.compile(rf"^(?:{_NAMES})(?=$|[.\[])")


def from_chat(body: Mapping[str, Any], status: int, answer: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """HTTP status and body: a response whose fields stand in the order of the real ones, or the error."""
    if status != 200:
        return status, _respelled(answer)
    choice = answer["choices"][0]
    cut = choice.get("finish_reason") == "length"
    seed = hashlib.sha256(json.dumps(answer["choices"], sort_keys=True).encode()).hexdigest()
    created = answer["created"]
    # The order of a response of April 2026; what the request does not say has the service's defaults.
    return 200, {
        "id": f"resp_{seed[:50]}",
        "object": "response",
        "created_at": created,
        "status": "incomplete" if cut else "completed",
        "background": False,
        "completed_at": None if cut else created,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": answer.get("model"),
        "output": list(_output(choice["message"], choice, seed, "incomplete" if cut else "completed")),
        "parallel_tool_calls": _said(body, "parallel_tool_calls", True),
        "presence_penalty": 0.0,
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "prompt_cache_retention": body.get("prompt_cache_retention"),
        "reasoning": {"effort": None, "summary": None} | (body.get("reasoning") or {}),
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": _said(body, "store", True),
        "temperature": _said(body, "temperature", 1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium"} | (body.get("text") or {}),
        "tool_choice": _said(body, "tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_logprobs": _said(body, "top_logprobs", 0),
        "top_p": _said(body, "top_p", 1.0),
        "truncation": _said(body, "truncation", "disabled"),
        "usage": _usage(answer.get("usage") or {}),
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _said(body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    return default if value is None else value


def _output(message: Mapping[str, Any], choice: Mapping[str, Any], seed: str, status: str) -> Iterator[dict[str, Any]]:
    content = []
    if (text := message.get("content")) is not None:
        sources = [{"type": "url_citation", **one["url_citation"]} for one in message.get("annotations") or ()]
        logprobs = (choice.get("logprobs") or {}).get("content") or []
        content.append({"type": "output_text", "annotations": sources, "logprobs": logprobs, "text": text})
    if (refusal := message.get("refusal")) is not None:
        content.append({"type": "refusal", "refusal": refusal})
    if content:
        yield {"id": f"msg_{seed[8:58]}", "type": "message", "status": status, "content": content, "role": "assistant"}
    for number, call in enumerate(message.get("tool_calls") or ()):
        yield {
            "id": f"fc_{hashlib.sha256(f'{seed}{number}'.encode()).hexdigest()[:50]}",
            "type": "function_call",
            "status": "completed",
            "arguments": call["function"]["arguments"],
            "call_id": call["id"],
            "name": call["function"]["name"],
        }


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    given, made = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": usage.get("total_tokens") or given + made,
    }


def _respelled(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An error in the names of this API: the caller wrote no 'messages'."""
    error = dict(answer.get("error") or {})
    for name, pattern in (("message", _QUOTED), ("param", _WHOLE)):
        if isinstance(error.get(name), str):
            error[name] = pattern.sub(lambda found: _SPELLINGS[found.group()], error[name])
    return {**answer, "error": error}
