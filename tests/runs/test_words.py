"""The words of `nono.run`: which there are, and which of them prevail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nono
from nono.errors import InputError
from nono.runs.run import Run

ROWS = [{"text": "I loved it"}]


def planned(home: Path, **words: Any) -> Run:
    return nono.run(ROWS, model="openai/gpt-4o-mini", prompt="{{ text }}", home=home, api_key="k", **words)


def test_a_word_that_does_not_exist_is_refused_with_the_nearest_that_does(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'tempreature' is not a word") as refused:
        planned(tmp_path, tempreature=0.5)
    assert refused.value.hint == "did you mean temperature?"


def test_a_budget_in_the_settings_holds(tmp_path: Path) -> None:
    given = nono.Settings(max_cost_usd=5.0, max_attempts=7, reask=0)
    kept = planned(tmp_path, settings=given).spec.settings
    assert (kept.max_cost_usd, kept.max_attempts) == (5.0, 7)


def test_a_budget_by_its_own_name_takes_the_place_of_that_in_the_settings(tmp_path: Path) -> None:
    given = nono.Settings(max_cost_usd=5.0, max_attempts=7)
    kept = planned(tmp_path, settings=given, max_cost=1.0).spec.settings
    assert (kept.max_cost_usd, kept.max_attempts) == (1.0, 7)


def test_without_settings_a_row_has_three_attempts_and_no_budget(tmp_path: Path) -> None:
    kept = planned(tmp_path).spec.settings
    assert (kept.max_cost_usd, kept.max_attempts, kept.max_batches) == (None, 3, 50)
