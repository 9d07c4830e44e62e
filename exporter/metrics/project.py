"""The families of one project: how many jobs stand where, and how many have come and gone."""

from collections import Counter
from collections.abc import Iterable, Mapping

from exporter.domain.job import JobStatus
from exporter.domain.snapshot import ProjectSnapshot
from exporter.metrics.family import Family, Label, Sample, Type

PUBLIC_POOL = ""
FINISHED_STATUSES = (*(status for status in JobStatus if status.finished), JobStatus.UNKNOWN)
"""What a job can be counted under when it is over; `unknown` when it was deleted before its end was seen."""

POOL_ID = Label(name="pool_id", help="Dedicated pool; empty for the public pool.")


def known_pools(snapshot: ProjectSnapshot) -> list[str]:
    """The public pool, and every pool of which a job is tracked or has been counted, in order.

    Each gets its whole vocabulary at 0, because increase() only sees what grows from a sample before it, and because
    a queue that empties must read 0 rather than vanish.
    """
    pools = {PUBLIC_POOL, *snapshot.totals.submitted, *snapshot.totals.started}
    pools.update(pool for pool, _ in snapshot.totals.finished)
    pools.update(tracked.job.pool_id for tracked in (snapshot.jobs or {}).values())
    return sorted(pools)


def _jobs(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    if snapshot.jobs is None:
        return
    counts = Counter((tracked.job.pool_id, tracked.job.status) for tracked in snapshot.jobs.values())
    for pool in known_pools(snapshot):
        for status in JobStatus:
            yield {"pool_id": pool, "status": status.value}, float(counts[pool, status])


def _by_pool(snapshot: ProjectSnapshot, counts: Mapping[str, int]) -> Iterable[Sample]:
    return (({"pool_id": pool}, float(counts.get(pool, 0))) for pool in known_pools(snapshot))


def _submitted(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    return _by_pool(snapshot, snapshot.totals.submitted)


def _started(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    return _by_pool(snapshot, snapshot.totals.started)


def _finished(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    counts = snapshot.totals.finished
    for pool in known_pools(snapshot):
        for status in FINISHED_STATUSES:
            yield {"pool_id": pool, "status": status.value}, float(counts.get((pool, status), 0))


JOBS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_jobs",
    help=(
        "Jobs by status, those hidden by a filter included, finished ones for as long as the retention keeps them; "
        "0 for every other status of a known pool. "
        "Absent while no poll has succeeded, or for too long: then nobody knows, see modelarts_up."
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
        "Jobs seen for the first time since the exporter began to count; what stood in the first listing is not "
        "counted. Minus the finished ones: how the backlog grows. A pool's series begin with its first job."
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
        "Jobs that got their first start since the exporter began to count, those that started and ended between two "
        "polls included. Over the submitted ones: whether the queue keeps up."
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
        "Jobs that ended since the exporter began to count, by how. Failed and lost over all is the failure rate. "
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

PROJECT_FAMILIES: tuple[Family[ProjectSnapshot], ...] = (JOBS, SUBMITTED, STARTED, FINISHED)
"""Rendered at publish. The counters stay while the jobs are withdrawn: what was counted has not become untrue."""
