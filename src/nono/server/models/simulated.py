"""A model that is none: instant, deterministic from the request, and named as simulated in every text it gives.

It answers whatever a real one can be asked for in a batch: texts of the asked length, JSON for a schema, tool calls,
pictures (a real small PNG), sources for a web search, embeddings of the asked dimension, moderation verdicts.

A prompt may hold directives, which nobody writes by accident:

| in the prompt | what happens |
|---|---|
| `[[nono:error 429]]` | the request fails with that HTTP status |
| `[[nono:error 400 context_length_exceeded]]` | … and that code |
| `[[nono:say …]]` | the answer is exactly that text |
| `[[nono:sleep 0.2]]` | the answer takes so many seconds |
"""

from __future__ import annotations

import base64
import json
import re
import struct
import time
from array import array
from collections.abc import Callable, Mapping
from random import Random
from typing import Any
from zlib import crc32

from nono.server.models import CHAT, EMBEDDINGS, IMAGES, MODERATIONS
from nono.server.models.picture import png
from nono.server.models.specimen import Unsatisfiable, specimen

Answer = tuple[int, dict[str, Any]]

MARK = "[simulated]"
FINGERPRINT = "nono-simulated"
BYTES_PER_TOKEN = 4
# Without a limit an answer has so many words at most.
LONGEST_ANSWER_WORDS = 24
# https://platform.openai.com/docs/guides/embeddings and https://ai.google.dev/gemini-api/docs/embeddings
DIMENSIONS = {"text-embedding-3-large": 3072, "gemini-embedding-001": 3072, "gemini-embedding-2": 3072}
DEFAULT_DIMENSIONS = 1536
LARGEST_DIMENSIONS = 4096
# https://platform.openai.com/docs/api-reference/moderations/object
CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_IMAGE_CATEGORIES = frozenset(
    {"self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "violence", "violence/graphic"}
)
# Words that make a verdict, so that both verdicts can be had; a toy, as everything here.
_ALARMING = {"kill": "violence", "murder": "violence", "hate": "hate", "suicide": "self-harm", "naked": "sexual"}

_SAID = (
    "this text stands for the answer of a real model it was made up from your request alone and means nothing so "
    "please do not read anything into it the same request gives the same words again"
)
_WORDS = tuple(_SAID.split())
_DIRECTIVE = re.compile(r"\[\[nono:(\w+) ?([^\]]*)\]\]")
_PIXELS = 64


class SimulatedModel:
    """Answers every endpoint at once. Holds nothing; threads may share it."""

    name = "simulated"
    slots = 1
    endpoints = frozenset({CHAT, EMBEDDINGS, MODERATIONS, IMAGES})

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> Answer:
        try:
            return _ENDPOINTS[endpoint](body)
        except _Refused as refused:
            return refused.answer
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, RecursionError) as error:
            return _error(400, f"Invalid request: {type(error).__name__}: {error}").answer

    def close(self) -> None:
        """Nothing is held open."""


class _Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__()
        self.answer: Answer = (status, {"error": dict(error)})


def _error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> _Refused:
    kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
    return _Refused(status, {"message": message, "type": kind, "param": param, "code": code})


# --- chat ---


def _chat(body: Mapping[str, Any]) -> Answer:
    prompt = _prompt(body)
    said = _directives(prompt) if "[[nono:" in prompt else None
    seed = crc32(prompt.encode("utf-8", "surrogatepass")) ^ crc32(str(body.get("seed")).encode())
    prompt_tokens = _tokens(prompt)
    count = body.get("n") or 1
    if not isinstance(count, int) or not 1 <= count <= 128:
        raise _error(400, f"Invalid 'n': expected an integer from 1 to 128, but got {count!r} instead.", param="n")
    limit = _limit(body)
    choices, completion_tokens = [], 0
    for index in range(count):
        message, reason, tokens = _message(body, prompt, said, seed + index, limit)
        completion_tokens += tokens
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": reason})
    return 200, {
        "id": f"chatcmpl-simulated{seed:08x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": choices,
        "usage": _usage(prompt_tokens, completion_tokens),
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def _prompt(body: Mapping[str, Any]) -> str:
    """All texts of the messages, one after the other; pictures count as their URLs."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _error(
            400,
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    texts = []
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise _error(400, f"Missing required parameter: 'messages[{number}].role'.", param=f"messages[{number}]")
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            texts += [_part_text(part, f"messages[{number}].content[{at}]") for at, part in enumerate(content)]
        elif content is not None:
            raise _error(
                400,
                f"Invalid type for 'messages[{number}].content': expected a string or an array of objects, "
                f"but got {_kind(content)} instead.",
                param=f"messages[{number}].content",
                code="invalid_type",
            )
    return "\n".join(texts)


def _part_text(part: Any, place: str) -> str:
    if not isinstance(part, Mapping):
        raise _error(
            400, f"Invalid type for '{place}': expected an object, but got {_kind(part)} instead.", param=place
        )
    match part.get("type"):
        case "text" | "refusal":
            return str(part.get("text") or part.get("refusal") or "")
        case "image_url":
            picture = part.get("image_url")
            if not isinstance(picture, Mapping) or not isinstance(picture.get("url"), str):
                raise _error(400, f"Missing required parameter: '{place}.image_url.url'.", param=f"{place}.image_url")
            return str(picture["url"])
        case "input_audio" | "file":
            return json.dumps(part, sort_keys=True)[:200]
        case other:
            raise _error(
                400, f"Invalid value: {other!r} at '{place}.type'.", param=f"{place}.type", code="invalid_value"
            )


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", bool: "a boolean", int: "an integer", float: "a decimal"}
    return kinds.get(type(value), "null" if value is None else "a string")


def _directives(prompt: str) -> str | None:
    """Do what the prompt's directives say; the text of a `say`, if there is one."""
    said = None
    for name, value in _DIRECTIVE.findall(prompt):
        if name == "error":
            status, _, code = value.partition(" ")
            raise _error(int(status), f"{MARK} asked to fail with {value}", code=code or None)
        if name == "sleep":
            time.sleep(float(value))
        if name == "say":
            said = value
    return said


def _limit(body: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise _error(
                400,
                f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {limit!r} instead.",
                param=name,
                code="integer_below_min_value",
            )
        return limit
    return None


def _message(
    body: Mapping[str, Any], prompt: str, said: str | None, seed: int, limit: int | None
) -> tuple[dict[str, Any], str, int]:
    """A message, why it ended, and its tokens."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    calls = _tool_calls(body, seed)
    if calls:
        message["tool_calls"] = calls
        return message, "tool_calls", sum(_tokens(call["function"]["arguments"]) for call in calls) + 8
    text = said if said is not None else _text(body, prompt, seed)
    reason = "stop"
    for stop in _stops(body):
        if (at := text.find(stop)) >= 0:
            text = text[:at]
    if limit is not None and _tokens(text) > limit:
        text, reason = text[: limit * BYTES_PER_TOKEN], "length"
    message["content"] = text
    if "web_search_options" in body:
        message["annotations"] = [_citation(text, seed)]
    if "image" in (body.get("modalities") or ()):
        picture = png(_PIXELS, _PIXELS, _colour(seed))
        url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        message["images"] = [{"type": "image_url", "image_url": {"url": url}}]
    return message, reason, max(1, _tokens(text))


def _text(body: Mapping[str, Any], prompt: str, seed: int) -> str:
    form = body.get("response_format") or {}
    match form.get("type"):
        case "json_schema":
            schema = (form.get("json_schema") or {}).get("schema")
            if not isinstance(schema, Mapping | bool):
                raise _error(
                    400,
                    "Missing required parameter: 'response_format.json_schema.schema'.",
                    param="response_format.json_schema.schema",
                    code="missing_required_parameter",
                )
            try:
                return json.dumps(specimen(schema, Random(seed)), ensure_ascii=False)  # noqa: S311 - not a secret
            except Unsatisfiable as error:
                raise _error(400, f"Invalid schema for response_format: {error}", param="response_format") from error
        case "json_object":
            return json.dumps({"simulated": True, "words": _WORDS[seed % len(_WORDS)]})
    words = 6 + seed % (LONGEST_ANSWER_WORDS - 6)
    start = seed % len(_WORDS)
    return f"{MARK} {' '.join((_WORDS + _WORDS)[start : start + words])}."


def _stops(body: Mapping[str, Any]) -> list[str]:
    stop = body.get("stop")
    return [stop] if isinstance(stop, str) else [one for one in stop or () if one]


def _tool_calls(body: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    """A call where one is demanded, or where there are tools and the last message is a user's."""
    tools = body.get("tools") or []
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none" or (choice == "auto" and body["messages"][-1]["role"] != "user"):
        return []
    functions = [tool["function"] for tool in tools if tool.get("type") == "function"]
    if isinstance(choice, Mapping):
        wanted = choice["function"]["name"]
        functions = [function for function in functions if function["name"] == wanted]
        if not functions:
            raise _error(400, f"Tool choice '{wanted}' not found in 'tools' parameter.", param="tool_choice")
    if not functions:
        return []
    function = functions[seed % len(functions)]
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    arguments = json.dumps(specimen(schema, Random(seed)), ensure_ascii=False)  # noqa: S311 - not a secret
    call = {"name": function["name"], "arguments": arguments}
    return [{"id": f"call_simulated{seed:08x}", "type": "function", "function": call}]


def _citation(text: str, seed: int) -> dict[str, Any]:
    page = {"url": f"https://example.com/simulated/{seed % 1000}", "title": "A simulated source"}
    return {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": len(text), **page}}


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _tokens(text: str) -> int:
    return (len(text) + BYTES_PER_TOKEN - 1) // BYTES_PER_TOKEN


def _colour(seed: int) -> tuple[int, int, int]:
    return seed >> 16 & 0xFF, seed >> 8 & 0xFF, seed & 0xFF


# --- embeddings ---


def _embeddings(body: Mapping[str, Any]) -> Answer:
    texts = _inputs(body.get("input"))
    for text in texts:
        if isinstance(text, str) and "[[nono:" in text:
            _directives(text)
    dimensions = body.get("dimensions")
    if dimensions is None:
        dimensions = DIMENSIONS.get(str(body.get("model")), DEFAULT_DIMENSIONS)
    if not isinstance(dimensions, int) or not 1 <= dimensions <= LARGEST_DIMENSIONS:
        raise _error(
            400, f"Invalid 'dimensions': {dimensions!r} is not from 1 to {LARGEST_DIMENSIONS}.", param="dimensions"
        )
    packed = body.get("encoding_format") == "base64"
    data = []
    tokens = 0
    for index, text in enumerate(texts):
        vector = _vector(text, dimensions)
        tokens += _tokens(text) if isinstance(text, str) else len(text)
        coded: Any = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if packed else vector.tolist()
        data.append({"object": "embedding", "index": index, "embedding": coded})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return 200, {"object": "list", "data": data, "model": body.get("model"), "usage": usage}


def _inputs(given: Any) -> list[Any]:
    """The texts, or token lists, to embed."""
    if isinstance(given, str) or (isinstance(given, list) and given and all(isinstance(one, int) for one in given)):
        given = [given]
    if not isinstance(given, list) or not given:
        raise _error(400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if len(given) > 2048:
        raise _error(400, f"Invalid 'input': at most 2048 inputs, but got {len(given)}.", param="input")
    for one in given:
        if not one or not isinstance(one, str | list):
            raise _error(400, "'$.input' is invalid. Please check the API reference.", param="input")
    return given


def _vector(text: Any, dimensions: int) -> array[float]:
    """A unit vector that depends on the text alone; equal texts have equal vectors, others nearly orthogonal ones."""
    random = Random(crc32(repr(text).encode("utf-8", "surrogatepass")))  # noqa: S311 - not a secret
    values = [byte - 127.5 for byte in random.randbytes(dimensions)]
    length = sum(value * value for value in values) ** 0.5
    # Single precision, as the services send it.
    return array("f", [value / length for value in values])


# --- moderations and images ---


def _moderations(body: Mapping[str, Any]) -> Answer:
    given = body.get("input")
    if isinstance(given, str):
        items: list[Any] = [given]
    elif isinstance(given, list) and given and all(isinstance(one, Mapping) for one in given):
        items = [given]
    elif isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        items = given
    else:
        raise _error(400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    results = [_verdict(item) for item in items]
    return 200, {"id": "modr-simulated", "model": body.get("model") or "omni-moderation-latest", "results": results}


def _verdict(item: Any) -> dict[str, Any]:
    parts = [{"type": "text", "text": item}] if isinstance(item, str) else item
    kinds = {str(part.get("type")) for part in parts}
    if unknown := kinds - {"text", "image_url"}:
        raise _error(400, f"Invalid value: {sorted(unknown)[0]!r} at 'input[].type'.", param="input")
    text = " ".join(str(part.get("text", "")) for part in parts)
    if "[[nono:" in text:
        _directives(text)
    alarms = {_ALARMING[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _ALARMING}
    scores = {
        name: 0.9 if name in alarms else crc32((name + text).encode("utf-8", "surrogatepass")) % 1000 / 1e6
        for name in CATEGORIES
    }
    applied = {
        name: [
            kind.removesuffix("_url")
            for kind in ("text", "image_url")
            if kind in kinds and (kind == "text" or name in _IMAGE_CATEGORIES)
        ]
        for name in CATEGORIES
    }
    return {
        "flagged": bool(alarms),
        "categories": {name: name in alarms for name in CATEGORIES},
        "category_scores": scores,
        "category_applied_input_types": applied,
    }


def _images(body: Mapping[str, Any]) -> Answer:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise _error(400, "Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
    _directives(prompt)
    count = body.get("n") or 1
    if not isinstance(count, int) or not 1 <= count <= 10:
        raise _error(400, f"Invalid 'n': expected an integer from 1 to 10, but got {count!r} instead.", param="n")
    seed = crc32(prompt.encode("utf-8", "surrogatepass"))
    pictures = [png(_PIXELS, _PIXELS, _colour(seed + index)) for index in range(count)]
    tokens = _tokens(prompt)
    return 200, {
        "created": int(time.time()),
        "data": [{"b64_json": base64.b64encode(picture).decode()} for picture in pictures],
        "usage": {
            "input_tokens": tokens,
            "output_tokens": 16 * count,
            "total_tokens": tokens + 16 * count,
            "input_tokens_details": {"text_tokens": tokens, "image_tokens": 0},
        },
    }


_ENDPOINTS: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
    CHAT: _chat,
    EMBEDDINGS: _embeddings,
    MODERATIONS: _moderations,
    IMAGES: _images,
}
