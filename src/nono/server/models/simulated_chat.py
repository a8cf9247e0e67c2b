"""Simulated chats: an answer that fits what was asked, made up from the request alone.

A tool is called where one is demanded, or where there are tools and a user speaks last; otherwise the answer is a text,
JSON for a schema, a picture beside the text, a sound in its place, or a text with a source.
https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Mapping
from random import Random
from typing import Any

from nono.server.models.directives import Wishes, obey
from nono.server.models.picture import png
from nono.server.models.refusals import Refused
from nono.server.models.simulated_checks import check_chat, read_messages
from nono.server.models.sound import pcm, wav
from nono.server.models.specimen import Unsatisfiable, specimen

MARK = "[simulated]"
FINGERPRINT = "nono-simulated"
CHARS_PER_TOKEN = 4
# https://platform.openai.com/docs/guides/images-vision: a picture in low detail
TOKENS_PER_PICTURE = 85
TOKENS_PER_MESSAGE = 4
# An answer whose length nobody asks for has from 6 to so many words.
LONGEST_ANSWER_WORDS = 24

_SAID = (
    "this text stands for the answer of a real model it was made up from your request alone and means nothing so "
    "please do not read anything into it the same request gives the same words again"
)
_WORDS = _SAID.split()
_ASKED_WORDS = re.compile(r"\b(\d{1,4})[ -]words?\b")
_ASPECT = re.compile(r"(\d{1,2}):(\d{1,2})")
_PIXELS = 64
_SPEECH_KEPT_S = 3_600


def chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion. Raises Refused."""
    prompt, pictures = read_messages(body.get("messages"))
    check_chat(body)
    wishes = obey(prompt)
    digest = hashlib.blake2b(f"{body.get('seed')}\0{prompt}".encode("utf-8", "surrogatepass"), digest_size=12)
    seed = int.from_bytes(digest.digest()[:4])
    choices = []
    completion_tokens = 0
    for index in range(body.get("n") or 1):
        choice, tokens = _choice(body, prompt, wishes, seed, index)
        completion_tokens += tokens
        choices.append(choice)
    prompt_tokens = tokens_in(prompt) + 4 * len(body["messages"]) + TOKENS_PER_PICTURE * pictures
    return {
        "id": f"chatcmpl-simulated{digest.hexdigest()}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model"),
        "choices": choices,
        "usage": {
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
        },
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def tokens_in(text: str) -> int:
    """About what a tokenizer would count."""
    return (len(text) + CHARS_PER_TOKEN - 1) // CHARS_PER_TOKEN


def colour(seed: int) -> tuple[int, int, int]:
    return seed >> 16 & 0xFF, seed >> 8 & 0xFF, seed & 0xFF


def _choice(body: Mapping[str, Any], prompt: str, wishes: Wishes, seed: int, index: int) -> tuple[dict[str, Any], int]:
    """One choice and its tokens."""
    seed += index
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    choice = {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
    if wishes.refuse:
        message["refusal"] = f"{MARK} I'm sorry, but I can't help with that."
        return choice, tokens_in(message["refusal"])
    call = _tool_call(body, seed) if wishes.say is None and body.get("tools") else None
    if call is not None:
        message["tool_calls"] = [call]
        # A call of a function that was named is an ordinary end.
        # https://platform.openai.com/docs/guides/function-calling
        choice["finish_reason"] = "stop" if isinstance(body.get("tool_choice"), Mapping) else "tool_calls"
        return choice, tokens_in(call["function"]["arguments"]) + TOKENS_PER_MESSAGE
    text = wishes.say if wishes.say is not None else _text(body, prompt, wishes, seed)
    for stop in _stops(body.get("stop")):
        text = text.partition(stop)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is not None and len(text) > limit * CHARS_PER_TOKEN:
        text = text[: limit * CHARS_PER_TOKEN]
        choice["finish_reason"] = "length"
    message["content"] = text
    if body.get("logprobs"):
        choice["logprobs"] = _logprobs(text, body.get("top_logprobs") or 0, seed)
    if body.get("web_search_options") is not None:
        message["annotations"] = [_citation(text, seed)]
    if "image" in (body.get("modalities") or ()):
        message["images"] = [_picture(body.get("image_config") or {}, seed)]
    if "audio" in (body.get("modalities") or ()):
        message |= {"content": None, "audio": _speech(text, body["audio"], seed)}
    return choice, tokens_in(text)


def _stops(stop: Any) -> list[str]:
    return [stop] if isinstance(stop, str) and stop else [one for one in stop or () if one]


def _text(body: Mapping[str, Any], prompt: str, wishes: Wishes, seed: int) -> str:
    form = body.get("response_format") or {}
    if form.get("type") == "json_schema":
        schema = form["json_schema"].get("schema", {"type": "object"})
        return _json_for(schema, seed, f"response_format '{form['json_schema']['name']}'", "response_format")
    if form.get("type") == "json_object":
        return json.dumps({"simulated": True, "word": _WORDS[seed % len(_WORDS)]})
    words = wishes.words
    if words is None and "word" in prompt and (asked := _ASKED_WORDS.search(prompt)):
        words = max(1, int(asked.group(1)))
    if words is None:
        words = 6 + seed % (LONGEST_ANSWER_WORDS - 5)
    start = seed % len(_WORDS)
    said = _WORDS[start:] + _WORDS * (words // len(_WORDS) + 1)
    return f"{MARK} {' '.join(said[: words - 1])}." if words > 1 else MARK


def _json_for(schema: Any, seed: int, whose: str, param: str) -> str:
    try:
        return json.dumps(specimen(schema, Random(seed)), ensure_ascii=False)  # noqa: S311 - not a secret
    except Unsatisfiable as error:
        raise Refused(f"Invalid schema for {whose}: {error}.", param=param) from error


def _tool_call(body: Mapping[str, Any], seed: int) -> dict[str, Any] | None:
    """A call where one is demanded, or where a user speaks last."""
    choice = body.get("tool_choice") or "auto"
    if choice == "none" or (choice == "auto" and body["messages"][-1]["role"] != "user"):
        return None
    functions = [tool["function"] for tool in body["tools"]]
    if isinstance(choice, Mapping):
        wanted = choice["function"]["name"]
        functions = [function for function in functions if function["name"] == wanted]
        if not functions:
            raise Refused(f"Tool choice '{wanted}' not found in 'tools' parameter.", param="tool_choice")
    function = functions[seed % len(functions)]
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    arguments = _json_for(schema, seed, f"function '{function['name']}'", "tools")
    called = {"name": function["name"], "arguments": arguments}
    return {"id": f"call_simulated{seed:08x}", "type": "function", "function": called}


def _logprobs(text: str, alternatives: int, seed: int) -> dict[str, Any]:
    """Made-up certainty, token for token; the chosen token is always the likeliest."""
    tokens = [text[at : at + CHARS_PER_TOKEN] for at in range(0, len(text), CHARS_PER_TOKEN)]

    def shown(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "surrogatepass"))}

    content = []
    for number, token in enumerate(tokens):
        chosen = shown(token, -((seed + 37 * number) % 100 + 1) / 1000)
        others = [shown(f" {_WORDS[(number + one) % len(_WORDS)]}", -2.5 - one) for one in range(alternatives - 1)]
        content.append({**chosen, "top_logprobs": [dict(chosen), *others] if alternatives else []})
    return {"content": content, "refusal": None}


def _citation(text: str, seed: int) -> dict[str, Any]:
    page = {"title": "A simulated source", "url": f"https://example.com/simulated/{seed % 1000}"}
    return {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": len(text), **page}}


def _picture(config: Mapping[str, Any], seed: int) -> dict[str, Any]:
    asked = _ASPECT.fullmatch(str(config.get("aspect_ratio") or "1:1"))
    if asked is None or "0" in asked.groups():
        raise Refused(f"Invalid value: {config.get('aspect_ratio')!r} is not an aspect ratio.", param="image_config")
    across, down = int(asked.group(1)), int(asked.group(2))
    longest = max(across, down)
    picture = png(max(1, _PIXELS * across // longest), max(1, _PIXELS * down // longest), colour(seed))
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _speech(text: str, asked: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A tone in the place of a voice, and the text that it stands for."""
    samples = pcm(220 + seed % 440)
    data = samples if asked["format"] == "pcm16" else wav(samples)
    spoken = {"id": f"audio_simulated{seed:08x}", "expires_at": int(time.time()) + _SPEECH_KEPT_S, "transcript": text}
    return spoken | {"data": base64.b64encode(data).decode()}
