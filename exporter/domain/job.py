"""The training job, in the same form for both API generations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Api(StrEnum):
    """The two generations of the training API; a region may have both."""

    V1 = "v1"
    V2 = "v2"


class Accelerator(StrEnum):
    """Kind of accelerator. `CPU` means: known to hold none."""

    GPU = "gpu"
    NPU = "npu"
    CPU = "cpu"


class JobStatus(StrEnum):
    """Status of a job, normalised over both generations (API reference §4.1)."""

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
        """Whether the job has not ended."""
        return self in _ACTIVE

    @property
    def finished(self) -> bool:
        """Whether the job has ended; `unknown` is neither active nor finished."""
        return self in _FINISHED

    @property
    def failure(self) -> bool:
        """Whether the job ended because something failed."""
        return self in _FAILURES

    @property
    def holds_nodes(self) -> bool:
        """Whether a job in this status can have nodes allocated to it."""
        return self in _HOLDING


REASONS = (
    "creating",
    "image_creating",
    "submitting",
    "queuing",
    "running",
    "scaling",
    "checking",
    "terminating",
    "completed",
    "failed",
    "create_failed",
    "image_failed",
    "delete_failed",
    "submit_model_failed",
    "deploy_service_failed",
    "check_failed",
    "terminated_failed",
    "terminated",
    "canceled",
    "lost",
    "unknown",
    "other",
)
"""The words of both generations for what refines a status; `other` for an undocumented one."""

RUNTIME_TYPES = ("debug", "production", "other")
"""What a v2 job is for; `other` for an undocumented value."""

CRASH_LOOP_S = 600.0
"""A run that needs a recovery sooner has done no work: loading data and weights alone takes minutes."""

_HOLDING = frozenset({JobStatus.RUNNING, JobStatus.SCALING, JobStatus.TERMINATING})
_ACTIVE = _HOLDING | {JobStatus.INITIALIZING, JobStatus.QUEUED}
_FAILURES = frozenset({JobStatus.FAILED, JobStatus.LOST})
_FINISHED = _FAILURES | {JobStatus.COMPLETED, JobStatus.TERMINATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a training job. Times are seconds since the epoch, durations seconds.

    `None` always means unknown; nothing is exported then. An empty string means the same for labels.
    A job's parameters, environment, command and endpoints are never kept: they can hold secrets.
    """

    job_id: str
    """v2: the uuid. v1: the id of the version, because versions run."""
    api: Api
    name: str = ""
    """Display name; not unique, not even within a project."""
    version: str = ""
    """v1 version name ("V0001"); empty for v2."""
    user: str = ""
    workspace_id: str = ""
    pool_id: str = ""
    """The dedicated pool; empty for the public pool."""
    pool_known: bool = True
    """False: no answer so far names the pool (v1 job list), and the empty `pool_id` does not mean the public one."""
    flavor: str = ""
    accelerator: Accelerator | None = None
    """None: unknown kind."""
    accelerator_model: str = ""
    """Product name such as "nvidia-a100-nv80"; masked in some responses."""
    engine: str = ""
    parent_job_id: str = ""
    """v1: the id of the job that this is a version of, which the v1 API and links need; empty for v2."""
    kind: str = ""
    """v2 `kind` when it is one of the documented ones, else "unknown"; v1 is always "job"."""

    status: JobStatus = JobStatus.UNKNOWN
    reason: str = ""
    """Refines the status: one of `REASONS`. Empty: none."""
    runtime_type: str = ""
    """v2: one of `RUNTIME_TYPES`; a debug job idles by design."""
    preemptible: bool | None = None
    """v2: whether a job of higher priority may take its nodes."""
    priority: float | None = None
    """v2: priority in its pool; higher goes first."""

    submitted_at: float | None = None
    started_at: float | None = None
    """First start; None before it (the cloud reports 0)."""
    requeued_at: float | None = None
    """Queued jobs that have run before: when they lost their nodes; None: never, or unknown."""
    ended_at: float | None = None
    """Finished jobs only: derived from the API's times; where those are missing, when a poll first saw the end."""
    run_duration_s: float | None = None
    """As reported by the API; None before the start."""

    spec_nodes: int | None = None
    """Nodes requested."""
    reported_nodes: int | None = None
    """Nodes allocated now, as reported (v2 `node_count_metrics`, last point)."""
    node_steps: tuple[tuple[float, int], ...] = ()
    """Nodes held from each moment on (seconds since the epoch), where their number differed from the requested one;
    empty: it never did, or the cloud does not report it (v1). The last step holds to the end of the run."""
    spec_accelerators: float | None = None
    """Accelerators requested, over all nodes; 0 for a job known to use CPUs only."""

    tasks: tuple[str, ...] = ()
    """v2 task ids ("worker-0"); empty for v1."""
    task_exit_codes: Mapping[str, int] = field(default_factory=dict)
    """Failed tasks only, task id to exit code."""
    recoveries: Mapping[str, int] | None = None
    """Fault recoveries so far by policy, from the running records; None where the API has no such records."""
    degraded_recoveries: Mapping[str, int] | None = None
    """Recoveries in which the first policy failed, by that policy; None as for `recoveries`."""
    faults: Mapping[str, int] | None = None
    """Faults so far by scenario, from the recovery records; None where the API has no such records."""
    fault_results: Mapping[str, Mapping[str, int]] | None = None
    """The same faults by scenario and by the result of their recovery, one of `recovery.RESULTS`."""
    recovery_times: Mapping[str, tuple[float, ...]] | None = None
    """Seconds of each successful recovery by policy, oldest first; None as for `recoveries`."""
    task_faults: Mapping[str, int] = field(default_factory=dict)
    """Faults so far by the task that caused them, as far as the records name it."""
    last_recovery_at: float | None = None
    """When it last resumed after a fault; None: never."""
    crash_loop_runs: int | None = None
    """Newest consecutive runs that each ended in a recovery within `CRASH_LOOP_S` of their start; None as above."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """v1 model metric totals by measure (precision, recall, accuracy, f1), ratios 0-1."""

    @property
    def queue_duration_s(self) -> float | None:
        """Submission to first start, never negative; None while the job waits."""
        if self.submitted_at is None or self.started_at is None:
            return None
        waited_s = round(self.started_at - self.submitted_at, 3)  # the cloud's times are milliseconds
        return 0.0 if waited_s < 0 else waited_s  # in documented examples jobs start before submission

    @property
    def waiting_since(self) -> float | None:
        """Start of the current wait of a queued job, also after a preemption; None for other jobs, and if unknown."""
        if self.status is not JobStatus.QUEUED:
            return None
        if self.requeued_at is not None:
            return self.requeued_at
        if self.started_at is None:
            return self.submitted_at
        return self.started_at + self.run_duration_s if self.run_duration_s else None

    @property
    def status_nodes(self) -> int | None:
        """Nodes held now: 0 for a job that waits or has ended, None when the status or the request is unknown."""
        if not self._holds:
            return None if self.status is JobStatus.UNKNOWN else 0
        return self.spec_nodes if self.reported_nodes is None else self.reported_nodes

    @property
    def status_accelerators(self) -> float | None:
        """Accelerators held now, over all nodes; None when the status, the request, or a part of it is unknown."""
        if not self._holds:
            return None if self.status is JobStatus.UNKNOWN or self.spec_accelerators is None else 0.0
        if self.reported_nodes is None or self.spec_accelerators is None:
            return self.spec_accelerators  # no report of fewer nodes than requested
        if not self.spec_nodes:
            return None
        return self.spec_accelerators * self.reported_nodes / self.spec_nodes

    @property
    def _holds(self) -> bool:
        """Whether nodes are allocated; a job that was cancelled while queued has none to release."""
        if self.started_at is None and self.reported_nodes is None and self.status is JobStatus.TERMINATING:
            return False
        return self.status.holds_nodes
