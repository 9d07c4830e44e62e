"""A job (v2) or a version (v1): one run, from its submission to its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from exporter.simulator.world.flavor import Engine, Flavor

Api = Literal["v1", "v2"]
FINE_TUNING = "fine_tuning_job"
"""`Job.kind` of a fine-tuning job; in answers it is a job with a `ftjob_config`."""
Profile = Literal["", "steady", "saw", "idle", "hang", "straggler"]


class JobState(Enum):
    """State of a job; each API generation has its own values for it."""

    CREATING = "creating"
    IMAGE = "image"
    """v1: the image is being built."""
    SUBMITTING = "submitting"
    """v1: being submitted to the cluster."""
    QUEUED = "queued"
    STARTING = "starting"
    """Nodes are allocated, the image is being pulled; nothing runs yet."""
    RUNNING = "running"
    SCALING = "scaling"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    FAILED = "failed"
    CREATE_FAILED = "create_failed"
    TERMINATED = "terminated"
    LOST = "lost"

    @property
    def finished(self) -> bool:
        """Whether this is a final state."""
        return self in _FINISHED

    @property
    def runs(self) -> bool:
        """Whether the job's processes exist."""
        return self in _RUNNING


_FINISHED = frozenset(
    {JobState.COMPLETED, JobState.FAILED, JobState.CREATE_FAILED, JobState.TERMINATED, JobState.LOST}
)
_RUNNING = frozenset({JobState.RUNNING, JobState.SCALING, JobState.TERMINATING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One kind of task in a heterogeneous job."""

    name: str
    nodes: int
    flavor: Flavor


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a task ended."""

    task: str
    code: int
    message: str = ""


@dataclass(slots=True, kw_only=True)
class Recovery:
    """A fault and the recovery from it, within a running record."""

    began_at: float
    ends_at: float
    """In the future while it goes on; moved forward when the job ends before."""
    policy: str
    scenario: str
    task: str
    result: str
    """Final result; the responses say `recovering` until it has ended."""
    reason: str = "exit with 137"


@dataclass(slots=True, kw_only=True)
class Record:
    """One running record: from a (re)start to the next fault that stops the run, or the end."""

    started_at: float
    start_type: str = "init_or_rescheduled"
    ended_at: float | None = None
    reason: str = ""
    task: str = ""
    policy: str = ""
    """Recovery policy for the fault that ended it; "" for the last record."""
    tried: str = ""
    """The policy that was tried first, where it had to be downgraded."""
    recoveries: list[Recovery] = field(default_factory=list)
    """Those in place, then the one from the fault that ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A scripted event during a run."""

    after_s: float
    kind: Literal["recover", "heal", "scale"]
    nodes: int = 0
    policy: str = ""
    scenario: str = ""
    gap_s: float = 0.0
    tried: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobScript:
    """The scripted lifecycle of a job. A job without a script changes only when it is moved manually."""

    create_s: float
    pull_s: float
    run_s: float
    outcome: JobState
    stop_s: float = 20.0
    """How long a termination takes."""
    cancel_after_s: float | None = None
    """Cancelled this long after it was queued, if it still waits then. None: never."""
    exit_code: int = 1
    incidents: tuple[Incident, ...] = ()
    delete_after_s: float | None = None
    """Deleted this long after its end. None: never."""


@dataclass(slots=True, kw_only=True, eq=False)
class V1Job:
    """A v1 job: a name, and versions, each of which is one run."""

    id: int
    name: str
    description: str
    workspace: str
    user: str
    created_at: float
    versions: "list[Job]" = field(default_factory=list)


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """One run. Times are seconds since the epoch; None for an event that has not happened."""

    project: str
    api: Api
    number: int
    """Unique in the world, in the order of submission; for v1 it is the version id."""
    id: str
    """v2: the uuid; v1: the version id as text."""
    name: str
    user: str
    workspace: str
    pool: str
    accelerator_field: str
    """The field of v2 responses that states its accelerators: one of pool.ACCELERATOR_FIELDS."""
    flavor: Flavor
    nodes: int
    submitted_at: float
    seed: int
    engine: Engine
    description: str = ""
    kind: str = "job"
    priority: int = 1
    preemptible: bool = False
    runtime_type: str = "production"
    roles: tuple[Role, ...] = ()
    """Heterogeneous jobs only."""
    state: JobState = JobState.CREATING
    started_at: float | None = None
    ended_at: float | None = None
    v1_job: V1Job | None = None
    """v1 only."""
    script: JobScript | None = None
    profile: Profile = ""
    """Usage profile; "" draws one from the seed."""
    node_counts: Sequence[tuple[float, int]] = ()
    """(moment, number of nodes from then on); the last entry of an ended job has 0 nodes."""
    records: Sequence[Record] = ()
    exits: tuple[Exit, ...] = ()
    placement: list[tuple[int, int]] | None = None
    """(node index, slots) that it holds in its pool; None when it holds none."""
    epoch: int = 0
    """Incremented at each manual change; events scheduled in an earlier epoch are dropped."""
    series: dict[str, dict[str, list[Any]]] | None = None
    """Usage set by `usage`, by task and API metric name."""
    extra: dict[str, Any] | None = None
    """Fields merged into its responses unchanged: {"status": {"phase": "Odd"}} for v2, {"status": 99} for v1."""

    @property
    def group_key(self) -> tuple[str, str]:
        """(pool, accelerator): key of its queue."""
        return self.pool, self.flavor.accelerator

    @property
    def accelerators(self) -> int:
        """Accelerators requested, over all nodes."""
        if self.roles:
            return sum(role.nodes * role.flavor.cards for role in self.roles)
        return self.nodes * self.flavor.cards

    @property
    def nodes_now(self) -> int:
        """Number of nodes that it holds now."""
        return self.node_counts[-1][1] if self.node_counts else 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names."""
        if self.roles:
            return tuple(f"{role.name}-{index}" for role in self.roles for index in range(role.nodes))
        return tuple(f"worker-{index}" for index in range(self.nodes))

    def accelerators_at(self, nodes: int) -> int:
        """Number of accelerators it holds on that many nodes."""
        return self.accelerators if nodes == self.nodes else nodes * self.flavor.cards

    def duration_s(self, now: float) -> float:
        """Seconds from start to end, or to now; 0 if it has not started."""
        if self.started_at is None:
            return 0.0
        return max(0.0, (now if self.ended_at is None else self.ended_at) - self.started_at)

    def usage(self, task: str = "worker-0", **series: Sequence[Any]) -> None:
        """Set the answered usage of a task exactly: `job.usage("worker-0", npu=[-1, 50.0], cpu=[-1, 3.1])`.

        Keys: cpu, mem, gpu, gpu_mem, npu, npu_mem, and for v1 disk_read, disk_write, received, sent. A v1 job has one
        set of series for all tasks; there, numbers become text with two decimals and text is unchanged.
        Metrics not given are absent from the response.
        """
        if unknown := set(series) - set(METRICS):
            raise ValueError(f"no such metric: {', '.join(sorted(unknown))}; there are {', '.join(METRICS)}")
        if self.series is None:
            self.series = {}
        self.series["" if self.api == "v1" else task] = {METRICS[key]: list(values) for key, values in series.items()}

    def overlay(self, fields: Mapping[str, Any]) -> None:
        """Merge raw fields into its responses, for values that the simulator never produces itself."""
        self.extra = dict(fields)


METRICS = {
    "cpu": "cpuUsage",
    "mem": "memUsage",
    "gpu": "gpuUtil",
    "gpu_mem": "gpuMemUsage",
    "npu": "npuUtil",
    "npu_mem": "npuMemUsage",
    "disk_read": "diskReadRate",
    "disk_write": "diskWriteRate",
    "received": "recvBytesRate",
    "sent": "sendBytesRate",
}
"""Short names of the usage series, and their API metric names."""
