"""A chat's answer as a GenerateContentResponse, an embeddings answer as an EmbedContentResponse.

https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

# https://ai.google.dev/api/generate-content#FinishReason
FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
# https://ai.google.dev/gemini-api/docs/speech-generation
SPEECH = "audio/L16;codec=pcm;rate=24000"
_DATA_URL = re.compile(r"data:([^;,]+);base64,(.*)", re.DOTALL)


def answered_content(request: Mapping[str, Any], model: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The response that a chat's answer is."""
    config = request.get("generationConfig") or {}
    response = {"candidates": [_candidate(choice, config) for choice in answer["choices"]]}
    usage = _usage(answer.get("usage") or {})
    return response | {
        **({"usageMetadata": usage} if usage else {}),
        "modelVersion": model,
        "responseId": secrets.token_urlsafe(16),
    }


def answered_embedding(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The response that an answer with one vector is."""
    tokens = (answer.get("usage") or {}).get("prompt_tokens")
    counted = {"tokenCount": str(tokens)} if tokens else {}
    return {**counted, "embedding": {"values": answer["data"][0]["embedding"]}}


def _candidate(choice: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    message = choice["message"]
    parts = list(_parts(message, config))
    candidate: dict[str, Any] = {"content": ({"parts": parts} if parts else {}) | {"role": "model"}}
    if message.get("refusal"):
        candidate |= {"finishReason": "SAFETY", "finishMessage": message["refusal"]}
    else:
        candidate["finishReason"] = FINISH_REASONS.get(choice.get("finish_reason") or "stop", "OTHER")
    grounding = _grounding(message.get("annotations") or [], message.get("content") or "")
    if grounding:
        candidate["groundingMetadata"] = grounding
    if config.get("responseLogprobs") and (choice.get("logprobs") or {}).get("content"):
        candidate |= _logprobs(choice["logprobs"]["content"])
    return candidate | {"index": choice.get("index", 0)}


def _parts(message: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thoughts, str) and (config.get("thinkingConfig") or {}).get("includeThoughts"):
        yield {"text": thoughts, "thought": True}
    modalities = {str(name).upper() for name in config.get("responseModalities") or ["TEXT"]}
    text = message.get("content")
    if text and "TEXT" in modalities:
        yield {"text": _bare_choice(text) if config.get("responseMimeType") == "text/x.enum" else text}
    for image in message.get("images") or ():
        data = _DATA_URL.fullmatch(image["image_url"]["url"])
        if data:
            yield {"inlineData": {"mimeType": data.group(1), "data": data.group(2)}}
        else:
            yield {"fileData": {"mimeType": "image/*", "fileUri": image["image_url"]["url"]}}
    if isinstance(audio := message.get("audio"), Mapping):
        yield {"inlineData": {"mimeType": SPEECH, "data": audio["data"]}}
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield {"functionCall": {"id": call["id"], "name": function["name"], "args": _arguments(function["arguments"])}}


def _bare_choice(text: str) -> str:
    """One of an enum comes as a JSON text; the service gives it without quotes."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _arguments(text: str) -> Any:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": text}  # what the model wrote is not hidden


def _grounding(annotations: list[Mapping[str, Any]], text: str) -> dict[str, Any]:
    cited = [one["url_citation"] for one in annotations if one.get("type") == "url_citation"]
    if not cited:
        return {}
    pages = list(dict.fromkeys((one["url"], one.get("title") or one["url"]) for one in cited))
    supports = []
    for one in cited:
        start, end = one.get("start_index", 0), one.get("end_index", len(text))
        # The service counts bytes.
        segment = {
            "startIndex": len(text[:start].encode()),
            "endIndex": len(text[:end].encode()),
            "text": text[start:end],
        }
        chunk = pages.index((one["url"], one.get("title") or one["url"]))
        supports.append({"segment": segment, "groundingChunkIndices": [chunk]})
    return {
        "groundingChunks": [{"web": {"uri": uri, "title": title}} for uri, title in pages],
        "groundingSupports": supports,
    }


def _logprobs(tokens: list[Mapping[str, Any]]) -> dict[str, Any]:
    def shown(token: Mapping[str, Any]) -> dict[str, Any]:
        return {"token": token["token"], "logProbability": token["logprob"]}

    return {
        "avgLogprobs": sum(token["logprob"] for token in tokens) / len(tokens),
        "logprobsResult": {
            "topCandidates": [
                {"candidates": [shown(one) for one in token.get("top_logprobs") or ()]} for token in tokens
            ],
            "chosenCandidates": [shown(token) for token in tokens],
        },
    }


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens; counters that are zero are left out."""
    prompt, completion = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    counted: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": completion - thoughts,
        "totalTokenCount": usage.get("total_tokens") or prompt + completion,
        "cachedContentTokenCount": (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}] if prompt else 0,
        "thoughtsTokenCount": thoughts,
    }
    return {name: count for name, count in counted.items() if count}
