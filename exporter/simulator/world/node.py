"""Node flavors of dedicated pools."""

from dataclasses import dataclass

from exporter.simulator.world.flavor import A100, SNT9, V100
from exporter.simulator.world.pool import NodeGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFlavor:
    """One entry of the catalogue of node flavors."""

    name: str
    accelerator: str
    """`gpu`, `npu` or `cpu`."""
    model: str
    cards: int
    cores: int
    memory_gib: int
    resource: str
    """Resource name under which a pool counts the cards; "" without cards."""
    slot_cores: int
    """Cores that a job takes for each card or, without cards, for the whole node."""
    slot_gib: int
    card_gib: int = 0
    arch: str = "x86"


NODE_FLAVORS = (
    NodeFlavor(
        name="modelarts.bm.gpu.8a100nv80",
        accelerator="gpu",
        model=A100,
        cards=8,
        cores=104,
        memory_gib=800,
        resource="nvidia.com/gpu",
        slot_cores=12,
        slot_gib=96,
        card_gib=80,
    ),
    NodeFlavor(
        name="modelarts.bm.npu.8snt9b",
        accelerator="npu",
        model=SNT9,
        cards=8,
        cores=192,
        memory_gib=1_536,
        resource="huawei.com/ascend-snt9b",
        slot_cores=12,
        slot_gib=96,
        card_gib=64,
        arch="arm64",
    ),
    NodeFlavor(
        name="modelarts.vm.tnt004.8xlarge",
        accelerator="gpu",
        model=V100,
        cards=8,
        cores=104,
        memory_gib=800,
        resource="tnt004",
        slot_cores=12,
        slot_gib=96,
        card_gib=32,
    ),
    NodeFlavor(
        name="modelarts.vm.cpu.16u64g",
        accelerator="cpu",
        model="",
        cards=0,
        cores=16,
        memory_gib=64,
        resource="",
        slot_cores=8,
        slot_gib=32,
    ),
)
"""The catalogue. Name and resource name of the third flavor are masked, as in the published documents."""


def node_flavor(group: NodeGroup) -> NodeFlavor:
    """The flavor of a group's nodes."""
    return next(each for each in NODE_FLAVORS if (each.accelerator, each.model) == (group.accelerator, group.model))
