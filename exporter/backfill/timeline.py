"""What a job did when: the few moments the cloud tells of it, as stretches of time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from exporter.domain.job import Job, JobStatus


@dataclass(frozen=True, slots=True)
class StatusInterval:
    """A time in which a job had one status, from `begin` up to, but not including, `end`."""

    begin: float
    end: float
    status: JobStatus


@dataclass(frozen=True, slots=True)
class JobInterval:
    """A time in which a job was the same all along."""

    begin: float
    end: float
    job: Job
    """The job as it was then: its status, no end before its end, the nodes it had."""


def status_timeline(job: Job) -> tuple[StatusInterval, ...]:
    """Tell what a job did from its submission on, without gaps, the last stretch without an end.

    The cloud keeps three moments: submission, first start, end. So a job is queued until it starts and running until
    it ends; when it was initializing, scaling or terminating is forgotten. A job that ended without ever starting,
    and of which no end is told, is taken to have ended at once: most of those could not even be created.
    Empty when the moments do not suffice: no submission, or a run whose end is not told.
    """
    submitted_at, started_at, ended_at = job.submitted_at, job.started_at, job.ended_at
    if submitted_at is None:
        return ()
    if started_at is not None:
        started_at = max(started_at, submitted_at)  # documentation samples start before they are made
    if not job.status.finished:
        last = JobStatus.UNKNOWN if job.status is JobStatus.UNKNOWN else JobStatus.RUNNING
        if started_at is None:
            waiting_status = JobStatus.QUEUED if job.status.active else JobStatus.UNKNOWN
            return (StatusInterval(submitted_at, inf, waiting_status),)
        return _non_empty(
            StatusInterval(submitted_at, started_at, JobStatus.QUEUED), StatusInterval(started_at, inf, last)
        )
    if started_at is None:
        ended_at = submitted_at if ended_at is None else max(ended_at, submitted_at)
        return _non_empty(
            StatusInterval(submitted_at, ended_at, JobStatus.QUEUED), StatusInterval(ended_at, inf, job.status)
        )
    if ended_at is None:
        return ()
    ended_at = max(ended_at, started_at)
    return _non_empty(
        StatusInterval(submitted_at, started_at, JobStatus.QUEUED),
        StatusInterval(started_at, ended_at, JobStatus.RUNNING),
        StatusInterval(ended_at, inf, job.status),
    )


def job_intervals(job: Job) -> Iterator[JobInterval]:
    """Tell what a job was like from its submission on; what it held then is `status_accelerators` of each state.

    It held what it asked for for as long as it ran, unless the cloud tells its nodes over time.
    """
    for interval in status_timeline(job):
        waiting_status, ended = interval.status is JobStatus.QUEUED, interval.status.finished
        job_then = replace(
            job,
            status=interval.status,
            reason=job.reason if ended else "",
            started_at=None if waiting_status else job.started_at,
            ended_at=job.ended_at if ended else None,
            reported_nodes=None,
        )
        if interval.status is not JobStatus.RUNNING or not job.node_steps:
            yield JobInterval(interval.begin, interval.end, job_then)
            continue
        for begin, end, nodes in _node_intervals(job.node_steps, interval):
            yield JobInterval(begin, end, replace(job_then, reported_nodes=nodes))


def _node_intervals(
    node_steps: Sequence[tuple[float, int]], interval: StatusInterval
) -> Iterator[tuple[float, float, int]]:
    """Cut a stretch where the number of nodes changed; before the first step there were none."""
    changes = [(interval.begin, 0), *node_steps, (interval.end, 0)]
    for (begin_at, nodes), (end_at, _) in pairwise(changes):
        begin, end = max(begin_at, interval.begin), min(end_at, interval.end)
        if begin < end:
            yield begin, end, nodes


def _non_empty(*intervals: StatusInterval) -> tuple[StatusInterval, ...]:
    return tuple(interval for interval in intervals if interval.begin < interval.end)
