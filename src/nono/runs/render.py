"""Rows into texts: Jinja2 templates, sandboxed, where a column that does not exist is an error and never an empty text.

A value becomes text as a person would write it: a text stays as it is; None is nothing; true and false are lower case;
numbers are as Python writes them; dates and times are ISO 8601; lists and dicts are JSON.

A template of plain substitutions (`{{ column }}`, perhaps through `trim`, `lower`, `upper`, `title`, `capitalize`)
needs no template engine per row: it is known as `Prompt.pieces`, and whoever uses these gets the same text, sooner.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nono.datasets.batches import MISSING
from nono.errors import InputError
from nono.jsonl import encode

# The whole row, for columns whose name is not a word: {{ row["Review Text"] }}.
ROW = "row"
# A prompt that is longer is no file's name.
LONGEST_NAME = 256
# Filters of one value that need no arguments and no context.
PLAIN_FILTERS = frozenset({"trim", "lower", "upper", "title", "capitalize"})


class UnrenderedRow(InputError):
    """A row that the template cannot make a text of."""


def as_text(value: Any) -> str:
    """A value as it stands in a prompt; see the table at the top of this module."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple() | dict():
            return encode(value).decode()
        case bytes():
            raise InputError("bytes are not a text", hint="decode them first, or use them as an image column")
    return str(value)


def _finalize(value: Any) -> Any:
    # An undefined value has to reach `str` itself: that is where it says its name.
    return value if isinstance(value, Undefined) else as_text(value)


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, finalize=_finalize, autoescape=False, keep_trailing_newline=False
)


def _of_text(through: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A filter that sees the text of a value: without it, None in lower case would be "none"."""
    return lambda value: through(_finalize(value))


_ENVIRONMENT.filters.update({name: _of_text(_ENVIRONMENT.filters[name]) for name in PLAIN_FILTERS})


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a column's value in a prompt, and the filters it goes through."""

    column: str
    filters: tuple[Callable[[Any], Any], ...] = ()

    def texts(self, values: Sequence[Any]) -> Sequence[str]:
        """The texts of a column's values. Raises UnrenderedRow for a value that is missing or not a text."""
        if not self.filters and set(map(type, values)) == {str}:
            return values
        return [self.text(value) for value in values]

    def text(self, value: Any) -> str:
        if value is MISSING:
            raise UnrenderedRow(f"there is no {self.column!r}")
        for through in self.filters:
            value = through(value)
        return as_text(value)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A compiled template.

    `needs` are the columns that every row must have; `pieces` the template as literal texts and slots if it is that
    simple, else None.
    """

    template: str
    needs: frozenset[str]
    pieces: tuple[str | Slot, ...] | None
    _render: Callable[..., str] = field(repr=False, compare=False)

    @property
    def constant(self) -> bool:
        """Whether the text is the same for every row."""
        return self.pieces is not None and all(isinstance(piece, str) for piece in self.pieces)

    def missing_from(self, columns: Iterable[str]) -> list[str]:
        """The columns that the template needs and the data do not have, each as a sentence with the nearest name."""
        known = list(columns)
        sentences = []
        for name in sorted(self.needs - set(known)):
            near = difflib.get_close_matches(name, known, n=1) or [
                column for column in known if column.casefold() == name.casefold()
            ]
            meant = f"; did you mean {near[0]!r}?" if near else ""
            sentences.append(f"the template uses {name!r}, which is not a column{meant}")
        return sentences

    def render(self, row: Mapping[str, Any]) -> str:
        """The text of one row. Raises UnrenderedRow."""
        try:
            return self._render({ROW: row} | dict(row))
        except UndefinedError as error:
            hint = "every row needs what the template uses; {{ name | default('') }} does without"
            raise UnrenderedRow(str(error), hint=hint) from error
        except InputError as error:
            raise UnrenderedRow(error.message) from error
        except TemplateError as error:
            raise UnrenderedRow(f"the template: {error}") from error
        except Exception as error:  # whatever the template's own expressions raise
            raise UnrenderedRow(f"the template: {type(error).__name__}: {error}") from error


def read_template(prompt: str) -> str:
    """The template itself: of a file for `@path` and for a path that ends in `.j2`, else the text as it is.

    Raises InputError if there is no such file, and for the name of a file that is there: nobody asks for that.
    """
    like_a_name = "\n" not in prompt and "{" not in prompt and len(prompt) < LONGEST_NAME
    is_path = prompt.startswith("@") or (prompt.endswith(".j2") and like_a_name)
    if not is_path:
        if like_a_name and Path(prompt).is_file():
            raise InputError(f"the prompt {prompt!r} is the name of a file", hint=f"its content is @{prompt}")
        return prompt
    path = Path(prompt.removeprefix("@"))
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(f"template {path}: {error.strerror}", hint="@path reads a template from a file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"template {path}: is not UTF-8", hint="convert the file to UTF-8") from error


def compile_prompt(template: str) -> Prompt:
    """Compile a template. Raises InputError, naming the line, if it is not one."""
    try:
        tree = _ENVIRONMENT.parse(template)
        compiled = _ENVIRONMENT.from_string(template)
    except TemplateSyntaxError as error:
        raise InputError(
            f"template, line {error.lineno}: {error.message}",
            hint="columns are written {{ name }}; literal braces {{ '{{' }}",
        ) from error
    return Prompt(template, frozenset(_needs(tree)), _pieces(tree), compiled.render)


def _needs(tree: nodes.Template) -> set[str]:
    """Names that must be columns: used, not set by the template, and not guarded by `default` or `is defined`."""
    used = find_undeclared_variables(tree) - set(_ENVIRONMENT.globals)
    row_is_used = ROW in used
    needs = used - {ROW}
    guarded = set()
    for guard in tree.find_all((nodes.Filter, nodes.Test)):
        if guard.name in ("default", "d", "defined", "undefined"):
            guarded.add(_column(guard.node))
    if row_is_used:
        for lookup in tree.find_all((nodes.Getitem, nodes.Getattr)):
            column = _column(lookup)
            if column is not None and not hasattr(dict, column):
                needs.add(column)
    return {name for name in needs if name not in guarded}


def _column(node: Any) -> str | None:
    """The column that an expression names: `name`, `row["name"]` or `row.name`."""
    match node:
        case nodes.Name(name=str(name)):
            return name
        case nodes.Getitem(node=nodes.Name(name="row"), arg=nodes.Const(value=str(name))):
            return name
        case nodes.Getattr(node=nodes.Name(name="row"), attr=str(name)):
            return name
    return None


def _pieces(tree: nodes.Template) -> tuple[str | Slot, ...] | None:
    """The template as literal texts and slots, or None if it is more than that."""
    pieces: list[str | Slot] = []
    for output in tree.body:
        if not isinstance(output, nodes.Output):
            return None
        for node in output.nodes:
            piece = node.data if isinstance(node, nodes.TemplateData) else _slot(node)
            if piece is None:
                return None
            pieces.append(piece)
    return tuple(pieces)


def _slot(node: nodes.Expr) -> Slot | None:
    filters: list[Callable[[Any], Any]] = []
    while isinstance(node, nodes.Filter):
        plain = not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
        if node.name not in PLAIN_FILTERS or not plain or node.node is None:
            return None
        filters.insert(0, _ENVIRONMENT.filters[node.name])
        node = node.node
    # `row.name` may be a method of the row, and a name may be a function of the template language.
    if isinstance(node, nodes.Getattr):
        return None
    column = _column(node)
    if column is None or column == ROW or (isinstance(node, nodes.Name) and column in _ENVIRONMENT.globals):
        return None
    return Slot(column, tuple(filters))
