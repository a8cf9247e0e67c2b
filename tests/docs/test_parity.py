"""`docs/parity.md` is true: names can be imported, options are parameters, states are their constants' values."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from nono import errors
from nono.connector import gemini_listing, genai_batch_processing
from nono.facts import read_facts
from nono.providers.gemini import answers, wire
from nono.providers.openai import wire as openai_wire

ROOT = Path(__file__).parent.parent.parent
HOMES = (genai_batch_processing, gemini_listing, wire, answers, openai_wire, errors)
ROW = re.compile(r"^\| (?P<there>.+?) \| `(?P<here>[^`]+)` \|$", re.MULTILINE)
NAME = re.compile(r'(?P<owner>\w+)(?:\.(?P<member>\w+))?(?:\((?P<options>[^)]*)\))?(?: = "(?P<value>[^"]*)")?')
FACT = re.compile(r"(?P<provider>\w+): (?P<name>[\w.]+) = (?P<value>\d+)")
PARITY = (ROOT / "docs" / "parity.md").read_text("utf-8")
ROWS = [(match["there"], match["here"]) for match in ROW.finditer(PARITY)]

# What the Elixir client's guide lists; a row that vanishes from the table is missed here.
ELIXIR = [
    *("Batches.create/2", "Batches.create_embeddings/2", "Batches.get/2", "Batches.list/1", "Batches.list_all/1"),
    *("Batches.cancel/2", "Batches.delete/2", "Batches.wait/2", "Batches.get_responses/1", "Files.upload/2"),
    *("BatchJob.complete?", "BatchJob.succeeded?", "BatchJob.failed?", "BatchJob.running?", "BatchJob.cancelled?"),
    *("BatchJob.get_progress", "BatchJob.get_id", "ListBatchJobsResponse.has_more_pages?", ":queued", ":pending"),
    *(":running", ":succeeded", ":failed", ":cancelling", ":cancelled", ":expired", ":partially_succeeded"),
]


def found(name: str) -> Any:
    return next(getattr(home, name) for home in HOMES if hasattr(home, name))


def members(owner: Any) -> set[str]:
    return set(dir(owner)) | set(getattr(owner, "__dataclass_fields__", ()))


def test_the_tables_are_read_whole() -> None:
    lines = [line for line in PARITY.splitlines() if line.startswith("| ") and line != "| there | here |"]
    assert len(ROWS) == len(lines)


@pytest.mark.parametrize(("there", "here"), [row for row in ROWS if FACT.fullmatch(row[1])])
def test_a_number_in_the_table_is_the_facts(there: str, here: str) -> None:
    match = FACT.fullmatch(here)
    assert match is not None
    assert read_facts(match["provider"]).number(match["name"]) == int(match["value"])


@pytest.mark.parametrize(("there", "here"), [row for row in ROWS if not FACT.fullmatch(row[1])])
def test_a_name_in_the_table_is_a_name_in_python(there: str, here: str) -> None:
    match = NAME.fullmatch(here)
    assert match is not None, here
    owner = found(match["owner"])
    if match["member"]:
        assert match["member"] in members(owner)
    target = getattr(owner, match["member"]) if match["options"] and match["member"] else owner
    for option in (match["options"] or "").replace(" ", "").split(","):
        if option:
            assert option.removesuffix("=") in inspect.signature(target).parameters
    if match["value"] is not None:
        assert getattr(owner, match["member"]) == match["value"]


@pytest.mark.parametrize("name", ELIXIR)
def test_everything_of_the_elixir_guide_has_a_row(name: str) -> None:
    assert any(f"`{name}`" in there for there, _ in ROWS)


@pytest.mark.parametrize("provider", ["GeminiBatchService", "OpenAIBatchService"])
def test_every_name_in_the_documented_examples_has_a_row(provider: str) -> None:
    kind = provider.removesuffix("BatchService").lower()
    examples = (ROOT / "tests" / "guide" / f"{kind}_examples.md").read_text("utf-8")
    used = set(re.findall(rf"{provider}\.(\w+)", examples)) | set(
        re.findall(r"(?:batch_|self\.)service\.(\w+)\(", examples)
    )
    named = set(re.findall(rf"`{provider}\.(\w+)", PARITY))
    assert used - named == set()


@pytest.mark.parametrize("name", ["GeminiBatchService", "OpenAIBatchService"])
def test_the_async_twin_has_the_same_methods(name: str) -> None:
    assert members(found(name)) - members(found(f"Async{name}")) <= {"__enter__", "__exit__"}


def test_both_twins_take_the_same_options() -> None:
    for name in ("GeminiBatchService", "OpenAIBatchService"):
        sync, twin = found(name), found(f"Async{name}")
        for member in (one for one in dir(sync) if not one.startswith("_") and callable(getattr(sync, one))):
            ours, theirs = (inspect.signature(getattr(kind, member)).parameters for kind in (sync, twin))
            assert set(ours) - {"self"} == set(theirs) - {"self"}, f"{name}.{member}"
