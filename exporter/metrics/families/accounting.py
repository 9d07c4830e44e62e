"""The families that account for a project: what waits, who holds what, and what was used, idled and lost."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

from exporter.domain.accounting import QUEUE_BUCKETS_S, RUN_BUCKETS_S, RUN_STATUSES, Distribution, Holder
from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Totals
from exporter.metrics.exposition.family import Buckets, Family, Label, Sample, Type
from exporter.metrics.families.job import ACCELERATOR, UNKNOWN_ACCELERATOR, accelerator_labels
from exporter.metrics.families.project import POOL_ID, known_pools

STATES = ("held", "queued")

_POOL = attrgetter("pool_id")
_HOLDER = (
    POOL_ID,
    Label(
        name="user",
        help=(
            "Who created the job, shaped by the setting metrics.user_label; `_other` for those beyond "
            "metrics.max_users_per_project. Empty where the cloud does not say."
        ),
    ),
    ACCELERATOR,
)


def _whole(snapshot: ProjectSnapshot) -> Iterable[Job]:
    """The jobs, when all of them are known: a sum over a part would be silently short."""
    return (
        () if snapshot.jobs is None or not snapshot.complete else (tracked.job for tracked in snapshot.jobs.values())
    )


def _oldest_queued(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    oldest: dict[str, float] = {}
    for job in _whole(snapshot):
        if job.status is JobStatus.QUEUED and job.submitted_at is not None:
            oldest[job.pool_id] = min(oldest.get(job.pool_id, job.submitted_at), job.submitted_at)
    return (({"pool_id": pool}, oldest[pool]) for pool in sorted(oldest))


def _accelerators(snapshot: ProjectSnapshot) -> Iterator[Sample]:
    """Held and queued accelerators of each pool and kind that any known job has, zeros included."""
    sums: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    if snapshot.jobs is None or not snapshot.complete:
        return
    for tracked in snapshot.jobs.values():
        labels, job = accelerator_labels(tracked), tracked.job
        if labels is None or _is_untold(job):
            continue
        both = sums[job.pool_id, labels[ACCELERATOR.name]]
        both[0] += job.status_accelerators or 0.0
        if job.status is JobStatus.QUEUED:
            both[1] += job.spec_accelerators or 0.0
    for holder in snapshot.totals.held_s:  # what emptied reads 0 rather than vanishing
        sums[holder.pool_id, holder.accelerator or UNKNOWN_ACCELERATOR]
    for pool, accelerator in sorted(sums):
        for state, value in zip(STATES, sums[pool, accelerator], strict=True):
            yield {"pool_id": pool, "accelerator": accelerator, "state": state}, value


def _unknown_jobs(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    if snapshot.jobs is None or not snapshot.complete:
        return ()
    active = (job for job in _whole(snapshot) if job.status.active)
    unknown = Counter(map(_POOL, filter(_is_untold, active)))
    return (
        ({"pool_id": pool}, float(unknown[pool])) for pool in sorted(known_pools(snapshot.totals) | unknown.keys())
    )


def _is_untold(job: Job) -> bool:
    """Whether nobody tells how many accelerators it asks for, or holds."""
    return job.spec_accelerators is None or (job.status_accelerators is None and job.status is not JobStatus.UNKNOWN)


def _buckets(told: Distribution) -> Buckets:
    return Buckets(counts=told.counts, sum=round(told.sum_s, 3))


def _waits(snapshot: ProjectSnapshot) -> Iterable[tuple[Mapping[str, str], Buckets]]:
    waits = snapshot.totals.waits
    return (({"pool_id": pool}, _buckets(waits[pool])) for pool in sorted(waits))


def _runs(snapshot: ProjectSnapshot) -> Iterable[tuple[Mapping[str, str], Buckets]]:
    runs = snapshot.totals.runs
    return (
        ({"pool_id": pool, "status": status.value}, _buckets(runs[pool, status])) for pool, status in sorted(runs)
    )


def _seconds(of: Callable[[Totals], Mapping[Holder, float]]) -> Callable[[ProjectSnapshot], Iterator[Sample]]:
    def samples(snapshot: ProjectSnapshot) -> Iterator[Sample]:
        told = {
            (holder.pool_id, holder.user, holder.accelerator or UNKNOWN_ACCELERATOR): seconds
            for holder, seconds in of(snapshot.totals).items()
        }
        for pool, user, accelerator in sorted(told):
            seconds = round(told[pool, user, accelerator], 3)  # the cloud's times are milliseconds
            yield {"pool_id": pool, "user": user, "accelerator": accelerator}, seconds

    return samples


def _recoveries(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    recoveries = snapshot.totals.recoveries
    return (({"policy": policy}, float(recoveries[policy])) for policy in sorted(recoveries))


OLDEST_QUEUED: Family[ProjectSnapshot] = Family(
    name="modelarts_training_oldest_queued_timestamp_seconds",
    help=(
        "When the job was submitted that has been queued longest in the pool: time() minus this is how long the "
        "queue's head has been waiting. Absent when none waits, and while not all jobs are known."
    ),
    type=Type.GAUGE,
    subject="project",
    source="v1: `create_time`; v2: `metadata.create_time`, of jobs in status queued",
    labels=(POOL_ID,),
    unit="seconds",
    samples=_oldest_queued,
)

ACCELERATORS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_accelerators",
    help=(
        "Accelerators that jobs hold now, and those that queued jobs ask for: the sums over all jobs, those hidden "
        "by a filter included. Short by the jobs of modelarts_training_accelerators_unknown_jobs. "
        "Absent while not all jobs are known."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own: the accelerators of each job, held now and, while it is queued, asked for",
    labels=(POOL_ID, ACCELERATOR, Label(name="state", help="Held by a job, or asked for by one.", values=STATES)),
    samples=_accelerators,
)

UNKNOWN_JOBS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_accelerators_unknown_jobs",
    help=(
        "Active jobs of which no answer tells how many accelerators they have: sums and seconds of accelerators are "
        "short by theirs. Absent while not all jobs are known."
    ),
    type=Type.GAUGE,
    subject="project",
    source="own: active jobs without modelarts_training_job_spec_accelerators that are not known to use CPUs only",
    labels=(POOL_ID,),
    samples=_unknown_jobs,
)

QUEUE_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_queue_seconds",
    help=(
        "How long jobs waited from their submission to their first start, each observed once when it has started. "
        "Jobs that still wait are not in it: see modelarts_training_oldest_queued_timestamp_seconds."
    ),
    type=Type.HISTOGRAM,
    subject="project",
    source="v1: `start_time` - `create_time`; v2: `status.start_time` - `metadata.create_time`",
    labels=(POOL_ID,),
    unit="seconds",
    buckets=QUEUE_BUCKETS_S,
    distributions=_waits,
)

RUN_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_run_seconds",
    help=(
        "How long jobs ran from their first start to their end, each observed once when it has ended. "
        "Jobs that never started, or were deleted before their end was seen, are not in it."
    ),
    type=Type.HISTOGRAM,
    subject="project",
    source="v1: `duration`; v2: `status.duration`, of finished jobs",
    labels=(
        POOL_ID,
        Label(name="status", help="How the job ended.", values=tuple(status.value for status in RUN_STATUSES)),
    ),
    unit="seconds",
    buckets=RUN_BUCKETS_S,
    distributions=_runs,
)

ACCELERATOR_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_accelerator_seconds",
    help=(
        "Seconds for which accelerators were held, one for each accelerator: increase() over 3600 is card-hours. "
        "From the jobs' own durations and nodes over time, as far as the newest poll tells."
    ),
    type=Type.COUNTER,
    subject="project",
    source="v1: `duration` by accelerators; v2: `status.duration` by accelerators, or `status.node_count_metrics`",
    labels=_HOLDER,
    unit="seconds",
    samples=_seconds(lambda totals: totals.held_s),
)

IDLE_ACCELERATOR_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_idle_accelerator_seconds",
    help=(
        "Those accelerator seconds in which every task of the job was below metrics.idle_threshold, in stretches "
        "longer than metrics.idle_grace, which count from their first minute. By whole minutes of the usage series; "
        "a minute without a sample never counts."
    ),
    type=Type.COUNTER,
    subject="project",
    source="v1: `system_metric_list.gpuUtil` or `npuUtil`; v2: task metric `gpuUtil` or `npuUtil`, every minute once",
    labels=_HOLDER,
    unit="seconds",
    samples=_seconds(lambda totals: totals.idle_s),
)

LOST_ACCELERATOR_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_lost_accelerator_seconds",
    help="Those accelerator seconds that were held by runs which ended failed or lost; counted at their end.",
    type=Type.COUNTER,
    subject="project",
    source="own: modelarts_training_accelerator_seconds_total of jobs that ended failed or lost",
    labels=_HOLDER,
    unit="seconds",
    samples=_seconds(lambda totals: totals.lost_s),
)

RECOVERIES: Family[ProjectSnapshot] = Family(
    name="modelarts_training_recoveries",
    help=(
        "Recoveries from faults since the exporter first looked, by how. A policy's series begins at 0 when a job is "
        "met that it was ever used for. v2 only."
    ),
    type=Type.COUNTER,
    subject="project",
    source="v1: none; v2: `status.running_records[].end_recover`, each once",
    labels=(
        Label(name="policy", help="What was restarted or rescheduled; `other` for a word that is not documented."),
    ),
    samples=_recoveries,
)

FAMILIES: tuple[Family[ProjectSnapshot], ...] = (
    OLDEST_QUEUED,
    ACCELERATORS,
    UNKNOWN_JOBS,
    QUEUE_SECONDS,
    RUN_SECONDS,
    ACCELERATOR_SECONDS,
    IDLE_ACCELERATOR_SECONDS,
    LOST_ACCELERATOR_SECONDS,
    RECOVERIES,
)
"""Rendered at publish. Counters and histograms stay while the jobs are withdrawn."""
