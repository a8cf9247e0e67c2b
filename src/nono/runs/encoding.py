"""Rows into lines of an input file: what all requests share is encoded once, a row's id and text are spliced in.

The shared part is found by encoding one request whose id and text are marks, and cutting the line at the marks.
Escaping works character by character, so the escaped pieces of a text, put together, are the escaped text.
Where the marks do not come out as they went in (messages, pictures, raw bodies), each row is encoded as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any

import msgspec

from nono.datasets import MISSING, ArrowBatch, Batch
from nono.errors import InputError
from nono.jsonl import encode as encode_leniently
from nono.providers import Provider, Task
from nono.runs.contents import Recipe
from nono.runs.lines import BYTES_PER_TOKEN, JoinedLines, Lines, SeparateLines, escape
from nono.runs.problems import Problems
from nono.runs.render import Slot, UnrenderedRow, as_text
from nono.runs.splicing import join_lines, lack_visible, numbered, text_array

_encode = msgspec.json.Encoder().encode
# Nothing else may look like these.
ID_MARK = "nono-id-7c1f0a52-mark"
TEXT_MARK = "nono-text-3be94d18-mark"
# What generated ids begin with.
GENERATED = "r-"
# A picture costs 85 to some 1,500 tokens, by model and size: https://platform.openai.com/docs/guides/images
TOKENS_PER_IMAGE = 1_000


def encode(value: Any) -> bytes:
    """One value as compact JSON. Raises InputError for what JSON cannot carry."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return encode_leniently(value)


@dataclass(frozen=True, slots=True)
class Splice:
    """The shared bytes of a line: before the id, between id and text, after the text."""

    before: bytes
    between: bytes
    after: bytes


def splice(provider: Provider, task: Task) -> Splice | None:
    """The shared bytes of a task's text requests, or None if they cannot be cut out."""
    try:
        line = provider.request_line(ID_MARK, task, provider.request_body(task, TEXT_MARK))
    except InputError:
        return None
    encoded = encode(line)
    id_mark, text_mark = ID_MARK.encode(), TEXT_MARK.encode()
    if encoded.count(id_mark) != 1 or encoded.count(text_mark) != 1:
        return None
    before, _, rest = encoded.partition(id_mark)
    between, found, after = rest.partition(text_mark)
    return Splice(before, between, after) if found else None


class Ids:
    """The ids of a batch's rows: an Arrow array where the batch is one and has no row without an id, else texts."""

    def __init__(self, texts: Sequence[str] | None, array: Any = None) -> None:
        self.array = array
        self._texts = texts

    @cached_property
    def texts(self) -> Sequence[str]:
        return self._texts if self._texts is not None else self.array.to_pylist()


class LineMaker:
    """Encodes batches of rows for one provider and task."""

    def __init__(self, provider: Provider, task: Task, recipe: Recipe, id_column: str | None) -> None:
        self._provider = provider
        self._task = task
        self._recipe = recipe
        self._id_column = id_column
        self._shared_tokens = _tokens_of_text(task.system or "") + (
            len(encode(task.schema)) // BYTES_PER_TOKEN if task.schema else 0
        )
        pieces = recipe.pieces
        self._splice = splice(provider, task) if pieces is not None else None
        self._pieces = pieces or ()

    def lines(self, batch: Batch, ids: Ids, problems: Problems) -> Lines | None:
        """The lines of a batch, or None if a row has a problem; problems are added to `problems`."""
        if self._splice is not None:
            if ids.array is not None and (joined := self._joined(batch, ids.array, self._splice)) is not None:
                return joined
            try:
                return self._spliced(batch, ids.texts, self._splice)
            except (UnrenderedRow, InputError, UnicodeEncodeError):
                pass  # the general way finds out which row it is
        return self._one_by_one(batch, ids.texts, problems)

    def ids(self, batch: Batch, problems: Problems) -> Ids:
        """The ids of a batch's rows; a row without one is a problem, and its id empty."""
        if self._id_column is None:
            if isinstance(batch, ArrowBatch):
                return Ids(None, numbered(GENERATED, batch.first, batch.size))
            return Ids([generated_id(row) for row in range(batch.first, batch.first + batch.size)])
        if isinstance(batch, ArrowBatch) and (array := _whole_ids(batch, self._id_column)) is not None:
            return Ids(None, array)
        values = batch.column(self._id_column)
        if set(map(type, values)) == {str} and all(values):
            return Ids(values)
        ids = []
        for row, value in enumerate(values, start=batch.first):
            text = "" if value is MISSING or value is None else as_text(value)
            if not text:
                said = f"there is no id in column {self._id_column!r}"
                problems.add("no_id", said, row=row, hint="give every row one; without an id column they are generated")
            ids.append(text)
        return Ids(ids)

    def _joined(self, batch: Batch, ids: Any, shared: Splice) -> Lines | None:
        """The lines of an Arrow batch in one go, or None where rows have to be looked at."""
        assert isinstance(batch, ArrowBatch)
        columns, said, blank = [ids], [b""], True
        for piece in self._pieces:
            if isinstance(piece, Slot):
                column = batch.array(piece.column)
                texts = None if column is None or piece.filters else text_array(column)
                if texts is None:
                    return None
                blank = blank and lack_visible(texts)
                columns.append(texts)
                said.append(b"")
            else:
                blank = blank and not piece.strip()
                said[-1] += escape([piece])[0]
        if blank:
            return None
        said[0] = shared.between + said[0]
        said[-1] += shared.after + b"\n"
        content = join_lines(columns, said, shared.before)
        if content is None:
            return None
        around = (len(shared.before), len(shared.between), len(shared.after))
        return JoinedLines(content, ids, around, (self._shared_tokens + 1) * BYTES_PER_TOKEN)

    def _spliced(self, batch: Batch, ids: Sequence[str], shared: Splice) -> Lines | None:
        columns: list[Any] = []
        blank = True
        texts: list[Sequence[str]] = []
        for piece in self._pieces:
            if isinstance(piece, Slot):
                texts.append(piece.texts(batch.column(piece.column)))
                columns.append(escape(texts[-1]))
            else:
                columns.append(repeat(escape([piece])[0], batch.size))
                blank = blank and not piece.strip()
        if blank and not all(map(str.strip, map("".join, zip(*texts, strict=True))) if texts else ()):
            raise UnrenderedRow("an empty text")
        asked = (
            columns[0]
            if len(columns) == 1 and not isinstance(columns[0], repeat)
            else list(map(b"".join, zip(*columns, strict=True)))
        )
        if not self._pieces:
            raise UnrenderedRow("an empty template")
        lines = list(
            map(b"".join, zip(repeat(shared.before), escape(ids), repeat(shared.between), asked, repeat(shared.after)))
        )
        fixed = (self._shared_tokens + 1) * BYTES_PER_TOKEN
        return SeparateLines(lines, asked, [fixed + size for size in map(len, asked)])

    def _one_by_one(self, batch: Batch, ids: Sequence[str], problems: Problems) -> Lines | None:
        lines, keys, weights, inputs = [], [], [], []
        before = problems.count
        for row, (custom_id, values) in enumerate(zip(ids, batch.rows(), strict=True), start=batch.first):
            try:
                content = self._recipe.content(values)
                if isinstance(content, str) and not content.strip():
                    problems.add("empty_text", "the text to ask about is empty", row=row, hint=_EMPTY_HINT)
                    continue
                self._check_endpoint(values)
                body = self._provider.request_body(self._task, content)
                keys.append(encode(body))
                lines.append(encode(self._provider.request_line(custom_id, self._task, body)))
            except UnrenderedRow as error:
                problems.add("template", error.message, row=row, hint=error.hint)
                continue
            except UnicodeEncodeError:
                said = "the text holds a lone surrogate, which is not valid Unicode"
                problems.add("not_unicode", said, row=row, hint="write the text anew where it was cut")
                continue
            except InputError as error:
                problems.add("request", error.message, row=row, hint=error.hint)
                continue
            given = body.get("input")
            inputs.append(len(given) if isinstance(given, list) else 1)
            weights.append((_tokens_of_body(body) + 1) * BYTES_PER_TOKEN)
        return SeparateLines(lines, keys, weights, inputs) if problems.count == before else None

    def _check_endpoint(self, values: Mapping[str, Any]) -> None:
        """A `Request` names its endpoint; a batch has one."""
        named = values.get("endpoint") if self._task.kind == "raw" else None
        if named is not None and "body" in values and named != self._provider.endpoint_for(self._task):
            raise InputError(
                f"is for the endpoint {named}, the run is for {self._provider.endpoint_for(self._task)}",
                hint="one run has one endpoint: make one run for each",
            )


_EMPTY_HINT = "leave rows without a text out, or let the template say something for them"


def generated_id(row: int) -> str:
    """The id of a row where no column has ids."""
    return f"{GENERATED}{row}"


def _whole_ids(batch: ArrowBatch, name: str) -> Any | None:
    """The ids in a column as Arrow texts, or None if there may be a row without one."""
    from pyarrow import compute

    column = batch.array(name)
    texts = text_array(column) if column is not None and not column.null_count else None
    return texts if texts is not None and compute.min(compute.binary_length(texts)).as_py() else None


def _tokens_of_text(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN


def _tokens_of_body(body: Mapping[str, Any]) -> int:
    """A guess from the texts of a body; pictures inside count as pictures, not as text."""
    return sum(TOKENS_PER_IMAGE if _is_picture(text) else _tokens_of_text(text) for text in _texts(body))


def _is_picture(text: str) -> bool:
    return text.startswith(("data:image/", "https://", "http://")) and " " not in text[:1_000]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
