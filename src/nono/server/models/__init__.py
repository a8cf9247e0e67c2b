"""The models that answer the local server's requests, behind one seam.

A model speaks the bodies of OpenAI's synchronous endpoints, the lingua franca of model servers, and knows no protocol's
envelope: no batch, no file, no Gemini. The server translates the other spellings (Responses, legacy completions,
Gemini's generateContent and embedContent) to and from these.

Beyond OpenAI's own fields a model may understand: in a chat body `modalities: ["text", "image"]` (pictures come back as
`message.images[].image_url.url`, data URLs), and `web_search_options` (sources come back as
`message.annotations[].url_citation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
MODERATIONS = "/v1/moderations"
IMAGES = "/v1/images/generations"
IMAGE_EDITS = "/v1/images/edits"


class Model(Protocol):
    """Answers requests. Threads share one model; `slots` is how many answers it can work on at a time."""

    name: str
    slots: int
    endpoints: frozenset[str]

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """HTTP status and body, as OpenAI's endpoint would give them; an error is a status with `{"error": {…}}`.

        Never raises for a bad body: that is a 400.
        """
        ...

    def close(self) -> None: ...
