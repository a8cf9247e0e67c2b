"""Wishes inside a prompt, which steer the simulated model; nobody writes them by accident.

| in the prompt | what happens |
|---|---|
| `[[nono:error 429]]` | the request fails with that HTTP status |
| `[[nono:error 400 context_length_exceeded]]` | … and that code |
| `[[nono:say …]]` | the answer is exactly that text, up to the first `]]` |
| `[[nono:words 200]]` | the answer has so many words |
| `[[nono:refuse]]` | the model declines to answer |
| `[[nono:sleep 0.2]]` | the answer takes so many seconds |
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from nono.server.models.refusals import Refused

BEGIN = "[[nono:"
_DIRECTIVE = re.compile(r"\[\[nono:(\w+) ?(.*?)\]\]", re.DOTALL)
LONGEST_SLEEP_S = 3600
MOST_WORDS = 100_000


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a prompt asks of its answer; None where it asks nothing."""

    say: str | None = None
    words: int | None = None
    refuse: bool = False


NOTHING = Wishes()


def obey(prompt: str, *, sleep: Callable[[float], object] = time.sleep) -> Wishes:
    """Do at once what can be done at once (fail, take time); give back what the answer has to heed.

    Raises Refused: the asked failure, or a directive that makes no sense.
    """
    if BEGIN not in prompt:
        return NOTHING
    say: str | None = None
    words: int | None = None
    refuse = False
    for name, value in _DIRECTIVE.findall(prompt):
        match name:
            case "error":
                status, _, code = value.partition(" ")
                raise Refused(
                    f"[simulated] asked to fail with {value}",
                    status=int(_number(name, status, 400, 599)),
                    code=code.strip() or None,
                )
            case "sleep":
                sleep(_number(name, value, 0, LONGEST_SLEEP_S))
            case "say":
                say = value
            case "words":
                words = int(_number(name, value, 1, MOST_WORDS))
            case "refuse":
                refuse = True
            case _:
                raise Refused(
                    f"There is no directive '{BEGIN}{name}]]'; there are error, say, words, refuse and sleep."
                )
    return Wishes(say, words, refuse)


def _number(name: str, text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise Refused(f"The directive '{BEGIN}{name} …]]' wants a number from {least} to {most}, not {text[:40]!r}.")
    return number
