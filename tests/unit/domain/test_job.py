"""A job's status, queue time and resources."""

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.job import Api, Job, JobStatus

S = JobStatus

moments = st.none() | st.floats(min_value=0, max_value=4e9)
counts = st.none() | st.integers(min_value=0, max_value=10_000)
jobs = st.builds(
    Job,
    job_id=st.just("a"),
    api=st.sampled_from(Api),
    status=st.sampled_from(JobStatus),
    submitted_at=moments,
    started_at=moments,
    spec_nodes=counts,
    reported_nodes=counts,
    spec_accelerators=st.none() | st.floats(min_value=0, max_value=1e6),
)


def a_job(
    status: JobStatus,
    *,
    spec_nodes: int | None = 4,
    reported_nodes: int | None = None,
    spec_accelerators: float | None = 32.0,
    submitted_at: float | None = 100.0,
    started_at: float | None = 160.0,
) -> Job:
    return Job(
        job_id="a",
        api=Api.V2,
        status=status,
        spec_nodes=spec_nodes,
        reported_nodes=reported_nodes,
        spec_accelerators=spec_accelerators,
        submitted_at=submitted_at,
        started_at=started_at,
    )


@pytest.mark.parametrize(
    "status,active,holds,finished,failure",
    [
        pytest.param(S.INITIALIZING, True, False, False, False, id="initializing"),
        pytest.param(S.QUEUED, True, False, False, False, id="queued"),
        pytest.param(S.RUNNING, True, True, False, False, id="running"),
        pytest.param(S.SCALING, True, True, False, False, id="scaling"),
        pytest.param(S.TERMINATING, True, True, False, False, id="terminating"),
        pytest.param(S.COMPLETED, False, False, True, False, id="completed"),
        pytest.param(S.FAILED, False, False, True, True, id="failed"),
        pytest.param(S.TERMINATED, False, False, True, False, id="terminated"),
        pytest.param(S.LOST, False, False, True, True, id="lost"),
        pytest.param(S.UNKNOWN, False, False, False, False, id="unknown"),
    ],
)
def test_each_status_has_the_traits_of_the_reference(
    status: JobStatus, *, active: bool, holds: bool, finished: bool, failure: bool
) -> None:
    """The ten statuses have the traits of the table in reference §4.1."""
    assert (status.active, status.holds_nodes, status.finished, status.failure) == (active, holds, finished, failure)


def test_no_status_was_forgotten() -> None:
    """Every status but `unknown` is either active or finished, never both."""
    for status in JobStatus:
        assert (status.active + status.finished) == (0 if status is S.UNKNOWN else 1)


def test_only_finished_jobs_fail() -> None:
    """A failure is an end: no active status is one."""
    assert {status for status in JobStatus if status.failure} == {S.FAILED, S.LOST}


def test_the_queue_duration_is_from_submission_to_start() -> None:
    """Submitted at 100 s and started at 160 s, a job waited 60 s."""
    assert a_job(S.RUNNING).queue_duration_s == 60.0


@pytest.mark.parametrize(
    "submitted_at,started_at",
    [
        pytest.param(None, 160.0, id="submission-unknown"),
        pytest.param(100.0, None, id="still-waiting"),
        pytest.param(None, None, id="neither"),
    ],
)
def test_no_queue_duration_without_both_ends(submitted_at: float | None, started_at: float | None) -> None:
    """A wait that has not ended, or whose beginning is unknown, has no duration; 0 would be wrong."""
    job = a_job(S.QUEUED, submitted_at=submitted_at, started_at=started_at)

    assert job.queue_duration_s is None


def test_a_start_before_the_submission_is_no_negative_wait() -> None:
    """Trap 15: samples start before they are created; such a job waited 0 s, not -40."""
    assert a_job(S.RUNNING, submitted_at=200.0, started_at=160.0).queue_duration_s == 0.0


@pytest.mark.parametrize(
    "status", [pytest.param(s, id=s.value) for s in JobStatus if not s.holds_nodes and s is not S.UNKNOWN]
)
def test_waiting_and_ended_jobs_hold_nothing(status: JobStatus) -> None:
    """A job that waits or has ended holds 0 nodes and 0 accelerators, whatever the last report says."""
    job = a_job(status, reported_nodes=4)

    assert (job.status_nodes, job.status_accelerators) == (0, 0.0)


def test_a_running_job_holds_what_it_requested() -> None:
    """Without a report on its nodes a running job is assumed to hold the 4 nodes and 32 accelerators it requested."""
    job = a_job(S.RUNNING)

    assert (job.status_nodes, job.status_accelerators) == (4, 32.0)


def test_an_elastic_job_holds_what_is_reported() -> None:
    """Of 32 accelerators on 4 nodes, 3 nodes hold 32 * 3 / 4 = 24."""
    job = a_job(S.SCALING, reported_nodes=3)

    assert (job.status_nodes, job.status_accelerators) == (3, 24.0)


def test_a_restarting_job_may_hold_nothing() -> None:
    """A running job with 0 reported nodes is between two starts and holds no accelerators."""
    job = a_job(S.RUNNING, reported_nodes=0)

    assert (job.status_nodes, job.status_accelerators) == (0, 0.0)


def test_a_job_cancelled_in_the_queue_has_nothing_to_release() -> None:
    """A terminating job that never started holds 0 nodes, one that ran holds them until they are released."""
    assert a_job(S.TERMINATING, started_at=None).status_nodes == 0
    assert a_job(S.TERMINATING).status_nodes == 4


def test_an_unknown_status_holds_an_unknown_number() -> None:
    """What a job of unknown status holds is not known either."""
    job = a_job(S.UNKNOWN, reported_nodes=4)

    assert (job.status_nodes, job.status_accelerators) == (None, None)


@pytest.mark.parametrize(
    "spec_nodes,spec_accelerators",
    [
        pytest.param(4, None, id="cards-unknown"),
        pytest.param(None, 32.0, id="nodes-unknown"),
        pytest.param(0, 32.0, id="no-nodes-requested"),
    ],
)
def test_held_accelerators_need_both_numbers(spec_nodes: int | None, spec_accelerators: float | None) -> None:
    """Accelerators are divided by nodes, so without a request of both there is no number."""
    job = a_job(S.RUNNING, spec_nodes=spec_nodes, spec_accelerators=spec_accelerators, reported_nodes=2)

    assert job.status_accelerators is None


def test_a_cpu_job_holds_no_accelerators() -> None:
    """A job known to need no accelerators holds 0 of them, which is a number and not an absence."""
    assert a_job(S.RUNNING, spec_accelerators=0.0).status_accelerators == 0.0


def test_jobs_compare_by_value() -> None:
    """Two results for one unchanged job are equal, so that polling detects changes; jobs are immutable."""
    job = a_job(S.RUNNING)

    assert job == a_job(S.RUNNING)
    assert job != a_job(S.QUEUED)
    with pytest.raises(FrozenInstanceError):
        job.name = "b"  # type: ignore[misc]  # that is the point


@given(job=jobs)
def test_nothing_held_or_waited_is_ever_negative(job: Job) -> None:
    """Whatever the cloud reports, derived durations, nodes and accelerators are absent or at least 0."""
    for derived in (job.queue_duration_s, job.status_nodes, job.status_accelerators):
        assert derived is None or derived >= 0


@given(job=jobs)
def test_only_a_holding_job_holds(job: Job) -> None:
    """Nodes and accelerators above 0 exist only in a status that can hold nodes."""
    if job.status_nodes or job.status_accelerators:
        assert job.status.holds_nodes
