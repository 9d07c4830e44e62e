"""What a job did when: the few moments the cloud tells of it, as stretches of time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from exporter.domain.job import Job, JobStatus


@dataclass(frozen=True, slots=True)
class Stretch:
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


def course(job: Job) -> tuple[Stretch, ...]:
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
            waits = JobStatus.QUEUED if job.status.active else JobStatus.UNKNOWN
            return (Stretch(submitted_at, inf, waits),)
        return _without_nothing(Stretch(submitted_at, started_at, JobStatus.QUEUED), Stretch(started_at, inf, last))
    if started_at is None:
        ended_at = submitted_at if ended_at is None else max(ended_at, submitted_at)
        return _without_nothing(Stretch(submitted_at, ended_at, JobStatus.QUEUED), Stretch(ended_at, inf, job.status))
    if ended_at is None:
        return ()
    ended_at = max(ended_at, started_at)
    return _without_nothing(
        Stretch(submitted_at, started_at, JobStatus.QUEUED),
        Stretch(started_at, ended_at, JobStatus.RUNNING),
        Stretch(ended_at, inf, job.status),
    )


def states(job: Job) -> Iterator[JobInterval]:
    """Tell what a job was like from its submission on; what it held then is `status_accelerators` of each state.

    It held what it asked for for as long as it ran, unless the cloud tells its nodes over time.
    """
    for stretch in course(job):
        waits, ended = stretch.status is JobStatus.QUEUED, stretch.status.finished
        as_it_was = replace(
            job,
            status=stretch.status,
            reason=job.reason if ended else "",
            started_at=None if waits else job.started_at,
            ended_at=job.ended_at if ended else None,
            reported_nodes=None,
        )
        if stretch.status is not JobStatus.RUNNING or not job.node_steps:
            yield JobInterval(stretch.begin, stretch.end, as_it_was)
            continue
        for begin, end, nodes in _nodes(job.node_steps, stretch):
            yield JobInterval(begin, end, replace(as_it_was, reported_nodes=nodes))


def _nodes(steps: Sequence[tuple[float, int]], stretch: Stretch) -> Iterator[tuple[float, float, int]]:
    """Cut a stretch where the number of nodes changed; before the first step there were none."""
    changes = [(stretch.begin, 0), *steps, (stretch.end, 0)]
    for (from_, nodes), (to, _) in pairwise(changes):
        begin, end = max(from_, stretch.begin), min(to, stretch.end)
        if begin < end:
            yield begin, end, nodes


def _without_nothing(*stretches: Stretch) -> tuple[Stretch, ...]:
    return tuple(stretch for stretch in stretches if stretch.begin < stretch.end)
