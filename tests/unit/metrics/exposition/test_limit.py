"""What the limit on series drops, whatever the order in which the jobs are listed."""

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.metrics.exposition.limit import Detail, JobSize, choose_details

FULL, NO_TASKS, NO_USAGE, NONE = Detail.FULL, Detail.WITHOUT_TASKS, Detail.WITHOUT_USAGE, Detail.NONE


def size(
    job_id: str,
    status: JobStatus = JobStatus.RUNNING,
    *,
    series: int,
    tasks: int = 0,
    submitted_at: float | None = None,
    ended_at: float | None = None,
) -> JobSize:
    """A job with so many series of its own and of its tasks."""
    job = Job(job_id=job_id, api=Api.V2, status=status, submitted_at=submitted_at, ended_at=ended_at)
    return JobSize(tracked=TrackedJob(project="vision", job=job), job_series=series, task_series=tasks)


WITHOUT_USAGE = {"big": 6, "small": 6, "young": 6, "dateless": 6, "twin-a": 6, "twin-b": 6, "queued": 4}
"""Series of each job that is not finished and has no usage reading."""

JOBS = (
    size("endless-b", JobStatus.FAILED, series=3),
    size("endless-a", JobStatus.LOST, series=3),
    size("late", JobStatus.COMPLETED, series=3, tasks=2, submitted_at=1.0, ended_at=90.0),
    size("early", JobStatus.TERMINATED, series=3, submitted_at=80.0, ended_at=81.0),
    size("big", series=10, tasks=9, submitted_at=10.0),
    size("small", series=10, tasks=1, submitted_at=40.0),
    size("young", series=10, tasks=4, submitted_at=50.0),
    size("dateless", series=10, tasks=4),
    size("twin-b", series=10, submitted_at=20.0),
    size("twin-a", series=10, submitted_at=20.0),
    size("queued", JobStatus.QUEUED, series=4, submitted_at=30.0),
)

ORDER: Sequence[tuple[str, Detail, int]] = (
    # finished jobs: an unknown end first, then the earliest end
    ("endless-a", NONE, 3),
    ("endless-b", NONE, 3),
    ("early", NONE, 3),
    ("late", NONE, 5),
    # tasks: the job with the most first
    ("big", NO_TASKS, 9),
    ("dateless", NO_TASKS, 4),
    ("young", NO_TASKS, 4),
    ("small", NO_TASKS, 1),
    # usage: the newest job first, an unknown submission before all
    ("dateless", NO_USAGE, 4),
    ("young", NO_USAGE, 4),
    ("small", NO_USAGE, 4),
    ("twin-a", NO_USAGE, 4),
    ("twin-b", NO_USAGE, 4),
    ("big", NO_USAGE, 4),
    # whole jobs: the newest first; "queued" has no usage to drop
    ("dateless", NONE, 6),
    ("young", NONE, 6),
    ("small", NONE, 6),
    ("queued", NONE, 4),
    ("twin-a", NONE, 6),
    ("twin-b", NONE, 6),
    ("big", NONE, 6),
)
"""Everything that can be dropped, in order, with the number of series that it saves."""

TOTAL = sum(each.series for each in JOBS)


def choose(jobs: Sequence[JobSize], *, limit: int) -> dict[str, Detail]:
    """Return the detail of each job by id."""
    details = choose_details(
        jobs, limit=limit, series_without_usage=lambda tracked: WITHOUT_USAGE[tracked.job.job_id]
    )
    return {each.tracked.job.job_id: detail for each, detail in zip(jobs, details, strict=True)}


def dropped_in_order() -> Iterator[tuple[int, dict[str, Detail]]]:
    """The number of series that are left after each step, and the details then."""
    left, details = TOTAL, {each.tracked.job.job_id: FULL for each in JOBS}
    yield left, dict(details)
    for job_id, detail, saved in ORDER:
        details[job_id] = detail
        left -= saved
        yield left, dict(details)


def test_the_table_drops_every_series() -> None:
    """The steps of `ORDER` together save all series, so no limit is left untested."""
    assert list(dropped_in_order())[-1] == (0, {each.tracked.job.job_id: NONE for each in JOBS})


@given(jobs=st.permutations(JOBS))
def test_the_order_of_the_jobs_does_not_matter(jobs: list[JobSize]) -> None:
    """At each limit exactly the steps that are needed are taken, in the order of `ORDER`, whatever the listing."""
    steps = list(dropped_in_order())
    for (before, _), (left, expected) in zip([(TOTAL + 2, {}), *steps], steps, strict=False):
        for limit in (left, before - 1):  # the least that this step suffices for, and the most that needs it
            assert choose(jobs, limit=limit) == expected, limit


@given(jobs=st.permutations(JOBS), limit=st.integers(-5, TOTAL + 5))
def test_what_is_left_fits(jobs: list[JobSize], limit: int) -> None:
    """What is left is at most the limit, or nothing; a limit above all series drops nothing."""
    left = 0
    for each in jobs:
        job_id = each.tracked.job.job_id
        left += {
            FULL: each.series,
            NO_TASKS: each.job_series,
            NO_USAGE: WITHOUT_USAGE.get(job_id, 0),
            NONE: 0,
        }[choose(jobs, limit=limit)[job_id]]

    assert left <= max(0, limit)
    assert left == TOTAL or limit < TOTAL


def test_finished_jobs_are_not_asked_for_their_usage() -> None:
    """A finished job is dropped as a whole; its series without usage are not counted."""
    asked: list[str] = []

    def count(tracked: TrackedJob) -> int:
        asked.append(tracked.job.job_id)
        return 1

    done = size("done", JobStatus.COMPLETED, series=3, ended_at=1.0)
    assert choose_details([done, size("on", series=2)], limit=0, series_without_usage=count) == [NONE, NONE]
    assert choose_details([size("on", series=2), done], limit=3, series_without_usage=count) == [FULL, NONE]
    assert asked == ["on"]
