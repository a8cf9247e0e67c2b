"""Lists that come page by page, as all of Google's do: a page names the next one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nono.exchange import Call, Flow, Reply


def all_items(call: Call, key: str, read: Callable[[Reply], Any]) -> Flow[list[Any]]:
    """What the pages of a list have under `key`; `read` gives a page's object or raises.

    It ends at a page that names no next one, or names itself: a service that takes no notice of a token gives the same
    page for ever.
    """
    found: list[Any] = []
    token = ""
    while True:
        page = read((yield replace(call, params={**call.params, "pageToken": token} if token else call.params)))
        found += page.get(key) or []
        before, token = token, page.get("nextPageToken") or ""
        if token in ("", before):
            return found
