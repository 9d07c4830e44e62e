"""Bodies of v2 responses about jobs (API reference §2.4, §4.3, §5.2, §6.2, §7)."""

from collections.abc import Container
from itertools import pairwise
from typing import Any

from exporter.simulator.options import SECRET_MARKER
from exporter.simulator.world.flavor import Flavor
from exporter.simulator.world.job import FINE_TUNING, Job, JobState, Recovery
from exporter.simulator.world.pool import Pool
from exporter.simulator.world.usage import sampled, slots, values

PHASES = {
    JobState.CREATING: ("Creating", "Creating"),
    JobState.IMAGE: ("Creating", "Creating"),
    JobState.SUBMITTING: ("Creating", "Creating"),
    JobState.QUEUED: ("Pending", "Queuing"),
    JobState.STARTING: ("Pending", "Creating"),
    JobState.RUNNING: ("Running", "Running"),
    JobState.SCALING: ("Running", "Running"),
    JobState.TERMINATING: ("Terminating", "Terminating"),
    JobState.COMPLETED: ("Completed", "Completed"),
    JobState.FAILED: ("Failed", "Failed"),
    JobState.CREATE_FAILED: ("Abnormal", "CreateFailed"),
    JobState.TERMINATED: ("Terminated", "Terminated"),
    JobState.LOST: ("Abnormal", "Lost"),
}
"""(phase, secondary phase) of each state."""

_UNKNOWN = ("Hibernating", "Defrosting")


def millis(moment: float | None) -> int:
    """Milliseconds since the epoch; 0 for an event that has not happened."""
    return 0 if moment is None else round(moment * 1_000)


def phase(job: Job) -> str:
    """The phase that filters use: the value set by `Job.overlay`, or that of the state."""
    overlaid = (job.extra or {}).get("status", {})
    return str(overlaid.get("phase", PHASES[job.state][0]))


def job_body(job: Job, now: float, *, pool: Pool, secret: bool, unknown: bool, detail: bool) -> dict[str, Any]:
    """The body of a job. `secret` adds secrets to it, `unknown` uses values that no document lists."""
    answer: dict[str, Any] = {
        "kind": "quantum_job" if unknown and job.seed % 2 else api_kind(job),
        "metadata": {
            "id": job.id,
            "name": job.name,
            "description": job.description,
            "create_time": millis(job.submitted_at),
            "workspace_id": job.workspace,
            "ai_project": "default-ai-project",
            "user_name": job.user,
            "annotations": {"job_template": "Template RL" if job.roles else "Template DL", "key_task": "worker"},
        },
        "status": status(job, now, unknown=unknown),
        "algorithm": _algorithm(job, secret=secret),
        "spec": {
            "resource": _resource(job, pool, detail=detail, unknown=unknown),
            "runtime_type": job.runtime_type,
            "log_export_path": {},
            "is_hosted_log": True,
        },
    }
    if job.kind == FINE_TUNING:
        answer["ftjob_config"] = {
            "ft_job_uuid": job.id,
            "ft_train_type": "SFT",
            "model_type": "qwen2.5-7b",
            "train_output_path": "/training/output/",
        }
    if job.pool:
        answer["spec"]["schedule_policy"] = {"priority": job.priority, "preemptible": job.preemptible}
    if job.roles:
        answer["tasks"] = [
            {"role": role.name, "algorithm": {}, "task_resource": _flavor_detail(role.flavor, detail=detail)}
            for role in job.roles
        ]
    if secret:
        answer["endpoints"] = {
            "ssh": {"task_urls": [{"task": job.tasks[0], "url": f"ssh://ma-user:{SECRET_MARKER}@10.0.0.1:32022"}]},
            "jupyter_lab": {"url": "https://notebook.example.invalid/lab", "token": f"{SECRET_MARKER}-jupyter"},
        }
    return _merged(answer, job.extra or {})


def api_kind(job: Job) -> str:
    """The kind in the responses."""
    return "job" if job.kind == FINE_TUNING else job.kind


def status(job: Job, now: float, *, unknown: bool = False) -> dict[str, Any]:
    """The status object."""
    main, secondary = PHASES[job.state]
    if unknown:
        main, secondary = _UNKNOWN if job.seed % 2 == 0 else (main, "Pondering")
    answer: dict[str, Any] = {
        "phase": main,
        "secondary_phase": secondary,
        "duration": round(job.duration_s(now) * 1_000),
        "start_time": millis(job.started_at),
        "node_count_metrics": _node_counts(job, now),
        "tasks": list(job.tasks),
    }
    if job.exits:
        answer["task_statuses"] = [
            {"task": exit_.task, "exit_code": exit_.code, "message": exit_.message} for exit_ in job.exits[:1]
        ]
    if job.records:
        answer["running_records"] = _running_records(job, now)
    return answer


def _node_counts(job: Job, now: float) -> list[list[int]] | None:
    """A step function: two points around each change, the last one at the end or now."""
    if not job.node_counts:
        return None
    points: list[list[int]] = []
    steps = [*job.node_counts]
    if job.ended_at is None:
        steps.append((now, 0))
    for (begin, nodes), (end, _) in pairwise(steps):
        points += [[millis(begin), nodes], [millis(end), nodes]]
    return points


def _running_records(job: Job, now: float) -> list[dict[str, Any]]:
    rows = []
    for record in job.records:
        row: dict[str, Any] = {"start_at": int(record.started_at), "start_type": record.start_type}
        if record.ended_at is not None:
            row |= {"end_at": int(record.ended_at), "end_reason": record.reason}
            if record.task:
                row["end_related_task"] = record.task
        if record.policy:
            row["end_recover"] = record.policy
        if record.tried:
            row["end_recover_before_downgrade"] = record.tried
        if record.recoveries:
            row["recover_records"] = [_recover_record(recovery, now) for recovery in record.recoveries]
        rows.append(row)
    return rows


def _recover_record(recovery: Recovery, now: float) -> dict[str, Any]:
    over = recovery.ends_at <= now
    return {
        "recover_start_at": int(recovery.began_at),
        "recover_end_at": int(recovery.ends_at) if over else 0,
        "recover": recovery.policy,
        "fault_scenario": recovery.scenario,
        "reason": recovery.reason,
        "related_task": recovery.task,
        "recover_result": recovery.result if over else "recovering",
    }


def _algorithm(job: Job, *, secret: bool) -> dict[str, Any]:
    engine = {"engine_id": "", "engine_name": "", "engine_version": ""}
    if job.engine.image:
        engine["image_url"] = job.engine.image
    else:
        engine = {
            "engine_id": job.engine.id,
            "engine_name": job.engine.name,
            "engine_version": job.engine.version,
            "image_url": "",
        }
    answer: dict[str, Any] = {
        "code_dir": "/training/code/",
        "boot_file": "/training/code/train.py",
        "engine": engine,
        "parameters": [{"name": "learning_rate", "value": "0.01"}],
        "inputs": [{"name": "data_url", "remote": {"obs": {"obs_url": "/training/data/"}}}],
        "outputs": [{"name": "train_url", "period": 30 if job.seed % 2 else "30s"}],
    }
    if job.engine.image:
        answer["command"] = "python /home/ma-user/train.py"
    if secret:
        answer["parameters"].append({"name": "registry_password", "value": f"{SECRET_MARKER}-parameter"})
        answer["environments"] = [{"API_TOKEN": f"{SECRET_MARKER}-environment"}]
        answer["command"] = f"python train.py --token={SECRET_MARKER}-command"
    return answer


def _resource(job: Job, pool: Pool, *, detail: bool, unknown: bool) -> dict[str, Any]:
    spec = job.flavor
    answer: dict[str, Any] = {
        "policy": "regular",
        "flavor_id": spec.id,
        "flavor_name": spec.name,
        "node_count": job.nodes,
        "pool_id": job.pool,
    }
    if job.kind == "federated_pool_job":
        answer["pool_group_id"] = answer.pop("pool_id")
    elif job.pool:
        answer["pool_name"] = pool.name
    field = job.accelerator_field
    if field == "flavor_detail":
        answer["flavor_detail"] = _flavor_detail(spec, detail=detail)
        if unknown:
            answer["flavor_detail"]["flavor_type"] = "Abacus"
    elif field == "pool_info":
        answer["pool_info"] = {
            "pool_id": job.pool,
            "accelerator_num": spec.cards,
            "accelerator_type": spec.model,
            "core_num": spec.cores,
            "mem_size": spec.memory_gb,
            "pool_resource_flavor": f"modelarts.bm.{spec.accelerator}.8",
        }
    elif field == "allocated":
        if job.started_at is not None:
            answer["main_container_allocated_resources"] = _container(spec) | {"accelerator_type": spec.model}
        answer["main_container_customized_flavor"] = _container(spec)
        answer["pool_info"] = {"pool_resource_flavor": f"modelarts.bm.{spec.accelerator}.8"}
    elif field == "customized":
        answer["main_container_customized_flavor"] = _container(spec)
        answer["pool_info"] = {"pool_resource_flavor": f"modelarts.bm.{spec.accelerator}.8"}
    elif field == "nothing":
        answer["flavor_id"] = f"modelarts.pool.private.{job.flavor.accelerator}"
    return answer


def _container(spec: Flavor) -> dict[str, Any]:
    return {
        "accelerator_num": float(spec.cards),
        "cpu_core_num": float(spec.cores),
        "mem_size": float(spec.memory_gb),
    }


def _flavor_detail(spec: Flavor, *, detail: bool) -> dict[str, Any]:
    info: dict[str, Any] = {
        "max_num": spec.max_nodes,
        "cpu": {"arch": "x86" if spec.accelerator != "npu" else "arm64", "core_num": spec.cores},
        "memory": {"size": spec.memory_gb, "unit": "GB"},
        "disk": {"size": 50 if detail else "50", "unit": "GB"},
    }
    if spec.accelerator == "gpu":
        info["gpu"] = {"unit_num": spec.cards, "product_name": spec.model, "memory": f"{spec.card_memory_gb}GB"}
    elif spec.accelerator == "npu":  # documented as a string, observed as a number: list and detail differ
        cards: object = spec.cards if detail else str(spec.cards)
        info["npu"] = {"unit_num": cards, "product_name": spec.model, "memory": str(spec.card_memory_gb)}
    return {
        "flavor_type": spec.type,
        "billing": {"code": spec.id, "unit_num": max(1, spec.cards)},
        "flavor_info": info,
    }


def metrics(job: Job, task: str, now: float, *, quirks: Container[str] = ()) -> list[dict[str, Any]]:
    """Usage of one task, -1 for a missing sample; series of accelerators that the job does not have are all -1."""
    if job.series and task in job.series:
        return [{"metric": name, "value": readings} for name, readings in job.series[task].items()]
    index = job.tasks.index(task)
    span = slots(job, now, task=index, quirks=quirks)
    has_sample = sampled(job, span, now=now, quirks=quirks)

    def with_gaps(readings: list[float]) -> list[float]:
        return [reading if ok else -1 for reading, ok in zip(readings, has_sample, strict=True)]

    absent: list[float] = [-1.0] * len(span)
    gpu, npu = job.flavor.accelerator == "gpu", job.flavor.accelerator == "npu"
    usage = with_gaps(values(job, "acc", task=index, span=span)) if gpu or npu else absent
    memory = with_gaps(values(job, "acc_mem", task=index, span=span)) if gpu or npu else absent
    rows: list[dict[str, Any]] = [
        {"metric": "cpuUsage", "value": with_gaps(values(job, "cpu", task=index, span=span))},
        {"metric": "memUsage", "value": with_gaps(values(job, "mem", task=index, span=span))},
        {"metric": "npuUtil", "value": usage if npu else absent},
        {"metric": "npuMemUsage", "value": memory if npu else absent},
    ]
    if gpu or job.seed % 2:  # some jobs have no entry for accelerators they do not have
        rows += [
            {"metric": "gpuUtil", "value": usage if gpu else absent},
            {"metric": "gpuMemUsage", "value": memory if gpu else absent},
        ]
    if "v2-metrics-twice" in quirks:
        halved = {row["metric"]: [value / 2 if value > 0 else value for value in row["value"]] for row in rows}
        rows += [{"metric": name, "value": readings} for name, readings in halved.items()]
    return rows


def _merged(answer: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    for key, value in extra.items():
        below = answer.get(key)
        answer[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return answer
