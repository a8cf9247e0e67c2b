"""Planning: parts under the provider's limits, all problems at once, nothing half written, flat memory."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import nono
from nono.datasets import BadInput, open_source
from nono.errors import InputError
from nono.facts import Fact, Facts
from nono.providers import Task, provider_named
from nono.runs.kept import kept_rows, read_borrowed
from nono.runs.plan import Column, Plan, plan
from nono.runs.problems import PlanRefused

OPENAI = provider_named("openai")
CHAT = Task("chat", "gpt-4o-mini")


class Tight:
    """OpenAI with other limits."""

    def __init__(self, **limits: int) -> None:
        self.facts = Facts({**OPENAI.facts, **{name: self._fact(name, n) for name, n in self._full(limits).items()}})

    @staticmethod
    def _full(limits: dict[str, int]) -> dict[str, int]:
        return {f"limits.{name}": value for name, value in limits.items()}

    @staticmethod
    def _fact(name: str, value: int) -> Fact:
        return Fact(name, value, "", "a test", date(2026, 1, 1))

    def __getattr__(self, name: str) -> Any:
        return getattr(OPENAI, name)


def _plan(tmp_path: Path, rows: Any, provider: Any = OPENAI, task: Task = CHAT, **words: Any) -> Plan:
    shards, kept = tmp_path / "shards", tmp_path / "rows"
    shards.mkdir(exist_ok=True)
    kept.mkdir(exist_ok=True)
    words = {"prompt": "{{ text }}"} | words
    return plan(open_source(rows), task, provider, shards_into=shards, rows_into=kept, **words)


def _shard(tmp_path: Path, no: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "shards" / f"{no:06}.jsonl").read_bytes().splitlines()]


def _texts(tmp_path: Path, no: int) -> list[str]:
    return [line["body"]["messages"][-1]["content"] for line in _shard(tmp_path, no)]


def test_rows_become_requests_in_order(tmp_path: Path) -> None:
    made = _plan(tmp_path, [{"text": f"row {n}"} for n in range(5)], prompt="Say {{ text }}", rows_per_part=2)
    assert [(part.first_row, part.row_count, part.requests) for part in made.parts] == [(0, 2, 2), (2, 2, 2), (4, 1, 1)]
    assert [line["custom_id"] for no in range(3) for line in _shard(tmp_path, no)] == [
        "r-0", "r-1", "r-2", "r-3", "r-4",
    ]  # fmt: skip
    assert _texts(tmp_path, 1) == ["Say row 2", "Say row 3"]
    assert made.rows == made.requests == 5
    assert made.file_bytes == sum(file.stat().st_size for file in (tmp_path / "shards").iterdir())


def test_a_plan_without_folders_is_the_same_plan(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}"} for n in range(5)]
    assert plan(open_source(rows), CHAT, OPENAI, prompt="{{ text }}", rows_per_part=2) == _plan(
        tmp_path, rows, rows_per_part=2
    )


def test_a_plan_can_be_kept_as_json(tmp_path: Path) -> None:
    import msgspec

    made = _plan(tmp_path, ["a", "a"], dedupe=True)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made


def test_requests_a_file_are_limited(tmp_path: Path) -> None:
    made = _plan(tmp_path, ["x"] * 10, Tight(requests_per_file=4))
    assert [part.requests for part in made.parts] == [4, 4, 2]


def test_bytes_a_file_are_limited_to_the_byte(tmp_path: Path) -> None:
    made = _plan(tmp_path, ["x" * 100] * 6)
    line = made.file_bytes // 6
    exact = _plan(tmp_path, ["x" * 100] * 6, Tight(file_bytes=3 * line))
    assert [part.requests for part in exact.parts] == [3, 3]
    below = _plan(tmp_path, ["x" * 100] * 6, Tight(file_bytes=3 * line - 1))
    assert [part.requests for part in below.parts] == [2, 2, 2]


def test_tokens_a_part_are_limited_but_a_part_is_never_empty(tmp_path: Path) -> None:
    made = _plan(tmp_path, ["x" * 400] * 4, tokens_per_part=210)
    assert [(part.requests, part.tokens) for part in made.parts] == [(2, 202), (2, 202)]
    made = _plan(tmp_path, ["x" * 400] * 2, tokens_per_part=10)
    assert [part.requests for part in made.parts] == [1, 1]


def test_inputs_of_embeddings_are_limited(tmp_path: Path) -> None:
    made = _plan(tmp_path, ["a", "b", "c"], Tight(embedding_inputs_per_file=2), Task("embedding", "e"))
    assert [part.requests for part in made.parts] == [2, 1]


def test_ids_come_from_a_column_or_from_custom_id(tmp_path: Path) -> None:
    _plan(tmp_path, [{"n": 7, "text": "a"}, {"n": 8, "text": "b"}], id_column="n")
    assert [line["custom_id"] for line in _shard(tmp_path, 0)] == ["7", "8"]
    made = _plan(tmp_path, [{"custom_id": "q", "text": "a"}])
    assert made.id_column == "custom_id"
    assert [line["custom_id"] for line in _shard(tmp_path, 0)] == ["q"]


def test_the_rows_are_kept_as_they_were(tmp_path: Path) -> None:
    data = tmp_path / "in.csv"
    data.write_text("id,text\n" + "".join(f"{n},t{n}\n" for n in range(5)))
    made = _plan(tmp_path, data, rows_per_part=3)
    data.write_text("gone")
    kept = [row for part in made.parts for row in kept_rows(tmp_path / "rows", part.no).rows()]
    assert kept == [{"id": str(n), "text": f"t{n}"} for n in range(5)]


def test_columns_and_their_kinds_are_those_of_all_rows(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "n": 1, "x": 1, "flag": True, "tags": ["a"], "mixed": 1},
        {"text": "b", "n": None, "x": 1.5, "flag": None, "tags": None, "mixed": "1", "late": 2**70},
    ]
    assert _plan(tmp_path, rows).columns == (
        Column("text", "text"),
        Column("n", "int"),
        Column("x", "float"),
        Column("flag", "bool"),
        Column("tags", "json"),
        Column("mixed", "json"),
        Column("late", "json"),
    )


def test_the_same_request_is_sent_once(tmp_path: Path) -> None:
    made = _plan(tmp_path, ["a", "b", "a", "c", "b", "a"], dedupe=True, rows_per_part=2)
    assert [_texts(tmp_path, part.no) for part in made.parts if part.requests] == [["a", "b"], ["c"]]
    assert made.borrowed == 3
    assert [(part.first_row, part.row_count, part.borrows_from) for part in made.parts] == [(0, 3, (0,)), (3, 3, (0,))]
    assert read_borrowed(tmp_path / "rows", 0) == {2: (0, 0)}
    assert read_borrowed(tmp_path / "rows", 1) == {1: (0, 1), 2: (0, 0)}


def test_problems_are_told_all_at_once_with_their_places(tmp_path: Path) -> None:
    data = tmp_path / "in.csv"
    data.write_text("id,text\n1,fine\n2,\n1,again\n,noid\n")
    with pytest.raises(PlanRefused) as caught:
        _plan(tmp_path, data, id_column="id")
    assert [(problem.kind, problem.row) for problem in caught.value.problems] == [
        ("no_id", 3),
        ("empty_text", 1),
        ("duplicate_id", 2),
    ]
    assert caught.value.problems[2].message == (
        f"{data}:4: shares the id '1' with {data}:2; their answers could not be told apart"
    )
    assert caught.value.count == 3


def test_after_twenty_problems_the_rest_is_counted(tmp_path: Path) -> None:
    with pytest.raises(PlanRefused) as caught:
        _plan(tmp_path, [""] * 1000)
    assert (caught.value.count, len(caught.value.problems)) == (1000, 20)
    assert "… 980 more (empty_text 1,000)" in caught.value.message


def test_missing_columns_are_known_before_the_rows_are_read(tmp_path: Path) -> None:
    with pytest.raises(PlanRefused) as caught:
        _plan(tmp_path, [{"text": "a"}], prompt="{{ txet }} {{ zzz }}", id_column="nr")
    assert [problem.message for problem in caught.value.problems] == [
        "the template uses 'txet', which is not a column; did you mean 'text'?",
        "the template uses 'zzz', which is not a column",
        "there is no column 'nr' for ids",
    ]
    assert caught.value.hint == "the columns are: text"


def test_a_json_row_without_the_column_is_named(tmp_path: Path) -> None:
    data = tmp_path / "in.jsonl"
    data.write_text('{"text":"a"}\n\n{"txt":"b"}\n')
    with pytest.raises(PlanRefused, match=r"in\.jsonl:3: 'text' is undefined; nothing was sent"):
        _plan(tmp_path, data)


def test_a_row_larger_than_a_file_is_named_with_the_limit(tmp_path: Path) -> None:
    with pytest.raises(PlanRefused, match=r"<list>, row 2: its request has [\d,]+ bytes, a whole file may have 1,000"):
        _plan(tmp_path, ["a", "b" * 1000], Tight(file_bytes=1000))


def test_a_schema_that_the_provider_refuses_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    task = replace(CHAT, schema={"type": "array", "items": {"type": "string"}})
    with pytest.raises(PlanRefused, match="schema: "):
        _plan(tmp_path, ["a"], task=task)


def test_a_text_that_is_not_unicode_is_named(tmp_path: Path) -> None:
    data = tmp_path / "in.jsonl"
    data.write_text('{"text":"a"}\n{"text":"\\ud800"}\n')
    with pytest.raises(PlanRefused, match=r"in\.jsonl:2: .*lone surrogate"):
        _plan(tmp_path, data)


def test_nothing_is_left_of_a_plan_that_was_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanRefused):
        _plan(tmp_path, [*["a"] * 9_000, ""], rows_per_part=1000)
    data = tmp_path / "in.csv"
    data.write_text("text\n" + "a\n" * 9_000 + "a,b\n")
    with pytest.raises(BadInput):
        _plan(tmp_path, data, rows_per_part=1000)
    assert list((tmp_path / "shards").iterdir()) == list((tmp_path / "rows").iterdir()) == []


def test_without_a_template_the_content_column_has_to_be_clear(tmp_path: Path) -> None:
    _plan(tmp_path, [{"id": "1", "question": "why?"}], prompt=None, id_column="id")
    assert _texts(tmp_path, 0) == ["why?"]
    _plan(tmp_path, [{"only": "this"}], prompt=None)
    assert _texts(tmp_path, 0) == ["this"]
    with pytest.raises(InputError, match="it has the columns a, b"):
        _plan(tmp_path, [{"a": "x", "b": "y"}], prompt=None)


def test_a_request_for_another_endpoint_is_named(tmp_path: Path) -> None:
    rows = [{"custom_id": "q", "endpoint": "/v1/embeddings", "body": {"input": "a"}}]
    with pytest.raises(PlanRefused, match="is for the endpoint /v1/embeddings, the run is for /v1/chat/completions"):
        _plan(tmp_path, rows, task=Task("raw", "m", endpoint="/v1/chat/completions"), prompt=None)


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    data = tmp_path / "in.csv"
    data.write_text("text\n")
    with pytest.raises(InputError, match="has no rows"):
        _plan(tmp_path, data)


# The peak of this process alone: what getrusage tells includes the parent's from before the exec.
_MEASURE = """
import re, sys
from pathlib import Path
from nono.datasets import open_source
from nono.providers import Task, provider_named
from nono.runs.plan import plan
for rows in (20_000, 200_000):
    source = open_source(({"id": f"q{n}", "text": f"{n} " + "word " * 40} for n in range(rows)))
    plan(source, Task("chat", "m"), provider_named("openai"), prompt="Say {{ text }}", id_column="id",
         shards_into=Path(sys.argv[1]), rows_into=Path(sys.argv[2]))
    print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_stays_flat_while_rows_grow_tenfold(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "r").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path / "s"), str(tmp_path / "r")],
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = map(int, ran.stdout.split())
    assert many < 200
    assert many - few < 60


def test_a_disk_that_fills_up_while_a_part_is_written_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        _plan(tmp_path, ["x"] * 50, rows_per_part=5)
    assert [path.name for folder in ("shards", "rows") for path in (tmp_path / folder).iterdir()] == []


# More than Arrow leaves to `csv`: texts with everything that CSV quotes and JSON escapes.
_MANY = [
    {"id": f"q-{n}", "text": f'{n} "said, so\n\\ \t é \x07 ' + "z" * 600, "label": ("", "b")[n % 2]}
    for n in range(3000)
]


def _as_csv(tmp_path: Path) -> Path:
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text", "label"])
        writer.writeheader()
        writer.writerows(_MANY)
    return tmp_path / "in.csv"


def _as_parquet(tmp_path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(_MANY), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


@pytest.mark.parametrize("brought", [_as_csv, _as_parquet])
@pytest.mark.parametrize(
    "limits", [{"rows_per_part": 700}, {"tokens_per_part": 100_000}, {"dedupe": True}], ids=lambda one: next(iter(one))
)
def test_the_shards_are_the_same_however_the_rows_are_brought(
    tmp_path: Path, brought: Any, limits: dict[str, Any]
) -> None:
    (tmp_path / "rows of dicts").mkdir()
    words = {"prompt": "Say <{{ text }}>, {{ label }}", "id_column": "id", **limits}
    expected = _plan(tmp_path / "rows of dicts", _MANY, **words)
    made = _plan(tmp_path, brought(tmp_path), **words)
    assert made.parts == expected.parts
    for part in made.parts:
        shard = f"shards/{part.no:06}.jsonl"
        assert (tmp_path / shard).read_bytes() == (tmp_path / "rows of dicts" / shard).read_bytes()
        kept = [{name: row[name] for name in _MANY[0]} for row in kept_rows(tmp_path / "rows", part.no).rows()]
        assert kept == _MANY[part.first_row : part.first_row + part.row_count]


@pytest.mark.parametrize("again", [0, 2500])
def test_an_id_that_repeats_after_many_in_order_is_found(tmp_path: Path, again: int) -> None:
    rows = [{"id": f"q-{n}", "text": "x" * 600} for n in range(3000)] + [{"id": f"q-{again}", "text": "y"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    with pytest.raises(PlanRefused, match=rf"shares the id 'q-{again}' with .*row {again + 1};"):
        _plan(tmp_path, tmp_path / "in.parquet", id_column="id")


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("openai/gpt-4o-mini", {"task": "embedding"}, "gpt-4o-mini answers at /v1/chat/completions or /v1/responses"),
        ("openai/text-embedding-3-small", {}, "text-embedding-3-small answers at /v1/embeddings, not at /v1/chat"),
        ("openai/gpt-4.1-mini-2025-04-14", {"endpoint": "/v1/completions"}, "not at /v1/completions"),
        ("gemini/gemini-2.5-flash", {"task": "embedding"}, "gemini-2.5-flash answers, and does not embed"),
        ("gemini/gemini-embedding-001", {}, "gemini-embedding-001 embeds"),
    ],
)
def test_a_model_at_the_wrong_endpoint_is_told_before_anything_is_sent(
    model: str, words: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        nono.plan(["a"], model=model, **words)
    assert "--no-check" in str(caught.value.hint)
    assert nono.plan(["a"], model=model, check=False, **words).plan.requests == 1


@pytest.mark.parametrize("model", ["gpt-oss-20b", "my-embedding-model", "ft:gpt-4o-mini-2024-07-18:org::id", "gpt-6"])
def test_a_model_that_nobody_knows_may_be_asked_anything(model: str) -> None:
    task = "embedding" if "embedding" in model else "chat"
    assert nono.plan(["a"], model=f"openai/{model}", task=task).plan.requests == 1


@pytest.mark.parametrize(
    "words", [{"temperature": 2.1}, {"top_p": -0.1}, {"max_tokens": 0}, {"temperature": float("nan")}]
)
def test_a_number_that_every_request_would_be_refused_for_is_told_before(words: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(words))} is "):
        nono.plan(["a"], model="openai/gpt-4o-mini", **words)
