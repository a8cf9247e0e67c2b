"""The Responses API as chats. https://platform.openai.com/docs/api-reference/responses

Texts, pictures, function calls and their results, structured output; one turn. What lives on the server between turns
(`previous_response_id`, `conversation`, `background`) and tools that run there are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from nono.errors import InputError

# Responses field → chat field of the same meaning.
_SHARED = {
    "model": "model",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_completion_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "seed": "seed",
    "user": "user",
}
_NOT_IMITATED = ("previous_response_id", "conversation", "background", "stream", "prompt")
_WEB_SEARCH = ("web_search", "web_search_preview")
# https://platform.openai.com/docs/api-reference/responses/create (`max_output_tokens`)
_LEAST_OUTPUT_TOKENS = 16


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat that asks the same. Raises InputError for what a chat cannot say."""
    for name in _NOT_IMITATED:
        if body.get(name):
            raise InputError(f"Unsupported parameter: '{name}' is not imitated by this server.")
    limit = body.get("max_output_tokens")
    if isinstance(limit, int) and limit < _LEAST_OUTPUT_TOKENS:
        raise InputError(
            "Invalid 'max_output_tokens': integer below minimum value. "
            f"Expected a value >= {_LEAST_OUTPUT_TOKENS}, but got {limit} instead."
        )
    chat = {chat: body[name] for name, chat in _SHARED.items() if body.get(name) is not None}
    chat["messages"] = list(_messages(body))
    chat |= _format(body.get("text") or {})
    chat |= _tools(body.get("tools") or [], body.get("tool_choice"))
    effort = (body.get("reasoning") or {}).get("effort")
    return chat | ({"reasoning_effort": effort} if effort else {})


def _messages(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if body.get("instructions"):
        yield {"role": "system", "content": body["instructions"]}
    given = body.get("input")
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    if not isinstance(given, list) or not given:
        raise InputError("Missing required parameter: 'input'.")
    for number, item in enumerate(given):
        place = f"input[{number}]"
        if not isinstance(item, Mapping):
            raise InputError(f"Invalid type for '{place}': expected an object.")
        match item.get("type", "message"):
            case "message":
                role = "system" if item.get("role") == "developer" else item.get("role", "user")
                yield {"role": role, "content": _content(item.get("content"), place)}
            case "function_call":
                function = {"name": item.get("name"), "arguments": item.get("arguments")}
                call = {"id": item.get("call_id"), "type": "function", "function": function}
                yield {"role": "assistant", "content": None, "tool_calls": [call]}
            case "function_call_output":
                yield {"role": "tool", "tool_call_id": item.get("call_id"), "content": str(item.get("output"))}
            case "reasoning":
                continue
            case other:
                raise InputError(f"Invalid value: {other!r} at '{place}.type' is not imitated by this server.")


def _content(content: Any, place: str) -> Any:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InputError(f"Invalid type for '{place}.content': expected a string or an array of objects.")
    parts: list[dict[str, Any]] = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        where = f"{place}.content[{number}]"
        if kind in ("input_text", "output_text", "text"):
            parts.append({"type": "text", "text": part.get("text", "")})
        elif kind == "input_image":
            url = part.get("image_url")
            if not isinstance(url, str):
                raise InputError(
                    f"Invalid type for '{where}.image_url': expected an image URL, but got "
                    f"{'an object' if isinstance(url, Mapping) else 'nothing'} instead."
                )
            parts.append({"type": "image_url", "image_url": {"url": url}})
        else:
            raise InputError(f"Invalid value: {kind!r} at '{where}.type' is not imitated by this server.")
    return parts


def _format(text: Mapping[str, Any]) -> dict[str, Any]:
    form = text.get("format") or {}
    match form.get("type", "text"):
        case "text":
            return {}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "json_schema":
            named = {name: form[name] for name in ("name", "schema", "strict", "description") if name in form}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case other:
            raise InputError(f"Invalid value: {other!r} at 'text.format.type'.")


def _tools(tools: list[Any], choice: Any) -> dict[str, Any]:
    functions: list[dict[str, Any]] = []
    chat: dict[str, Any] = {}
    for tool in tools:
        kind = tool.get("type")
        if kind == "function":
            functions.append({"type": "function", "function": {key: tool[key] for key in tool if key != "type"}})
        elif kind in _WEB_SEARCH:
            chat["web_search_options"] = {}
        else:
            raise InputError(f"Invalid value: {kind!r} at 'tools[].type' is not imitated by this server.")
    if functions:
        chat["tools"] = functions
    if choice is not None and functions:
        named = isinstance(choice, Mapping) and choice.get("type") == "function"
        chosen: Any = {"type": "function", "function": {"name": choice["name"]}} if named else choice
        chat["tool_choice"] = chosen
    return chat


def from_chat(body: Mapping[str, Any], status: int, answer: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """The response that a chat's answer is, with the request's settings in it as the service repeats them."""
    if status != 200:
        return status, dict(answer)
    choice = answer["choices"][0]
    cut = choice["finish_reason"] == "length"
    seed = hashlib.sha256(json.dumps(answer["choices"], sort_keys=True).encode()).hexdigest()
    text = body.get("text") or {"format": {"type": "text"}}
    return 200, {
        "id": f"resp_{seed[:48]}",
        "object": "response",
        "created_at": answer["created"],
        "status": "incomplete" if cut else "completed",
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": answer["model"],
        "output": list(_output(choice["message"], seed, "incomplete" if cut else "completed")),
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": (body.get("reasoning") or {}).get("effort"), "summary": None},
        "service_tier": "default",
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": text,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": _usage(answer["usage"]),
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _output(message: Mapping[str, Any], seed: str, status: str) -> Iterator[dict[str, Any]]:
    for number, call in enumerate(message.get("tool_calls") or ()):
        yield {
            "id": f"fc_{seed[number : number + 48]}",
            "type": "function_call",
            "status": "completed",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
        }
    text, refusal = message.get("content"), message.get("refusal")
    if text is None and refusal is None:
        return
    sources = [{"type": "url_citation", **one["url_citation"]} for one in message.get("annotations") or ()]
    said = {"type": "output_text", "annotations": sources, "logprobs": [], "text": text}
    content = {"type": "refusal", "refusal": refusal} if text is None else said
    yield {"id": f"msg_{seed[8:56]}", "type": "message", "status": status, "role": "assistant", "content": [content]}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": usage["total_tokens"],
    }
