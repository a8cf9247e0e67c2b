"""Which fields a request may have, and where: the service refuses every other one ("no such field").

One table of messages; client and local server read the same. A field whose message is not described further is taken as
it is. Names are lowerCamelCase here; the service takes the snake_case spelling of each as well.
https://ai.google.dev/api/generate-content and https://ai.google.dev/api/embeddings (v1beta, 2026-08); a test compares
the table with the types of google-genai.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# message → field → the message of the field (with [] for a list of them, {} for an object of them), or None where
# anything may stand.
MESSAGES: dict[str, dict[str, str | None]] = {
    "GenerateContentRequest": {
        "model": None,
        "contents": "Content[]",
        "systemInstruction": "Content",
        "tools": "Tool[]",
        "toolConfig": "ToolConfig",
        "safetySettings": "SafetySetting[]",
        "generationConfig": "GenerationConfig",
        "cachedContent": None,
        "labels": None,  # not in the discovery document; the official SDK sends it
        "serviceTier": None,
        "store": None,
        "continuationToken": None,
    },
    "EmbedContentRequest": {
        "model": None,
        "content": "Content",
        "taskType": None,
        "title": None,
        "outputDimensionality": None,
        "embedContentConfig": "EmbedContentConfig",
    },
    "EmbedContentConfig": dict.fromkeys(
        ("taskType", "title", "outputDimensionality", "autoTruncate", "documentOcr", "audioTrackExtraction")
    ),
    "Content": {"parts": "Part[]", "role": None},
    "Part": {
        "text": None,
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "executableCode": "ExecutableCode",
        "codeExecutionResult": "CodeExecutionResult",
        "toolCall": None,
        "toolResponse": None,
        "videoMetadata": "VideoMetadata",
        "mediaResolution": None,
        "partMetadata": None,
        "mediaProcessing": None,
        "audioTranscription": None,
        "audioMetadata": None,
        "speechMetadata": None,
        "documentMetadata": None,
        "spreadsheetMetadata": None,
        "thought": None,
        "thoughtSignature": None,
    },
    "Blob": dict.fromkeys(("mimeType", "data", "displayName")),
    "FileData": dict.fromkeys(("mimeType", "fileUri", "displayName")),
    "FunctionCall": dict.fromkeys(("id", "name", "args", "partialArgs", "willContinue")),
    "FunctionResponse": dict.fromkeys(("id", "name", "response", "parts", "willContinue", "scheduling")),
    "ExecutableCode": dict.fromkeys(("id", "language", "code")),
    "CodeExecutionResult": dict.fromkeys(("id", "outcome", "output")),
    "VideoMetadata": dict.fromkeys(("startOffset", "endOffset", "fps", "contentLayers")),
    "Tool": {
        "functionDeclarations": "FunctionDeclaration[]",
        **dict.fromkeys(
            (
                "googleSearch",
                "googleSearchRetrieval",
                "codeExecution",
                "urlContext",
                "fileSearch",
                "computerUse",
                "googleMaps",
                "mcpServers",
            )
        ),
    },
    "FunctionDeclaration": {
        **dict.fromkeys(("name", "description", "behavior", "parametersJsonSchema", "responseJsonSchema")),
        "parameters": "Schema",
        "response": "Schema",
    },
    "ToolConfig": {
        "functionCallingConfig": "FunctionCallingConfig",
        "retrievalConfig": "RetrievalConfig",
        "includeServerSideToolInvocations": None,
    },
    "FunctionCallingConfig": dict.fromkeys(("mode", "allowedFunctionNames", "streamFunctionCallArguments")),
    "RetrievalConfig": dict.fromkeys(("latLng", "languageCode")),
    "SafetySetting": dict.fromkeys(("category", "threshold")),
    "GenerationConfig": {
        **dict.fromkeys(
            (
                "temperature",
                "topP",
                "topK",
                "candidateCount",
                "maxOutputTokens",
                "stopSequences",
                "seed",
                "presencePenalty",
                "frequencyPenalty",
                "responseLogprobs",
                "logprobs",
                "responseMimeType",
                "responseJsonSchema",
                "_responseJsonSchema",
                "responseFormat",
                "responseModalities",
                "mediaResolution",
                "speechConfig",
                "enableEnhancedCivicAnswers",
                "audioTranscriptionConfig",
                "translationConfig",
            )
        ),
        "responseSchema": "Schema",
        "thinkingConfig": "ThinkingConfig",
        "imageConfig": "ImageConfig",
    },
    # https://ai.google.dev/api/caching#Schema, and what the official SDK sends besides
    "Schema": {
        **dict.fromkeys(
            (
                "type",
                "format",
                "title",
                "description",
                "nullable",
                "enum",
                "required",
                "propertyOrdering",
                "minItems",
                "maxItems",
                "minProperties",
                "maxProperties",
                "minLength",
                "maxLength",
                "minimum",
                "maximum",
                "pattern",
                "example",
                "default",
                "additionalProperties",
                "ref",
            )
        ),
        "items": "Schema",
        "properties": "Schema{}",
        "anyOf": "Schema[]",
        "defs": "Schema{}",
    },
    "ThinkingConfig": dict.fromkeys(("includeThoughts", "thinkingBudget", "thinkingLevel")),
    "ImageConfig": dict.fromkeys(("aspectRatio", "imageSize")),
}
ROOTS = {"generateContent": "GenerateContentRequest", "embedContent": "EmbedContentRequest"}
# Where a field that stands in the wrong place most likely belongs.
_HOMES = ("GenerateContentRequest", "GenerationConfig", "ThinkingConfig", "ImageConfig")
_PLACES = {
    "GenerateContentRequest": "the request itself, beside contents",
    "GenerationConfig": "generation_config",
    "ThinkingConfig": "generation_config.thinking_config",
    "ImageConfig": "generation_config.image_config",
}
# https://ai.google.dev/api/caching; the service: "CachedContent can not be used with GenerateContent request setting …"
_NOT_WITH_CACHE = ("systemInstruction", "tools", "toolConfig")


def find_misplaced(request: Mapping[str, Any], endpoint: str = "generateContent") -> str | None:
    """The first thing in a request that the service would refuse for its place or form, as a sentence; None if none."""
    root = ROOTS[endpoint]
    problem = next(_problems(request, root, "", root), None)
    if problem is None and (request.get("cachedContent") or request.get("cached_content")):
        clash = [name for name in request if _camel(name) in _NOT_WITH_CACHE]
        if clash:
            return f"{clash[0]!r} cannot stand beside cached_content: it belongs into the cached content"
    return problem


def _problems(value: Any, message: str, place: str, root: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{place} is an object, not {_kind(value)}"
        return
    fields = MESSAGES[message]
    for name, inner in value.items():
        key = name if name in fields else _camel(name)
        where = f"{place}.{name}" if place else name
        if key not in fields:
            yield _misplaced(name, key, message, place, root)
            return
        wanted = fields[key]
        if wanted is None or inner is None:
            continue
        if not wanted.endswith(("[]", "{}")):
            yield from _problems(inner, wanted, where, root)
        elif not isinstance(inner, list if wanted.endswith("[]") else Mapping):
            yield f"{where} is {'a list' if wanted.endswith('[]') else 'an object'}, not {_kind(inner)}"
        elif isinstance(inner, list):
            for index, item in enumerate(inner):
                yield from _problems(item, wanted[:-2], f"{where}[{index}]", root)
        else:
            for own, item in inner.items():
                yield from _problems(item, wanted[:-2], f"{where}.{own}", root)


def in_camel_case(request: Mapping[str, Any], endpoint: str = "generateContent") -> dict[str, Any]:
    """A request with every field under its lowerCamelCase name; null is as good as nothing. Names of the user's own
    (properties of a schema, arguments of a function) stay as they are. The request has no misplaced fields.
    """
    return _renamed(request, ROOTS[endpoint])


def _renamed(value: Mapping[str, Any], message: str) -> dict[str, Any]:
    fields = MESSAGES[message]
    renamed: dict[str, Any] = {}
    for name, inner in value.items():
        key = name if name in fields else _camel(name)
        wanted = fields[key]
        if inner is None:
            continue
        if wanted is None:
            renamed[key] = inner
        elif wanted.endswith("[]"):
            renamed[key] = [_renamed(item, wanted[:-2]) for item in inner]
        elif wanted.endswith("{}"):
            renamed[key] = {own: _renamed(item, wanted[:-2]) for own, item in inner.items()}
        else:
            renamed[key] = _renamed(inner, wanted)
    return renamed


def _misplaced(name: str, key: str, message: str, place: str, root: str) -> str:
    home = next((home for home in _HOMES if home != message and key in MESSAGES[home]), None)
    if home is None or root != "GenerateContentRequest":
        legal = ", ".join(MESSAGES[message])
        return f"no such field: {name!r} in {place or 'the request'}; it has: {legal}"
    return f"no such field: {name!r} in {place or 'the request'}; it belongs into {_PLACES[home]}"


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else type(value).__name__


def _camel(name: str) -> str:
    return re.sub(r"(?<!^)_([a-z0-9])", lambda match: match.group(1).upper(), name)
