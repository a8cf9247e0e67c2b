"""A run's task and messages, in the words of no provider or OpenAI's, made into Gemini's bodies (camelCase)."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from nono.errors import InputError
from nono.providers import UNCHECKED, Task
from nono.providers.gemini.requests import camel, contents_of, plain

GENERATE = "generateContent"
EMBED = "embedContent"
ENDPOINTS = {"chat": GENERATE, "embedding": EMBED, "raw": GENERATE}


# https://ai.google.dev/gemini-api/docs/models: what certainly does only one of the two
_EMBEDS = re.compile(r"(?:models/)?(?:gemini|text|text-multilingual)-embedding-")
_ANSWERS = re.compile(r"(?:models/)?gemini-\d")


def endpoint_for(task: Task) -> str:
    """The endpoint of a task. Raises InputError for kinds and endpoints that Gemini's batch does not take."""
    if task.kind not in ENDPOINTS:
        raise InputError(f"Gemini has no batch for {task.kind!r}", hint=f"it takes: {', '.join(ENDPOINTS)}")
    endpoint = task.endpoint or ENDPOINTS[task.kind]
    legal = (GENERATE, EMBED) if task.kind == "raw" else (ENDPOINTS[task.kind],)
    if endpoint not in legal:
        raise InputError(
            f"Gemini's batch has no endpoint {endpoint!r} for {task.kind}", hint=f"it takes: {', '.join(legal)}"
        )
    wrong = {GENERATE: _EMBEDS, EMBED: _ANSWERS}[endpoint].match(task.model)
    if wrong and task.kind != "raw" and task.check:
        what = "embeds" if endpoint == GENERATE else "answers, and does not embed"
        raise InputError(f"{task.model} {what}", hint=f"choose another model; {UNCHECKED}")
    return endpoint


def request_body(task: Task, content: Any) -> dict[str, Any]:
    """The body of one request; `extra_body` is merged over it, object by object."""
    if task.kind == "raw":
        if not isinstance(content, Mapping):
            raise InputError(f"a raw body is an object, not {type(content).__name__}")
        body = dict(content)
    elif endpoint_for(task) == EMBED:
        body = _embedding_body(task, content)
    else:
        body = _chat_body(task, content)
    return merged(body, _camel_names(task.extra_body)) if task.extra_body else body


def with_turns(request: Mapping[str, Any], answer: str, message: str) -> dict[str, Any]:
    """A request whose conversation goes on: the model's answer, where it gave one, and the user's next message."""
    # A content without a role is the user's; between turns the service wants it said.
    before = [{"role": "user", **content} for content in request.get("contents") or ()]
    answered = [{"role": "model", "parts": [{"text": answer}]}] if answer else []
    return {**request, "contents": [*before, *answered, {"role": "user", "parts": [{"text": message}]}]}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, object by object; where they meet, `over` wins."""
    result = dict(base)
    for name, value in over.items():
        below = result.get(name)
        result[name] = (
            merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else plain(value)
        )
    return result


def _camel_names(extra: Mapping[str, Any]) -> dict[str, Any]:
    """The first two levels' names in camelCase, as those they are merged with: two spellings would be two fields."""
    return {
        camel(name): {camel(inner): value for inner, value in field.items()} if isinstance(field, Mapping) else field
        for name, field in extra.items()
    }


def _chat_body(task: Task, content: Any) -> dict[str, Any]:
    system = [{"text": task.system}] if task.system else []
    if isinstance(content, str):
        contents = contents_of(content)
    else:
        more_system, contents = _translate_messages(content)
        system += more_system
    generation, beside = _translate_parameters(task.parameters or {}, _PARAMETERS)
    if task.schema is not None:
        generation |= {"responseMimeType": "application/json", "responseJsonSchema": dict(task.schema)}
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    if generation:
        body["generationConfig"] = generation
    return body | beside


def _embedding_body(task: Task, content: Any) -> dict[str, Any]:
    if not isinstance(content, str):
        raise InputError(f"an embedding is made of a text, not {type(content).__name__}")
    settings, _ = _translate_parameters(task.parameters or {}, _EMBEDDING_PARAMETERS)
    return {"content": {"parts": [{"text": content}]}} | settings


# ── Parameters, by OpenAI's names ───────────────────────────────────────────────────────────────────────────────────


def _stop_list(stop: Any) -> list[Any]:
    return [stop] if isinstance(stop, str) else list(stop)


def _thinking(effort: Any) -> dict[str, Any]:
    # https://ai.google.dev/gemini-api/docs/thinking#thinking-levels
    return {"thinkingLevel": str(effort)}


def _tool_declarations(tools: Any) -> list[Any]:
    """OpenAI's function tools as declarations; tools in Gemini's own shape pass."""
    declared, own = [], []
    for tool in tools:
        if not isinstance(tool, Mapping):
            raise InputError(f"a tool is an object, not {type(tool).__name__}")
        if tool.get("type") == "function":
            function = tool["function"] if isinstance(tool.get("function"), Mapping) else tool
            names = {"name": "name", "description": "description", "parameters": "parametersJsonSchema"}
            declared.append({ours: function[theirs] for theirs, ours in names.items() if theirs in function})
        else:
            own.append(dict(tool))
    return ([{"functionDeclarations": declared}] if declared else []) + own


def _tool_choice(choice: Any) -> dict[str, Any]:
    modes = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
    if isinstance(choice, str) and choice in modes:
        return {"functionCallingConfig": {"mode": modes[choice]}}
    if isinstance(choice, Mapping) and isinstance(choice.get("function"), Mapping):
        return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [choice["function"]["name"]]}}
    raise InputError(f"tool_choice {choice!r} is none of auto, required, none, or a function by name")


Translation = tuple[str, "Callable[[Any], Any] | None"]

# A name with a slash stands beside `contents`; the others go into generationConfig.
_PARAMETERS: dict[str, Translation] = {
    "temperature": ("temperature", None),
    "top_p": ("topP", None),
    "top_k": ("topK", None),
    "max_tokens": ("maxOutputTokens", None),
    "max_completion_tokens": ("maxOutputTokens", None),
    "max_output_tokens": ("maxOutputTokens", None),
    "stop": ("stopSequences", _stop_list),
    "stop_sequences": ("stopSequences", _stop_list),
    "seed": ("seed", None),
    "n": ("candidateCount", None),
    "presence_penalty": ("presencePenalty", None),
    "frequency_penalty": ("frequencyPenalty", None),
    "logprobs": ("responseLogprobs", None),
    "top_logprobs": ("logprobs", None),
    "reasoning_effort": ("thinkingConfig", _thinking),
    "modalities": ("responseModalities", lambda names: [str(name).upper() for name in names]),
    "tools": ("/tools", _tool_declarations),
    "tool_choice": ("/toolConfig", _tool_choice),
}
_EMBEDDING_PARAMETERS: dict[str, Translation] = {
    "dimensions": ("outputDimensionality", None),
    "output_dimensionality": ("outputDimensionality", None),
    "task_type": ("taskType", None),
    "title": ("title", None),
}


def _translate_parameters(
    parameters: Mapping[str, Any], table: Mapping[str, Translation]
) -> tuple[dict[str, Any], dict[str, Any]]:
    inside: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    for name, value in parameters.items():
        if value is None:
            continue
        if name not in table:
            raise InputError(
                f"Gemini has no parameter {name!r} here",
                hint=f"known: {', '.join(table)}; anything else goes through extra_body in Gemini's own shape",
            )
        place, translate = table[name]
        target = beside if place.startswith("/") else inside
        target[place.removeprefix("/")] = translate(value) if translate else value
    return inside, beside


# ── Messages, in OpenAI's shape ─────────────────────────────────────────────────────────────────────────────────────

_ROLES = {"user": "user", "assistant": "model", "model": "model", "tool": "user", "function": "user"}


def _translate_messages(messages: Any) -> tuple[list[Any], list[Any]]:
    """The parts of the system instruction, and the contents; neighbours of one role become one content."""
    if not isinstance(messages, Iterable) or isinstance(messages, Mapping):
        raise InputError(f"a chat is a text or a list of messages, not {type(messages).__name__}")
    system: list[Any] = []
    contents: list[dict[str, Any]] = []
    functions: dict[str, str] = {}
    for message in messages:
        if not isinstance(message, Mapping) or "role" not in message:
            raise InputError(f"a message is an object with a role, not {str(message)[:60]!r}")
        role = message["role"]
        if role in ("system", "developer"):
            system += _translate_parts(message.get("content"))
            continue
        if role not in _ROLES:
            raise InputError(f"a message has an unknown role {role!r}", hint=f"known: system, {', '.join(_ROLES)}")
        parts = _tool_answer(message, functions) if role == "tool" else _translate_parts(message.get("content"))
        for call in message.get("tool_calls") or []:
            parts.append(_function_call(call, functions))
        if contents and contents[-1]["role"] == _ROLES[role]:
            contents[-1]["parts"] += parts
        else:
            contents.append({"parts": parts, "role": _ROLES[role]})
    if not contents:
        raise InputError("a chat without a message of the user")
    return system, contents


def _translate_parts(content: Any) -> list[Any]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}]
    return [_translate_part(part) for part in content]


def _translate_part(part: Any) -> Any:
    if isinstance(part, str):
        return {"text": part}
    if not isinstance(part, Mapping):
        raise InputError(f"a part of a message is an object, not {type(part).__name__}")
    match part.get("type"):
        case "text" | "input_text" | "output_text":
            return {"text": part["text"]}
        case "image_url" | "input_image":
            image = part.get("image_url")
            return _media_part(image.get("url") if isinstance(image, Mapping) else image, "image/jpeg")
        case "input_audio":
            audio = part["input_audio"]
            return {"inlineData": {"mimeType": f"audio/{audio.get('format', 'wav')}", "data": audio["data"]}}
        case "file" | "input_file":
            file = part.get("file", part)
            return _media_part(file.get("file_data") or file.get("file_url") or file.get("file_id"), "application/pdf")
        case None if part:
            return dict(part)  # Gemini's own shape
        case kind:
            raise InputError(f"a part of a message has the unknown type {kind!r}")


def _media_part(url: Any, otherwise: str) -> dict[str, Any]:
    """A data URL travels inside the request; any other URL is fetched by the service."""
    if not isinstance(url, str) or not url:
        raise InputError("a picture or file without its URL")
    data = re.fullmatch(r"data:([^;,]*)(?:;[^,]*)?;base64,(.*)", url, re.DOTALL)
    if data:
        return {"inlineData": {"mimeType": data.group(1) or otherwise, "data": data.group(2)}}
    if url.startswith("data:"):
        raise InputError("a data URL that is not base64", hint="data:image/png;base64,…")
    mime_type = mimetypes.guess_type(url.split("?")[0])[0] or otherwise
    return {"fileData": {"fileUri": url, "mimeType": mime_type}}


def _function_call(call: Any, functions: dict[str, str]) -> dict[str, Any]:
    function = call["function"]
    functions[call.get("id", "")] = function["name"]
    return {"functionCall": {"name": function["name"], "args": _object(function.get("arguments") or "{}")}}


def _tool_answer(message: Mapping[str, Any], functions: Mapping[str, str]) -> list[Any]:
    name = message.get("name") or functions.get(message.get("tool_call_id", ""), "tool")
    content = message.get("content")
    answer = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])
    try:
        response = _object(answer)
    except InputError:
        response = {"result": answer}
    return [{"functionResponse": {"name": name, "response": response}}]


def _object(text: Any) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text) if isinstance(text, str) else text
    except msgspec.MsgspecError as error:
        raise InputError(f"not JSON: {str(text)[:60]!r}") from error
    if not isinstance(value, dict):
        raise InputError(f"not a JSON object: {str(text)[:60]!r}")
    return value
