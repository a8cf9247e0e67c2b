"""What holds where: OpenAI's own numbers and words, or those of a compatible service, told by the host of the base URL.

Services differ in how they write (`wire` reads them all) and in what they take; the second is `compatible.toml`, for
the service classes and for runs alike. A host that is not in it is treated as OpenAI itself.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from nono.errors import InputError, LimitError
from nono.facts import Facts, facts_of, read_facts

_UNITS_S = {"h": 3_600, "d": 86_400}
_VERSION = re.compile(r"^/(?:v\d+\w*/)?")


@dataclass(frozen=True, slots=True)
class Service:
    """One service: OpenAI's facts with its `own`, which are what differs there; `hosts` are where it answers."""

    name: str
    facts: Facts
    own: Facts = field(default_factory=lambda: Facts({}))
    hosts: tuple[str, ...] = ()

    def said(self, name: str, otherwise: Any) -> Any:
        """What the service says about something, or what OpenAI would."""
        fact = self.facts.get(name)
        return otherwise if fact is None else fact.value

    @property
    def key_header(self) -> str:
        return str(self.said("account.key_header", "authorization"))

    @property
    def key_variables(self) -> tuple[str, ...]:
        """Where a key comes from, the service's own variable first."""
        own = self.said("account.key_variable", None)
        return (own, "OPENAI_API_KEY") if own else ("OPENAI_API_KEY",)

    def address(self, base_url: str) -> str:
        """The base URL, with the path of the API where only the service's host was given."""
        path = self.said("account.base_path", "")
        return f"{base_url.rstrip('/')}{path}" if path and not urlsplit(base_url).path.strip("/") else base_url

    def spelled(self, endpoint: str) -> str:
        """An endpoint as the service writes it. Raises InputError for one that its batches do not take."""
        name = _VERSION.sub("", endpoint)
        taken = self.said("endpoints.taken", None)
        if taken is not None and name not in taken:
            raise InputError(
                f"batches of {self.name} do not take {endpoint} ({self.facts['endpoints.taken'].source})",
                hint=f"they take: {', '.join(taken)}",
            )
        return f"{self.said('endpoints.version', '')}/{name}" if "endpoints.version" in self.facts else endpoint


OPENAI = Service("OpenAI", read_facts("openai"))


def service_at(base_url: str) -> Service:
    """The service that answers under this address."""
    host = (urlsplit(base_url).hostname or "").lower()
    for service in services():
        if any(host.endswith(name) if name.startswith(".") else host == name for name in service.hosts):
            return service
    return OPENAI


def facts_for(base_url: str) -> Facts:
    """The facts of the service under this address."""
    return service_at(base_url).facts


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
            hint="nothing was sent; with the service class, check=False sends anyway",
        )


@cache
def services() -> tuple[Service, ...]:
    """The services that are known, as `compatible.toml` has them."""
    text = (resources.files("nono.providers.openai") / "compatible.toml").read_text("utf-8")
    return tuple(map(_service, tomllib.loads(text).values()))


def _service(table: dict[str, Any]) -> Service:
    name, hosts = table.pop("name"), tuple(table.pop("hosts"))
    own = facts_of(table)
    return Service(name, Facts({**read_facts("openai"), **own}), own, hosts)
