"""Whatever lines and ids an answer file holds, at either provider: no row is lost, none is harmed by another's line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_settle import bench, failed, ok

from nono.providers import provider_named
from nono.runs.cost import Price


@dataclass(frozen=True)
class Dialect:
    """How a provider says that a request was answered, that it was refused, and what it calls its id."""

    provider: str
    key: str
    answered: Callable[[str, str], dict[str, Any]]
    refused: Callable[[str], dict[str, Any]]
    # Answers that are not what they should be, as the inside of a line that has an id.
    odd: tuple[bytes, ...]


def gemini_ok(custom_id: str, text: str) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5}
    return {"key": custom_id, "response": {"candidates": [candidate], "usageMetadata": usage}}


def gemini_failed(custom_id: str) -> dict[str, Any]:
    return {"key": custom_id, "error": {"code": 3, "message": "no"}}


DIALECTS = (
    Dialect(
        "openai",
        "custom_id",
        ok,
        lambda custom_id: failed(custom_id, 400, "bad"),
        (
            b'"response": 7',
            b'"response": {"status_code": "x", "body": []}',
            b'"response": {"status_code": 200, "body": {"choices": [{}]}}',
            b'"response": {"status_code": 200, "body": {"choices": "\xff"}}',
            b'"response": {"status_code": 200, "body": {"usage": {"prompt_tokens": NaN}}}',
            b'"error": []',
        ),
    ),
    Dialect(
        "gemini",
        "key",
        gemini_ok,
        gemini_failed,
        (
            b'"response": 7',
            b'"response": {"candidates": 7}',
            b'"response": {"candidates": [{}]}',
            b'"response": {"candidates": [{"content": {"parts": "\xff"}}]}',
            b'"response": {"candidates": [{"content": {"parts": [7, null, {"text": 7}]}}]}',
            b'"response": {"usageMetadata": {"promptTokenCount": NaN}}',
            b'"response": {"promptFeedback": {"blockReason": 7}}',
            b'"error": []',
            b'"error": {"code": "x"}',
            b'"status": 7',
        ),
    ),
)


def damage(dialect: Dialect) -> list[bytes]:
    """Lines that are not what they should be; those that name a row name the second."""
    key = b'"%s"' % dialect.key.encode()
    mine = b'{%s: "r-1"' % key
    separators = "\u2028\u0085\x1c"
    return [
        b"",
        b"   ",
        b"\xef\xbb\xbf",
        b"\x00",
        b"{",
        b"null",
        b"[]",
        b'"r-0"',
        b"NaN",
        b"{%s: null}" % key,
        b'{%s: ["r-1"]}' % key,
        mine + b"}",
        mine + b', %s: "r-2"}' % key,
        mine + b', "n": ' + b"7" * 5_000 + b"}",
        mine + b', "deep": ' + b"[" * 100_000 + b"}",
        mine + b', "cut": "',
        b'{"a": "\\"%s\\": \\"r-1\\"", %s: "r-9"}' % (dialect.key.encode(), key),
        json.dumps(dialect.answered("r-1", separators + "\x00 \ud800")).encode(),
        json.dumps(dialect.answered("r-1", separators), ensure_ascii=False).encode() + b"\r",
        *(mine + b", " + odd + b"}" for odd in dialect.odd),
    ]


def lines(dialect: Dialect) -> st.SearchStrategy[list[bytes]]:
    anything = st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))
    return st.lists(st.one_of(st.sampled_from(damage(dialect)), anything), max_size=4)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.provider)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), end=st.sampled_from([b"", b"\n"]))
def test_no_line_makes_settling_raise_or_harms_another_row(dialect: Dialect, data: st.DataObject, end: bytes) -> None:
    before, after = data.draw(lines(dialect)), data.draw(lines(dialect))
    with bench(["a", "b", "c", "d"], provider=provider_named(dialect.provider)) as b:
        good = json.dumps(dialect.answered("r-0", "A")).encode()
        refusal = json.dumps(dialect.refused("r-3")).encode()
        summary = b.settle(b.answers(b"\n".join([*before, good, *after]) + end, b"\n".join([refusal, *before])))
        rows = b.rows()
        assert (rows[0]["outcome"], rows[0]["answer"]) == ("succeeded", "A")
        assert (rows[3]["outcome"], rows[3]["error_message"]) == ("errored", "no")
        assert len(rows) == sum(summary.outcomes.values()) == 4


@pytest.mark.parametrize(
    ("dialect", "damaged"),
    [
        pytest.param(dialect, damaged, id=f"{dialect.provider}-{number}")
        for dialect in DIALECTS
        for number, damaged in enumerate(damage(dialect))
    ],
)
def test_each_of_the_damaged_lines_alone_harms_nobody_else(dialect: Dialect, damaged: bytes) -> None:
    with bench(["a", "b", "c"], provider=provider_named(dialect.provider)) as b:
        good = [json.dumps(dialect.answered(custom_id, "A")).encode() for custom_id in ("r-0", "r-2")]
        b.settle(b.answers(b"\n".join([good[0], damaged, good[1]])))
        assert [row["answer"] for row in b.rows()][::2] == ["A", "A"]


_IDS = st.lists(st.sampled_from(["r-0", "r-1", "r-2", "r-3", "r-4", "stranger"]), max_size=9)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.provider)
@settings(max_examples=60, deadline=None)
@given(output=_IDS, error=_IDS)
def test_rows_are_ok_plus_failed_plus_missing_whatever_the_ids(
    dialect: Dialect, output: list[str], error: list[str]
) -> None:
    with bench(["a", "b", "c", "d", "e"], provider=provider_named(dialect.provider)) as b:
        said = [dialect.answered(one, "A") for one in output], [dialect.refused(one) for one in error]
        summary = b.settle(b.answers(*said))
        own = [f"r-{n}" for n in range(5)]
        assert b.column("custom_id") == own
        assert b.column("outcome") == [
            "succeeded" if one in output else "errored" if one in error else "missing" for one in own
        ]
        assert sum(summary.outcomes.values()) == 5
        both = [one for one in output + error if one != "stranger"]
        assert summary.oddities.duplicates == len(both) - len(set(both))
        assert summary.oddities.unknown == (output + error).count("stranger")


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.provider)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), ids=_IDS)
def test_column_by_column_or_row_by_row_the_table_is_the_same(
    dialect: Dialect, data: st.DataObject, ids: list[str]
) -> None:
    price = Price("m-1", 1.0, 0.5, 2.0, "test", date(2026, 11, 23))
    odd = data.draw(lines(dialect))
    with bench(["a", "b", "c", "d", "e"], provider=provider_named(dialect.provider)) as b:
        said = [json.dumps(dialect.answered(one, f"A {one}")).encode() for one in ids]
        answers = b.answers(b"\n".join([*odd, *said]), [dialect.refused("r-4")])
        by_column, table = b.settle(answers, price=price), b.rows()
        # An attempt that asked about none of the rows changes nothing, but rows are looked at one by one for it.
        by_row = b.settle(answers, b.answers(b"", requests=b.requests([])), price=price)
        assert b.rows() == table
        assert by_row == by_column
