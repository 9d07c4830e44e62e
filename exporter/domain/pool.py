"""Dedicated pools and quotas: capacity, usage, and the protocol that reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from exporter.domain.job import Accelerator
from exporter.domain.source import SourceError


class PoolStatus(StrEnum):
    """Status of a pool, as the cloud names it."""

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
    """State of a node of a pool."""

    AVAILABLE = "available"
    CREATING = "creating"
    ABNORMAL = "abnormal"
    DELETING = "deleting"


class WorkloadKind(StrEnum):
    """Purpose of a workload in a pool."""

    TRAIN = "train"
    INFER = "infer"
    NOTEBOOK = "notebook"
    UNKNOWN = "unknown"


class WorkloadStatus(StrEnum):
    """Status of a workload, as the pool API names it: it also covers workloads that are no training jobs."""

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

    `allocated` + `free` + `unavailable` equals `capacity` if all are known (docs/adr/0007).
    """

    resource: str
    """The cloud's resource name, such as "nvidia.com/gpu" or a masked "tnt004"."""
    accelerator: Accelerator | None
    """None: they are accelerators of an unknown kind."""
    capacity: float
    """On all existing nodes, including abnormal ones."""
    allocated: float | None = None
    unavailable: float | None = None
    """On abnormal nodes and not allocated. None: there are abnormal nodes with an unknown number of cards."""

    @property
    def free(self) -> float | None:
        """Available to a workload now; None when unknown."""
        if self.allocated is None or self.unavailable is None:
            return None
        return self.capacity - self.allocated - self.unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One dedicated pool. The public pool is not included."""

    project: str
    pool_id: str
    """The pool's metadata.name: equal to the pool id of its jobs."""
    name: str = ""
    """Display name."""
    workspace_id: str = ""
    scope: str = ""
    """Supported kinds of workload, sorted and joined by commas."""
    type: str = ""
    """The cloud's value, such as "Dedicate" or "Logical"."""
    status: PoolStatus | None = None
    """None: not in the response."""
    spec_nodes: Mapping[str, int] = field(default_factory=dict)
    """Requested nodes by flavor."""
    nodes: Mapping[tuple[str, NodeState], int] = field(default_factory=dict)
    """Existing nodes by flavor and state; a missing entry means none."""
    accelerators: tuple[PoolAccelerators, ...] = ()
    cpu_allocated_cores: float | None = None
    cpu_capacity_cores: float | None = None
    memory_allocated_bytes: float | None = None
    memory_capacity_bytes: float | None = None
    workloads: Mapping[tuple[WorkloadKind, WorkloadStatus], int] | None = None
    """None: unknown. A missing status means no workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """Limit and use of one resource of a project; None: the response has no value, or there is no limit."""

    limit: float | None = None
    used: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPollResult:
    """Result of one poll of a project's pools. A failed part is in `failures` and does not affect the others."""

    pools: Mapping[str, Pool] | None = None
    """By pool id. A part that failed keeps its last value until that is too old. None: unknown."""
    listed_at: float | None = None
    """Monotonic time at which the listing of `pools` was answered."""
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    """By resource; outdated ones are left out."""
    failures: tuple[SourceError, ...] = ()
    """Requests that failed."""
    refused: SourceError | None = None
    """The cloud refuses to list pools: no such call, or no permission for it. All other fields are empty then."""


class PoolSource(Protocol):
    """The pools of one project."""

    async def poll(self, *, answer_by: float) -> PoolPollResult:
        """Read every pool and its usage. No request is sent after `answer_by` (monotonic). Never raises."""
        ...
