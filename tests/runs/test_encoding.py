"""Splicing gives the very lines that encoding each row would give, for every provider and kind of task."""

from __future__ import annotations

import base64
import json
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nono.datasets import ArrowBatch, DictBatch, open_source
from nono.errors import InputError
from nono.providers import Task, provider_named
from nono.runs.contents import recipe
from nono.runs.encoding import LineMaker, splice
from nono.runs.lines import JoinedLines, SeparateLines, escape
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


def _maker(provider: str, task: Task, template: str | None, columns: list[str]) -> tuple[LineMaker, Problems]:
    problems = Problems(open_source([{"text": "x"}]))
    prompt = compile_prompt(template) if template is not None else None
    id_column = "id" if "id" in columns else None
    cooked = recipe(task.kind, prompt, (), columns, id_column, Path())
    return LineMaker(provider_named(provider), task, cooked, id_column), problems


def _lines(provider: str, task: Task, template: str | None, rows: list[dict[str, Any]]) -> list[bytes]:
    maker, problems = _maker(provider, task, template, list(rows[0]))
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


_COLUMNS = st.one_of(
    *(
        st.lists(st.one_of(kind, st.none()), min_size=3, max_size=3)
        for kind in (_TEXTS, st.integers(0, 9), st.booleans())
    )
)


@pytest.mark.parametrize("provider", ["openai", "gemini"])
@settings(deadline=None)
@given(data=st.data())
def test_arrow_columns_give_the_lines_that_encoding_gives(provider: str, data: st.DataObject) -> None:
    ids = data.draw(st.lists(_TEXTS.filter(bool), min_size=3, max_size=3))
    one, other = data.draw(_COLUMNS), data.draw(_COLUMNS)
    table = pa.record_batch({"id": ids, "a": pa.array(one), "b": pa.array(other)})
    maker, problems = _maker(provider, TASKS["chat"], '<{{ a }}"{{ b }}>', list(table.schema.names))
    # A slice, as large batches are read: its arrays do not begin where their buffers do.
    batch = ArrowBatch(0, 2, table.slice(1, 2))
    made = maker.lines(batch, maker.ids(batch, problems), problems)
    rows = DictBatch(0, 2, batch.rows())
    expected = maker.lines(rows, maker.ids(rows, problems), problems)
    assert isinstance(made, JoinedLines) and isinstance(expected, SeparateLines)
    assert made.content == expected.content
    assert (made.count, made.weight) == (2, expected.weight)
    assert (made.lines, made.keys, made.weights) == (expected.lines, expected.keys, expected.weights)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([1.5]), "1.5"),
        (pa.array([date(2026, 1, 2)]), "2026-01-02"),
        (pa.array([[1, 2]]), "[1,2]"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array([True]), "true"),
        (pa.array([None], pa.int64()), ""),
    ],
)
def test_a_column_of_any_type_stands_in_a_prompt_as_its_value_does(column: Any, text: str) -> None:
    maker, problems = _maker("openai", TASKS["chat"], "<{{ a }}>", ["a"])
    batch = ArrowBatch(0, 1, pa.record_batch({"a": column}))
    made = maker.lines(batch, maker.ids(batch, problems), problems)
    assert made is not None
    assert json.loads(made.lines[0])["body"]["messages"][-1]["content"] == f"<{text}>"


@pytest.mark.parametrize("text", ["", " \n", "\u2003", None])
def test_a_text_without_anything_to_see_in_an_arrow_column_is_a_problem_of_its_row(text: str | None) -> None:
    maker, problems = _maker("openai", TASKS["chat"], "{{ a }}", ["a"])
    batch = ArrowBatch(0, 2, pa.record_batch({"a": pa.array(["é", text])}))
    assert maker.lines(batch, maker.ids(batch, problems), problems) is None
    assert [problem.kind for problem in problems.told] == ["empty_text"]


def test_a_text_that_is_not_utf_8_is_refused_with_its_row() -> None:
    raw = pa.array([b"x", b"\xff"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    maker, problems = _maker("openai", TASKS["chat"], "{{ a }}", ["a"])
    batch = ArrowBatch(7, 2, pa.record_batch({"a": column}))
    with pytest.raises(InputError, match="row 9: the text in column 'a' is not UTF-8"):
        maker.lines(batch, maker.ids(batch, problems), problems)


def test_a_template_with_more_columns_than_marks_is_rendered_all_the_same() -> None:
    names = [f"c{number}" for number in range(20)]
    maker, problems = _maker("openai", TASKS["chat"], " ".join(f"{{{{ {name} }}}}" for name in names), names)
    batch = ArrowBatch(0, 1, pa.record_batch({name: pa.array([name]) for name in names}))
    made = maker.lines(batch, maker.ids(batch, problems), problems)
    assert made is not None
    assert json.loads(made.lines[0])["body"]["messages"][-1]["content"] == " ".join(names)
