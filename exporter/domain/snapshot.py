"""The published data: every project's jobs and totals at one moment, immutable."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.domain.accounting import Distribution, Holder
from exporter.domain.job import Job, JobStatus
from exporter.domain.pool import Pool, Quota
from exporter.domain.usage import JobUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedJob:
    """One job with its newest usage. While nothing changes, successive snapshots hold the same object."""

    project: str
    job: Job
    usage: JobUsage | None = None
    """None: no reading yet, or the last one is stale."""
    shown: bool = True
    """False: a filter of the settings hides the job's own series; aggregates count it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counters since the first start; they never decrease. Keys are pool ids ("" is the public pool)."""

    submitted: Mapping[str, int] = field(default_factory=dict)
    started: Mapping[str, int] = field(default_factory=dict)
    finished: Mapping[tuple[str, JobStatus], int] = field(default_factory=dict)
    """By pool and the status the job ended in; `unknown` when it was deleted before its end was seen."""
    waits: Mapping[str, Distribution] = field(default_factory=dict)
    """From submission to first start, by pool."""
    runs: Mapping[tuple[str, JobStatus], Distribution] = field(default_factory=dict)
    """From start to end, by pool and the status the job ended in."""
    held_s: Mapping[Holder, float] = field(default_factory=dict)
    """Accelerator seconds, by holder."""
    idle_s: Mapping[Holder, float] = field(default_factory=dict)
    """Those in which the accelerators idled for longer than the grace period."""
    lost_s: Mapping[Holder, float] = field(default_factory=dict)
    """Those of runs that ended failed or lost."""
    recoveries: Mapping[str, int] = field(default_factory=dict)
    """Recoveries from faults, by policy."""
    faults: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Faults by pool, scenario and result."""
    recovery_times: Mapping[str, Distribution] = field(default_factory=dict)
    """Lengths of successful recoveries, by policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorState:
    """State of one collector of one project."""

    name: str
    """`jobs`, `usage`, `sweep` or `pools`."""
    ok: bool
    """Whether the newest poll succeeded wholly."""
    last_success_at: float | None
    """Seconds since the epoch by our clock; None before the first success."""
    duration_s: float
    """Duration of the newest poll, successful or not."""
    enabled: bool = True
    """False: the API refuses its requests. It is off, which is no failure, and tries again every hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceState:
    """Whether one workspace can be listed."""

    workspace_id: str
    name: str
    """Empty where no list of workspaces names it."""
    accessible: bool
    """False: it may not be entered, or is being created or deleted. It is asked for again every hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSnapshot:
    """One project as of its last poll."""

    project: str
    project_id: str = ""
    region: str = ""
    cloud: str = ""
    jobs: Mapping[str, TrackedJob] | None = None
    """By job id. None: withdrawn, because no poll has succeeded yet, or for too long; empty: there are no jobs."""
    complete: bool = True
    """False: jobs may be missing from `jobs`, so no sum over them may be exported."""
    totals: Totals = field(default_factory=Totals)
    collectors: tuple[CollectorState, ...] = ()
    """Those that have run at least once."""
    pools: Mapping[str, Pool] | None = None
    """Dedicated pools by id. None: withdrawn, because no poll has listed them yet, or for too long; empty: none."""
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    """By resource."""
    duplicate_jobs: int | None = None
    """Tracked jobs that both API generations list; None while only one is polled."""
    workspaces: tuple[WorkspaceState, ...] = ()
    """Those whose access is known."""

    @property
    def settled(self) -> bool:
        """Whether the first jobs poll has ended, whatever its outcome."""
        return any(state.name == "jobs" for state in self.collectors)

    @property
    def up(self) -> bool:
        """Whether the newest jobs poll succeeded wholly."""
        return any(state.ok for state in self.collectors if state.name == "jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Every project, in the order of the settings."""

    taken_at: float
    """Seconds since the epoch by our clock."""
    projects: tuple[ProjectSnapshot, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether the first jobs poll of every project has ended, whatever its outcome."""
        return all(project.settled for project in self.projects)
