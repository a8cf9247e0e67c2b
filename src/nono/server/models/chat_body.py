"""OpenAI's chat bodies, to what llama.cpp's server understands of them, and its answers back; pure.

Every field of the API is in one of three places: passed on, without effect on a model like this, or refused. A field
that is in none is refused, too, as the API does it: llama.cpp has fields of its own, and they stay its own.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from nono.server.models.chat_fields import (
    NUMBERS,
    bad_format,
    check_message_list,
    check_numbers,
    read_schema,
    read_stops,
)
from nono.server.models.refusals import Refused, check_number, invalid_type, invalid_value, missing

_PASSED = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_READ = frozenset(NUMBERS) | {"messages", "model", "stop", "logit_bias", "logprobs", "response_format"}
# They say who asks, how to bill, cache or hurry; or how much to think, to a model that does not.
_WITHOUT_EFFECT = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
# What would change the answer and is not done. Field → the values that ask for nothing.
_NOT_DONE: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "function_call": (None, "none"),
    "functions": (None, []),
    "modalities": (None, ["text"]),
    "moderation": (None,),
    "stream": (None, False),
    "stream_options": (None,),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "web_search_options": (None,),
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TEXTS = {"text": "text", "refusal": "refusal"}
# A small model may repeat itself without end. Without a limit of its own a request gets this one, and says `length`.
DEFAULT_MAX_TOKENS = 1024
# The widest seed that llama.cpp takes; the one above it means "random".
_SEEDS = 0xFFFFFFFF
# White space as models write it in a line: without it a small model picks worse, free to choose it wastes tokens on it
# (benchmarks/models.md).  https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md
_SPACING = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}


def to_engine(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bodies for llama.cpp, one for each of the `n` choices. Raises Refused."""
    _check_fields(body)
    asked: dict[str, Any] = {name: body[name] for name in _PASSED if body.get(name) is not None}
    asked["messages"] = _messages(body.get("messages"))
    limits = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    asked["max_tokens"] = min(limits, default=DEFAULT_MAX_TOKENS)
    asked |= _logprobs(body) | _logit_bias(body.get("logit_bias"))
    if stops := read_stops(body.get("stop")):
        asked["stop"] = stops
    asked |= _grammar(body.get("response_format"), asked["messages"])
    seed = body.get("seed")
    seeds = [{} if seed is None else {"seed": (seed + index) % _SEEDS} for index in range(body.get("n") or 1)]
    return [asked | seed for seed in seeds]


def from_engine(body: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], fingerprint: str) -> dict[str, Any]:
    """The chat completion of all choices' answers."""
    prompt_tokens = answers[0]["usage"]["prompt_tokens"]
    cached_tokens = answers[0]["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)
    completion_tokens = sum(answer["usage"]["completion_tokens"] for answer in answers)
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": [_choice(body, index, answer["choices"][0]) for index, answer in enumerate(answers)],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": fingerprint,
    }


def refusal(error: Mapping[str, Any]) -> Refused:
    """llama.cpp's no, in OpenAI's words."""
    if error.get("type") == "exceed_context_size_error":
        # https://platform.openai.com/docs/guides/error-codes
        return Refused(
            f"This model's maximum context length is {error['n_ctx']} tokens. However, your messages resulted in "
            f"{error['n_prompt_tokens']} tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )
    code = error.get("code")
    return Refused(str(error.get("message")), status=code if isinstance(code, int) and code >= 400 else 500)


def _check_fields(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name in _NOT_DONE:
            if value not in _NOT_DONE[name] and not (name == "tools" and body.get("tool_choice") == "none"):
                raise Refused(
                    f"Unsupported parameter: '{name}' is not supported with the embedded model.",
                    param=name,
                    code="unsupported_parameter",
                )
        elif name not in _READ and name not in _WITHOUT_EFFECT:
            raise Refused(f"Unrecognized request argument supplied: {name}", param=None)
    check_numbers(body)


def _messages(messages: Any) -> list[dict[str, str]]:
    check_message_list(messages)
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _message(message: Any, place: str) -> dict[str, str]:
    if not isinstance(message, Mapping):
        raise invalid_type(place, "an object", message)
    role = message.get("role")
    if role is None:
        raise missing(f"{place}.role")
    if message.get("tool_calls") or role in ("tool", "function"):
        raise invalid_value(place, f"Invalid value: the embedded model has no tools; '{place}' is about one.")
    if role not in _ROLES:
        known = ", ".join(f"'{name}'" for name in _ROLES)
        raise invalid_value(f"{place}.role", f"Invalid value: '{role}'. Supported values are: {known}.")
    content = message.get("content")
    if content is None:
        raise missing(f"{place}.content")
    if isinstance(content, list):
        content = "\n".join(_part(part, f"{place}.content[{index}]") for index, part in enumerate(content))
    if not isinstance(content, str):
        raise invalid_type(f"{place}.content", "a string or an array of objects", content)
    return {"role": _ROLES[role], "content": content}


def _part(part: Any, place: str) -> str:
    if not isinstance(part, Mapping):
        raise invalid_type(place, "an object", part)
    kind = part.get("type")
    if kind not in _TEXTS:
        raise invalid_value(f"{place}.type", f"Invalid value: '{kind}'. The embedded model reads text alone.")
    text = part.get(_TEXTS[kind])
    if not isinstance(text, str):
        raise invalid_type(f"{place}.{_TEXTS[kind]}", "a string", text)
    return text


def _logprobs(body: Mapping[str, Any]) -> dict[str, Any]:
    wanted = body.get("logprobs")
    if wanted not in (None, False, True):
        raise invalid_type("logprobs", "a boolean", wanted)
    if not wanted:
        if body.get("top_logprobs"):
            raise Refused("top_logprobs requires logprobs to be set to true", param="top_logprobs")
        return {}
    # llama.cpp gives the chosen token only together with alternatives: ask for one, and leave it out of the answer.
    return {"logprobs": True, "top_logprobs": max(1, body.get("top_logprobs") or 0)}


def _logit_bias(bias: Any) -> dict[str, Any]:
    if not bias:
        return {}
    if not isinstance(bias, Mapping):
        raise invalid_type("logit_bias", "an object", bias)
    for token, value in bias.items():
        if not re.fullmatch(r"\d+", token):
            raise invalid_value(
                "logit_bias",
                f"Invalid key in 'logit_bias': {token}. You should only be submitting non-negative integers.",
            )
        check_number({f"logit_bias.{token}": value}, f"logit_bias.{token}", -100, 100)
    return {"logit_bias": [[int(token), float(value)] for token, value in bias.items()]}


def _grammar(form: Any, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """What binds the answer to a form. https://platform.openai.com/docs/guides/structured-outputs"""
    if form is None:
        return {}
    if not isinstance(form, Mapping):
        raise invalid_type("response_format", "an object", form)
    match form.get("type"):
        case "text":
            return {}
        case "json_object":
            if not any("json" in message["content"].lower() for message in messages):
                raise Refused(
                    "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
                    "'json_object'.",
                    param="messages",
                )
            return {"grammar": _json_grammar('{"type": "object"}', "json_object")}
        case "json_schema":
            name, schema = read_schema(form)
            return {"grammar": _json_grammar(json.dumps(schema), name)}
        case other:
            raise bad_format(other)


@lru_cache(maxsize=256)
def _json_grammar(schema: str, name: str) -> str:
    """The grammar of a schema's JSON. Raises Refused for a schema that it cannot hold the model to.

    Asked of the grammar engine itself, and beforehand: llama.cpp answers without any grammar if it cannot read one.
    """
    from llguidance import LLMatcher

    grammar = f"%llguidance {{}}\nstart: %json {json.dumps({**json.loads(schema), **_SPACING})}"
    if problem := LLMatcher.validate_grammar(grammar):
        why = re.sub(r"^at \d+\(\d+\): failed to compile JSON schema: |\n +\d+ \|.*", "", problem, flags=re.S)
        raise Refused(
            f"Invalid schema for response_format '{name}': {' '.join(why.split())}",
            param="response_format",
            code="invalid_json_schema",
        )
    return grammar


def _choice(body: Mapping[str, Any], index: int, choice: Mapping[str, Any]) -> dict[str, Any]:
    said = choice["message"].get("content") or ""
    bound = (body.get("response_format") or {}).get("type", "text") != "text" and not body.get("stop")
    if bound and choice["finish_reason"] == "stop" and not _is_json(said):
        raise Refused("the answer is not bound to its schema: llama.cpp did not read the grammar", status=500)
    return {
        "index": index,
        "message": {"role": "assistant", "content": said, "refusal": None, "annotations": []},
        "logprobs": _said_logprobs(choice, body.get("top_logprobs") or 0) if body.get("logprobs") else None,
        "finish_reason": choice["finish_reason"],
    }


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _said_logprobs(choice: Mapping[str, Any], top: int) -> dict[str, Any]:
    tokens = choice["logprobs"]["content"]
    return {
        # The token that ends an answer has no text; OpenAI leaves it out.
        "content": [
            {**_token(token), "top_logprobs": [_token(other) for other in token["top_logprobs"][:top]]}
            for token in tokens
            if token["token"]
        ],
        "refusal": None,
    }


def _token(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token["token"], "logprob": token["logprob"], "bytes": token["bytes"]}
