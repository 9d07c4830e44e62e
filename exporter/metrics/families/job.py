"""The families of one job: what it is, where it stands, when it got there, and what it asks for and holds."""

import re
from collections.abc import Callable, Iterable, Mapping

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.metrics.exposition.family import Family, Label, Sample, Stability, Type
from exporter.metrics.exposition.single import SingleSample

UNKNOWN_ACCELERATOR = "unknown"
"""The kind of an accelerator that certainly exists although nothing tells whether it is a GPU or an NPU.

Leaving such a job out would make sums over a cluster too small, and an empty label would vanish from legends and
escape `accelerator=~".+"`; so the one place where we know that we do not know has a word of its own.
"""

ACCELERATOR = Label(
    name="accelerator",
    help="Kind of accelerator; `unknown` when the job has some but the cloud masks which. CPU jobs have no series.",
    values=(Accelerator.GPU.value, Accelerator.NPU.value, UNKNOWN_ACCELERATOR),
)
MEASURES = ("precision", "recall", "accuracy", "f1")
"""The model metrics that are ratios; whatever else a job reports about its model has no bounded meaning."""
MOST_EXIT_CODES = 8
"""A large job fails on every node at once; the first few tasks tell the story, the rest would only be series."""

_BY_ACCELERATOR: Mapping[Accelerator | None, Mapping[str, str]] = {
    kind: {ACCELERATOR.name: UNKNOWN_ACCELERATOR if kind is None else kind.value}
    for kind in (Accelerator.GPU, Accelerator.NPU, None)
}
_BY_STATUS: Mapping[JobStatus, Mapping[str, str]] = {status: {"status": status.value} for status in JobStatus}
_DIGITS = re.compile(r"(\d+)")


def accelerator_labels(tracked: TrackedJob) -> Mapping[str, str] | None:
    """Labels of what is counted or measured by kind of accelerator; None for a job known to hold none."""
    job = tracked.job
    if job.accelerator is Accelerator.CPU or job.spec_accelerators == 0:
        return None
    return _BY_ACCELERATOR[job.accelerator]


def natural_order(task: str) -> list[str | int]:
    """Sort key that puts "worker-2" before "worker-10"."""
    return [int(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(task))]


def _the_job(tracked: TrackedJob) -> Job:
    return tracked.job


def _one(value: Callable[[Job], float | None]) -> SingleSample[TrackedJob, Job]:
    """Build one sample without labels, or none."""
    return SingleSample(part=_the_job, value=value)


def _by_accelerator(value: Callable[[Job], float | None]) -> SingleSample[TrackedJob, Job]:
    """Build one sample with the kind of accelerator, or none."""
    return SingleSample(part=_the_job, value=value, labels=accelerator_labels)


def _told(labels: Callable[[TrackedJob], Mapping[str, str] | None]) -> SingleSample[TrackedJob, Job]:
    """Build one sample that is always 1, or none: what it says is in its labels."""
    return SingleSample(part=_the_job, value=None, labels=labels)


def _info(tracked: TrackedJob) -> Mapping[str, str]:
    job = tracked.job
    return {
        "job_name": job.name,
        "version": job.version,
        "user": job.user,
        "workspace_id": job.workspace_id,
        "pool_id": job.pool_id,
        "flavor": job.flavor,
        "accelerator": job.accelerator or "",
        "accelerator_model": job.accelerator_model,
        "engine": job.engine,
        "api": job.api,
        "kind": job.kind,
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
    """Build one sample for each word that was counted."""

    def samples(tracked: TrackedJob) -> Iterable[Sample]:
        counted = counts(tracked.job)
        return (({label: word}, float(counted[word])) for word in sorted(counted)) if counted else ()

    return samples


def _task_exit_codes(tracked: TrackedJob) -> Iterable[Sample]:
    codes = tracked.job.task_exit_codes
    if not codes:
        return ()
    shown = sorted(codes, key=natural_order)[:MOST_EXIT_CODES]
    return (({"task": task}, float(codes[task])) for task in shown)


INFO: Family[TrackedJob] = Family(
    name="modelarts_training_job",
    help=(
        "Always 1; its labels describe the job. An empty one means that the cloud does not say, or not yet: some are "
        "known only after the start. Join it to any job series: X * on (project, job_id) group_left (user) this."
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
        Label(name="user", help="Who created the job; shaped by the setting `metrics.user_label`."),
        Label(name="workspace_id", help="Workspace; 0 is the default one."),
        Label(name="pool_id", help="Dedicated pool; empty for the public pool."),
        Label(name="flavor", help="Flavor code of the nodes."),
        Label(
            name="accelerator",
            help="What the job computes on; `cpu` means known to hold no accelerator, empty that nothing tells.",
            values=tuple(kind.value for kind in Accelerator),
        ),
        Label(name="accelerator_model", help="Product name of the accelerator; the cloud masks some."),
        Label(name="engine", help="Framework and version; empty for custom images."),
        Label(name="api", help="API generation that tells of the job.", values=tuple(api.value for api in Api)),
        Label(name="kind", help="v2 kind of job (`unknown` for one that is not documented); v1 is always `job`."),
    ),
    samples=_told(_info),
)

STATUS: Family[TrackedJob] = Family(
    name="modelarts_training_job_status",
    help=(
        "1 for the status the job is in; the others have no series, so sums over jobs count each once. "
        "Finished jobs keep theirs for the retention, then all series of the job vanish."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `status` (number); v2: `status.phase`, refined by `status.secondary_phase`",
    labels=(
        Label(
            name="status",
            help="Normalised over both generations; `failed` and `lost` are the failures.",
            values=tuple(status.value for status in JobStatus),
        ),
    ),
    samples=_told(_status),
)

STATUS_REASON: Family[TrackedJob] = Family(
    name="modelarts_training_job_status_reason",
    help=(
        "1 for the cloud's own word that refines the status, such as the step at which a job failed. "
        "Absent when the cloud gives none."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: name of `status`; v2: `status.secondary_phase`",
    labels=(
        Label(name="reason", help="v1 status name or v2 secondary phase; `other` for one that is not documented."),
    ),
    samples=_told(_status_reason),
)

SUBMITTED: Family[TrackedJob] = Family(
    name="modelarts_training_job_submitted_timestamp_seconds",
    help=(
        "When the job was submitted. For a job that waits, time() minus this is how long it has waited so far; "
        "combine it with the status queued."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `create_time`; v2: `metadata.create_time`",
    unit="seconds",
    samples=_one(lambda job: job.submitted_at),
)

START: Family[TrackedJob] = Family(
    name="modelarts_training_job_start_timestamp_seconds",
    help=(
        "When the job first started. Absent before that. For a running job, time() minus this is its age, "
        "without the lag of one poll that the reported run duration has."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `start_time`; v2: `status.start_time`",
    unit="seconds",
    samples=_one(lambda job: job.started_at),
)

END: Family[TrackedJob] = Family(
    name="modelarts_training_job_end_timestamp_seconds",
    help=(
        "When the job ended, from the times the API gives; where those do not suffice, when the exporter saw it end. "
        "Absent until then."
    ),
    type=Type.GAUGE,
    subject="job",
    source=(
        "v1: `end_time`, else `start_time` + `duration`, else own clock; "
        "v2: `status.start_time` + `status.duration`, else `running_records[].end_at`, else own clock"
    ),
    unit="seconds",
    samples=_one(lambda job: job.ended_at),
)

QUEUE_DURATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_queue_duration_seconds",
    help=(
        "How long the job waited from its submission to its first start. Absent while it still waits: "
        "then take time() minus the submitted timestamp."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `start_time` - `create_time`; v2: `status.start_time` - `metadata.create_time`",
    unit="seconds",
    samples=_one(lambda job: job.queue_duration_s),
)

RUN_DURATION: Family[TrackedJob] = Family(
    name="modelarts_training_job_run_duration_seconds",
    help=(
        "How long the job has run, as the API reports it at each poll; its final length once it has ended. "
        "Absent before the start."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `duration`; v2: `status.duration`",
    unit="seconds",
    samples=_one(lambda job: job.run_duration_s),
)

SPEC_NODES: Family[TrackedJob] = Family(
    name="modelarts_training_job_spec_nodes",
    help="Nodes the job asks for, whether it has them or not. Absent when the cloud does not say.",
    type=Type.GAUGE,
    subject="job",
    source="v1: `worker_server_num`; v2: `spec.resource.node_count`",
    samples=_one(lambda job: job.spec_nodes),
)

STATUS_NODES: Family[TrackedJob] = Family(
    name="modelarts_training_job_status_nodes",
    help=(
        "Nodes the job holds now: 0 while it waits and once it has ended. Below the spec it runs degraded. "
        "Absent when its status is unknown or the cloud does not say."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `worker_server_num` by status; v2: last of `status.node_count_metrics`, else `node_count` by status",
    samples=_one(lambda job: job.status_nodes),
)

SPEC_ACCELERATORS: Family[TrackedJob] = Family(
    name="modelarts_training_job_spec_accelerators",
    help=(
        "Accelerators the job asks for, over all its nodes. Absent for CPU jobs and when no field of the cloud tells "
        "the number; summed over the status queued it is the demand that waits."
    ),
    type=Type.GAUGE,
    subject="job",
    source=(
        "v1: `gpu_num`, `npu_num`, `flavor_info`; v2: `flavor_detail.flavor_info.{gpu,npu}.unit_num` by `node_count` "
        "or the first of the fallbacks for dedicated pools that answers"
    ),
    labels=(ACCELERATOR,),
    samples=_by_accelerator(lambda job: job.spec_accelerators),
)

STATUS_ACCELERATORS: Family[TrackedJob] = Family(
    name="modelarts_training_job_status_accelerators",
    help=(
        "Accelerators the job holds now, over all its nodes: 0 while it waits and once it has ended. Absent for CPU "
        "jobs and when nodes or demand are unknown; joined to the info by user it says who holds what."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1, v2: the accelerators asked for, by the share of nodes held",
    labels=(ACCELERATOR,),
    samples=_by_accelerator(lambda job: job.status_accelerators),
)

QUALITY: Family[TrackedJob] = Family(
    name="modelarts_training_job_quality_ratio",
    help=(
        "How good the trained model is by its own evaluation. Present only for v1 jobs of built-in algorithms "
        "that evaluate; a measure they do not report is absent."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: `model_metric_list.total_metric.total_metric_values`; v2: none",
    labels=(Label(name="measure", help="The model metric.", values=MEASURES),),
    unit="ratio",
    stability=Stability.EXPERIMENTAL,
    samples=_quality,
)

RECOVERIES: Family[TrackedJob] = Family(
    name="modelarts_training_job_recoveries",
    help=(
        "How often the cloud has recovered the job from a fault so far. A policy never used has no series, v1 jobs "
        "have none at all. A gauge: use delta(), because the cloud's list may shrink."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records[].end_recover`",
    labels=(
        Label(name="policy", help="What was restarted or rescheduled; `other` for a word that is not documented."),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_counted("policy", lambda job: job.recoveries),
)

DEGRADED_RECOVERIES: Family[TrackedJob] = Family(
    name="modelarts_training_job_degraded_recoveries",
    help=(
        "Recoveries for which the policy that was tried first did not suffice, by that policy: a restart in place "
        "that became a new scheduling takes minutes where it should take seconds. Absent as the recoveries are."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records[].end_recover_before_downgrade`",
    labels=(Label(name="policy", help="What was tried first; `other` for a word that is not documented."),),
    stability=Stability.EXPERIMENTAL,
    samples=_counted("policy", lambda job: job.degraded_recoveries),
)

FAULTS: Family[TrackedJob] = Family(
    name="modelarts_training_job_faults",
    help=(
        "Faults the cloud has found in the job so far, by what broke. A scenario that never came has no series, v1 "
        "jobs have none at all. A gauge: use delta(), because the cloud's list may shrink."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.recover_records[].fault_scenario`",
    labels=(Label(name="scenario", help="What broke; `other` for a word that is not documented."),),
    stability=Stability.EXPERIMENTAL,
    samples=_counted("scenario", lambda job: job.faults),
)

LAST_RECOVERY: Family[TrackedJob] = Family(
    name="modelarts_training_job_last_recovery_timestamp_seconds",
    help=(
        "When the job last began to run again after a fault. Later than time(): it is being recovered. "
        "Absent before the first recovery and for v1."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records[].start_at`, the last one",
    unit="seconds",
    stability=Stability.EXPERIMENTAL,
    samples=_one(lambda job: job.last_recovery_at),
)

CRASH_LOOP_RUNS: Family[TrackedJob] = Family(
    name="modelarts_training_job_crash_loop_runs",
    help=(
        "The newest runs in a row of an active job that each broke within 10 minutes of their start and were "
        "recovered: above 1 it gets nothing done. 0 once a run has lasted longer. Absent without such records: v1."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.running_records`, lengths of the newest ones that end in a recovery",
    stability=Stability.EXPERIMENTAL,
    samples=_one(lambda job: job.crash_loop_runs if job.status.active else None),
)

TASK_EXIT_CODE: Family[TrackedJob] = Family(
    name="modelarts_training_job_task_exit_code",
    help=(
        "Exit code of a task that failed, for the first 8 tasks by name; the cloud may tell only one. "
        "Absent for tasks that did not fail and for v1. 137 often means out of memory."
    ),
    type=Type.GAUGE,
    subject="job",
    source="v1: none; v2: `status.task_statuses[].exit_code`",
    labels=(Label(name="task", help="Task id such as worker-0."),),
    samples=_task_exit_codes,
)

FAMILIES: tuple[Family[TrackedJob], ...] = (
    INFO,
    STATUS,
    STATUS_REASON,
    SUBMITTED,
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
)
"""Rendered for each visible job, when it has changed."""
