"""The calls about dedicated pools, their workloads, node flavors and quotas (API reference §1.1, §1.2, §7)."""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from exporter.simulator.api.call import Call, Response, Route
from exporter.simulator.api.errors import no_such_api, v2_error
from exporter.simulator.world.job import Job, JobState
from exporter.simulator.world.node import NODE_FLAVORS, NodeFlavor, node_flavor
from exporter.simulator.world.pool import CPU_POOL, NodeGroup, Pool
from exporter.simulator.world.project import Project

_STATUSES = {
    JobState.CREATING: "Creating",
    JobState.IMAGE: "Creating",
    JobState.SUBMITTING: "Creating",
    JobState.QUEUED: "Queue",
    JobState.STARTING: "Pending",
    JobState.RUNNING: "Running",
    JobState.SCALING: "Running",
    JobState.TERMINATING: "Terminating",
}
_SYSTEM_MILLICORES, _SYSTEM_MIB = 350, 700
"""Reserved by system agents on each node."""
_NOTEBOOK_CORES, _NOTEBOOK_GIB = 2, 8
_MAX_WORKLOADS = 500
_FLAVORS_PAGE = 2
_QUOTA = {"pool": 15, "network": 15}
_JOB_QUOTA = 1_000


def listing(call: Call) -> Response:
    """The pools of one workspace, by default of the default workspace."""
    workspace = call.query.get("workspaceId") or "0"
    return Response(
        body={
            "apiVersion": "v2",
            "kind": "PoolList",
            "items": [
                _pool_body(call, pool)
                for pool in _dedicated(call.project)
                if _workspace(call.project, pool) == workspace
            ],
        }
    )


def _pool_body(call: Call, pool: Pool) -> dict[str, Any]:
    as_objects = "pools-objects" in call.cloud.quirks

    def nodes(count: Callable[[NodeGroup], int]) -> Any:
        rows = [
            {"flavor": node_flavor(group).name, "count": count(group), "maxCount": group.nodes}
            for group in pool.groups
            if count(group)
        ]
        return rows if not as_objects or len(rows) > 1 else rows[0] if rows else {}

    broken = sum(len(group.broken) for group in pool.groups)
    all_broken = bool(broken) and broken == sum(group.nodes for group in pool.groups)
    return {
        "apiVersion": "v2",
        "kind": "Pool",
        "metadata": {
            "name": pool.id,
            "creationTimestamp": _utc(call.cloud.world.created_at - 86_400),
            "labels": {
                "os.modelarts/name": pool.name,
                "os.modelarts/workspace.id": _workspace(call.project, pool),
                "os.modelarts.pool/biz": "private",
            },
        },
        "spec": {
            "type": "Dedicate",
            "scope": ["Train", *(["Infer"] if "infer" in pool.other_workloads else []), "Notebook"],
            "resources": nodes(lambda group: group.nodes),
        },
        "status": {
            "phase": "Abnormal" if all_broken else "Running",
            "resources": {
                "creating": nodes(lambda _: 0),
                "available": nodes(lambda group: group.nodes - len(group.broken)),
                "abnormal": nodes(lambda group: len(group.broken)),
                "deleting": nodes(lambda _: 0),
            },
        },
    }


def usage(call: Call) -> Response:
    """Allocation and capacity of every pool of the project, as Kubernetes quantities."""
    stamp = {"timestamp": _utc(call.now), "window": "1m"}
    healthy_only = "pools-capacity-available" in call.cloud.quirks
    unplaced = _unplaced(call.project)
    items = []
    for pool in _dedicated(call.project):
        if not pool.groups:
            continue
        capacity = _capacity(pool, healthy_only=healthy_only)
        items.append(
            {
                "metadata": {"name": pool.id},
                "table": {
                    "allocated": {"value": _allocated(pool, unplaced), **stamp},
                    "capacity": {"value": capacity, "maxValue": capacity, **stamp},
                },
            }
        )
    return Response(body={"apiVersion": "v2", "kind": "PoolMetricsList", "items": items})


def _capacity(pool: Pool, *, healthy_only: bool) -> dict[str, Any]:
    cores = memory = 0
    cards: Counter[str] = Counter()
    for group in pool.groups:
        spec = node_flavor(group)
        nodes = group.nodes - (len(group.broken) if healthy_only else 0)
        cores += nodes * spec.cores
        memory += nodes * spec.memory_gib
        if spec.cards:
            cards[spec.resource] += nodes * spec.cards
    return {"cpu": cores, "memory": f"{memory}Gi", **cards}


def _allocated(pool: Pool, unplaced: Counter[tuple[str, str]]) -> dict[str, Any]:
    others = sum(pool.other_workloads.values())
    millicores, mib = others * _NOTEBOOK_CORES * 1_000, others * _NOTEBOOK_GIB * 1_024
    cards: Counter[str] = Counter()
    for group in pool.groups:
        spec = node_flavor(group)
        held = group.slots - group.free_slots + unplaced[pool.id, group.accelerator]
        millicores += group.nodes * _SYSTEM_MILLICORES + held * spec.slot_cores * 1_000
        mib += group.nodes * _SYSTEM_MIB + held * spec.slot_gib * 1_024
        if spec.cards:
            cards[spec.resource] += held
    cpu: Any = f"{millicores}m" if millicores % 1_000 else millicores // 1_000
    return {"cpu": cpu, "memory": f"{mib}Mi", **cards}


def _unplaced(project: Project) -> Counter[tuple[str, str]]:
    """Slots of jobs that were started manually, by (pool, accelerator): the groups do not count them."""
    held: Counter[tuple[str, str]] = Counter()
    for job in project.unfinished():
        if job.placement is None and job.state.runs:
            held[job.group_key] += job.nodes_now * job.flavor.slots
    return held


def statistics(call: Call) -> Response:
    """Number of workloads of one pool, by type and status."""
    if "pools-no-statistics" in call.cloud.quirks:
        raise no_such_api()
    pool = _pool(call)
    counts: dict[str, Counter[str]] = {"train": Counter(dict.fromkeys(("Queue", "Pending", "Running"), 0))}
    for _, kind, status, _ in _workloads(call.project, pool):
        counts.setdefault(kind, Counter())[status] += 1
    as_text = "pools-statics" in call.cloud.quirks
    items = [
        {
            "type": kind,
            "total": str(by_status.total()) if as_text else by_status.total(),
            "status": {status: str(number) if as_text else number for status, number in by_status.items()},
        }
        for kind, by_status in counts.items()
    ]
    return Response(body={"statics" if as_text else "statistics": {"total": len(items), "items": items}})


def workloads(call: Call) -> Response:
    """List of the workloads of one pool, paged by `offset` and `limit` (500), filtered by `type` and `status`."""
    pool = _pool(call)
    wanted_kind, wanted_status = call.query.get("type"), call.query.get("status")
    offset, limit = call.query.get("offset", "0"), call.query.get("limit", str(_MAX_WORKLOADS))
    if not offset.isdigit() or not limit.isdigit() or int(limit) > _MAX_WORKLOADS:
        raise v2_error(400, "50004000", "offset and limit (at most 500) must be numbers")
    found = [
        _workload(pool, name, kind, status, job, now=call.now)
        for name, kind, status, job in _workloads(call.project, pool)
        if wanted_kind in (None, kind) and wanted_status in (None, status)
    ]
    page = found[int(offset) : int(offset) + int(limit)]
    return Response(body={"apiVersion": "v2", "kind": "WorkloadList", "items": page})


def _workloads(project: Project, pool: Pool) -> Iterator[tuple[str, str, str, Job | None]]:
    """Name, type, status and job of each workload of a pool that has not ended."""
    for job in project.unfinished():
        if job.pool == pool.id:
            yield f"modelarts-job-{job.id}", "train", _STATUSES[job.state], job
    for kind, number in pool.other_workloads.items():
        for index in range(number):
            yield f"{kind}-{pool.name}-{index}", kind, "Running", None


def _workload(pool: Pool, name: str, kind: str, status: str, job: Job | None, *, now: float) -> dict[str, Any]:
    waited_s = 0.0 if job is None else (job.started_at or now) - job.submitted_at
    return {
        "apiVersion": "v2",
        "kind": "Workload",
        "type": kind,
        "name": name,
        "namespace": pool.id,
        "jobName": job.name if job else name,
        "jobUUID": job.id if job else name,
        "status": status,
        "flavor": job.flavor.id if job else "",
        "resourceRequirement": _requirement(pool, job),
        "priority": str(job.priority if job else 1),
        "createTime": round((job.submitted_at if job else 0.0) * 1_000),
        "runningDuration": round(job.duration_s(now)) if job else 0,
        "pendingDuration": round(waited_s),
        "pendingPosition": -1,
        "hostIps": "",
        "isDeleted": "false",
    }


def _requirement(pool: Pool, job: Job | None) -> dict[str, str]:
    """Resources as text with units, which are not Kubernetes quantities."""
    if job is None:
        return {"cpu": f"{_NOTEBOOK_CORES} Cores", "memory": f"{_NOTEBOOK_GIB}.00 GiB"}
    required = {"cpu": f"{job.flavor.cores} Cores", "memory": f"{job.flavor.memory_gb}.00 GiB"}
    group = pool.group(job.flavor)
    if group is not None and job.flavor.cards:
        required[node_flavor(group).resource] = str(job.flavor.cards)
    return required


def flavors(call: Call) -> Response:
    """Node flavors, two a page; `continue` is the token of the previous page."""
    token = call.query.get("continue", "")
    start = int(token.removeprefix("at-")) if token.removeprefix("at-").isdigit() else 0
    page = NODE_FLAVORS[start : start + _FLAVORS_PAGE]
    next_start = start + _FLAVORS_PAGE
    metadata = {"continue": f"at-{next_start}"} if next_start < len(NODE_FLAVORS) else {}
    return Response(
        body={
            "apiVersion": "v1",
            "kind": "ResourceFlavorList",
            "metadata": metadata,
            "items": [_flavor(each) for each in page],
        }
    )


def _flavor(each: NodeFlavor) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "type": "Dedicate",
        "cpuArch": each.arch,
        "cpu": str(each.cores),
        "memory": f"{each.memory_gib}Gi",
    }
    if each.cards:
        spec[each.accelerator] = {"type": each.model, "size": str(each.cards), "memory": f"{each.card_gib}Gi"}
    return {
        "apiVersion": "v1",
        "kind": "ResourceFlavor",
        "metadata": {"name": each.name, "labels": {"os.modelarts/scope": "Train,Notebook"}},
        "spec": spec,
        "status": {"phase": {"az1": "normal"}},
    }


def quotas(call: Call) -> Response:
    """Quotas of pools and networks."""
    used = {"pool": sum(1 for _ in _dedicated(call.project)), "network": 1}
    resources = [{"type": name, "quota": limit, "used": used[name]} for name, limit in _QUOTA.items()]
    return Response(body={"quotas": {"resources": resources}})


def training_quotas(call: Call) -> Response:
    """The quota of v2 training jobs."""
    used = call.project.job_index("v2").unfinished_count
    return Response(body={"quotas": [{"resource": "job-num", "quota": _JOB_QUOTA, "used": used}]})


def _dedicated(project: Project) -> Iterator[Pool]:
    return (pool for pool in project.pools.values() if pool.id)


def _workspace(project: Project, pool: Pool) -> str:
    """The CPU pool is in the last workspace, all others in the default one."""
    return project.options.workspaces[-1 if pool.id == CPU_POOL else 0][0]


def _pool(call: Call) -> Pool:
    pool = call.project.pools.get(call.path["pool"])
    if pool is None or not pool.id:
        raise v2_error(404, "50015001", f"Pool {call.path['pool']} not found.")
    return pool


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _checked(handler: Callable[[Call], Response]) -> Callable[[Call], Response]:
    """Apply the quirks that concern all calls about pools."""

    def answer(call: Call) -> Response:
        if "no-pools" in call.cloud.quirks:
            raise no_such_api()
        if "pools-forbidden" in call.cloud.quirks:
            raise v2_error(403, "0108", "the user has no permission for resource pools")
        return handler(call)

    return answer


def _route(operation: str, path: str, handler: Callable[[Call], Response], summary: str) -> Route:
    version = operation.partition(".")[0]
    return Route(
        operation=operation,
        method="GET",
        path=f"/{version}/{{project}}{path}",
        handler=_checked(handler),
        summary=summary,
    )


ROUTES = (
    _route("v2.pools", "/pools", listing, "dedicated pools with their nodes"),
    _route("v2.pool-usage", "/metrics/runtime/pools", usage, "allocation and capacity of every pool"),
    _route("v2.pool-statistics", "/statistics/pools/{pool}/workloads", statistics, "number of workloads of a pool"),
    _route("v2.pool-workloads", "/pools/{pool}/workloads", workloads, "workloads of a pool"),
    _route("v1.resource-flavors", "/resourceflavors", flavors, "node flavors"),
    _route("v1.quotas", "/quotas", quotas, "quotas of pools and networks"),
    _route("v2.training-quotas", "/training-quotas", training_quotas, "quotas of training jobs"),
)
