"""Each fault that there is, at both providers, through one body: one outcome a row, nothing paid twice.

The engine is the real one with its own patience (15 s, 90 s, a day); the time of both worlds leaps.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx2
import pytest
from system_tools import Story, live

from nono.server.app import LocalServer
from nono.server.clock import SteeredClock
from nono.server.faults.catalogue import FAULTS

FULL = os.environ.get("NONO_PROOF") == "full"
ROWS = 8
ALL_ANSWERED = [str(number) for number in range(ROWS)]
PROVIDERS = ("openai", "gemini")

# Rules after which every row is answered in the end. Times are the server's.
CURED: dict[str, list[dict[str, Any]]] = {
    "a create whose answer is dropped": [{"fault": "drop-answer", "call": "create", "nth": 1}],
    "every second create's answer is dropped": [{"fault": "drop-answer", "call": "create", "every": 2, "times": 3}],
    "an upload whose answer is dropped": [{"fault": "drop-answer", "call": "upload", "nth": 1}],
    "a list whose answer is dropped": [{"fault": "drop-answer", "call": "list", "nth": [1, 3]}],
    "a download whose answer is dropped": [{"fault": "drop-answer", "call": "content", "nth": 1}],
    "a delete whose answer is dropped": [{"fault": "drop-answer", "call": "delete", "nth": 1}],
    "a create that is reset before it arrives": [{"fault": "reset", "call": "create", "nth": 1}],
    "one call in ten is reset": [{"fault": "reset", "share": 0.1, "seed": 3}],
    "a create that hangs, with effect": [{"fault": "hang", "call": "create", "nth": 1, "seconds": 40, "effect": True}],
    "a create that hangs, without effect": [{"fault": "hang", "call": "create", "nth": 1, "seconds": 40}],
    "a create that arrives late": [{"fault": "late", "call": "create", "nth": 1, "seconds": 60}],
    "a create that arrives behind its fence": [{"fault": "late", "call": "create", "nth": 1, "seconds": 300}],
    "408": [{"fault": "refuse", "status": 408, "share": 0.2, "times": 4, "seed": 1}],
    "409 to the create, with effect": [{"fault": "refuse", "status": 409, "call": "create", "nth": 1, "effect": True}],
    "409 to the create": [{"fault": "refuse", "status": 409, "call": "create", "nth": 1}],
    "429 without a hint": [{"fault": "rate-limit", "call": "create", "nth": [1, 2]}],
    "429 with seconds": [{"fault": "rate-limit", "call": "create", "nth": 1, "retry_after": "7"}],
    "429 with a date": [{"fault": "rate-limit", "call": "create", "nth": 1, "retry_after": "date:90"}],
    "429 with a date in the past": [{"fault": "rate-limit", "call": "create", "nth": 1, "retry_after": "date:-90"}],
    "429 with an absurd hint": [{"fault": "rate-limit", "call": "create", "nth": 1, "retry_after": "1e9"}],
    "429 with a hint that is no hint": [{"fault": "rate-limit", "call": "create", "nth": 1, "retry_after": "soon"}],
    "429 to uploads, lists and downloads": [
        {"fault": "rate-limit", "call": name, "nth": 1, "retry_after": "3"} for name in ("upload", "list", "content")
    ],
    "500 with effect": [{"fault": "refuse", "status": 500, "call": "create", "nth": 1, "effect": True}],
    "500 without effect": [{"fault": "refuse", "status": 500, "call": "create", "nth": 1}],
    "503 to one call in five": [{"fault": "refuse", "status": 503, "share": 0.2, "times": 6, "seed": 2}],
    "a proxy's page": [{"fault": "html", "call": "create", "nth": 1}],
    "a proxy's page behind a create": [{"fault": "html", "call": "create", "nth": 1, "status": 504, "effect": True}],
    "a proxy's page that says 200": [{"fault": "html", "call": "create", "nth": 1, "status": 200}],
    "an unreadable 2xx": [{"fault": "garble", "call": ["create", "list", "upload"], "times": 3}],
    "a slow drip": [{"fault": "drip", "call": "content", "bytes": 400, "seconds": 5}],
    "a download that breaks": [{"fault": "truncate", "at": 700, "times": 2}],
    "a download that ends too early and looks whole": [{"fault": "truncate", "at": 700, "length": False, "times": 2}],
    "a download that ends in the middle of nowhere": [{"fault": "garble", "call": "content", "times": 2}],
    "a download that is empty": [{"fault": "truncate", "at": 0, "length": False, "times": 2}],
    "a download that breaks before its first byte": [{"fault": "truncate", "at": 0, "times": 1}],
    "a download that breaks again and again": [{"fault": "truncate", "at": 500}],
    "a list that lags": [
        {"fault": "list-lag", "seconds": 80},
        {"fault": "drop-answer", "call": "create", "nth": 1},
    ],
    "files that lag": [{"fault": "file-lag", "seconds": 12}],
    "downloads that are gone for a while": [{"fault": "gone", "call": "content", "times": 3}],
    "outputs that are named late": [{"fault": "late-output", "seconds": 40}],
    "ids that are empty": [{"fault": "empty-ids"}],
    "a state that nobody knows": [{"fault": "unknown-state"}, {"fault": "stuck", "seconds": 30}],
    "counters that are missing": [{"fault": "no-counts"}],
    "batches without their tags": [{"fault": "no-tag"}, {"fault": "drop-answer", "call": "create", "nth": 1}],
    "a batch that is stuck for hours": [{"fault": "stuck", "nth": 1, "seconds": 40_000}],
    "a batch that is stuck until it expires": [{"fault": "stuck", "nth": 1}],
    "a batch that expires half-way": [{"fault": "expire", "nth": 1}],
    "a batch that expires before its first request": [{"fault": "expire", "nth": 1, "after": 0}],
    "a batch that its provider cancels half-way": [{"fault": "cancel", "nth": 1}],
    "an account with little room": [{"fault": "token-limit", "tokens": 40}],
    "rows that fail once": [{"fault": "row-error", "share": 0.5, "times": 1}],
    "rows that fail with a server error once": [{"fault": "row-error", "status": 500, "share": 0.5, "times": 1}],
    "answers in another order": [{"fault": "shuffle-lines", "window": 3}],
    "answers that come twice": [{"fault": "duplicate-lines", "share": 0.5}],
    "answers that are missing": [{"fault": "missing-lines", "share": 0.4, "times": 3}],
    "answers that are half a line": [{"fault": "corrupt-lines", "how": "cut", "share": 0.4, "times": 3}],
    "answers that are no text": [{"fault": "corrupt-lines", "how": "bytes", "share": 0.4, "times": 3}],
    "answers with a NUL": [{"fault": "corrupt-lines", "how": "nul", "share": 0.4, "times": 3}],
    "answers that are a page": [{"fault": "corrupt-lines", "how": "html", "share": 0.4, "times": 3}],
    "answers that are brackets": [{"fault": "corrupt-lines", "how": "brackets", "share": 0.4, "times": 3}],
    "answers that are glued together": [{"fault": "corrupt-lines", "how": "glued", "share": 0.4, "times": 3}],
    "answers with CRLF": [{"fault": "odd-lines", "how": "crlf", "share": 0.5}],
    "answers with blank lines": [{"fault": "odd-lines", "how": "blank", "share": 0.5}],
    "answers with spaces": [{"fault": "odd-lines", "how": "spaces", "share": 0.5}],
    "answers with strange separators": [{"fault": "odd-lines", "how": "separator", "share": 0.5}],
    "answers of another batch": [{"fault": "foreign-lines", "share": 0.5}],
    "answers without their ids": [{"fault": "lost-ids", "share": 0.4, "times": 3}],
}
# Where days pass.
LONG = {"429 with an absurd hint", "a batch that is stuck for hours", "a batch that is stuck until it expires"}
# Rules after which some rows have no answer, and the outcomes that all of them must have.
UNCURED: dict[str, tuple[list[dict[str, Any]], set[str]]] = {
    "batches that fail": ([{"fault": "fail"}], {"errored"}),
    "rows that fail always": ([{"fault": "row-error", "share": 1.0}], {"errored"}),
    "rows that can never succeed": ([{"fault": "row-error", "status": 400, "share": 1.0}], {"errored"}),
    "answer files that are gone": ([{"fault": "gone", "call": "content"}], {"missing"}),
    "answer files that are never named": ([{"fault": "null-output"}], {"missing"}),
    "batches that all expire at once": ([{"fault": "expire", "after": 0}], {"expired"}),
}


def told(folder: Path, provider: str, rules: list[dict[str, Any]], stride: float = 1.0) -> Story:
    with LocalServer(data=folder / "server", clock=SteeredClock(speed=200.0), faults=rules) as server:
        story = live(folder / "home", server, provider, ROWS, stride=stride)
        fired = httpx2.get(f"{server.url}/_nono/faults").json()["rules"]
        assert all(rule["fired"] for rule in fired), fired
        return story


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", CURED)
def test_every_row_is_answered_once_and_paid_once(name: str, provider: str, folder: Path) -> None:
    story = told(folder, provider, CURED[name], stride=50.0 if name in LONG else 1.0)
    assert story.verdict.wrong == []
    assert story.answers == ALL_ANSWERED


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_download_may_break_off_at_any_byte(provider: str, length: bool, folder: Path) -> None:
    for at in range(0, 1400, 7) if FULL else (1, 331, 1100):
        rule = {"fault": "truncate", "at": at, "length": length, "times": 2}
        story = told(folder / str(at), provider, [rule])
        assert (story.verdict.wrong, story.answers) == ([], ALL_ANSWERED), f"at byte {at}"


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", UNCURED)
def test_what_cannot_be_answered_ends_with_an_outcome_that_says_so(name: str, provider: str, folder: Path) -> None:
    rules, outcomes = UNCURED[name]
    story = told(folder, provider, rules)
    assert story.verdict.wrong == []
    assert set(story.outcomes) == outcomes


def test_every_fault_is_tried() -> None:
    rules = [rule for rules in CURED.values() for rule in rules]
    rules += [rule for rules, _ in UNCURED.values() for rule in rules]
    assert {rule["fault"] for rule in rules} == set(FAULTS)
