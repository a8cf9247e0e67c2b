"""The queue: order, slots, and what happens when things go wrong in the middle."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from server_tools import Held, Told

from nono.server.clock import SECOND_NS, HandClock
from nono.server.database import IllegalMove
from nono.server.dialect import Answer, Ask, Checked, Kind, Why
from nono.server.journal import Journal
from nono.server.models import CHAT, Model
from nono.server.records import Batch, File, State
from nono.server.store import Store, new_token
from nono.server.work import PATIENCE_S, RETRY_S, Work
from patience import PATIENT_S


class Plain:
    """The smallest dialect: a line is a JSON string, its answer the model's; one answer file holds everything."""

    name = "plain"

    def __init__(self, model: Model) -> None:
        self.asked = model

    def check(self, batch: Batch, lines: Path) -> Checked:
        return Checked(len(lines.read_bytes().splitlines()), "gpt-4o")

    def model(self, batch: Batch) -> Model:
        return self.asked

    def answer(self, batch: Batch, line: bytes, ask: Ask) -> Answer:
        prompt = json.loads(line)
        if prompt == "bug":
            raise RuntimeError("a bug in this dialect")
        status, _ = ask(CHAT, {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]})
        return Answer(status == 200, line.strip() + b" answered\n")

    def unanswered(self, batch: Batch, line: bytes, why: Why) -> bytes:
        return line.strip() + f" {why}\n".encode()

    def roles(self, batch: Batch, end: State) -> Mapping[Kind, str]:
        return dict.fromkeys(Kind, "all")

    def output(self, batch: Batch, role: str, token: str, size: int, sha256: str) -> File:
        return File(f"{batch.id}-{role}", "plain", token, "x", "out", "text", size, sha256, batch.created_ns)


class Bench:
    """A store, a queue and one dialect, without a server around them."""

    def __init__(self, folder: Path, model: Model) -> None:
        self.clock = HandClock()
        self.store = Store(folder, self.clock)
        self.work = Work(self.store, {"plain": Plain(model)})  # type: ignore[dict-item]
        self.work.start()

    def add(self, name: str, prompts: list[str], priority: int = 0, for_s: int = 60) -> Batch:
        now = self.clock.now_ns()
        batch = Batch(name, "plain", new_token(), "x", None, None, now, now + for_s * SECOND_NS, priority=priority)
        self.store.work_folder(batch).mkdir()
        (self.store.work_folder(batch) / "input.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts))
        batch = self.store.add_batch(batch)
        self.work.add(batch)
        return batch

    def now(self, batch: Batch) -> Batch:
        found = self.store.batch("plain", batch.id)
        assert found is not None
        return self.work.look(found)

    def reached(self, batch: Batch, *states: State) -> Batch:
        until = time.monotonic() + PATIENT_S
        while (seen := self.now(batch)).state not in states:
            assert time.monotonic() < until, seen
            time.sleep(0.002)
        return seen

    def queued(self, batch: Batch) -> None:
        """Wait until the batch stands in its queue."""
        self.reached(batch, State.QUEUED)
        until = time.monotonic() + PATIENT_S
        while True:
            with self.work._lock:
                if ("plain", batch.id) in self.work._jobs:
                    return
            assert time.monotonic() < until
            time.sleep(0.002)

    def ended(self, batch: Batch) -> Batch:
        return self.reached(batch, State.COMPLETED, State.FAILED, State.EXPIRED, State.CANCELLED)

    def lines(self, batch: Batch) -> list[str]:
        file = self.store.file("plain", self.now(batch).outputs["all"])
        assert file is not None
        return self.store.blob(file.token).read_text().splitlines()

    def close(self) -> None:
        self.work.stop()
        self.store.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[[Model], Bench]]:
    made: list[Bench] = []

    def open_bench(model: Model) -> Bench:
        made.append(Bench(tmp_path / "data", model))
        return made[-1]

    yield open_bench
    for each in made:
        each.close()


def test_batches_run_in_order_of_priority_and_then_age(bench: Callable[[Model], Bench]) -> None:
    model = Held()
    at = bench(model)
    first = at.add("first", ["a1", "a2"])
    model.wait_for(1)
    others = [at.add("low", ["l"], -1), at.add("old", ["o"]), at.add("young", ["y"]), at.add("high", ["h"], 5)]
    for batch in others:
        at.queued(batch)
    model.allow(10)
    for batch in (first, *others):
        at.ended(batch)
    assert model.asked == ["a1", "h", "a2", "o", "y", "l"]


def test_a_model_is_asked_as_many_questions_at_a_time_as_it_has_slots(bench: Callable[[Model], Bench]) -> None:
    model = Held(slots=3)
    at = bench(model)
    batch = at.add("b", [str(n) for n in range(10)])
    model.wait_for(3)
    time.sleep(0.02)
    assert len(model.in_hand) == 3
    model.allow(10)
    assert at.ended(batch).counts.ok == 10


def test_free_slots_go_on_with_the_next_batch(bench: Callable[[Model], Bench]) -> None:
    model = Held(slots=2)
    at = bench(model)
    first, second = at.add("first", ["a"]), at.add("second", ["b"])
    model.wait_for(2)
    assert sorted(model.in_hand) == ["a", "b"]
    model.allow(2)
    assert {at.ended(first).state, at.ended(second).state} == {State.COMPLETED}


def test_counts_are_seen_while_a_batch_runs(bench: Callable[[Model], Bench]) -> None:
    model = Held()
    at = bench(model)
    batch = at.add("b", ["a", "b", "c"])
    model.allow(2)
    model.wait_for(3)
    assert (at.now(batch).counts.total, at.now(batch).counts.ok) == (3, 2)
    model.allow(1)
    assert at.lines(at.ended(batch)) == ['"a" answered', '"b" answered', '"c" answered']


def test_a_dialect_with_a_bug_fails_the_line_and_not_the_batch(bench: Callable[[Model], Bench]) -> None:
    at = bench(Told())
    batch = at.ended(at.add("b", ["a", "bug", "c"]))
    assert (batch.state, batch.counts.ok, batch.counts.failed) == (State.COMPLETED, 2, 1)
    assert at.lines(batch) == ['"a" answered', '"bug" broken', '"c" answered']


def test_a_batch_whose_time_is_over_asks_nothing_more(bench: Callable[[Model], Bench]) -> None:
    model = Held()
    at = bench(model)
    batch = at.add("b", ["a", "b", "c"])
    model.wait_for(1)
    at.clock.advance(61)
    model.allow(3)
    batch = at.ended(batch)
    assert (batch.state, model.asked) == (State.EXPIRED, ["a"])
    assert at.lines(batch) == ['"a" answered', '"b" expired', '"c" expired']


def test_a_batch_that_waits_expires_without_having_run(bench: Callable[[Model], Bench]) -> None:
    model = Held()
    at = bench(model)
    at.add("first", ["a"], for_s=600)
    model.wait_for(1)
    second = at.add("second", ["b"], for_s=60)
    at.reached(second, State.QUEUED)
    at.clock.advance(61)
    assert at.ended(second).state is State.EXPIRED
    model.allow(1)


def test_a_disk_that_refuses_answers_pauses_the_batch_and_loses_nothing(
    bench: Callable[[Model], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Told()
    at = bench(model)
    write, refused = Journal.append, threading.Event()

    def full_once(journal: Journal, ordinal: int, answer: Answer) -> None:
        if ordinal == 2 and not refused.is_set():
            refused.set()
            raise OSError(28, "No space left on device")
        write(journal, ordinal, answer)

    monkeypatch.setattr(Journal, "append", full_once)
    batch = at.add("b", ["a", "b", "c", "d"])
    assert refused.wait(PATIENT_S)
    time.sleep(0.02)
    assert at.now(batch).state is State.RUNNING
    at.clock.advance(RETRY_S + 1)
    batch = at.ended(batch)
    assert (batch.state, batch.counts.ok) == (State.COMPLETED, 4)
    assert [model.asked.count(prompt) for prompt in "abcd"] == [1, 1, 2, 1]


def test_a_deleted_batch_is_gone_with_its_answers(bench: Callable[[Model], Bench]) -> None:
    model = Held()
    at = bench(model)
    running = at.add("running", ["a", "b"])
    model.wait_for(1)
    at.work.forget(running)
    assert at.store.batch("plain", "running") is None
    model.allow(5)
    batch = at.ended(at.add("done", ["c"]))
    at.work.forget(batch)
    assert at.store.file("plain", "done-all") is None
    assert at.store.batch("plain", "done") is None
    assert "b" not in model.asked


def test_a_batch_that_ends_cannot_be_cancelled_any_more(bench: Callable[[Model], Bench]) -> None:
    at = bench(Told())
    batch = at.ended(at.add("b", ["a"]))
    with pytest.raises(IllegalMove):
        at.work.cancel(batch)


def test_the_working_files_of_an_ended_batch_are_removed(bench: Callable[[Model], Bench]) -> None:
    at = bench(Told())
    batch = at.ended(at.add("b", ["a"]))
    until = time.monotonic() + PATIENT_S
    while at.store.work_folder(batch).exists():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_cancelling_at_any_moment_gives_every_request_exactly_one_line(bench: Callable[[Model], Bench]) -> None:
    at = bench(Told(slots=4))
    prompts = [str(n) for n in range(200)]
    for round_ in range(30):
        batch = at.add(f"b{round_}", prompts)
        time.sleep(round_ * 0.0004)
        try:
            at.work.cancel(batch)
        except IllegalMove:
            assert at.now(batch).state in (State.COMPLETED, State.FINALIZING)
        batch = at.ended(batch)
        if batch.counts.total == 0:
            assert (batch.state, dict(batch.outputs)) == (State.CANCELLED, {})
            continue
        lines = at.lines(batch)
        assert [json.loads(line.split()[0]) for line in lines] == prompts
        assert sum(line.endswith("answered") for line in lines) == batch.counts.ok


def test_a_model_that_hangs_keeps_a_cancelled_batch_for_ten_minutes_only(bench: Callable[[Model], Bench]) -> None:
    model = Held()
    at = bench(model)
    batch = at.add("b", ["a", "b"], for_s=86_400)
    model.wait_for(1)
    at.work.cancel(at.now(batch))
    at.clock.advance(PATIENCE_S - 1)
    time.sleep(0.02)
    assert at.now(batch).state is State.CANCELLING
    at.clock.advance(2)
    assert at.ended(batch).state is State.CANCELLED
    assert at.lines(batch) == ['"a" cancelled', '"b" cancelled']
    model.allow(1)


def test_a_model_that_hangs_keeps_an_expired_batch_for_ten_minutes_only(bench: Callable[[Model], Bench]) -> None:
    model = Held()
    at = bench(model)
    batch = at.add("b", ["a", "b"])
    model.wait_for(1)
    at.clock.advance(61)
    time.sleep(0.02)
    assert at.now(batch).state is State.RUNNING
    at.clock.advance(PATIENCE_S)
    assert at.ended(batch).state is State.EXPIRED
    model.allow(1)


def test_a_cancel_in_the_moment_of_the_last_answer_leaves_no_batch_behind(
    bench: Callable[[Model], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = bench(Told())
    cancelling: list[threading.Thread] = []
    move = Store.move

    def cancel(batch: Batch) -> None:
        with contextlib.suppress(IllegalMove):
            at.work.cancel(batch)

    def cancelled_before(store: Store, batch: Batch, state: State, **changes: Any) -> Batch:
        if state is State.FINALIZING and not cancelling:
            cancelling.append(threading.Thread(target=cancel, args=(batch,)))
            cancelling[0].start()
            cancelling[0].join(0.02)
        return move(store, batch, state, **changes)

    monkeypatch.setattr(Store, "move", cancelled_before)
    batch = at.ended(at.add("b", ["a"]))
    assert batch.state in (State.COMPLETED, State.CANCELLED)
    cancelling[0].join()


def test_a_batch_that_is_cancelled_between_its_check_and_its_queue_asks_nothing(
    bench: Callable[[Model], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Told()
    at = bench(model)

    def cancel_first(dialect: Plain, batch: Batch) -> Model:
        at.work.cancel(batch)
        return dialect.asked

    monkeypatch.setattr(Plain, "model", cancel_first)
    batch = at.ended(at.add("b", ["a", "b"]))
    assert (batch.state, model.asked) == (State.CANCELLED, [])
    assert at.lines(batch) == ['"a" cancelled', '"b" cancelled']


def test_batches_that_wait_hold_no_file_open(bench: Callable[[Model], Bench]) -> None:
    model = Held()
    at = bench(model)
    at.reached(at.add("first", ["a"]), State.RUNNING)
    opened = Path("/proc/self/fd")
    if not opened.is_dir():
        pytest.skip("needs /proc")
    before = len(list(opened.iterdir()))
    for number in range(20):
        at.queued(at.add(f"b{number}", ["a"]))
    assert len(list(opened.iterdir())) == before
    model.allow(21)


def test_a_line_that_cannot_even_be_given_up_ends_its_batch_and_no_other(
    bench: Callable[[Model], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_line(dialect: Plain, batch: Batch, line: bytes, why: Why) -> bytes:
        raise RuntimeError("a second bug")

    monkeypatch.setattr(Plain, "unanswered", no_line)
    at = bench(Told())
    sick, well = at.add("sick", ["a", "bug"]), at.add("well", ["a", "b"])
    assert (at.ended(sick).state, at.ended(well).state) == (State.FAILED, State.COMPLETED)


def test_an_end_that_cannot_be_written_leaves_no_bytes_and_is_tried_again(
    bench: Callable[[Model], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = bench(Told())
    move, refused = Store.move, threading.Event()

    def full_once(store: Store, batch: Batch, state: State, **changes: Any) -> Batch:
        if state is State.COMPLETED and not refused.is_set():
            refused.set()
            raise OSError(28, "No space left on device")
        return move(store, batch, state, **changes)

    monkeypatch.setattr(Store, "move", full_once)
    batch = at.add("b", ["a"])
    assert refused.wait(PATIENT_S)
    until = time.monotonic() + PATIENT_S
    while list((at.store.folder / "blobs").iterdir()) and time.monotonic() < until:
        time.sleep(0.002)
    assert list((at.store.folder / "blobs").iterdir()) == []
    while at.now(batch).state is not State.COMPLETED and time.monotonic() < until:
        at.clock.advance(RETRY_S + 1)
        time.sleep(0.002)
    assert at.lines(batch) == ['"a" answered']
