"""The families of one dedicated pool, and the quotas of its project."""

from collections.abc import Callable, Iterable, Mapping

from exporter.domain.job import Accelerator
from exporter.domain.pool import NodeState, Pool, PoolStatus, Quota, WorkloadKind, WorkloadStatus
from exporter.domain.snapshot import ProjectSnapshot
from exporter.metrics.exposition.family import Family, Label, Sample, Stability, Type

UNKNOWN_ACCELERATOR = "unknown"
"""Certainly accelerators, but neither their name nor the nodes' flavor tells of which kind."""

ACCELERATOR = Label(
    name="accelerator",
    help="Kind of accelerator; `unknown` where the cloud masks it. Pools without accelerators have no series.",
    values=(Accelerator.GPU.value, Accelerator.NPU.value, UNKNOWN_ACCELERATOR),
)
RESOURCE = Label(name="resource", help="Name under which the cloud counts them: `nvidia.com/gpu`, masked: `tnt004`.")
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


def _amount(value: Callable[[Pool], float | None]) -> Callable[[Pool], Iterable[Sample]]:
    """Build one sample without labels, or none."""

    def samples(pool: Pool) -> Iterable[Sample]:
        read = value(pool)
        return () if read is None else (({}, read),)

    return samples


def _workloads(pool: Pool) -> Iterable[Sample]:
    workloads = pool.workloads or {}
    return (
        ({"kind": kind.value, "status": status.value}, float(number))
        for (kind, status), number in sorted(workloads.items())
    )


def _of_quota(value: Callable[[Quota], float | None]) -> Callable[[ProjectSnapshot], Iterable[Sample]]:
    """Build one sample for each resource of which the quota says this."""

    def samples(snapshot: ProjectSnapshot) -> Iterable[Sample]:
        for resource, quota in sorted(snapshot.quotas.items()):
            read = value(quota)
            if read is not None:
                labels: Mapping[str, str] = {"resource": resource}
                yield labels, read

    return samples


INFO: Family[Pool] = Family(
    name="modelarts_pool",
    help=(
        "Always 1; its labels describe the dedicated pool. Join it to any pool series, or to jobs by their pool_id: "
        "X * on (project, pool_id) group_left (pool_name) this."
    ),
    type=Type.INFO,
    subject="pool",
    source="v2: `pools`: `metadata.labels`, `spec.scope`, `spec.type`",
    labels=(
        Label(name="pool_name", help="What people call the pool; not unique."),
        Label(name="workspace_id", help="Workspace; 0 is the default one."),
        Label(name="scope", help="Kinds of workload it takes, such as `Infer,Notebook,Train`."),
        Label(name="type", help="The cloud's word for what it is made of, such as `Dedicate` or `Logical`."),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_info,
)

STATUS: Family[Pool] = Family(
    name="modelarts_pool_status",
    help="1 for the status the pool is in; the others have no series. Absent when the cloud does not say.",
    type=Type.GAUGE,
    subject="pool",
    source="v2: `pools`: `status.phase`",
    labels=(
        Label(
            name="status",
            help="The cloud's phase; `unknown` for one that is not documented.",
            values=tuple(status.value for status in PoolStatus),
        ),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_status,
)

SPEC_NODES: Family[Pool] = Family(
    name="modelarts_pool_spec_nodes",
    help="Nodes the pool should have, by flavor. Against those available: what is missing or still to come.",
    type=Type.GAUGE,
    subject="pool",
    source="v2: `pools`: `spec.resources[].count`",
    labels=(FLAVOR,),
    stability=Stability.EXPERIMENTAL,
    samples=_spec_nodes,
)

NODES: Family[Pool] = Family(
    name="modelarts_pool_nodes",
    help="Nodes of the pool by flavor and state. A state in which the cloud lists no node of a flavor has no series.",
    type=Type.GAUGE,
    subject="pool",
    source="v2: `pools`: `status.resources.{available,creating,abnormal,deleting}[].count`",
    labels=(
        FLAVOR,
        Label(
            name="state",
            help="Where the nodes stand; `abnormal` ones take no new workload.",
            values=tuple(state.value for state in NodeState),
        ),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_nodes,
)

ACCELERATOR_CAPACITY: Family[Pool] = Family(
    name="modelarts_pool_accelerator_capacity",
    help=(
        "Accelerators on all nodes of the pool that are there, abnormal ones included; fractions where cards are "
        "shared. Absent for pools without any."
    ),
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.capacity.value`, and the cards of abnormal nodes where it leaves them out",
    labels=(ACCELERATOR, RESOURCE),
    stability=Stability.EXPERIMENTAL,
    samples=_capacity,
)

ACCELERATORS: Family[Pool] = Family(
    name="modelarts_pool_accelerators",
    help=(
        "Accelerators by what can be done with them; all three sum up to the capacity. When nothing tells how many "
        "an abnormal node has, unavailable and free are absent, for free would be too large."
    ),
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.{{allocated,capacity}}.value`; unavailable: abnormal nodes by the cards of their flavor",
    labels=(
        ACCELERATOR,
        RESOURCE,
        Label(
            name="state",
            help="`unavailable` are on abnormal nodes and not allocated; `free` is the rest.",
            values=_STATES,
        ),
    ),
    stability=Stability.EXPERIMENTAL,
    samples=_accelerators,
)

CPU_ALLOCATED: Family[Pool] = Family(
    name="modelarts_pool_cpu_allocated_cores",
    help="CPU cores of the pool that workloads have reserved, whether they use them or not.",
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.allocated.value.cpu`",
    unit="cores",
    stability=Stability.EXPERIMENTAL,
    samples=_amount(lambda pool: pool.cpu_allocated_cores),
)

CPU_CAPACITY: Family[Pool] = Family(
    name="modelarts_pool_cpu_capacity_cores",
    help="CPU cores of the pool that workloads could reserve, as the cloud counts them.",
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.capacity.value.cpu`",
    unit="cores",
    stability=Stability.EXPERIMENTAL,
    samples=_amount(lambda pool: pool.cpu_capacity_cores),
)

MEMORY_ALLOCATED: Family[Pool] = Family(
    name="modelarts_pool_memory_allocated_bytes",
    help="Main memory of the pool that workloads have reserved, whether they use it or not.",
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.allocated.value.memory`",
    unit="bytes",
    stability=Stability.EXPERIMENTAL,
    samples=_amount(lambda pool: pool.memory_allocated_bytes),
)

MEMORY_CAPACITY: Family[Pool] = Family(
    name="modelarts_pool_memory_capacity_bytes",
    help="Main memory of the pool that workloads could reserve, as the cloud counts it.",
    type=Type.GAUGE,
    subject="pool",
    source=f"{_USAGE}.capacity.value.memory`",
    unit="bytes",
    stability=Stability.EXPERIMENTAL,
    samples=_amount(lambda pool: pool.memory_capacity_bytes),
)

WORKLOADS: Family[Pool] = Family(
    name="modelarts_pool_workloads",
    help=(
        "Workloads in the pool by kind and status, inference and notebooks included; of training, what everybody "
        "runs there. A status that the cloud does not mention has no series."
    ),
    type=Type.GAUGE,
    subject="pool",
    source="v2: `statistics/pools/{pool}/workloads`, else `pools/{pool}/workloads`, counted",
    labels=(
        Label(
            name="kind",
            help="What the workload is for; `unknown` for a kind that is not documented.",
            values=tuple(kind.value for kind in WorkloadKind),
        ),
        Label(
            name="status",
            help="The pool's own word; `pending` ones are being scheduled, `queued` ones wait before that.",
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
"""Rendered for each dedicated pool, when it changed."""

_QUOTA_RESOURCE = Label(name="resource", help="What is limited, in the cloud's words: `pool`, `network`, `job-num`.")

QUOTA: Family[ProjectSnapshot] = Family(
    name="modelarts_quota",
    help="How much of a resource the project may have. Absent when the cloud sets no limit or does not say.",
    type=Type.GAUGE,
    subject="project",
    source="v1: `quotas`: `resources[].quota`; v2: `training-quotas`: `quotas[].quota`",
    labels=(_QUOTA_RESOURCE,),
    stability=Stability.EXPERIMENTAL,
    samples=_of_quota(lambda quota: quota.limit),
)

QUOTA_USED: Family[ProjectSnapshot] = Family(
    name="modelarts_quota_used",
    help="How much of a resource the project has, by the cloud's own count. At the quota, what is new is refused.",
    type=Type.GAUGE,
    subject="project",
    source="v1: `quotas`: `resources[].used`; v2: `training-quotas`: `quotas[].used`",
    labels=(_QUOTA_RESOURCE,),
    stability=Stability.EXPERIMENTAL,
    samples=_of_quota(lambda quota: quota.used),
)

QUOTA_FAMILIES: tuple[Family[ProjectSnapshot], ...] = (QUOTA, QUOTA_USED)
"""Rendered at publish, with the project's counts."""
