"""Which series to drop when a project has more than its limit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from exporter.domain.snapshot import TrackedJob


class Detail(Enum):
    """Which series of a job are rendered."""

    FULL = "full"
    WITHOUT_TASKS = "without tasks"
    WITHOUT_USAGE = "without usage"
    """Neither task series nor series that come from a usage reading."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class JobSize:
    """A job and the number of series it has when nothing is dropped."""

    tracked: TrackedJob
    job_series: int
    """Series of the job itself, without those of its tasks."""
    task_series: int

    @property
    def series(self) -> int:
        """All series of the job."""
        return self.job_series + self.task_series


def choose_details(
    sizes: Sequence[JobSize], *, limit: int, series_without_usage: Callable[[TrackedJob], int]
) -> list[Detail]:
    """Choose the detail of each job so that all together have at most `limit` series.

    `series_without_usage` counts the series of a job that has no usage reading. The least important series are
    dropped first: finished jobs, the earliest end first; tasks, the job with the most first; usage, the newest job
    first, so that existing series continue; whole jobs, the newest first.
    """
    details = [Detail.FULL] * len(sizes)
    excess = sum(size.series for size in sizes) - limit
    if excess > 0:
        for at, detail, saved in _savings(sizes, series_without_usage=series_without_usage):
            details[at] = detail
            excess -= saved
            if excess <= 0:
                break
    return details


def _savings(
    sizes: Sequence[JobSize], *, series_without_usage: Callable[[TrackedJob], int]
) -> Iterator[tuple[int, Detail, int]]:
    """Yield possible reductions in order: the index of the job, its new detail, and the number of series saved."""
    finished = [at for at, size in enumerate(sizes) if size.tracked.job.status.finished]
    for at in sorted(finished, key=lambda at: _by_end(sizes[at])):
        yield at, Detail.NONE, sizes[at].series
    others = [at for at, size in enumerate(sizes) if not size.tracked.job.status.finished]
    for at in sorted(others, key=lambda at: _by_most_tasks(sizes[at])):
        if sizes[at].task_series:
            yield at, Detail.WITHOUT_TASKS, sizes[at].task_series
    others.sort(key=lambda at: _by_newest(sizes[at]))
    remaining: dict[int, int] = {}
    for at in others:
        remaining[at] = series_without_usage(sizes[at].tracked)
        if remaining[at] < sizes[at].job_series:
            yield at, Detail.WITHOUT_USAGE, sizes[at].job_series - remaining[at]
    for at in others:
        yield at, Detail.NONE, remaining[at]


def _by_end(size: JobSize) -> tuple[float, str]:
    ended_at = size.tracked.job.ended_at
    return (float("-inf") if ended_at is None else ended_at, size.tracked.job.job_id)


def _by_most_tasks(size: JobSize) -> tuple[float, str]:
    return (-float(size.task_series), size.tracked.job.job_id)


def _by_newest(size: JobSize) -> tuple[float, str]:
    submitted_at = size.tracked.job.submitted_at
    return (float("-inf") if submitted_at is None else -submitted_at, size.tracked.job.job_id)
