"""Plans to copy, made once a process."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forge import Forge
from lives import Plan, folder, planned

# The auditor beside a real server is there.
sys.path.append(str(Path(__file__).parent.parent / "system"))


@pytest.fixture(scope="session")
def plan_of() -> Iterator[Callable[..., Plan]]:
    """Plans by their texts; copied, never lived themselves."""
    made: dict[object, Plan] = {}

    def find(texts: tuple[str, ...], **words: Any) -> Plan:
        key = (texts, *sorted(words.items()))
        if key not in made:
            made[key] = planned(folder(), texts, **words)
        return made[key]

    yield find
    for plan in made.values():
        shutil.rmtree(plan.home, ignore_errors=True)


@pytest.fixture(scope="session")
def warm_forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Everything is imported once for all tests of a process."""
    forge = Forge(tmp_path_factory.mktemp("forge"))
    yield forge
    forge.close()


@pytest.fixture
def forge(warm_forge: Forge, tmp_path: Path) -> Iterator[Forge]:
    """What a test leaves running ends with it."""
    warm_forge.folder = tmp_path
    yield warm_forge
    warm_forge.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In mutation testing (`make mutate`) the tests that are over soon come first: most mutants are noticed by one."""
    times = Path("mutmut-stats.json")
    if os.environ.get("NONO_PROOF") == "brief" and times.is_file():
        seconds: dict[str, float] = json.loads(times.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder in memory, where there is such a place."""
    path = folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)
