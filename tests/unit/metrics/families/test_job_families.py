"""Families of one job: the samples for known facts, and their absence for unknown ones."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.job import REASONS, Accelerator, Api, Job, JobStatus
from exporter.domain.recovery import POLICIES
from exporter.domain.snapshot import TrackedJob
from exporter.domain.usage import JobUsage, TaskUsage
from exporter.metrics.catalog import JOB_FAMILIES, TASK_FAMILIES
from exporter.metrics.exposition.family import Family
from exporter.metrics.families import job as families

RUNNING: dict[str, Any] = {
    "status": JobStatus.RUNNING,
    "spec_nodes": 4,
    "spec_accelerators": 32.0,
    "accelerator": Accelerator.NPU,
}


def samples_of(family: Family[TrackedJob], **facts: Any) -> list[tuple[dict[str, str], float]]:
    """Samples of the family for a job with these facts."""
    assert family.samples is not None
    tracked = TrackedJob(project="vision", job=Job(**({"job_id": "j1", "api": Api.V2} | facts)))
    return [(dict(labels), value) for labels, value in family.samples(tracked)]


@pytest.mark.parametrize(
    "family, facts, expected",
    [
        pytest.param(families.STATUS, {"status": JobStatus.QUEUED}, [({"status": "queued"}, 1.0)], id="status"),
        pytest.param(families.STATUS, {}, [({"status": "unknown"}, 1.0)], id="status unknown"),
        pytest.param(
            families.STATUS_REASON, {"reason": "SUBMIT_FAILED"}, [({"reason": "SUBMIT_FAILED"}, 1.0)], id="reason"
        ),
        pytest.param(families.STATUS_REASON, {}, [], id="no reason"),
        pytest.param(families.SUBMITTED, {"submitted_at": 1700.5}, [({}, 1700.5)], id="submitted"),
        pytest.param(families.SUBMITTED, {}, [], id="submission unknown"),
        pytest.param(families.START, {"started_at": 1760.0}, [({}, 1760.0)], id="start"),
        pytest.param(families.START, {"submitted_at": 1700.0}, [], id="not started"),
        pytest.param(families.END, {"ended_at": 1960.0}, [({}, 1960.0)], id="end"),
        pytest.param(families.END, {"started_at": 1760.0}, [], id="not ended"),
        pytest.param(
            families.QUEUE_DURATION,
            {"submitted_at": 1700.0, "started_at": 1760.0},
            [({}, 60.0)],  # 1760 - 1700
            id="queued for a minute",
        ),
        pytest.param(families.QUEUE_DURATION, {"submitted_at": 1700.0}, [], id="still queued"),
        pytest.param(families.QUEUE_DURATION, {"started_at": 1700.0}, [], id="submission unknown, started"),
        pytest.param(families.RUN_DURATION, {"run_duration_s": 53.0}, [({}, 53.0)], id="run duration"),
        pytest.param(families.RUN_DURATION, {"run_duration_s": 0.0}, [({}, 0.0)], id="run duration 0"),
        pytest.param(families.RUN_DURATION, {}, [], id="run duration unknown"),
        pytest.param(families.SPEC_NODES, {"spec_nodes": 4}, [({}, 4.0)], id="requested nodes"),
        pytest.param(families.SPEC_NODES, {}, [], id="requested nodes unknown"),
        pytest.param(families.STATUS_NODES, RUNNING, [({}, 4.0)], id="held nodes from the status"),
        pytest.param(
            families.STATUS_NODES, RUNNING | {"reported_nodes": 3}, [({}, 3.0)], id="held nodes as reported"
        ),
        pytest.param(
            families.STATUS_NODES, RUNNING | {"status": JobStatus.QUEUED}, [({}, 0.0)], id="a queued job holds none"
        ),
        pytest.param(
            families.STATUS_NODES, RUNNING | {"status": JobStatus.UNKNOWN}, [], id="nodes of an unknown status"
        ),
        pytest.param(families.SPEC_ACCELERATORS, RUNNING, [({"accelerator": "npu"}, 32.0)], id="requested NPUs"),
        pytest.param(
            families.SPEC_ACCELERATORS,
            {"spec_accelerators": 0.5, "accelerator": Accelerator.GPU},
            [({"accelerator": "gpu"}, 0.5)],
            id="half a GPU",
        ),
        pytest.param(
            families.SPEC_ACCELERATORS, {"accelerator": Accelerator.GPU}, [], id="number of accelerators unknown"
        ),
        pytest.param(
            families.SPEC_ACCELERATORS,
            {"spec_accelerators": 8.0},
            [({"accelerator": "unknown"}, 8.0)],
            id="accelerators of a masked kind",
        ),
        pytest.param(
            families.SPEC_ACCELERATORS,
            {"spec_accelerators": 0.0, "accelerator": Accelerator.CPU},
            [],
            id="CPU job requests none",
        ),
        pytest.param(families.SPEC_ACCELERATORS, {"spec_accelerators": 0.0}, [], id="none requested, kind unknown"),
        pytest.param(
            families.STATUS_ACCELERATORS,
            RUNNING | {"reported_nodes": 3},
            [({"accelerator": "npu"}, 24.0)],  # 32 * 3 / 4
            id="NPUs held by a degraded job",
        ),
        pytest.param(
            families.STATUS_ACCELERATORS,
            RUNNING | {"status": JobStatus.COMPLETED},
            [({"accelerator": "npu"}, 0.0)],
            id="a finished job holds none",
        ),
        pytest.param(
            families.STATUS_ACCELERATORS,
            RUNNING | {"accelerator": Accelerator.CPU, "spec_accelerators": 0.0},
            [],
            id="CPU job has no series",
        ),
        pytest.param(
            families.STATUS_ACCELERATORS, RUNNING | {"spec_accelerators": None}, [], id="held accelerators unknown"
        ),
        pytest.param(
            families.QUALITY,
            {"quality": {"f1": 0.75, "precision": 1.0}},
            [({"measure": "precision"}, 1.0), ({"measure": "f1"}, 0.75)],
            id="quality in the declared order",
        ),
        pytest.param(families.QUALITY, {"quality": {"top-1": 0.9}}, [], id="a measure that is not a ratio"),
        pytest.param(families.QUALITY, {}, [], id="no quality"),
        pytest.param(
            families.RECOVERIES,
            {"recoveries": {"proc_restart": 1, "pod_reschedule": 2}},
            [({"policy": "pod_reschedule"}, 2.0), ({"policy": "proc_restart"}, 1.0)],
            id="recoveries by policy",
        ),
        pytest.param(families.RECOVERIES, {"recoveries": {}}, [], id="never recovered"),
        pytest.param(families.RECOVERIES, {"recoveries": None}, [], id="no records of recoveries"),
        pytest.param(
            families.TASK_EXIT_CODE,
            {"task_exit_codes": {"worker-10": 1, "worker-2": 137}},
            [({"task": "worker-2"}, 137.0), ({"task": "worker-10"}, 1.0)],
            id="exit codes in natural order",
        ),
        pytest.param(families.TASK_EXIT_CODE, {}, [], id="no task failed"),
    ],
)
def test_a_job_gives_these_samples(
    family: Family[TrackedJob], facts: dict[str, Any], expected: list[tuple[dict[str, str], float]]
) -> None:
    """Each known fact gives its sample, and an unknown one gives none."""
    assert samples_of(family, **facts) == expected


def test_the_info_has_every_static_fact() -> None:
    """The info has all static facts as labels, in the declared order, and the value 1."""
    [(labels, value)] = samples_of(
        families.INFO,
        api=Api.V1,
        name="resnet",
        version="V0001",
        user="invented",
        workspace_id="0",
        pool_id="pool9928813f",
        flavor="modelarts.p1.2xlarge",
        accelerator=Accelerator.GPU,
        accelerator_model="GP-Vnt1",
        engine="PyTorch-1.8",
        parent_job_id="1042",
        kind="job",
        runtime_type="debug",
        preemptible=True,
    )

    assert value == 1.0
    assert list(labels.items()) == [
        ("job_name", "resnet"),
        ("version", "V0001"),
        ("parent_job_id", "1042"),
        ("user", "invented"),
        ("workspace_id", "0"),
        ("pool_id", "pool9928813f"),
        ("flavor", "modelarts.p1.2xlarge"),
        ("accelerator", "gpu"),
        ("accelerator_model", "GP-Vnt1"),
        ("engine", "PyTorch-1.8"),
        ("api", "v1"),
        ("kind", "job"),
        ("runtime_type", "debug"),
        ("preemptible", "true"),
    ]


def test_unknown_labels_of_the_info_are_empty() -> None:
    """A job without known facts has an info with empty labels; an unknown kind of accelerator is named so."""
    [(labels, _)] = samples_of(families.INFO)

    assert {name for name, value in labels.items() if value} == {"api", "accelerator"}
    assert labels["accelerator"] == "unknown"


def test_exit_codes_are_limited_to_eight_tasks() -> None:
    """Of a hundred failed tasks, the eight with the lowest numbers have a series: 0 to 7."""
    samples = samples_of(families.TASK_EXIT_CODE, task_exit_codes={f"worker-{n}": n for n in reversed(range(100))})

    assert [labels["task"] for labels, _ in samples] == [f"worker-{n}" for n in range(8)]
    assert [value for _, value in samples] == [0, 1, 2, 3, 4, 5, 6, 7]


NAMES = st.text(max_size=8)
RATIOS = st.none() | st.floats(min_value=0, max_value=1)
AMOUNTS = st.none() | st.floats(min_value=0, max_value=1e12)
COUNTS = st.none() | st.integers(min_value=0, max_value=4096)
USAGE = {
    "cpu_ratio": RATIOS,
    "memory_ratio": RATIOS,
    "accelerator_ratio": RATIOS,
    "accelerator_memory_ratio": RATIOS,
    "accelerator_mean_ratio": RATIOS,
    "idle_s": AMOUNTS,
    "disk_read_bytes_per_second": AMOUNTS,
    "disk_written_bytes_per_second": AMOUNTS,
    "network_received_bytes_per_second": AMOUNTS,
    "network_transmitted_bytes_per_second": AMOUNTS,
}
TASKS = st.builds(TaskUsage, task=NAMES, **USAGE)
JOBS = st.builds(
    Job,
    job_id=NAMES,
    api=st.sampled_from(Api),
    name=NAMES,
    user=NAMES,
    pool_id=NAMES,
    accelerator=st.none() | st.sampled_from(Accelerator),
    status=st.sampled_from(JobStatus),
    reason=st.sampled_from(("", *REASONS)),
    submitted_at=AMOUNTS,
    started_at=AMOUNTS,
    ended_at=AMOUNTS,
    run_duration_s=AMOUNTS,
    spec_nodes=COUNTS,
    reported_nodes=COUNTS,
    spec_accelerators=AMOUNTS,
    task_exit_codes=st.dictionaries(NAMES, st.integers(min_value=-1, max_value=255), max_size=12),
    recoveries=st.none() | st.dictionaries(st.sampled_from(POLICIES), st.integers(min_value=0, max_value=9)),
    quality=st.dictionaries(st.sampled_from([*families.MEASURES, "top-1"]), st.floats(min_value=0, max_value=1)),
)
TRACKED = st.builds(
    TrackedJob,
    project=NAMES,
    job=JOBS,
    usage=st.none()
    | st.builds(
        JobUsage,
        accelerator_min_ratio=RATIOS,
        tasks=st.lists(TASKS, max_size=3, unique_by=lambda task: task.task).map(tuple),
        **USAGE,
    ),
)


@settings(max_examples=60)
@given(TRACKED)
def test_samples_of_any_job_match_the_declarations(tracked: TrackedJob) -> None:
    """For any job: declared labels in order, declared label values, finite values, ratios in 0-1, no repeats."""
    for family in (*JOB_FAMILIES, *TASK_FAMILIES):
        assert family.samples is not None
        samples = list(family.samples(tracked))
        for labels, value in samples:
            assert list(labels) == [label.name for label in family.labels]
            for label in family.labels:
                assert not label.values or labels[label.name] in (*label.values, "")
            assert isinstance(value, float)
            assert math.isfinite(value)
            assert family.unit != "ratio" or 0 <= value <= 1
            assert value >= 0 or family is families.TASK_EXIT_CODE
        assert len({tuple(labels.items()) for labels, _ in samples}) == len(samples)


@settings(max_examples=30)
@given(TRACKED)
def test_a_family_is_pure(tracked: TrackedJob) -> None:
    """A family gives the same samples for the same job each time, so that rendered text can be kept."""
    for family in (*JOB_FAMILIES, *TASK_FAMILIES):
        assert family.samples is not None
        assert list(family.samples(tracked)) == list(family.samples(tracked))
