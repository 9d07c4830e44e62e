"""Converts answers about pools to the domain model (API reference §7, §5.2, trap 37). Pure functions."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from exporter.cloud.decode.accelerator import by_name
from exporter.cloud.decode.lenient import decode
from exporter.cloud.decode.quantity import kubernetes_quantity
from exporter.cloud.decode.values import count, number, text
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.http.errors import InvalidResponse
from exporter.cloud.pools import wire
from exporter.cloud.pools.capacity import NodeCards, split_capacity
from exporter.cloud.pools.endpoints import STATISTICS
from exporter.domain.job import Accelerator
from exporter.domain.pool import NodeState, Pool, PoolAccelerators, PoolStatus, Quota, WorkloadKind, WorkloadStatus

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # ids become part of a path; any other value is not used as an id
_MAX_RESOURCES = 8
"""Accelerator names of one pool: a node has one kind of card, a pool a few kinds of nodes."""
_MAX_FLAVORS = 32
_MAX_QUOTAS = 32
_MAX_NAME_LENGTH = 128

_PHASES = {
    "Creating": PoolStatus.CREATING,
    "Waiting": PoolStatus.WAITING,
    "Running": PoolStatus.RUNNING,
    "Abnormal": PoolStatus.ABNORMAL,
    "Deleting": PoolStatus.DELETING,
    "Error": PoolStatus.ERROR,
    "CreationFailed": PoolStatus.CREATION_FAILED,
    "ScalingFailed": PoolStatus.SCALING_FAILED,
}
_KINDS = {kind.value: kind for kind in WorkloadKind if kind is not WorkloadKind.UNKNOWN}
_KINDS["x-infer"] = WorkloadKind.INFER  # the name of second-generation inference in newer documentation
_STATUSES = {
    "Queue": WorkloadStatus.QUEUED,
    "Pending": WorkloadStatus.PENDING,
    "Creating": WorkloadStatus.CREATING,
    "Running": WorkloadStatus.RUNNING,
    "Terminating": WorkloadStatus.TERMINATING,
    "Completed": WorkloadStatus.COMPLETED,
    "Failed": WorkloadStatus.FAILED,
    "Terminated": WorkloadStatus.TERMINATED,
    "Abnormal": WorkloadStatus.ABNORMAL,
}
_NOT_ACCELERATORS = frozenset({"cpu", "memory", "pods", "storage", "ephemeral-storage"})
_NOT_ACCELERATOR_PREFIXES = ("hugepages-", "attachable-volumes-")
_CARD_SHARE = re.compile(r"mem|core", re.IGNORECASE)
"""Shares of cards that some schedulers count beside the cards themselves."""

_SLICE = re.compile(r"-\d+c(?![a-z\d])|\d+cpu|(?<![a-z])vir\d|vnpu|vgpu|(?<![a-z])mig-|shared", re.IGNORECASE)
"""Virtual slices of cards, counted beside the cards they are cut from (API reference §13, fact 50):
`npu.accelerator/snt9-5c.1cpu.8g`, `huawei.com/Ascend310P-2c`, `nvidia.com/mig-1g.5gb`."""

Workloads = Mapping[tuple[WorkloadKind, WorkloadStatus], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFlavor:
    """Accelerators of one node of a flavor. `accelerator` is None when the kind of its cards is unknown."""

    accelerator: Accelerator | None
    cards: int
    """0 for a flavor without accelerators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUsage:
    """One pool's resources by name, in base units."""

    allocated: Mapping[str, float] = field(default_factory=dict)
    capacity: Mapping[str, float] = field(default_factory=dict)


def pool(raw: msgspec.Raw, *, project: str, note: NoteUnknown) -> Pool | None:
    """Read one pool of the listing, without its usage. None when its id is not valid in a path (noted)."""
    read = decode(raw, wire.Pool, field="v2.pools", note=note)
    if read is None:
        return None
    metadata, spec, status = read.metadata or wire.PoolMetadata(), read.spec or wire.PoolSpec(), read.status
    pool_id = text(metadata.name)
    if not _ID.fullmatch(pool_id):
        note("v2.pools.metadata.name", metadata.name)
        return None
    labels = metadata.labels if isinstance(metadata.labels, dict) else {}
    states = (status and status.resources) or wire.NodeCounts()
    nodes: dict[tuple[str, NodeState], int] = {}
    for state in NodeState:
        counts = _by_flavor(getattr(states, state.value), field=f"v2.pools.status.resources.{state.value}", note=note)
        nodes.update({(flavor, state): number for flavor, number in counts.items()})
    return Pool(
        project=project,
        pool_id=pool_id,
        name=text(labels.get("os.modelarts/name"))[:_MAX_NAME_LENGTH],
        workspace_id=text(labels.get("os.modelarts/workspace.id"))[:_MAX_NAME_LENGTH],
        scope=_scope(spec.scope),
        type=text(spec.type)[:_MAX_NAME_LENGTH],
        status=_status(status.phase if status else None, note=note),
        spec_nodes=_by_flavor(spec.resources, field="v2.pools.spec.resources", note=note),
        nodes=nodes,
    )


def used(raw: msgspec.Raw, *, note: NoteUnknown) -> tuple[str, PoolUsage] | None:
    """Read one pool's usage, with the pool's id. None when it has no pool id (noted)."""
    read = decode(raw, wire.Usage, field="v2.pool_usage", note=note)
    if read is None:
        return None
    pool_id = text(read.metadata.name) if read.metadata else ""
    if not pool_id:
        note("v2.pool_usage.metadata.name", None)
        return None
    table = read.table or wire.UsageTable()
    return pool_id, PoolUsage(
        allocated=_amounts(table.allocated, field="v2.pool_usage.allocated", note=note),
        capacity=_amounts(table.capacity, field="v2.pool_usage.capacity", note=note),
    )


def statistics(answer: wire.Statistics, *, note: NoteUnknown) -> Workloads:
    """Read the counts of one pool. Raises InvalidResponse when the response has neither of the two names."""
    table = answer.statistics if answer.statistics is not None else answer.statics
    if not isinstance(table, dict):
        raise InvalidResponse(STATISTICS.name, "the response has neither statistics nor statics")
    counts: dict[tuple[WorkloadKind, WorkloadStatus], int] = {}
    for item in _objects(table.get("items"), field="v2.pool_statistics.items", note=note):
        kind = _kind(item.get("type"), note=note)
        by_status = item.get("status")
        if not isinstance(by_status, dict):
            note("v2.pool_statistics.status", by_status)
            continue
        for name, value in by_status.items():
            number = count(value, field="v2.pool_statistics.count", note=note)
            if number is not None:
                key = (kind, _workload_status(name, note=note))
                counts[key] = counts.get(key, 0) + number
    return counts


def workload(raw: msgspec.Raw, *, note: NoteUnknown) -> tuple[str, tuple[WorkloadKind, WorkloadStatus] | None] | None:
    """Read one workload: its name, and its kind and status (None: deleted). None when it has no name."""
    read = decode(raw, wire.Workload, field="v2.workloads", note=note)
    if read is None:
        return None
    name = text(read.name)
    if not name:
        note("v2.workloads.name", read.name)
        return None
    if str(read.isDeleted).lower() == "true":
        return name, None
    return name, (_kind(read.type, note=note), _workload_status(read.status, note=note))


def flavor(raw: msgspec.Raw, *, note: NoteUnknown) -> tuple[str, NodeFlavor] | None:
    """Read one node flavor. None without a name, or with cards of an unknown number (noted)."""
    read = decode(raw, wire.Flavor, field="v1.resourceflavors", note=note)
    name = text(read.metadata.name) if read and read.metadata else ""
    if read is None or not name or read.spec is None:
        return None
    for accelerator, cards in ((Accelerator.GPU, read.spec.gpu), (Accelerator.NPU, read.spec.npu)):
        if cards is None or (cards.size is None and cards.type is None):
            continue
        size = count(cards.size, field="v1.resourceflavors.size", note=note)
        if size is None:
            return None
        if size:
            return name, NodeFlavor(accelerator=accelerator, cards=size)
    return name, NodeFlavor(accelerator=Accelerator.CPU, cards=0)


def quotas(answer: wire.Quotas, *, operation: str, note: NoteUnknown) -> dict[str, Quota]:
    """Read quotas by resource, from either call. Raises InvalidResponse when there is no list of them."""
    listed = answer.quotas
    if isinstance(listed, dict):
        listed = listed.get("resources", msgspec.UNSET)
    if listed is not None and not isinstance(listed, list | dict):
        raise InvalidResponse(operation, "the response has no list of quotas")
    found: dict[str, Quota] = {}
    for item in _objects(listed, field="quotas", note=note):
        name = text(item.get("type")) or text(item.get("resource"))
        if not name:
            note("quotas.type", item.get("type"))
            continue
        limit = number(item.get("quota"), field="quotas.quota", note=note)
        in_use = number(item.get("used"), field="quotas.used", note=note)
        # A negative limit means no limit.
        found[name[:_MAX_NAME_LENGTH]] = Quota(
            limit=limit if limit is None or limit >= 0 else None,
            used=in_use if in_use is None or in_use >= 0 else None,
        )
        if len(found) >= _MAX_QUOTAS:
            break
    return found


def compose(
    listed: Pool,
    *,
    used: PoolUsage | None,
    flavors: Mapping[str, NodeFlavor],
    workloads: Workloads | None,
) -> Pool:
    """Combine the responses about one pool; fields of a failed part are None."""
    if used is None:
        return replace(listed, workloads=workloads)
    return replace(
        listed,
        accelerators=tuple(_accelerators(listed, used, flavors)),
        cpu_allocated_cores=used.allocated.get("cpu"),
        cpu_capacity_cores=used.capacity.get("cpu"),
        memory_allocated_bytes=used.allocated.get("memory"),
        memory_capacity_bytes=used.capacity.get("memory"),
        workloads=workloads,
    )


def _accelerators(listed: Pool, used: PoolUsage, flavors: Mapping[str, NodeFlavor]) -> Iterator[PoolAccelerators]:
    """Divide each accelerator resource; those of which the pool has none are left out."""
    names = sorted(name for name in used.capacity if _is_accelerator(name))[:_MAX_RESOURCES]
    node_flavors = {name: flavors.get(name) for name in {*listed.spec_nodes, *(flavor for flavor, _ in listed.nodes)}}
    kinds = {name: _accelerator_kind(name, node_flavors.values()) for name in names}
    for name in names:
        only_of_kind = list(kinds.values()).count(kinds[name]) == 1
        accelerators = split_capacity(
            resource=name,
            accelerator=kinds[name],
            capacity=used.capacity[name],
            allocated=used.allocated.get(name),
            cards=_cards(
                listed, node_flavors, kind=kinds[name], only_resource=len(names) == 1, only_of_kind=only_of_kind
            ),
        )
        if accelerators.capacity:
            yield accelerators


def _cards(
    listed: Pool,
    node_flavors: Mapping[str, NodeFlavor | None],
    *,
    kind: Accelerator | None,
    only_resource: bool,
    only_of_kind: bool,
) -> NodeCards:
    """Cards of one resource on the available and the abnormal nodes.

    A pool's only resource has the cards of all nodes. One of several has those of the flavors of its kind, if no
    other resource is of the same kind.
    """

    def cards(state: NodeState) -> float | None:
        total = 0
        for (name, node_state), nodes in listed.nodes.items():
            if node_state is not state or not nodes:
                continue
            flavor = node_flavors[name]
            if flavor is None:
                return None
            if not flavor.cards or (
                not only_resource and only_of_kind and kind and flavor.accelerator not in (kind, None)
            ):
                continue
            if not only_resource and (not only_of_kind or kind is None or flavor.accelerator is None):
                return None
            total += nodes * flavor.cards
        return float(total)

    return NodeCards(available=cards(NodeState.AVAILABLE), abnormal=cards(NodeState.ABNORMAL))


def _accelerator_kind(name: str, node_flavors: Iterable[NodeFlavor | None]) -> Accelerator | None:
    """Kind of the cards by the resource's name, else by the nodes' flavors if they agree (§5.2)."""
    by_its_name = by_name(name)
    if by_its_name is not None:
        return by_its_name
    flavors = list(node_flavors)
    kinds = {flavor.accelerator for flavor in flavors if flavor is not None and flavor.cards}
    return kinds.pop() if len(kinds) == 1 and None not in flavors else None


def _is_accelerator(name: str) -> bool:
    """Whether a resource name is that of accelerators: a known name, or a masked one.

    Names with a domain are chosen by the vendor of the device, so an unknown one is another device (a network card).
    Masked names of the cloud have no domain.
    """
    if name in _NOT_ACCELERATORS or name.startswith(_NOT_ACCELERATOR_PREFIXES) or len(name) > _MAX_NAME_LENGTH:
        return False
    last = name.rpartition("/")[2]
    if _CARD_SHARE.search(last) or _SLICE.search(last):
        return False  # a sum over both would count a card twice
    return "/" not in name or by_name(name) is not None


def _amounts(amounts: wire.Amounts | None, *, field: str, note: NoteUnknown) -> dict[str, float]:
    value = amounts.value if amounts else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        note(field, type(value).__name__)
        return {}
    read = {str(name): kubernetes_quantity(amount, field=field, note=note) for name, amount in value.items()}
    return {name: amount for name, amount in read.items() if amount is not None}


def _by_flavor(value: Any, *, field: str, note: NoteUnknown) -> dict[str, int]:
    """Nodes by flavor, from a list of objects or a single object."""
    counts: dict[str, int] = {}
    for item in _objects(value, field=field, note=note):
        number = count(item.get("count"), field=field, note=note)
        name = text(item.get("flavor"))[:_MAX_NAME_LENGTH]
        if number is not None and (name in counts or len(counts) < _MAX_FLAVORS):
            counts[name] = counts.get(name, 0) + number
    return counts


def _objects(value: Any, *, field: str, note: NoteUnknown) -> Iterator[dict[str, Any]]:
    """The objects of a list, or a single object in its place (trap 37); null means none, anything else is noted."""
    for item in value if isinstance(value, list) else [] if value is None else [value]:
        if isinstance(item, dict):
            if item:
                yield item
        else:
            note(field, type(item).__name__)


def _scope(value: Any) -> str:
    """Kinds of workload, from text or from objects that contain it."""
    items = value if isinstance(value, list) else [value]
    names = {text(item.get("scopeType") if isinstance(item, dict) else item) for item in items}
    return ",".join(sorted(name for name in names if name))[:_MAX_NAME_LENGTH]


def _status(phase: Any, *, note: NoteUnknown) -> PoolStatus | None:
    if phase is None or phase == "":
        return None
    read = _PHASES.get(phase) if isinstance(phase, str) else None
    if read is None:
        note("v2.pools.status.phase", phase)
    return read or PoolStatus.UNKNOWN


def _kind(value: Any, *, note: NoteUnknown) -> WorkloadKind:
    read = _KINDS.get(value) if isinstance(value, str) else None
    if read is None:
        note("v2.workloads.type", value)
    return read or WorkloadKind.UNKNOWN


def _workload_status(value: Any, *, note: NoteUnknown) -> WorkloadStatus:
    read = _STATUSES.get(value) if isinstance(value, str) else None
    if read is None:
        note("v2.workloads.status", value)
    return read or WorkloadStatus.UNKNOWN
