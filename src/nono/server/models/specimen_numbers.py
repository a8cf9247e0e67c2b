"""Numbers for a JSON Schema: within bounds, whole, multiples."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from nono.server.models.specimen_texts import Unsatisfiable


def number_for(schema: Mapping[str, Any], random: Random) -> int | float:
    low, high = _bounds(schema, 1e-3)
    step = schema.get("multipleOf")
    if step:
        return _multiple(low, high, step, random)
    if low == high:
        return low
    value = round(random.uniform(low, high), 2)
    return value if low <= value <= high else (low + high) / 2


def integer_for(schema: Mapping[str, Any], random: Random) -> int:
    low, high = _bounds(schema, 1)
    lowest, highest = -int(-low // 1), int(high // 1)
    step = schema.get("multipleOf")
    if step and step != 1:
        return int(_multiple(lowest, highest, step, random))
    if lowest > highest:
        raise Unsatisfiable(f"no whole number lies between {low} and {high}")
    return random.randint(lowest, highest)


def _bounds(schema: Mapping[str, Any], nudge: float) -> tuple[float, float]:
    """Closed bounds; an exclusive one moves inwards by `nudge` (or a part of the room, where that is narrow)."""
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    above = low if above is True else None if above is False else above  # draft 4 spells it as a flag
    below = high if below is True else None if below is False else below
    ends = [end for end in (low, high, above, below) if end is not None]
    room = (max(ends) - min(ends)) / 4 if len(ends) > 1 else nudge
    nudge = nudge if nudge == 1 else min(nudge, room) or nudge
    if above is not None and (low is None or low <= above):
        low = above + nudge if nudge != 1 else above // 1 + 1
    if below is not None and (high is None or high >= below):
        high = below - nudge if nudge != 1 else -(-below // 1) - 1
    if low is None and high is None:
        low, high = 1, 100
    elif low is None:
        assert high is not None
        low = min(0, high - 100)
    elif high is None:
        high = max(100, low + 100)
    assert low is not None and high is not None
    if low > high:
        raise Unsatisfiable(f"no number lies between {low} and {high}")
    return low, high


def _multiple(low: float, high: float, step: float, random: Random) -> float:
    first, last = -int(-low // step), int(high // step)
    if first > last:
        raise Unsatisfiable(f"no multiple of {step} lies between {low} and {high}")
    value = random.randint(first, min(last, first + 1000)) * step
    return value if isinstance(step, int) else round(value, 10)
