"""Which endpoints OpenAI's own models answer at: a batch of the wrong kind fails 50,000 times.

Only what is certain stands here; a name that fits no row may be asked anything.
"""

from __future__ import annotations

import re

from nono.errors import InputError

_CHAT = ("chat/completions", "responses")
# https://platform.openai.com/docs/models  (the endpoints of each model's page); the first row that fits counts.
_ANSWER_AT: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"text-embedding-(ada|3)", ("embeddings",)),
    (r"(omni|text)-moderation-", ("moderations",)),
    (r"(gpt-image-|dall-e-)", ("images/generations", "images/edits")),
    (r"(gpt-3\.5-turbo-instruct|davinci-002|babbage-002)", ("completions",)),
    (r"(o1-pro|o3-pro|gpt-5-pro|gpt-5-codex)", ("responses",)),
    (r"(gpt-(3\.5|4|4o|4\.1|4\.5|5)(-(mini|nano|turbo))?|o1|o3|o3-mini|o4-mini)(-\d|-preview|$)", _CHAT),
)
_ROWS = tuple((re.compile(rf"(?:ft:)?{pattern}"), at) for pattern, at in _ANSWER_AT)


def check_model(model: str, endpoint: str, *, hint: str) -> None:
    """Raise InputError if a model of OpenAI's is known not to answer at `endpoint` (`/v1/…`)."""
    at = next((at for pattern, at in _ROWS if pattern.match(model)), None)
    if at is not None and endpoint.removeprefix("/v1/") not in at:
        there = " or ".join(f"/v1/{name}" for name in at)
        raise InputError(f"{model} answers at {there}, not at {endpoint}", hint=f"choose another model; {hint}")
