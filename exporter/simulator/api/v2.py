"""The v2 calls about training jobs (API reference §1.2, §11)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from exporter.simulator.api.call import Call, Response, Route
from exporter.simulator.api.errors import v2_error
from exporter.simulator.api.search import job_answer, search
from exporter.simulator.api.v2_answers import metrics
from exporter.simulator.world.flavor import ENGINES, PUBLIC, Engine, Flavor, flavor
from exporter.simulator.world.job import Job, JobState, Role
from exporter.simulator.world.project import UNSTARTED

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_POOL_SIZES = {"xlarge": 1, "2xlarge": 2, "4xlarge": 4, "8xlarge": 8, "16xlarge": 16}


def detail(call: Call) -> Response:
    """One job in full."""
    return Response(body=job_answer(call, _job(call), detail=True))


def task_metrics(call: Call) -> Response:
    """Usage of one task; 204 without a body before the job has started."""
    job, task = _job(call), call.path["task"]
    if "v2-metrics-204" in call.cloud.quirks:
        return Response(status=204)
    if job.series and task in job.series:
        return Response(body={"metrics": metrics(job, task, call.now, quirks=call.cloud.quirks)})
    if task not in job.tasks:
        raise v2_error(400, "2789", f"job {job.id} has no task {task}")
    if job.started_at is None:
        return Response(status=204)
    return Response(body={"metrics": metrics(job, task, call.now, quirks=call.cloud.quirks)})


def events(call: Call) -> Response:
    """Events of the job, by default oldest first."""
    job = _job(call)
    rows = _history(job)
    if call.query.get("order") == "desc":
        rows.reverse()
    offset, limit = int(call.query.get("offset", "0")), int(call.query.get("limit", "50"))
    if not 1 <= limit <= 100:  # noqa: PLR2004 -- as documented
        raise v2_error(400, "2788", "limit must be between 1 and 100")
    page = rows[offset : offset + limit]
    return Response(body={"total": len(rows), "count": len(page), "limit": limit, "offset": offset, "events": page})


def _history(job: Job) -> list[dict[str, Any]]:
    moments: list[tuple[float, str, str, str]] = [(job.submitted_at, "Info", "The job is created.", "Job")]
    for record in job.records:
        moments.append((record.started_at, "Info", "The job runs.", "Task"))
        moments.extend(
            (recovery.began_at, "Warning", f"Fault {recovery.scenario}: {recovery.policy}.", "K8s")
            for recovery in record.recoveries
        )
    if job.ended_at is not None:
        is_error = job.state in {JobState.FAILED, JobState.LOST, JobState.CREATE_FAILED}
        moments.append((job.ended_at, "Error" if is_error else "Info", f"The job is {job.state.value}.", "Job"))
    return [
        {"time": _beijing(at), "level": level, "message": message, "source": source}
        for at, level, message, source in sorted(moments, key=lambda moment: moment[0])
    ]


def _beijing(moment: float) -> str:
    """RFC 3339 with an offset of eight hours, as in the documented example."""
    return (datetime.fromtimestamp(moment, UTC) + timedelta(hours=8)).strftime("%Y-%m-%dT%H:%M:%S+08:00")


def tasks(call: Call) -> Response:
    """The tasks of the job, as a JSON array without an object around it."""
    job = _job(call)
    placed = job.state not in UNSTARTED
    return Response(
        body=[
            {
                "task": task,
                "ip": f"172.16.{index // 250}.{1 + index % 250}" if placed else "",
                "host_ip": f"10.1.{index // 250}.{1 + index % 250}" if placed else "",
                "schedule_count": max(1, len(job.records)),
            }
            for index, task in enumerate(job.tasks)
        ]
    )


def flavors(call: Call) -> Response:
    """The public flavors, filtered by `flavor_type`."""
    wanted = call.query.get("flavor_type")
    return Response(
        body={
            "flavors": [
                {
                    "flavor_id": spec.id,
                    "flavor_name": spec.name,
                    "flavor_type": spec.type,
                    "billing": {"code": spec.id, "unit_num": max(1, spec.cards)},
                    "flavor_info": {"max_num": spec.max_nodes, "cpu": {"core_num": spec.cores}},
                }
                for spec in PUBLIC
                if wanted in (None, spec.type)
            ]
        }
    )


def engines(_: Call) -> Response:
    """The preset engines."""
    return Response(
        body={
            "total": len(ENGINES) - 1,
            "items": [
                {"engine_id": each.id, "engine_name": each.name, "engine_version": each.version}
                for each in ENGINES
                if each.name
            ],
        }
    )


def create(call: Call) -> Response:
    """Submit a job with a random script."""
    body = call.json()
    metadata, algorithm = _object(body, "metadata"), _object(body, "algorithm")
    resource = _object(_object(body, "spec"), "resource")
    name = str(metadata.get("name", ""))
    if not _NAME.fullmatch(name):
        raise v2_error(400, "2787", "metadata.name must be 1 to 64 letters, digits, underscores and hyphens")
    pool, nodes = str(resource.get("pool_id") or ""), resource.get("node_count", 1)
    if not isinstance(nodes, int) or nodes < 1:
        raise v2_error(400, "2787", "spec.resource.node_count must be at least 1")
    spec = _spec(str(resource.get("flavor_id") or ""), pool=pool, call=call)
    chosen = _object(algorithm, "engine")
    if chosen.get("image_url") and not algorithm.get("command"):
        raise v2_error(400, "2806", "a job with a custom image requires a command")
    engine = Engine(
        name=str(chosen.get("engine_name") or ""),
        version=str(chosen.get("engine_version") or ""),
        id=str(chosen.get("engine_id") or ""),
        image=str(chosen.get("image_url") or ""),
    )
    roles = tuple(
        Role(name=str(task.get("role", f"role{index}")), nodes=1, flavor=spec)
        for index, task in enumerate(body.get("tasks") or ())
        if isinstance(task, dict)
    )
    world = call.cloud.world
    job = world.submit(
        name,
        project=call.project.options.id,
        pool=pool,
        nodes=nodes,
        spec=spec,
        user=str(metadata.get("user_name") or "api-client"),
        workspace=str(metadata.get("workspace_id") or "0"),
        kind=str(body.get("kind") or "job"),
        roles=roles,
        engine=engine,
        priority=int(_object(_object(body, "spec"), "schedule_policy").get("priority", 1)),
        description=str(metadata.get("description") or ""),
        profile="",
        script=world.draw_script(nodes=nodes, api="v2", hetero=bool(roles)),
    )
    return Response(status=201, body=job_answer(call, job, detail=True))


def _spec(flavor_id: str, *, pool: str, call: Call) -> Flavor:
    for known in PUBLIC:
        if known.id == flavor_id:
            if pool:
                raise v2_error(400, "2781", "a dedicated pool does not accept public flavors")
            return known
    size = _POOL_SIZES.get(flavor_id.rpartition(".")[2])
    if not pool or not size:
        raise v2_error(400, "2787", f"no flavor {flavor_id!r}")
    groups = call.project.pool(pool).groups
    if not groups:
        return flavor("gpu", size, public=False)
    kind = groups[0].accelerator
    return flavor(kind, 0 if kind == "cpu" else size, public=False, model=groups[0].model)


def act(call: Call) -> Response:
    """Terminate a job: 202, and its phase is Terminating."""
    job = _job(call)
    if call.json().get("action_type") != "terminate":
        raise v2_error(400, "2788", "action_type must be terminate")
    call.cloud.world.stop(job)
    return Response(status=202, body=job_answer(call, job, detail=True))


def delete(call: Call) -> Response:
    """Delete a job; 202 without a body."""
    call.cloud.world.delete(_job(call))
    return Response(status=202)


def _job(call: Call) -> Job:
    job = call.project.job_index("v2").get(call.path["job"])
    if job is not None and "vanishing" in call.cloud.quirks and call.method == "GET":
        call.cloud.world.delete(job)
        job = None
    if job is None:
        raise v2_error(400, "2775", f"training job {call.path['job']} not found")
    return job


def _object(body: dict[str, Any], key: str) -> dict[str, Any]:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def _route(name: str, method: str, path: str, handler: Any, summary: str) -> Route:
    return Route(
        operation=f"v2.{name}", method=method, path=f"/v2/{{project}}{path}", handler=handler, summary=summary
    )


ROUTES = (
    _route("search", "POST", "/training-job-searches", search, "search jobs, one page"),
    _route("create", "POST", "/training-jobs", create, "submit a job"),
    _route("job", "GET", "/training-jobs/{job}", detail, "one job"),
    _route("delete", "DELETE", "/training-jobs/{job}", delete, "delete a job"),
    _route("action", "POST", "/training-jobs/{job}/actions", act, "terminate a job"),
    _route("metrics", "GET", "/training-jobs/{job}/metrics/{task}", task_metrics, "usage of one task"),
    _route("events", "GET", "/training-jobs/{job}/events", events, "events of a job"),
    _route("tasks", "GET", "/training-jobs/{job}/tasks", tasks, "tasks of a job, as a JSON array"),
    _route("flavors", "GET", "/training-job-flavors", flavors, "public flavors"),
    _route("engines", "GET", "/training-job-engines", engines, "preset engines"),
)
