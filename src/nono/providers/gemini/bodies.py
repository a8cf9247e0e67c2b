"""Builders: one call's arguments made into a `GenerateContentRequest`, the same dict for inline jobs and JSONL lines.

The names are the service's own in snake_case, as its documentation writes them in files; it takes camelCase as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nono.errors import InputError
from nono.providers.gemini.requests import contents_of, instruction_of, plain
from nono.providers.gemini.schemas import placed_schema

DEFAULT_MODEL = "gemini-3-flash-preview"
DEFAULT_EMBEDDING_MODEL = "gemini-embedding-001"


def build_request(
    prompt: Any,
    system_instruction: Any = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    stop_sequences: Sequence[str] | None = None,
    tools: Sequence[Any] | None = None,
    response_mime_type: str | None = None,
    response_schema: Any = None,
    response_modalities: Sequence[str] | None = None,
) -> dict[str, Any]:
    """A request of one user turn.

    `prompt` is a text, or contents with pictures and files in them. `response_schema` is a pydantic model,
    `list[Model]`, another type, or a dict (JSON Schema, or the service's OpenAPI subset); it makes the answer JSON.
    What is None is left to the model. https://ai.google.dev/api/generate-content
    """
    contents = plain(prompt)
    if not contents:
        raise InputError("an empty prompt", hint="the service refuses requests without text")
    if temperature is not None and not (isinstance(temperature, int | float) and 0 <= temperature <= 2):
        raise InputError(f"temperature {temperature!r} is not between 0 and 2")
    generation: dict[str, Any] = {
        "temperature": temperature,
        "max_output_tokens": max_tokens,
        "top_p": top_p,
        "top_k": top_k,
        "stop_sequences": _listed(stop_sequences) or None,
        "response_mime_type": response_mime_type,
        "response_modalities": plain(_listed(response_modalities)) or None,
    }
    if response_schema is not None:
        schema = plain(response_schema)
        if not isinstance(schema, dict):
            raise InputError(f"response_schema is a class or a dict, not {type(response_schema).__name__}")
        generation["response_mime_type"] = response_mime_type or "application/json"
        generation |= placed_schema(schema)
    generation = {name: value for name, value in generation.items() if value is not None}
    request: dict[str, Any] = {"contents": contents_of(contents)}
    if system_instruction:
        request["system_instruction"] = instruction_of(plain(system_instruction))
    if tools:
        request["tools"] = plain(_listed(tools))
    if generation:
        request["generation_config"] = generation
    return request


def build_requests_from_prompts(
    prompts: Iterable[Any], system_instruction: Any = None, **settings: Any
) -> list[dict[str, Any]]:
    """`build_request` for each prompt, with the same instruction and settings."""
    if isinstance(prompts, str) or not isinstance(prompts, Iterable):
        raise InputError(
            f"prompts is {'one text' if isinstance(prompts, str) else type(prompts).__name__}, not a list of texts",
            hint="pass a list of texts; build_request() takes a single one",
        )
    requests = []
    for number, prompt in enumerate(prompts, start=1):
        try:
            requests.append(build_request(prompt, system_instruction, **settings))
        except InputError as error:
            raise InputError(f"prompt {number}: {error.message}", hint=error.hint) from error
    return requests


def build_request_with_search(
    prompt: Any, system_instruction: Any = None, temperature: float | None = None, **settings: Any
) -> dict[str, Any]:
    """A request that may look things up with Google Search; its sources come in `groundingMetadata`."""
    tools = [{"google_search": {}}, *_listed(settings.pop("tools", None))]
    return build_request(prompt, system_instruction, temperature, tools=tools, **settings)


def build_structured_request(
    prompt: Any,
    response_schema: Any,
    system_instruction: Any = None,
    temperature: float | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """A request whose answer is JSON of that schema."""
    if response_schema is None:
        raise InputError("a structured request wants a response_schema", hint="a pydantic model or a JSON Schema")
    settings.setdefault("response_mime_type", "application/json")
    return build_request(prompt, system_instruction, temperature, response_schema=response_schema, **settings)


def build_image_request(
    prompt: Any,
    system_instruction: Any = None,
    response_modalities: Sequence[str] = ("TEXT", "IMAGE"),
    image_config: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """A request for a picture, for models that draw; it comes as `inlineData` beside the answer's text.

    `image_config` is the service's own, for example `{"aspect_ratio": "16:9"}`.
    """
    request = build_request(prompt, system_instruction, response_modalities=response_modalities, **settings)
    if image_config:
        request["generation_config"]["image_config"] = plain(image_config)
    return request


def build_embedding_request(
    content: Any, task_type: str | None = None, title: str | None = None, output_dimensionality: int | None = None
) -> dict[str, Any]:
    """An `EmbedContentRequest`. https://ai.google.dev/api/embeddings#EmbedContentRequest"""
    value = plain(content)
    if not value:
        raise InputError("an empty text has no embedding")
    parts = contents_of(value)
    if len(parts) != 1:
        raise InputError("an embedding is made of one content", hint="make a request for each")
    request = {"content": {"parts": parts[0]["parts"]}}
    settings = {"task_type": task_type, "title": title, "output_dimensionality": output_dimensionality}
    return request | {name: setting for name, setting in settings.items() if setting is not None}


def _listed(given: Any) -> list[Any]:
    """A list of what was given; one thing alone is a list of one."""
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple | set | frozenset) else [given]
