"""Which model answers which requested name.

The server has one chat model, one embedding model, and the simulated one for everything that those do not answer. A
client written for a provider asks for the provider's models: such a name is accepted, and answered by what is here;
only a name that no provider would know is `model_not_found`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from nono.models import Kind, known
from nono.server.models import EMBEDDINGS, Model


@dataclass(frozen=True, slots=True)
class Family:
    """Names of one provider that are accepted; `examples` are what the listing shows."""

    provider: str
    pattern: re.Pattern[str]
    examples: tuple[str, ...]


def _family(provider: str, pattern: str, *examples: str) -> Family:
    return Family(provider, re.compile(pattern), examples)


# https://platform.openai.com/docs/models and https://ai.google.dev/gemini-api/docs/models
FAMILIES: tuple[Family, ...] = (
    _family("openai", r"(ft:)?gpt-[\w.:-]+", "gpt-4o-mini", "gpt-4o", "gpt-4.1-mini", "gpt-5-mini", "gpt-5-nano"),
    _family("openai", r"(ft:)?o[1-9](-[\w.:-]+)?", "o3-mini", "o4-mini"),
    _family("openai", r"(chatgpt|codex|computer-use)-[\w.-]+", "chatgpt-4o-latest"),
    _family("openai", r"(babbage|davinci)-002", "davinci-002"),
    _family("openai", r"text-embedding-[\w.-]+", "text-embedding-3-small", "text-embedding-3-large"),
    _family("openai", r"(omni|text)-moderation-[\w.-]+", "omni-moderation-latest"),
    _family("openai", r"(dall-e|chatgpt-image|gpt-image)-[\w.-]+", "gpt-image-1"),
    _family("openai", r"(tts|whisper)-[\w.-]+"),
    _family("gemini", r"gemini-[\w.-]+", "gemini-3-flash-preview", "gemini-2.5-flash", "gemini-2.5-flash-lite"),
    _family("gemini", r"(gemini-embedding|text-embedding|embedding)-[\w.-]+", "gemini-embedding-001"),
    _family("gemini", r"(gemma|imagen|learnlm)-[\w.-]+"),
)


class Roster:
    """The models of a server. `chat` and `embedding` are asked first; `simulated` answers the rest.

    `any_name`: the chat model stands for another server, which knows its own names best.
    """

    def __init__(self, chat: Model, embedding: Model, simulated: Model, *, any_name: bool = False) -> None:
        self._order = (chat, embedding, simulated)
        self._any_name = any_name

    def knows(self, name: str) -> bool:
        """Whether some model here answers to this name."""
        return (
            self._any_name
            or any(model.name == name for model in self._order)
            or any(family.pattern.fullmatch(name) for family in FAMILIES)
        )

    def pick(self, name: str | None, endpoint: str) -> Model:
        """The model that answers `endpoint` for this name: the one called so, otherwise the first that can."""
        able = [model for model in self._order if endpoint in model.endpoints]
        named = [model for model in able if model.name == name]
        if endpoint == EMBEDDINGS and not named:
            able.sort(key=lambda model: model is not self._order[1])
        return (named or able)[0]

    def names(self, provider: str) -> Iterator[str]:
        """What a listing shows: the models that are here, then well-known names of the provider."""
        seen = dict.fromkeys(model.name for model in self._order)
        for family in FAMILIES:
            if family.provider == provider:
                seen.update(dict.fromkeys(family.examples))
        yield from seen

    def close(self) -> None:
        for model in {id(model): model for model in self._order}.values():
            model.close()


def open_roster(model: str | Model, embedding_model: str | Model | None = None) -> Roster:
    """Open models by name: `simulated`, named weights, a .gguf file, or the URL of an OpenAI-compatible server.

    Raises SettingsError, with what to do, for a name that nothing is known by.
    """
    from nono.server.models.simulated import SimulatedModel

    simulated = SimulatedModel()
    chat = simulated if model == "simulated" else _open(model)
    if embedding_model is None:
        embedding = chat if EMBEDDINGS in chat.endpoints else simulated
    else:
        embedding = simulated if embedding_model == "simulated" else _open(embedding_model)
    return Roster(chat, embedding, simulated, any_name=isinstance(model, str) and _is_url(model))


def _open(model: str | Model) -> Model:
    if not isinstance(model, str):
        return model
    opened: Model
    if _is_url(model):
        from nono.server.models.upstream import UpstreamModel

        opened = UpstreamModel(model)
    elif (weights := known().get(model)) is not None and weights.kind is Kind.EMBEDDING:
        from nono.server.models.embedding import EmbeddingModel

        opened = EmbeddingModel(model)
    else:
        from nono.server.models.embedded import EmbeddedModel

        opened = EmbeddedModel(model)
    return opened


def _is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))
