"""Gemini's generateContent and embedContent as chats and embeddings.

Requests come with their fields in camelCase and in their places (`nono.providers.gemini.fields`), files of this server
already in them. What a chat cannot say is refused (InputError), never left out in silence; what only tunes the
service's own filters, routing and bills (safetySettings, labels, serviceTier, store, taskType, title) has nothing to
act on here. https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from nono.errors import InputError
from nono.server.translate.gemini_answers import answered_content, answered_embedding
from nono.server.translate.gemini_parts import messages_of
from nono.server.translate.openapi import to_json_schema

from_chat = answered_content
from_embeddings = answered_embedding

_NOT_IMITATED = ("cachedContent", "continuationToken")
# generationConfig field → chat field of the same meaning. `top_k` is what local model servers call it.
_SAME = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "candidateCount": "n",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
# https://ai.google.dev/gemini-api/docs/openai#thinking: what each effort allows for thoughts, in tokens
_EFFORTS = ((0, "none"), (1_024, "low"), (8_192, "medium"))
_MODES = {"AUTO": "auto", "ANY": "required", "NONE": "none", "VALIDATED": "auto", "MODE_UNSPECIFIED": "auto"}


def to_chat(request: Mapping[str, Any]) -> dict[str, Any]:
    """The chat that asks the same, without its model. Raises InputError for what a chat cannot say."""
    _refuse(request, _NOT_IMITATED)
    config = request.get("generationConfig") or {}
    chat: dict[str, Any] = {"messages": list(messages_of(request, config.get("mediaResolution")))}
    for name, value in config.items():
        if name in _SAME:
            chat[_SAME[name]] = value
        elif name in _SETTINGS:
            chat |= _SETTINGS[name](value)
        elif name not in (*_FORMAT, "mediaResolution", "speechConfig") and value:
            raise _not_imitated(f"generationConfig.{name}")
    chat |= _speech(config) | _response_format(config)
    for part in _tools(request.get("tools") or [], request.get("toolConfig") or {}):
        chat |= part
    return chat


def to_embeddings(request: Mapping[str, Any]) -> dict[str, Any]:
    """The embeddings body that asks the same, without its model. Raises InputError for what is not a text."""
    config = request.get("embedContentConfig") or {}
    _refuse(config, ("documentOcr", "audioTrackExtraction"), "embedContentConfig.")
    parts = (request.get("content") or {}).get("parts") or []
    texts = [part.get("text") for part in parts]
    if not texts:
        raise InputError("content is not specified")
    if not all(isinstance(text, str) and part.keys() <= {"text"} for text, part in zip(texts, parts, strict=True)):
        raise InputError("Unsupported part in 'content': this local server embeds texts only.")
    dimensions = config.get("outputDimensionality") or request.get("outputDimensionality")
    body: dict[str, Any] = {"input": "\n".join(texts)}
    return body | ({"dimensions": dimensions} if dimensions else {})


def _refuse(fields: Mapping[str, Any], names: tuple[str, ...], place: str = "") -> None:
    for name in names:
        if fields.get(name):
            raise _not_imitated(place + name)


def _not_imitated(place: str) -> InputError:
    return InputError(f"Unsupported field: '{place}' is not imitated by this local server.")


# settings


def _modalities(asked: Any) -> dict[str, Any]:
    wanted = {str(name).upper() for name in asked} - {"MODALITY_UNSPECIFIED"}
    if strange := wanted - {"TEXT", "IMAGE", "AUDIO"}:
        raise _not_imitated(f"generationConfig.responseModalities: {', '.join(sorted(strange))}")
    beside = [name.lower() for name in ("IMAGE", "AUDIO") if name in wanted]
    return {"modalities": ["text", *beside]} if beside else {}


def _speech(config: Mapping[str, Any]) -> dict[str, Any]:
    """Speech is asked for by its modality; its settings say with which voice, the first of several speakers'."""
    if "AUDIO" not in {str(name).upper() for name in config.get("responseModalities") or ()}:
        if config.get("speechConfig"):
            raise InputError("generationConfig.speechConfig needs 'AUDIO' in generationConfig.responseModalities")
        return {}
    speech = config.get("speechConfig") or {}
    speakers = (speech.get("multiSpeakerVoiceConfig") or {}).get("speakerVoiceConfigs") or [{}]
    voice = (speech.get("voiceConfig") or speakers[0].get("voiceConfig") or {}).get("prebuiltVoiceConfig") or {}
    return {"audio": {"voice": voice.get("voiceName") or "Kore", "format": "pcm16"}}


def _image_config(config: Mapping[str, Any]) -> dict[str, Any]:
    names = {"aspectRatio": "aspect_ratio", "imageSize": "image_size"}
    return {"image_config": {names[name]: value for name, value in config.items()}}


def _effort(thinking: Mapping[str, Any]) -> dict[str, Any]:
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if level and level != "THINKING_LEVEL_UNSPECIFIED":
        return {"reasoning_effort": str(level).lower()}
    if not isinstance(budget, int) or budget < 0:  # -1: as the model likes
        return {}
    return {"reasoning_effort": next((effort for most, effort in _EFFORTS if budget <= most), "high")}


_SETTINGS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "responseModalities": _modalities,
    "imageConfig": _image_config,
    "thinkingConfig": _effort,
}
_FORMAT = ("responseMimeType", "responseSchema", "responseJsonSchema", "_responseJsonSchema")


def _response_format(config: Mapping[str, Any]) -> dict[str, Any]:
    mime = config.get("responseMimeType") or "text/plain"
    schema = config.get("responseJsonSchema", config.get("_responseJsonSchema"))
    if "responseSchema" in config:
        if schema is not None:
            raise InputError("only one of 'responseSchema' and 'responseJsonSchema' can be set")
        schema = to_json_schema(config["responseSchema"], "generationConfig.responseSchema")
    if mime == "text/plain":
        if schema is not None:
            raise InputError("a response schema needs generationConfig.responseMimeType 'application/json'")
        return {}
    if mime not in ("application/json", "text/x.enum"):
        raise InputError(
            f"generationConfig.responseMimeType: {mime!r} is none of 'text/plain', 'application/json', 'text/x.enum'"
        )
    if schema is None:
        # Not `json_object`: OpenAI's form wants the word "json" in the prompt, and Gemini does not.
        schema = {"type": "object"}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}}


# tools


def _tools(tools: Any, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    declared: list[Mapping[str, Any]] = []
    for number, tool in enumerate(tools):
        for name, value in tool.items():
            if name == "functionDeclarations":
                declared += value
            elif name in ("googleSearch", "googleSearchRetrieval"):
                yield {"web_search_options": {}}
            else:
                raise _not_imitated(f"tools[{number}].{name}")
    _refuse(config, ("retrievalConfig",), "toolConfig.")
    if declared:
        calling = config.get("functionCallingConfig") or {}
        allowed = calling.get("allowedFunctionNames") or []
        yield {"tools": [_function(one) for one in declared if not allowed or one.get("name") in allowed]}
        yield {"tool_choice": _choice(calling, allowed)}


def _choice(calling: Mapping[str, Any], allowed: list[str]) -> Any:
    mode = str(calling.get("mode") or "AUTO").upper()
    if mode not in _MODES:
        raise InputError(f"Invalid value at 'toolConfig.functionCallingConfig.mode': {mode!r}")
    if mode == "ANY" and len(allowed) == 1:
        return {"type": "function", "function": {"name": allowed[0]}}
    return _MODES[mode]


def _function(declaration: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: declaration[name] for name in ("name", "description") if name in declaration}
    if "parametersJsonSchema" in declaration:
        function["parameters"] = declaration["parametersJsonSchema"]
    elif "parameters" in declaration:
        function["parameters"] = to_json_schema(declaration["parameters"], "functionDeclarations.parameters")
    return {"type": "function", "function": function}
