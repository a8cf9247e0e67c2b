"""Which model answers which name."""

from __future__ import annotations

import pytest
from server_tools import Told

from nono.server.models import CHAT, EMBEDDINGS, MODERATIONS, Model
from nono.server.roster import Roster


def model(name: str, *endpoints: str) -> Model:
    made = Told()
    made.name = name
    made.endpoints = frozenset(endpoints)
    return made


@pytest.fixture
def roster() -> Roster:
    return Roster(
        model("tiny-chat", CHAT), model("tiny-vectors", EMBEDDINGS), model("simulated", CHAT, EMBEDDINGS, MODERATIONS)
    )


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o-mini",
        "gpt-5.4-pro-2026-03-05",
        "ft:gpt-4o-mini-2024-07-18:acme::abc123",
        "o1",
        "o3-mini",
        "o4-mini-2025-04-16",
        "chatgpt-4o-latest",
        "text-embedding-3-small",
        "omni-moderation-latest",
        "gpt-image-1",
        "dall-e-3",
        "gemini-2.5-flash",
        "gemini-embedding-001",
        "tiny-chat",
        "tiny-vectors",
        "simulated",
    ],
)
def test_a_providers_name_and_a_models_own_are_known(roster: Roster, name: str) -> None:
    assert roster.knows(name)


@pytest.mark.parametrize("name", ["nonexistent-model-xyz", "", "gpt", "claude-3", "o", "mygpt-4", "gpt-4o mini"])
def test_a_name_that_no_provider_knows_is_unknown(roster: Roster, name: str) -> None:
    assert not roster.knows(name)


def test_each_kind_of_work_goes_to_the_first_model_that_can_do_it(roster: Roster) -> None:
    assert roster.pick("gpt-4o", CHAT).name == "tiny-chat"
    assert roster.pick("text-embedding-3-small", EMBEDDINGS).name == "tiny-vectors"
    assert roster.pick(None, MODERATIONS).name == "simulated"


def test_a_models_own_name_asks_for_it(roster: Roster) -> None:
    assert roster.pick("simulated", CHAT).name == "simulated"
    assert roster.pick("simulated", EMBEDDINGS).name == "simulated"


def test_the_embedding_model_goes_before_a_chat_model_that_could_embed() -> None:
    both = Roster(model("chat", CHAT, EMBEDDINGS), model("vectors", EMBEDDINGS), model("simulated", CHAT))
    assert both.pick("text-embedding-3-small", EMBEDDINGS).name == "vectors"
    assert both.pick("chat", EMBEDDINGS).name == "chat"


def test_another_servers_names_are_its_own_business() -> None:
    told = Told()
    assert Roster(told, told, told, any_name=True).knows("llama3:8b")


def test_a_listing_shows_what_is_here_and_then_the_providers_names(roster: Roster) -> None:
    names = list(roster.names("openai"))
    assert names[:4] == ["tiny-chat", "tiny-vectors", "simulated", "gpt-4o-mini"]
    assert "gemini-2.5-flash" not in names
    assert len(names) == len(set(names))
