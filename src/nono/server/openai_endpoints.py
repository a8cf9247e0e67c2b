"""OpenAI's kinds of work: which the server answers, how, and what it refuses to imitate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from nono.server.dialect import Ask
from nono.server.models import CHAT, EMBEDDINGS, IMAGE_EDITS, IMAGES, MODERATIONS
from nono.server.models.refusals import Refused


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One kind of work. `asks` is the model's endpoint behind it; `translation` the module that spells it as a chat.

    `default_model`: the model may be left out (None: it may not). `required` is the field whose absence validation
    finds; `counts_inputs`: a batch has a limit of inputs, too.
    """

    title: str
    asks: str
    translation: str | None = None
    default_model: str | None = None
    required: str | None = None
    counts_inputs: bool = False

    def answer(self, body: Mapping[str, Any], ask: Ask) -> tuple[int, dict[str, Any]]:
        """HTTP status and body for one request body."""
        if body.get("model") is None and self.default_model is not None:
            body = {**body, "model": self.default_model}
        if self.translation is None:
            return ask(self.asks, body)
        spelling = import_module(self.translation)
        try:
            chat = spelling.to_chat(body)
        except Refused as refused:
            return refused.answer
        answer: tuple[int, dict[str, Any]] = spelling.from_chat(body, *ask(self.asks, chat))
        return answer


ENDPOINTS: dict[str, Endpoint] = {
    "/v1/chat/completions": Endpoint("Chat Completions", CHAT, required="messages"),
    "/v1/responses": Endpoint("Responses", CHAT, "nono.server.translate.responses"),
    "/v1/embeddings": Endpoint("Embeddings", EMBEDDINGS, counts_inputs=True),
    "/v1/completions": Endpoint("Completions", CHAT, "nono.server.translate.completions"),
    "/v1/moderations": Endpoint("Moderations", MODERATIONS, default_model="omni-moderation-latest"),
    "/v1/images/generations": Endpoint("Images", IMAGES, default_model="gpt-image-1"),
    "/v1/images/edits": Endpoint("Image edits", IMAGE_EDITS, default_model="gpt-image-1"),
}

# https://platform.openai.com/docs/api-reference/batch/create (`endpoint`), in the order of its error text
BATCH_ENDPOINTS: tuple[str, ...] = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
    "/v1/responses",
)


def invalid_request(message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
