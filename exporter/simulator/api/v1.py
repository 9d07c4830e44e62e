"""The v1 calls about training jobs (API reference §1.1, §11)."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from exporter.simulator.api.call import Call, Response, Route
from exporter.simulator.api.errors import V1Error, no_such_api
from exporter.simulator.api.v1_answers import MetricShape, job_fields, job_row, overview_row, status, version
from exporter.simulator.world.flavor import ENGINES, PUBLIC, Engine, Flavor
from exporter.simulator.world.job import Job, V1Job

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLAMP = 100
_MAX_PER_PAGE = 1_000
_MAX_PAGE = 65_535

_JOB_SORTS: dict[str, Callable[[V1Job], Any]] = {
    "job_name": lambda v1_job: v1_job.name,
    "job_desc": lambda v1_job: v1_job.description,
    "status": lambda v1_job: str(status(v1_job.versions[-1])).zfill(3),
    "duration": lambda v1_job: v1_job.versions[-1].duration_s(v1_job.created_at),
    "version_count": lambda v1_job: len(v1_job.versions),
    "create_time": lambda v1_job: v1_job.created_at,
}
_VERSION_SORTS: dict[str, Callable[[Job], Any]] = {
    "create_time": lambda job: job.submitted_at,
    "job_desc": lambda job: job.description,
    "status": lambda job: str(status(job)).zfill(3),
    "duration": lambda job: job.duration_s(job.submitted_at),
    "job_name": lambda job: job.name,
}


def overview(call: Call) -> Response:
    """Every version of every job, newest first; limit=0 returns all, offset counts records."""
    quirks = call.cloud.quirks
    if "v1-overview-missing" in quirks:
        raise no_such_api()
    if "v1-overview-as-job" in quirks:
        failure = V1Error("0104", "job id versions is not a number").body
        return Response(status=400, body=failure)
    limit, offset = _number(call, "limit", 20, low=0), _number(call, "offset", 0, low=0)
    if limit == 0 and "v1-overview-no-limit-0" in quirks:
        raise V1Error("0104", "limit must be between 1 and 100")
    workspace, pool, wanted = call.query.get("workspace_id", "0"), call.query.get("pool_id"), call.query.get("status")
    call.enter(workspace)
    sort_by, order = call.query.get("sort_by", "create_time"), call.query.get("order", "desc")
    if sort_by not in _VERSION_SORTS:
        raise V1Error("0104", f"cannot sort by {sort_by}")
    if "shifting-pages" in quirks and offset:
        call.cloud.world.submit_random(call.project)
    job_index = call.project.job_index("v1")
    jobs = [*(job_index.newest_first() if order == "desc" else job_index.oldest_first())]
    if "v1-lists-v2" in quirks:
        jobs += call.project.job_index("v2").newest_first()
        jobs.sort(key=_VERSION_SORTS["create_time"], reverse=order == "desc")
    found = [
        job
        for job in jobs
        if job.workspace == workspace
        and (pool in (None, job.pool))
        and (wanted is None or str(status(job)) == wanted)
    ]
    if "v1-overview-one-user" in quirks:
        first = next((job.user for job in job_index.oldest_first()), "")
        found = [job for job in found if job.user == first]
    if sort_by != "create_time":
        found.sort(key=_VERSION_SORTS[sort_by], reverse=order == "desc")
    skip = 0 if "v1-pages-repeat" in quirks else offset * limit if "v1-overview-offset-pages" in quirks else offset
    page = found[skip : skip + limit] if limit else found[skip:]
    per_node = "v1-overview-gpu-per-node" in quirks
    return Response(
        body={
            "is_success": True,
            "total_count": len(found),
            "offset": offset,
            "limit": limit,
            "versions": [
                overview_row(job, call.now, per_node=per_node, unknown=call.cloud.has_unknown_values(job))
                for job in page
            ],
        }
    )


def jobs(call: Call) -> Response:
    """The job list; pages count from 1, and only here the sort key is `sortBy`."""
    quirks = call.cloud.quirks
    per_page, page = _number(call, "per_page", 10, low=1), _number(call, "page", 1, low=1)
    if per_page > _MAX_PER_PAGE or page > _MAX_PAGE:
        raise V1Error("0104", f"per_page must be between 1 and {_MAX_PER_PAGE}, page between 1 and {_MAX_PAGE}")
    if "v1-page-clamped" in quirks:
        per_page = min(per_page, _CLAMP)
    sort_by = call.query.get("sortBy", "job_name")
    if sort_by not in _JOB_SORTS:
        raise V1Error("0104", f"cannot sort by {sort_by}")
    if "shifting-pages" in quirks and page > 1:
        call.cloud.world.submit_random(call.project)
    workspace, text = call.query.get("workspace_id", "0"), call.query.get("search_content", "")
    call.enter(workspace)
    wanted = call.query.get("status")
    found = [
        v1_job
        for v1_job in _sorted(call, sort_by, descending=call.query.get("order", "asc") == "desc")
        if v1_job.workspace == workspace
        and text in v1_job.name
        and (wanted is None or str(status(v1_job.versions[-1])) == wanted)
    ]
    start = 0 if "v1-pages-repeat" in quirks else (page - 1) * per_page
    return Response(
        body={
            "is_success": True,
            "job_total_count": len(found),
            "job_count_limit": 10_000,
            "quotas": 10_000,
            "jobs": [
                job_row(
                    v1_job,
                    call.now,
                    user="v1-user-missing" not in quirks,
                    unknown=call.cloud.has_unknown_values(v1_job.versions[-1]),
                )
                for v1_job in found[start : start + per_page]
            ],
        }
    )


def _sorted(call: Call, sort_by: str, *, descending: bool) -> Sequence[V1Job]:
    """Jobs in order. An order by fields that never change is cached until a job is added or removed."""
    project = call.project
    fixed = sort_by in {"job_name", "job_desc", "create_time"}

    def build() -> list[V1Job]:
        return sorted(project.v1_jobs.values(), key=_JOB_SORTS[sort_by], reverse=descending)

    return project.sorted_v1_jobs((sort_by, descending), build) if fixed else build()


def versions(call: Call) -> Response:
    """All versions of a job in full, with usage; page 0 or no page means no paging."""
    v1_job = _v1_job(call)
    per_page, page = _number(call, "per_page", 10, low=1), _number(call, "page", 0, low=0)
    if per_page > _MAX_PER_PAGE:
        raise V1Error("0104", f"per_page must be between 1 and {_MAX_PER_PAGE}")
    rows = list(reversed(v1_job.versions))
    if page:
        rows = rows[(page - 1) * per_page : page * per_page]
    return Response(
        body={
            "is_success": True,
            **job_fields(v1_job.versions[0]),
            "version_count": len(v1_job.versions),
            "versions": [_version_body(call, job, shape="text") for job in rows],
        }
    )


def detail(call: Call) -> Response:
    """One version, with the fields of its job."""
    job = _version(call)
    return Response(body={"is_success": True, **job_fields(job), **_version_body(call, job, shape="object")})


def _version_body(call: Call, job: Job, *, shape: MetricShape) -> dict[str, Any]:
    cloud = call.cloud
    for forced in ("text", "object", "null"):
        if f"v1-metrics-{forced}" in cloud.quirks:
            shape = forced
    return version(
        job,
        call.now,
        shape=shape,
        secret=cloud.has_secret(job),
        unknown=cloud.has_unknown_values(job),
        quirks=cloud.quirks,
    )


def workspaces(call: Call) -> Response:
    """The workspaces of the project, for both generations. The default one has a number as its id."""
    quirks = call.cloud.quirks
    asked = call.query.get("filter_accessible")
    if asked is not None and (asked.lower() not in {"true", "false"} or "accessible-refused" in quirks):
        raise V1Error("0104", "filter_accessible is not a valid parameter")
    last = call.project.options.workspaces[-1][0]
    rows = [
        {
            "id": 0 if key == "0" else key,
            "name": name,
            "status": "DELETING" if key == last and "workspace-deleting" in quirks else "NORMAL",
            "auth_type": "PRIVATE" if key == last and "workspace-forbidden" in quirks else "PUBLIC",
        }
        for key, name in call.project.options.workspaces
    ]
    if asked is not None and asked.lower() == "true" and "accessible-ignored" not in quirks:
        rows = [row for row in rows if row["auth_type"] == "PUBLIC"]
    offset, limit = _number(call, "offset", 0, low=0), _number(call, "limit", 1_000, low=1)
    page = rows[offset : offset + limit]
    return Response(body={"total_count": len(rows), "count": len(page), "workspaces": page})


def resource_specs(_: Call) -> Response:
    """The flavors of training jobs."""
    return Response(
        body={
            "is_success": True,
            "spec_total_count": len(PUBLIC),
            "specs": [
                {
                    "spec_id": index,
                    "core": str(spec.cores),
                    "cpu": str(spec.memory_gb),
                    "gpu_num": spec.cards if spec.accelerator == "gpu" else 0,
                    "gpu_type": spec.model if spec.accelerator == "gpu" else "",
                    "spec_code": spec.id,
                    "max_num": spec.max_nodes,
                    "unit_num": 1,
                    "no_resource": False,
                }
                for index, spec in enumerate(PUBLIC, start=1)
            ],
        }
    )


def ai_engines(_: Call) -> Response:
    """The preset engines."""
    return Response(
        body={
            "is_success": True,
            "engines": [
                {"engine_type": 1, "engine_name": each.name, "engine_id": index, "engine_version": each.version}
                for index, each in enumerate(ENGINES, start=1)
                if each.name
            ],
        }
    )


def create(call: Call) -> Response:
    """Submit a job with its first version."""
    body = call.json()
    name = str(body.get("job_name", ""))
    if not _NAME.fullmatch(name):
        raise V1Error("0104", "job_name must be 1 to 64 letters, digits, underscores and hyphens")
    if any(v1_job.name == name for v1_job in call.project.v1_jobs.values()):
        raise V1Error("0103", f"Job name:{name} is existed")
    return _submit(call, name, body, follows=None)


def create_version(call: Call) -> Response:
    """Submit another version of a job."""
    v1_job = _v1_job(call)
    return _submit(call, v1_job.name, call.json(), follows=v1_job.versions[-1])


def _submit(call: Call, name: str, body: dict[str, Any], *, follows: Job | None) -> Response:
    config = body.get("config")
    if not isinstance(config, dict):
        raise V1Error("0104", "config is missing")
    pool = str(config.get("pool_id") or "")
    nodes = int(config.get("worker_server_num") or 1)
    world = call.cloud.world
    job = world.submit(
        name,
        api="v1",
        project=call.project.options.id,
        pool=pool,
        nodes=nodes,
        spec=_spec(config),
        user="api-client",
        workspace=str(body.get("workspace_id") or "0"),
        engine=Engine(image=str(config["user_image_url"])) if config.get("user_image_url") else ENGINES[0],
        description=str(body.get("job_desc") or ""),
        profile="",
        version_of=follows,
        script=world.draw_script(nodes=nodes, api="v1"),
    )
    row = version(job, call.now, shape="null", secret=False, unknown=False)
    return Response(
        body={
            "is_success": True,
            **{key: job_fields(job)[key] for key in ("job_id", "job_name")},
            **{key: row[key] for key in ("status", "create_time", "version_id", "version_name", "resource_id")},
        }
    )


def _spec(config: dict[str, Any]) -> Flavor:
    flavor = config.get("flavor")
    if isinstance(flavor, dict):
        for known in PUBLIC:
            if known.id == flavor.get("code"):
                return known
        raise V1Error("0104", f"no flavor {flavor.get('code')}")
    number = str(config.get("spec_id", ""))
    if not number.isdigit() or not 1 <= int(number) <= len(PUBLIC):
        raise V1Error("0104", f"no spec_id {number or 'given'}")
    return PUBLIC[int(number) - 1]


def stop(call: Call) -> Response:
    """Cancel a version."""
    call.cloud.world.stop(_version(call))
    return Response(body={"is_success": True})


def delete(call: Call) -> Response:
    """Delete a job with all its versions."""
    for job in list(_v1_job(call).versions):
        call.cloud.world.delete(job)
    return Response(body={"is_success": True})


def _v1_job(call: Call) -> V1Job:
    text = call.path["job"]
    v1_job = call.project.v1_jobs.get(int(text)) if text.isdigit() else None
    if v1_job is not None and "vanishing" in call.cloud.quirks and call.method == "GET":
        for job in list(v1_job.versions):
            call.cloud.world.delete(job)
        v1_job = None
    if v1_job is None:
        raise V1Error("0105", f"training job {text} does not exist")
    return v1_job


def _version(call: Call) -> Job:
    for job in _v1_job(call).versions:
        if str(job.number) == call.path["version"]:
            return job
    raise V1Error("0105", f"training job version {call.path['version']} does not exist")


def _number(call: Call, key: str, default: int, *, low: int) -> int:
    text = call.query.get(key, str(default))
    if not text.isdigit() or int(text) < low:
        raise V1Error("0104", f"{key} must be a number from {low}")
    return int(text)


def _route(name: str, method: str, path: str, handler: Callable[[Call], Response], summary: str) -> Route:
    return Route(
        operation=f"v1.{name}", method=method, path=f"/v1/{{project}}{path}", handler=handler, summary=summary
    )


ROUTES = (
    _route("overview", "GET", "/training-jobs/versions", overview, "all versions of all jobs"),
    _route("jobs", "GET", "/training-jobs", jobs, "the job list"),
    _route("create", "POST", "/training-jobs", create, "submit a job"),
    _route("versions", "GET", "/training-jobs/{job}/versions", versions, "the versions of a job, with usage"),
    _route(
        "create-version", "POST", "/training-jobs/{job}/versions", create_version, "submit another version of a job"
    ),
    _route("version", "GET", "/training-jobs/{job}/versions/{version}", detail, "one version"),
    _route("stop", "POST", "/training-jobs/{job}/versions/{version}/stop", stop, "cancel a version"),
    _route("delete", "DELETE", "/training-jobs/{job}", delete, "delete a job with all its versions"),
    _route("workspaces", "GET", "/workspaces", workspaces, "the workspaces of the project"),
    _route("resource-specs", "GET", "/job/resource-specs", resource_specs, "flavors"),
    _route("engines", "GET", "/job/ai-engines", ai_engines, "preset engines"),
)
