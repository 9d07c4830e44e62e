"""Families of one project: job counts, accounting, and the state of the collectors."""

from collections.abc import Iterable
from typing import Any

import pytest

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Totals, TrackedJob, WorkspaceState
from exporter.metrics.exposition.family import Family
from exporter.metrics.families import accounting, live, project

Samples = list[tuple[dict[str, str], float]]

JOBS_OK = CollectorState(name="jobs", ok=True, last_success_at=1700.0, duration_s=0.5)
JOBS_FAILED = CollectorState(name="jobs", ok=False, last_success_at=None, duration_s=30.0)
USAGE_FAILED = CollectorState(name="usage", ok=False, last_success_at=1600.0, duration_s=2.0)


def samples_of(family: Family[ProjectSnapshot], **facts: Any) -> Samples:
    """Samples of the family for a project with these facts."""
    assert family.samples is not None
    return [(dict(labels), value) for labels, value in family.samples(ProjectSnapshot(project="vision", **facts))]


def jobs(*facts: tuple[str, JobStatus], shown: bool = True) -> dict[str, TrackedJob]:
    """Tracked jobs with these pools and statuses."""
    return {
        f"j{number}-{shown}": TrackedJob(
            project="vision",
            job=Job(job_id=f"j{number}-{shown}", api=Api.V2, pool_id=pool, status=status),
            shown=shown,
        )
        for number, (pool, status) in enumerate(facts)
    }


def nonzero(samples: Samples) -> Samples:
    """The samples that are not 0."""
    return [(labels, value) for labels, value in samples if value]


def test_jobs_are_counted_by_pool_and_status_with_hidden_ones() -> None:
    """Two running jobs in pool-a, one of them hidden by a filter, and one queued in the public pool: 2 and 1."""
    seen = jobs(("pool-a", JobStatus.RUNNING), ("", JobStatus.QUEUED))
    hidden = jobs(("pool-a", JobStatus.RUNNING), shown=False)

    assert nonzero(samples_of(project.JOBS, jobs=seen | hidden)) == [
        ({"pool_id": "", "status": "queued"}, 1.0),
        ({"pool_id": "pool-a", "status": "running"}, 2.0),
    ]


def test_held_and_queued_accelerators_by_pool_and_kind() -> None:
    """Two running jobs hold 8 and 4, a queued one requests 16, one is of a masked kind; CPU jobs have none."""

    def tracked(name: str, status: JobStatus, cards: float | None, kind: Accelerator | None) -> TrackedJob:
        job = Job(job_id=name, api=Api.V2, pool_id="a", status=status, spec_accelerators=cards, accelerator=kind)
        return TrackedJob(project="vision", job=job, shown=name != "hidden")

    jobs = (
        tracked("first", JobStatus.RUNNING, 8.0, Accelerator.GPU),
        tracked("hidden", JobStatus.RUNNING, 4.0, Accelerator.GPU),
        tracked("queued", JobStatus.QUEUED, 16.0, Accelerator.GPU),
        tracked("masked", JobStatus.RUNNING, 2.0, None),
        tracked("unknown", JobStatus.RUNNING, None, Accelerator.GPU),
        tracked("cpu", JobStatus.RUNNING, 0.0, Accelerator.CPU),
    )

    assert samples_of(accounting.ACCELERATORS, jobs={job.job.job_id: job for job in jobs}) == [
        ({"pool_id": "a", "accelerator": "gpu", "state": "held"}, 12.0),
        ({"pool_id": "a", "accelerator": "gpu", "state": "queued"}, 16.0),
        ({"pool_id": "a", "accelerator": "unknown", "state": "held"}, 2.0),
        ({"pool_id": "a", "accelerator": "unknown", "state": "queued"}, 0.0),
    ]
    assert samples_of(accounting.ACCELERATORS, jobs=None) == []
    assert samples_of(accounting.ACCELERATORS, jobs={}, complete=False) == []


def test_a_known_pool_without_jobs_has_zero_in_each_status() -> None:
    """A pool without jobs has 0 in all ten statuses, like the public pool: 20 samples."""
    samples = samples_of(project.JOBS, jobs={}, totals=Totals(submitted={"pool-a": 3}))

    assert [value for _, value in samples] == [0.0] * 20
    assert [labels["pool_id"] for labels, _ in samples] == [""] * 10 + ["pool-a"] * 10
    assert [labels["status"] for labels, _ in samples] == [status.value for status in JobStatus] * 2


def test_withdrawn_jobs_have_no_count() -> None:
    """While the jobs are unknown there is no count, because 0 would mean that there are none."""
    assert samples_of(project.JOBS, jobs=None, totals=Totals(submitted={"pool-a": 3})) == []


def test_incomplete_counts_are_withdrawn() -> None:
    """While some jobs may be missing there is no count, although the others have series (docs/adr/0003)."""
    assert samples_of(project.JOBS, jobs=jobs(("", JobStatus.RUNNING)), complete=False) == []


COUNTED = Totals(
    submitted={"": 5, "pool-a": 2},
    started={"": 4},
    finished={("", JobStatus.FAILED): 1, ("pool-b", JobStatus.UNKNOWN): 2},
)


@pytest.mark.parametrize(
    "family, expected",
    [
        pytest.param(
            project.SUBMITTED,
            [({"pool_id": ""}, 5.0), ({"pool_id": "pool-a"}, 2.0), ({"pool_id": "pool-b"}, 0.0)],
            id="submitted",
        ),
        pytest.param(
            project.STARTED,
            [({"pool_id": ""}, 4.0), ({"pool_id": "pool-a"}, 0.0), ({"pool_id": "pool-b"}, 0.0)],
            id="started",
        ),
        pytest.param(
            project.FINISHED,
            [
                ({"pool_id": pool, "status": status}, float(count))
                for pool, counts in (
                    ("", {"failed": 1}),
                    ("pool-a", {}),
                    ("pool-b", {"unknown": 2}),
                )
                for status in ("completed", "failed", "terminated", "lost", "unknown")
                for count in (counts.get(status, 0),)
            ],
            id="finished",
        ),
    ],
)
@pytest.mark.parametrize("known", [pytest.param({}, id="jobs known"), pytest.param(None, id="jobs withdrawn")])
def test_counters_start_at_zero_in_each_known_pool(
    family: Family[ProjectSnapshot], expected: Samples, known: dict[str, TrackedJob] | None
) -> None:
    """A pool in one counter has a 0 in all of them, so that increase() sees the first event; also without jobs."""
    assert sorted(samples_of(family, jobs=known, totals=COUNTED), key=repr) == sorted(expected, key=repr)


@pytest.mark.parametrize(
    "family, series",
    [
        pytest.param(project.SUBMITTED, 1, id="submitted"),
        pytest.param(project.STARTED, 1, id="started"),
        pytest.param(project.FINISHED, 5, id="finished"),
    ],
)
def test_the_public_pool_is_always_counted(family: Family[ProjectSnapshot], series: int) -> None:
    """Before the first event, the counters of the public pool are 0."""
    samples = samples_of(family)

    assert [value for _, value in samples] == [0.0] * series
    assert {labels["pool_id"] for labels, _ in samples} == {""}


@pytest.mark.parametrize(
    "collectors, expected",
    [
        pytest.param((), 0.0, id="before the first poll"),
        pytest.param((JOBS_FAILED,), 0.0, id="never succeeded"),
        pytest.param((JOBS_OK,), 1.0, id="newest jobs poll succeeded"),
        pytest.param((JOBS_OK, USAGE_FAILED), 1.0, id="only the usage failed"),
        pytest.param((USAGE_FAILED, JOBS_FAILED), 0.0, id="all failed"),
    ],
)
def test_up_is_the_newest_jobs_poll(collectors: tuple[CollectorState, ...], expected: float) -> None:
    """Up is 1 after a completely successful jobs poll, else 0, also before the first poll."""
    assert samples_of(live.UP, collectors=collectors) == [({}, expected)]


@pytest.mark.parametrize(
    "family, expected",
    [
        pytest.param(live.COLLECTOR_UP, [("jobs", 1.0), ("usage", 0.0)], id="up"),
        pytest.param(live.COLLECTOR_LAST_SUCCESS, [("jobs", 1700.0), ("usage", 1600.0)], id="last success"),
        pytest.param(live.COLLECTOR_DURATION, [("jobs", 0.5), ("usage", 2.0)], id="duration"),
    ],
)
def test_each_collector_that_has_run_has_samples(
    family: Family[ProjectSnapshot], expected: list[tuple[str, float]]
) -> None:
    """Each collector has its own samples; one that has not run has none."""
    samples = samples_of(family, collectors=(JOBS_OK, USAGE_FAILED))

    assert samples == [({"collector": name}, value) for name, value in expected]
    assert samples_of(family) == []


def test_without_a_success_there_is_no_last_success() -> None:
    """A collector that never succeeded has no last success, not 0."""
    assert samples_of(live.COLLECTOR_LAST_SUCCESS, collectors=(JOBS_FAILED,)) == []


def test_the_project_info() -> None:
    """The info has the id, the region and the cloud of the project."""
    samples = samples_of(
        live.PROJECT_INFO, project_id="0123456789abcdef0123456789abcdef", region="eu-de", cloud="otc"
    )

    assert samples == [
        ({"project_id": "0123456789abcdef0123456789abcdef", "region": "eu-de", "cloud": "otc"}, 1.0),
    ]


@pytest.mark.parametrize(
    "known, expected",
    [
        pytest.param(jobs(("", JobStatus.RUNNING), ("", JobStatus.FAILED)), [({}, 2.0)], id="two"),
        pytest.param({}, [({}, 0.0)], id="none"),
        pytest.param(None, [], id="unknown"),
    ],
)
def test_tracked_jobs_are_counted_while_they_are_known(
    known: dict[str, TrackedJob] | None, expected: Samples
) -> None:
    """The number of tracked jobs is exported, and is absent, not 0, while jobs are withdrawn."""
    assert samples_of(live.TRACKED_JOBS, jobs=known) == expected


@pytest.mark.parametrize(
    "family",
    [pytest.param(family, id=family.name) for family in (*project.FAMILIES, *live.FAMILIES)],
)
def test_samples_match_the_declaration(family: Family[ProjectSnapshot]) -> None:
    """Label names, their order and their values are the declared ones, and no labels are repeated."""
    facts = {
        "jobs": jobs(("pool-c", JobStatus.LOST)),
        "totals": COUNTED,
        "collectors": (JOBS_OK, USAGE_FAILED),
        "duplicate_jobs": 1,
        "workspaces": (WorkspaceState(workspace_id="0", name="default", accessible=True),),
    }
    samples = samples_of(family, **facts)

    assert samples
    assert unique(tuple(labels.items()) for labels, _ in samples)
    for labels, value in samples:
        assert list(labels) == [label.name for label in family.labels]
        assert all(not label.values or labels[label.name] in label.values for label in family.labels)
        assert isinstance(value, float)


def unique(items: Iterable[object]) -> bool:
    """Whether no item is repeated."""
    listed = list(items)
    return len(set(listed)) == len(listed)


def test_jobs_of_unknown_size_are_counted_by_pool() -> None:
    """Active jobs whose requested or held accelerators are unknown are in no sum, and are counted."""

    def tracked(name: str, **facts: Any) -> TrackedJob:
        usual: dict[str, Any] = {"pool_id": "a", "status": JobStatus.RUNNING}
        return TrackedJob(project="vision", job=Job(job_id=name, api=Api.V2, **(usual | facts)))

    jobs = (
        tracked("unknown"),
        tracked("queued", status=JobStatus.QUEUED),
        tracked("elastic", spec_accelerators=8.0, reported_nodes=1),
        tracked("known", spec_accelerators=8.0),
        tracked("cpu", spec_accelerators=0.0, accelerator=Accelerator.CPU),
        tracked("ended", status=JobStatus.COMPLETED),
    )

    assert samples_of(accounting.UNKNOWN_JOBS, jobs={job.job.job_id: job for job in jobs}) == [
        ({"pool_id": ""}, 0.0),
        ({"pool_id": "a"}, 3.0),
    ]
    assert samples_of(accounting.UNKNOWN_JOBS, jobs={}, complete=False) == []


def test_the_oldest_queued_job_of_each_pool() -> None:
    """Submission time of the first job in each queue; a pool without queued jobs has no series."""

    def tracked(name: str, pool: str, status: JobStatus, submitted_at: float | None) -> TrackedJob:
        job = Job(job_id=name, api=Api.V2, pool_id=pool, status=status, submitted_at=submitted_at)
        return TrackedJob(project="vision", job=job)

    jobs = (
        tracked("young", "a", JobStatus.QUEUED, 200.0),
        tracked("old", "a", JobStatus.QUEUED, 100.0),
        tracked("undated", "a", JobStatus.QUEUED, None),
        tracked("running", "b", JobStatus.RUNNING, 50.0),
        tracked("new", "b", JobStatus.INITIALIZING, 60.0),
    )

    assert samples_of(accounting.OLDEST_QUEUED, jobs={job.job.job_id: job for job in jobs}) == [
        ({"pool_id": "a"}, 100.0)
    ]
    assert samples_of(accounting.OLDEST_QUEUED, jobs=None) == []
