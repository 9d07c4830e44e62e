"""Number and kind of the accelerators that a v2 job requests (API reference §5.1, §5.2).

The first of these sources with a number is used:

0. `flavor_detail`, present in public pools: cards per node.
1. `main_container_allocated_resources`: what a node has, once it has resources.
2. `pool_info`: undocumented, seen in dedicated pools.
3. `main_container_customized_flavor`: what the user requested.
4. The cards in the name of a dedicated pool's flavor (`modelarts.pool.visual.8xlarge`).

Two further sources (a pool's node flavor, a pool's workloads) need more calls and are not used: the first is only an
upper bound, the level of the second is not documented. A job without any source has no number, not 0.
"""

import re
from collections import Counter
from dataclasses import dataclass

from exporter.cloud.decode import accelerator, values
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.v2 import wire
from exporter.domain.job import Accelerator

_VISUAL = re.compile(r"modelarts\.pool\.visual\.(\d{0,3})xlarge", re.IGNORECASE)
_FLAVOR = "v2.spec.resource.flavor_detail"
_ROLE = "v2.tasks.task_resource"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedResources:
    """What a job requests over all its nodes. None and "" mean unknown."""

    kind: Accelerator | None = None
    model: str = ""
    accelerators: float | None = None
    nodes: int | None = None


@dataclass(frozen=True, slots=True)
class _Node:
    """Accelerators of one node."""

    kind: Accelerator | None
    model: str
    cards: float | None


_UNKNOWN = _Node(None, "", None)


def requested_resources(job: wire.Job, tasks: tuple[str, ...], *, note: NoteUnknown) -> RequestedResources:
    """Read a job's requested resources; `tasks` are its task ids, by which the nodes of each role are counted."""
    resource = (job.spec and job.spec.resource) or wire.Resource()
    nodes = values.count(resource.node_count, field="v2.spec.resource.node_count", note=note)
    roles = [role for role in job.tasks or () if role.task_resource is not None]
    if roles:
        by_roles = _by_roles(roles, tasks, note=note)
        if by_roles is not None:
            return by_roles
    node = _node(resource, note=note)
    total = None if node.cards is None or not nodes else node.cards * nodes
    if node.cards == 0:
        total = 0.0  # on any number of nodes
    return RequestedResources(kind=node.kind, model=node.model, accelerators=total, nodes=nodes or None)


def _by_roles(roles: list[wire.Role], tasks: tuple[str, ...], *, note: NoteUnknown) -> RequestedResources | None:
    """Sum the roles of a heterogeneous job; None when no task is named after a role.

    `task_resource` has no node count (its `max_num` is a limit), so nodes are counted by the ids `<role>-<n>`.
    """
    running = Counter(task.rpartition("-")[0] for task in tasks)
    counted = [
        (_from_flavor(role.task_resource, field=_ROLE, note=note), running[values.text(role.role)]) for role in roles
    ]
    nodes = sum(count for _, count in counted)
    if not nodes:
        return None
    holding = [node for node, _ in counted if node.cards]
    kinds = {node.kind for node in holding}
    total = None
    if all(node.cards is not None and count for node, count in counted):
        total = sum((node.cards or 0.0) * count for node, count in counted)
    if not holding:
        kinds = {node.kind for node, _ in counted}
    return RequestedResources(
        kind=kinds.pop() if len(kinds) == 1 else None,  # both kinds in one job: neither label would be true
        model=next((node.model for node in holding if node.model), ""),
        accelerators=total,
        nodes=nodes,
    )


def _node(resource: wire.Resource, *, note: NoteUnknown) -> _Node:
    from_flavor = _from_flavor(resource.flavor_detail, field=_FLAVOR, note=note)
    if from_flavor.cards is not None:
        return from_flavor
    flavor_id = values.text(resource.flavor_id)
    parts = [
        (part, name)
        for name in ("main_container_allocated_resources", "pool_info", "main_container_customized_flavor")
        if (part := getattr(resource, name)) is not None
    ]
    model = from_flavor.model or next((text for part, _ in parts if (text := values.text(part.accelerator_type))), "")
    hints = (model, *(values.text(part.pool_resource_flavor) for part, _ in parts), flavor_id)
    kind = from_flavor.kind or next((kind for hint in hints if (kind := accelerator.by_name(hint))), None)
    cards = next(
        (
            read
            for part, name in parts
            if (read := _from_container(part, field=f"v2.spec.resource.{name}", note=note)) is not None
        ),
        None,
    )
    if cards is None:
        visual = _VISUAL.fullmatch(flavor_id)  # sold for GPU and Ascend pools alike: it shows only the number
        cards = float(visual[1] or 1) if visual else None
    if cards == 0:
        return _Node(Accelerator.CPU, "", 0.0)
    return _Node(kind, model, cards)


def _from_container(part: wire.Container, *, field: str, note: NoteUnknown) -> float | None:
    """Cards of a container. Zero counts only beside a core or memory: an object of zeros is not filled in yet."""
    cards = values.quantity(part.accelerator_num, field=f"{field}.accelerator_num", note=note)
    if cards:
        return cards
    filled = any(
        values.quantity(size, field=f"{field}.size", note=note)
        for size in (part.cpu_core_num, part.core_num, part.mem_size)
    )
    return cards if filled else None


def _unit_num(kind: Accelerator, card: wire.Card) -> object:
    return card.npu if kind is Accelerator.NPU and (card.unit_num is None or card.unit_num == "") else card.unit_num


def _from_flavor(flavor: wire.Flavor | None, *, field: str, note: NoteUnknown) -> _Node:
    """Cards of a flavor. `flavor_type` decides the kind; without either object it has no accelerators (§2.4).

    A contradiction (a CPU flavor with GPUs, a GPU flavor without) is noted, and the number is None.
    """
    if flavor is None:
        return _UNKNOWN
    type_name = values.text(flavor.flavor_type)
    kind = accelerator.by_flavor_type(type_name)
    if kind is None and type_name:
        note(f"{field}.flavor_type", type_name)
    info = flavor.flavor_info or wire.FlavorInfo()
    cards_by_kind = {
        of: card for of, card in ((Accelerator.GPU, info.gpu), (Accelerator.NPU, info.npu)) if card is not None
    }
    cards = {
        of: values.count(_unit_num(of, card), field=f"{field}.unit_num", note=note)
        for of, card in cards_by_kind.items()
    }
    held = {of: number for of, number in cards.items() if number}
    if kind is None and len(held) == 1:
        kind = next(iter(held))
    has_hardware = info.cpu is not None or bool(cards)
    if kind is None and has_hardware and all(number == 0 for number in cards.values()):
        kind = Accelerator.CPU
    if kind is Accelerator.CPU and not held:
        return _Node(kind, "", 0.0)
    if kind in held:
        return _Node(kind, values.text(cards_by_kind[kind].product_name), float(held[kind]))
    if any(number is not None for number in cards.values()):
        note(f"{field}.unit_num", "contradicts flavor_type")
    return _Node(None if kind is Accelerator.CPU else kind, "", None)
