"""Families that count the jobs of a project: by status, and submitted, started and finished."""

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import attrgetter

from exporter.domain.job import JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Totals
from exporter.metrics.exposition.family import Family, Label, Sample, Type

PUBLIC_POOL = ""
FINISHED_STATUSES = (*(status for status in JobStatus if status.finished), JobStatus.UNKNOWN)
"""Statuses with which a job can end; `unknown` when it was deleted before the exporter saw its end."""

_POOL_AND_STATUS = attrgetter("job.pool_id", "job.status")

POOL_ID = Label(name="pool_id", help="Dedicated pool; empty for the public pool.")


def known_pools(totals: Totals) -> set[str]:
    """Return the known pools: always the public one, and each in the totals.

    Each has a series for every label value, at first 0, because increase() needs an earlier sample, and because an
    empty queue must be 0 instead of absent.
    """
    return {PUBLIC_POOL, *totals.submitted, *totals.started, *(pool for pool, _ in totals.finished)}


def _jobs(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    if snapshot.jobs is None or not snapshot.complete:
        return
    counts = Counter(map(_POOL_AND_STATUS, snapshot.jobs.values()))
    for pool in sorted(known_pools(snapshot.totals).union(pool for pool, _ in counts)):
        for status in JobStatus:
            yield {"pool_id": pool, "status": status.value}, float(counts[pool, status])


def _by_pool(totals: Totals, counts: Mapping[str, int]) -> Iterable[Sample]:
    return (({"pool_id": pool}, float(counts.get(pool, 0))) for pool in sorted(known_pools(totals)))


def _submitted(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    return _by_pool(snapshot.totals, snapshot.totals.submitted)


def _started(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    return _by_pool(snapshot.totals, snapshot.totals.started)


def _finished(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    counts = snapshot.totals.finished
    for pool in sorted(known_pools(snapshot.totals)):
        for status in FINISHED_STATUSES:
            yield {"pool_id": pool, "status": status.value}, float(counts.get((pool, status), 0))


JOBS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_jobs",
    help=(
        "Jobs by status, with those that a filter hides; finished jobs for the retention period. "
        "0 for every other status of a known pool. "
        "Absent before the first successful poll and when the last one is too old; see modelarts_up."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: tracked jobs, counted",
    labels=(
        POOL_ID,
        Label(
            name="status",
            help="As in modelarts_training_job_status.",
            values=tuple(status.value for status in JobStatus),
        ),
    ),
    samples=_jobs,
)

SUBMITTED: Family[ProjectSnapshot] = Family(
    name="modelarts_training_jobs_submitted",
    help=(
        "Jobs submitted since the first poll, without those in the first listing. Minus the finished jobs, it is the "
        "growth of the backlog. The series of a dedicated pool begins with its first job."
    ),
    type=Type.COUNTER,
    subject="project",
    source="exporter: transitions between polls",
    labels=(POOL_ID,),
    samples=_submitted,
)

STARTED: Family[ProjectSnapshot] = Family(
    name="modelarts_training_jobs_started",
    help=(
        "Jobs that started for the first time since the first poll, with those that started and ended between two "
        "polls. Compare with the submitted jobs to see whether the queue grows."
    ),
    type=Type.COUNTER,
    subject="project",
    source="exporter: transitions between polls",
    labels=(POOL_ID,),
    samples=_started,
)

FINISHED: Family[ProjectSnapshot] = Family(
    name="modelarts_training_jobs_finished",
    help=(
        "Jobs that ended since the first poll, by final status. Failed and lost jobs divided by all is the failure "
        "ratio. Includes jobs that a filter hides."
    ),
    type=Type.COUNTER,
    subject="project",
    source="exporter: transitions between polls",
    labels=(
        POOL_ID,
        Label(
            name="status",
            help="Final status; `unknown` when the job was deleted before the exporter saw its end.",
            values=tuple(status.value for status in FINISHED_STATUSES),
        ),
    ),
    samples=_finished,
)

FAMILIES: tuple[Family[ProjectSnapshot], ...] = (JOBS, SUBMITTED, STARTED, FINISHED)
"""Rendered at publish. The counters stay while the jobs are withdrawn, because past events remain true."""
