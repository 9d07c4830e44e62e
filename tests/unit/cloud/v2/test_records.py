"""Nodes over time, and the running and recovery records of a v2 job."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cloud.v2 import wire
from exporter.cloud.v2.nodes import steps
from exporter.cloud.v2.records import Runs, running
from exporter.domain.recovery import OTHER, POLICIES, RESULTS, SCENARIOS
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
    assert one_run(*(nested(scenario=word) for word in recovered)).faults == {
        "chip_fault": {"success": 2},
        "node_fault": {"success": 1},
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

    assert found.recoveries == {"proc_restart": 1, "job_reschedule": 1, OTHER: 1}
    assert found.degraded == {"npu_step_retry": 3}
    assert found.last_recovery_at == T0 + 120 + 30 + 7_200 + 30 + 10 + 30


def test_missing_records_are_unknown() -> None:
    """A listing without records: unknown. A job without records so far: zero."""
    assert running(None, now=None, note=Notes()) == Runs()
    assert running([], now=None, note=Notes()) == Runs(
        recoveries={}, degraded={}, crash_loop_runs=0, faults={}, recovery_times={}, task_faults={}
    )


def nested(
    policy: str = "npu_step_retry",
    result: str | None = "success",
    *,
    begin: int = T0 + 100,
    end: int | None = T0 + 110,
    scenario: str | None = "chip_fault",
    task: str = "worker-3",
) -> wire.RecoverRecord:
    """Build a recovery of ten seconds."""
    return wire.RecoverRecord(
        recover_start_at=begin,
        recover_end_at=end,
        recover=policy,
        fault_scenario=scenario,
        related_task=task,
        recover_result=result,
    )


def one_run(*recoveries: wire.RecoverRecord, **fields: Any) -> Runs:
    """Read a job whose only running record holds these recoveries."""
    record = wire.RunningRecord(start_at=T0, recover_records=list(recoveries), **fields)
    return running([record], now=float(T0 + 1000), note=Notes())


def test_faults_by_scenario() -> None:
    """Undocumented words are counted as other, and noted."""
    notes = Notes()
    words = ("chip_fault", "Chip_Fault", "gremlins", None)
    record = wire.RunningRecord(start_at=T0, recover_records=[nested(scenario=word) for word in words])

    assert running([record], now=None, note=notes).faults == {"chip_fault": {"success": 2}, OTHER: {"success": 1}}
    assert len(notes.noted) == 1


ENDED = {"end_at": T0 + 900, "end_recover": "job_reschedule"}


@pytest.mark.parametrize(
    "found, recoveries, times",
    [
        pytest.param(one_run(nested()), {"npu_step_retry": 1}, {"npu_step_retry": (10.0,)}, id="healed in place"),
        pytest.param(
            one_run(nested(), nested(begin=T0 + 200, end=T0 + 230)),
            {"npu_step_retry": 2},
            {"npu_step_retry": (10.0, 30.0)},
            id="twice",
        ),
        pytest.param(one_run(nested(result="recovering", end=0)), {}, {}, id="going on"),
        pytest.param(one_run(nested(result="failed")), {}, {}, id="failed"),
        pytest.param(one_run(nested(result=None)), {}, {}, id="no result"),
        pytest.param(
            one_run(nested("job_reschedule", begin=T0 + 900, end=T0 + 960), **ENDED),
            {"job_reschedule": 1},
            {"job_reschedule": (60.0,)},
            id="the end, in both places",
        ),
        pytest.param(
            one_run(nested("job_reschedule", "recovering", begin=T0 + 900, end=None), **ENDED),
            {"job_reschedule": 1},
            {},
            id="the end, being recovered",
        ),
        pytest.param(
            one_run(nested(), nested("job_reschedule", begin=T0 + 900, end=T0 + 960), **ENDED),
            {"npu_step_retry": 1, "job_reschedule": 1},
            {"npu_step_retry": (10.0,), "job_reschedule": (60.0,)},
            id="healed in place, later stopped",
        ),
        pytest.param(
            one_run(
                nested("proc_restart", "downgrade", begin=T0 + 900, end=T0 + 910),
                nested("job_reschedule", begin=T0 + 910, end=T0 + 960),
                **ENDED,
                end_recover_before_downgrade="proc_restart",
            ),
            {"job_reschedule": 1},
            {"job_reschedule": (50.0,)},
            id="downgraded",
        ),
        pytest.param(one_run(**ENDED), {"job_reschedule": 1}, {}, id="no nested record"),
        pytest.param(one_run(nested(begin=T0 + 9, end=T0 + 1)), {"npu_step_retry": 1}, {}, id="ends too early"),
    ],
)
def test_each_recovery_counts_once(
    found: Runs, recoveries: dict[str, int], times: dict[str, tuple[float, ...]]
) -> None:
    """A recovery that both `end_recover` and a nested record report is one; one in place is in the nested only."""
    assert (found.recoveries, found.recovery_times) == (recoveries, times)


@pytest.mark.parametrize(
    "written, result",
    [
        ("success", "success"),
        ("FAILED", "failed"),
        ("downgrade", "downgrade"),
        ("terminated", "terminated"),
        ("quotaExceeded", "quota_exceeded"),
        ("recovering", "recovering"),
        ("magic", OTHER),
        (None, OTHER),
        ("", OTHER),
    ],
)
def test_results(written: str | None, result: str) -> None:
    """One bounded word for each documented result; a fault with an end and no known result is other."""
    assert one_run(nested(result=written)).faults == {"chip_fault": {result: 1}}


def test_a_fault_without_result_and_end_is_being_recovered() -> None:
    """Nothing reports its end yet."""
    assert one_run(nested(result=None, end=0)).faults == {"chip_fault": {"recovering": 1}}


def test_faults_of_a_task() -> None:
    """The nested records name the task; the end of a run is counted once, from its nested record if there is one."""
    records = [
        wire.RunningRecord(
            start_at=T0, end_related_task="worker-3", end_recover="job_reschedule",
            recover_records=[nested(), nested("job_reschedule")],
        ),
        wire.RunningRecord(start_at=T0 + 500, end_related_task="worker-3", end_recover="job_reschedule"),
        wire.RunningRecord(start_at=T0 + 900, end_related_task="worker-0"),
    ]  # fmt: skip

    assert running(records, now=None, note=Notes()).task_faults == {"worker-3": 3, "worker-0": 1}


def test_a_recovery_in_place_is_the_last_recovery() -> None:
    """Its end is when the job resumed."""
    assert one_run(nested()).last_recovery_at == T0 + 110


moment = st.none() | st.integers(-10, 2**40) | st.text(max_size=3)


@given(
    st.lists(
        st.builds(
            wire.RunningRecord,
            start_at=moment,
            end_at=moment,
            end_recover=st.none() | st.sampled_from((*POLICIES, "", "odd")) | st.integers(),
            end_related_task=st.none() | st.text(max_size=3),
            recover_records=st.none()
            | st.lists(
                st.builds(
                    wire.RecoverRecord,
                    recover_start_at=moment,
                    recover_end_at=moment,
                    recover=st.none() | st.sampled_from((*POLICIES, "odd")),
                    fault_scenario=st.none() | st.sampled_from((*SCENARIOS, "odd")),
                    recover_result=st.none() | st.sampled_from((*RESULTS, "quotaExceeded", "odd")),
                    related_task=st.none() | st.integers() | st.text(max_size=3),
                ),
                max_size=4,
            ),
        ),
        max_size=6,
    ),
)
def test_any_records_give_valid_counts(records: list[wire.RunningRecord]) -> None:
    """Any input: words of a bounded vocabulary, and at most as many as there are records."""
    found = running(records, now=float(T0), note=Notes())
    inner = sum(len(record.recover_records or ()) for record in records)

    assert found.recoveries is not None
    assert sum(found.recoveries.values()) <= len(records) + inner
    assert set(found.recoveries) <= {*POLICIES, OTHER}
    assert found.crash_loop_runs is not None
    assert 0 <= found.crash_loop_runs <= len(records)
    assert set(found.faults or {}) <= {*SCENARIOS, OTHER}
    assert {result for results in (found.faults or {}).values() for result in results} <= set(RESULTS)
    assert all(lasted_s >= 0 for times in (found.recovery_times or {}).values() for lasted_s in times)
    assert sum(len(times) for times in (found.recovery_times or {}).values()) <= inner
