"""Families of the accounting of a project: queue, held accelerators, and accelerator time used, idle and lost."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

from exporter.domain import recovery
from exporter.domain.accounting import QUEUE_BUCKETS_S, RUN_BUCKETS_S, RUN_STATUSES, Distribution, Holder
from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot, Totals
from exporter.metrics.exposition.family import Buckets, Family, Label, Sample, Type
from exporter.metrics.families.job import ACCELERATOR, POLICY, SCENARIO, UNKNOWN_ACCELERATOR, accelerator_labels
from exporter.metrics.families.project import POOL_ID, known_pools

STATES = ("held", "queued")

_POOL = attrgetter("pool_id")
_HOLDER = (
    POOL_ID,
    Label(
        name="user",
        help=(
            "Creator of the job, in the form set by `metrics.user_label`; `_other` for users beyond "
            "`metrics.max_users_per_project`. Empty when unknown."
        ),
    ),
    ACCELERATOR,
)


def _all_jobs(snapshot: ProjectSnapshot) -> Iterable[Job]:
    """Return all jobs, or none while some are unknown, because a partial sum would be too small."""
    return (
        () if snapshot.jobs is None or not snapshot.complete else (tracked.job for tracked in snapshot.jobs.values())
    )


def _oldest_queued(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    oldest: dict[str, float] = {}
    for job in _all_jobs(snapshot):
        since = job.waiting_since
        if since is not None:
            oldest[job.pool_id] = min(oldest.get(job.pool_id, since), since)
    return (({"pool_id": pool}, oldest[pool]) for pool in sorted(oldest))


def _accelerators(snapshot: ProjectSnapshot) -> Iterator[Sample]:
    """Give held and queued accelerators of each pool and kind that a known job has or had, zeros included."""
    sums: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    if snapshot.jobs is None or not snapshot.complete:
        return
    for tracked in snapshot.jobs.values():
        labels, job = accelerator_labels(tracked), tracked.job
        if labels is None or _accelerators_unknown(job):
            continue
        held_and_queued = sums[job.pool_id, labels[ACCELERATOR.name]]
        held_and_queued[0] += job.status_accelerators or 0.0
        if job.status is JobStatus.QUEUED:
            held_and_queued[1] += job.spec_accelerators or 0.0
    for holder in snapshot.totals.held_s:  # 0 instead of absent when the last job has ended
        sums[holder.pool_id, holder.accelerator or UNKNOWN_ACCELERATOR]
    for pool, accelerator in sorted(sums):
        for state, value in zip(STATES, sums[pool, accelerator], strict=True):
            yield {"pool_id": pool, "accelerator": accelerator, "state": state}, value


def _unknown_jobs(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    if snapshot.jobs is None or not snapshot.complete:
        return ()
    active = (job for job in _all_jobs(snapshot) if job.status.active)
    unknown = Counter(map(_POOL, filter(_accelerators_unknown, active)))
    return (
        ({"pool_id": pool}, float(unknown[pool])) for pool in sorted(known_pools(snapshot.totals) | unknown.keys())
    )


def _accelerators_unknown(job: Job) -> bool:
    """Return whether the number of requested or held accelerators is unknown."""
    return job.spec_accelerators is None or (job.status_accelerators is None and job.status is not JobStatus.UNKNOWN)


def _buckets(distribution: Distribution) -> Buckets:
    return Buckets(counts=distribution.counts, sum=round(distribution.sum_s, 3))


def _waits(snapshot: ProjectSnapshot) -> Iterable[tuple[Mapping[str, str], Buckets]]:
    waits = snapshot.totals.waits
    return (({"pool_id": pool}, _buckets(waits[pool])) for pool in sorted(waits))


def _runs(snapshot: ProjectSnapshot) -> Iterable[tuple[Mapping[str, str], Buckets]]:
    runs = snapshot.totals.runs
    return (
        ({"pool_id": pool, "status": status.value}, _buckets(runs[pool, status])) for pool, status in sorted(runs)
    )


def _accelerator_seconds(
    of: Callable[[Totals], Mapping[Holder, float]],
) -> Callable[[ProjectSnapshot], Iterator[Sample]]:
    def samples(snapshot: ProjectSnapshot) -> Iterator[Sample]:
        by_labels = {
            (holder.pool_id, holder.user, holder.accelerator or UNKNOWN_ACCELERATOR): seconds
            for holder, seconds in of(snapshot.totals).items()
        }
        for pool, user, accelerator in sorted(by_labels):
            seconds = round(by_labels[pool, user, accelerator], 3)
            yield {"pool_id": pool, "user": user, "accelerator": accelerator}, seconds

    return samples


def _recoveries(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    recoveries = snapshot.totals.recoveries
    return (({"policy": policy}, float(recoveries[policy])) for policy in sorted(recoveries))


def _faults(snapshot: ProjectSnapshot) -> Iterable[Sample]:
    faults = snapshot.totals.faults
    return (
        ({"pool_id": pool, "scenario": scenario, "result": result}, float(faults[pool, scenario, result]))
        for pool, scenario, result in sorted(faults)
    )


def _recovery_times(snapshot: ProjectSnapshot) -> Iterable[tuple[Mapping[str, str], Buckets]]:
    times = snapshot.totals.recovery_times
    return (({"policy": policy}, _buckets(times[policy])) for policy in sorted(times))


OLDEST_QUEUED: Family[ProjectSnapshot] = Family(
    name="modelarts_training_oldest_queued_timestamp_seconds",
    help=(
        "Start of the longest current wait in the pool; time() minus this is its length. The wait of a job that was "
        "preempted begins anew. "
        "Absent when no job is queued, and while some jobs are unknown."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: modelarts_training_job_waiting_since_timestamp_seconds, the earliest",
    labels=(POOL_ID,),
    unit="seconds",
    samples=_oldest_queued,
)

ACCELERATORS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_accelerators",
    help=(
        "Accelerators that jobs hold and that queued jobs request, summed over all jobs, with those that a filter "
        "hides, without those in modelarts_training_accelerators_unknown_jobs. Absent while some jobs are unknown."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: accelerators held by each job, and requested by each queued job",
    labels=(
        POOL_ID,
        ACCELERATOR,
        Label(name="state", help="Held, or requested by a queued job.", values=STATES),
    ),
    samples=_accelerators,
)

UNKNOWN_JOBS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_accelerators_unknown_jobs",
    help=(
        "Active jobs whose number of accelerators is unknown; the sums and seconds of accelerators do not include "
        "them. Absent while some jobs are unknown."
    ),
    type=Type.GAUGE,
    subject="project",
    source="exporter: active jobs with unknown requested or held accelerators",
    labels=(POOL_ID,),
    samples=_unknown_jobs,
)

QUEUE_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_queue_duration_seconds",
    help=(
        "Time from submission to the first start, observed once for each job when it has started. For jobs that are "
        "still queued see modelarts_training_oldest_queued_timestamp_seconds."
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
    name="modelarts_training_run_duration_seconds",
    help=(
        "Time from the first start to the end, observed once for each job when it has ended. Does not include jobs "
        "that never started, or were deleted before the exporter saw their end."
    ),
    type=Type.HISTOGRAM,
    subject="project",
    source="v1: `duration`; v2: `status.duration`, of finished jobs",
    labels=(
        POOL_ID,
        Label(name="status", help="Final status.", values=tuple(status.value for status in RUN_STATUSES)),
    ),
    unit="seconds",
    buckets=RUN_BUCKETS_S,
    distributions=_runs,
)

ACCELERATOR_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_accelerator_seconds",
    help=(
        "Time for which accelerators were held, summed over accelerators; increase() divided by 3600 is "
        "accelerator-hours. From the durations and node counts of the jobs at the newest poll."
    ),
    type=Type.COUNTER,
    subject="project",
    source="v1: `duration` by accelerators; v2: `status.duration` by accelerators, or `status.node_count_metrics`",
    labels=_HOLDER,
    unit="seconds",
    samples=_accelerator_seconds(lambda totals: totals.held_s),
)

IDLE_ACCELERATOR_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_idle_accelerator_seconds",
    help=(
        "Accelerator seconds with every task of the job below metrics.idle_threshold, in periods longer than "
        "metrics.idle_grace, which count from their first minute. In whole minutes; a minute without a sample does "
        "not count."
    ),
    type=Type.COUNTER,
    subject="project",
    source="v1: `system_metric_list.gpuUtil` or `npuUtil`; v2: task metric `gpuUtil` or `npuUtil`, each minute once",
    labels=_HOLDER,
    unit="seconds",
    samples=_accelerator_seconds(lambda totals: totals.idle_s),
)

LOST_ACCELERATOR_SECONDS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_lost_accelerator_seconds",
    help="Accelerator seconds of jobs that ended with status failed or lost, counted at the end of the job.",
    type=Type.COUNTER,
    subject="project",
    source="exporter: modelarts_training_accelerator_seconds_total of jobs that ended failed or lost",
    labels=_HOLDER,
    unit="seconds",
    samples=_accelerator_seconds(lambda totals: totals.lost_s),
)

RECOVERIES: Family[ProjectSnapshot] = Family(
    name="modelarts_training_recoveries",
    help=(
        "Recoveries of jobs from faults since the first poll, by policy. The series of a policy begins at 0, with "
        "the first job for which it was used. v2 only."
    ),
    type=Type.COUNTER,
    subject="project",
    source=(
        "v1: none; v2: `status.running_records[].end_recover`, and `recover_records[]` with result success; "
        "each event once"
    ),
    labels=(POLICY,),
    samples=_recoveries,
)

FAULTS: Family[ProjectSnapshot] = Family(
    name="modelarts_training_faults",
    help=(
        "Faults of jobs since the first poll, each counted once its recovery has a result. Every series of a known "
        "pool begins at 0. v2 only."
    ),
    type=Type.COUNTER,
    subject="project",
    source="v1: none; v2: `status.running_records[].recover_records[]`: `fault_scenario` and `recover_result`",
    labels=(
        POOL_ID,
        SCENARIO,
        Label(
            name="result",
            help=(
                "Result of the recovery; `downgrade` when another policy had to be used, `recovering` when the job "
                "ended during the recovery, `other` for an undocumented or missing value."
            ),
            values=recovery.RESULTS,
        ),
    ),
    samples=_faults,
)

RECOVERY_DURATION: Family[ProjectSnapshot] = Family(
    name="modelarts_training_recovery_duration_seconds",
    help=(
        "Time from the beginning of a recovery to its success, observed once for each recovery since the first poll. "
        "Does not include recoveries that failed or whose times are unknown. v2 only."
    ),
    type=Type.HISTOGRAM,
    subject="project",
    source="v1: none; v2: `status.running_records[].recover_records[]`: `recover_end_at` - `recover_start_at`",
    labels=(POLICY,),
    unit="seconds",
    buckets=recovery.BUCKETS_S,
    distributions=_recovery_times,
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
    FAULTS,
    RECOVERY_DURATION,
)
"""Rendered at publish. Counters and histograms stay while the jobs are withdrawn."""
