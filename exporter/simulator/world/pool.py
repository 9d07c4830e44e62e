"""Pools: groups of nodes, each with a queue."""

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.simulator.world.flavor import A100, SNT9, V100, Flavor
from exporter.simulator.world.job import Job, JobState

Placement = list[tuple[int, int]]
"""(node index, slots taken) for each node of a job."""


@dataclass(slots=True, kw_only=True)
class NodeGroup:
    """Nodes of one kind in one pool. A node has one slot for each card, or one slot if it has no cards."""

    accelerator: str
    model: str
    slots_per_node: int
    nodes: int
    free: list[int] = field(init=False)
    """Free slots of each node."""
    broken: set[int] = field(init=False, default_factory=set)
    """Indices of nodes that take no new jobs; jobs that run on them continue."""
    _queue: list[tuple[int, float, int, Job]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.free = [self.slots_per_node] * self.nodes

    @property
    def free_slots(self) -> int:
        """Free slots, on healthy and broken nodes."""
        return sum(self.free)

    @property
    def slots(self) -> int:
        """All slots, on healthy and broken nodes."""
        return self.nodes * self.slots_per_node

    def place(self, *, nodes: int, slots: int) -> Placement | None:
        """Allocate `slots` on each of `nodes` nodes, fullest nodes first; None when they do not fit."""
        fitting = sorted(
            (free, index) for index, free in enumerate(self.free) if free >= slots and index not in self.broken
        )
        if len(fitting) < nodes:
            return None
        taken = [(index, slots) for _, index in fitting[:nodes]]
        for index, count in taken:
            self.free[index] -= count
        return taken

    def release(self, placement: Placement) -> None:
        """Release what `place` allocated."""
        for index, count in placement:
            self.free[index] += count

    def break_down(self, nodes: int) -> list[int]:
        """Break that many healthy nodes, emptiest first; returns their indices, fewer when there are no more."""
        healthy = sorted((-free, index) for index, free in enumerate(self.free) if index not in self.broken)
        broken = [index for _, index in healthy[:nodes]]
        self.broken.update(broken)
        return broken

    def repair(self, nodes: Collection[int]) -> None:
        """Repair these nodes."""
        self.broken.difference_update(nodes)

    def enqueue(self, job: Job, *, at: float) -> None:
        """Queue a job: higher priority first, then first in, first out."""
        heapq.heappush(self._queue, (-job.priority, at, job.number, job))

    def next_waiting(self) -> Job | None:
        """The first job of the queue, None for an empty queue; removes jobs that no longer wait."""
        while self._queue:
            job = self._queue[0][-1]
            if job.state is JobState.QUEUED:
                return job
            heapq.heappop(self._queue)
        return None

    def waiting(self) -> Iterator[Job]:
        """Jobs in the queue, in order."""
        return (entry[-1] for entry in sorted(self._queue) if entry[-1].state is JobState.QUEUED)


@dataclass(slots=True, kw_only=True)
class Pool:
    """A pool; id "" is the public one."""

    id: str
    name: str
    accelerator_field: str
    """The field of v2 responses that states the accelerators of its jobs: one of ACCELERATOR_FIELDS."""
    groups: tuple[NodeGroup, ...] = ()
    other_workloads: Mapping[str, int] = field(default_factory=dict)
    """Number of workloads that are not training jobs, by type; they hold cores and no cards."""

    def group(self, flavor: Flavor) -> NodeGroup | None:
        """The group that runs jobs of that flavor; None if the pool has no such nodes."""
        for group in self.groups:
            if group.accelerator == flavor.accelerator:
                return group
        return None


ACCELERATOR_FIELDS = ("flavor_detail", "pool_info", "allocated", "customized", "flavor_id", "nothing")
"""The fields of a v2 response that may state the accelerators per node of a job; `nothing`: none of them does."""

GPU_POOL = "pool-vision-a100"
NPU_POOL = "pool-llm-snt9b"
LEGACY_POOL = "pool7e3577e3"
CPU_POOL = "pool-etl-cpu"


def standard_pools(jobs: int) -> dict[str, Pool]:
    """Return the public pool and four dedicated pools, sized for about `jobs` unfinished jobs."""

    def group(accelerator: str, model: str, slots: int, need: float) -> NodeGroup:
        return NodeGroup(accelerator=accelerator, model=model, slots_per_node=slots, nodes=max(2, round(need * jobs)))

    pools = (
        Pool(
            id="",
            name="public",
            accelerator_field="flavor_detail",
            groups=(group("gpu", V100, 8, 0.36), group("npu", SNT9, 8, 0.18), group("cpu", "", 1, 0.2)),
        ),
        Pool(
            id=GPU_POOL,
            name="vision",
            accelerator_field="pool_info",
            groups=(group("gpu", A100, 8, 0.24),),
            other_workloads={"notebook": 2, "infer": 1} if jobs else {},
        ),
        Pool(id=NPU_POOL, name="llm", accelerator_field="allocated", groups=(group("npu", SNT9, 8, 0.22),)),
        Pool(id=LEGACY_POOL, name="legacy", accelerator_field="flavor_id", groups=(group("gpu", V100, 8, 0.08),)),
        Pool(
            id=CPU_POOL,
            name="etl",
            accelerator_field="nothing",
            groups=(group("cpu", "", 1, 0.04),),
            other_workloads={"notebook": 1} if jobs else {},
        ),
    )
    return {pool.id: pool for pool in pools}
