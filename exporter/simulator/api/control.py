"""The control API: changes the world over HTTP. It needs no credentials, and faults do not apply to it."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from exporter.simulator import options as known
from exporter.simulator.api.call import Call, Response, Route
from exporter.simulator.api.errors import ApiError
from exporter.simulator.faults.faults import FAULTS, Fault, parse_fault
from exporter.simulator.faults.quirks import QUIRKS
from exporter.simulator.world.ground_truth import Totals
from exporter.simulator.world.job import Job
from exporter.simulator.world.project import Project
from exporter.simulator.world.world import World

_SUBMIT_KEYS = frozenset(
    [
        "name",
        "api",
        "project",
        "pool",
        "nodes",
        "accelerators_per_node",
        "accelerator",
        "user",
        "workspace",
        "kind",
        "priority",
        "description",
        "profile",
        "accelerator_field",
        "submitted_at",
    ]
)


def describe(call: Call) -> Response:
    """Credentials, routes, quirks and faults of this simulator."""
    cloud = call.cloud
    return Response(
        body={
            "what": "a simulated ModelArts cloud; no account, job or credential in it is real",
            "now": cloud.world.now,
            "projects": [asdict(project.options) for project in cloud.world.projects.values()],
            "credentials": {
                "access_key": cloud.keys.access_key,
                "secret_key": cloud.keys.secret_key,
                "user": cloud.keys.user,
                "password": cloud.keys.password,
                "domain": cloud.keys.domain,
                "pod_identity_token": cloud.keys.pod_identity_token,
                "project_id": known.PROJECT_ID,
            },
            "routes": [
                {"operation": each.operation, "method": each.method, "path": each.path, "summary": each.summary}
                for each in call.routes
            ],
            "quirks": {name: {"help": text, "on": name in cloud.quirks} for name, text in QUIRKS.items()},
            "faults": {
                name: {"help": each.help, "parameters": dict(each.parameters)} for name, each in FAULTS.items()
            },
        }
    )


def jobs(call: Call) -> Response:
    """Jobs, newest first, filtered by `state` and `api`; at most `limit` (100)."""
    state, api = call.query.get("state"), call.query.get("api")
    limit = _integer(call.query.get("limit", "100"))
    found = [
        job
        for job in (call.cloud.world.unfinished if state == "unfinished" else call.cloud.world.jobs)
        if state in (None, "unfinished", job.state.value) and api in (None, job.api)
    ]
    found.sort(key=lambda job: job.number, reverse=True)
    return Response(body={"total": len(found), "jobs": [_job_body(job) for job in found[:limit]]})


def submit(call: Call) -> Response:
    """Submit a job without a script; the keys of the body are the arguments of World.submit."""
    given = call.json()
    if extra := set(given) - _SUBMIT_KEYS:
        raise _bad_request(f"no such keys: {', '.join(sorted(extra))}; there are {', '.join(sorted(_SUBMIT_KEYS))}")
    try:
        job = call.cloud.world.submit(str(given.pop("name", "")), **given)
    except (KeyError, ValueError, TypeError) as error:
        raise _bad_request(str(error)) from error
    return Response(status=201, body=_job_body(job))


def job(call: Call) -> Response:
    """One job, as the world has it."""
    return Response(body=_job_body(_job(call)))


def move(call: Call) -> Response:
    """Change the state of a job."""
    job, given = _job(call), call.json()
    step = STEPS.get(call.path["step"])
    if step is None:
        raise _bad_request(f"no such step; there are {', '.join(STEPS)}")
    try:
        step(call.cloud.world, job, given)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise _bad_request(str(error)) from error
    return Response(body=_job_body(job))


def _usage(_: World, job: Job, given: dict[str, Any]) -> None:
    job.usage(str(given.pop("task", "worker-0")), **given)


STEPS: dict[str, Callable[[World, Job, dict[str, Any]], object]] = {
    "enqueue": lambda world, job, _: world.enqueue(job),
    "start": lambda world, job, _: world.start(job),
    "complete": lambda world, job, _: world.complete(job),
    "fail": lambda world, job, given: world.fail(
        job, exit_code=int(given.get("exit_code", 1)), task=given.get("task"), message=given.get("message")
    ),
    "create-fail": lambda world, job, _: world.create_fail(job),
    "lose": lambda world, job, _: world.lose(job),
    "come-back": lambda world, job, _: world.come_back(job),
    "stop": lambda world, job, given: world.stop(job, grace_s=float(given.get("grace_s", 20.0))),
    "terminate": lambda world, job, _: world.terminate(job),
    "recover": lambda world, job, given: world.recover(job, **given),
    "heal": lambda world, job, given: world.heal(job, **given),
    "preempt": lambda world, job, _: world.preempt(job),
    "resume": lambda world, job, _: world.resume(job),
    "scale": lambda world, job, given: world.scale(job, int(given["nodes"])),
    "usage": _usage,
    "delete": lambda world, job, _: world.delete(job),
}


def pools(call: Call) -> Response:
    """Dedicated pools and their nodes, as the world has them; `project` selects another project than the first."""
    return Response(
        body={
            "pools": [
                {
                    "id": pool.id,
                    "name": pool.name,
                    "groups": [
                        {
                            "accelerator": group.accelerator,
                            "nodes": group.nodes,
                            "broken": len(group.broken),
                            "slots": group.slots,
                            "free": group.free_slots,
                        }
                        for group in pool.groups
                    ],
                }
                for pool in _requested_project(call).pools.values()
                if pool.id
            ]
        }
    )


def break_nodes(call: Call) -> Response:
    """Break `nodes` (1) nodes of a pool, emptiest first."""
    given = call.json()
    try:
        broken = call.cloud.world.break_nodes(
            call.path["pool"], int(given.get("nodes", 1)), project=given.get("project")
        )
    except (KeyError, ValueError, TypeError) as error:
        raise _bad_request(f"no such pool or number: {error}") from error
    return Response(body={"broken": broken})


def repair_nodes(call: Call) -> Response:
    """Repair all nodes of a pool."""
    try:
        call.cloud.world.repair_nodes(call.path["pool"], project=call.json().get("project"))
    except KeyError as error:
        raise _bad_request(f"no such pool: {error}") from error
    return Response(body={})


def advance(call: Call) -> Response:
    """Advance the simulated time by `seconds`."""
    try:
        call.cloud.world.advance(float(call.json().get("seconds", 0)))
    except (TypeError, ValueError) as error:
        raise _bad_request(str(error)) from error
    return Response(body={"now": call.cloud.world.now})


def list_faults(call: Call) -> Response:
    """The active faults."""
    return Response(body={"faults": [fault.as_json() for fault in call.cloud.faults]})


def add_fault(call: Call) -> Response:
    """Activate a fault: {"fault": "429:count=3"} or {"name": "429", "count": 3}."""
    given = call.json()
    try:
        fault = parse_fault(str(given["fault"])) if "fault" in given else Fault(**given)
    except (TypeError, ValueError) as error:
        raise _bad_request(str(error)) from error
    return Response(status=201, body=call.cloud.faults.add(fault).as_json())


def clear_faults(call: Call) -> Response:
    """Deactivate all faults."""
    call.cloud.faults.clear()
    return Response(body={"faults": []})


def set_quirks(call: Call) -> Response:
    """Switch quirks: {"on": [...], "off": [...]}."""
    given = call.json()
    try:
        call.cloud.quirks.on(*given.get("on", ()))
        call.cloud.quirks.off(*given.get("off", ()))
    except (TypeError, ValueError) as error:
        raise _bad_request(str(error)) from error
    return Response(body={"on": list(call.cloud.quirks)})


def ground_truth(call: Call) -> Response:
    """The true totals, of all projects or of `project`."""
    project = call.query.get("project")
    if project is not None and project not in call.cloud.world.projects:
        raise _bad_request(f"no project {project!r}")
    return Response(body=_totals_body(call.cloud.world.ground_truth(project)))


def _totals_body(totals: Totals) -> dict[str, Any]:
    def seconds(table: dict[tuple[str, str, str], float]) -> list[dict[str, Any]]:
        return [
            {"pool": pool, "user": user, "accelerator": accelerator, "seconds": value}
            for (pool, user, accelerator), value in sorted(table.items())
        ]

    return {
        "submitted": dict(totals.submitted),
        "started": dict(totals.started),
        "finished": [
            {"pool": pool, "status": status, "jobs": number}
            for (pool, status), number in sorted(totals.finished.items())
        ],
        "recoveries": dict(totals.recoveries),
        "faults": [[*key, times] for key, times in totals.faults.items()],
        "recovery_s": dict(totals.recovery_s),
        "held": seconds(totals.held_s),
        "idle": seconds(totals.idle_s),
        "sampled_idle": seconds(totals.sampled_idle_s),
        "lost": seconds(totals.lost_s),
        "queue_seconds": {pool: {"count": len(waits), "sum": sum(waits)} for pool, waits in totals.queue_s.items()},
        "run_seconds": [
            {"pool": pool, "status": status, "count": len(runs), "sum": sum(runs)}
            for (pool, status), runs in sorted(totals.run_s.items())
        ],
    }


def requests(call: Call) -> Response:
    """Number of requests, by operation."""
    return Response(body={"total": len(call.cloud.requests), "counts": call.cloud.requests.counts()})


def clear_requests(call: Call) -> Response:
    """Clear the log of requests."""
    call.cloud.requests.clear()
    return Response(body={"total": 0, "counts": {}})


def rotate(call: Call) -> Response:
    """Replace credentials: any of access_key, secret_key, password; `tokens` or `temporary` true expires those."""
    given = call.json()
    keys = call.cloud.keys
    keys.rotate(
        access_key=given.get("access_key"), secret_key=given.get("secret_key"), password=given.get("password")
    )
    if given.get("tokens"):
        keys.expire_tokens()
    if given.get("temporary"):
        keys.expire_temporary()
    return Response(body={"access_key": keys.access_key})


def _job(call: Call) -> Job:
    try:
        return call.cloud.world.job(call.path["job"])
    except KeyError as error:
        raise ApiError(404, {"error": f"no job {call.path['job']!r}"}) from error


def _job_body(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "api": job.api,
        "project": job.project,
        "job_id": job.v1_job.id if job.v1_job else None,
        "state": job.state.value,
        "pool": job.pool,
        "user": job.user,
        "workspace": job.workspace,
        "nodes": job.nodes,
        "nodes_now": job.nodes_now,
        "accelerator": job.flavor.accelerator,
        "accelerators": job.accelerators,
        "tasks": list(job.tasks),
        "submitted_at": job.submitted_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def _requested_project(call: Call) -> Project:
    try:
        return call.cloud.world.project(call.query.get("project"))
    except KeyError as error:
        raise _bad_request(f"no project {error}") from error


def _integer(text: str) -> int:
    if not text.isdigit():
        raise _bad_request(f"{text!r} is not a number")
    return int(text)


def _bad_request(message: str) -> ApiError:
    return ApiError(400, {"error": message})


def _route(method: str, path: str, handler: Callable[[Call], Response], summary: str) -> Route:
    return Route(
        operation=f"control.{handler.__name__.replace('_', '-')}",
        method=method,
        path=f"/simulator/{path}",
        handler=handler,
        summary=summary,
    )


ROUTES = (
    _route("GET", "", describe, "credentials, routes, quirks and faults of this simulator"),
    _route("GET", "jobs", jobs, "jobs as the world has them: ?state=, ?api=, ?limit="),
    _route("POST", "jobs", submit, "submit a job that changes only when it is moved"),
    _route("GET", "jobs/{job}", job, "one job, by id or name"),
    _route("POST", "jobs/{job}/{step}", move, f"move a job: {', '.join(STEPS)}"),
    _route("GET", "pools", pools, "pools and their nodes as the world has them: ?project="),
    _route("POST", "pools/{pool}/break", break_nodes, "break nodes of a pool: {nodes, project}"),
    _route("POST", "pools/{pool}/repair", repair_nodes, "repair all nodes of a pool: {project}"),
    _route("POST", "advance", advance, "advance the simulated time: {seconds}"),
    _route("GET", "faults", list_faults, "the active faults"),
    _route("POST", "faults", add_fault, "activate a fault: {fault: NAME:key=value,…}"),
    _route("DELETE", "faults", clear_faults, "deactivate all faults"),
    _route("POST", "quirks", set_quirks, "switch quirks: {on: […], off: […]}"),
    _route("GET", "ground-truth", ground_truth, "the true totals: ?project="),
    _route("GET", "requests", requests, "number of requests, by operation"),
    _route("DELETE", "requests", clear_requests, "clear the log of requests"),
    _route("POST", "credentials", rotate, "rotate or expire credentials"),
)
