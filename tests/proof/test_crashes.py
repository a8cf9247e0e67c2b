"""A process that dies at any boundary loses nothing and pays for nothing twice.

Boundaries are every commit (before it, after it), every HTTP call (before it leaves, after it took effect and before
its answer is known) and the middle of every download. The world is scripted, the engine is the real one.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from lives import FULL, LONG, PROVIDERS, SHORT, Plan, live
from world import LATE, WITH_EFFECT, WITHOUT_EFFECT, Fault, Weather

from nono.runs.run import Run

WEATHER = {
    "fair": Weather(),
    "crowded": Weather(enqueued_requests=2),
    "narrow": Weather(enqueued_requests=1),
    "slow": Weather(list_lag_s=85, file_lag_s=5, named_late_s=40, empty_ids=True, unknown_state=True),
}
# Gemini refuses a create where it has no room, so that nothing can be cut to what there is room for.
ALL_WEATHER = [
    (provider, name) for provider in PROVIDERS for name in WEATHER if (provider, name) != ("gemini", "narrow")
]
# A crash within the 90 seconds of the fence, one after them, one after a long weekend.
DOWNTIMES_S = (1.0, 200.0, 4 * 86_400.0)


def boundaries(plan: Plan, weather: Weather, deed: Callable[[Run], object] = Run.wait, **words: bool) -> int:
    """How many there are in an undisturbed history, which is right itself."""
    history = live(plan, plan.world(weather), deed=deed, **words)
    assert history.wrong == []
    return len(history.world.places)


@pytest.mark.parametrize(("provider", "name"), ALL_WEATHER)
def test_a_crash_at_any_boundary_loses_nothing_and_pays_nothing_twice(
    provider: str, name: str, plan_of: Callable[..., Plan], figure: Callable[[str], None]
) -> None:
    plan, weather = plan_of(LONG, provider=provider), WEATHER[name]
    told, wrong = 0, []
    # By default: every boundary in fair weather, and as many of the others as take a few seconds.
    count = boundaries(plan, weather)
    for at in range(0, count, 1 if FULL or name == "fair" else count // 40):
        downtimes = DOWNTIMES_S if FULL else DOWNTIMES_S[at % 3 : at % 3 + 1]
        for downtime_s in downtimes:
            history = live(plan, plan.world(weather, crash_at=frozenset({at})), downtime_s=downtime_s)
            told += 1
            wrong += [f"{at} ({history.world.places[at]}, {downtime_s:g} s): {what}" for what in history.wrong]
    figure(f"crash at every boundary, {provider}, {name} weather: {len(wrong)} wrong in {told} histories")
    assert wrong == []


def cancel(run: Run) -> None:
    """Work until two batches are there, then cancel; another life goes on with the cancellation."""
    if run.row.state == "running" and run.row.wish is None:
        run.wait(until_submitted=True)
    run.cancel()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_cancellation_that_crashes_at_any_boundary_keeps_all_that_was_answered(
    provider: str, plan_of: Callable[..., Plan], figure: Callable[[str], None]
) -> None:
    plan, weather = plan_of(LONG, provider=provider), Weather(running_s=300)
    told, wrong = 0, []
    for at in range(boundaries(plan, weather, cancel, cancelled=True)):
        world = plan.world(weather, crash_at=frozenset({at}))
        history = live(plan, world, deed=cancel, cancelled=True)
        told += 1
        wrong += [f"{at} ({history.world.places[at]}): {what}" for what in history.wrong]
    figure(f"crash at every boundary of a cancellation, {provider}: {len(wrong)} wrong in {told} histories")
    assert wrong == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_run_that_is_left_at_any_boundary_goes_on_from_there(
    provider: str, plan_of: Callable[..., Plan], figure: Callable[[str], None]
) -> None:
    """What SIGINT and SIGTERM do: the steps that are being taken end, and no more are begun."""
    plan = plan_of(SHORT, provider=provider)
    wrong = []
    count = boundaries(plan, Weather())
    for at in range(count):
        runs: list[Run] = []

        def leave(number: int, place: str, at: int = at, runs: list[Run] = runs) -> bool:
            if number == at:
                runs[0].leave()
            return False

        def deed(run: Run, runs: list[Run] = runs) -> None:
            runs.append(run)
            while not run.wait().over:
                pass

        history = live(plan, plan.world(crash_of=leave), deed=deed)
        wrong += [f"{at} ({history.world.places[at]}): {what}" for what in history.wrong]
    figure(f"left at every boundary, {provider}: {len(wrong)} wrong in {count} histories")
    assert wrong == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_two_crashes_and_one_network_fault_lose_nothing_and_pay_nothing_twice(
    provider: str, plan_of: Callable[..., Plan], figure: Callable[[str], None]
) -> None:
    """Every pair of boundaries, each with a fault at a call by chance; a sample of the pairs by default."""
    plan, weather = plan_of(SHORT, provider=provider), Weather(list_lag_s=60, validating_s=30)
    undisturbed = live(plan, plan.world(weather))
    count, calls = len(undisturbed.world.places), len(undisturbed.world.calls)
    faults = [
        Fault(call, kind, seconds)
        for call in range(calls)
        for kind in (*WITHOUT_EFFECT, *WITH_EFFECT, *LATE)
        for seconds in ((0.0,) if kind not in LATE else (5.0, 20.0, 40.0, 100.0, 500.0))
    ]
    pairs = list(itertools.combinations(range(count), 2))
    chance = random.Random(20)
    every = ((pair, chance.choice(faults)) for pair in pairs)
    chosen = every if FULL else ((chance.choice(pairs), chance.choice(faults)) for _ in range(100))
    told, wrong = 0, []
    for pair, fault in chosen:
        history = live(
            plan, plan.world(weather, faults=(fault,), crash_at=frozenset(pair)), downtime_s=told % 3 * 45 + 1
        )
        told += 1
        wrong += [f"{pair} {fault}: {what}" for what in history.wrong]
    figure(f"two crashes and a network fault, {provider}: {len(wrong)} wrong in {told} histories")
    assert wrong == []
