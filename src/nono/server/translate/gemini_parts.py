"""Gemini's contents as chat messages: texts, pictures, sound, documents, function calls and their answers."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nono.errors import InputError

_ROLES = {"user": "user", "model": "assistant", "function": "user"}
# https://platform.openai.com/docs/guides/audio: the two formats that a chat takes
_SOUNDS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mp3": "mp3", "audio/mpeg": "mp3"}
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_MEDIUM": "auto", "MEDIA_RESOLUTION_HIGH": "high"}
# Marks of the service's own that say nothing to another model.
_MARKS = frozenset({"thought", "thoughtSignature", "partMetadata", "mediaResolution"})
_URL_SAFE = str.maketrans("-_", "+/")


def messages_of(request: Mapping[str, Any], resolution: str | None = None) -> Iterator[dict[str, Any]]:
    """The messages of a request. Raises InputError for parts that a chat has no word for."""
    instruction = request.get("systemInstruction")
    if instruction:
        yield {"role": "system", "content": _texts(instruction, "systemInstruction")}
    contents = request.get("contents")
    if not contents:
        raise InputError("contents is not specified")
    calls = _Calls()
    for number, content in enumerate(contents):
        place = f"contents[{number}]"
        role = content.get("role") or "user"
        if role not in _ROLES:
            raise InputError(f"{place}.role: please use a valid role: user, model.")
        parts = [part for part in content.get("parts") or [] if not part.get("thought")]
        if not parts:
            raise InputError(f"{place}.parts must not be empty.")
        yield from _messages(parts, _ROLES[role], place, calls, resolution)


class _Calls:
    """Function calls and their answers find each other by id; without one, by name and order."""

    def __init__(self) -> None:
        self._count = 0
        self._open: list[tuple[str, str]] = []

    def made(self, call: Mapping[str, Any]) -> str:
        self._count += 1
        name, call_id = str(call.get("name")), str(call.get("id") or f"call_{self._count}")
        self._open.append((name, call_id))
        return call_id

    def answered(self, response: Mapping[str, Any]) -> str:
        name, given = response.get("name"), response.get("id")
        for number, (called, call_id) in enumerate(self._open):
            if call_id == given or (given is None and called == name):
                del self._open[number]
                return call_id
        raise InputError(f"a function response for {name!r}, which has not been called")


def _messages(
    parts: Sequence[Mapping[str, Any]], role: str, place: str, calls: _Calls, resolution: str | None
) -> Iterator[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    called: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        where = f"{place}.parts[{number}]"
        if "functionCall" in part:
            call = part["functionCall"]
            function = {"name": call.get("name"), "arguments": json.dumps(call.get("args") or {}, ensure_ascii=False)}
            called.append({"id": calls.made(call), "type": "function", "function": function})
        elif "functionResponse" in part:
            response = part["functionResponse"]
            if response.get("parts"):
                raise InputError(f"Unsupported field: '{where}.functionResponse.parts' is not imitated here.")
            answer = json.dumps(response.get("response") or {}, ensure_ascii=False)
            yield {"role": "tool", "tool_call_id": calls.answered(response), "content": answer}
        else:
            said.append(_said(part, where, resolution))
    if not said and not called:
        return
    plain = all(one["type"] == "text" for one in said) and (role == "assistant" or len(said) < 2)
    content: Any = "".join(one["text"] for one in said) if plain else said
    if role == "assistant" and not plain:
        raise InputError(f"{place}: this local server takes texts and function calls from the role 'model'.")
    message = {"role": role, "content": content or None if called else content}
    yield message | ({"tool_calls": called} if called else {})


def _said(part: Mapping[str, Any], where: str, resolution: str | None) -> dict[str, Any]:
    kinds = [name for name in part if name not in _MARKS]
    match kinds:
        case ["text"]:
            return {"type": "text", "text": str(part["text"])}
        case ["inlineData"]:
            return _media(part["inlineData"], where, _detail(part.get("mediaResolution"), resolution))
        case ["fileData"]:
            return _linked(part["fileData"], where, _detail(part.get("mediaResolution"), resolution))
        case []:
            raise InputError(f"{where} must have one initialized field")
        case _:
            raise InputError(f"Unsupported part at '{where}': {', '.join(kinds)} is not imitated by this local server.")


def _media(blob: Mapping[str, Any], where: str, detail: dict[str, str]) -> dict[str, Any]:
    mime, data = str(blob.get("mimeType") or ""), _standard(blob.get("data"), where)
    if mime.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{data}", **detail}}
    if mime in _SOUNDS:
        return {"type": "input_audio", "input_audio": {"data": data, "format": _SOUNDS[mime]}}
    if mime.startswith("text/") or mime in ("application/json", "jsonl"):
        return {"type": "text", "text": base64.b64decode(data).decode(errors="replace")}
    if mime == "application/pdf":
        name = str(blob.get("displayName") or "document.pdf")
        return {"type": "file", "file": {"filename": name, "file_data": f"data:{mime};base64,{data}"}}
    raise InputError(f"Unsupported MIME type at '{where}': {mime!r}")


def _linked(file: Mapping[str, Any], where: str, detail: dict[str, str]) -> dict[str, Any]:
    """A file somewhere on the net: a chat can point to pictures."""
    uri, mime = str(file.get("fileUri") or ""), str(file.get("mimeType") or "image/")
    if not re.match(r"https?://", uri) or not mime.startswith("image/"):
        raise InputError(f"Unsupported file at '{where}': this local server takes its own files, and URLs of pictures.")
    return {"type": "image_url", "image_url": {"url": uri, **detail}}


def _detail(own: Any, general: str | None) -> dict[str, str]:
    level = own.get("level") if isinstance(own, Mapping) else own
    detail = _DETAILS.get(str(level or general or ""))
    return {"detail": detail} if detail else {}


def _standard(data: Any, where: str) -> str:
    """Both alphabets of base64 are taken, with or without padding; a data URL has one of them."""
    text = str(data or "").translate(_URL_SAFE)
    text += "=" * (-len(text) % 4)
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(f"Invalid value at '{where}.inlineData.data': Base64 decoding failed") from None
    return text


def _texts(content: Mapping[str, Any], place: str) -> str:
    parts = content.get("parts") or []
    if not all(isinstance(part.get("text"), str) for part in parts):
        raise InputError(f"Unsupported part in '{place}': it is made of texts.")
    return "\n".join(part["text"] for part in parts)
