"""Families of usage: the samples of a usage reading, and their absence without one."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.domain.usage import JobUsage, TaskUsage
from exporter.metrics.exposition.family import Family
from exporter.metrics.families import usage as families

Samples = list[tuple[dict[str, str], float]]

READING = JobUsage(
    cpu_ratio=0.5,
    memory_ratio=0.25,
    accelerator_ratio=0.75,
    accelerator_min_ratio=0.125,
    accelerator_memory_ratio=0.875,
    accelerator_mean_ratio=0.625,
    idle_s=0.0,
    flat_s=120.0,
    suspected_hang=False,
    disk_read_bytes_per_second=1000.0,
    disk_written_bytes_per_second=2000.0,
    network_received_bytes_per_second=3000.0,
    network_transmitted_bytes_per_second=4000.0,
    tasks=(
        TaskUsage(
            task="worker-10",
            cpu_ratio=0.1,
            memory_ratio=0.2,
            accelerator_ratio=0.3,
            accelerator_memory_ratio=0.4,
        ),
        TaskUsage(task="worker-2", cpu_ratio=0.5),
    ),
)
EMPTY = JobUsage(tasks=(TaskUsage(task="worker-0"),))
OF_USAGE = families.FAMILIES
CURRENT = tuple(family for family in OF_USAGE if family is not families.ACCELERATOR_UTILIZATION_MEAN)
OF_ACCELERATORS = tuple(
    family
    for family in (*OF_USAGE, *families.TASK_FAMILIES)
    if "accelerator" in family.name or family in (families.IDLE, families.FLAT, families.SUSPECTED_HANG)
)


def tracked(usage: JobUsage | None = READING, **facts: Any) -> TrackedJob:
    """A running GPU job with this usage."""
    usual: dict[str, Any] = {
        "job_id": "j1",
        "api": Api.V2,
        "status": JobStatus.RUNNING,
        "accelerator": Accelerator.GPU,
        "spec_accelerators": 8.0,
    }
    return TrackedJob(project="vision", job=Job(**(usual | facts)), usage=usage)


def samples_of(family: Family[TrackedJob], job: TrackedJob) -> Samples:
    """Samples of the family for the job."""
    assert family.samples is not None
    return [(dict(labels), value) for labels, value in family.samples(job)]


def every(families: tuple[Family[TrackedJob], ...]) -> pytest.MarkDecorator:
    """Parametrise a test over families."""
    return pytest.mark.parametrize("family", [pytest.param(family, id=family.name) for family in families])


@pytest.mark.parametrize(
    "family, expected",
    [
        pytest.param(families.CPU_UTILIZATION, [({}, 0.5)], id="cpu"),
        pytest.param(families.MEMORY_UTILIZATION, [({}, 0.25)], id="memory"),
        pytest.param(families.ACCELERATOR_UTILIZATION, [({"accelerator": "gpu"}, 0.75)], id="accelerator"),
        pytest.param(families.ACCELERATOR_UTILIZATION_MIN, [({"accelerator": "gpu"}, 0.125)], id="slowest task"),
        pytest.param(families.ACCELERATOR_MEMORY_UTILIZATION, [({"accelerator": "gpu"}, 0.875)], id="its memory"),
        pytest.param(families.ACCELERATOR_UTILIZATION_MEAN, [({"accelerator": "gpu"}, 0.625)], id="whole run"),
        pytest.param(families.DISK_READ, [({}, 1000.0)], id="disk read"),
        pytest.param(families.DISK_WRITTEN, [({}, 2000.0)], id="disk written"),
        pytest.param(families.NETWORK_RECEIVED, [({}, 3000.0)], id="network received"),
        pytest.param(families.NETWORK_TRANSMITTED, [({}, 4000.0)], id="network transmitted"),
        pytest.param(families.IDLE, [({}, 0.0)], id="idle for 0 seconds when busy"),
        pytest.param(families.FLAT, [({}, 120.0)], id="flat"),
        pytest.param(families.SUSPECTED_HANG, [({}, 0.0)], id="no hang"),
        pytest.param(
            families.TASK_CPU_UTILIZATION,
            [({"task": "worker-2"}, 0.5), ({"task": "worker-10"}, 0.1)],
            id="cpu by task, in natural order",
        ),
        pytest.param(families.TASK_MEMORY_UTILIZATION, [({"task": "worker-10"}, 0.2)], id="memory by task"),
        pytest.param(
            families.TASK_ACCELERATOR_UTILIZATION,
            [({"task": "worker-10", "accelerator": "gpu"}, 0.3)],
            id="accelerator by task",
        ),
        pytest.param(
            families.TASK_ACCELERATOR_MEMORY_UTILIZATION,
            [({"task": "worker-10", "accelerator": "gpu"}, 0.4)],
            id="accelerator memory by task",
        ),
    ],
)
def test_a_reading_gives_these_samples(family: Family[TrackedJob], expected: Samples) -> None:
    """Each value of a reading gives its sample; a task without the value gives none."""
    assert samples_of(family, tracked()) == expected


@every((*OF_USAGE, *families.TASK_FAMILIES))
@pytest.mark.parametrize("usage", [pytest.param(None, id="no reading"), pytest.param(EMPTY, id="empty reading")])
def test_without_a_value_there_is_no_sample(family: Family[TrackedJob], usage: JobUsage | None) -> None:
    """Without a reading, or without a valid value in it, a family gives no sample, not 0."""
    assert samples_of(family, tracked(usage)) == []


@every((*CURRENT, *families.TASK_FAMILIES))
@pytest.mark.parametrize(
    "status",
    [
        pytest.param(status, id=status.value)
        for status in JobStatus
        if status not in {JobStatus.RUNNING, JobStatus.SCALING, JobStatus.TERMINATING}
    ],
)
def test_current_usage_needs_held_nodes(family: Family[TrackedJob], status: JobStatus) -> None:
    """A job that is queued, has ended or is in an unknown status has no usage, even with an old reading."""
    assert samples_of(family, tracked(status=status)) == []


@pytest.mark.parametrize("status", [pytest.param(status, id=status.value) for status in JobStatus if status.finished])
def test_the_mean_over_the_run_is_kept_after_the_end(status: JobStatus) -> None:
    """A finished job keeps the mean over its run, the only value left of its usage."""
    job = tracked(READING.ended(), status=status)

    assert samples_of(families.ACCELERATOR_UTILIZATION_MEAN, job) == [({"accelerator": "gpu"}, 0.625)]


@pytest.mark.parametrize(
    "status, expected",
    [
        pytest.param(JobStatus.RUNNING, [({}, 1800.0)], id="running"),
        pytest.param(JobStatus.SCALING, [], id="scaling"),
        pytest.param(JobStatus.TERMINATING, [], id="terminating"),
    ],
)
def test_only_a_running_job_can_be_idle(status: JobStatus, expected: Samples) -> None:
    """A job that is being scaled or terminated has no idle time."""
    assert samples_of(families.IDLE, tracked(replace(READING, idle_s=1800.0), status=status)) == expected


@every(OF_ACCELERATORS)
@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"accelerator": Accelerator.CPU, "spec_accelerators": None}, id="kind is CPU"),
        pytest.param({"accelerator": None, "spec_accelerators": 0.0}, id="none requested"),
    ],
)
def test_a_cpu_job_has_no_accelerator_usage(family: Family[TrackedJob], facts: dict[str, Any]) -> None:
    """Trap 20: the accelerator series of a job without accelerators are padding with any values."""
    assert samples_of(family, tracked(**facts)) == []


def test_usage_of_a_masked_accelerator_has_kind_unknown() -> None:
    """When the kind of accelerator is unknown, the utilisation is exported."""
    job = tracked(accelerator=None)

    assert samples_of(families.ACCELERATOR_UTILIZATION, job) == [({"accelerator": "unknown"}, 0.75)]


@every(families.TASK_FAMILIES)
def test_v1_has_no_task_series(family: Family[TrackedJob]) -> None:
    """v1 has one series per job, as an unnamed task; as a task series it would repeat that of the job."""
    whole = TaskUsage(task="", cpu_ratio=0.5, memory_ratio=0.5, accelerator_ratio=0.5, accelerator_memory_ratio=0.5)

    assert samples_of(family, tracked(JobUsage(tasks=(whole,)), api=Api.V1)) == []
