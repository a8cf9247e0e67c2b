"""What `make mutate` makes of the verdicts on mutants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCORE = Path(__file__).with_name("mutation_score.py")


def scored(verdicts: dict[str, int], pattern: str = "*") -> tuple[int, str]:
    """The exit code and the last line for so many mutants with each verdict."""
    numbers = iter(range(1, 1 + sum(verdicts.values())))
    lines = [
        f"    nono.runs.engine.x_f__mutmut_{next(numbers)}: {verdict}\n"
        for verdict, count in verdicts.items()
        for _ in range(count)
    ]
    done = subprocess.run(
        [sys.executable, SCORE, pattern], input="".join(lines), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()[-1]


def test_85_percent_noticed_are_enough() -> None:
    assert scored({"killed": 84, "timeout": 1, "survived": 15}) == (
        0,
        "85 of 100 mutants noticed: 85.0% (84 killed, 15 survived, 1 timeout)",
    )


def test_less_is_not() -> None:
    assert scored({"killed": 84, "survived": 16})[0] == 1


@pytest.mark.parametrize("verdict", ["no tests", "not checked", "suspicious", "segfault", "skipped"])
def test_a_mutant_that_no_test_judged_counts_against_them(verdict: str) -> None:
    assert scored({"killed": 1, verdict: 1}) == (1, f"1 of 2 mutants noticed: 50.0% (1 killed, 1 {verdict})")


def test_mutants_that_were_not_asked_for_do_not_count() -> None:
    assert scored({"killed": 3, "not checked": 7}, "*__mutmut_3") == (0, "1 of 1 mutants noticed: 100.0% (1 killed)")


def test_no_mutants_at_all_are_a_failure() -> None:
    assert scored({}) == (1, "0 of 0 mutants noticed: 0.0% (there are none)")
