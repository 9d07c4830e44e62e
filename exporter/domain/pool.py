"""Dedicated pools and quotas: what a project owns, how much of it is in use, and the protocol that tells of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from exporter.domain.job import Accelerator
from exporter.domain.source import SourceError


class PoolStatus(StrEnum):
    """Where a pool stands, in the cloud's words."""

    CREATING = "creating"
    WAITING = "waiting"
    RUNNING = "running"
    ABNORMAL = "abnormal"
    DELETING = "deleting"
    ERROR = "error"
    CREATION_FAILED = "creation_failed"
    SCALING_FAILED = "scaling_failed"
    UNKNOWN = "unknown"


class NodeState(StrEnum):
    """Where a node of a pool stands."""

    AVAILABLE = "available"
    CREATING = "creating"
    ABNORMAL = "abnormal"
    DELETING = "deleting"


class WorkloadKind(StrEnum):
    """What a workload in a pool is for."""

    TRAIN = "train"
    INFER = "infer"
    NOTEBOOK = "notebook"
    UNKNOWN = "unknown"


class WorkloadStatus(StrEnum):
    """Where a workload stands, in the words of the pool: it also tells of workloads that are no training jobs."""

    QUEUED = "queued"
    PENDING = "pending"
    CREATING = "creating"
    RUNNING = "running"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    FAILED = "failed"
    TERMINATED = "terminated"
    ABNORMAL = "abnormal"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAccelerators:
    """The accelerators of one resource name in one pool; fractions where cards are shared.

    `allocated` + `free` + `unavailable` is `capacity` wherever all are known (docs/adr/0007).
    """

    resource: str
    """The name under which the cloud counts them, such as "nvidia.com/gpu" or a masked "tnt004"."""
    accelerator: Accelerator | None
    """None: certainly accelerators, but nothing tells which."""
    capacity: float
    """On all nodes that are there, abnormal ones included."""
    allocated: float | None = None
    unavailable: float | None = None
    """On abnormal nodes and not allocated. None: there are such nodes, and nothing tells what is in them."""

    @property
    def free(self) -> float | None:
        """What a workload could take now; None when that cannot be told."""
        if self.allocated is None or self.unavailable is None:
            return None
        return self.capacity - self.allocated - self.unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One dedicated pool. The public pool belongs to nobody and is never one of them."""

    project: str
    pool_id: str
    """The pool's metadata.name: the same text that jobs carry as their pool id."""
    name: str = ""
    """What people call it."""
    workspace_id: str = ""
    scope: str = ""
    """Kinds of workload it takes, joined by commas in the order of the alphabet."""
    type: str = ""
    """The cloud's word, such as "Dedicate" or "Logical"."""
    status: PoolStatus | None = None
    """None: the cloud does not say."""
    spec_nodes: Mapping[str, int] = field(default_factory=dict)
    """Nodes it should have, by flavor."""
    nodes: Mapping[tuple[str, NodeState], int] = field(default_factory=dict)
    """Nodes it has, by flavor and state; what the cloud does not mention is not there."""
    accelerators: tuple[PoolAccelerators, ...] = ()
    cpu_allocated_cores: float | None = None
    cpu_capacity_cores: float | None = None
    memory_allocated_bytes: float | None = None
    memory_capacity_bytes: float | None = None
    workloads: Mapping[tuple[WorkloadKind, WorkloadStatus], int] | None = None
    """None: not known. A status the cloud does not mention is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much of something a project may have; each None when the cloud does not say, or sets no limit."""

    limit: float | None = None
    used: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPollResult:
    """One look at a project's pools. A failed part is in `failures` and blanks nothing else."""

    pools: Mapping[str, Pool] | None = None
    """By pool id; of a part that did not answer, what it told last, unless that is too old. None: not known."""
    listed_at: float | None = None
    """When the listing of `pools` was answered (monotonic)."""
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    """By resource. What is too old is not in it."""
    failures: tuple[SourceError, ...] = ()
    """What did not answer."""
    refused: SourceError | None = None
    """The cloud refuses to list pools: there is no such call, or no permission for it. Then there is nothing else."""


class PoolSource(Protocol):
    """The pools of one project."""

    async def poll(self, *, answer_by: float) -> PoolPollResult:
        """See every pool and how it is used. Nothing new is asked after `answer_by` (monotonic). Never raises."""
        ...
