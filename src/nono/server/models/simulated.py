"""A model that is none: instant, deterministic from the request, and named as simulated in every text it gives.

It answers whatever a real one can be asked for in a batch: texts of the asked length, JSON for a schema, tool calls,
pictures (a real small PNG), sources for a web search, embeddings of the asked dimension, moderation verdicts.  Bad
bodies get the 400 that OpenAI's service gives.  A prompt may hold `[[nono:…]]` directives (`directives.py`).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

from nono.server.models import CHAT, EMBEDDINGS, IMAGE_EDITS, IMAGES, MODERATIONS
from nono.server.models.directives import obey
from nono.server.models.picture import png
from nono.server.models.refusals import Refused, check_fields, check_number, invalid_type, missing
from nono.server.models.simulated_chat import FINGERPRINT, MARK, TOKENS_PER_PICTURE, chat, colour, tokens_in
from nono.server.models.simulated_moderation import moderate
from nono.server.models.simulated_vectors import embed

__all__ = ["FINGERPRINT", "MARK", "SimulatedModel"]

# https://platform.openai.com/docs/api-reference/images/create
_IMAGE_FIELDS = frozenset(
    {"background", "model", "moderation", "n", "output_compression", "output_format", "prompt", "quality", "size"}
    | {"response_format", "style", "user"}
)
_IMAGE_SIZES = {
    name: (int(name.split("x")[0]), int(name.split("x")[1]))
    for name in ("256x256", "512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792")
} | {"auto": (1024, 1024)}
MOST_IMAGES = 10
# https://platform.openai.com/docs/api-reference/images/createEdit
_EDIT_FIELDS = _IMAGE_FIELDS - {"style"} | {"images", "input_fidelity", "mask"}
MOST_EDITED = 16


class SimulatedModel:
    """Answers every endpoint at once. Holds nothing; threads may share it."""

    name = "simulated"
    slots = 1
    endpoints = frozenset({CHAT, EMBEDDINGS, MODERATIONS, IMAGES, IMAGE_EDITS})

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            return 200, _ENDPOINTS[endpoint](body)
        except Refused as refused:
            return refused.answer
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, RecursionError) as error:
            # A shape that the checks do not know is still the request's fault, not the server's.
            return Refused(f"Invalid request: {type(error).__name__}: {error}").answer

    def close(self) -> None:
        """Nothing is held open."""


def _edit(body: Mapping[str, Any]) -> dict[str, Any]:
    """A picture made of others: each is looked at as far as a batch's JSON can carry one."""
    check_fields(body, _EDIT_FIELDS)
    images = body.get("images")
    if images is None:
        raise missing("images")
    if not isinstance(images, list):
        raise invalid_type("images", "an array of objects", images)
    if not 1 <= len(images) <= MOST_EDITED:
        raise Refused(f"Invalid 'images': expected 1 to {MOST_EDITED} pictures, but got {len(images)}.", param="images")
    places = [(f"images[{index}]", image) for index, image in enumerate(images)]
    for place, image in [*places, *([("mask", body["mask"])] if body.get("mask") is not None else [])]:
        _check_picture(place, image)
    return _draw({name: value for name, value in body.items() if name in _IMAGE_FIELDS}, pictures=len(images))


def _check_picture(place: str, image: Any) -> None:
    if not isinstance(image, Mapping):
        raise invalid_type(place, "an object", image)
    if image.get("file_id") is not None:
        raise Refused(f"Invalid value: '{place}.file_id': pictures by file are not imitated here.", param=place)
    url = image.get("image_url")
    if url is None:
        raise missing(f"{place}.image_url")
    if not isinstance(url, str) or not url.startswith(("data:image/", "https://", "http://")):
        raise Refused(f"Invalid '{place}.image_url': expected a URL or a data URL of a picture.", param=place)


def _draw(body: Mapping[str, Any], pictures: int = 0) -> dict[str, Any]:
    check_fields(body, _IMAGE_FIELDS)
    prompt = body.get("prompt")
    if prompt is None:
        raise missing("prompt")
    if not isinstance(prompt, str):
        raise invalid_type("prompt", "a string", prompt)
    check_number(body, "n", 1, MOST_IMAGES, whole=True)
    for name, only in (("output_format", "png"), ("response_format", "b64_json")):
        if body.get(name) not in (None, only):
            raise Refused(f"Unsupported value: '{name}' is {only!r} with the simulated model.", param=name)
    size = body.get("size") or "auto"
    if size not in _IMAGE_SIZES:
        known = ", ".join(f"'{name}'" for name in _IMAGE_SIZES)
        raise Refused(f"Invalid value: '{size}'. Supported values are: {known}.", param="size", code="invalid_value")
    obey(prompt)
    width, height = _IMAGE_SIZES[size]
    count = body.get("n") or 1
    seed = crc32(prompt.encode("utf-8", "surrogatepass"))
    made = [png(width, height, colour(seed + index)) for index in range(count)]
    text, seen, drawn = tokens_in(prompt), pictures * TOKENS_PER_PICTURE, count * width * height // 1024
    return {
        "created": int(time.time()),
        "data": [{"b64_json": base64.b64encode(picture).decode()} for picture in made],
        "usage": {
            "input_tokens": text + seen,
            "output_tokens": drawn,
            "total_tokens": text + seen + drawn,
            "input_tokens_details": {"text_tokens": text, "image_tokens": seen},
        },
    }


_ENDPOINTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    CHAT: chat,
    EMBEDDINGS: embed,
    MODERATIONS: moderate,
    IMAGES: _draw,
    IMAGE_EDITS: _edit,
}
