"""What to leave out when a project has more series than it may."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from exporter.domain.snapshot import TrackedJob


class Detail(Enum):
    """How much of a job is shown."""

    WHOLE = "whole"
    WITHOUT_TASKS = "without tasks"
    WITHOUT_USAGE = "without usage"
    """Neither task series nor those that come from a usage reading: the job as it was before the first one."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Weight:
    """A job with the series it would have if nothing were left out."""

    tracked: TrackedJob
    series: int
    """Its own, those of its tasks not included."""
    tasks: int

    @property
    def whole(self) -> int:
        """All of them."""
        return self.series + self.tasks


def shares(weights: Sequence[Weight], *, room: int, without_usage: Callable[[TrackedJob], int]) -> list[Detail]:
    """Say for each job how much of it fits into `room` series; `bare` counts a job's series without usage.

    What is missed least goes first: finished jobs, the one that ended first first; then the tasks of the jobs with
    the most of them; then usage, the newest job first, so that series which exist go on; then whole jobs likewise.
    """
    told = [Detail.WHOLE] * len(weights)
    excess = sum(weight.whole for weight in weights) - room
    if excess > 0:
        for at, share, saved in _offers(weights, without_usage=without_usage):
            told[at] = share
            excess -= saved
            if excess <= 0:
                break
    return told


def _offers(
    weights: Sequence[Weight], *, without_usage: Callable[[TrackedJob], int]
) -> Iterator[tuple[int, Detail, int]]:
    """What can be given up, in order: whose, what then is left, and how many series that saves."""
    finished = [at for at, weight in enumerate(weights) if weight.tracked.job.status.finished]
    for at in sorted(finished, key=lambda at: _ended_first(weights[at])):
        yield at, Detail.NONE, weights[at].whole
    others = [at for at, weight in enumerate(weights) if not weight.tracked.job.status.finished]
    for at in sorted(others, key=lambda at: _most_tasks_first(weights[at])):
        if weights[at].tasks:
            yield at, Detail.WITHOUT_TASKS, weights[at].tasks
    others.sort(key=lambda at: _newest_first(weights[at]))
    left: dict[int, int] = {}
    for at in others:
        left[at] = without_usage(weights[at].tracked)
        if left[at] < weights[at].series:
            yield at, Detail.WITHOUT_USAGE, weights[at].series - left[at]
    for at in others:
        yield at, Detail.NONE, left[at]


def _ended_first(weight: Weight) -> tuple[float, str]:
    ended_at = weight.tracked.job.ended_at
    return (float("-inf") if ended_at is None else ended_at, weight.tracked.job.job_id)


def _most_tasks_first(weight: Weight) -> tuple[float, str]:
    return (-float(weight.tasks), weight.tracked.job.job_id)


def _newest_first(weight: Weight) -> tuple[float, str]:
    submitted_at = weight.tracked.job.submitted_at
    return (float("-inf") if submitted_at is None else -submitted_at, weight.tracked.job.job_id)
