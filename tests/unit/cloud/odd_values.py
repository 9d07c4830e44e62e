"""JSON values that are no rows of any response."""

from typing import Any

from hypothesis import strategies as st

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
odd_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["status", "x", ""]), inner, max_size=2)
    ),
    max_leaves=4,
)
"""Any value; an object has no id."""

odd_rows = st.lists(st.tuples(st.integers(0, 5), odd_values), min_size=1, max_size=4)
"""Odd rows, and where to insert each."""


def among(rows: list[Any], odd: list[tuple[int, Any]]) -> list[Any]:
    """Insert odd rows."""
    mixed = list(rows)
    for at, value in odd:
        mixed.insert(at, value)
    return mixed
