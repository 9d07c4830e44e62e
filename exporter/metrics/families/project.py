"""The families of one project: how many jobs stand where, and how many have come and gone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import attrgetter

from exporter.domain.job import JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Totals
from exporter.metrics.exposition.family import Family, Label, Sample, Type

PUBLIC_POOL = ""
FINISHED_STATUSES = (*(status for status in JobStatus if status.finished), JobStatus.UNKNOWN)
"""What a job can be counted under when it is over; `unknown` when it was deleted before its end was seen."""

_POOL_AND_STATUS = attrgetter("job.pool_id", "job.status")

POOL_ID = Label(name="pool_id", help="Dedicated pool; empty for the public pool.")


def known_pools(totals: Totals) -> set[str]:
    """Tell which pools have been met: the public one always, and each that the totals name.

    Each gets its whole vocabulary at 0, because increase() only sees what grows from a sample before it, and because
    a queue that empties must read 0 rather than vanish.
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
        "Jobs by status, those hidden by a filter included, finished ones for as long as the retention keeps them; "
        "0 for every other status of a known pool. "
        "Absent while no poll has succeeded wholly, or for too long: then nobody knows, see modelarts_up."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own: tracked jobs, counted",
    labels=(
        POOL_ID,
        Label(
            name="status",
            help="As modelarts_training_job_status.",
            values=tuple(status.value for status in JobStatus),
        ),
    ),
    samples=_jobs,
)

SUBMITTED: Family[ProjectSnapshot] = Family(
    name="modelarts_training_jobs_submitted",
    help=(
        "Jobs submitted since the exporter first looked; what stood in that first listing is not counted. "
        "Minus the finished ones: how the backlog grows. A dedicated pool's series begin when a job of it is met."
    ),
    type=Type.COUNTER,
    subject="project",
    source="own: transitions seen between polls",
    labels=(POOL_ID,),
    samples=_submitted,
)

STARTED: Family[ProjectSnapshot] = Family(
    name="modelarts_training_jobs_started",
    help=(
        "Jobs that started for the first time since the exporter first looked, those that started and ended between "
        "two polls included. Against the submitted ones: whether the queue keeps up."
    ),
    type=Type.COUNTER,
    subject="project",
    source="own: transitions seen between polls",
    labels=(POOL_ID,),
    samples=_started,
)

FINISHED: Family[ProjectSnapshot] = Family(
    name="modelarts_training_jobs_finished",
    help=(
        "Jobs that ended since the exporter first looked, by how. Failed and lost over all is the failure rate. "
        "Keeps counting where the jobs' own series are hidden by a filter."
    ),
    type=Type.COUNTER,
    subject="project",
    source="own: transitions seen between polls",
    labels=(
        POOL_ID,
        Label(
            name="status",
            help="How the job ended; `unknown` when it was deleted before its end was seen.",
            values=tuple(status.value for status in FINISHED_STATUSES),
        ),
    ),
    samples=_finished,
)

FAMILIES: tuple[Family[ProjectSnapshot], ...] = (JOBS, SUBMITTED, STARTED, FINISHED)
"""Rendered at publish. The counters stay while the jobs are withdrawn: what was counted has not become untrue."""
