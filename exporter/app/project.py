"""Opens one target of the settings: its transport, its sources, its poller."""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import structlog

from exporter.app.events import Observed, Unknowns, polled
from exporter.cloud.connect import connect
from exporter.cloud.http.client import ApiClient
from exporter.cloud.http.endpoint import NoteUnknown
from exporter.cloud.http.retry import RetryPolicy
from exporter.cloud.pools.source import CloudPools
from exporter.cloud.probe import FixedSources, ProbedSources
from exporter.cloud.v1.source import V1Source
from exporter.cloud.v2.source import V2Source
from exporter.cloud.workspaces import AllWorkspaces, FixedWorkspaces
from exporter.domain.job import Job
from exporter.domain.snapshot import ProjectSnapshot
from exporter.domain.source import Clock, JobSource, Sources
from exporter.polling.poller import PollSettings, ProjectPoller
from exporter.polling.visibility import Visibility
from exporter.settings import Settings, Target

_log = structlog.get_logger()

_CALLS_A_DEADLINE = 3  # a call may take a third of a poll's deadline, so that a retry still fits in
_LAST_ATTEMPT = 0.6  # of the deadline: an attempt begun later would be cut off by it, and the poll not learn why


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What a target finds around itself on the machine it runs on; the defaults are this machine's."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    """Where CCE says how a pod gets its keys."""
    metadata_url: str = "http://169.254.169.254"
    """The node's metadata service."""
    jitter: Callable[[], float] = random.random
    """Part of the longest pause, from 0 to 1, that a retry waits."""


def identity(target: Target) -> ProjectSnapshot:
    """A target before its first poll."""
    return ProjectSnapshot(
        project=target.project, project_id=target.project_id, region=target.region, cloud=target.cloud
    )


def origin(target: Target) -> str:
    """Which project of which cloud a target is about: what is remembered of one is true of no other."""
    return f"{target.endpoint}/{target.project_id or target.project_name}"


@asynccontextmanager
async def watching(
    target: Target,
    settings: Settings,
    *,
    clock: Clock,
    self_metrics: Observed,
    on_change: Callable[[ProjectSnapshot], None],
    place: Host | None = None,
) -> AsyncIterator[ProjectPoller]:
    """Give the poller of one target; its connections close at the end. Sends nothing by itself."""
    self_metrics.declare_project(target.project)
    async with reaching(target, settings, clock=clock, self_metrics=self_metrics, place=place) as transport:
        note = Unknowns(target.project, self_metrics)
        workspaces = workspaces_of(target, transport, clock=clock, note=note)
        made = sources_of(target, transport, workspaces=workspaces, clock=clock, note=note)
        sources = _Identified(made, transport, project=target.project)
        yield ProjectPoller(
            identity=identity(target),
            sources=sources,
            plan=plan(target, settings),
            screen=screen(target, settings),
            clock=clock,
            on_change=lambda snapshot: on_change(
                replace(snapshot, project_id=sources.project_id or target.project_id)
            ),
            on_poll=polled,
            origin=origin(target),
            pools=CloudPools(
                transport,
                project=target.project,
                workspaces=workspaces,
                clock=clock,
                note=note,
                keep_s=settings.collection.stale_after_s,
                shows=lambda pool_id: not target.filters.pools or pool_id in target.filters.pools,
            ),
        )


@asynccontextmanager
async def reaching(
    target: Target, settings: Settings, *, clock: Clock, self_metrics: Observed, place: Host | None = None
) -> AsyncIterator[ApiClient]:
    """Give the transport of one target, with its credentials and limits; its connections close at the end."""
    place = place or Host()
    async with connect(
        target,
        timeout_s=settings.collection.timeout_s / _CALLS_A_DEADLINE,
        retry=RetryPolicy(total_s=settings.collection.timeout_s * _LAST_ATTEMPT),
        environ=place.environ,
        metadata_url=place.metadata_url,
        clock=clock,
        observer=self_metrics,
        jitter=place.jitter,
    ) as transport:
        yield transport


def plan(target: Target, settings: Settings) -> PollSettings:
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


def screen(target: Target, settings: Settings) -> Visibility:
    """What of a target's jobs is shown."""

    def shows(job: Job) -> bool:
        return target.filters.shows(name=job.name, pool_id=job.pool_id, user=job.user)

    return Visibility(shows=shows, user_label=settings.metrics.user_label)


class _Identified:
    """Sources that also learn the project's id, which IAM tells where the settings give a name only.

    Which generations are asked is logged whenever it changes: one that is not asked shows in no metric.
    """

    def __init__(self, sources: Sources, transport: ApiClient, *, project: str) -> None:
        self._sources = sources
        self._transport = transport
        self._project = project
        self._asked: tuple[str, ...] = ()
        self.project_id = ""

    async def current(self) -> tuple[JobSource, ...]:
        """The sources to ask now. Raises SourceError."""
        self.project_id = await self._transport.project_id()
        sources = await self._sources.current()
        asked = tuple(source.api.value for source in sources)
        if asked != self._asked:
            self._asked = asked
            _log.info("sources.changed", project=self._project, api=",".join(asked))
        return sources


def workspaces_of(
    target: Target, transport: ApiClient, *, clock: Clock, note: NoteUnknown
) -> Callable[[], Awaitable[tuple[str, ...]]]:
    """Tell which workspaces of a target to look into."""
    if target.workspaces == "all":
        return AllWorkspaces(transport, clock=clock, note=note)
    return FixedWorkspaces(target.workspaces)


def sources_of(
    target: Target,
    transport: ApiClient,
    *,
    workspaces: Callable[[], Awaitable[tuple[str, ...]]],
    clock: Clock,
    note: NoteUnknown,
) -> Sources:
    """Make the sources of a target, those that its settings name or that probing finds."""

    def v1() -> V1Source:
        return V1Source(transport, project=target.project, workspaces=workspaces, clock=clock, note=note)

    def v2() -> V2Source:
        return V2Source(transport, project=target.project, workspaces=workspaces, clock=clock, note=note)

    match target.api:
        case "v1":
            return FixedSources((v1(),))
        case "v2":
            return FixedSources((v2(),))
        case "both":
            return FixedSources((v1(), v2()))
        case "auto":
            return ProbedSources(transport, make_v1=v1, make_v2=v2, clock=clock)
