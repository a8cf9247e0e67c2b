"""A thread ahead and a thread behind change nothing: order, errors and ends are those of one thread."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from nono.runs.pipeline import AHEAD, BEHIND, Behind, read_ahead


def _numbers(taken: list[int], stop: int) -> Iterator[int]:
    for number in range(stop):
        taken.append(number)
        yield number


def _workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("nono-")]


def test_items_come_in_their_order() -> None:
    assert list(read_ahead(iter(range(100)))) == list(range(100))


def test_little_is_read_before_it_is_asked_for() -> None:
    taken: list[int] = []
    items = read_ahead(_numbers(taken, 100))
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    items.close()  # type: ignore[attr-defined]  # a generator
    assert 5 <= len(taken) <= 5 + AHEAD + 1


def test_an_error_of_reading_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("line 2")

    items = read_ahead(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="line 2"):
        next(items)
    assert _workers() == []


def test_a_loop_that_is_left_leaves_no_thread() -> None:
    for _ in read_ahead(iter(range(100))):
        break
    behind = Behind()
    behind.do(int)
    behind.stop()
    assert _workers() == []


def test_things_are_done_in_their_order() -> None:
    done: list[int] = []
    behind = Behind()
    for number in range(50):
        behind.do(done.append, number)
    behind.finish()
    assert done == list(range(50))


def test_after_a_failure_nothing_more_is_done_and_it_is_raised() -> None:
    done: list[str] = []

    def fail() -> None:
        raise OSError("no space left on device")

    behind = Behind()
    behind.do(done.append, "before")
    behind.do(fail)
    behind.do(done.append, "after")
    with pytest.raises(OSError, match="no space left"):
        behind.finish()
    behind.stop()
    assert done == ["before"]


def test_few_things_wait_to_be_done() -> None:
    gate, given = threading.Event(), []
    behind = Behind()

    def give() -> None:
        for number in range(BEHIND + 5):
            behind.do(gate.wait)
            given.append(number)

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.03)
    assert len(given) <= BEHIND
    gate.set()
    giver.join()
    behind.finish()


PROGRAM = """
from nono.runs.pipeline import give_back_freed_memory, keep_freed_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4 // 1024

keep_freed_memory()
before = resident_mb()
blocks = [b"x" * (1 << 20) for _ in range(48)]  # below twice the sign: more is given back at once
del blocks
kept = resident_mb() - before
give_back_freed_memory()
print(kept, resident_mb() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc keeps memory")
def test_what_planning_has_kept_is_given_back() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    kept_mb, left_mb = map(int, said.split())
    assert kept_mb > 32 > 8 > left_mb
