"""How answer lines are spoiled: one line in (without its line feed), the lines that stand for it out.

A `Spoil` is told the line and a number from 0 to 1 that is the line's own; an `Order` all lines, and their key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from nono.server.dialect import Kind

if TYPE_CHECKING:
    from nono.server.faults.rules import Rule

Lines = Iterator[tuple[Kind, bytes]]
Spoil = Callable[["Rule", bytes, float], list[bytes]]
Order = Callable[["Rule", Lines, str], Lines]

# What cannot be read any more, whoever tries.
DAMAGE: Mapping[str, Callable[[bytes, float], bytes]] = {
    "cut": lambda line, at: line[: max(1, int(len(line) * at))],
    "bytes": lambda line, at: b"\xff\xfe" + line,
    "nul": lambda line, at: line[: len(line) // 2] + b"\x00" + line[len(line) // 2 :],
    "html": lambda line, at: b"<html><body>502 Bad Gateway</body></html>",
    "brackets": lambda line, at: b"[" * 100_000,
    "glued": lambda line, at: line + line,
}
# What a reader of JSON lines has to take as it comes.
ODDITIES: Mapping[str, Callable[[bytes, float], bytes]] = {
    "crlf": lambda line, at: line + b"\r",
    "blank": lambda line, at: b"\n  \n" + line,
    "spaces": lambda line, at: b" \t" + line + b"  ",
    "separator": lambda line, at: line[:-1] + ', "note": "\u2028\u0085\x7f"}'.encode(),
}
_ID = re.compile(rb'"(custom_id|key)"\s*:\s*"((?:[^"\\]|\\.)*)"')


def duplicate(rule: Rule, line: bytes, at: float) -> list[bytes]:
    return [line, line]


def leave_out(rule: Rule, line: bytes, at: float) -> list[bytes]:
    return []


def damage(rule: Rule, line: bytes, at: float) -> list[bytes]:
    return [DAMAGE[rule["how"]](line, at)]


def make_odd(rule: Rule, line: bytes, at: float) -> list[bytes]:
    return [ODDITIES[rule["how"]](line, at)]


def add_foreign(rule: Rule, line: bytes, at: float) -> list[bytes]:
    return [line, _ID.sub(rb'"\1": "of-another-batch-\2"', line, count=1)]


def lose_id(rule: Rule, line: bytes, at: float) -> list[bytes]:
    return [_ID.sub(rb'"\1": null', line, count=1)]


def shuffle(rule: Rule, lines: Lines, key: str) -> Lines:
    """The same lines in another order: each leaves from some place of a window, so that memory stays flat."""
    window: list[tuple[Kind, bytes]] = []
    for number, one in enumerate(lines):
        window.append(one)
        if len(window) >= rule["window"]:
            yield window.pop(int(rule.draw(f"{key}:{number}") * len(window)))
    while window:
        yield window.pop(int(rule.draw(f"{key}:left:{len(window)}") * len(window)))
