"""Results are read in order and exported whole, and a spreadsheet finds no formula in them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nono.errors import InputError
from nono.runs.exports import cell, csv_lines, csv_lines_of_arrays
from nono.runs.results import Results, check_target
from nono.runs.table import JSON_MARK
from patience import PATIENT_S

ROWS: list[list[dict[str, Any]]] = [
    [
        {"id": "1", "n": 1, "when": date(2026, 1, 2), "outcome": "succeeded", "tags": '["a", 1]'},
        {"id": "2", "n": None, "when": None, "outcome": "errored", "tags": None},
    ],
    [{"id": "=1+1", "n": 3, "when": None, "outcome": "succeeded", "tags": "{}"}],
]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    schema = pa.schema(
        [
            pa.field("id", pa.string()),
            pa.field("n", pa.int64()),
            pa.field("when", pa.date32()),
            pa.field("outcome", pa.string()),
            pa.field("tags", pa.string(), metadata=JSON_MARK),
        ]
    )
    paths = [tmp_path / f"{no}.parquet" for no in range(2)]
    for path, rows in zip(paths, ROWS, strict=True):
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return Results(paths)


def test_rows_come_in_order_with_json_as_values(results: Results) -> None:
    assert [(row["id"], row["tags"]) for row in results] == [("1", ["a", 1]), ("2", None), ("=1+1", {})]
    assert [row["id"] for row in results.rows({"errored"})] == ["2"]
    row = results.row(2)
    assert row is not None and row["n"] == 3
    assert results.row(3) is None
    assert results.columns == ("id", "n", "when", "outcome", "tags")


def test_json_lines_hold_the_values(results: Results, tmp_path: Path) -> None:
    assert results.export(tmp_path / "out.jsonl") == 3
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0] == {"id": "1", "n": 1, "when": "2026-01-02", "outcome": "succeeded", "tags": ["a", 1]}
    assert len(lines) == 3


def test_csv_is_safe_and_complete(results: Results, tmp_path: Path) -> None:
    assert results.export(tmp_path / "out.csv.gz") == 3
    text = gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).decode()
    assert list(csv.reader(io.StringIO(text))) == [
        ["id", "n", "when", "outcome", "tags"],
        ["1", "1", "2026-01-02", "succeeded", '["a",1]'],
        ["2", "", "", "errored", ""],
        ["'=1+1", "3", "", "succeeded", "{}"],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=cmd|'/C calc'!A0", "'=cmd|'/C calc'!A0"),
        ("+1 (555) 0100", "'+1 (555) 0100"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-0.9", "-0.9"),
        ("+5", "+5"),
        (-0.9, "-0.9"),
        ("a=b", "a=b"),
        (True, "true"),
        (None, ""),
        ({"a": [1]}, '{"a":[1]}'),
    ],
)
def test_a_text_that_looks_like_a_formula_is_guarded_and_a_number_is_not(value: Any, text: str) -> None:
    assert cell(value) == text


def columns_of(values: st.SearchStrategy[Any], kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
    return st.lists(st.none() | values, min_size=4, max_size=4).map(lambda found: pa.array(found, kind))


TEXTS = st.text(st.sampled_from("a1-=+@\t\r\n\"',;é\u2028𝄞 ")) | st.text(st.characters(exclude_categories=["Cs"]))
COLUMNS = st.lists(
    st.one_of(
        columns_of(TEXTS, pa.string()),
        columns_of(TEXTS, pa.large_string()),
        columns_of(TEXTS, pa.string()).map(lambda column: column.dictionary_encode()),
        columns_of(st.integers(-(2**63), 2**63 - 1), pa.int64()),
        columns_of(st.floats(), pa.float64()),
        columns_of(st.booleans(), pa.bool_()),
        columns_of(st.dates(), pa.date32()),
        columns_of(st.binary(), pa.binary()),
        columns_of(st.lists(TEXTS), pa.list_(pa.string())),
    ),
    min_size=2,
    max_size=5,
)


@given(columns=COLUMNS, delimiter=st.sampled_from(",\t"))
def test_csv_of_columns_is_that_of_rows_and_can_be_read_again(columns: list[pa.Array], delimiter: str) -> None:
    rows = list(zip(*(column.to_pylist() for column in columns), strict=True))
    lines = csv_lines(rows, delimiter)
    assert bytes(csv_lines_of_arrays(columns, delimiter)) == lines
    read = csv.reader(io.StringIO(lines.decode(), newline=""), delimiter=delimiter)
    assert list(read) == [[cell(value) for value in row] for row in rows]


def test_no_rows_are_no_lines() -> None:
    assert bytes(csv_lines_of_arrays([pa.array([], pa.string())] * 2)) == csv_lines([]) == b""


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow"])
def test_tables_hold_all_rows_in_one_schema(results: Results, tmp_path: Path, name: str) -> None:
    assert results.export(tmp_path / name) == 3
    path = tmp_path / name
    table = pq.read_table(path) if name.endswith("parquet") else pa.ipc.open_file(path).read_all()
    assert table.column("id").to_pylist() == ["1", "2", "=1+1"]
    assert table.schema.field("when").type == pa.date32()


def test_frames_are_made(results: Results) -> None:
    assert results.to_pandas()["id"].tolist() == ["1", "2", "=1+1"]
    assert results.to_polars()["id"].to_list() == ["1", "2", "=1+1"]
    assert results.to_arrow().num_rows == 3


def test_parts_whose_types_differ_meet_in_the_wider_one(tmp_path: Path) -> None:
    tables = [
        pa.table({"a": [1], "b": ["x"], "c": pa.array([None], pa.null()), "e": pa.array(["k"]).dictionary_encode()}),
        pa.table({"a": [1.5], "b": [2], "c": ["y"], "d": [[1]], "e": pa.array(["l"]).dictionary_encode()}),
    ]
    paths = [tmp_path / f"{no}.parquet" for no in range(2)]
    for path, table in zip(paths, tables, strict=True):
        pq.write_table(table, path)
    assert Results(paths).to_arrow().to_pylist() == [
        {"a": 1.0, "b": "x", "c": None, "e": "k", "d": None},
        {"a": 1.5, "b": "2", "c": "y", "e": "l", "d": [1]},
    ]


def test_parts_in_json_lines_are_read_the_same_way(tmp_path: Path) -> None:
    part = tmp_path / "0.jsonl"
    part.write_text('{"id":"1","outcome":"succeeded","tags":["a"]}\n{"id":"2","outcome":"missing","tags":null}\n')
    results = Results([part])
    assert [row["tags"] for row in results] == [["a"], None]
    assert results.export(tmp_path / "out.csv") == 2
    assert results.export(tmp_path / "out.parquet") == 2
    assert results.export(tmp_path / "out.jsonl") == 2
    assert (tmp_path / "out.jsonl").read_text() == part.read_text()


def test_stdout_is_json_lines(results: Results, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    import sys

    assert results.export("-") == 3
    sys.stdout.flush()
    assert capfdbinary.readouterr().out.count(b"\n") == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out.xlsx", "xlsx is not a format"),
        ("out", "no extension"),
        ("o.parquet.gz", "inside"),
        ("no/o.csv", "no folder"),
    ],
)
def test_a_target_that_cannot_be_written_is_known_before(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_target(tmp_path / name)
    with pytest.raises(InputError, match=said):
        Results([]).export(tmp_path / name)


def test_an_export_that_breaks_leaves_nothing(results: Results, tmp_path: Path) -> None:
    results.parts[1].write_bytes(b"damaged")
    with pytest.raises(Exception):  # noqa: B017 - whatever the reader says
        results.export(tmp_path / "out.jsonl")
    assert not list(tmp_path.glob("out.*"))


def test_a_pipe_or_a_device_is_written_to_and_never_replaced(results: Results, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.jsonl"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    count = results.export(link, format="jsonl")
    reader.join(timeout=PATIENT_S)
    assert pipe.is_fifo() and link.is_symlink()
    assert read[0].count(b"\n") == count


def test_a_link_leads_to_the_file_that_is_written(results: Results, tmp_path: Path) -> None:
    link = tmp_path / "latest.jsonl"
    link.symlink_to(tmp_path / "today.jsonl")
    results.export(link)
    assert link.is_symlink() and (tmp_path / "today.jsonl").stat().st_size > 0


def test_a_folder_is_no_target(results: Results, tmp_path: Path) -> None:
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        results.export(tmp_path / "out.csv")
