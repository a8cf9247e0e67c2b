"""Seeded simulation: many shards, weather and faults by chance, the real engine. A seed tells its history again.

NONO_SEED=4711 python -m pytest -n 0 tests/proof/test_seeds.py     # one seed
NONO_SEEDS=500 python -m pytest -n auto tests/proof/test_seeds.py    # as many as that
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from lives import FULL, PROVIDERS, SETTINGS, History, Plan, live
from world import DOWNLOADS, LATE, WITH_EFFECT, WITHOUT_EFFECT, Call, Fault, Weather

SEEDS = int(os.environ.get("NONO_SEEDS") or (20_000 if FULL else 2_000))
# Told in so many tests, for as many processes.
BLOCKS = 1 if os.environ.get("NONO_SEED") else 16
# Every tenth call goes wrong, and a process dies at every fiftieth boundary.
FAULTS, CRASHES, MOST_CRASHES = 0.10, 0.02, 12
# How many shards a run has, and how many runs in two hundred have as many: the larger, the longer is their history.
SHARDS = {2: 100, 3: 50, 6: 40, 12: 9, 40: 1}
KINDS = ("ok", "ok", "ok", "flaky", "bad", "ok", "expire", "ok")

# Polls of a batch that is long at work are as rare as they are by default.
UNHURRIED = replace(SETTINGS, poll_cap_s=60.0)


def texts_of(shards: int) -> tuple[str, ...]:
    return tuple(f"{KINDS[number % 8]} {number}" for number in range(2 * shards))


TEXTS = texts_of(6)


def shards_of(seed: int) -> int:
    return random.Random(f"shards of {seed}").choices(tuple(SHARDS), tuple(SHARDS.values()))[0]


def tell(seed: int, plan: Plan) -> History:
    chance = random.Random(seed)
    # Where one of forty shards fits, all of them are refused again and again: true, and long.
    most = len(plan.texts) // 4
    weather = Weather(
        validating_s=chance.choice((0.5, 5, 60)),
        running_s=chance.choice((1, 30, 900)),
        # A listing that takes longer than the fence breaks the second of the two facts that the protocol rests on.
        list_lag_s=chance.choice((0, 10, 85)),
        file_lag_s=chance.choice((0, 0, 3)),
        named_late_s=chance.choice((0, 0, 45)),
        enqueued_requests=chance.choice((None, None, max(2, most), max(5, most))),
        empty_ids=chance.random() < 0.3,
        unknown_state=chance.random() < 0.2,
    )

    # A wait of a day is fifteen hundred turns of the engine's loop, in which nothing happens: not in every history.
    absurd = chance.random() < 0.1 and len(plan.texts) <= len(TEXTS)
    without_effect = tuple(kind for kind in WITHOUT_EFFECT if absurd or kind != "429absurd")

    def fault(number: int, call: Call) -> Fault | None:
        if chance.random() >= FAULTS:
            return None
        kinds = (*without_effect, *WITH_EFFECT, *LATE, *(DOWNLOADS if call.save_to else ()))
        return Fault(number, chance.choice(kinds), chance.choice((1.0, 10.0, 20.0, 60.0, 110.0, 600.0)))

    def crash(number: int, place: str) -> bool:
        return world.crashes < MOST_CRASHES and chance.random() < CRASHES

    world = plan.world(weather, fault_of=fault, crash_of=crash, most_calls=4000 + 200 * len(plan.texts))
    return live(plan, world, downtime_s=chance.choice((0.1, 10.0, 100.0, 86_400.0)), seed=seed)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_seed_loses_a_row_or_pays_for_one_twice(
    block: int, plan_of: Callable[..., Plan], figure: Callable[[str], None]
) -> None:
    one = os.environ.get("NONO_SEED")
    seeds = [int(one)] if one else list(range(block, SEEDS, BLOCKS))
    crashes = batches = 0
    for seed in seeds:
        plan = plan_of(texts_of(shards_of(seed)), provider=provider_of(seed), settings=UNHURRIED)
        try:
            history = tell(seed, plan)
        except BaseException as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}\nagain: {replay(seed)}")
        assert history.wrong == [], f"seed {seed}; again: {replay(seed)}"
        crashes += history.world.crashes
        batches += sum(entry["what"] == "started" for entry in history.world.log)
    figure(f"seeded simulation: 0 wrong in {len(seeds)} histories, {batches} batches, {crashes} crashes")


@pytest.mark.parametrize("seed", [1, 5, 8])
def test_a_seed_tells_its_history_again(seed: int, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(texts_of(shards_of(seed)), provider=provider_of(seed), settings=UNHURRIED)
    first, again = (tell(seed, plan).world for _ in range(2))
    assert first.crashes > 0
    assert first.places == again.places
    assert first.clock.true_ms == again.clock.true_ms


def provider_of(seed: int) -> str:
    return random.Random(f"provider of {seed}").choice(PROVIDERS)


def replay(seed: int) -> str:
    return f"NONO_SEED={seed} python -m pytest -n 0 tests/proof/test_seeds.py"
