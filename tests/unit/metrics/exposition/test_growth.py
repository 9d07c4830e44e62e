"""The estimate of series once the retention is full, compared with the exposition."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Snapshot, TrackedJob
from exporter.domain.usage import JobUsage, TaskUsage
from exporter.metrics.catalog import JOB_FAMILIES, TASK_FAMILIES
from exporter.metrics.exposition.family import Family
from exporter.metrics.exposition.growth import growth
from exporter.metrics.exposition.renderer import Renderer

T0 = 1_700_000_000.0
DAY_S = 86_400.0
EVERY_S = 864.0

figures = st.none() | st.floats(0, 1)
counts = st.none() | st.dictionaries(st.sampled_from(["a", "b", "other"]), st.integers(0, 9))
usages = st.none() | st.builds(
    JobUsage,
    cpu_ratio=figures,
    memory_ratio=figures,
    accelerator_ratio=figures,
    accelerator_min_ratio=figures,
    accelerator_memory_ratio=figures,
    accelerator_mean_ratio=figures,
    idle_s=figures,
    flat_s=figures,
    suspected_hang=st.none() | st.booleans(),
    disk_read_bytes_per_second=figures,
    network_received_bytes_per_second=figures,
    tasks=st.lists(
        st.builds(
            TaskUsage,
            task=st.sampled_from(["", "worker-0", "worker-1"]),
            cpu_ratio=figures,
            memory_ratio=figures,
            accelerator_ratio=figures,
            accelerator_memory_ratio=figures,
        ),
        max_size=3,
        unique_by=lambda task: task.task,
    ).map(tuple),
)
jobs = st.builds(
    Job,
    job_id=st.just("j"),
    api=st.sampled_from(Api),
    accelerator=st.none() | st.sampled_from(Accelerator),
    status=st.sampled_from(JobStatus),
    reason=st.sampled_from(["", "Running"]),
    submitted_at=figures,
    started_at=figures,
    ended_at=figures,
    run_duration_s=figures,
    spec_nodes=st.none() | st.integers(0, 4),
    reported_nodes=st.none() | st.integers(0, 4),
    spec_accelerators=st.none() | st.sampled_from([0.0, 8.0]),
    task_exit_codes=st.dictionaries(st.integers(0, 20).map(lambda n: f"worker-{n}"), st.integers(1, 255)),
    recoveries=counts,
    degraded_recoveries=counts,
    faults=counts,
    last_recovery_at=figures,
    crash_loop_runs=st.none() | st.integers(0, 3),
    quality=st.dictionaries(st.sampled_from(["f1", "recall", "odd"]), st.floats(0, 1)),
)


def rendered_series(jobs: Iterable[TrackedJob], families: Sequence[Family[TrackedJob]]) -> int:
    """Count the series of these jobs in the exposition."""
    tracked = {tracked.job.job_id: tracked for tracked in jobs}
    snapshot = Snapshot(taken_at=0.0, projects=(ProjectSnapshot(project="vision", jobs=tracked),))
    return Renderer(families, ()).render(snapshot).series["vision"]


def copies(tracked: TrackedJob, count: int) -> list[TrackedJob]:
    """Jobs like this one, submitted at regular intervals."""
    return [
        replace(tracked, job=replace(tracked.job, job_id=str(n), submitted_at=T0 + n * EVERY_S)) for n in range(count)
    ]


@given(jobs, usages, st.booleans(), st.booleans())
def test_the_estimate_is_exact_for_jobs_that_are_alike(
    job: Job, usage: JobUsage | None, per_task: bool, visible: bool
) -> None:
    """Ten of a hundred equal jobs are known: the estimate is the series the exposition gains with the other ninety.

    Active jobs do not accumulate, so for them it is 0.
    """
    families = (*JOB_FAMILIES, *TASK_FAMILIES) if per_task else JOB_FAMILIES
    kept = copies(TrackedJob(project="vision", job=job, usage=usage, shown=visible), 100)
    known = kept[:10]

    gained = rendered_series(kept, families) - rendered_series(known, families) if job.status.finished else 0
    assert growth(known, families=families, retention_s=100 * EVERY_S) == gained


def finished_job(number: int, *, every_s: float, **facts: Any) -> TrackedJob:
    """One of many jobs submitted at intervals. It has five series: info, status, submission, start and end."""
    at = T0 + number * every_s
    usual: dict[str, Any] = {"status": JobStatus.COMPLETED, "submitted_at": at, "ended_at": at + 1.0}
    return TrackedJob(project="vision", job=Job(job_id=f"{number}", api=Api.V2, **(usual | facts)))


@pytest.mark.parametrize(
    "known, expected",
    [
        pytest.param([finished_job(n, every_s=864.0) for n in range(50)], 100 * 5 - 50 * 5, id="half a day is known"),
        pytest.param([finished_job(n, every_s=864.0) for n in range(100)], 0, id="a whole day is known"),
        pytest.param([finished_job(0, every_s=1.0)], 0, id="one job has no rate"),
        pytest.param([], 0, id="no jobs"),
        pytest.param([finished_job(n, every_s=0.0) for n in range(5)], 0, id="all at the same time"),
        pytest.param(
            [finished_job(n, every_s=864.0, status=JobStatus.QUEUED, ended_at=None) for n in range(50)],
            0,
            id="none has ended",
        ),
    ],
)
def test_the_estimate_follows_from_the_submission_rate(known: list[TrackedJob], expected: int) -> None:
    """A hundred jobs a day are kept for a day; the estimate is the series of those that are not known yet."""
    assert growth(known, families=JOB_FAMILIES, retention_s=DAY_S) == pytest.approx(expected, abs=5)
