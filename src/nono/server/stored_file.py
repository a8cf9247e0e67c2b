"""The bytes of a stored file as an answer: all of them, or the part that a Range header asks for."""

from __future__ import annotations

import re

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

_RANGE = re.compile(rb"bytes=(?:(\d{1,18})-(\d{1,18})?|-\d{1,18})")


class StoredFile(FileResponse):
    """A Range header that makes no sense, or asks for several parts, is ignored: the answer is the whole file.

    https://www.rfc-editor.org/rfc/rfc9110#section-14.2
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range" or _is_one_part(value)]
        await super().__call__({**scope, "headers": headers}, receive, send)


def _is_one_part(value: bytes) -> bool:
    match = _RANGE.fullmatch(value.strip())
    if match is None:
        return False
    first, last = match.groups()
    return last is None or int(first) <= int(last)
