"""How answer lines are spoiled: one line in (without its line feed), the lines that stand for it out.

A `Spoil` is told the line, whether it is one of a file (or of a list inside a reply, which must stay JSON), and a
number from 0 to 1 that is the line's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from nono.server.dialect import Kind

if TYPE_CHECKING:
    from nono.server.faults.rules import Rule

Spoil = Callable[["Rule", bytes, float], list[bytes]]

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


def shuffle(rule: Rule, line: bytes, at: float) -> list[bytes]:
    """Says only that this line moves; the places change in `shuffled`."""
    return [line]


def shuffled(rule: Rule, lines: Iterator[tuple[Kind, bytes]], key: str) -> Iterator[tuple[Kind, bytes]]:
    """The same lines in another order: each leaves from a random place of a window, so that memory stays flat."""
    window: list[tuple[Kind, bytes]] = []
    for number, one in enumerate(lines):
        window.append(one)
        if len(window) >= rule["window"]:
            yield window.pop(int(rule.draw(f"{key}:{number}") * len(window)))
    number = 0
    while window:
        number += 1
        yield window.pop(int(rule.draw(f"{key}:end:{number}") * len(window)))


def is_whole(name: str) -> bool:
    """Whether what the fault leaves is still JSON, line by line."""
    return name not in ("corrupt-lines", "odd-lines")
