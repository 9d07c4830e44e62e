"""From what v1 says of a version to the `Job` we mean (API reference §2.1-2.3, §4.2, §5.1). Pure.

Three calls tell of a version, each of them only a part. Each is turned into a `Job` that holds its part, and `merge`
puts the parts together, so that a version told by the overview and its detail is the same `Job` as one told by the
job list and the versions call.
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
"""v1 knows one kind."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # ids become part of a path; anything else is not an id
_VERSION_NAME = re.compile(r"V\d{4,}")
_CPU_FLAVOR = re.compile(r"\bcpu\b", re.IGNORECASE)
_SHARED_POOL = "SYSTEM_DEFINED"


def identity(value: object) -> str:
    """Read an id that may come as a number or as text; empty when it is neither."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    told = text(value)
    return told if _ID.fullmatch(told) else ""


def owner_name(row: JobRow, *, note: NoteUnknown) -> str:
    """Read who created a job; empty where the list does not say."""
    if isinstance(row.user, str) and not row.user.lstrip().startswith("{"):
        return row.user
    user = json_object(row.user, field="v1.user", note=note)
    return text(user.get("name")) if user else ""


def from_overview(row: OverviewRow, *, workspace_id: str, note: NoteUnknown) -> Job | None:
    """Tell a version by its overview row; accelerators are taken for the job's total. None when it has no id.

    What the row calls the version's name is a job's name in the published sample and "V0001" elsewhere (trap 26).
    """
    version_id = identity(row.version_id)
    if not version_id:
        note("v1.version_id", row.version_id)
        return None
    reason, read = status(row.status, note=note)
    display = text(row.version_name)
    is_version = _VERSION_NAME.fullmatch(display) is not None
    started_at = moment(row.start_time, field="v1.start_time", note=note)
    run_s = _run(row.duration, started_at=started_at, note=note)
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
        ended_at=_ended(
            read,
            ended_at=moment(row.end_time, field="v1.end_time", note=note),
            started_at=started_at,
            run_s=run_s,
        ),
        run_duration_s=run_s,
        spec_accelerators=accelerators,
    )


def from_listed(row: JobRow, *, workspace_id: str, note: NoteUnknown) -> Job | None:
    """Tell the newest version of a job by its row in the job list; None when it has no id.

    The list knows no start, so a finished version has no end either until its record is asked.
    """
    version_id = identity(row.version_id)
    if not version_id:
        note("v1.version_id", row.version_id)
        return None
    reason, read = status(row.status, note=note)
    return Job(
        job_id=version_id,
        api=Api.V1,
        name=text(row.job_name),
        user=owner_name(row, note=note),
        workspace_id=workspace_id,
        kind=KIND,
        status=read,
        reason=reason,
        submitted_at=moment(row.create_time, field="v1.create_time", note=note),
        run_duration_s=_run(row.duration, started_at=None, note=note),
    )


def from_record(record: VersionRecord, *, name: str, workspace_id: str, note: NoteUnknown) -> Job | None:
    """Tell a version by its full record; None when it has no id.

    `name` is the job's, where the answer around the record has it. Accelerators are per node here, so they
    are multiplied by the nodes (trap 24).
    """
    version_id = identity(record.version_id)
    if not version_id:
        note("v1.version_id", record.version_id)
        return None
    reason, read = status(record.status, note=note)
    started_at = moment(record.start_time, field="v1.start_time", note=note)
    run_s = _run(record.duration, started_at=started_at, note=note)
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
        kind=KIND,
        status=read,
        reason=reason,
        submitted_at=moment(record.create_time, field="v1.create_time", note=note),
        started_at=started_at,
        ended_at=_ended(read, ended_at=None, started_at=started_at, run_s=run_s),
        run_duration_s=run_s,
        spec_nodes=nodes,
        spec_accelerators=None if per_node is None else per_node * nodes,
        quality=quality(record.model_metric_list, note=note),
    )


def merge(listed: Job, record: Job | None, *, name: str = "", user: str = "", per_node: bool = False) -> Job:
    """Put the parts of one version together: what changes from the listing, which is newer, the rest from the record.

    `name` and `user` are the job's, from the job list; empty where they are not known. `per_node` says that the
    overview counts the cards of a node rather than of the job: then its count stands only where the nodes are known.
    """
    if per_node and listed.spec_nodes is None and listed.spec_accelerators:
        nodes = record.spec_nodes if record is not None else None
        listed = replace(listed, spec_accelerators=None if nodes is None else listed.spec_accelerators * nodes)
    if record is None:
        return replace(listed, name=name or listed.name, user=user or listed.user)
    started_at = record.started_at if listed.started_at is None else listed.started_at
    run_s = record.run_duration_s if listed.run_duration_s is None else listed.run_duration_s
    ended_at = listed.ended_at
    if ended_at is None:
        ended_at = _ended(listed.status, ended_at=record.ended_at, started_at=started_at, run_s=run_s)
    counted = record if record.spec_accelerators is not None or listed.accelerator is None else listed
    return replace(
        record,
        name=name or record.name or listed.name,
        version=record.version or listed.version,
        user=user or listed.user,
        flavor=listed.flavor or record.flavor,
        accelerator=counted.accelerator,
        status=listed.status,
        reason=listed.reason,
        submitted_at=listed.submitted_at if record.submitted_at is None else record.submitted_at,
        started_at=started_at,
        ended_at=ended_at,
        run_duration_s=run_s,
        spec_accelerators=counted.spec_accelerators,
    )


class _Cards:
    """What a record says of the cards of one node; None: nothing."""

    def __init__(self, record: VersionRecord, *, note: NoteUnknown) -> None:
        info = json_object(record.flavor_info, field="v1.flavor_info", note=note)
        gpu = json_object(info.get("gpu"), field="v1.flavor_info", note=note) if info else None
        npu = json_object(info.get("npu"), field="v1.flavor_info", note=note) if info else None
        if npu is None:
            npu = json_object(record.npu_info, field="v1.npu_info", note=note)
        self.gpus = count(record.gpu_num, field="v1.gpu_num", note=note)
        if self.gpus is None:
            self.gpus = _units(gpu, note=note, told=info is not None)
        self.npus = _units(npu, note=note, told=info is not None)
        self.model = next((name for part in (gpu, npu) if part and (name := text(part.get("product_name")))), "")


def _units(part: Mapping[str, object] | None, *, note: NoteUnknown, told: bool) -> int | None:
    """Cards of one kind; a flavor that is told in full and does not have the kind has none."""
    if part is None:
        return 0 if told else None
    return count(part.get("unit_num"), field="v1.unit_num", note=note)


def _accelerator(
    gpus: int | None, npus: int | None, *, flavor_type: str, names: tuple[str, ...]
) -> tuple[Accelerator | None, float | None]:
    """Kind and number of the cards. A kind without a number is one we only know by name."""
    if npus:
        return Accelerator.NPU, float(npus)
    if gpus:
        return Accelerator.GPU, float(gpus)
    kind = by_flavor_type(flavor_type) or next((found for name in names if (found := by_name(name))), None)
    if kind is None and ((gpus == 0 and npus == 0) or any(_CPU_FLAVOR.search(name) for name in names)):
        kind = Accelerator.CPU
    return kind, 0.0 if kind is Accelerator.CPU else None


def _run(value: object, *, started_at: float | None, note: NoteUnknown) -> float | None:
    """How long it ran; 0 without a start means that it has not run (trap 14)."""
    run_s = duration(value, field="v1.duration", note=note)
    return run_s if run_s or started_at is not None else None


def _ended(read: JobStatus, *, ended_at: float | None, started_at: float | None, run_s: float | None) -> float | None:
    """When it ended; never before its start, whatever the cloud's samples show (trap 15)."""
    if not read.finished:
        return None
    if ended_at is not None:
        return ended_at if started_at is None else max(ended_at, started_at)
    if started_at is not None and run_s is not None:
        return started_at + run_s
    return None
