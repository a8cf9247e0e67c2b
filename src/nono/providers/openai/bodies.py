"""Request bodies, one builder per family of endpoints; an endpoint is a row of the table at the end.

Parameters have the names of Chat Completions everywhere; a family renames what it calls otherwise and refuses what it
does not have, because the service would refuse it too, 50,000 times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from nono.errors import InputError
from nono.providers.openai.formats import response_format, text_format

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
COMPLETIONS = "/v1/completions"
MODERATIONS = "/v1/moderations"
IMAGES = "/v1/images/generations"
IMAGE_EDITS = "/v1/images/edits"
# https://platform.openai.com/docs/api-reference/batch/create  (`endpoint`)
ENDPOINTS = (
    CHAT,
    RESPONSES,
    EMBEDDINGS,
    COMPLETIONS,
    MODERATIONS,
    IMAGES,
    IMAGE_EDITS,
    "/v1/videos",
)

# Reasoning models refuse `max_tokens`: "Unsupported parameter: 'max_tokens' is not supported with this model. Use
# 'max_completion_tokens' instead."  https://platform.openai.com/docs/api-reference/chat/create#chat-create-max_tokens
_REASONING_MODEL = re.compile(r"(?:.*/)?(?:ft:)?(?:o\d|gpt-[5-9])", re.I)


def is_reasoning_model(model: str) -> bool:
    """Whether a model is of a family that refuses `max_tokens` (o1, o3, o4-mini, gpt-5 and later)."""
    return _REASONING_MODEL.match(model) is not None


Parameters = Mapping[str, Any]
Builder = Callable[[Any, str, "str | None", dict[str, Any]], dict[str, Any]]


def _chat(prompt: Any, model: str, system: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _messages(prompt)
    if system:
        messages = [{"role": "system", "content": system}, *messages]
    if is_reasoning_model(model) and "max_tokens" in parameters:
        parameters = {
            {"max_tokens": "max_completion_tokens"}.get(name, name): value for name, value in parameters.items()
        }
    if "response_format" in parameters:
        parameters["response_format"] = response_format(parameters["response_format"])
    return {"model": model, "messages": messages, **parameters}


# https://platform.openai.com/docs/guides/migrate-to-responses
_RESPONSES_NAMES = {"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens"}
_NOT_IN_RESPONSES = frozenset({"frequency_penalty", "presence_penalty", "stop", "seed", "n", "logit_bias", "logprobs"})


def _responses(prompt: Any, model: str, system: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
    _refuse(RESPONSES, parameters, _NOT_IN_RESPONSES)
    body: dict[str, Any] = {"model": model, "input": prompt if isinstance(prompt, str) else _messages(prompt)}
    if system:
        body["instructions"] = system
    for name, value in parameters.items():
        if name == "response_format":
            body["text"] = {**body.get("text", {}), "format": text_format(value)}
        elif name == "reasoning_effort":
            body["reasoning"] = {**body.get("reasoning", {}), "effort": value}
        elif name in ("text", "reasoning") and isinstance(value, Mapping):
            body[name] = {**body.get(name, {}), **value}
        else:
            body[_RESPONSES_NAMES.get(name, name)] = value
    return body


_NOT_IN_COMPLETIONS = frozenset({"response_format", "tools", "tool_choice", "reasoning_effort"})


def _completions(prompt: Any, model: str, system: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
    _refuse(COMPLETIONS, parameters, _NOT_IN_COMPLETIONS)
    if system:
        if not isinstance(prompt, str):
            raise InputError(f"{COMPLETIONS} has no system prompt to set before a list", hint="write it into the texts")
        prompt = f"{system}\n\n{prompt}"
    return {"model": model, "prompt": prompt, **parameters}


def _embeddings(content: Any, model: str, system: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
    _refuse_system(EMBEDDINGS, system)
    return {"model": model, "input": content, **parameters}


def _moderations(content: Any, model: str, system: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
    _refuse_system(MODERATIONS, system)
    return {"model": model, "input": content, **parameters}


def _images(prompt: Any, model: str, system: str | None, parameters: dict[str, Any]) -> dict[str, Any]:
    _refuse_system("an image endpoint", system)
    return {"model": model, "prompt": prompt, **parameters}


@dataclass(frozen=True, slots=True)
class Family:
    """What endpoints of one kind share: the kind of task, the builder, and fields without which a body is refused.

    A tuple in `required` is a choice: one of its fields must be there.
    """

    kind: str
    build: Builder
    required: tuple[str | tuple[str, ...], ...]


# By the endpoint's last words: other services put other versions in front (`/v4/chat/completions`, Azure none at all).
_FAMILIES = {
    "chat/completions": Family("chat", _chat, ("model", "messages")),
    "responses": Family("chat", _responses, (("model", "prompt"), ("input", "prompt"))),
    "completions": Family("chat", _completions, ("model", "prompt")),
    "embeddings": Family("embedding", _embeddings, ("model", "input")),
    "moderations": Family("moderation", _moderations, ("input",)),
    "images/generations": Family("image", _images, ("prompt",)),
    "images/edits": Family("image", _images, ("prompt",)),
}


def family_of(endpoint: str) -> Family | None:
    """The family of an endpoint, or None for one that nono builds nothing for."""
    return _FAMILIES.get(_last_words(endpoint))


def whole_name(endpoint: str) -> str:
    """An endpoint as a path, where only its last words are given: `responses` is `/v1/responses`."""
    whole = f"/v1/{endpoint}"
    return whole if whole in ENDPOINTS else endpoint


def _last_words(endpoint: str) -> str:
    """An endpoint without the version in front."""
    return re.sub(r"^/(?:v\d+\w*/)?", "", endpoint)


def build_body(
    endpoint: str, content: Any, *, model: str, system: str | None = None, parameters: Parameters | None = None
) -> dict[str, Any]:
    """The body for `endpoint`; parameters that are None are left out.

    Raises InputError for an endpoint without a builder, or a parameter that it does not have.
    """
    family = family_of(endpoint)
    if family is None:
        raise InputError(
            f"no way is known to build a request for {endpoint}",
            hint=f"endpoints: {', '.join(ENDPOINTS)}; or write the line's body yourself",
        )
    given = {name: value for name, value in (parameters or {}).items() if value is not None}
    return family.build(content, model, system, given)


def request_line(custom_id: str, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """One line of an input file, before encoding. https://platform.openai.com/docs/api-reference/batch/request-input"""
    return {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": dict(body)}


# Where the conversation stands in a body, by the endpoint's last words.
_CONVERSATIONS = {"chat/completions": "messages", "responses": "input"}


def with_turns(endpoint: str, body: Mapping[str, Any], answer: str, message: str) -> dict[str, Any]:
    """A body whose conversation goes on: the model's answer, where it gave one, and the user's next message.

    Raises InputError for an endpoint without conversations.
    """
    field = _CONVERSATIONS.get(_last_words(endpoint))
    if field is None:
        raise InputError(f"{endpoint} has no conversation that could go on", hint=f"use {CHAT} or {RESPONSES}")
    given = body.get(field)
    before = [{"role": "user", "content": given}] if isinstance(given, str) else list(given or ())
    answered = [{"role": "assistant", "content": answer}] if answer else []
    return {**body, field: [*before, *answered, {"role": "user", "content": message}]}


def new_id(kind: str) -> str:
    """An id that no other request has, however fast they are made."""
    return f"{kind}-{uuid4().hex}"


def _messages(prompt: Any) -> list[Any]:
    if isinstance(prompt, Sequence) and not isinstance(prompt, bytes) and prompt:
        messages = list(prompt)
        if all(isinstance(message, Mapping) and ("role" in message or "type" in message) for message in messages):
            return messages
    raise InputError(
        f"a prompt is a text or a list of messages, not {type(prompt).__name__}",
        hint='a message looks like {"role": "user", "content": "…"}',
    )


def _refuse(endpoint: str, parameters: Parameters, names: frozenset[str]) -> None:
    if unknown := sorted(names & parameters.keys()):
        raise InputError(
            f"{endpoint} has no {', '.join(unknown)}", hint=f"leave it out, or use {CHAT}; the service would refuse it"
        )


def _refuse_system(endpoint: str, system: str | None) -> None:
    if system:
        raise InputError(f"{endpoint} has no system prompt", hint="leave it out")
