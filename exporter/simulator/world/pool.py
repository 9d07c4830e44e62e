"""Pools: finite sets of nodes, and the queue in front of each."""

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from exporter.simulator.world.flavor import A100, SNT9, V100, Flavor
from exporter.simulator.world.job import Job, JobState

Placement = list[tuple[int, int]]
"""(node index, slots taken) for each node of a job."""


@dataclass(slots=True, kw_only=True)
class Group:
    """Equal nodes of one pool. A node has as many slots as cards, or one slot where it has none."""

    accelerator: str
    model: str
    slots_per_node: int
    nodes: int
    free: list[int] = field(init=False)
    """Free slots of each node."""
    broken: set[int] = field(init=False, default_factory=set)
    """Nodes that take nothing new; what runs on them goes on."""
    _queue: list[tuple[int, float, int, Job]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.free = [self.slots_per_node] * self.nodes

    @property
    def free_slots(self) -> int:
        """Slots that nobody holds, on sound nodes and broken ones."""
        return sum(self.free)

    @property
    def slots(self) -> int:
        """All slots, on sound nodes and broken ones."""
        return self.nodes * self.slots_per_node

    def place(self, *, nodes: int, slots: int) -> Placement | None:
        """Take `slots` on each of `nodes` different nodes, fullest nodes first; None when they do not fit."""
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
        """Give back what `place` took."""
        for index, count in placement:
            self.free[index] += count

    def break_down(self, nodes: int) -> list[int]:
        """Break so many sound nodes, emptiest first; their indices, fewer when there are no more."""
        sound = sorted((-free, index) for index, free in enumerate(self.free) if index not in self.broken)
        struck = [index for _, index in sound[:nodes]]
        self.broken.update(struck)
        return struck

    def mend(self, nodes: Collection[int]) -> None:
        """Make these nodes sound again."""
        self.broken.difference_update(nodes)

    def enqueue(self, job: Job, *, at: float) -> None:
        """Put a job in the queue: higher priority first, then first come, first served."""
        heapq.heappush(self._queue, (-job.priority, at, job.number, job))

    def head(self) -> Job | None:
        """The job whose turn it is; those no longer waiting are dropped on the way."""
        while self._queue:
            job = self._queue[0][-1]
            if job.state is JobState.QUEUED:
                return job
            heapq.heappop(self._queue)
        return None

    def waiting(self) -> Iterator[Job]:
        """Jobs in the queue, in their order."""
        return (entry[-1] for entry in sorted(self._queue) if entry[-1].state is JobState.QUEUED)


@dataclass(slots=True, kw_only=True)
class Pool:
    """A pool; id "" is the public one."""

    id: str
    name: str
    telling: str
    """How v2 answers tell the accelerators of jobs in it: one of TELLINGS."""
    groups: tuple[Group, ...] = ()
    others: Mapping[str, int] = field(default_factory=dict)
    """Workloads in it that are no training jobs, by type; they hold cores, and no cards."""

    def group(self, flavor: Flavor) -> Group | None:
        """The group that runs jobs of that flavor; None when the pool has no such nodes."""
        for group in self.groups:
            if group.accelerator == flavor.accelerator:
                return group
        return None


TELLINGS = ("flavor_detail", "pool_info", "allocated", "customized", "flavor_id", "nothing")
"""The ways in which a v2 answer may tell (or not tell) how many accelerators a node of the job has."""

GPU_POOL = "pool-vision-a100"
NPU_POOL = "pool-llm-snt9b"
OLD_POOL = "pool7e3577e3"
CPU_POOL = "pool-etl-cpu"


def standard_pools(jobs: int) -> dict[str, Pool]:
    """Return the public pool and four dedicated ones, just large enough for about `jobs` unfinished jobs."""

    def group(accelerator: str, model: str, slots: int, need: float) -> Group:
        return Group(accelerator=accelerator, model=model, slots_per_node=slots, nodes=max(2, round(need * jobs)))

    pools = (
        Pool(
            id="",
            name="public",
            telling="flavor_detail",
            groups=(group("gpu", V100, 8, 0.36), group("npu", SNT9, 8, 0.18), group("cpu", "", 1, 0.2)),
        ),
        Pool(
            id=GPU_POOL,
            name="vision",
            telling="pool_info",
            groups=(group("gpu", A100, 8, 0.24),),
            others={"notebook": 2, "infer": 1} if jobs else {},
        ),
        Pool(id=NPU_POOL, name="llm", telling="allocated", groups=(group("npu", SNT9, 8, 0.22),)),
        Pool(id=OLD_POOL, name="legacy", telling="flavor_id", groups=(group("gpu", V100, 8, 0.08),)),
        Pool(
            id=CPU_POOL,
            name="etl",
            telling="nothing",
            groups=(group("cpu", "", 1, 0.04),),
            others={"notebook": 1} if jobs else {},
        ),
    )
    return {pool.id: pool for pool in pools}
