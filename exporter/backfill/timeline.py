"""The status of a job over time, derived from the times the API returns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from exporter.domain.job import Job, JobStatus

_WAITING = frozenset({JobStatus.QUEUED, JobStatus.INITIALIZING})


@dataclass(frozen=True, slots=True)
class StatusInterval:
    """The time [begin, end) in which a job had one status."""

    begin: float
    end: float
    status: JobStatus


@dataclass(frozen=True, slots=True)
class JobInterval:
    """The time [begin, end) in which a job did not change."""

    begin: float
    end: float
    job: Job
    """The job as it was then: its status, its nodes, and no end time before its end."""


def status_timeline(job: Job) -> tuple[StatusInterval, ...]:
    """Return the status of a job from its submission on, without gaps. The last interval is open-ended.

    The API keeps three times: submission, first start and end. A job is therefore queued until its start and running
    until its end; the times of initializing, scaling and terminating are not kept. A job that ended without a start
    and without an end time counts as ended at submission: most of these jobs could not be created. A job that waits
    although it has started was preempted or requeued: it is queued since its last run.
    Empty if the times are not sufficient: no submission, or a run without an end time.
    """
    submitted_at, started_at, ended_at = job.submitted_at, job.started_at, job.ended_at
    if submitted_at is None:
        return ()
    if started_at is not None:
        started_at = max(started_at, submitted_at)  # the documentation has jobs that start before their submission
    if not job.status.finished:
        return _unfinished_timeline(job, submitted_at=submitted_at, started_at=started_at)
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


def _unfinished_timeline(job: Job, *, submitted_at: float, started_at: float | None) -> tuple[StatusInterval, ...]:
    if started_at is None:
        waiting_status = JobStatus.QUEUED if job.status.active else JobStatus.UNKNOWN
        return (StatusInterval(submitted_at, inf, waiting_status),)
    waiting = StatusInterval(submitted_at, started_at, JobStatus.QUEUED)
    if job.status not in _WAITING:
        last = JobStatus.UNKNOWN if job.status is JobStatus.UNKNOWN else JobStatus.RUNNING
        return _non_empty(waiting, StatusInterval(started_at, inf, last))
    requeued_at = _end_of_last_run(job)
    if requeued_at is None:
        return ()
    requeued_at = max(requeued_at, started_at)
    return _non_empty(
        waiting,
        StatusInterval(started_at, requeued_at, JobStatus.RUNNING),
        StatusInterval(requeued_at, inf, JobStatus.QUEUED),
    )


def job_intervals(job: Job) -> Iterator[JobInterval]:
    """Return a job over time from its submission on. `status_accelerators` of each job is what it held then.

    A running job holds what it requested, unless the API returns its nodes over time.
    """
    has_run = False
    for interval in status_timeline(job):
        has_run = has_run or interval.status is JobStatus.RUNNING
        waiting, ended = interval.status is JobStatus.QUEUED, interval.status.finished
        job_then = replace(
            job,
            status=interval.status,
            reason=job.reason if ended else "",
            started_at=None if waiting and not has_run else job.started_at,
            ended_at=job.ended_at if ended else None,
            reported_nodes=None,
        )
        if interval.status is not JobStatus.RUNNING or not job.node_steps:
            yield JobInterval(interval.begin, interval.end, job_then)
            continue
        for begin, end, nodes in _node_intervals(job.node_steps, interval):
            yield JobInterval(begin, end, replace(job_then, reported_nodes=nodes))


def _end_of_last_run(job: Job) -> float | None:
    """When a job that waits again lost its nodes; None: the API does not tell."""
    if job.node_steps and not job.node_steps[-1][1]:
        return job.node_steps[-1][0]
    if job.started_at is None or job.run_duration_s is None:
        return None
    return job.started_at + job.run_duration_s


def _node_intervals(
    node_steps: Sequence[tuple[float, int]], interval: StatusInterval
) -> Iterator[tuple[float, float, int]]:
    """Split an interval where the number of nodes changed. Before the first step there are none."""
    changes = [(interval.begin, 0), *node_steps, (interval.end, 0)]
    for (begin_at, nodes), (end_at, _) in pairwise(changes):
        begin, end = max(begin_at, interval.begin), min(end_at, interval.end)
        if begin < end:
            yield begin, end, nodes


def _non_empty(*intervals: StatusInterval) -> tuple[StatusInterval, ...]:
    return tuple(interval for interval in intervals if interval.begin < interval.end)
