"""The calls of the old generation (API reference §1.1, §11)."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from exporter.simulator.api.call import Call, Reply, Route
from exporter.simulator.api.errors import Failed, no_such_api
from exporter.simulator.api.v1_answers import MetricShape, head, job_row, overview_row, status, version
from exporter.simulator.world.flavor import ENGINES, PUBLIC, Engine, Flavor
from exporter.simulator.world.job import Job, Lineage

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLAMP = 100
_MAX_PER_PAGE = 1_000
_MAX_PAGE = 65_535

_JOB_SORTS: dict[str, Callable[[Lineage], Any]] = {
    "job_name": lambda lineage: lineage.name,
    "job_desc": lambda lineage: lineage.description,
    "status": lambda lineage: str(status(lineage.versions[-1])).zfill(3),
    "duration": lambda lineage: lineage.versions[-1].duration_s(lineage.created_at),
    "version_count": lambda lineage: len(lineage.versions),
    "create_time": lambda lineage: lineage.created_at,
}
_VERSION_SORTS: dict[str, Callable[[Job], Any]] = {
    "create_time": lambda job: job.submitted_at,
    "job_desc": lambda job: job.description,
    "status": lambda job: str(status(job)).zfill(3),
    "duration": lambda job: job.duration_s(job.submitted_at),
    "job_name": lambda job: job.name,
}


def overview(call: Call) -> Reply:
    """Every version of every job, newest first; limit=0 is everything, offset counts records."""
    quirks = call.cloud.quirks
    if "v1-overview-missing" in quirks:
        raise no_such_api()
    if "v1-overview-as-job" in quirks:
        failure = Failed("0104", "job id versions is not a number").body
        return Reply(status=400, body=failure)
    limit, offset = _number(call, "limit", 20, low=0), _number(call, "offset", 0, low=0)
    if limit == 0 and "v1-overview-no-limit-0" in quirks:
        raise Failed("0104", "limit must be between 1 and 100")
    workspace, pool, wanted = call.query.get("workspace_id", "0"), call.query.get("pool_id"), call.query.get("status")
    sort_by, order = call.query.get("sort_by", "create_time"), call.query.get("order", "desc")
    if sort_by not in _VERSION_SORTS:
        raise Failed("0104", f"cannot sort by {sort_by}")
    if "shifting-pages" in quirks and offset:
        call.cloud.world.arrive(call.project)
    job_index = call.project.job_index("v1")
    found = [
        job
        for job in (job_index.newest_first() if order == "desc" else job_index.oldest_first())
        if job.workspace == workspace
        and (pool in (None, job.pool))
        and (wanted is None or str(status(job)) == wanted)
    ]
    if sort_by != "create_time":
        found.sort(key=_VERSION_SORTS[sort_by], reverse=order == "desc")
    skip = 0 if "v1-pages-repeat" in quirks else offset * limit if "v1-overview-offset-pages" in quirks else offset
    page = found[skip : skip + limit] if limit else found[skip:]
    per_node = "v1-overview-gpu-per-node" in quirks
    return Reply(
        body={
            "is_success": True,
            "total_count": len(found),
            "offset": offset,
            "limit": limit,
            "versions": [overview_row(job, call.now, per_node=per_node, odd=call.cloud.is_odd(job)) for job in page],
        }
    )


def jobs(call: Call) -> Reply:
    """The job list; pages count from 1, and sortBy is in camel case here alone."""
    quirks = call.cloud.quirks
    per_page, page = _number(call, "per_page", 10, low=1), _number(call, "page", 1, low=1)
    if per_page > _MAX_PER_PAGE or page > _MAX_PAGE:
        raise Failed("0104", f"per_page must be between 1 and {_MAX_PER_PAGE}, page between 1 and {_MAX_PAGE}")
    if "v1-page-clamped" in quirks:
        per_page = min(per_page, _CLAMP)
    sort_by = call.query.get("sortBy", "job_name")
    if sort_by not in _JOB_SORTS:
        raise Failed("0104", f"cannot sort by {sort_by}")
    if "shifting-pages" in quirks and page > 1:
        call.cloud.world.arrive(call.project)
    workspace, text = call.query.get("workspace_id", "0"), call.query.get("search_content", "")
    wanted = call.query.get("status")
    found = [
        lineage
        for lineage in _sorted(call, sort_by, descending=call.query.get("order", "asc") == "desc")
        if lineage.workspace == workspace
        and text in lineage.name
        and (wanted is None or str(status(lineage.versions[-1])) == wanted)
    ]
    start = 0 if "v1-pages-repeat" in quirks else (page - 1) * per_page
    return Reply(
        body={
            "is_success": True,
            "job_total_count": len(found),
            "job_count_limit": 10_000,
            "quotas": 10_000,
            "jobs": [
                job_row(
                    lineage,
                    call.now,
                    user="v1-user-missing" not in quirks,
                    odd=call.cloud.is_odd(lineage.versions[-1]),
                )
                for lineage in found[start : start + per_page]
            ],
        }
    )


def _sorted(call: Call, sort_by: str, *, descending: bool) -> Sequence[Lineage]:
    """Sorting by what never changes is done once for as long as no job comes or goes."""
    tenant = call.project
    fixed = sort_by in {"job_name", "job_desc", "create_time"}

    def build() -> list[Lineage]:
        return sorted(tenant.lineages.values(), key=_JOB_SORTS[sort_by], reverse=descending)

    return tenant.sorted_lineages((sort_by, descending), build) if fixed else build()


def versions(call: Call) -> Reply:
    """All versions of a job in full, usage included; page 0 or none means no paging."""
    lineage = _lineage(call)
    per_page, page = _number(call, "per_page", 10, low=1), _number(call, "page", 0, low=0)
    if per_page > _MAX_PER_PAGE:
        raise Failed("0104", f"per_page must be between 1 and {_MAX_PER_PAGE}")
    rows = list(reversed(lineage.versions))
    if page:
        rows = rows[(page - 1) * per_page : page * per_page]
    return Reply(
        body={
            "is_success": True,
            **head(lineage.versions[0]),
            "version_count": len(lineage.versions),
            "versions": [_tell(call, job, shape="text") for job in rows],
        }
    )


def detail(call: Call) -> Reply:
    """One version, its job's fields beside its own."""
    job = _version(call)
    return Reply(body={"is_success": True, **head(job), **_tell(call, job, shape="object")})


def _tell(call: Call, job: Job, *, shape: MetricShape) -> dict[str, Any]:
    cloud = call.cloud
    for forced in ("text", "object", "null"):
        if f"v1-metrics-{forced}" in cloud.quirks:
            shape = forced
    return version(job, call.now, shape=shape, secret=cloud.has_secret(job), odd=cloud.is_odd(job))


def workspaces(call: Call) -> Reply:
    """The project's workspaces; both generations use them."""
    told = [{"id": key, "name": name, "status": "NORMAL"} for key, name in call.project.project.workspaces]
    offset, limit = _number(call, "offset", 0, low=0), _number(call, "limit", 1_000, low=1)
    page = told[offset : offset + limit]
    return Reply(body={"total_count": len(told), "count": len(page), "workspaces": page})


def resource_specs(_: Call) -> Reply:
    """The flavors of training jobs."""
    return Reply(
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


def ai_engines(_: Call) -> Reply:
    """The preset engines."""
    return Reply(
        body={
            "is_success": True,
            "engines": [
                {"engine_type": 1, "engine_name": each.name, "engine_id": index, "engine_version": each.version}
                for index, each in enumerate(ENGINES, start=1)
                if each.name
            ],
        }
    )


def create(call: Call) -> Reply:
    """Submit a job with its first version."""
    body = call.json()
    name = str(body.get("job_name", ""))
    if not _NAME.fullmatch(name):
        raise Failed("0104", "job_name must be 1 to 64 letters, digits, underscores and hyphens")
    if any(lineage.name == name for lineage in call.project.lineages.values()):
        raise Failed("0103", f"Job name:{name} is existed")
    return _submit(call, name, body, follows=None)


def create_version(call: Call) -> Reply:
    """Submit another version of a job."""
    lineage = _lineage(call)
    return _submit(call, lineage.name, call.json(), follows=lineage.versions[-1])


def _submit(call: Call, name: str, body: dict[str, Any], *, follows: Job | None) -> Reply:
    config = body.get("config")
    if not isinstance(config, dict):
        raise Failed("0104", "config is missing")
    pool = str(config.get("pool_id") or "")
    nodes = int(config.get("worker_server_num") or 1)
    world = call.cloud.world
    job = world.submit(
        name,
        api="v1",
        project=call.project.project.id,
        pool=pool,
        nodes=nodes,
        spec=_spec(config),
        user="api-client",
        workspace=str(body.get("workspace_id") or "0"),
        engine=Engine(image=str(config["user_image_url"])) if config.get("user_image_url") else ENGINES[0],
        description=str(body.get("job_desc") or ""),
        profile="",
        version_of=follows,
        plan=world.draw_plan(nodes=nodes, api="v1"),
    )
    row = version(job, call.now, shape="null", secret=False, odd=False)
    return Reply(
        body={
            "is_success": True,
            **{key: head(job)[key] for key in ("job_id", "job_name")},
            **{key: row[key] for key in ("status", "create_time", "version_id", "version_name", "resource_id")},
        }
    )


def _spec(config: dict[str, Any]) -> Flavor:
    flavor = config.get("flavor")
    if isinstance(flavor, dict):
        for known in PUBLIC:
            if known.id == flavor.get("code"):
                return known
        raise Failed("0104", f"no flavor {flavor.get('code')}")
    number = str(config.get("spec_id", ""))
    if not number.isdigit() or not 1 <= int(number) <= len(PUBLIC):
        raise Failed("0104", f"no spec_id {number or 'given'}")
    return PUBLIC[int(number) - 1]


def stop(call: Call) -> Reply:
    """Cancel a version."""
    call.cloud.world.stop(_version(call))
    return Reply(body={"is_success": True})


def delete(call: Call) -> Reply:
    """Delete a job with all its versions."""
    for job in list(_lineage(call).versions):
        call.cloud.world.delete(job)
    return Reply(body={"is_success": True})


def _lineage(call: Call) -> Lineage:
    text = call.path["job"]
    lineage = call.project.lineages.get(int(text)) if text.isdigit() else None
    if lineage is not None and "vanishing" in call.cloud.quirks and call.method == "GET":
        for job in list(lineage.versions):
            call.cloud.world.delete(job)
        lineage = None
    if lineage is None:
        raise Failed("0105", f"training job {text} does not exist")
    return lineage


def _version(call: Call) -> Job:
    for job in _lineage(call).versions:
        if str(job.number) == call.path["version"]:
            return job
    raise Failed("0105", f"training job version {call.path['version']} does not exist")


def _number(call: Call, key: str, default: int, *, low: int) -> int:
    text = call.query.get(key, str(default))
    if not text.isdigit() or int(text) < low:
        raise Failed("0104", f"{key} must be a number from {low}")
    return int(text)


def _route(name: str, method: str, path: str, handler: Callable[[Call], Reply], summary: str) -> Route:
    return Route(
        operation=f"v1.{name}", method=method, path=f"/v1/{{project}}{path}", handler=handler, summary=summary
    )


ROUTES = (
    _route("overview", "GET", "/training-jobs/versions", overview, "all versions of all jobs"),
    _route("jobs", "GET", "/training-jobs", jobs, "the job list"),
    _route("create", "POST", "/training-jobs", create, "submit a job"),
    _route("versions", "GET", "/training-jobs/{job}/versions", versions, "the versions of a job, usage included"),
    _route("create-version", "POST", "/training-jobs/{job}/versions", create_version, "submit another version"),
    _route("version", "GET", "/training-jobs/{job}/versions/{version}", detail, "one version"),
    _route("stop", "POST", "/training-jobs/{job}/versions/{version}/stop", stop, "cancel a version"),
    _route("delete", "DELETE", "/training-jobs/{job}", delete, "delete a job with its versions"),
    _route("workspaces", "GET", "/workspaces", workspaces, "the project's workspaces"),
    _route("resource-specs", "GET", "/job/resource-specs", resource_specs, "flavors"),
    _route("engines", "GET", "/job/ai-engines", ai_engines, "preset engines"),
)
