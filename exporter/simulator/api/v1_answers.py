"""Bodies of v1 responses about jobs and versions (API reference §2.1-§2.3, §4.2, §6.1, §6.4)."""

import json
from collections.abc import Container
from typing import Any, Literal

from exporter.simulator.options import SECRET_MARKER
from exporter.simulator.world.job import Job, JobState, V1Job
from exporter.simulator.world.usage import sampled, slots, values

STATUSES = {
    JobState.CREATING: 1,
    JobState.IMAGE: 2,
    JobState.SUBMITTING: 4,
    JobState.QUEUED: 7,
    JobState.STARTING: 7,
    JobState.RUNNING: 8,
    JobState.SCALING: 15,
    JobState.TERMINATING: 9,
    JobState.COMPLETED: 10,
    JobState.FAILED: 11,
    JobState.TERMINATED: 12,
    JobState.LOST: 14,
}
"""Status number of each state. CREATE_FAILED and a job terminated before its start have others, see `status`."""
_UNKNOWN = 77
MetricShape = Literal["text", "object", "null"]


def status(job: Job, *, unknown: bool = False) -> Any:
    """The v1 status number, or the value set by `Job.overlay`."""
    if unknown:
        return _UNKNOWN
    if job.extra and "status" in job.extra:
        return job.extra["status"]
    if job.state is JobState.CREATE_FAILED:
        return 3 if job.engine.image else 5
    if job.state is JobState.TERMINATED and job.started_at is None:
        return 13
    return STATUSES[job.state]


def millis(moment: float | None) -> int:
    """Milliseconds since the epoch; 0 for an event that has not happened."""
    return 0 if moment is None else round(moment * 1_000)


def _duration(job: Job, now: float) -> int | None:
    return None if job.started_at is None else round(job.duration_s(now) * 1_000)


def overview_row(job: Job, now: float, *, per_node: bool, unknown: bool) -> dict[str, Any]:
    """One version in the overview, without job id, user, nodes and usage."""
    cards = job.flavor.cards if per_node else job.accelerators
    row = {
        "version_id": job.number,
        "version_name": job.name,
        "status": status(job, unknown=unknown),
        "create_time": millis(job.submitted_at),
        "start_time": millis(job.started_at),
        "end_time": millis(job.ended_at) if job.started_at is not None else 0,
        "duration": _duration(job, now) or 0,
        "version_desc": None,
        "pool_id": job.pool,
        "flavor_code": job.flavor.id,
        "npu_num": cards if job.flavor.accelerator == "npu" else 0,
        "gpu_num": cards if job.flavor.accelerator == "gpu" else 0,
    }
    return row | {key: value for key, value in (job.extra or {}).items() if key in row}


def job_row(v1_job: V1Job, now: float, *, user: bool, unknown: bool) -> dict[str, Any]:
    """One job in the job list, with fields of its newest version."""
    newest = v1_job.versions[-1]
    row: dict[str, Any] = {
        "job_id": v1_job.id,
        "job_name": v1_job.name,
        "version_id": newest.number,
        "status": status(newest, unknown=unknown),
        "create_time": millis(v1_job.created_at),
        "duration": _duration(newest, now),
        "job_desc": v1_job.description,
        "version_count": len(v1_job.versions),
    }
    if user:
        row["user"] = {"id": "", "name": v1_job.user}
    return row


def version(
    job: Job, now: float, *, shape: MetricShape, secret: bool, unknown: bool, quirks: Container[str] = ()
) -> dict[str, Any]:
    """A version in full."""
    spec = job.flavor
    v1_job = _v1_job(job)
    index = v1_job.versions.index(job)
    row: dict[str, Any] = {
        "version_id": job.number,
        "version_name": f"V{index + 1:04d}",
        "pre_version_id": v1_job.versions[index - 1].number if index else None,
        "engine_type": 1 if job.engine.name else 0,
        "engine_name": job.engine.name,
        "engine_id": 1 + job.seed % 40,
        "engine_version": job.engine.version,
        "status": status(job, unknown=unknown),
        "app_url": "/training/code/",
        "boot_file_url": "/training/code/train.py",
        "create_time": millis(job.submitted_at),
        "start_time": millis(job.started_at),
        "parameter": [{"label": "learning_rate", "value": 0.01}, {"label": "batch_size", "value": "32"}],
        "duration": _duration(job, now),
        "spec_id": 1 + spec.cards,
        "core": str(spec.cores),
        "cpu": str(spec.memory_gb),
        "memory_unit": "GB",
        "gpu": None,
        "gpu_num": spec.cards if spec.accelerator == "gpu" else 0,
        "gpu_type": spec.model if spec.accelerator == "gpu" else "",
        "npu_info": None,
        "worker_server_num": job.nodes,
        "data_url": "/training/data/",
        "train_url": "/training/out/",
        "log_url": "/training/log/",
        "dataset_id": None,
        "dataset_version_id": None,
        "data_source": [{"type": "obs", "data_url": "/training/data/"}],
        "user_image_url": job.engine.image or None,
        "user_command": None,
        "model_id": 1,
        "model_metric_list": _encoded(_model_metrics(job), shape),
        "system_metric_list": _encoded(system_metrics(job, now, quirks=quirks), shape),
        "resource_id": f"job{job.seed:08x}",
        "dataset_name": None,
        "volumes": None,
        "pool_id": job.pool,
        "pool_name": job.pool or "public",
        "pool_type": "USER_DEFINED" if job.pool else "SYSTEM_DEFINED",
        "flavor_code": spec.id,
        "flavor_type": spec.type,
        "spec_code": spec.id,
        "flavor_info": _flavor_info(job),
        "billing": {"unit_num": 1, "code": spec.id},
        "job_type": 1,
        "max_num": spec.max_nodes,
        "no_resource": False,
        "is_zombie": False,
        "error_result": None,
        "is_free": False,
        "attributes": {},
    }
    if secret:
        row["parameter"].append({"label": "registry_password", "value": f"{SECRET_MARKER}-parameter"})
        row["user_command"] = f"python train.py --token={SECRET_MARKER}-command"
    return row | (job.extra or {})


def job_fields(job: Job) -> dict[str, Any]:
    """The job fields of the response about one version."""
    v1_job = _v1_job(job)
    return {"job_id": v1_job.id, "job_name": v1_job.name, "job_desc": v1_job.description}


def system_metrics(job: Job, now: float, *, quirks: Container[str] = ()) -> dict[str, Any]:
    """Usage as arrays of text; "0" stands for a missing sample, a measured zero is "0.00"."""
    if job.series and "" in job.series:
        return {name: [_text(value) for value in readings] for name, readings in job.series[""].items()} | {
            "interval": 1
        }
    if job.started_at is None:
        return {}
    span = slots(job, now, quirks=quirks)
    has_sample = sampled(job, span, now=now, quirks=quirks)

    def series(metric: str) -> list[str]:
        readings = values(job, metric, task=0, span=span)
        return [f"{reading:.2f}" if ok else "0" for reading, ok in zip(readings, has_sample, strict=True)]

    nothing = ["0"] * len(span)
    gpu, npu = job.flavor.accelerator == "gpu", job.flavor.accelerator == "npu"
    answer: dict[str, Any] = {
        "cpuUsage": series("cpu"),
        "memUsage": series("mem"),
        "gpuUtil": series("acc") if gpu else nothing,
        "gpuMemUsage": series("acc_mem") if gpu else nothing,
        "diskReadRate": series("disk_read"),
        "diskWriteRate": series("disk_write"),
        "recvBytesRate": series("received"),
        "sendBytesRate": series("sent"),
        "interval": 1,
    }
    if npu:
        answer |= {"npuUtil": series("acc"), "npuMemUsage": series("acc_mem")}
    return answer


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    number = float(str(value))
    return "0" if number < 0 else f"{number:.2f}"


def _model_metrics(job: Job) -> dict[str, Any]:
    if job.state is not JobState.COMPLETED or job.seed % 3:
        return {}
    quality = round(0.6 + job.seed % 35 / 100, 4)
    measures = {"recall": quality, "precision": round(quality - 0.02, 4), "accuracy": round(quality + 0.01, 4)}
    return {
        "metric": [
            {"metric_values": measures, "reserved_data": {}, "metric_meta": {"class_name": 0, "class_id": 0}},
        ],
        "total_metric": {
            "total_metric_meta": {},
            "total_reserved_data": {},
            "total_metric_values": measures | {"f1_score": quality, "id": 0},
        },
    }


def _encoded(value: dict[str, Any], shape: MetricShape) -> object:
    if shape == "null":
        return None
    return json.dumps(value, separators=(",", ":")) if shape == "text" else value


def _flavor_info(job: Job) -> dict[str, Any]:
    spec = job.flavor
    none = {"unit_num": 0, "product_name": "", "memory": "", "unit": ""}
    card = {"unit_num": spec.cards, "product_name": spec.model, "memory": str(spec.card_memory_gb), "unit": "GB"}
    return {
        "cpu": {"arch": "x86", "core_num": spec.cores},
        "ram": {"memory": spec.memory_gb, "unit": "GB"},
        "gpu": card if spec.accelerator == "gpu" else none,
        "npu": card if spec.accelerator == "npu" else none,
        "max_num": spec.max_nodes,
    }


def _v1_job(job: Job) -> V1Job:
    if job.v1_job is None:
        raise ValueError(f"job {job.id} is not a v1 job")
    return job.v1_job
