"""Files of every kind are read as the same rows; what cannot be read is told with its place."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import zstandard

from nono.datasets import BadInput, open_source
from nono.errors import InputError

ROWS = [
    {"id": "1", "text": "plain"},
    {"id": "2", "text": 'a "quoted", one'},
    {"id": "3", "text": "two\nlines"},
    {"id": "4", "text": "grüße\u2028\x85日本"},
]
CSV = 'id,text\n1,plain\n2,"a ""quoted"", one"\n3,"two\nlines"\n4,grüße\u2028\x85日本\n'


def _bytes(kind: str) -> bytes:
    out = io.BytesIO()
    match kind:
        case "csv":
            return CSV.encode()
        case "tsv":
            return (
                CSV.replace(",text", "\ttext")
                .replace("2,", "2\t")
                .replace("1,", "1\t")
                .replace("3,", "3\t")
                .replace("4,", "4\t")
                .encode()
            )
        case "jsonl":
            return "".join(json.dumps(row) + "\n" for row in ROWS).encode()
        case "json":
            return json.dumps(ROWS, indent=2, ensure_ascii=False).encode()
        case "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), out)
        case "feather":
            feather.write_feather(pa.Table.from_pylist(ROWS), out)
        case "arrow":
            table = pa.Table.from_pylist(ROWS)
            with pa.ipc.new_stream(out, table.schema) as writer:
                writer.write_table(table)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "feather", "arrow"])
@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, kind: str, packed: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packed]
    path = tmp_path / f"in.{kind}{packed}"
    path.write_bytes(pack(_bytes(kind)))
    source = open_source(path)
    assert source.columns == ("id", "text")
    assert list(source.rows()) == ROWS


def test_a_source_can_be_read_again_from_any_row(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("n\n" + "".join(f"{number}\n" for number in range(10_000)))
    source = open_source(path)
    assert [row["n"] for row in source.rows(9_997)] == ["9997", "9998", "9999"]
    assert [batch.first for batch in source.batches(9_999)] == [9_999]


def test_the_fingerprint_is_that_of_the_content(tmp_path: Path) -> None:
    one, same, other = tmp_path / "one.csv", tmp_path / "same.csv", tmp_path / "other.csv"
    one.write_text("a\n1\n")
    same.write_text("a\n1\n")
    other.write_text("a\n2\n")
    assert open_source(one).fingerprint() == open_source(same).fingerprint()
    assert open_source(one).fingerprint() != open_source(other).fingerprint()


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("excel.csv", "\ufeffa;b\n1;2,5\n", [{"a": "1", "b": "2,5"}]),
        ("tabs.csv", "a\tb\n1\t2\n", [{"a": "1", "b": "2"}]),
        ("commas.csv", "a;x,b\n1,2\n", [{"a;x": "1", "b": "2"}]),
        ("crlf.csv", "a,b\r\n1,2\r\n", [{"a": "1", "b": "2"}]),
        ("blank.csv", "a,b\n\n1,2\n\n", [{"a": "1", "b": "2"}]),
        ("unnamed.csv", ",b\n0,2\n", [{"column_1": "0", "b": "2"}]),
        ("empty_field.csv", "a,b\n,\n", [{"a": "", "b": ""}]),
        ("header_only.csv", "a,b\n", []),
        ("lines.json", '{"a":1}\n{"a":2}\n', [{"a": 1}, {"a": 2}]),
        ("bom.jsonl", '\ufeff{"a":1}\r\n\r\n{"b":2}', [{"a": 1}, {"b": 2}]),
        ("no_extension", '{"a":1}\n', [{"a": 1}]),
    ],
)
def test_what_people_have_is_read_as_they_mean_it(
    tmp_path: Path, name: str, content: str, rows: list[dict[str, object]]
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    assert list(open_source(path).rows()) == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ragged.csv", b"a,b\n1,2\n\n3\n", "ragged.csv:4: 1 field where the header names 2 (a, b)"),
        ("wide.csv", b'a,b\n"x\ny",2\n1,2,3\n', "wide.csv:4: 3 fields where the header names 2 (a, b)"),
        ("open.csv", b'a,b\n1,2\n3,"4\n5,6\n', "open.csv:3: a quote that opens in this row is never closed"),
        ("latin.csv", b"a,b\n1,2\n1,gr\xfc\xdfe\n", "latin.csv:3: column 5 is not UTF-8 (byte 0xfc)"),
        ("utf16.csv", "a,b\n1,2\n".encode("utf-16"), "utf16.csv: is not UTF-8 but UTF-16"),
        ("twice.csv", b"a,b,a\n1,2,3\n", "twice.csv:1: columns 1 and 3 are both called 'a'"),
        ("empty.csv", b"", "empty.csv: is empty"),
        ("bad.jsonl", b'{"a":1}\n\n{"a":}\n', "bad.jsonl:3: column 6: not JSON: Expecting value"),
        ("list.jsonl", b'{"a":1}\n[1]\n', "list.jsonl:2: an array, where a JSON object was expected"),
        ("latin.jsonl", b'{"a":"\xff"}\n', "latin.jsonl:1: column 7: not UTF-8 (byte 0xff)"),
        ("two.jsonl", b'{"a":1} {"b":2}\n', "two.jsonl:1: column 9: not JSON: Extra data"),
        ("bad.json", b'[{"a":1},\n {"a":}]', "bad.json:2: column 7: not JSON: Expecting value"),
        ("cut.json", b'[{"a":1}', "cut.json:1: column 9: a comma or the end of the array was expected"),
        ("number.json", b'[{"a":1}, 3]', "number.json:1: column 11: a number, where a JSON object was expected"),
        ("more.json", b"[] x", "more.json:1: column 4: there is more after the end of the array"),
    ],
)
def test_bad_input_names_file_line_and_column(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        list(open_source(path).rows())
    assert caught.value.message == f"{tmp_path}/{message}"
    assert caught.value.hint


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_a_compressed_file_that_was_cut_is_not_taken_for_a_whole_one(tmp_path: Path, packed: str) -> None:
    content = b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * 7919) for number in range(50_000))
    whole = gzip.compress(content) if packed == ".gz" else zstandard.compress(content)
    path = tmp_path / f"in.csv{packed}"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match="compressed data are cut or damaged"):
        list(open_source(path).rows())


@pytest.mark.parametrize("kind", ["parquet", "feather", "arrow"])
def test_a_damaged_table_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"in.{kind}"
    path.write_bytes(_bytes(kind)[:40])
    with pytest.raises(BadInput, match=f"in.{kind}: "):
        list(open_source(path).rows())


def test_a_missing_file_a_folder_and_an_unknown_kind_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="there is no such file"):
        open_source(tmp_path / "no.csv")
    with pytest.raises(InputError, match="is a folder"):
        open_source(tmp_path, format="csv")
    with pytest.raises(InputError, match="cannot be told from its name"):
        open_source(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="unknown format 'xlsx'"):
        open_source(tmp_path / "notes.txt", format="xlsx")


def test_a_place_counts_the_lines_of_quoted_texts(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text('a\n"x\ny\nz"\nb\n')
    assert open_source(path).place(1) == f"{path}:5"


def test_a_long_text_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a\n" + "x" * 3_000_000 + "\n")
    assert [len(row["a"]) for row in open_source(path).rows()] == [3_000_000]


def test_elements_of_an_array_that_are_longer_than_a_read_are_whole(tmp_path: Path) -> None:
    rows = [{"text": "é" * size} for size in (1_500_000, 3, 4_000_000, 5)]
    path = tmp_path / "in.json"
    path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    assert [len(row["text"]) for row in open_source(path).rows()] == [1_500_000, 3, 4_000_000, 5]
