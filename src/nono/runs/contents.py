"""A row's content: what the provider is asked about it — a text, messages, messages with pictures, or a whole body.

Without a template the column is found by its name; the table says which names are looked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nono.errors import InputError
from nono.jsonl import BadLine
from nono.jsonl import decode as decode_json
from nono.runs.pictures import image_url, pictures_of
from nono.runs.render import Prompt, Slot, UnrenderedRow, as_text

# What a run without a template asks about, by kind of task: the first of these columns that the data have.
DEFAULT_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "chat": ("messages", "prompt", "text", "input", "question"),
    "embedding": ("text", "input", "prompt", "content"),
    "moderation": ("text", "input", "prompt", "content"),
    "raw": ("body",),
}
# Columns that hold messages or bodies rather than texts.
STRUCTURED = frozenset({"messages", "body"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a row becomes content: from a template, or from a column; with pictures from other columns.

    `slot` is set where the content is one column's text as it stands.
    """

    kind: str
    prompt: Prompt | None
    column: str | None
    images: tuple[str, ...]
    folder: Path

    @property
    def pieces(self) -> tuple[str | Slot, ...] | None:
        """The content as literal texts and slots, or None where a row has to be looked at as a whole."""
        if self.images or self.kind == "raw" or self.column in STRUCTURED:
            return None
        if self.prompt is not None:
            return self.prompt.pieces
        return (Slot(self.column),) if self.column is not None else None

    def content(self, row: Mapping[str, Any]) -> Any:
        """The content of one row. Raises UnrenderedRow."""
        if self.prompt is not None:
            content: Any = self.prompt.render(row)
            if self.kind == "raw":
                content = _object(content, "the rendered body")
        elif self.column is None:
            content = dict(row)
        elif self.column not in row:
            raise UnrenderedRow(f"there is no {self.column!r}")
        elif self.column == "body" and self.kind == "raw":
            content = _object(row[self.column], "the body")
        elif self.column == "messages" and self.kind == "chat":
            content = _messages(row[self.column])
        else:
            content = as_text(row[self.column])
        return self._with_images(content, row) if self.images else content

    def _with_images(self, content: Any, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        pictures = [
            {"type": "image_url", "image_url": {"url": image_url(picture, self.folder)}}
            for column in self.images
            for picture in pictures_of(row, column)
        ]
        if not isinstance(content, str):
            *before, last = content
            said = last.get("content")
            parts = [{"type": "text", "text": said}] if isinstance(said, str) else list(said or ())
            return [*before, {**last, "content": [*parts, *pictures]}]
        text = [{"type": "text", "text": content}] if content.strip() else []
        return [{"role": "user", "content": [*text, *pictures]}]


def recipe(
    kind: str, prompt: Prompt | None, images: Sequence[str], columns: Sequence[str], ids: str | None, folder: Path
) -> Recipe:
    """How rows with these columns become content. Raises InputError if that is not clear."""
    column = None
    if prompt is None:
        candidates = [name for name in columns if name != ids and name not in images]
        column = next((name for name in DEFAULT_COLUMNS[kind] if name in candidates), None)
        if column is None and kind != "raw":
            if len(candidates) != 1:
                example = "{{ " + (candidates or ["text"])[-1] + " }}"
                template = f'give a template, for example -p "{example}", or call a column {DEFAULT_COLUMNS[kind][0]}'
                lines = "lines of a batch file are sent as they are with --task raw --endpoint /v1/chat/completions"
                raise InputError(
                    f"what to ask about a row is not clear: it has the columns {', '.join(columns)}",
                    hint=lines if "body" in columns else template,
                )
            column = candidates[0]
    if images and kind != "chat":
        raise InputError(f"pictures can be asked about in chats, not in tasks of kind {kind}")
    return Recipe(kind, prompt, column, tuple(images), folder)


def _object(value: Any, what: str) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = decode_json(value.encode())
        except BadLine as error:
            raise UnrenderedRow(f"{what} is not JSON: {error.message}") from error
        except UnicodeEncodeError as error:
            raise UnrenderedRow(f"{what} holds a lone surrogate") from error
    if not isinstance(value, dict):
        raise UnrenderedRow(f"{what} is not an object but {type(value).__name__}")
    return value


def _messages(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = decode_json(value.encode())
        except (BadLine, UnicodeEncodeError) as error:
            raise UnrenderedRow(f"'messages' is not JSON: {error}") from error
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise UnrenderedRow("'messages' is not a list of messages with a role and a content each")
    # Tables of one schema give every message every key, empty where it has none.
    return [{key: said for key, said in one.items() if said is not None or key == "content"} for one in value]
