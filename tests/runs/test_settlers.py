"""Worker processes settle as this process would, and whatever becomes of them, the part is settled."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from engine_tools import EAGER, Beside, answers, texts
from test_settle import bench, failed, ok

from nono.runs.cost import Price
from nono.runs.events import Event, Happened
from nono.runs.held import Held
from nono.runs.ledger import RunState
from nono.runs.results import Results
from nono.runs.settlers import Settlers
from nono.runs.workers import WorkerFailed, Workers
from nono.server.app import LocalServer
from nono.server.models.simulated import SimulatedModel
from patience import PATIENT_S

PRICE = Price("m-1", 1.0, 0.5, 2.0, "test", date(2026, 11, 23))


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.end()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- workers ---


def test_a_call_is_done_by_another_process(workers: Workers) -> None:
    assert workers.call(os.getpid) != os.getpid()


def test_a_worker_that_is_free_is_called_before_another_one_is_started(workers: Workers) -> None:
    assert workers.call(os.getpid) == workers.call(os.getpid)


def test_calls_at_the_same_time_have_a_process_each(workers: Workers, tmp_path: Path) -> None:
    pids: list[int] = []
    # Each of the two waits until the other one is there, too.
    threads = [threading.Thread(target=lambda no=no: pids.append(workers.call(meet, tmp_path, no))) for no in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 2


def meet(folder: Path, no: int) -> int:
    (folder / str(no)).touch()
    while not (folder / str(1 - no)).exists():
        time.sleep(0.01)
    return os.getpid()


def test_what_a_call_raises_is_told_and_the_next_one_works(workers: Workers) -> None:
    with pytest.raises(WorkerFailed, match="ValueError: invalid literal"):
        workers.call(int, "x")
    assert workers.call(int, "7") == 7


def test_a_worker_that_dies_is_told_and_the_next_call_has_a_new_one(workers: Workers) -> None:
    with pytest.raises(WorkerFailed):
        workers.call(os._exit, 3)
    assert workers.call(int, "7") == 7


def test_what_cannot_be_sent_is_told(workers: Workers) -> None:
    with pytest.raises(WorkerFailed, match="pickle"):
        workers.call(print, lambda: 0)


def test_what_a_call_prints_is_no_answer(workers: Workers) -> None:
    workers.call(print, "x" * 10_000)
    assert workers.call(int, "7") == 7


def test_a_worker_is_not_interrupted_by_ctrl_c(workers: Workers) -> None:
    pid = workers.call(os.getpid)
    os.kill(pid, signal.SIGINT)
    assert workers.call(os.getpid) == pid


def test_ended_workers_are_gone(workers: Workers) -> None:
    pid = workers.call(os.getpid)
    workers.end()
    assert not alive(pid)


def test_a_worker_whose_answer_nobody_reads_any_more_ends_without_a_word() -> None:
    serving = "from nono.runs.workers import serve; serve()"
    with subprocess.Popen(
        [sys.executable, "-c", serving], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None and worker.stderr is not None
        worker.stdout.close()
        worker.stdin.write(pickle.dumps((len, ([],), {})))
        worker.stdin.close()
        assert worker.stderr.read() == b""
        assert worker.wait(timeout=PATIENT_S) == 0


SCRIPT = """
import os
from nono.runs.workers import Workers
workers = Workers(1)
print(workers.call(os.getpid), flush=True)
input()
"""


def test_a_script_without_a_main_guard_has_workers_and_they_end_with_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + PATIENT_S
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


# --- settling with them ---


def settled(processes: int, price: Price | None = None) -> tuple[Any, list[dict[str, Any]]]:
    """What settling two parts of a made-up data set gives: summaries and rows."""
    with bench(["a", "b", "c", "d"], rows_per_part=2) as b:
        settlers = Settlers("settles", b.folder, processes)
        try:
            summaries = [
                settlers.settle(
                    part,
                    [b.answers([ok(f"r-{part.first_row}"), failed(f"r-{part.first_row + 1}")], requests=None)],
                    provider=b.provider,
                    task=b.task,
                    columns=b.plan.columns,
                    id_column=b.plan.id_column,
                    rows=b.folder / "rows",
                    results=b.folder / "results",
                    price=price,
                )
                for part in b.plan.parts
            ]
        finally:
            settlers.end()
        assert list(b.folder.glob("settling-*")) == []
        rows = list(Results([summary.path for summary in summaries]))
        return [(summary.path.name, summary.outcomes, summary.errors, summary.usage) for summary in summaries], rows


def test_a_worker_settles_as_this_process_would() -> None:
    assert settled(processes=1) == settled(processes=0)


def test_what_a_worker_cannot_do_is_done_here() -> None:
    unsendable: Any = replace(PRICE, source=lambda: "nobody can send this")
    assert settled(1, unsendable) == settled(0, unsendable)


def test_what_a_dead_runs_worker_was_writing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "settling-dead").mkdir()
    (tmp_path / "settling-dead" / "000000.parquet.17.tmp").write_bytes(b"half")
    Settlers("settles", tmp_path, 0).end()
    assert list(tmp_path.iterdir()) == []


def test_a_run_has_its_parts_settled_by_workers(tmp_path: Path) -> None:
    with LocalServer(SimulatedModel(), data=tmp_path / "server") as server:
        run = Beside(tmp_path / "home", server).run(texts(6), rows_per_part=2, settings=replace(EAGER, settlers=2))
        folders: list[int] = []

        def look(event: Event) -> None:
            if event.what is Happened.SETTLED:
                folders.append(len(list(run.folder.path.glob("settling-*"))))

        run.subscribe(look)
        assert run.wait(timeout_s=PATIENT_S).state is RunState.FINISHED
        assert answers(run) == [f"row {number}" for number in range(6)]
        assert folders == [1, 1, 1]
        assert list(run.folder.path.glob("settling-*")) == []


# --- one at a time for each part ---


def test_who_wants_a_part_that_is_held_waits_and_nobody_else_does() -> None:
    held, entered = Held(), threading.Event()

    def enter() -> None:
        with held.hold([2, 3]):
            entered.set()

    waiting = threading.Thread(target=enter)
    with held.hold([1, 2]):
        waiting.start()
        with held.hold([4]):
            assert not entered.is_set()
    waiting.join(PATIENT_S)
    assert entered.is_set()
