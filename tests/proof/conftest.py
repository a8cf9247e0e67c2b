"""Plans to copy, made once a process; and how many histories to tell: some in every test run, all with NONO_PROOF=full."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from lives import Plan, folder, planned

FULL = os.environ.get("NONO_PROOF") == "full"
# Two parts of two rows and one of one; a row that needs a second round, one that fails, a batch that expires half-way.
SHORT = ("ok 1", "flaky 2", "ok 3")
LONG = ("ok 1", "flaky 2", "ok 3", "bad 4", "ok 5", "expire 6", "ok 7")


@pytest.fixture(scope="session")
def plan_of() -> Iterator[Callable[..., Plan]]:
    """Plans by their texts; copied, never lived themselves."""
    made: dict[object, Plan] = {}

    def find(texts: tuple[str, ...], **words: int) -> Plan:
        key = (texts, *sorted(words.items()))
        if key not in made:
            made[key] = planned(folder(), texts, **words)
        return made[key]

    yield find
    for plan in made.values():
        shutil.rmtree(plan.home, ignore_errors=True)
