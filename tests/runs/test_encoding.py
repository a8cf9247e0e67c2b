"""Splicing gives the very lines that encoding each row would give, for every provider and kind of task."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nono.datasets import DictBatch, open_source
from nono.providers import Task, provider_named
from nono.runs.contents import recipe
from nono.runs.encoding import LineMaker, splice
from nono.runs.lines import escape
from nono.runs.problems import Problems
from nono.runs.render import compile_prompt

_TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}},
    "required": ["label"],
    "additionalProperties": False,
}
TASKS = {
    "chat": Task("chat", "m", system='say "hi"\n', schema=SCHEMA, parameters={"temperature": 0, "max_tokens": 5}),
    "embedding": Task("embedding", "m"),
}


def _lines(provider: str, task: Task, template: str | None, rows: list[dict[str, Any]]) -> list[bytes]:
    source = open_source([{"text": "x"}])
    problems = Problems(source)
    prompt = compile_prompt(template) if template is not None else None
    columns = list(rows[0])
    cooked = recipe(task.kind, prompt, (), columns, "id" if "id" in columns else None, Path())
    maker = LineMaker(provider_named(provider), task, cooked, "id" if "id" in columns else None)
    batch = DictBatch(0, len(rows), rows)
    made = maker.lines(batch, maker.ids(batch, problems), problems)
    assert made is not None, problems.told
    return list(made.lines)


@settings(deadline=None)
@given(st.lists(_TEXTS))
def test_many_texts_are_escaped_as_each_of_them(texts: list[str]) -> None:
    assert escape(texts) == [msgspec.json.encode(text)[1:-1] for text in texts]


def test_the_cut_between_texts_is_found_among_look_alikes() -> None:
    pieces = ["", '"', ",", "\\", '","', '",', ',"', '\\"', '\\",', '\\\\",', '"\\,"', "a"]
    for one in pieces:
        for other in pieces:
            for last in pieces:
                texts = [one, other, last, one + other]
                assert [json.loads(b'"' + text + b'"') for text in escape(texts)] == texts


@pytest.mark.parametrize("provider", ["openai", "gemini"])
@pytest.mark.parametrize("kind", ["chat", "embedding"])
@settings(deadline=None)
@given(data=st.data())
def test_a_spliced_line_is_the_line_that_encoding_gives(provider: str, kind: str, data: st.DataObject) -> None:
    custom_id = data.draw(_TEXTS.filter(bool))
    one, other = data.draw(_TEXTS), data.draw(_TEXTS)
    task, speaks = TASKS[kind], provider_named(provider)
    assert splice(speaks, task) is not None
    (line,) = _lines(provider, task, "<{{ a }}|{{ b }}>", [{"id": custom_id, "a": one, "b": other}])
    body = speaks.request_body(task, f"<{one}|{other}>")
    assert line == msgspec.json.encode(speaks.request_line(custom_id, task, body))


@pytest.mark.parametrize("provider", ["openai", "gemini"])
def test_messages_are_sent_as_they_are(provider: str) -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    speaks, task = provider_named(provider), Task("chat", "m")
    (line,) = _lines(provider, task, None, [{"id": "q", "messages": messages}])
    assert json.loads(line) == speaks.request_line("q", task, speaks.request_body(task, messages))


def test_messages_may_be_json_texts_and_lose_the_keys_that_tables_add() -> None:
    row = {"id": "q", "messages": '[{"role": "user", "content": "hi", "name": null}]'}
    (line,) = _lines("openai", Task("chat", "m"), None, [row])
    assert json.loads(line)["body"]["messages"] == [{"role": "user", "content": "hi"}]


def test_a_raw_body_is_sent_as_it_is() -> None:
    task = Task("raw", "m", endpoint="/v1/chat/completions")
    (line,) = _lines("openai", task, None, [{"custom_id": "q", "body": {"messages": [], "n": 2}}])
    assert json.loads(line)["body"] == {"model": "m", "messages": [], "n": 2}


def test_pictures_travel_as_urls_or_inside(tmp_path: Path) -> None:
    png = base64.b64decode("iVBORw0KGgo=")
    (tmp_path / "p.png").write_bytes(png)
    cooked = recipe("chat", compile_prompt("what is it?"), ["picture"], ["picture"], None, tmp_path)
    parts = [
        cooked.content({"picture": value})[0]["content"]
        for value in ("https://example.com/a.png", "p.png", {"bytes": png, "path": None}, ["p.png", "p.png"], None)
    ]
    inside = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    asked = {"type": "text", "text": "what is it?"}
    assert parts == [
        [asked, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}],
        [asked, inside],
        [asked, inside],
        [asked, inside, inside],
        [asked],
    ]
