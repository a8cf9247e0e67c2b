"""What is said of a run, moment by moment and at its end."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from nono.cli import live
from nono.cli.steer import finish
from nono.runs.ledger import CodeCount, Pace, RunState
from nono.runs.status import RunStatus, expected_end

MINUTE = 60_000
HOUR = 60 * MINUTE
UNDER_WAY = RunStatus(
    id="k3v9x2m1qa",
    name="nightly",
    model="openai/gpt-4o-mini",
    state=RunState.RUNNING,
    reason=None,
    owner=None,
    rows=1_000,
    succeeded=500,
    failed=20,
    left=480,
    sent_again=0,
    running_done=0,
    reused=0,
    batches={"running": 2, "done": 3},
    oldest_batch_at=None,
    first_deadline_at=None,
    last_result_at=None,
    end_from=None,
    end_until=None,
    input_tokens=10,
    output_tokens=20,
    cost_usd=41.2,
    committed_usd=0.0,
    estimated_usd=96.0,
    sync_requests=0,
    sync_cost_usd=None,
    max_cost_usd=120.0,
    created_at=0,
    ended_at=None,
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "$41.20 spent of at most ~$96.00 (cap $120.00)"),
        ({"committed_usd": 2.5}, "$41.20 spent of at most ~$96.00, ~$2.50 under way (cap $120.00)"),
        ({"state": RunState.FINISHED, "max_cost_usd": None}, "$41.20 spent"),
        ({"cost_usd": 0.00001, "estimated_usd": 0.0312, "max_cost_usd": None}, "<$0.0001 spent of at most ~$0.0312"),
        ({"cost_usd": None, "estimated_usd": None, "max_cost_usd": None}, "30 tokens, price unknown"),
        ({"sync_cost_usd": 1.0, "max_cost_usd": None}, "$41.20 spent ($1.00 of it without a batch) of at most ~$96.00"),
    ],
)
def test_money_is_what_is_spent_of_what_is_expected(changes: dict[str, Any], said: str) -> None:
    assert live.money(replace(UNDER_WAY, **changes)) == said


@pytest.mark.parametrize(("number", "said"), [(0, "0 rows"), (1, "1 row"), (2_000, "2,000 rows")])
def test_one_of_a_thing_is_not_many(number: int, said: str) -> None:
    assert live.counted(number, "row") == said


def test_a_line_without_a_terminal_tells_counts_the_oldest_wait_money_and_errors() -> None:
    now = int(time.time() * 1000)
    status = replace(UNDER_WAY, oldest_batch_at=now - 9 * HOUR, first_deadline_at=now + 15 * HOUR + MINUTE)
    said = live.line(status, [CodeCount("rate_limit", 9, 9), CodeCount("too_long", 4, 0), CodeCount("odd", 7, 2)])
    assert said == (
        "nightly: 500 ok  20 failed  480 left  52.0% | batches 2 running │ 3 done | "
        "$41.20 spent of at most ~$96.00 (cap $120.00) | oldest running 9h00m · window ends in 15h00m | "
        "errors rate_limit 9 (sent again) · too_long 4 (won't be sent again) · odd 7 (2 sent again)"
    )


def test_errors_of_a_run_that_is_over_promise_nothing() -> None:
    assert live.errors(replace(UNDER_WAY, state=RunState.FINISHED), [CodeCount("rate_limit", 9, 9)]) == "rate_limit 9"


def test_the_end_is_a_range_from_the_batches_that_have_ended() -> None:
    now = int(time.time() * 1000)
    said = live.waits(replace(UNDER_WAY, last_result_at=now - 2 * MINUTE, end_from=now - HOUR, end_until=now + HOUR))
    begin, _, rest = said.partition(" · ")
    assert begin == "last result 2m00s ago"
    assert rest.startswith("ends ") and " to " in rest


@pytest.mark.parametrize(
    ("pace", "running", "waiting", "end"),
    [
        # Nothing has ended yet: nothing is known.
        (Pace(None, None, None, 5 * HOUR, 30 * HOUR), 2, 0, (None, None)),
        # Those at work take as long as the shortest, or the longest, that has ended.
        (Pace(0, 1 * HOUR, 3 * HOUR, 5 * HOUR, 30 * HOUR), 2, 0, (6 * HOUR, 8 * HOUR)),
        # The provider's deadline ends them all.
        (Pace(0, 1 * HOUR, 30 * HOUR, 5 * HOUR, 29 * HOUR), 2, 0, (6 * HOUR, 29 * HOUR)),
        # Three that wait take two further turns of two.
        (Pace(0, 1 * HOUR, 3 * HOUR, 5 * HOUR, 30 * HOUR), 2, 3, (8 * HOUR, 14 * HOUR)),
        # Nothing is at work.
        (Pace(0, 1 * HOUR, 3 * HOUR, None, None), 0, 3, (None, None)),
    ],
)
def test_batches_that_wait_follow_those_at_work(
    pace: Pace, running: int, waiting: int, end: tuple[int | None, int | None]
) -> None:
    assert expected_end(pace, running, waiting) == end


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"state": RunState.FINISHED, "failed": 0}, 0, "next: nono export k3v9x2m1qa -o results.csv"),
        ({"state": RunState.FINISHED}, 3, "next: nono errors k3v9x2m1qa   or: nono retry k3v9x2m1qa"),
        ({"reason": "budget: too much"}, 5, "next: nono resume k3v9x2m1qa --max-cost <US dollars>"),
        ({"reason": "out_of_quota: pay"}, 5, "next: nono resume k3v9x2m1qa"),
        ({"reason": "key_refused: no"}, 4, "next: nono resume k3v9x2m1qa"),
        ({"reason": "unclear_submit: what?"}, 7, "next: nono resolve k3v9x2m1qa"),
        ({"reason": "unavailable: nobody"}, 11, "next: nono resume k3v9x2m1qa"),
        ({"state": RunState.RUNNING}, 8, "batches go on at the provider; next: nono watch k3v9x2m1qa"),
    ],
)
def test_the_end_of_a_command_names_the_next_one(
    changes: dict[str, Any], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = replace(UNDER_WAY, **({"state": RunState.STOPPED} | changes))
    assert finish(status) == code
    assert capsys.readouterr().err.splitlines()[-1] == said


def test_rows_that_are_sent_again_are_left_not_failed() -> None:
    said = "500 ok  0 failed  500 left (20 sent again)  50.0%"
    assert live.rows(replace(UNDER_WAY, failed=0, left=500, sent_again=20)) == said
