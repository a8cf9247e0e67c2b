"""A key that cannot be printed, logged, pickled or put into JSON by accident; only `reveal()` gives it out."""

from __future__ import annotations

import hashlib
import re
from typing import ClassVar, NoReturn


class Secret:
    """Holds one secret text. Every rendering of it is `Secret('****')`."""

    __slots__ = ("_text",)
    # Whether `reveal` may have to ask somebody else first.
    may_wait: ClassVar[bool] = False

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def fingerprint(self) -> str:
        """Twelve hex digits that tell two keys apart and do not give either away."""
        return hashlib.sha256(b"nono key fingerprint\0" + self._text.encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return "Secret('****')"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


def without_secrets(address: str) -> str:
    """A URL as it may be printed: without a user and a password, and without its query."""
    return re.sub(r"//[^/]*@", "//", address.partition("?")[0])
