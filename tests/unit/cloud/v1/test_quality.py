import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.v1.quality import quality
from exporter.cloud.v1.wire import NOTHING
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v1.fixtures import raw

TOTALS = {"recall": 0.9, "precision": "0.8", "accuracy": 1, "f1_score": 0.85, "id": 3, "top-1": 0.5}
LIST = {
    "metric": [{"metric_values": {"recall": 0.1}, "metric_meta": {"class_name": "dog", "class_id": 0}}],
    "total_metric": {"total_metric_meta": {}, "total_metric_values": TOTALS},
    "images_outputs": {"a": "b"},
}
EXPECTED = {"recall": 0.9, "precision": 0.8, "accuracy": 1.0, "f1": 0.85}


@pytest.mark.parametrize(
    "shape",
    [
        LIST,
        json.dumps(LIST),
        json.dumps(json.dumps(LIST)),
        LIST | {"total_metric": [LIST["total_metric"]]},
        LIST | {"total_metric": json.dumps(LIST["total_metric"])},
    ],
    ids=["object", "text", "text in text", "total as an array", "total as text"],
)
def test_totals_are_read_in_every_form(shape: object) -> None:
    """Trap 17: only the four totals are kept, f1_score under the name f1; the number of classes is unbounded."""
    notes = Notes()

    assert quality(raw(shape), note=notes) == EXPECTED
    assert notes.noted == []


@pytest.mark.parametrize(
    "shape",
    [None, "{}", {}, "", {"total_metric": None}, {"total_metric": []}, {"total_metric": {}}],
    ids=repr,
)
def test_jobs_without_totals_have_no_quality(shape: object) -> None:
    """Most jobs have no totals, in one of many forms; none of them is noted."""
    notes = Notes()

    assert quality(raw(shape), note=notes) == {}
    assert notes.noted == []


def test_a_missing_list_has_no_quality() -> None:
    """A record without the field has no quality."""
    assert quality(NOTHING, note=Notes()) == {}


def test_a_value_out_of_range_is_left_out_and_noted() -> None:
    """Percentages would be a hundred times too high, so they are left out; the rest is kept."""
    notes = Notes()
    values = {"recall": 90, "precision": -0.1, "accuracy": 0.5, "f1_score": "good"}

    assert quality(raw({"total_metric": {"total_metric_values": values}}), note=notes) == {"accuracy": 0.5}
    assert notes.fields == ["v1.model_metric_list"] * 3


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["total_metric", "total_metric_values", "recall", "f1", "f1_score"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(value=ANYTHING)
def test_any_json_gives_ratios(value: Any) -> None:
    """Any JSON gives measures between 0 and 1, or none."""
    assert all(0 <= measure <= 1 for measure in quality(raw(value), note=Notes()).values())
