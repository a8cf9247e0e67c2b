"""Settling: exactly one outcome per row, in order, whatever stands in the answer files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nono.datasets import open_source
from nono.model import Outcome, RequestError, Usage
from nono.providers import Task, provider_named
from nono.runs import kept, table
from nono.runs.cost import Price
from nono.runs.joining import Oddities
from nono.runs.plan import Plan, plan
from nono.runs.results import Results
from nono.runs.reused import Lent, record, reused_path
from nono.runs.settle import Answers, PartSummary, settle

OPENAI = provider_named("openai")
CHAT = Task("chat", "m")
PRICE = Price("m", 1.0, 2.0, 0.5, "a test", date(2026, 1, 1))


@dataclass
class Bench:
    """A planned data set in a folder, to be settled with made-up answer files."""

    folder: Path
    plan: Plan
    task: Task
    provider: Any

    def answers(self, *files: bytes | Sequence[Any], **words: Any) -> Answers:
        """One attempt with these answer files: bytes, or lists of lines."""
        paths = []
        for content in files:
            paths.append(self.folder / f"answer-{len(list(self.folder.iterdir()))}.jsonl")
            lines = (
                content if isinstance(content, bytes) else b"".join(json.dumps(one).encode() + b"\n" for one in content)
            )
            paths[-1].write_bytes(lines)
        return Answers(files=paths, **{"batch_id": "batch_1"} | words)

    def requests(self, ids: Sequence[str]) -> Path:
        """An input file with these requests."""
        path = self.folder / f"requests-{len(list(self.folder.iterdir()))}.jsonl"
        path.write_bytes(b"".join(json.dumps({"custom_id": one, "body": {}}).encode() + b"\n" for one in ids))
        return path

    def settle(self, *attempts: Answers, part: int = 0, **words: Any) -> PartSummary:
        return settle(
            self.plan.parts[part],
            attempts,
            provider=self.provider,
            task=self.task,
            columns=self.plan.columns,
            id_column=self.plan.id_column,
            rows=self.folder / "rows",
            results=self.folder / "results",
            **words,
        )

    def rows(self) -> list[dict[str, Any]]:
        return list(Results(sorted((self.folder / "results").iterdir())))

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows()]


@contextmanager
def bench(rows: Any = ("a", "b", "c"), task: Task = CHAT, provider: Any = OPENAI, **words: Any) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("rows", "shards", "results"):
            (folder / part).mkdir()
        if task.kind != "raw":
            words = {"prompt": "{{ text }}"} | words
        made = plan(
            open_source(rows), task, provider, rows_into=folder / "rows", shards_into=folder / "shards", **words
        )
        yield Bench(folder, made, task, provider)


def ok(custom_id: str, text: str | None = "fine", **body: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    answer = {"model": "m-1", "choices": [choice], "usage": usage} | body
    return {"id": "x", "custom_id": custom_id, "response": {"status_code": 200, "body": answer}, "error": None}


def failed(custom_id: str, status: int = 429, code: str = "rate_limit_exceeded") -> dict[str, Any]:
    body = {"error": {"code": code, "message": "no"}}
    return {"id": "x", "custom_id": custom_id, "response": {"status_code": status, "body": body}, "error": None}


def expired(custom_id: str) -> dict[str, Any]:
    return {"custom_id": custom_id, "response": None, "error": {"code": "batch_expired", "message": "too late"}}


def test_every_row_has_its_answer_in_input_order_whatever_the_order_of_the_lines() -> None:
    with bench() as b:
        summary = b.settle(b.answers([ok("r-2", "C"), ok("r-0", "A"), ok("r-1", "B")]), price=PRICE)
        assert b.rows()[1] == {
            "text": "b",
            "custom_id": "r-1",
            "outcome": "succeeded",
            "answer": "B",
            "finish_reason": "stop",
            "error_code": None,
            "error_message": None,
            "input_tokens": 10,
            "output_tokens": 5,
            "cost_usd": 0.00002,
            "model": "m-1",
            "attempts": 1,
            "batch_id": "batch_1",
        }
        assert b.column("answer") == ["A", "B", "C"]
        assert summary.outcomes == {
            Outcome.SUCCEEDED: 3,
            Outcome.ERRORED: 0,
            Outcome.EXPIRED: 0,
            Outcome.CANCELLED: 0,
            Outcome.MISSING: 0,
        }
        assert summary.usage == Usage(30, 15)
        assert summary.cost_usd == pytest.approx(0.00006)
        assert not summary.oddities


@pytest.mark.parametrize("kind", ["duplicates", "unknown", "corrupt"])
def test_one_odd_line_of_any_kind_is_odd(kind: str) -> None:
    assert Oddities(**{kind: 1})
    assert not Oddities()


@pytest.mark.parametrize("one_fails", [False, True])
def test_all_kinds_of_tokens_are_counted_over_all_rows(one_fails: bool) -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    with bench() as b:
        # With a failure among them the rows are settled one by one, without it column by column.
        last = failed("r-2") if one_fails else ok("r-2", usage=usage)
        summary = b.settle(b.answers([ok("r-0", usage=usage), ok("r-1", usage=usage), last]))
        rows = 2 if one_fails else 3
        assert summary.usage == Usage(10 * rows, 5 * rows, cached_tokens=3 * rows, reasoning_tokens=2 * rows)


def test_each_of_the_five_outcomes_is_told_with_its_reason() -> None:
    cancelled = {"custom_id": "r-3", "response": None, "error": {"code": "batch_cancelled", "message": "stopped"}}
    with bench(["a", "b", "c", "d", "e"]) as b:
        summary = b.settle(b.answers([ok("r-0")], [failed("r-1", 400, "bad"), expired("r-2"), cancelled]))
        assert b.column("outcome") == ["succeeded", "errored", "expired", "cancelled", "missing"]
        assert b.column("error_code") == [None, "bad", "batch_expired", "batch_cancelled", "missing"]
        assert summary.retryable == (2, 3, 4)
        assert [(error.code, error.count, error.row) for error in summary.errors] == [
            ("bad", 1, 1),
            ("batch_expired", 1, 2),
            ("batch_cancelled", 1, 3),
            ("missing", 1, 4),
        ]


@pytest.mark.parametrize("unanswered", [Outcome.EXPIRED, Outcome.CANCELLED, Outcome.MISSING])
def test_rows_without_a_line_are_what_their_batch_became(unanswered: Outcome) -> None:
    with bench() as b:
        summary = b.settle(b.answers([ok("r-0")], unanswered=unanswered))
        assert b.column("outcome") == ["succeeded", unanswered.value, unanswered.value]
        assert summary.retryable == (1, 2)


def test_a_batch_that_was_refused_as_a_whole_says_why_in_every_row() -> None:
    with bench() as b:
        error = RequestError("invalid_schema", "no such type")
        summary = b.settle(b.answers(unanswered=Outcome.ERRORED, error=error))
        assert b.column("error_message") == ["no such type"] * 3
        assert summary.retryable == ()


def test_of_two_lines_for_a_row_the_success_counts_and_the_other_is_reported() -> None:
    with bench() as b:
        summary = b.settle(b.answers([ok("r-0", "first"), ok("r-0", "second"), ok("r-2")], [failed("r-1"), ok("r-1")]))
        assert b.column("answer") == ["first", "fine", "fine"]
        assert summary.oddities.duplicates == 2
        assert summary.usage == Usage(30, 15)


def test_unknown_and_corrupt_lines_are_reported_with_their_place() -> None:
    with bench() as b:
        content = json.dumps(ok("r-0")).encode() + b'\nnot json\n{"custom_id": "else"}\n\n{"custom_id": 5}'
        summary = b.settle(b.answers(content))
        odd = summary.oddities
        assert (odd.unknown, odd.corrupt, odd.duplicates) == (2, 1, 0)
        assert [line.partition(":")[2].partition(":")[0] for line in odd.shown] == ["2", "3", "5"]
        assert b.column("outcome") == ["succeeded", "missing", "missing"]


def test_the_best_outcome_of_several_attempts_wins_and_all_are_paid_for() -> None:
    with bench() as b:
        mismatch = ok("r-2", None)
        first = b.answers([ok("r-0", "A"), mismatch], [failed("r-1")])
        second = b.answers([ok("r-1", "B")], requests=b.requests(["r-1", "r-7"]), batch_id="batch_2")
        summary = b.settle(first, second)
        assert b.column("answer")[:2] == ["A", "B"]
        assert b.column("attempts") == [1, 2, 1]
        assert b.column("batch_id") == ["batch_1", "batch_2", "batch_1"]
        assert summary.outcomes[Outcome.SUCCEEDED] == 3


def test_errors_are_counted_by_their_code_and_so_are_those_that_are_sent_again() -> None:
    with bench(["a", "b", "c"], rows_per_part=3) as b:
        brought = b.answers([], [failed("r-0", 400, "no"), failed("r-1", 429, "busy"), failed("r-2", 429, "busy")])
        found = [(error.code, error.count, error.row, error.again) for error in b.settle(brought).errors]
        assert found == [("busy", 2, 1, 2), ("no", 1, 0, 0)]


def test_a_failed_retry_keeps_the_last_reason_and_a_success_is_never_lost() -> None:
    with bench(["a", "b"]) as b:
        first = b.answers([ok("r-0", "A")], [failed("r-1", 500, "first")])
        second = b.answers([], [failed("r-0", 500, "x"), failed("r-1", 500, "last")], batch_id="batch_2")
        assert b.settle(first, second).retryable == (1,)
        assert b.column("outcome") == ["succeeded", "errored"]
        assert b.column("error_code") == [None, "last"]


def test_rows_of_other_parts_in_a_shared_shard_are_passed_over() -> None:
    with bench(["a", "b", "c", "d"], rows_per_part=2) as b:
        both = b.answers([ok("r-0"), ok("r-3"), ok("r-9")], requests=b.requests(["r-0", "r-3"]))
        first, second = b.settle(both), b.settle(both, part=1)
        assert (first.oddities.unknown, second.oddities.unknown) == (1, 1)
        assert b.column("outcome") == ["succeeded", "missing", "missing", "succeeded"]
        assert b.column("attempts") == [1, 0, 0, 1]
        assert b.column("error_code") == [None, "not_sent", "not_sent", None]
        assert first.retryable == ()


def test_a_refusal_for_want_of_money_stops_the_run() -> None:
    with bench() as b:
        summary = b.settle(b.answers([], [failed("r-0", 429, "insufficient_quota")]))
        assert summary.stops_run is not None
        assert summary.stops_run.code == "insufficient_quota"


SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "enum": ["good", "bad"]},
        "score": {"type": "integer"},
        "why": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
        "answer": {"type": ["boolean", "null"]},
    },
    "required": ["label", "score", "why", "tags", "answer"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string"}},
}
GOOD = '{"label": "good", "score": 2.0, "why": null, "tags": ["x", "y"], "answer": true}'


def test_answers_of_a_schema_are_cut_into_columns() -> None:
    with bench([{"text": "a", "label": "mine"}], Task("chat", "m", schema=SCHEMA)) as b:
        b.settle(b.answers([ok("r-0", GOOD)]))
        (row,) = b.rows()
        assert list(row)[:10] == [
            "text", "label_input", "custom_id", "outcome", "answer", "label", "score", "why", "tags", "answer_parsed",
        ]  # fmt: skip
        assert (row["label_input"], row["answer"]) == ("mine", GOOD)
        assert [row[name] for name in ("label", "score", "why", "tags", "answer_parsed")] == [
            "good", 2, None, ["x", "y"], True,
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The label is good.", "the answer is not JSON"),
        ('{"label": "good"', "the answer is not JSON"),
        (GOOD.replace("good", "ugly"), "the answer is not of the schema: data.label must be one of"),
        ('{"label": "good"}', "the answer is not of the schema"),
        ("", "the answer is empty"),
        ("[1]", "the answer is not of the schema: data must be object"),
    ],
)
def test_an_answer_that_is_not_of_the_schema_keeps_its_text(text: str, message: str) -> None:
    with bench(["a"], Task("chat", "m", schema=SCHEMA)) as b:
        summary = b.settle(b.answers([ok("r-0", text)]))
        (row,) = b.rows()
        assert (row["outcome"], row["error_code"], row["answer"]) == ("errored", "schema_mismatch", text)
        assert row["error_message"].startswith(message)
        assert summary.retryable == ()
        assert summary.usage == Usage(10, 5)


def test_a_cut_answer_says_why_it_is_not_of_the_schema() -> None:
    with bench(["a"], Task("chat", "m", schema=SCHEMA)) as b:
        line = ok("r-0", '{"label"')
        line["response"]["body"]["choices"][0]["finish_reason"] = "length"
        b.settle(b.answers([line]))
        assert b.column("error_message")[0].endswith("(finish_reason length)")


def test_embeddings_become_vectors() -> None:
    body = {"data": [{"index": 0, "embedding": [0.1, -0.0075121797]}], "choices": None, "model": "e"}
    with bench(["a", "b"], Task("embedding", "e")) as b:
        b.settle(b.answers([ok("r-0", **body)]))
        assert b.column("embedding") == [[0.1, -0.0075121797], None]
        assert b.column("answer") == [None, None]


def test_moderations_are_cut_into_columns() -> None:
    result = {"flagged": True, "categories": {"hate": True}, "category_scores": {"hate": 0.9}}
    body = {"results": [result], "choices": None, "usage": None}
    with bench(["a"], Task("moderation", "omni-moderation-latest")) as b:
        b.settle(b.answers([ok("r-0", **body)]))
        (row,) = b.rows()
        assert (row["flagged"], row["categories"], row["category_scores"]) == (True, {"hate": True}, {"hate": 0.9})


@pytest.mark.parametrize("vectors", [[[1.0], [2.0]], [[1.0]]])
def test_an_answer_without_text_is_kept_as_json(vectors: list[list[float]]) -> None:
    rows = [{"custom_id": "q", "body": {"input": ["a", "b"][: len(vectors)]}}]
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    with bench(rows, Task("raw", "e", endpoint="/v1/embeddings")) as b:
        b.settle(b.answers([ok("q", data=data, choices=None)]))
        assert json.loads(b.column("answer")[0])["data"] == data


def test_borrowed_rows_get_the_answer_of_the_row_they_borrow_from_for_nothing() -> None:
    with bench(["a", "b", "a", "c", "b", "a"], dedupe=True, rows_per_part=2) as b:
        second = b.settle(b.answers([ok("r-3", "C")]), part=1, price=PRICE)
        assert (second.outcomes[Outcome.MISSING], second.retryable) == (2, ())
        first = b.settle(b.answers([ok("r-0", "A")], [failed("r-1")]), price=PRICE)
        second = b.settle(b.answers([ok("r-3", "C")]), part=1, price=PRICE)
        assert b.column("answer") == ["A", None, "A", "C", None, "A"]
        assert b.column("custom_id") == [f"r-{n}" for n in range(6)]
        assert b.column("cost_usd") == [0.00002, 0.0, 0.0, 0.00002, 0.0, 0.0]
        assert (first.retryable, second.retryable) == ((1,), ())
        assert (second.usage, second.outcomes[Outcome.MISSING]) == (Usage(10, 5), 0)


def test_borrowed_parsed_values_survive_the_way_through_the_file() -> None:
    task = Task("chat", "m", schema=SCHEMA)
    with bench(["a", "b", "b", "a"], task, dedupe=True, rows_per_part=1) as b:
        for part in b.plan.parts:
            b.settle(b.answers([ok("r-0", GOOD), ok("r-1", GOOD)], requests=b.requests(["r-0", "r-1"])), part=part.no)
        assert b.column("tags") == [["x", "y"]] * 4


def test_an_earlier_answer_that_was_damaged_is_told_and_harms_no_other_row() -> None:
    with bench() as b:
        damaged = record(1, Lent(b'{"custom_id"', "batch_0", b"digest"))
        reused_path(b.folder / "rows", 0).write_bytes(damaged)
        summary = b.settle(b.answers([ok("r-0", "A"), ok("r-2", "C")]))
        assert b.column("answer") == ["A", None, "C"]
        assert b.column("error_code") == [None, "not_sent", None]
        assert (summary.oddities.corrupt, summary.retryable) == (1, ())


def test_the_gemini_protocol_gives_the_same_table() -> None:
    def said(custom_id: str, text: str) -> dict[str, Any]:
        parts = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "stop"}
        usage = {"promptTokenCount": 10, "candidatesTokenCount": 5}
        return {"response": {"candidates": [parts], "usageMetadata": usage, "modelVersion": "m-1"}, "key": custom_id}

    with bench() as b:
        b.settle(b.answers([ok("r-0", "A"), ok("r-1", "B"), ok("r-2", "C")]))
        theirs = b.rows()
    with bench(provider=provider_named("gemini")) as b:
        b.settle(b.answers([said("r-0", "A"), said("r-1", "B"), said("r-2", "C")]))
        assert b.rows() == theirs


def test_input_columns_keep_their_types() -> None:
    columns = {
        "text": pa.array(["a", "b", "c"]),
        "when": pa.array([datetime(2026, 1, 2, 3, 4), None, None], pa.timestamp("ms")),
        "price": pa.array([Decimal("1.50"), None, None], pa.decimal128(9, 2)),
        "tags": pa.array([["x"], [], None]),
        "kind": pa.array(["k", "l", "k"]).dictionary_encode(),
        "answer": pa.array([1, 2, 3], pa.uint8()),
    }
    with bench(pa.table(columns)) as b:
        b.settle(b.answers([ok("r-0")]))
        table = Results(sorted((b.folder / "results").iterdir())).to_arrow()
    for name in ("text", "when", "price", "tags"):
        assert table.column(name).combine_chunks().equals(columns[name])
    assert table.column("kind").to_pylist() == ["k", "l", "k"]
    assert table.column("answer_input").to_pylist() == [1, 2, 3]


def test_without_pyarrow_the_table_is_the_same_in_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task("chat", "m", schema=SCHEMA)
    lines = [ok("r-0", GOOD), failed("r-1")]
    with bench(["a", "b"], task) as b:
        b.settle(b.answers(lines), price=PRICE)
        with_arrow = b.rows()
    for module in (kept, table):
        monkeypatch.setattr(module, "have_arrow", lambda: False)
    with bench(["a", "b"], task) as b:
        summary = b.settle(b.answers(lines), price=PRICE)
        assert summary.path.suffix == ".jsonl"
        assert b.rows() == with_arrow


def test_a_line_of_fifty_megabytes_is_one_answer() -> None:
    with bench() as b:
        b.settle(b.answers([ok("r-0", "x" * 50_000_000), ok("r-1", "B")]))
        assert [answer and len(answer) for answer in b.column("answer")] == [50_000_000, 1, None]


def test_results_appear_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as b:
        answers = b.answers([ok("r-0")])
        monkeypatch.setattr(table._ParquetPart, "_flush", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
        with pytest.raises(OSError, match="disk full"):
            b.settle(answers)
        assert list((b.folder / "results").iterdir()) == []
