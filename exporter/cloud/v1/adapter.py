"""Converts v1 responses about a version to a `Job` (API reference §2.1-2.3, §4.2, §5.1). Pure functions.

Three calls describe a version, each of them partly. Each response becomes a `Job` with the fields it has, and `merge`
combines them: overview plus detail and job list plus versions call give the same `Job`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from exporter.cloud.decode.accelerator import by_flavor_type, by_name
from exporter.cloud.decode.values import count, duration, json_object, moment, text
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.v1.quality import quality
from exporter.cloud.v1.status import status
from exporter.cloud.v1.wire import JobRow, OverviewRow, VersionRecord
from exporter.domain.job import Accelerator, Api, Job, JobStatus

KIND = "job"
"""The only kind of job that v1 has."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # ids become part of a path; any other value is not used as an id
_VERSION_NAME = re.compile(r"V\d{4,}")
_CPU_FLAVOR = re.compile(r"\bcpu\b", re.IGNORECASE)
_SHARED_POOL = "SYSTEM_DEFINED"


def parse_id(value: object) -> str:
    """Read an id, which may be a number or text; empty when it is neither."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    found = text(value)
    return found if _ID.fullmatch(found) else ""


def user_name(row: JobRow, *, note: NoteUnknown) -> str:
    """Read the name of the user who created a job; empty when the list does not have it."""
    if isinstance(row.user, str) and not row.user.lstrip().startswith("{"):
        return row.user
    user = json_object(row.user, field="v1.user", note=note)
    return text(user.get("name")) if user else ""


def from_overview(row: OverviewRow, *, workspace_id: str, note: NoteUnknown) -> Job | None:
    """Read a version from its overview row; None when it has no id. Accelerators are taken as the job's total.

    `version_name` holds the job's name in the published sample and "V0001" elsewhere (trap 26).
    """
    version_id = parse_id(row.version_id)
    if not version_id:
        note("v1.version_id", row.version_id)
        return None
    reason, read = status(row.status, note=note)
    display = text(row.version_name)
    is_version = _VERSION_NAME.fullmatch(display) is not None
    started_at = moment(row.start_time, field="v1.start_time", note=note)
    run_duration_s = _run_duration(row.duration, started_at=started_at, note=note)
    gpus = count(row.gpu_num, field="v1.gpu_num", note=note)
    npus = count(row.npu_num, field="v1.npu_num", note=note)
    flavor = text(row.flavor_code)
    accelerator, accelerators = _accelerator(gpus, npus, flavor_type="", names=(flavor,))
    return Job(
        job_id=version_id,
        api=Api.V1,
        name="" if is_version else display,
        version=display if is_version else "",
        workspace_id=workspace_id,
        pool_id=text(row.pool_id),
        flavor=flavor,
        accelerator=accelerator,
        kind=KIND,
        status=read,
        reason=reason,
        submitted_at=moment(row.create_time, field="v1.create_time", note=note),
        started_at=started_at,
        ended_at=_end_time(
            read,
            ended_at=moment(row.end_time, field="v1.end_time", note=note),
            started_at=started_at,
            run_duration_s=run_duration_s,
        ),
        run_duration_s=run_duration_s,
        spec_accelerators=accelerators,
    )


def from_listed(row: JobRow, *, workspace_id: str, note: NoteUnknown) -> Job | None:
    """Read the newest version of a job from its row in the job list; None when it has no id.

    The list has neither start time nor pool, so a finished version has no end time until its record is read.
    """
    version_id = parse_id(row.version_id)
    if not version_id:
        note("v1.version_id", row.version_id)
        return None
    reason, read = status(row.status, note=note)
    return Job(
        job_id=version_id,
        api=Api.V1,
        name=text(row.job_name),
        user=user_name(row, note=note),
        workspace_id=workspace_id,
        pool_known=False,
        parent_job_id=parse_id(row.job_id),
        kind=KIND,
        status=read,
        reason=reason,
        submitted_at=moment(row.create_time, field="v1.create_time", note=note),
        run_duration_s=_run_duration(row.duration, started_at=None, note=note),
    )


def from_record(record: VersionRecord, *, name: str, workspace_id: str, note: NoteUnknown) -> Job | None:
    """Read a version from its full record; None when it has no id.

    `name` is the job's name from the response around the record. Records count accelerators per node, so the count is
    multiplied by the nodes (trap 24).
    """
    version_id = parse_id(record.version_id)
    if not version_id:
        note("v1.version_id", record.version_id)
        return None
    reason, read = status(record.status, note=note)
    started_at = moment(record.start_time, field="v1.start_time", note=note)
    run_duration_s = _run_duration(record.duration, started_at=started_at, note=note)
    nodes = count(record.worker_server_num, field="v1.worker_server_num", note=note) or 1  # null and 0 mean one
    flavor = text(record.flavor_code) or text(record.spec_code)
    cards = _Cards(record, note=note)
    model = text(record.gpu_type) or cards.model
    accelerator, per_node = _accelerator(
        cards.gpus, cards.npus, flavor_type=text(record.flavor_type), names=(model, flavor, text(record.spec_code))
    )
    return Job(
        job_id=version_id,
        api=Api.V1,
        name=text(record.job_name) or name,
        version=text(record.version_name),
        workspace_id=workspace_id,
        pool_id="" if record.pool_type == _SHARED_POOL else text(record.pool_id),
        flavor=flavor,
        accelerator=accelerator,
        accelerator_model="" if accelerator is Accelerator.CPU else model,
        engine=text(record.engine_version) or text(record.engine_name),
        parent_job_id=parse_id(record.job_id),
        kind=KIND,
        status=read,
        reason=reason,
        submitted_at=moment(record.create_time, field="v1.create_time", note=note),
        started_at=started_at,
        ended_at=_end_time(read, ended_at=None, started_at=started_at, run_duration_s=run_duration_s),
        run_duration_s=run_duration_s,
        spec_nodes=nodes,
        spec_accelerators=None if per_node is None else per_node * nodes,
        quality=quality(record.model_metric_list, note=note),
    )


def merge(
    listed: Job,
    record: Job | None,
    *,
    name: str = "",
    user: str = "",
    parent_job_id: str = "",
    per_node: bool = False,
) -> Job:
    """Combine the parts of one version: changing fields from the listing, which is newer, the rest from the record.

    `name`, `user` and `parent_job_id` are the job's, from the job list; empty when unknown. `per_node`: the overview
    counts the cards of one node, not of the job. Its count is then used only where the number of nodes is known.
    """
    if per_node and listed.spec_nodes is None and listed.spec_accelerators:
        nodes = record.spec_nodes if record is not None else None
        listed = replace(listed, spec_accelerators=None if nodes is None else listed.spec_accelerators * nodes)
    if record is None:
        return replace(
            listed,
            name=name or listed.name,
            user=user or listed.user,
            parent_job_id=parent_job_id or listed.parent_job_id,
        )
    started_at = record.started_at if listed.started_at is None else listed.started_at
    run_duration_s = record.run_duration_s if listed.run_duration_s is None else listed.run_duration_s
    ended_at = listed.ended_at
    if ended_at is None:
        ended_at = _end_time(
            listed.status, ended_at=record.ended_at, started_at=started_at, run_duration_s=run_duration_s
        )
    counted = record if record.spec_accelerators is not None or listed.accelerator is None else listed
    return replace(
        record,
        name=name or record.name or listed.name,
        version=record.version or listed.version,
        user=user or listed.user,
        parent_job_id=parent_job_id or record.parent_job_id or listed.parent_job_id,
        flavor=listed.flavor or record.flavor,
        accelerator=counted.accelerator,
        status=listed.status,
        reason=listed.reason,
        submitted_at=listed.submitted_at if record.submitted_at is None else record.submitted_at,
        started_at=started_at,
        ended_at=ended_at,
        run_duration_s=run_duration_s,
        spec_accelerators=counted.spec_accelerators,
    )


class _Cards:
    """Accelerator counts and model of one node in a record; None where the record has none."""

    def __init__(self, record: VersionRecord, *, note: NoteUnknown) -> None:
        info = json_object(record.flavor_info, field="v1.flavor_info", note=note)
        gpu = json_object(info.get("gpu"), field="v1.flavor_info", note=note) if info else None
        npu = json_object(info.get("npu"), field="v1.flavor_info", note=note) if info else None
        if npu is None:
            npu = json_object(record.npu_info, field="v1.npu_info", note=note)
        self.gpus = count(record.gpu_num, field="v1.gpu_num", note=note)
        if self.gpus is None:
            self.gpus = _units(gpu, note=note, is_complete=info is not None, name="gpu")
        self.npus = _units(npu, note=note, is_complete=info is not None, name="npu")
        self.model = next((name for part in (gpu, npu) if part and (name := text(part.get("product_name")))), "")


def _units(part: Mapping[str, object] | None, *, note: NoteUnknown, is_complete: bool, name: str) -> int | None:
    """Number of cards of one kind; 0 when a complete flavor does not have this kind.

    Some responses have the name of the kind in place of `unit_num` (API reference §13, fact 50).
    """
    if part is None:
        return 0 if is_complete else None
    units = part.get("unit_num")
    return count(part.get(name) if units is None or units == "" else units, field="v1.unit_num", note=note)


def _accelerator(
    gpus: int | None, npus: int | None, *, flavor_type: str, names: tuple[str, ...]
) -> tuple[Accelerator | None, float | None]:
    """Kind and number of the cards. The number is None when only a name shows the kind."""
    if npus:
        return Accelerator.NPU, float(npus)
    if gpus:
        return Accelerator.GPU, float(gpus)
    kind = by_flavor_type(flavor_type)
    if kind is None:
        kind = next((found for name in names if (found := by_name(name))), None)
        if gpus == 0 and (npus == 0 or kind is Accelerator.GPU):
            return Accelerator.CPU, 0.0  # whatever its flavor is called
    if kind is None and ((gpus == 0 and npus == 0) or any(_CPU_FLAVOR.search(name) for name in names)):
        kind = Accelerator.CPU
    return kind, 0.0 if kind is Accelerator.CPU else None


def _run_duration(value: object, *, started_at: float | None, note: NoteUnknown) -> float | None:
    """Run duration in seconds; 0 without a start time means that the version has not run (trap 14)."""
    run_duration_s = duration(value, field="v1.duration", note=note)
    return run_duration_s if run_duration_s or started_at is not None else None


def _end_time(
    read: JobStatus, *, ended_at: float | None, started_at: float | None, run_duration_s: float | None
) -> float | None:
    """End time, not before the start time: samples of the documentation end earlier (trap 15)."""
    if not read.finished:
        return None
    if ended_at is not None:
        return ended_at if started_at is None else max(ended_at, started_at)
    if started_at is not None and run_duration_s is not None:
        return started_at + run_duration_s
    return None
