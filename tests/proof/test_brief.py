"""Some histories of every kind, each a test of its own: what mutation testing runs against each mutant (`make mutate`).

Every claim in here is made by `test_crashes`, `test_hard_cases` and `test_seeds`, over many more histories.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from lives import LONG, SHORT, Plan, begin_after, live
from test_crashes import WEATHER, cancel
from test_seeds import TEXTS, tell
from test_straggler_crashes import lived
from test_straggler_crashes import plan as late_plan  # noqa: F401 - a fixture
from world import LATE, WITH_EFFECT, WITHOUT_EFFECT, Fault, Weather, World

pytestmark = pytest.mark.skipif(os.environ.get("NONO_PROOF") != "brief", reason="told at length elsewhere")


@pytest.mark.parametrize("name", WEATHER)
def test_a_life_in_any_weather_ends_well(name: str, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(LONG)
    assert live(plan, begin_after(World(WEATHER[name]), plan)).wrong == []


def test_a_cancelled_life_ends_well(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(LONG)
    world = begin_after(World(Weather(running_s=300)), plan)
    assert live(plan, world, deed=cancel, cancelled=True).wrong == []


@pytest.mark.parametrize("kind", [*WITHOUT_EFFECT, *WITH_EFFECT, *LATE])
@pytest.mark.parametrize("call", [1, 2])
def test_a_fault_at_the_upload_or_the_create_does_no_harm(kind: str, call: int, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(SHORT)
    faults = (Fault(call, kind, 20.0 if kind in LATE else 0.0),)
    assert live(plan, begin_after(World(faults=faults), plan)).wrong == []


@pytest.mark.parametrize("name", ["fair", "narrow", "slow"])
@pytest.mark.parametrize("at", range(3, 120, 11))
def test_a_crash_here_and_there_does_no_harm(name: str, at: int, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(LONG)
    assert live(plan, begin_after(World(WEATHER[name], crash_at=frozenset({at})), plan), downtime_s=200).wrong == []


@pytest.mark.parametrize("at", range(5, 100, 19))
def test_a_crash_while_it_is_cancelled_does_no_harm(at: int, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(LONG)
    world = begin_after(World(Weather(running_s=300), crash_at=frozenset({at})), plan)
    assert live(plan, world, deed=cancel, cancelled=True).wrong == []


@pytest.mark.parametrize("seed", range(6))
def test_a_few_seeds_end_well(seed: int, plan_of: Callable[..., Plan]) -> None:
    assert tell(seed, plan_of(TEXTS, rows_per_part=2)).wrong == []


@pytest.mark.parametrize("at", [0, 25, 45, 65, 85])
def test_a_crash_while_the_last_rows_are_asked_does_no_harm(at: int, late_plan: Plan) -> None:  # noqa: F811
    assert lived(late_plan, crash_at=frozenset({at}))[1] == []
