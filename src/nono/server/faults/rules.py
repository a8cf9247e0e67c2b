"""Rules: which fault befalls whom, and how often. Data in, checked values out.

    {"fault": "refuse", "call": "create", "provider": "openai", "nth": 2, "status": 429, "retry_after": "30"}

Every rule counts its occasions (calls that fit, batches, requests, answer lines) from 1. `nth` (a number or several),
`every` and `share` choose among them, `times` ends it. A share is drawn from `seed` and the occasion, never from a
running generator: the same world fails in the same places, whatever threads do.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from nono.errors import SettingsError
from nono.server.faults.calls import CALLS, PROVIDERS
from nono.server.faults.catalogue import FAULTS, Fault

_SELECTION = ("provider", "call", "nth", "every", "share", "seed", "times")
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the world's misbehaviour. `given` is how it was asked for."""

    id: str
    fault: Fault
    given: Mapping[str, Any]
    provider: str | None = None
    calls: frozenset[str] = frozenset()
    nth: frozenset[int] = frozenset()
    every: int = 1
    share: float = 1.0
    seed: int = 0
    times: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter of the fault."""
        return self.values[name]

    def chooses(self, number: int, key: str) -> bool:
        """Whether the occasion of this number is one. `key` tells it from others where the number does not."""
        if (self.nth and number not in self.nth) or number % self.every:
            return False
        return self.share >= 1.0 or self.draw(key) < self.share

    def draw(self, key: str) -> float:
        """A number from 0 to 1 that is always the same for the same key."""
        digest = blake2b(f"{self.seed}:{self.fault.name}:{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


class Counted:
    """Rules with their counts. Threads share one."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._fired: Counter[str] = Counter()
        self._fired_for: Counter[tuple[str, str]] = Counter()

    def add(self, rules: Iterable[Rule]) -> None:
        with self._lock:
            self.rules = (*self.rules, *rules)

    def clear(self) -> None:
        with self._lock:
            self.rules = ()

    def next(self, rule: Rule) -> int:
        """The number of another occasion."""
        with self._lock:
            self._seen[rule.id] += 1
            return self._seen[rule.id]

    def fires(self, rule: Rule, number: int, key: str, *, per: str | None = None) -> bool:
        """Whether the rule befalls this occasion, noted. `per`: `times` counts for this one alone."""
        if not rule.chooses(number, key):
            return False
        with self._lock:
            count = self._fired[rule.id] if per is None else self._fired_for[rule.id, per]
            if rule.times is not None and count >= rule.times:
                return False
            self._fired[rule.id] += 1
            if per is not None and rule.times is not None:
                self._fired_for[rule.id, per] += 1
            return True

    def shown(self) -> list[dict[str, Any]]:
        with self._lock:
            return [{"id": rule.id, **rule.given, "fired": self._fired[rule.id]} for rule in self.rules]


def read_rules(given: Any) -> list[Rule]:
    """Rules from a list of mappings, one mapping, a JSON text, or (the path of) a JSON file.

    Raises SettingsError that names the rule and what there is instead.
    """
    if isinstance(given, Path) or (isinstance(given, str) and not given.lstrip().startswith(("[", "{"))):
        given = _read_file(Path(given))
    if isinstance(given, str | bytes):
        try:
            given = msgspec.json.decode(given)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise SettingsError(f"the fault rules are not JSON: {error}", hint=_EXAMPLE) from error
    rows = [given] if isinstance(given, Mapping) else given
    if not isinstance(rows, list | tuple):
        raise SettingsError(f"fault rules are a list of objects, not {type(rows).__name__}", hint=_EXAMPLE)
    return [row if isinstance(row, Rule) else _rule(row, f"fault rule {no}") for no, row in enumerate(rows, start=1)]


_EXAMPLE = 'for example [{"fault": "refuse", "call": "create", "nth": 1, "status": 429}]'


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"the fault rules {path} cannot be read: {error.strerror or error}",
            hint=f"name a JSON file, or give the rules themselves, {_EXAMPLE}",
        ) from error


def _rule(row: Any, place: str) -> Rule:
    if not isinstance(row, Mapping):
        raise SettingsError(f"{place} is {type(row).__name__}, not an object", hint=_EXAMPLE)
    name = row.get("fault")
    fault = FAULTS.get(name) if isinstance(name, str) else None
    if fault is None:
        raise SettingsError(f"{place}: there is no fault {name!r}", hint=f"there are {', '.join(FAULTS)}")
    place = f"{place} ({name})"
    for word in row:
        if word not in ("fault", *_SELECTION, *fault.parameters):
            own = ", ".join(fault.parameters) or "no parameters of its own"
            raise SettingsError(
                f"{place} does not know {word!r}", hint=f"it takes {own}; every rule takes {', '.join(_SELECTION)}"
            )
    calls = _calls(row.get("call"), fault, place)
    nth = row.get("nth", [])
    return Rule(
        id=f"f{next(_numbers)}",
        fault=fault,
        given=dict(row),
        provider=_one_of(row.get("provider"), "provider", PROVIDERS, place),
        calls=calls,
        nth=frozenset(_whole(one, "nth", place) for one in (nth if isinstance(nth, list | tuple) else [nth])),
        every=_whole(row.get("every", 1), "every", place),
        share=_share(row.get("share", 1.0 if "nth" in row or "every" in row else fault.share), place),
        seed=_whole(row.get("seed", 0), "seed", place, least=0),
        times=None if row.get("times") is None else _whole(row["times"], "times", place),
        values={name: parameter.read(row, name, place) for name, parameter in fault.parameters.items()},
    )


def _calls(given: Any, fault: Fault, place: str) -> frozenset[str]:
    if given is None:
        return frozenset(fault.calls)
    names = given if isinstance(given, list | tuple) else [given]
    if not fault.calls:
        raise SettingsError(f"{place} does not befall calls", hint="leave 'call' out")
    for name in names:
        _one_of(name, "call", (*CALLS, "any"), place)
        if name not in fault.calls and fault.only:
            raise SettingsError(f"{place} cannot befall {name!r}", hint=f"it befalls {', '.join(fault.calls)}")
    return frozenset(CALLS) if "any" in names else frozenset(names)


def _one_of(value: Any, name: str, known: tuple[str, ...], place: str) -> str | None:
    if value is not None and value not in known:
        raise SettingsError(f"{place}: there is no {name} {value!r}", hint=f"there are {', '.join(known)}")
    return value  # type: ignore[no-any-return]


def _whole(value: Any, name: str, place: str, least: int = 1) -> int:
    if type(value) is not int or value < least:
        raise SettingsError(f"{place}: {name!r} is {value!r}", hint=f"a whole number from {least} on")
    return value


def _share(value: Any, place: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise SettingsError(f"{place}: 'share' is {value!r}", hint="a number from 0 to 1: 0.05 is 5 %")
    return float(value)
