"""Batches that lost their tag, answers that are short or late: nothing that was paid for is given up."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from test_steps import CREATE, ONCE, ONE, Begin, Life, begin  # noqa: F401 - a fixture
from world import Fault, Weather

from nono.exchange import Call, Reply
from nono.runs.harvest import LATE_OUTPUT_S, LATE_OUTPUT_TRIES

Change = Callable[[dict[str, Any]], object]


def changed(life: Life, path: str, change: Change, *, times: int = 1 << 30) -> None:
    """From now on the first so many JSON answers to GETs of paths that begin so are changed on their way."""
    send, left = life.world.send, [times]

    def changing(call: Call) -> Reply:
        reply = send(call)
        if call.method != "GET" or not call.path.startswith(path) or call.save_to is not None or not left[0]:
            return reply
        left[0] -= 1
        said = json.loads(reply.body)
        for one in said.get("data", [said]):
            change(one)
        return Reply(reply.status, reply.headers, json.dumps(said).encode())

    life.world.send = changing  # type: ignore[method-assign]
    life.reopen()


def shortened(life: Life, *, times: int) -> list[float]:
    """Nobody names the size of a file, and the first so many downloads lose their last line; returns their instants."""
    send, left, at = life.world.send, [times], list[float]()

    def cutting(call: Call) -> Reply:
        reply = send(call)
        if call.save_to is None:
            return reply
        at.append(life.world.clock.true_ms / 1000)
        if left[0]:
            left[0] -= 1
            lines = call.save_to.read_bytes().splitlines(keepends=True)
            call.save_to.write_bytes(b"".join(lines[:-1]))
        return Reply(reply.status, {})

    life.world.send = cutting  # type: ignore[method-assign]
    changed(life, "/files/", lambda file: file.update(bytes=None))
    return at


def without_tag(batch: dict[str, Any]) -> None:
    batch["metadata"] = None


# --- a tag that is gone ---


def test_a_batch_that_lost_its_tag_is_known_by_its_input_file(begin: Begin) -> None:  # noqa: F811
    life = begin(faults=(Fault(1, "dropped"),), weather=Weather(running_s=600))
    changed(life, "/batches", without_tag)
    assert life.run.wait().succeeded == len(ONE)
    assert len(life.world.batches) == 1


# --- answers that are short ---


@pytest.mark.parametrize("times", [1, 3, LATE_OUTPUT_TRIES])
def test_answers_that_are_fewer_than_was_counted_are_fetched_again(begin: Begin, times: int) -> None:  # noqa: F811
    life = begin()
    at = shortened(life, times=times)
    life.run.wait()
    assert life.outcomes() == ["succeeded", "succeeded"]
    assert len(at) == times + 1
    assert at[1] - at[0] == pytest.approx(LATE_OUTPUT_S, abs=1.0)
    assert len(life.at(CREATE)) == 1


def test_answers_that_stay_short_leave_their_rows_missing(begin: Begin) -> None:  # noqa: F811
    life = begin(settings=ONCE)
    at = shortened(life, times=999)
    life.run.wait()
    assert life.outcomes() == ["succeeded", "missing"]
    assert len(at) == LATE_OUTPUT_TRIES + 1


def test_a_batch_that_succeeded_without_counters_and_files_is_asked_again(begin: Begin) -> None:  # noqa: F811
    life = begin()

    def unnamed(batch: dict[str, Any]) -> None:
        if batch["status"] == "completed" and left.pop():
            batch |= {"output_file_id": None, "error_file_id": None, "request_counts": None}

    left = [False, True, True]
    changed(life, "/batches/", unnamed)
    life.run.wait()
    assert life.outcomes() == ["succeeded", "succeeded"]
    assert len(life.at(CREATE)) == 1
