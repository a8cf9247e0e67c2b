"""Frames, queries, iterables and streams are data sets too; what can be read once is copied."""

from __future__ import annotations

import gc
import io
import os
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from nono import model
from nono.datasets import open_source
from nono.datasets.copies import endpoint_of
from nono.errors import InputError

ROWS = [{"id": 1, "text": "a", "when": date(2026, 1, 2)}, {"id": 2, "text": None, "when": None}]
TABLE = pa.Table.from_pylist(ROWS)


FRAMES: dict[str, Callable[[], object]] = {
    "arrow": lambda: TABLE,
    "polars": lambda: pl.from_arrow(TABLE),
    "duckdb": lambda: duckdb.from_arrow(TABLE),
    "reader": lambda: TABLE.to_reader(),
    "pandas": lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_everything_that_speaks_the_arrow_c_stream_is_a_data_set(kind: str) -> None:
    source = open_source(FRAMES[kind]())
    assert source.columns == ("id", "text", "when")
    assert list(source.rows()) == ROWS
    assert list(source.rows()) == ROWS


def test_a_pandas_index_is_not_a_column() -> None:
    frame = pd.DataFrame({"text": ["a", "b"]}, index=["x", "y"])
    assert open_source(frame).columns == ("text",)


def test_categories_are_texts() -> None:
    frame = pd.DataFrame({"label": pd.Categorical(["x", "y", "x"])})
    assert [row["label"] for row in open_source(frame).rows()] == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (pd.Series(["a", "b"], name="review"), "review"),
        (pl.Series(["a", "b"]), "text"),
        (pa.chunked_array([["a"], ["b"]]), "text"),
    ],
)
def test_a_series_of_values_is_one_column(values: object, name: str) -> None:
    assert list(open_source(values).rows()) == [{name: "a"}, {name: "b"}]


def test_a_query_that_was_not_made_yet_is_asked_for_its_rows() -> None:
    with pytest.raises(InputError, match=r"give what it collects: \.collect\(\)"):
        open_source(pl.DataFrame({"text": ["a"]}).lazy())


@pytest.mark.parametrize("mode", ["r", "rb"])
def test_an_open_file_is_read_like_its_name(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    with path.open(mode) as file:
        source = open_source(endpoint_of(file)[0])
    assert list(source.rows()) == [{"a": "1", "b": "2"}]
    assert list(open_source(io.StringIO("a,b\n1,2\n")).rows()) == [{"a": "1", "b": "2"}]


def test_no_rows_are_told_in_words_that_fit_a_list() -> None:
    with pytest.raises(InputError, match="a run needs at least one row"):
        list(open_source([]).columns)


def test_an_iterable_is_read_once_and_can_be_read_again() -> None:
    source = open_source({"n": number} for number in range(3))
    assert list(source.rows()) == list(source.rows()) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert source.place(1) == "<generator>, row 2"


def test_texts_have_the_column_text() -> None:
    assert list(open_source(["a", "b"]).rows()) == [{"text": "a"}, {"text": "b"}]


def test_requests_keep_their_ids_and_bodies() -> None:
    request = model.Request("q-1", "/v1/chat/completions", {"messages": []})
    assert list(open_source([request]).rows()) == [
        {"custom_id": "q-1", "endpoint": "/v1/chat/completions", "body": {"messages": []}}
    ]


def test_numpy_values_are_plain_values() -> None:
    rows = [{"n": np.int64(3), "x": np.float32(0.5), "v": np.array([1, 2])}]
    assert list(open_source(rows).rows()) == [{"n": 3, "x": 0.5, "v": [1, 2]}]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}, 7], "<list>, row 2: a int is not a row"),
        ([{"a": object()}], "<list>, row 1: a builtins.object has no JSON form"),
        ([{1: "a"}], "<list>, row 1: the column 1 has a name that is not a text"),
        (["\ud800"], "<list>, row 1: a text with a lone surrogate"),
    ],
)
def test_a_row_that_is_none_is_named(rows: list[object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(rows)
    assert caught.value.message == message


@pytest.mark.parametrize("thing", [{"a": [1]}, b"a,b", 7])
def test_what_is_no_data_set_is_refused(thing: object) -> None:
    with pytest.raises(InputError, match="is not a data set"):
        open_source(thing)


@pytest.mark.parametrize("content", [b"a;b\n1;2\n", b'{"a":"1","b":"2"}\n', b'[{"a":"1","b":"2"}]'])
def test_stdin_is_copied_and_its_kind_told_by_its_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    source = open_source("-", copy_into=tmp_path)
    assert list(source.rows()) == list(source.rows()) == [{"a": "1", "b": "2"}]
    assert source.name == "<stdin>"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_pipe_is_copied_like_stdin(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a,b\n1,2\n",))
    writer.start()
    source = open_source(pipe)
    writer.join()
    assert list(source.rows()) == list(source.rows()) == [{"a": "1", "b": "2"}]


def test_a_copy_goes_when_nobody_needs_it() -> None:
    source = open_source(["a"])
    folder = source.path.parent
    assert folder.exists()
    del source
    gc.collect()
    assert not folder.exists()


def test_the_same_rows_have_the_same_fingerprint() -> None:
    assert open_source(["a", "b"]).fingerprint() == open_source(iter(["a", "b"])).fingerprint()
    assert open_source(["a", "b"]).fingerprint() != open_source(["b", "a"]).fingerprint()
    assert open_source(pl.from_arrow(TABLE)).fingerprint() == open_source(pl.from_arrow(TABLE)).fingerprint()
