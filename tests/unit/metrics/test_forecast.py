"""The formula by which series are counted, held against what is rendered."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Snapshot, TrackedJob
from exporter.domain.usage import JobUsage, TaskUsage
from exporter.metrics.catalog import JOB_FAMILIES, TASK_FAMILIES
from exporter.metrics.exposition.renderer import Renderer
from exporter.metrics.forecast import growth, job_series

T0 = 1_700_000_000.0
DAY_S = 86_400.0

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


@given(jobs, usages, st.booleans())
def test_the_formula_is_what_is_rendered(job: Job, usage: JobUsage | None, per_task: bool) -> None:
    """Whatever a job is and however it was read: its series are as many as the formula says."""
    tracked = TrackedJob(project="vision", job=job, usage=usage)
    renderer = Renderer(JOB_FAMILIES, (), per_task_families=TASK_FAMILIES if per_task else ())

    rendered = renderer.render(
        Snapshot(taken_at=0.0, projects=(ProjectSnapshot(project="vision", jobs={"j": tracked}),))
    )

    assert rendered.failed == 0
    assert job_series(tracked, per_task=per_task) == rendered.series["vision"]


def job(number: int, *, every_s: float, **facts: Any) -> TrackedJob:
    """One of many jobs that come at intervals; 2 series of its own, and 3 for submission, start and end."""
    at = T0 + number * every_s
    usual: dict[str, Any] = {"status": JobStatus.COMPLETED, "submitted_at": at, "ended_at": at + 1.0}
    return TrackedJob(project="vision", job=Job(job_id=f"{number}", api=Api.V2, **(usual | facts)))


@pytest.mark.parametrize(
    "known, expected",
    [
        pytest.param([job(n, every_s=864.0) for n in range(50)], 100 * 5 - 50 * 5, id="half a day is known"),
        pytest.param([job(n, every_s=864.0) for n in range(100)], 0, id="all of it is"),
        pytest.param([job(0, every_s=1.0)], 0, id="one job has no rate"),
        pytest.param([], 0, id="nobody"),
        pytest.param([job(n, every_s=0.0) for n in range(5)], 0, id="all at once"),
        pytest.param(
            [job(n, every_s=864.0, status=JobStatus.QUEUED, ended_at=None) for n in range(50)], 0, id="none has ended"
        ),
    ],
)
def test_what_is_to_come_follows_from_how_jobs_come(known: list[TrackedJob], expected: int) -> None:
    """A hundred jobs a day, kept for a day, of which so many are known; each that ended has five series."""
    assert growth(known, per_task=False, retention_s=DAY_S) == pytest.approx(expected, abs=5)
