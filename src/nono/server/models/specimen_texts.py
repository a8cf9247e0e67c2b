"""Texts for a JSON Schema: of a length, of a format, matching a pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from nono.server.models import specimen_patterns

WORDS = (
    "amber",
    "basin",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "inlet",
    "juniper",
    "kernel",
    "lagoon",
    "meadow",
    "nectar",
    "orchard",
    "prairie",
)


class Unsatisfiable(ValueError):
    """No finite value fits the schema, or this module cannot find one; the text says where."""


def text_for(schema: Mapping[str, Any], random: Random) -> str:
    """A text with the pattern, format or length that the schema asks for. Raises Unsatisfiable."""
    if "pattern" in schema:
        return matching(schema["pattern"], random, schema)
    form = _FORMATS.get(schema.get("format", ""))
    if form:
        return form(random)
    low = int(schema.get("minLength", 0))
    high = int(schema.get("maxLength", max(low, 60)))
    if low > high:
        raise Unsatisfiable(f"'minLength' {low} is above 'maxLength' {high}")
    text = f"simulated {random.choice(WORDS)}"
    while len(text) < low:
        text += f" {random.choice(WORDS)}"
    return text[:high]


def matching(pattern: str, random: Random, schema: Mapping[str, Any] | None = None) -> str:
    """A text that matches a pattern, with the length that stands beside it. Raises Unsatisfiable."""
    bounds = schema or {}
    try:
        return specimen_patterns.matching(
            pattern,
            random,
            shortest=int(bounds.get("minLength", 0)),
            longest=int(bounds.get("maxLength", specimen_patterns.LONGEST)),
        )
    except specimen_patterns.NoMatch as error:
        raise Unsatisfiable(str(error)) from None


def _hex(random: Random, digits: int) -> str:
    return f"{random.getrandbits(4 * digits):0{digits}x}"


def _date(random: Random) -> str:
    return f"20{random.randint(10, 29)}-{random.randint(1, 12):02}-{random.randint(1, 28):02}"


def _time(random: Random) -> str:
    return f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}Z"


_FORMATS: dict[str, Callable[[Random], str]] = {
    "date": _date,
    "time": _time,
    "date-time": lambda random: f"{_date(random)}T{_time(random)}",
    "duration": lambda random: f"PT{random.randint(1, 59)}M",
    "email": lambda random: f"{random.choice(WORDS)}@example.com",
    "idn-email": lambda random: f"{random.choice(WORDS)}@example.com",
    "hostname": lambda random: f"{random.choice(WORDS)}.example.com",
    "idn-hostname": lambda random: f"{random.choice(WORDS)}.example.com",
    "ipv4": lambda random: f"192.0.2.{random.randint(1, 254)}",
    "ipv6": lambda random: f"2001:db8::{random.randint(1, 0xFFFF):x}",
    "uri": lambda random: f"https://example.com/{random.choice(WORDS)}",
    "iri": lambda random: f"https://example.com/{random.choice(WORDS)}",
    "uri-reference": lambda random: f"/{random.choice(WORDS)}",
    "uuid": lambda random: (
        f"{_hex(random, 8)}-{_hex(random, 4)}-4{_hex(random, 3)}-a{_hex(random, 3)}-{_hex(random, 12)}"
    ),
    "json-pointer": lambda random: f"/{random.choice(WORDS)}",
    "regex": lambda random: f"^{random.choice(WORDS)}$",
}
