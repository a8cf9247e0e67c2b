"""One run, three protocols: what is asked decides the table that comes out, not who is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import nono
from nono.errors import InputError
from nono.runs.bench import Settings
from nono.runs.ledger import RunState
from nono.runs.problems import PlanRefused

CHATS = ("openai/gpt-4o-mini", "gemini/gemini-2.5-flash", "vertex/gemini-2.5-flash")
EMBEDDERS = ("openai/text-embedding-3-small", "gemini/gemini-embedding-001")
QUICK = Settings(poll_first_s=0.02, poll_cap_s=0.1)
ROWS = [{"text": f"review {n}" + ("[[nono:error 400 bad_text]]" if n == 5 else "")} for n in range(40)]


class Verdict(BaseModel):
    sentiment: str
    stars: int


@pytest.fixture
def ask(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPENAI_BASE_URL", server.openai_base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "local")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.gemini_base_url)
    monkeypatch.setenv("GEMINI_API_KEY", "local")
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.url)

    def run(rows: Any, model: str, **words: Any) -> list[dict[str, Any]]:
        made = nono.run(rows, model=model, home=tmp_path / "home", settings=QUICK, **words)
        assert made.wait().state is RunState.FINISHED
        return list(made.results())

    return run


def test_the_same_run_gives_the_same_table_from_every_provider(ask: Any) -> None:
    tables = [ask(ROWS, model, prompt="Say {{ text }}", rows_per_part=15) for model in CHATS]
    compared = [[(row["text"], row["custom_id"], row["outcome"], row["answer"]) for row in table] for table in tables]
    assert compared[0] == compared[1] == compared[2]
    assert [row["outcome"] for row in tables[0]].count("errored") == 1
    assert tables[0][5]["outcome"] == "errored"


@pytest.mark.parametrize("model", CHATS)
def test_structured_answers_become_columns(ask: Any, model: str) -> None:
    rows = ask(["good", "bad"], model, schema=Verdict)
    assert all(isinstance(row["sentiment"], str) and isinstance(row["stars"], int) for row in rows)


@pytest.mark.parametrize("model", EMBEDDERS)
def test_embeddings_come_as_vectors(ask: Any, model: str) -> None:
    rows = ask(["one text", "another", "one text"], model, task="embedding")
    assert len(rows[0]["embedding"]) in (1536, 3072)
    assert rows[0]["embedding"] == rows[2]["embedding"] != rows[1]["embedding"]
    # The same text is sent, and paid for, once.
    assert [row["input_tokens"] for row in rows] == [2, 2, 0]


def test_moderation_verdicts_become_columns(ask: Any) -> None:
    rows = ask(["hello", "I will kill it"], "openai/omni-moderation-latest", task="moderation")
    assert [row["flagged"] for row in rows] == [False, True]


@pytest.mark.parametrize("model", CHATS)
def test_conversations_and_pictures_are_asked_about(ask: Any, model: str) -> None:
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    assert ask([{"messages": messages}], model)[0]["outcome"] == "succeeded"
    dot = "data:image/png;base64,iVBORw0KGgo="
    assert ask([{"text": "What is it?", "picture": dot}], model, images="picture")[0]["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/responses", {"input": "Hi", "instructions": "Be short."}),
        ("/v1/completions", {"prompt": "Once"}),
        ("/v1/images/generations", {"prompt": "A letter A", "n": 1}),
        (
            "/v1/images/edits",
            {"prompt": "A hat on it", "images": [{"image_url": "data:image/png;base64,iVBORw0KGgo="}]},
        ),
    ],
)
def test_raw_bodies_go_to_any_endpoint_of_the_batch(ask: Any, endpoint: str, body: dict[str, Any]) -> None:
    (row,) = ask([{"body": body}], "openai/gpt-4o-mini", task="raw", endpoint=endpoint)
    assert row["outcome"] == "succeeded", row["error_message"]
    assert row["answer"]


def test_requests_go_as_they_are_to_the_endpoint_that_they_name(ask: Any) -> None:
    requests = [nono.Request(f"q-{number}", "/v1/responses", {"input": f"[[nono:say {number}]]"}) for number in (2, 1)]
    for rows in (requests, iter(requests)):
        answers = [(row["custom_id"], row["answer"]) for row in ask(rows, "openai/gpt-4o-mini")]
        assert answers == [("q-2", "2"), ("q-1", "1")]


def test_requests_of_two_endpoints_are_two_runs(ask: Any) -> None:
    requests = [nono.Request("a", "/v1/responses", {}), nono.Request("b", "/v1/completions", {})]
    with pytest.raises(InputError, match=r"row 2: asks /v1/completions, the rows before it ask /v1/responses"):
        ask(requests, "openai/gpt-4o-mini")


def test_a_field_that_is_newer_than_what_is_known_is_refused_with_the_way_out() -> None:
    with pytest.raises(PlanRefused) as refused:
        nono.plan(["one"], model="gemini/gemini-2.5-flash", prompt="{{ text }}", extra_body={"brandNew": {"depth": 2}})
    assert "no such field: 'brandNew'" in str(refused.value)
    assert "check=False (--no-check)" in str(refused.value)


def test_without_the_check_requests_go_as_they_are(tmp_path: Path) -> None:
    words = {"model": "gemini/gemini-2.5-flash", "prompt": "{{ text }}", "home": tmp_path, "api_key": "local"}
    run = nono.run(["one"], extra_body={"brandNew": {"depth": 2}}, check=False, **words)  # type: ignore[arg-type]
    (line,) = run.folder.shard_file(0).read_text().splitlines()
    assert json.loads(line)["request"]["brandNew"] == {"depth": 2}


def test_whether_requests_are_checked_makes_no_other_run(tmp_path: Path) -> None:
    words = {"model": "gemini/gemini-2.5-flash", "prompt": "{{ text }}", "home": tmp_path, "api_key": "local"}
    checked = nono.run(["one"], **words)  # type: ignore[arg-type]
    assert nono.run(["one"], check=False, **words).id == checked.id  # type: ignore[arg-type]
