"""What OpenAI's service refuses in a chat body, in its words; and what the simulated model cannot imitate.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from nono.providers.openai.lint import lint
from nono.server.models.chat_fields import (
    NUMBERS,
    bad_format,
    check_message_list,
    check_numbers,
    read_schema,
    read_stops,
)
from nono.server.models.refusals import Refused, check_fields, invalid_type, invalid_value, missing

# What local model servers know beyond OpenAI's fields; `modalities` and `web_search_options`: see the seam.
_BEYOND = frozenset({"top_k", "min_p", "repetition_penalty", "image_config"})
_FIELDS = (
    frozenset(NUMBERS)
    | _BEYOND
    | {"messages", "model", "stop", "logprobs", "response_format", "tools", "tool_choice", "modalities", "stream"}
    | {"web_search_options", "parallel_tool_calls", "logit_bias", "metadata", "store", "user", "reasoning_effort"}
    | {"service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction", "verbosity"}
    | {"audio", "functions", "function_call", "stream_options"}
)
# What would change the answer and is not done. Field → the values that ask for nothing.
_NOT_DONE: dict[str, tuple[Any, ...]] = {
    "functions": (None, []),
    "function_call": (None, "none"),
    "stream": (None, False),
    "stream_options": (None,),
}
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
# Kind of part → whether it is a text.
_PARTS = {"text": True, "refusal": True, "image_url": False, "input_audio": False, "file": False}


def check_chat(body: Mapping[str, Any]) -> None:
    """Everything but the messages, which `read_messages` checks. Raises Refused."""
    check_fields(body, _FIELDS)
    check_numbers(body)
    for name in body:
        if name in _NOT_DONE and body[name] not in _NOT_DONE[name]:
            raise Refused(
                f"Unsupported parameter: '{name}' is not imitated by the simulated model.",
                param=name,
                code="unsupported_parameter",
            )
        if name in _CHECKS and body[name] is not None:
            _CHECKS[name](body)
    if body.get("top_logprobs") and not body.get("logprobs"):
        raise Refused("top_logprobs requires logprobs to be set to true", param="top_logprobs")
    if body.get("tool_choice") not in (None, "none") and not body.get("tools"):
        raise Refused("'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")


def _check_stop(body: Mapping[str, Any]) -> None:
    read_stops(body["stop"])


def _check_logprobs(body: Mapping[str, Any]) -> None:
    if not isinstance(body["logprobs"], bool):
        raise invalid_type("logprobs", "a boolean", body["logprobs"])


def _check_modalities(body: Mapping[str, Any]) -> None:
    asked = body["modalities"]
    if not isinstance(asked, list):
        raise invalid_type("modalities", "an array of strings", asked)
    for one in asked:
        if one not in ("text", "image", "audio"):
            raise invalid_value(
                "modalities",
                f"Invalid value: {one!r}. Supported values with the simulated model: 'text', 'image', and 'audio'.",
            )
    if "audio" in asked and body.get("audio") is None:
        raise missing("audio")


def _check_audio(body: Mapping[str, Any]) -> None:
    """https://platform.openai.com/docs/api-reference/chat/create#chat-create-audio"""
    audio = body["audio"]
    if not isinstance(audio, Mapping):
        raise invalid_type("audio", "an object", audio)
    if audio.get("voice") is None:
        raise missing("audio.voice")
    if audio.get("format") not in ("wav", "pcm16"):
        raise invalid_value(
            "audio.format",
            f"Invalid value: {audio.get('format')!r}. Supported values with the simulated model: 'wav' and 'pcm16'.",
        )


def _check_format(body: Mapping[str, Any]) -> None:
    form = body["response_format"]
    if not isinstance(form, Mapping):
        raise invalid_type("response_format", "an object", form)
    kind = form.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise bad_format(kind)
    if kind != "json_schema":
        return
    name, schema = read_schema(form)
    if form["json_schema"].get("strict") and (complaint := _first_complaint(msgspec.json.encode(schema))):
        raise Refused(f"Invalid schema for response_format '{name}': {complaint}.", param="response_format")


@lru_cache(maxsize=256)
def _first_complaint(schema: bytes) -> str | None:
    """What the service has against a strict schema: tens of thousands of requests carry the same one."""
    return next(iter(lint(msgspec.json.decode(schema))), None)


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body["tools"]
    if not isinstance(tools, list):
        raise invalid_type("tools", "an array of objects", tools)
    for number, tool in enumerate(tools):
        place = f"tools[{number}]"
        if not isinstance(tool, Mapping):
            raise invalid_type(place, "an object", tool)
        if tool.get("type") != "function":
            raise invalid_value(
                f"{place}.type",
                f"Invalid value: '{tool.get('type')}'. Supported values with the simulated model: 'function'.",
            )
        function = tool.get("function")
        if not isinstance(function, Mapping):
            raise missing(f"{place}.function")
        name = function.get("name")
        if name is None:
            raise missing(f"{place}.function.name")
        if not isinstance(name, str) or not name:
            raise invalid_type(f"{place}.function.name", "a string", name)


def _check_tool_choice(body: Mapping[str, Any]) -> None:
    choice = body["tool_choice"]
    if isinstance(choice, Mapping):
        function = choice.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise missing("tool_choice.function.name")
    elif choice not in ("none", "auto", "required"):
        raise invalid_value(
            "tool_choice", f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'."
        )


_CHECKS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "stop": _check_stop,
    "logprobs": _check_logprobs,
    "modalities": _check_modalities,
    "audio": _check_audio,
    "response_format": _check_format,
    "tools": _check_tools,
    "tool_choice": _check_tool_choice,
}


# --- messages ---


def read_messages(messages: Any) -> tuple[str, int]:
    """The texts of all messages, one after the other, and how many pictures, sounds and files are among them.

    Raises Refused.
    """
    check_message_list(messages)
    texts: list[str] = []
    others = 0
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise invalid_type(f"messages[{number}]", "an object", message)
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES:
            raise _no_role(role, number)
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            for at, part in enumerate(content):
                text = _read_part(part, f"messages[{number}].content[{at}]")
                if text is None:
                    others += 1
                else:
                    texts.append(text)
        elif content is not None:
            raise invalid_type(f"messages[{number}].content", "a string or an array of objects", content)
        elif role != "assistant":
            raise missing(f"messages[{number}].content")
    return "\n".join(texts), others


def _no_role(role: Any, number: int) -> Refused:
    if role is None:
        return missing(f"messages[{number}].role")
    known = ", ".join(f"'{name}'" for name in _ROLES[:-1])
    return invalid_value(
        f"messages[{number}].role", f"Invalid value: '{role}'. Supported values are: {known}, and '{_ROLES[-1]}'."
    )


def _read_part(part: Any, place: str) -> str | None:
    """The text of a part; None for what is not a text."""
    if not isinstance(part, Mapping):
        raise invalid_type(place, "an object", part)
    kind = part.get("type")
    if kind not in _PARTS:
        known = ", ".join(f"'{name}'" for name in _PARTS)
        raise invalid_value(f"{place}.type", f"Invalid value: '{kind}'. Supported values are: {known}.")
    inner = part.get(kind)
    if inner is None:
        raise missing(f"{place}.{kind}")
    if _PARTS[kind]:
        if not isinstance(inner, str):
            raise invalid_type(f"{place}.{kind}", "a string", inner)
        return inner
    if not isinstance(inner, Mapping):
        raise invalid_type(f"{place}.{kind}", "an object", inner)
    if kind == "image_url" and not isinstance(inner.get("url"), str):
        raise missing(f"{place}.image_url.url")
    return None
