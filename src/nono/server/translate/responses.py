"""The Responses API as chats: what a request asks. `responses_answers` is the way back.

Texts, pictures, function calls and their results, structured output; one turn. What lives on the server between turns
(`previous_response_id`, `conversation`, `background`) and tools that run there are refused.
https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nono.server.models.refusals import Refused, check_number, invalid_type, invalid_value, missing
from nono.server.translate.responses_answers import from_chat

__all__ = ["from_chat", "to_chat"]

# Responses field → chat field of the same meaning. `max_tokens` is the spelling that every model server knows.
_SAME = {
    "model": "model",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_tokens",
    "parallel_tool_calls": "parallel_tool_calls",
    "user": "user",
}
_READ = frozenset(_SAME) | {"input", "instructions", "text", "tools", "tool_choice", "reasoning", "top_logprobs"}
# They say who asks, how to bill, keep, cache or hurry.
_WITHOUT_EFFECT = frozenset({"include", "max_tool_calls", "metadata", "prompt_cache_key", "prompt_cache_retention"}) | {
    "safety_identifier",
    "service_tier",
    "store",
    "truncation",
}
_NOT_IMITATED = frozenset(
    {"previous_response_id", "conversation", "background", "stream", "stream_options", "prompt", "context_management"}
)
_WEB_SEARCH = frozenset({"web_search", "web_search_preview", "web_search_2025_08_26", "web_search_preview_2025_03_11"})
# What a model wrote beside its texts in an earlier turn: nothing that a chat repeats.
_PASSED_OVER = frozenset({"reasoning", "web_search_call"})
# Kind of part → where its text stands.
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
# https://platform.openai.com/docs/api-reference/responses/create (`max_output_tokens`)
_LEAST_OUTPUT_TOKENS = 16


def to_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """The chat that asks the same. Raises Refused for a bad request, and for what a chat cannot say."""
    for name, value in body.items():
        if name in _NOT_IMITATED:
            if value:
                raise Refused(
                    f"Unsupported parameter: '{name}' is not imitated by this server.",
                    param=name,
                    code="unsupported_parameter",
                )
        elif name not in _READ and name not in _WITHOUT_EFFECT:
            raise Refused(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    check_number(body, "max_output_tokens", _LEAST_OUTPUT_TOKENS, None, whole=True)
    chat = {chat: body[name] for name, chat in _SAME.items() if body.get(name) is not None}
    chat["messages"] = list(_messages(body))
    chat |= _format(_object(body, "text"))
    chat |= _tools(body.get("tools") or [], body.get("tool_choice"))
    if body.get("top_logprobs"):
        chat |= {"logprobs": True, "top_logprobs": body["top_logprobs"]}
    if effort := _object(body, "reasoning").get("effort"):
        chat["reasoning_effort"] = effort
    return chat


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise invalid_type(name, "an object", value)
    return value or {}


def _messages(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if body.get("instructions"):
        yield {"role": "system", "content": body["instructions"]}
    given = body.get("input")
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    if not isinstance(given, list):
        raise invalid_type("input", "a string or an array of objects", given)
    calls: list[dict[str, Any]] = []
    for number, item in enumerate(given):
        place = f"input[{number}]"
        if not isinstance(item, Mapping):
            raise invalid_type(place, "an object", item)
        kind = item.get("type") or "message"
        if kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            calls.append({"id": item.get("call_id"), "type": "function", "function": function})
            continue
        if calls:  # one message holds all calls of a turn
            yield {"role": "assistant", "content": None, "tool_calls": calls}
            calls = []
        if kind == "message":
            role = item.get("role")
            # Local models' templates know no developer.
            yield {"role": "system" if role == "developer" else role, "content": _content(item, place)}
        elif kind == "function_call_output":
            yield {"role": "tool", "tool_call_id": item.get("call_id"), "content": _output(item.get("output"), place)}
        elif kind not in _PASSED_OVER:
            raise invalid_value(f"{place}.type", f"Invalid value: '{kind}' is not imitated by this server.")
    if calls:
        yield {"role": "assistant", "content": None, "tool_calls": calls}


def _output(given: Any, place: str) -> Any:
    if isinstance(given, list):
        return _content({"content": given}, f"{place}.output")
    return given if isinstance(given, str) else json.dumps(given)


def _content(item: Mapping[str, Any], place: str) -> Any:
    content = item.get("content")
    if content is None:
        raise missing(f"{place}.content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid_type(f"{place}.content", "a string or an array of objects", content)
    return [_part(part, f"{place}.content[{number}]") for number, part in enumerate(content)]


def _part(part: Any, place: str) -> dict[str, Any]:
    if not isinstance(part, Mapping):
        raise invalid_type(place, "an object", part)
    kind = part.get("type")
    if kind in _TEXTS:
        text = part.get(_TEXTS[kind])
        if not isinstance(text, str):
            raise invalid_type(f"{place}.{_TEXTS[kind]}", "a string", text)
        return {"type": "text", "text": text}
    if kind == "input_image":
        url = part.get("image_url")
        if url is None and part.get("file_id"):
            raise invalid_value(f"{place}.file_id", "Invalid value: pictures by 'file_id' are not imitated here.")
        if not isinstance(url, str):
            raise invalid_type(f"{place}.image_url", "an image URL", url)
        return {"type": "image_url", "image_url": {"url": url, **_kept(part, "detail")}}
    if kind == "input_file":
        if part.get("file_data") is None:
            raise invalid_value(f"{place}", "Invalid value: files by 'file_id' or 'file_url' are not imitated here.")
        return {"type": "file", "file": _kept(part, "filename", "file_data")}
    raise invalid_value(f"{place}.type", f"Invalid value: '{kind}' is not imitated by this server.")


def _kept(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None}


def _format(text: Mapping[str, Any]) -> dict[str, Any]:
    form = _object(text, "format")
    match form.get("type", "text"):
        case "text":
            return {}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "json_schema":
            named = _kept(form, "name", "description", "schema", "strict")
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case other:
            raise invalid_value(
                "text.format.type",
                f"Invalid value: '{other}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            )


def _tools(tools: Any, choice: Any) -> dict[str, Any]:
    if not isinstance(tools, list):
        raise invalid_type("tools", "an array of objects", tools)
    functions: list[dict[str, Any]] = []
    chat: dict[str, Any] = {}
    for number, tool in enumerate(tools):
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind == "function":
            functions.append(
                {"type": "function", "function": _kept(tool, "name", "description", "parameters", "strict")}
            )
        elif kind in _WEB_SEARCH:
            chat["web_search_options"] = {}
        else:
            raise invalid_value(
                f"tools[{number}].type", f"Invalid value: '{kind}': this server has no such tool; it has functions "
                "and web searches."
            )  # fmt: skip
    if functions:
        chat["tools"] = functions
        if choice is not None:
            named = isinstance(choice, Mapping) and choice.get("type") == "function"
            chat["tool_choice"] = {"type": "function", "function": _kept(choice, "name")} if named else choice
    return chat
