"""Families of one dedicated pool, and of the quotas of a project."""

from collections.abc import Callable, Iterable

from exporter.domain.job import Accelerator
from exporter.domain.pool import NodeState, Pool, PoolStatus, Quota, WorkloadKind, WorkloadStatus
from exporter.domain.snapshot import ProjectSnapshot
from exporter.metrics.exposition.family import Family, Label, Sample, Stability, Type
from exporter.metrics.families.job import ACCELERATOR, UNKNOWN_ACCELERATOR

RESOURCE = Label(name="resource", help="Resource name in the API: `nvidia.com/gpu`, or a masked one like `tnt004`.")
FLAVOR = Label(name="flavor", help="Flavor of the nodes.")
_STATES = ("allocated", "free", "unavailable")

_USAGE = "v2: `metrics/runtime/pools`: `table"


def _info(pool: Pool) -> Iterable[Sample]:
    labels = {
        "pool_name": pool.name,
        "workspace_id": pool.workspace_id,
        "scope": pool.scope,
        "type": pool.type,
    }
    return ((labels, 1.0),)


def _status(pool: Pool) -> Iterable[Sample]:
    return () if pool.status is None else (({"status": pool.status.value}, 1.0),)


def _spec_nodes(pool: Pool) -> Iterable[Sample]:
    return (({"flavor": flavor}, float(nodes)) for flavor, nodes in sorted(pool.spec_nodes.items()))


def _nodes(pool: Pool) -> Iterable[Sample]:
    return (
        ({"flavor": flavor, "state": state.value}, float(nodes))
        for (flavor, state), nodes in sorted(pool.nodes.items())
    )


def _kind(accelerator: Accelerator | None) -> str:
    return UNKNOWN_ACCELERATOR if accelerator is None else accelerator.value


def _capacity(pool: Pool) -> Iterable[Sample]:
    return (
        ({"accelerator": _kind(cards.accelerator), "resource": cards.resource}, cards.capacity)
        for cards in pool.accelerators
    )


def _accelerators(pool: Pool) -> Iterable[Sample]:
    for cards in pool.accelerators:
        for state, value in zip(_STATES, (cards.allocated, cards.free, cards.unavailable), strict=True):
            if value is not None:
                labels = {"accelerator": _kind(cards.accelerator), "resource": cards.resource, "state": state}
                yield labels, value


def _value(value: Callable[[Pool], float | None]) -> Callable[[Pool], Iterable[Sample]]:
    """Build at most one sample without labels."""

    def samples(pool: Pool) -> Iterable[Sample]:
        reading = value(pool)
        return () if reading is None else (({}, reading),)

    return samples


def _workloads(pool: Pool) -> Iterable[Sample]:
    workloads = pool.workloads or {}
    return (
        ({"kind": kind.value, "status": status.value}, float(number))
        for (kind, status), number in sorted(workloads.items())
    )


def _of_quota(value: Callable[[Quota], float | None]) -> Callable[[ProjectSnapshot], Iterable[Sample]]:
    """Build one sample for each resource whose quota has this value."""

    def samples(snapshot: ProjectSnapshot) -> Iterable[Sample]:
        for resource, quota in sorted(snapshot.quotas.items()):
            reading = value(quota)
            if reading is not None:
                yield {"resource": resource}, reading

    return samples


INFO: Family[Pool] = Family(
    name="modelarts_pool",
    help=(
        "Always 1; the labels describe the dedicated pool. Join with pool series, or with jobs by pool_id: "
        "X * on (project, pool_id) group_left (pool_name) modelarts_pool_info."
    ),
    type=Type.INFO,
    subject="pool",
    source="v2: `pools`: `metadata.labels`, `spec.scope`, `spec.type`",
    labels=(
        Label(name="pool_name", help="Display name; not unique."),
        Label(name="workspace_id", help="Workspace; 0 is the default one."),
        Label(name="scope", help="Kinds of workload that the pool accepts, such as `Infer,Notebook,Train`."),
        Label(name="type", help="Type of the pool in the API, such as `Dedicate` or `Logical`."),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_info,
)

STATUS: Family[Pool] = Family(
    name="modelarts_pool_status",
    help="1 for the current status of the pool; other statuses have no series. Absent when unknown.",
    type=Type.GAUGE,
    subject="pool",
    source="v2: `pools`: `status.phase`",
    labels=(
        Label(
            name="status",
            help="Phase in the API; `unknown` for an undocumented one.",
            values=tuple(status.value for status in PoolStatus),
        ),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_status,
)

SPEC_NODES: Family[Pool] = Family(
    name="modelarts_pool_spec_nodes",
    help="Nodes that the pool should have, by flavor. Compare with modelarts_pool_nodes to find missing ones.",
    type=Type.GAUGE,
    subject="pool",
    source="v2: `pools`: `spec.resources[].count`",
    labels=(FLAVOR,),
    stability=Stability.EXPERIMENTAL,
    samples=_spec_nodes,
)

NODES: Family[Pool] = Family(
    name="modelarts_pool_nodes",
    help="Nodes of the pool by flavor and state. A state in which the API lists no node of a flavor has no series.",
    type=Type.GAUGE,
    subject="pool",
    source="v2: `pools`: `status.resources.{available,creating,abnormal,deleting}[].count`",
    labels=(
        FLAVOR,
        Label(
            name="state",
            help="State of the nodes; `abnormal` ones accept no new workload.",
            values=tuple(state.value for state in NodeState),
        ),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_nodes,
)

ACCELERATOR_CAPACITY: Family[Pool] = Family(
    name="modelarts_pool_accelerator_capacity",
    help=(
        "Accelerators on all existing nodes of the pool, with abnormal ones; fractional when cards are shared. "
        "Absent for pools without accelerators."
    ),
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.capacity.value`, plus the cards of abnormal nodes where it excludes them",
    labels=(ACCELERATOR, RESOURCE),
    stability=Stability.EXPERIMENTAL,
    samples=_capacity,
)

ACCELERATORS: Family[Pool] = Family(
    name="modelarts_pool_accelerators",
    help=(
        "Accelerators by state; the three states sum to the capacity. When the number on an abnormal node is "
        "unknown, unavailable and free are absent, because free would be too large."
    ),
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.{{allocated,capacity}}.value`; unavailable: abnormal nodes times the cards of their flavor",
    labels=(
        ACCELERATOR,
        RESOURCE,
        Label(
            name="state",
            help="`unavailable`: on abnormal nodes and not allocated; `free`: neither allocated nor unavailable.",
            values=_STATES,
        ),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_accelerators,
)

CPU_ALLOCATED: Family[Pool] = Family(
    name="modelarts_pool_cpu_allocated_cores",
    help="CPU cores of the pool that workloads have reserved, used or not.",
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.allocated.value.cpu`",
    unit="cores",
    stability=Stability.EXPERIMENTAL,
    samples=_value(lambda pool: pool.cpu_allocated_cores),
)

CPU_CAPACITY: Family[Pool] = Family(
    name="modelarts_pool_cpu_capacity_cores",
    help="CPU cores of the pool that workloads can reserve, as counted by the API.",
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.capacity.value.cpu`",
    unit="cores",
    stability=Stability.EXPERIMENTAL,
    samples=_value(lambda pool: pool.cpu_capacity_cores),
)

MEMORY_ALLOCATED: Family[Pool] = Family(
    name="modelarts_pool_memory_allocated_bytes",
    help="Memory of the pool that workloads have reserved, used or not.",
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.allocated.value.memory`",
    unit="bytes",
    stability=Stability.EXPERIMENTAL,
    samples=_value(lambda pool: pool.memory_allocated_bytes),
)

MEMORY_CAPACITY: Family[Pool] = Family(
    name="modelarts_pool_memory_capacity_bytes",
    help="Memory of the pool that workloads can reserve, as counted by the API.",
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.capacity.value.memory`",
    unit="bytes",
    stability=Stability.EXPERIMENTAL,
    samples=_value(lambda pool: pool.memory_capacity_bytes),
)

WORKLOADS: Family[Pool] = Family(
    name="modelarts_pool_workloads",
    help=(
        "Workloads in the pool by kind and status: inference, notebooks, and the training jobs of all users. "
        "A status that the API does not list has no series."
    ),
    type=Type.GAUGE,
    subject="pool",
    source="v2: `statistics/pools/{pool}/workloads`, else `pools/{pool}/workloads`, counted",
    labels=(
        Label(
            name="kind",
            help="Kind of workload; `unknown` for an undocumented one.",
            values=tuple(kind.value for kind in WorkloadKind),
        ),
        Label(
            name="status",
            help="Status of the workload; `queued` waits for scheduling, `pending` is being scheduled.",
            values=tuple(status.value for status in WorkloadStatus),
        ),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_workloads,
)

FAMILIES: tuple[Family[Pool], ...] = (
    INFO,
    STATUS,
    SPEC_NODES,
    NODES,
    ACCELERATOR_CAPACITY,
    ACCELERATORS,
    CPU_ALLOCATED,
    CPU_CAPACITY,
    MEMORY_ALLOCATED,
    MEMORY_CAPACITY,
    WORKLOADS,
)
"""Rendered for each dedicated pool, when it has changed."""

_QUOTA_RESOURCE = Label(name="resource", help="Limited resource, as named by the API: `pool`, `network`, `job-num`.")

QUOTA: Family[ProjectSnapshot] = Family(
    name="modelarts_quota",
    help="Maximum amount of a resource for the project. Absent when unlimited or unknown.",
    type=Type.GAUGE,
    subject="project",
    source="v1: `quotas`: `resources[].quota`; v2: `training-quotas`: `quotas[].quota`",
    labels=(_QUOTA_RESOURCE,),
    stability=Stability.EXPERIMENTAL,
    samples=_of_quota(lambda quota: quota.limit),
)

QUOTA_USED: Family[ProjectSnapshot] = Family(
    name="modelarts_quota_used",
    help="Amount of a resource that the project has, as counted by the API. At the quota, the API refuses more.",
    type=Type.GAUGE,
    subject="project",
    source="v1: `quotas`: `resources[].used`; v2: `training-quotas`: `quotas[].used`",
    labels=(_QUOTA_RESOURCE,),
    stability=Stability.EXPERIMENTAL,
    samples=_of_quota(lambda quota: quota.used),
)

QUOTA_FAMILIES: tuple[Family[ProjectSnapshot], ...] = (QUOTA, QUOTA_USED)
"""Rendered at publish, with the families of the project."""
