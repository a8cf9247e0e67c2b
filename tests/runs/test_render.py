"""Templates: strict about columns, plain about values, and the quick way gives the same text as the slow one."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nono.errors import InputError
from nono.runs.render import Slot, UnrenderedRow, compile_prompt, read_template


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (0.1, "0.1"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        ([1, "é"], '[1,"é"]'),
        ({"a": None}, '{"a":null}'),
    ],
)
def test_a_value_becomes_text_as_documented(value: Any, text: str) -> None:
    prompt = compile_prompt("<{{ x }}>")
    assert prompt.render({"x": value}) == f"<{text}>"
    assert prompt.pieces is not None
    slot = prompt.pieces[1]
    assert isinstance(slot, Slot)
    assert slot.text(value) == text


def test_none_is_nothing_in_a_filter_too() -> None:
    assert compile_prompt("<{{ x | trim | lower }}>").render({"x": None}) == "<>"


_VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.dates())
_SLOTS = st.tuples(
    st.sampled_from(["{{ a }}", "{{a|trim}}", "{{- b -}}", '{{ row["a"] }}', "{{ b | upper | trim }}", "{# note #}"])
)
_LITERALS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="{}"), max_size=8)


@settings(deadline=None)
@given(pieces=st.lists(st.one_of(_LITERALS, _SLOTS.map(lambda one: one[0])), max_size=6), a=_VALUES, b=_VALUES)
def test_the_pieces_of_a_simple_template_give_its_text(pieces: list[str], a: Any, b: Any) -> None:
    prompt = compile_prompt("".join(pieces))
    row = {"a": a, "b": b}
    assert prompt.pieces is not None
    text = "".join(piece if isinstance(piece, str) else piece.texts([row[piece.column]])[0] for piece in prompt.pieces)
    assert text == prompt.render(row)


@pytest.mark.parametrize(
    "template", ["{% if a %}x{% endif %}", "{{ a[0] }}", "{{ a | default('x') }}", "{{ a + b }}", "{{ range }}"]
)
def test_what_is_more_than_substitution_goes_through_the_engine(template: str) -> None:
    assert compile_prompt(template).pieces is None


def test_a_column_that_does_not_exist_is_known_before_any_row() -> None:
    prompt = compile_prompt('{{ txt }} {{ row["Rating"] }} {{ row.other }} {{ note | default("-") }}')
    assert prompt.missing_from(["text", "rating", "other"]) == [
        "the template uses 'Rating', which is not a column; did you mean 'rating'?",
        "the template uses 'txt', which is not a column; did you mean 'text'?",
    ]


def test_a_column_with_any_name_is_reached_through_row() -> None:
    assert compile_prompt('{{ row["Review Text"] }}').render({"Review Text": "fine"}) == "fine"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ a.b }}", "'dict object' has no attribute 'b'"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ raw }}", "bytes are not a text"),
    ],
)
def test_a_row_that_the_template_cannot_render_is_an_error_of_that_row(template: str, said: str) -> None:
    with pytest.raises(UnrenderedRow, match=said):
        compile_prompt(template).render({"a": {}, "raw": b"x"})


def test_format_strings_are_texts_and_nothing_else() -> None:
    assert compile_prompt("{a} {0.__class__}").render({"a": 1}) == "{a} {0.__class__}"


def test_a_broken_template_names_its_line() -> None:
    with pytest.raises(InputError, match=r"template, line 2"):
        compile_prompt("fine\n{{ broken")


def test_a_template_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompt.j2"
    path.write_text("Say {{ text }}\n")
    assert read_template(str(path)) == read_template(f"@{path}") == "Say {{ text }}\n"
    assert read_template("Say {{ text }}") == "Say {{ text }}"
    with pytest.raises(InputError, match=r"no\.j2: No such file"):
        read_template("no.j2")
