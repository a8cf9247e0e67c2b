"""Arrow arrays of Python values are what `pyarrow.array` makes of them, and pandas is not imported for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nono.datasets.arrays import ARRAYS

KINDS: dict[str, tuple[Any, Any]] = {
    "text": (pa.string(), st.text(st.characters(exclude_categories=("Cs",)))),
    "int": (pa.int64(), st.integers(-(1 << 63), (1 << 63) - 1)),
    "float": (pa.float64(), st.floats(allow_nan=False)),
    "bool": (pa.bool_(), st.booleans()),
    "vector": (pa.list_(pa.float64()), st.lists(st.floats(allow_nan=False), max_size=3)),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_an_array_of_values_is_the_one_that_arrow_makes(kind: str, data: st.DataObject) -> None:
    of, value = KINDS[kind]
    values = data.draw(st.lists(st.none() | value, max_size=20))
    made = ARRAYS[kind](values)
    made.validate(full=True)
    assert made.equals(pa.array(values, of))


@pytest.mark.parametrize(
    ("kind", "values", "error"),
    [
        ("text", ["a", 1], TypeError),
        ("text", ["\ud800"], UnicodeEncodeError),
        ("int", [1, 2.5], TypeError),
        ("int", [1 << 63], OverflowError),
        ("float", [0.5, "1"], TypeError),
        ("bool", [True, 1], TypeError),
        ("vector", [[0.5], ["1"]], TypeError),
        ("vector", [0.5], TypeError),
    ],
)
def test_values_of_another_kind_are_refused(kind: str, values: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ARRAYS[kind](values)


def test_pandas_is_not_imported_for_it() -> None:
    program = (
        "import sys; from nono.datasets.arrays import ARRAYS; "
        "ARRAYS['text'](['a', None]), ARRAYS['bool']([True]), ARRAYS['vector']([[1.0]]); "
        "print('pandas' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == "False\n"
