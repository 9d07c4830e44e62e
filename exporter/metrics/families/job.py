"""Families of one job: description, status, timestamps, requested and held resources, faults."""

import re
from collections.abc import Callable, Iterable, Mapping

from exporter.domain import recovery
from exporter.domain.job import REASONS, RUNTIME_TYPES, Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.metrics.exposition.family import Family, Label, Sample, Stability, Type
from exporter.metrics.exposition.single import SingleSample

UNKNOWN_ACCELERATOR = "unknown"
"""Kind of an accelerator that exists, but of which the API does not say whether it is a GPU or an NPU.

Without such jobs, sums over a cluster would be too small. With an empty label, they would be missing from legends and
from `accelerator=~".+"`.
"""

ACCELERATOR = Label(
    name="accelerator",
    help=(
        "Kind of accelerator; `cpu` for a job or flavor that is known to have none, `unknown` when the API does not "
        "show the kind. Numbers and usage of accelerators have no series for CPU jobs."
    ),
    values=(*(kind.value for kind in Accelerator), UNKNOWN_ACCELERATOR),
)
POLICY = Label(
    name="policy",
    help="What was restarted or rescheduled; `other` for an undocumented value.",
    values=recovery.POLICIES,
)
SCENARIO = Label(name="scenario", help="Kind of fault; `other` for an undocumented value.", values=recovery.SCENARIOS)
MEASURES = ("precision", "recall", "accuracy", "f1")
"""The model metrics that are ratios. Other metrics that a job reports about its model have no defined meaning."""
MAX_EXIT_CODES = 8
"""A large job can fail on every node at once. The first tasks suffice for a diagnosis and limit the series."""
MAX_TASK_FAULTS = 8
"""The tasks with the most faults: one that fails again and again is among them, however large the job."""

_BY_ACCELERATOR: Mapping[Accelerator | None, Mapping[str, str]] = {
    kind: {ACCELERATOR.name: UNKNOWN_ACCELERATOR if kind is None else kind.value}
    for kind in (Accelerator.GPU, Accelerator.NPU, None)
}
_BY_STATUS: Mapping[JobStatus, Mapping[str, str]] = {status: {"status": status.value} for status in JobStatus}
_DIGITS = re.compile(r"(\d+)")


def accelerator_labels(tracked: TrackedJob) -> Mapping[str, str] | None:
    """Return the label with the kind of accelerator; None for a job that is known to have none."""
    job = tracked.job
    if job.accelerator is Accelerator.CPU or job.spec_accelerators == 0:
        return None
    return _BY_ACCELERATOR[job.accelerator]


def natural_order(task: str) -> list[str | int]:
    """Return a sort key that puts "worker-2" before "worker-10"."""
    return [int(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(task))]


def _job(tracked: TrackedJob) -> Job:
    return tracked.job


def _value(value: Callable[[Job], float | None]) -> SingleSample[TrackedJob, Job]:
    """Build at most one sample without labels."""
    return SingleSample(part=_job, value=value)


def _by_accelerator(value: Callable[[Job], float | None]) -> SingleSample[TrackedJob, Job]:
    """Build at most one sample with the kind of accelerator."""
    return SingleSample(part=_job, value=value, labels=accelerator_labels)


def _labels_only(labels: Callable[[TrackedJob], Mapping[str, str] | None]) -> SingleSample[TrackedJob, Job]:
    """Build at most one sample with the value 1, which carries its information in labels."""
    return SingleSample(part=_job, value=None, labels=labels)


def _info(tracked: TrackedJob) -> Mapping[str, str]:
    job = tracked.job
    return {
        "job_name": job.name,
        "version": job.version,
        "parent_job_id": job.parent_job_id,
        "user": job.user,
        "workspace_id": job.workspace_id,
        "pool_id": job.pool_id,
        "flavor": job.flavor,
        "accelerator": job.accelerator or UNKNOWN_ACCELERATOR,
        "accelerator_model": job.accelerator_model,
        "engine": job.engine,
        "api": job.api,
        "kind": job.kind,
        "runtime_type": job.runtime_type,
        "preemptible": "" if job.preemptible is None else str(job.preemptible).lower(),
    }


def _status(tracked: TrackedJob) -> Mapping[str, str]:
    return _BY_STATUS[tracked.job.status]


def _status_reason(tracked: TrackedJob) -> Mapping[str, str] | None:
    return {"reason": tracked.job.reason} if tracked.job.reason else None


def _quality(tracked: TrackedJob) -> Iterable[Sample]:
    quality = tracked.job.quality
    if not quality:
        return ()
    return (({"measure": measure}, quality[measure]) for measure in MEASURES if measure in quality)


def _counted(
    label: str, counts: Callable[[Job], Mapping[str, int] | None]
) -> Callable[[TrackedJob], Iterable[Sample]]:
    """Build one sample for each counted value of the label."""

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        counted = counts(tracked.job)
        return (({label: value}, float(counted[value])) for value in sorted(counted)) if counted else ()

    return samples


def _task_exit_codes(tracked: TrackedJob) -> Iterable[Sample]:
    codes = tracked.job.task_exit_codes
    if not codes:
        return ()
    shown = sorted(codes, key=natural_order)[:MAX_EXIT_CODES]
    return (({"task": task}, float(codes[task])) for task in shown)


def _task_faults(tracked: TrackedJob) -> Iterable[Sample]:
    faults = tracked.job.task_faults
    if not faults:
        return ()
    worst = sorted(faults, key=lambda task: (-faults[task], natural_order(task)))[:MAX_TASK_FAULTS]
    return (({"task": task}, float(faults[task])) for task in sorted(worst, key=natural_order))


INFO: Family[TrackedJob] = Family(
    name="modelarts_training_job",
    help=(
        "Always 1; the labels describe the job. A label is empty when its value is unknown; some values are known "
        "only after the start. Join: X * on (project, job_id) group_left (user) modelarts_training_job_info."
    ),
    type=Type.INFO,
    subject="job",
    source=(
        "v1: job and version record (`job_name`, `version_name`, `pool_id`, `flavor_code`, `gpu_type`…); "
        "v2: `metadata`, `algorithm.engine`, `spec.resource`, `kind`"
    ),
    labels=(
        Label(name="job_name", help="Display name; not unique, not even within a project."),
        Label(name="version", help="v1 version name such as V0001; empty for v2."),
        Label(name="parent_job_id", help="v1: id of the job that this is a version of; empty for v2."),
        Label(name="user", help="Creator of the job, in the form set by `metrics.user_label`."),
        Label(name="workspace_id", help="Workspace; 0 is the default one."),
        Label(name="pool_id", help="Dedicated pool; empty for the public pool."),
        Label(name="flavor", help="Flavor code of the nodes."),
        ACCELERATOR,
        Label(name="accelerator_model", help="Product name of the accelerator; the cloud masks some of them."),
        Label(name="engine", help="Framework and version; empty for custom images."),
        Label(name="api", help="API generation that lists the job.", values=tuple(api.value for api in Api)),
        Label(
            name="kind",
            help=(
                "v2: kind of job, `fine_tuning_job` for a fine-tuning job, `unknown` for an undocumented one. "
                "v1: always `job`."
            ),
        ),
        Label(
            name="runtime_type",
            help="v2: what the job is for; a debug job idles by design. Empty for v1 and when unknown.",
            values=RUNTIME_TYPES,
        ),
        Label(
            name="preemptible",
            help="v2: whether a job of higher priority may take its nodes. Empty for v1 and when unknown.",
            values=("true", "false"),
        ),
    ),
    samples=_labels_only(_info),
)

STATUS: Family[TrackedJob] = Family(
    name="modelarts_training_job_status",
    help=(
        "1 for the current status of the job. Other statuses have no series, so a sum counts each job once. "
        "The series of a finished job are kept for the retention period."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `status` (number); v2: `status.phase`, refined by `status.secondary_phase`",
    labels=(
        Label(
            name="status",
            help="Status, normalised over both API generations; `failed` and `lost` are failures.",
            values=tuple(status.value for status in JobStatus),
        ),
    ),
    samples=_labels_only(_status),
)

STATUS_REASON: Family[TrackedJob] = Family(
    name="modelarts_training_job_status_reason",
    help=(
        "1 for the reason that the API gives for the status, such as the step at which a job failed. "
        "Absent when it gives none."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: name of `status`; v2: `status.secondary_phase`",
    labels=(
        Label(
            name="reason",
            help="The same words for both API generations; `other` for an undocumented value.",
            values=REASONS,
        ),
    ),
    samples=_labels_only(_status_reason),
)

SUBMITTED: Family[TrackedJob] = Family(
    name="modelarts_training_job_submitted_timestamp_seconds",
    help=(
        "Time of submission. For the wait of a queued job so far see "
        "modelarts_training_job_waiting_since_timestamp_seconds."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `create_time`; v2: `metadata.create_time`",
    unit="seconds",
    samples=_value(lambda job: job.submitted_at),
)

WAITING_SINCE: Family[TrackedJob] = Family(
    name="modelarts_training_job_waiting_since_timestamp_seconds",
    help=(
        "Start of the current wait of a job with status queued; time() minus this is how long it has been waiting. "
        "The submission, or for a job that was preempted or queued again, the time at which it lost its nodes. "
        "Absent for other jobs."
    ),
    type=Type.GAUGE,
    subject="job",
    source=(
        "v1: `create_time`, or `start_time` + `duration`; v2: `metadata.create_time`, or the step of "
        "`status.node_count_metrics` to 0 and `status.running_records[].end_at`"
    ),
    unit="seconds",
    samples=_value(lambda job: job.waiting_since),
)

PRIORITY: Family[TrackedJob] = Family(
    name="modelarts_training_job_priority",
    help="Priority of the job in its pool; a higher one goes first. Absent for v1 and when unknown.",
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `spec.schedule_policy.priority`",
    stability=Stability.EXPERIMENTAL,
    samples=_value(lambda job: job.priority),
)

START: Family[TrackedJob] = Family(
    name="modelarts_training_job_start_timestamp_seconds",
    help=(
        "Time of the first start. Absent before it. For a running job, time() minus this is its run time so far; "
        "unlike the reported run duration it does not lag by a poll."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `start_time`; v2: `status.start_time`",
    unit="seconds",
    samples=_value(lambda job: job.started_at),
)

END: Family[TrackedJob] = Family(
    name="modelarts_training_job_end_timestamp_seconds",
    help=(
        "Time of the end, from the times in the API; without them, the time at which the exporter saw the job ended. "
        "Absent before it."
    ),
    type=Type.GAUGE,
    subject="job",
    source=(
        "v1: `end_time`, else `start_time` + `duration`, else the clock of the exporter; "
        "v2: `status.start_time` + `status.duration`, else `running_records[].end_at`, else the clock of the exporter"
    ),
    unit="seconds",
    samples=_value(lambda job: job.ended_at),
)

QUEUE_DURATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_queue_duration_seconds",
    help=(
        "Time from submission to the first start. Absent before the start: "
        "then use time() minus modelarts_training_job_waiting_since_timestamp_seconds."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `start_time` - `create_time`; v2: `status.start_time` - `metadata.create_time`",
    unit="seconds",
    samples=_value(lambda job: job.queue_duration_s),
)

RUN_DURATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_run_duration_seconds",
    help=(
        "Run time as reported by the API at the newest poll; the total run time of a finished job. "
        "Absent before the start."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `duration`; v2: `status.duration`",
    unit="seconds",
    samples=_value(lambda job: job.run_duration_s),
)

SPEC_NODES: Family[TrackedJob] = Family(
    name="modelarts_training_job_spec_nodes",
    help="Nodes that the job requests, whether it holds them or not. Absent when unknown.",
    type=Type.GAUGE,
    subject="job",
    source="v1: `worker_server_num`; v2: `spec.resource.node_count`",
    samples=_value(lambda job: job.spec_nodes),
)

STATUS_NODES: Family[TrackedJob] = Family(
    name="modelarts_training_job_status_nodes",
    help=(
        "Nodes that the job holds: 0 while it is queued and after its end. Fewer than requested: it runs degraded. "
        "Absent when the status or the number is unknown."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `worker_server_num` by status; v2: last of `status.node_count_metrics`, else `node_count` by status",
    samples=_value(lambda job: job.status_nodes),
)

SPEC_ACCELERATORS: Family[TrackedJob] = Family(
    name="modelarts_training_job_spec_accelerators",
    help=(
        "Accelerators that the job requests, on all its nodes. Absent for CPU jobs and when no API field gives the "
        "number. The sum over queued jobs is the unmet demand."
    ),
    type=Type.GAUGE,
    subject="job",
    source=(
        "v1: `gpu_num`, `npu_num`, `flavor_info`; v2: `flavor_detail.flavor_info.{gpu,npu}.unit_num` by `node_count` "
        "or the first available fallback for dedicated pools"
    ),
    labels=(ACCELERATOR,),
    samples=_by_accelerator(lambda job: job.spec_accelerators),
)

STATUS_ACCELERATORS: Family[TrackedJob] = Family(
    name="modelarts_training_job_status_accelerators",
    help=(
        "Accelerators that the job holds, on all its nodes: 0 while it is queued and after its end. Absent for CPU "
        "jobs and when the nodes or the requested accelerators are unknown."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1, v2: requested accelerators, multiplied by the share of requested nodes that is held",
    labels=(ACCELERATOR,),
    samples=_by_accelerator(lambda job: job.status_accelerators),
)

QUALITY: Family[TrackedJob] = Family(
    name="modelarts_training_job_quality_ratio",
    help=(
        "Quality of the trained model as evaluated by the job. Only for v1 jobs of built-in algorithms "
        "that evaluate; absent for a measure that the job does not report."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `model_metric_list.total_metric.total_metric_values`; v2: none",
    labels=(Label(name="measure", help="Metric of the model.", values=MEASURES),),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_quality,
)

RECOVERIES: Family[TrackedJob] = Family(
    name="modelarts_training_job_recoveries",
    help=(
        "Recoveries of the job from faults so far. Absent for v1 and for a policy that was never used. "
        "Use delta(): it is a gauge, because the list in the API may become shorter."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records[].end_recover`, and `recover_records[]` with result success",
    labels=(POLICY,),
    stability=Stability.EXPERIMENTAL,
    samples=_counted("policy", lambda job: job.recoveries),
)

DEGRADED_RECOVERIES: Family[TrackedJob] = Family(
    name="modelarts_training_job_degraded_recoveries",
    help=(
        "Recoveries in which the first policy failed, by that policy. A restart in place that becomes a rescheduling "
        "takes minutes instead of seconds. Absent like modelarts_training_job_recoveries."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records[].end_recover_before_downgrade`",
    labels=(
        Label(
            name="policy",
            help="Policy that was tried first; `other` for an undocumented value.",
            values=recovery.POLICIES,
        ),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_counted("policy", lambda job: job.degraded_recoveries),
)

FAULTS: Family[TrackedJob] = Family(
    name="modelarts_training_job_faults",
    help=(
        "Faults detected in the job so far, with those healed in place. Absent for v1 and for a scenario that never "
        "occurred. "
        "Use delta(): it is a gauge, because the list in the API may become shorter."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records[].recover_records[].fault_scenario`",
    labels=(SCENARIO,),
    stability=Stability.EXPERIMENTAL,
    samples=_counted("scenario", lambda job: job.faults),
)

LAST_RECOVERY: Family[TrackedJob] = Family(
    name="modelarts_training_job_last_recovery_timestamp_seconds",
    help=(
        "Time of the last recovery from a fault. In the future while the job is being recovered. "
        "Absent before the first recovery and for v1."
    ),
    type=Type.GAUGE,
    subject="job",
    source=(
        "v1: none; v2: `status.running_records[].start_at`, the last one, or "
        "`recover_records[].recover_end_at` of a fault healed in place"
    ),
    unit="seconds",
    stability=Stability.EXPERIMENTAL,
    samples=_value(lambda job: job.last_recovery_at),
)

CRASH_LOOP_RUNS: Family[TrackedJob] = Family(
    name="modelarts_training_job_crash_loop_runs",
    help=(
        "Consecutive newest runs of an active job that failed within 10 minutes of their start and were recovered; "
        "above 1 the job makes no progress. 0 once a run has lasted longer. Absent for v1 and without such records."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records`, duration of the newest ones that end in a recovery",
    stability=Stability.EXPERIMENTAL,
    samples=_value(lambda job: job.crash_loop_runs if job.status.active else None),
)

TASK_EXIT_CODE: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_exit_code",
    help=(
        "Exit code of a failed task, for the first 8 tasks by name; the API may report only one. "
        "Absent for tasks that did not fail and for v1. 137 often means out of memory."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.task_statuses[].exit_code`",
    labels=(Label(name="task", help="Task id, such as worker-0."),),
    samples=_task_exit_codes,
)

TASK_FAULTS: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_faults",
    help=(
        "Faults of the job so far that a task caused, for the 8 tasks with the most. A task that fails again and "
        "again often runs on a bad node. Absent for other tasks and for v1. Use delta(): it is a gauge."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records[].recover_records[].related_task`, else `end_related_task`",
    labels=(Label(name="task", help="Task id, such as worker-0."),),
    stability=Stability.EXPERIMENTAL,
    samples=_task_faults,
)

FAMILIES: tuple[Family[TrackedJob], ...] = (
    INFO,
    STATUS,
    STATUS_REASON,
    SUBMITTED,
    WAITING_SINCE,
    PRIORITY,
    START,
    END,
    QUEUE_DURATION,
    RUN_DURATION,
    SPEC_NODES,
    STATUS_NODES,
    SPEC_ACCELERATORS,
    STATUS_ACCELERATORS,
    QUALITY,
    RECOVERIES,
    DEGRADED_RECOVERIES,
    FAULTS,
    LAST_RECOVERY,
    CRASH_LOOP_RUNS,
    TASK_EXIT_CODE,
    TASK_FAULTS,
)
"""Rendered for each visible job, when it has changed."""
