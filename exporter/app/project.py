"""Opens one target of the settings: its API client, its sources, its poller."""

import os
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog

from exporter.app.events import UnifiedJobs, UnknownValues, log_poll
from exporter.cloud.access import WorkspaceAccess
from exporter.cloud.connect import connect
from exporter.cloud.http.client import ApiClient
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.http.retry import RetryPolicy
from exporter.cloud.pools.source import CloudPools
from exporter.cloud.probe import FixedSources, ProbedSources
from exporter.cloud.v1.source import RETENTION_S, V1Source
from exporter.cloud.v2.source import V2Source
from exporter.cloud.workspaces import AllWorkspaces, FixedWorkspaces
from exporter.domain.job import Job
from exporter.domain.outcome import Outcome, Repair
from exporter.domain.snapshot import ProjectSnapshot
from exporter.domain.source import Clock, JobSource
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.call_count import count_call
from exporter.polling.poller import PollSettings, ProjectPoller
from exporter.polling.visibility import Visibility
from exporter.settings import Settings, Target

_log = structlog.get_logger()

_CALLS_PER_TIMEOUT = 3  # a call may take a third of a poll's timeout, so that a retry fits in
_LAST_ATTEMPT = 0.6  # of the timeout: an attempt begun later could be cancelled by it, and its error be lost

Generations = FixedSources | ProbedSources
Workspaces = AllWorkspaces | FixedWorkspaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine the exporter runs on."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """Environment variables; CCE describes a pod's identity in them."""
    metadata_url: str = "http://169.254.169.254"
    """The node's metadata service."""
    jitter: Callable[[], float] = random.random
    """Fraction (0 to 1) of the longest pause that a retry waits."""


def initial_snapshot(target: Target) -> ProjectSnapshot:
    """A target before its first poll."""
    return ProjectSnapshot(
        project=target.project, project_id=target.project_id, region=target.region, cloud=target.cloud
    )


def origin(target: Target) -> str:
    """Which project of which cloud a target stands for: the state of one does not fit another."""
    return f"{target.endpoint}/{target.project_id or target.project_name}"


@asynccontextmanager
async def open_poller(
    target: Target,
    settings: Settings,
    *,
    clock: Clock,
    self_metrics: SelfMetrics,
    on_change: Callable[[ProjectSnapshot], None],
    host: Host | None = None,
) -> AsyncIterator[ProjectPoller]:
    """Yield the poller of one target; its connections are closed at the end. Sends nothing by itself."""
    self_metrics.declare_project(target.project)
    async with open_client(target, settings, clock=clock, self_metrics=self_metrics, host=host) as client:
        note = UnknownValues(target.project, self_metrics)
        workspaces = make_workspaces(target, client, clock=clock, note=note)
        generations = make_generations(
            target,
            client,
            workspaces=workspaces,
            clock=clock,
            note=note,
            retention_s=settings.collection.retention_s,
            on_unified_jobs=UnifiedJobs(target.project, self_metrics),
        )
        yield ProjectPoller(
            initial_snapshot=initial_snapshot(target),
            sources=_IdentifiedSources(generations, client, project=target.project),
            settings=poll_settings(target, settings),
            visibility=visibility(target, settings),
            clock=clock,
            on_change=on_change,
            on_poll=log_poll,
            workspaces=workspaces.access.states,
            origin=origin(target),
            pools=CloudPools(
                client,
                project=target.project,
                workspaces=workspaces,
                clock=clock,
                note=note,
                keep_s=settings.collection.stale_after_s,
                shows=lambda pool_id: not target.filters.pools or pool_id in target.filters.pools,
            ),
        )


@asynccontextmanager
async def open_client(
    target: Target, settings: Settings, *, clock: Clock, self_metrics: SelfMetrics, host: Host | None = None
) -> AsyncIterator[ApiClient]:
    """Yield the API client of one target, with its credentials and limits; its connections are closed at the end."""
    host = host or Host()
    async with connect(
        target,
        timeout_s=settings.collection.timeout_s / _CALLS_PER_TIMEOUT,
        retry=RetryPolicy(total_s=settings.collection.timeout_s * _LAST_ATTEMPT),
        environ=host.environ,
        metadata_url=host.metadata_url,
        clock=clock,
        observer=_CallObserver(self_metrics),
        jitter=host.jitter,
    ) as client:
        yield client


def poll_settings(target: Target, settings: Settings) -> PollSettings:
    """How a target is polled."""
    collection = settings.collection
    return PollSettings(
        timeout_s=collection.timeout_s,
        usage_timeout_s=max(collection.timeout_s, collection.usage_interval_s),
        sweep_timeout_s=max(collection.sweep_interval_s, collection.timeout_s),
        sweep_interval_s=collection.sweep_interval_s,
        stale_after_s=collection.stale_after_s,
        retention_s=collection.retention_s,
        idle_threshold=settings.metrics.idle_threshold_ratio,
        idle_grace_s=settings.metrics.idle_grace_s,
        hang_after_s=settings.metrics.hang_after_s,
        max_users=settings.metrics.max_users_per_project,
        usage_workers=max(1, target.rate_limit.concurrency - 1),
    )


def visibility(target: Target, settings: Settings) -> Visibility:
    """Which of a target's jobs have series of their own, and how their users are shown."""

    def shows(job: Job) -> bool:
        return target.filters.shows(name=job.name, pool_id=job.pool_id, user=job.user)

    return Visibility(shows=shows, user_label=settings.metrics.user_label)


class _CallObserver:
    """The self-metrics as the observer of one project's client; counts each call for the poll that makes it, too."""

    def __init__(self, self_metrics: SelfMetrics) -> None:
        self._self_metrics = self_metrics
        self.call_withheld = self_metrics.call_withheld
        self.call_retried = self_metrics.call_retried
        self.throttled = self_metrics.throttled
        self.circuit_changed = self_metrics.circuit_changed
        self.credentials_changed = self_metrics.credentials_changed
        self.unknown_value = self_metrics.unknown_value
        self._repaired: set[tuple[str, Repair]] = set()

    def call_finished(self, *, project: str, operation: str, outcome: Outcome, duration_s: float) -> None:
        """Count one HTTP exchange."""
        count_call()
        self._self_metrics.call_finished(project=project, operation=operation, outcome=outcome, duration_s=duration_s)

    def response_repaired(self, *, project: str, operation: str, kind: Repair) -> None:
        """Count a repaired response, and log the first one of each operation and kind."""
        self._self_metrics.response_repaired(project=project, operation=operation, kind=kind)
        if (operation, kind) not in self._repaired:
            self._repaired.add((operation, kind))
            _log.warning("response.repaired", project=project, operation=operation, kind=kind.value)


class _IdentifiedSources:
    """The sources of the API generations together with the project's id.

    Logs which generations are polled, because no metric shows one that is not.
    """

    def __init__(self, generations: Generations, client: ApiClient, *, project: str) -> None:
        self._generations = generations
        self._client = client
        self._project = project
        self._logged: tuple[str, ...] = ()

    async def project_id(self) -> str:
        """Return the project's id, which IAM reports where the settings give a name only. Raises CloudError."""
        return await self._client.project_id()

    async def current(self) -> tuple[JobSource, ...]:
        """Return the sources to poll now. Raises CloudError."""
        sources = await self._generations.current()
        apis = tuple(source.api.value for source in sources)
        if apis != self._logged:
            self._logged = apis
            _log.info("api_generations.changed", project=self._project, api=",".join(apis))
        return sources


def make_workspaces(target: Target, client: ApiClient, *, clock: Clock, note: NoteUnknown) -> Workspaces:
    """Return the workspaces of a target."""
    access = WorkspaceAccess(clock, project=target.project, fixed=target.workspaces != "all")
    if target.workspaces == "all":
        return AllWorkspaces(client, clock=clock, note=note, access=access)
    return FixedWorkspaces(target.workspaces, access=access)


def make_generations(
    target: Target,
    client: ApiClient,
    *,
    workspaces: Workspaces,
    clock: Clock,
    note: NoteUnknown,
    retention_s: float = RETENTION_S,
    on_unified_jobs: Callable[[bool], None] = lambda _: None,
) -> Generations:
    """Return the API generations of a target: those that its settings name, or that probing finds."""

    def v1() -> V1Source:
        return V1Source(
            client,
            project=target.project,
            workspaces=workspaces,
            clock=clock,
            note=note,
            retention_s=retention_s,
            access=workspaces.access,
        )

    def v2() -> V2Source:
        return V2Source(
            client,
            project=target.project,
            workspaces=workspaces,
            clock=clock,
            note=note,
            access=workspaces.access,
            on_unified_jobs=on_unified_jobs,
        )

    match target.api:
        case "v1":
            return FixedSources((v1(),))
        case "v2":
            return FixedSources((v2(),))
        case "both":
            return FixedSources((v1(), v2()))
        case "auto":
            return ProbedSources(client, make_v1=v1, make_v2=v2, clock=clock)
