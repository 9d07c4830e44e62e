"""The training job, told the same way for both API generations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Api(StrEnum):
    """The two generations of the training API that exist side by side."""

    V1 = "v1"
    V2 = "v2"


class Accelerator(StrEnum):
    """What a job computes on. `CPU` means: known to hold no accelerator."""

    GPU = "gpu"
    NPU = "npu"
    CPU = "cpu"


class JobStatus(StrEnum):
    """Where a job stands, normalised over both generations (API reference §4.1)."""

    INITIALIZING = "initializing"
    QUEUED = "queued"
    RUNNING = "running"
    SCALING = "scaling"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    FAILED = "failed"
    TERMINATED = "terminated"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def active(self) -> bool:
        """Whether the cloud still works on the job."""
        return self in _ACTIVE

    @property
    def finished(self) -> bool:
        """Whether the job has ended; `unknown` is neither active nor finished."""
        return self in _FINISHED

    @property
    def failure(self) -> bool:
        """Whether the job ended in a way somebody should look at."""
        return self in _FAILURES

    @property
    def holds_nodes(self) -> bool:
        """Whether a job in this status can have nodes allocated to it."""
        return self in _HOLDING


CRASH_LOOP_S = 600.0
"""A run that needs a recovery sooner than that got nothing done: loading data and weights takes minutes by itself."""

_HOLDING = frozenset({JobStatus.RUNNING, JobStatus.SCALING, JobStatus.TERMINATING})
_ACTIVE = _HOLDING | {JobStatus.INITIALIZING, JobStatus.QUEUED}
_FAILURES = frozenset({JobStatus.FAILED, JobStatus.LOST})
_FINISHED = _FAILURES | {JobStatus.COMPLETED, JobStatus.TERMINATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a training job. Times are seconds since the epoch, durations seconds.

    `None` always means "the cloud does not say"; nothing is exported then. Empty text means the same for labels.
    Nothing of a job's parameters, environment, command or endpoints is ever kept: they can hold secrets.
    """

    job_id: str
    """v2: the uuid. v1: the version id, because a version is what runs."""
    api: Api
    name: str = ""
    """Display name; not unique, not even within a project."""
    version: str = ""
    """v1 version name ("V0001"); empty for v2."""
    user: str = ""
    workspace_id: str = ""
    pool_id: str = ""
    """The dedicated pool; empty for the public pool."""
    flavor: str = ""
    accelerator: Accelerator | None = None
    """None when nothing the cloud said tells the kind."""
    accelerator_model: str = ""
    """Product name such as "nvidia-a100-nv80"; masked in some answers."""
    engine: str = ""
    kind: str = ""
    """v2 `kind` when it is one of the documented ones, else "unknown"; v1 is always "job"."""

    status: JobStatus = JobStatus.UNKNOWN
    reason: str = ""
    """Refines the status, from a bounded vocabulary: v1 status name, v2 secondary phase. Empty: none."""

    submitted_at: float | None = None
    started_at: float | None = None
    """First start; None before it (the cloud writes 0)."""
    ended_at: float | None = None
    """Finished jobs only: derived from the API's times; where those do not suffice, when we saw it end."""
    run_duration_s: float | None = None
    """As the API reports it; None before the start."""

    spec_nodes: int | None = None
    """Nodes asked for."""
    reported_nodes: int | None = None
    """Nodes the cloud says are allocated right now (v2 `node_count_metrics`, last point)."""
    node_steps: tuple[tuple[float, int], ...] = ()
    """Nodes held from each moment on (seconds since the epoch), where they were not as many as asked for all the
    time; empty: they were, or the cloud tells nothing of it (v1). The last ones are held to the end of the run."""
    spec_accelerators: float | None = None
    """Accelerators asked for, over all nodes; 0 for a job known to use CPUs only."""

    tasks: tuple[str, ...] = ()
    """v2 task ids ("worker-0"); empty for v1."""
    task_exit_codes: Mapping[str, int] = field(default_factory=dict)
    """Failed tasks only, task id to exit code."""
    recoveries: Mapping[str, int] | None = None
    """Fault recoveries so far by policy, from the running records; None where the API has no such records."""
    degraded_recoveries: Mapping[str, int] | None = None
    """Recoveries for which the policy tried first did not suffice, by that policy; None as for `recoveries`."""
    faults: Mapping[str, int] | None = None
    """Faults so far by scenario, from the recovery records; None where the API has no such records."""
    last_recovery_at: float | None = None
    """When it last began to run again after a fault; None before the first time."""
    crash_loop_runs: int | None = None
    """Its newest runs in a row that each ended in a recovery within `CRASH_LOOP_S` of their start; None as above."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """v1 model metric totals by measure (precision, recall, accuracy, f1), ratios 0-1."""

    @property
    def queue_duration_s(self) -> float | None:
        """Submission to first start, never negative; None while the job waits."""
        if self.submitted_at is None or self.started_at is None:
            return None
        waited_s = round(self.started_at - self.submitted_at, 3)  # the cloud's times are milliseconds
        return 0.0 if waited_s < 0 else waited_s  # documentation samples start before they are made

    @property
    def status_nodes(self) -> int | None:
        """Nodes held now: 0 for a job that waits or has ended, None when the status or the demand is unknown."""
        if not self._holds:
            return None if self.status is JobStatus.UNKNOWN else 0
        return self.spec_nodes if self.reported_nodes is None else self.reported_nodes

    @property
    def status_accelerators(self) -> float | None:
        """Accelerators held now, over all nodes; None when the status, the demand, or a part of it is unknown."""
        if not self._holds:
            return None if self.status is JobStatus.UNKNOWN or self.spec_accelerators is None else 0.0
        if self.reported_nodes is None or self.spec_accelerators is None:
            return self.spec_accelerators  # nothing says that it holds less than it asked for
        if not self.spec_nodes:
            return None
        return self.spec_accelerators * self.reported_nodes / self.spec_nodes

    @property
    def _holds(self) -> bool:
        """Whether nodes are allocated; a job that was cancelled while it waited has none to release."""
        if self.started_at is None and self.reported_nodes is None and self.status is JobStatus.TERMINATING:
            return False
        return self.status.holds_nodes
