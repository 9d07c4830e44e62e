"""Converts a v2 job to a `Job`. Never fails: an impossible value is noted and left out, and the job is kept."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from exporter.cloud.decode import values
from exporter.cloud.decode.lenient import decode
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.v2 import phases, records, wire
from exporter.cloud.v2.nodes import steps
from exporter.cloud.v2.requested_resources import requested_resources
from exporter.domain.job import RUNTIME_TYPES, Api, Job, JobStatus
from exporter.domain.recovery import OTHER

KINDS = (
    "job",
    "hetero_job",
    "autosearch_job",
    "mrs_job",
    "edge_job",
    "federated_pool_job",
    "diag_job",
    "visualization_job",
)
"""The documented kinds; any other becomes `UNKNOWN_KIND`."""

FINE_TUNING_KIND = "fine_tuning_job"
"""A fine-tuning job: its own `kind` is that of a custom job, and `ftjob_config` is filled (SDK `JobResponse`)."""

_FINE_TUNING_WORDS = frozenset({"ftjob", "ft_job", "finetune_job", FINE_TUNING_KIND})

UNKNOWN_KIND = "unknown"

_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")  # it becomes part of a URL and a label
_JOB_ID = _TASK_ID
_EXIT_CODES = 2**31  # exit codes of processes, shells and signals are far smaller


def job(raw: bytes | msgspec.Raw, *, workspace_id: str = "", note: NoteUnknown) -> Job | None:
    """Read an item of a listing, or a detail; None when it has no valid id (noted as "v2.items").

    `workspace_id` is the requested one, used when the job does not contain its own.
    """
    read = decode(raw, wire.Job, field="v2.items", note=note)
    if read is None:
        return None
    metadata = read.metadata or wire.Metadata()
    status = read.status or wire.Status()
    job_id = values.text(metadata.id)
    if not _JOB_ID.fullmatch(job_id):
        note("v2.items", "no valid metadata.id")
        return None
    job_status = phases.status(status.phase, status.secondary_phase, note=note)
    tasks = _tasks(status.tasks, note=note)
    requested = requested_resources(read, tasks, note=note)
    spec = read.spec or wire.Spec()
    resource, policy = spec.resource or wire.Resource(), spec.schedule_policy or wire.SchedulePolicy()
    engine = (read.algorithm and read.algorithm.engine) or wire.Engine()
    submitted_at = values.moment(metadata.create_time, field="v2.metadata.create_time", note=note)
    started_at = values.moment(status.start_time, field="v2.status.start_time", note=note)
    run_duration_s = values.duration(status.duration, field="v2.status.duration", note=note)
    if started_at is None and not run_duration_s:
        run_duration_s = None  # 0 with a start of 0 means "not started", not "ran for no time"
    nodes = steps(status.node_count_metrics, note=note)
    runs = records.running(
        status.running_records,
        now=None if started_at is None or run_duration_s is None else started_at + run_duration_s,
        note=note,
    )
    return Job(
        job_id=job_id,
        api=Api.V2,
        name=values.text(metadata.name),
        user=values.text(metadata.user_name),
        workspace_id=values.text(metadata.workspace_id) or workspace_id,
        pool_id=values.text(resource.pool_id) or values.text(resource.pool_group_id),
        flavor=values.text(resource.flavor_id),
        accelerator=requested.kind,
        accelerator_model=requested.model,
        engine=values.text(engine.engine_version) or values.text(engine.engine_name),
        kind=_kind(read.kind, read.ftjob_config, note=note),
        status=job_status,
        reason=phases.reason(status.secondary_phase, note=note),
        runtime_type=_runtime_type(spec.runtime_type, note=note),
        preemptible=_flag(policy.preemptible, field="v2.spec.schedule_policy.preemptible", note=note),
        priority=values.quantity(policy.priority, field="v2.spec.schedule_policy.priority", note=note),
        submitted_at=submitted_at,
        started_at=started_at,
        requeued_at=_requeued_at(
            job_status, nodes=nodes, records=status.running_records, submitted_at=submitted_at, note=note
        ),
        ended_at=_end_time(
            job_status,
            started_at=started_at,
            run_duration_s=run_duration_s,
            submitted_at=submitted_at,
            records=status.running_records,
            note=note,
        ),
        run_duration_s=run_duration_s,
        spec_nodes=requested.nodes,
        reported_nodes=nodes[-1][1] if nodes else None,
        node_steps=_node_steps(nodes, requested=requested.nodes, started_at=started_at),
        spec_accelerators=requested.accelerators,
        tasks=tasks,
        task_exit_codes=_exit_codes(status.task_statuses, note=note),
        recoveries=runs.recoveries,
        degraded_recoveries=runs.degraded,
        faults=None if runs.faults is None else {each: sum(by.values()) for each, by in runs.faults.items()},
        fault_results=runs.faults,
        recovery_times=runs.recovery_times,
        task_faults=_task_faults(runs.task_faults, note=note),
        last_recovery_at=runs.last_recovery_at,
        crash_loop_runs=runs.crash_loop_runs,
    )


def _kind(value: object, ftjob_config: object, *, note: NoteUnknown) -> str:
    if isinstance(ftjob_config, dict) and any(ftjob_config.values()):
        return FINE_TUNING_KIND
    if value is None or value == "":
        return UNKNOWN_KIND
    kind = values.text(value).strip().lower()
    if kind in _FINE_TUNING_WORDS:
        return FINE_TUNING_KIND
    if kind in KINDS:
        return kind
    note("v2.kind", value)
    return UNKNOWN_KIND


def _runtime_type(value: object, *, note: NoteUnknown) -> str:
    if value is None or value == "":
        return ""
    word = values.text(value).strip().lower()
    if word in RUNTIME_TYPES:
        return word
    note("v2.spec.runtime_type", value)
    return OTHER


def _flag(value: object, *, field: str, note: NoteUnknown) -> bool | None:
    """Read a boolean or its text; None for null, "" and other values (noted)."""
    if value is None or value == "" or isinstance(value, bool):
        return value if isinstance(value, bool) else None
    word = values.text(value).strip().lower()
    if word in {"true", "false"}:
        return word == "true"
    note(field, value)
    return None


def _requeued_at(
    status: JobStatus,
    *,
    nodes: tuple[tuple[float, int], ...],
    records: list[wire.RunningRecord] | None,
    submitted_at: float | None,
    note: NoteUnknown,
) -> float | None:
    """When a queued job that has run before lost its nodes (fact 49); None if no field shows it.

    Its number of nodes became 0, or its last run ended; where both are known, the later one.
    """
    if status is not JobStatus.QUEUED:
        return None
    field = "v2.status.running_records.end_at"
    times = [
        *(values.moment_s(record.end_at, field=field, note=note) for record in records or ()),
        nodes[-1][0] if len(nodes) > 1 and nodes[-1][1] == 0 else None,
    ]
    return max((at for at in times if at is not None and at >= (submitted_at or 0.0)), default=None)


def _tasks(names: list[Any] | None, *, note: NoteUnknown) -> tuple[str, ...]:
    """Task ids without duplicates, in the cloud's order."""
    read = []
    for name in names or ():
        if isinstance(name, str) and _TASK_ID.fullmatch(name):
            read.append(name)
        else:
            note("v2.status.tasks", name)
    return tuple(dict.fromkeys(read))


def _task_faults(counts: Mapping[str, int] | None, *, note: NoteUnknown) -> Mapping[str, int]:
    return {task: count for name, count in (counts or {}).items() for task in _tasks([name], note=note)}


def _node_steps(
    steps: tuple[tuple[float, int], ...], *, requested: int | None, started_at: float | None
) -> tuple[tuple[float, int], ...]:
    """Steps from the start on; empty when the job had the requested number of nodes all the time."""
    while len(steps) > 1 and started_at is not None and steps[1][0] <= started_at:
        steps = steps[1:]
    return () if all(nodes == requested for _, nodes in steps) else steps


def _end_time(
    status: JobStatus,
    *,
    started_at: float | None,
    run_duration_s: float | None,
    submitted_at: float | None,
    records: list[wire.RunningRecord] | None,
    note: NoteUnknown,
) -> float | None:
    """End time of a finished job: its start plus its duration, else the end of its last running record.

    Records in documentation samples end before they start, so an end before the job's start is not used.
    """
    if not status.finished:
        return None
    if started_at is not None and run_duration_s is not None:
        return started_at + run_duration_s
    if not records:
        return None
    field = "v2.status.running_records.end_at"
    ended_at = values.moment_s(records[-1].end_at, field=field, note=note)
    began_at = started_at if started_at is not None else submitted_at
    if ended_at is not None and began_at is not None and ended_at < began_at:
        note(field, records[-1].end_at)
        return None
    return ended_at


def _exit_codes(statuses: list[wire.TaskStatus] | None, *, note: NoteUnknown) -> Mapping[str, int]:
    """Exit codes of failed tasks; an entry without a task or a code is skipped."""
    codes = {}
    for status in statuses or ():
        code = values.number(status.exit_code, field="v2.status.task_statuses.exit_code", note=note)
        if not code:
            continue
        (task,) = _tasks([status.task], note=note) or ("",)
        if abs(code) >= _EXIT_CODES:
            note("v2.status.task_statuses.exit_code", status.exit_code)
        elif task:
            codes[task] = int(code)
    return codes
