"""Equal keys are found among any number of keys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nono.runs import duplicates
from nono.runs.duplicates import KeyHashes


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([f"key {n}" for n in range(40)]), max_size=10)))
def test_exactly_the_keys_that_repeat_are_found(batches: list[list[str]]) -> None:
    keys = [key for batch in batches for key in batch]
    for run in (3, 1 << 18):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(duplicates, "RUN", run)
            hashes = KeyHashes()
            for batch in batches:
                hashes.add(batch)
            assert hashes.repeated() == {hash(key) for key in keys if keys.count(key) > 1}
