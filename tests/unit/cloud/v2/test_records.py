"""Nodes over time, and the running and recovery records of a v2 job."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cloud.v2 import phases, wire
from exporter.cloud.v2.nodes import steps
from exporter.cloud.v2.records import POLICIES, SCENARIOS, Runs, faults, running
from tests.unit.cloud.recorded_unknowns import Notes

T0 = 1_763_600_000
ms = T0 * 1000


@pytest.mark.parametrize(
    "points, expected, noted",
    [
        pytest.param(None, (), False, id="none"),
        pytest.param([], (), False, id="empty"),
        pytest.param([[ms, 4], [ms + 60_000, 4]], ((T0, 4),), False, id="the last point is now"),
        pytest.param(
            [[ms, 4], [ms + 60_000, 4], [ms + 60_000, 3], [ms + 90_000, 3]],
            ((T0, 4), (T0 + 60, 3)),
            False,
            id="values repeat around a change",
        ),
        pytest.param([[ms, 4], [ms + 60_000, 3]], ((T0, 4), (T0 + 60, 3)), False, id="values do not repeat"),
        pytest.param([[str(ms), "4"]], ((T0, 4),), False, id="numbers as text"),
        pytest.param([[ms, 4], [ms - 5_000, 3], [ms + 1_000, 2]], ((T0, 4), (T0 + 1, 2)), True, id="back in time"),
        pytest.param([[ms, 4], [ms], "x", None, [ms + 1_000, -1], [0, 3]], ((T0, 4),), True, id="no points"),
    ],
)
def test_nodes_over_time(points: list[Any] | None, expected: tuple[Any, ...], noted: bool) -> None:
    """One step for each change; anything that is not a point of a step function is noted and left out."""
    notes = Notes()

    assert steps(points, note=notes) == expected
    assert bool(notes.noted) is noted


@given(st.lists(st.lists(st.none() | st.integers() | st.floats() | st.text(max_size=5), max_size=3), max_size=8))
def test_any_points_make_a_step_function(points: list[Any]) -> None:
    """Any input: times grow, no number is repeated or negative."""
    found = steps(points, note=Notes())

    assert [at for at, _ in found] == sorted({at for at, _ in found})
    assert all(nodes >= 0 for _, nodes in found)
    assert all(one != next_ for (_, one), (_, next_) in pairwise(found))


def runs(*lengths: tuple[float, str], open_for_s: float | None = None, tried: str = "") -> Runs:
    """Read runs of these lengths in seconds, each ended by a recovery, and optionally one that still runs."""
    records = []
    at = float(T0)
    for length_s, policy in lengths:
        records.append(
            wire.RunningRecord(
                start_at=at, end_at=at + length_s, end_recover=policy, end_recover_before_downgrade=tried
            )
        )
        at += length_s + 30
    if open_for_s is not None:
        records.append(wire.RunningRecord(start_at=at))
    return running(records, now=at + (open_for_s or 0.0), note=Notes())


SHORT = (120.0, "proc_restart")
LONG = (7_200.0, "job_reschedule")


@pytest.mark.parametrize(
    "found, loop",
    [
        pytest.param(runs(open_for_s=10), 0, id="first run"),
        pytest.param(runs(SHORT, open_for_s=10), 1, id="one short run"),
        pytest.param(runs(LONG, SHORT, SHORT, SHORT, open_for_s=10), 3, id="three in a row"),
        pytest.param(runs(SHORT, LONG, SHORT, open_for_s=10), 1, id="a long run in between"),
        pytest.param(runs(SHORT, SHORT, open_for_s=601), 0, id="the newest run lasts"),
        pytest.param(runs(SHORT, SHORT), 2, id="being recovered"),
        pytest.param(runs(SHORT, (100.0, "")), 1, id="ended for good"),
    ],
)
def test_a_crash_loop_is_consecutive_short_runs(found: Runs, loop: int) -> None:
    """Runs shorter than ten minutes are counted from the newest back; a longer one ends the loop."""
    assert found.crash_loop_runs == loop


RUNS = (
    wire.RunningRecord(start_at=T0, end_at=T0 + 7_200, end_recover="job_reschedule"),
    wire.RunningRecord(start_at=T0 + 7_300, end_at=T0 + 7_400, end_recover="proc_restart"),
    wire.RunningRecord(start_at=T0 + 7_500, end_at=T0 + 7_600, end_recover="proc_restart"),
    wire.RunningRecord(start_at=T0 + 7_700),
)


@given(records=st.permutations(RUNS), recovered=st.permutations(["chip_fault", "chip_fault", "node_fault"]))
def test_the_order_of_the_records_does_not_matter(records: list[wire.RunningRecord], recovered: list[str]) -> None:
    """Their order is not documented: the start of each run decides which one is the newest."""
    found = running(records, now=float(T0 + 7_710), note=Notes())

    assert found.recoveries == {"job_reschedule": 1, "proc_restart": 2}
    assert found.last_recovery_at == T0 + 7_700
    assert found.crash_loop_runs == 2
    assert faults([wire.RecoverRecord(fault_scenario=word) for word in recovered], note=Notes()) == {
        "chip_fault": 2,
        "node_fault": 1,
    }


def test_records_without_a_start_stay_in_their_order() -> None:
    """If any start is unknown the records are read as listed, and the unknown start is noted once."""
    notes = Notes()
    found = running([*RUNS[1:], wire.RunningRecord(start_at="x")], now=float(T0 + 8_000), note=notes)

    assert found.recoveries == {"proc_restart": 2}
    assert found.last_recovery_at is None
    assert len(notes.noted) == 1


def test_recoveries_by_policy_and_by_the_policy_tried_first() -> None:
    """Each is counted under the policy that worked, and a downgraded one also under the one that did not."""
    found = runs(SHORT, LONG, (10.0, "turn_it_off_and_on"), open_for_s=5, tried="npu_step_retry")

    assert found.recoveries == {"proc_restart": 1, "job_reschedule": 1, phases.OTHER: 1}
    assert found.degraded == {"npu_step_retry": 3}
    assert found.last_recovery_at == T0 + 120 + 30 + 7_200 + 30 + 10 + 30


def test_missing_records_are_unknown() -> None:
    """A listing without records: unknown. A job without records so far: zero."""
    assert running(None, now=None, note=Notes()) == Runs()
    assert running([], now=None, note=Notes()) == Runs(recoveries={}, degraded={}, crash_loop_runs=0)
    assert faults(None, note=Notes()) is None
    assert faults([], note=Notes()) == {}


def test_faults_by_scenario() -> None:
    """Undocumented words are counted as other, and noted."""
    notes = Notes()
    found = [wire.RecoverRecord(fault_scenario=word) for word in ("chip_fault", "Chip_Fault", "gremlins", None)]

    assert faults(found, note=notes) == {"chip_fault": 2, phases.OTHER: 1}
    assert len(notes.noted) == 1


@given(
    st.lists(
        st.builds(
            wire.RunningRecord,
            start_at=st.none() | st.integers(-10, 2**40) | st.text(max_size=3),
            end_at=st.none() | st.integers(-10, 2**40) | st.text(max_size=3),
            end_recover=st.none() | st.sampled_from((*POLICIES, "", "odd")) | st.integers(),
        ),
        max_size=6,
    ),
    st.lists(st.builds(wire.RecoverRecord, fault_scenario=st.none() | st.sampled_from((*SCENARIOS, "odd")))),
)
def test_any_records_give_valid_counts(
    records: list[wire.RunningRecord], recovered: list[wire.RecoverRecord]
) -> None:
    """Any input: words of a bounded vocabulary, and at most as many as there are records."""
    found = running(records, now=float(T0), note=Notes())

    assert found.recoveries is not None
    assert sum(found.recoveries.values()) <= len(records)
    assert set(found.recoveries) <= {*POLICIES, phases.OTHER}
    assert found.crash_loop_runs is not None
    assert 0 <= found.crash_loop_runs <= len(records)
    assert set(faults(recovered, note=Notes()) or {}) <= {*SCENARIOS, phases.OTHER}
