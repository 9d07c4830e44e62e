"""Accelerator seconds of a run, and lengths by bucket."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.accounting import QUEUE_BUCKETS_S, Distribution, accelerator_seconds
from exporter.domain.job import Api, Job

T0 = 1_700_000_000.0


def job(**facts: Any) -> Job:
    """A job on 4 nodes of 8 cards that has run for 1000 s."""
    usual: dict[str, Any] = {"started_at": T0, "run_duration_s": 1000.0, "spec_nodes": 4, "spec_accelerators": 32.0}
    return Job(job_id="j", api=Api.V2, **(usual | facts))


@pytest.mark.parametrize(
    "facts, expected",
    [
        pytest.param({}, 32_000.0, id="all of its nodes all the time"),
        pytest.param({"node_steps": ((T0, 4), (T0 + 100, 3))}, 4 * 8 * 100 + 3 * 8 * 900.0, id="lost a node"),
        pytest.param({"node_steps": ((T0, 3), (T0 + 100, 4))}, 3 * 8 * 100 + 4 * 8 * 900.0, id="gained a node"),
        pytest.param({"node_steps": ((T0 + 400, 4),)}, 32 * 600.0, id="nodes came later than the start"),
        pytest.param({"node_steps": ((T0, 4), (T0 + 400, 0), (T0 + 500, 4))}, 32 * 900.0, id="lost and back"),
        pytest.param({"node_steps": ((T0, 2), (T0 + 2000, 4))}, 16 * 1000.0, id="a step beyond the end"),
        pytest.param({"spec_accelerators": 0.0}, 0.0, id="no accelerators"),
        pytest.param({"run_duration_s": 0.0}, 0.0, id="no time"),
        pytest.param({"run_duration_s": 0.0, "spec_nodes": None, "node_steps": ((T0, 2),)}, 0.0, id="no time at all"),
        pytest.param({"spec_accelerators": None}, None, id="unknown number"),
        pytest.param({"run_duration_s": None}, None, id="unknown run time"),
        pytest.param({"spec_nodes": None, "node_steps": ((T0, 2),)}, None, id="unknown number of nodes"),
        pytest.param({"started_at": None, "node_steps": ((T0, 2),)}, None, id="steps without a start"),
    ],
)
def test_accelerators_over_a_run(facts: dict[str, Any], expected: float | None) -> None:
    """Accelerators by seconds, on the requested nodes or the reported ones; None where a part is unknown."""
    assert accelerator_seconds(job(**facts)) == expected


@given(
    steps=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 6)), max_size=5),
    cuts=st.lists(st.floats(0, 1000), max_size=4),
)
def test_the_parts_of_a_run_add_up(steps: list[tuple[int, int]], cuts: list[float]) -> None:
    """However a run is divided, its parts are never negative, and their sum is the whole."""
    elastic = job(node_steps=tuple(sorted({T0 + at: nodes for at, nodes in steps}.items())))
    ends = [0.0, *sorted(cuts), 1000.0]
    parts = [accelerator_seconds(elastic, since_s=begin, until_s=end) for begin, end in pairwise(ends)]

    assert all(part is not None and part >= 0 for part in parts)
    assert sum(part or 0.0 for part in parts) == pytest.approx(accelerator_seconds(elastic), abs=1e-4)


@pytest.mark.parametrize(
    "length_s, bucket",
    [
        pytest.param(0.0, 0, id="none"),
        pytest.param(30.0, 0, id="a bound belongs to its bucket"),
        pytest.param(30.001, 1, id="just above"),
        pytest.param(172_800.0, 12, id="two days"),
        pytest.param(172_801.0, 13, id="beyond"),
    ],
)
def test_a_length_is_counted_in_one_bucket(length_s: float, bucket: int) -> None:
    """Upper bounds are inclusive, as in `le`; lengths beyond the last have a bucket of their own."""
    distribution = Distribution.empty(QUEUE_BUCKETS_S).with_one(length_s)

    assert [at for at, count in enumerate(distribution.counts) if count] == [bucket]
    assert sum(distribution.counts) == 1
    assert distribution.sum_s == length_s


def test_lengths_in_the_same_bucket_add_up() -> None:
    """Bounds are inclusive; lengths beyond all bounds have a bucket of their own."""
    lengths = Distribution.empty((30.0, 60.0))
    for length_s in (10.0, 30.0, 30.5, 60.0, 61.0, 7_000.0, 20.0):
        lengths = lengths.with_one(length_s)

    assert lengths.counts == (3, 2, 2)
    assert lengths.sum_s == 7_211.5
