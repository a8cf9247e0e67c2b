"""Texts that match a regular expression, from the parse tree that Python's own compiler makes of it.

What stands at a place is drawn from the alphabet below or from the pattern's own classes; look-arounds are left to
chance and checked at the end.  Nothing is unbounded: a text has at most `LONGEST` characters.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from functools import lru_cache
from random import Random
from re import _constants, _parser  # type: ignore[attr-defined]  # no public name; the same from 3.11 to 3.14
from typing import Any

LONGEST = 10_000
# So many tries with repeats this much above their least; what needs longer texts gets them after the short ones.
_SPREADS = ((20, 2), (60, 8), (60, 40))
_ALPHABET = string.ascii_lowercase + string.digits + string.ascii_uppercase + " -_.,:;/@#+*=()!?'\"&%$<>[]{}|~^`\\\t\n"


class NoMatch(ValueError):
    """No text was found; the message says why."""


def matching(pattern: str, random: Random, *, shortest: int = 0, longest: int = LONGEST) -> str:
    """A text of that length in which `pattern` is found. Raises NoMatch."""
    try:
        wanted = re.compile(pattern)
        tree = _parsed(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise NoMatch(f"pattern {pattern!r} cannot be followed: {error}") from None
    if tree.getwidth()[0] > LONGEST:
        raise NoMatch(f"pattern {pattern!r} asks for texts of more than {LONGEST} characters")
    spreads = [spread for tries, spread in (*_SPREADS, (60, shortest)) for _ in range(tries)]
    for spread in spreads:
        text = _Writer(random, spread).write(tree)
        if text is not None and shortest <= len(text) <= longest and wanted.search(text):
            return text
    raise NoMatch(f"no text was found that matches the pattern {pattern!r}")


@lru_cache(maxsize=256)
def _parsed(pattern: str) -> Any:
    return _parser.parse(pattern)


class _TooLong(Exception):
    pass


class _Writer:
    """Writes one text: what its groups were, and how many characters are left."""

    def __init__(self, random: Random, spread: int) -> None:
        self._random = random
        self._spread = spread
        self._left = LONGEST
        self._groups: dict[int, str] = {}

    def write(self, tree: Iterable[Any]) -> str | None:
        try:
            return self._all(tree)
        except (_TooLong, RecursionError):
            return None

    def _all(self, tree: Iterable[Any]) -> str:
        return "".join([_WRITE[operation](self, value) for operation, value in tree])

    def _spend(self, count: int = 1) -> None:
        self._left -= count
        if self._left < 0:
            raise _TooLong

    def literal(self, code: int) -> str:
        self._spend()
        return chr(code)

    def any(self, _: Any) -> str:
        self._spend()
        return self._random.choice(_ALPHABET[:-1])

    def not_literal(self, code: int) -> str:
        self._spend()
        return self._random.choice(_ALPHABET.replace(chr(code), ""))

    def one_of(self, members: list[Any]) -> str:
        self._spend()
        negated = members[0][0] is _constants.NEGATE
        if negated or any(operation is _constants.CATEGORY for operation, _ in members):
            fitting = [char for char in _ALPHABET if any(_is(char, one) for one in members[negated:]) is not negated]
            if fitting:
                return self._random.choice(fitting)
        if negated:
            raise _TooLong  # everything that we could write is excluded
        operation, value = self._random.choice([one for one in members if one[0] is not _constants.CATEGORY] or members)
        if operation is _constants.RANGE:
            return chr(self._random.randint(*value))
        return chr(value) if operation is _constants.LITERAL else " "

    def branch(self, value: Any) -> str:
        return self._all(self._random.choice(value[1]))

    def group(self, value: Any) -> str:
        text = self._all(value[-1])
        if value[0] is not None:
            self._groups[value[0]] = text
        return text

    def repeat(self, value: Any) -> str:
        least, most, tree = value
        times = self._random.randint(int(least), min(int(most), int(least) + self._spread))
        texts = []
        for _ in range(times):
            self._spend()
            texts.append(self._all(tree))
        return "".join(texts)

    def reference(self, group: int) -> str:
        text = self._groups.get(group, "")
        self._spend(len(text))
        return text

    def reference_exists(self, value: Any) -> str:
        group, yes, no = value
        return self._all(yes if group in self._groups else no or ())


def _is(char: str, member: Any) -> bool:
    """Whether a character is what a member of a class says."""
    operation, value = member
    if operation is _constants.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    if operation is _constants.LITERAL:
        return bool(ord(char) == value)
    return value in _CATEGORIES and _CATEGORIES[value](char)


_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    _constants.CATEGORY_DIGIT: str.isdigit,
    _constants.CATEGORY_NOT_DIGIT: lambda char: not char.isdigit(),
    _constants.CATEGORY_SPACE: str.isspace,
    _constants.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    _constants.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
    _constants.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
}


def _nothing(writer: _Writer, value: Any) -> str:
    return ""


# https://docs.python.org/3/library/re.html#regular-expression-syntax
_WRITE: dict[Any, Callable[[_Writer, Any], str]] = {
    _constants.LITERAL: _Writer.literal,
    _constants.NOT_LITERAL: _Writer.not_literal,
    _constants.ANY: _Writer.any,
    _constants.IN: _Writer.one_of,
    _constants.BRANCH: _Writer.branch,
    _constants.SUBPATTERN: _Writer.group,
    _constants.MAX_REPEAT: _Writer.repeat,
    _constants.MIN_REPEAT: _Writer.repeat,
    _constants.POSSESSIVE_REPEAT: _Writer.repeat,
    _constants.ATOMIC_GROUP: lambda writer, tree: writer.group((None, tree)),
    _constants.GROUPREF: _Writer.reference,
    _constants.GROUPREF_EXISTS: _Writer.reference_exists,
    _constants.AT: _nothing,
    _constants.ASSERT: _nothing,
    _constants.ASSERT_NOT: _nothing,
}
