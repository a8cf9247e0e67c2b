"""Which numbers hold where: OpenAI's own, or those of a compatible service, told by the host of the base URL.

Services differ in how they write (`wire` reads them all) and in what they take; the second is `compatible.toml`. A host
that is not in it is treated as OpenAI itself.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from urllib.parse import urlsplit

from nono.errors import LimitError
from nono.facts import Facts, facts_of, read_facts

_UNITS_S = {"h": 3_600, "d": 86_400}


def facts_for(base_url: str) -> Facts:
    """OpenAI's facts, with what differs at the service that answers under this address."""
    host = (urlsplit(base_url).hostname or "").lower()
    for hosts, facts in _services():
        if any(host.endswith(name) if name.startswith(".") else host == name for name in hosts):
            return facts
    return read_facts("openai")


def check_window(window: str, facts: Facts) -> None:
    """Raise LimitError for a completion window that is known to be refused; what is not understood is left alone."""
    shortest, longest = facts.get("service.window_min_s"), facts.get("service.window_max_s")
    match = re.fullmatch(r"(\d{1,6})([hd])", window) if isinstance(window, str) else None
    if shortest is None or longest is None or match is None:
        return
    seconds = int(match[1]) * _UNITS_S[match[2]]
    if not shortest.value <= seconds <= longest.value:
        limit = shortest if seconds < shortest.value else longest
        raise LimitError(
            f"a completion window of {window}: this service takes {shortest.value // 3600}h to "
            f"{longest.value // 3600}h ({limit.source})",
            limit=limit.value,
            found=seconds,
            source=limit.source,
            hint="nothing was sent; check=False sends anyway",
        )


@cache
def _services() -> tuple[tuple[tuple[str, ...], Facts], ...]:
    text = (resources.files("nono.providers.openai") / "compatible.toml").read_text("utf-8")
    ours = read_facts("openai")
    return tuple(
        (tuple(table.pop("hosts")), Facts({**ours, **facts_of(table)})) for table in tomllib.loads(text).values()
    )
