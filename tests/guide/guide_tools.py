"""The documented examples as they stand in the files beside this one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., dict[str, Any]]


def examples(name: str) -> dict[str, str]:
    """The code blocks of a file, by their headings."""
    text = Path(__file__).with_name(name).read_text("utf-8")
    return dict(re.findall(r"^## (.+?)\n\n```\w+\n(.*?)\n```$", text, re.M | re.S))
