"""The status of a job over time, and what it held."""

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given

from exporter.backfill.timeline import StatusInterval, job_intervals, status_timeline
from exporter.domain.accounting import accelerator_seconds
from exporter.domain.job import Job, JobStatus
from tests.unit.backfill.past import T0, job, jobs, ran

S = JobStatus


def timeline(past: Job) -> list[tuple[float, float, JobStatus]]:
    """Intervals, in seconds after T0."""
    return [(stretch.begin - T0, stretch.end - T0, stretch.status) for stretch in status_timeline(past)]


@pytest.mark.parametrize(
    "past, expected",
    [
        pytest.param(
            ran(begin=0, wait=60, run=600),
            [(0, 60, S.QUEUED), (60, 660, S.RUNNING), (660, inf, S.COMPLETED)],
            id="ran",
        ),
        pytest.param(
            job(status=S.RUNNING, submitted_at=T0, started_at=T0 + 5),
            [(0, 5, S.QUEUED), (5, inf, S.RUNNING)],
            id="runs",
        ),
        pytest.param(job(status=S.QUEUED, submitted_at=T0), [(0, inf, S.QUEUED)], id="waits"),
        pytest.param(
            job(status=S.QUEUED, submitted_at=T0, started_at=T0 + 60, run_duration_s=600.0),
            [(0, 60, S.QUEUED), (60, 660, S.RUNNING), (660, inf, S.QUEUED)],
            id="was requeued after its run",
        ),
        pytest.param(
            job(
                status=S.QUEUED,
                submitted_at=T0,
                started_at=T0 + 60,
                run_duration_s=900.0,
                spec_nodes=1,
                node_steps=((T0 + 60, 1), (T0 + 400, 0)),
            ),
            [(0, 60, S.QUEUED), (60, 400, S.RUNNING), (400, inf, S.QUEUED)],
            id="was requeued when it lost its nodes",
        ),
        pytest.param(
            job(status=S.INITIALIZING, submitted_at=T0, started_at=T0, run_duration_s=90.0),
            [(0, 90, S.RUNNING), (90, inf, S.QUEUED)],
            id="is made ready again after a preemption",
        ),
        pytest.param(
            job(status=S.QUEUED, submitted_at=T0, started_at=T0 + 60), [], id="was requeued at an unknown time"
        ),
        pytest.param(
            job(status=S.TERMINATED, submitted_at=T0, ended_at=T0 + 9),
            [(0, 9, S.QUEUED), (9, inf, S.TERMINATED)],
            id="cancelled while it waited",
        ),
        pytest.param(
            job(status=S.FAILED, submitted_at=T0), [(0, inf, S.FAILED)], id="could not be created, no end timeline"
        ),
        pytest.param(
            ran(begin=0, wait=-50, run=100), [(0, 50, S.RUNNING), (50, inf, S.COMPLETED)], id="started before made"
        ),
        pytest.param(job(status=S.UNKNOWN, submitted_at=T0), [(0, inf, S.UNKNOWN)], id="unknown"),
        pytest.param(job(status=S.COMPLETED, submitted_at=T0, started_at=T0), [], id="a run without an end"),
        pytest.param(job(status=S.RUNNING, started_at=T0), [], id="no submission"),
    ],
)
def test_times_become_intervals(past: Job, expected: list[tuple[float, float, JobStatus]]) -> None:
    """A job is queued until its start and runs until its end; unknown times are not invented."""
    assert timeline(past) == expected


@given(many=jobs)
def test_a_timeline_has_no_gaps_and_no_end(many: list[Job]) -> None:
    """For any times, a job with a timeline has exactly one status at each time from its submission on."""
    for past in many:
        stretches = status_timeline(past)
        if stretches:
            assert stretches[0].begin == past.submitted_at
            assert stretches[-1].end == inf
            assert all(before.end == after.begin for before, after in pairwise(stretches))
            assert all(stretch.begin < stretch.end for stretch in stretches)


def test_a_job_holds_what_it_requested_while_it_runs() -> None:
    """8 GPUs from start to end, 0 before and after, and no end time before the end."""
    waiting, running, covering = job_intervals(ran(begin=0, wait=60, run=600, reason="Success"))

    assert [state.job.status_accelerators for state in (waiting, running, covering)] == [0.0, 8.0, 0.0]
    assert (waiting.job.started_at, running.job.started_at) == (None, T0 + 60)
    assert (running.job.ended_at, covering.job.ended_at) == (None, T0 + 660)
    assert (running.job.reason, covering.job.reason) == ("", "Success")


def test_a_requeued_job_holds_nothing_while_it_waits_again() -> None:
    """It holds its accelerators during its run only, keeps its start time, and has not ended."""
    requeued = job(status=S.QUEUED, submitted_at=T0, started_at=T0 + 60, run_duration_s=600.0, spec_nodes=1)
    waiting, running, again = job_intervals(requeued)

    assert [state.job.status_accelerators for state in (waiting, running, again)] == [0.0, 8.0, 0.0]
    assert (waiting.job.started_at, again.job.started_at) == (None, T0 + 60)
    assert again.job.ended_at is None


def test_current_nodes_do_not_apply_to_the_past() -> None:
    """A finished job reports 0 nodes now; while it ran it held its 8 GPUs."""
    past = ran(begin=0, run=600, spec_nodes=1, reported_nodes=0)

    assert [state.job.status_accelerators for state in job_intervals(past)] == [8.0, 0.0]
    assert status_timeline(past)[0] == StatusInterval(T0, T0 + 600, JobStatus.RUNNING)


def test_nodes_over_time_are_held_over_time() -> None:
    """2 nodes of 8, one lost for the second half of the run: 16, then 8; the accelerator seconds are equal."""
    past = ran(
        begin=0,
        run=600,
        run_duration_s=600.0,
        spec_nodes=2,
        spec_accelerators=16.0,
        node_steps=((T0, 2), (T0 + 300, 1)),
        reported_nodes=0,
    )
    intervals = list(job_intervals(past))

    assert [(state.begin - T0, state.job.status_accelerators) for state in intervals] == [
        (0, 16.0),
        (300, 8.0),
        (600, 0.0),
    ]
    held_s = sum((state.end - state.begin) * (state.job.status_accelerators or 0.0) for state in intervals[:-1])
    assert held_s == accelerator_seconds(past)
