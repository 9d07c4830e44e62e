"""The set of projects that are polled, and how it changes while the program runs."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from exporter.app.project import initial_snapshot, open_poller, poll_settings
from exporter.app.publisher import Publisher
from exporter.domain.snapshot import ProjectSnapshot
from exporter.domain.source import Clock
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import ProjectPoller, ProjectState
from exporter.polling.schedule import Schedule
from exporter.settings import Collection, Settings, Target

_JITTER = 0.1
"""Fraction of the interval by which polls are spread, so that replicas do not poll in step."""

_SWEEP_CHECK_S = 60.0
"""How often it is checked whether a sweep is due."""


class ShutdownError(OSError):
    """The settings cannot change any more: the program is about to end."""


@dataclass(slots=True)
class _Polled:
    """One project that is polled, and the settings it depends on."""

    target: Target
    depends_on: tuple[object, ...]
    poller: ProjectPoller
    connections: AsyncExitStack
    names: tuple[str, ...] = ()
    """Of its work in the schedule."""


class Daemon:
    """Polls the projects of the settings; `states` are those of earlier runs, by project.

    The states of projects that are not in the settings (any more) are kept, in case these come back.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        states: Mapping[str, ProjectState],
        schedule: Schedule,
        publisher: Publisher,
        clock: Clock,
        self_metrics: SelfMetrics,
    ) -> None:
        self._settings = settings
        self._states = dict(states)
        self._schedule = schedule
        self._publisher = publisher
        self._clock = clock
        self._self_metrics = self_metrics
        self._polled: dict[str, _Polled] = {}
        self._changing = asyncio.Lock()
        self._closed = False

    def dump(self) -> dict[str, ProjectState]:
        """Copy the states of all projects that were ever polled."""
        return {**self._states, **{project: polled.poller.dump() for project, polled in self._polled.items()}}

    async def start(self) -> None:
        """Begin to poll. Raises OSError when a file of the settings cannot be read; then nothing polls."""
        await self.change(self._settings)

    async def close(self) -> None:
        """Close all connections; the schedule has stopped before. Later changes are refused."""
        async with self._changing:
            self._closed = True
            for polled in self._polled.values():
                await polled.connections.aclose()

    async def change(self, settings: Settings) -> None:
        """Change to other settings. Projects they do not concern go on, the others continue from their state.

        Everything that can fail comes first. Raises OSError when a file of the new settings cannot be read, or when
        this daemon is closed; then the old ones stay in force.
        """
        async with self._changing:
            if self._closed:
                raise ShutdownError("the exporter is stopping")
            opened = await self._open(settings)
            try:
                unchanged = {target.project for target in settings.targets} - opened.keys()
                await asyncio.gather(*(self._end(project) for project in self._polled.keys() - unchanged))
            except BaseException:
                await self._discard(opened)
                raise
            for project, polled in opened.items():
                self._begin(project, polled, settings.collection)
            self._publisher.set_projects([self._unpolled(target) for target in settings.targets])
            self._settings = settings

    async def _open(self, settings: Settings) -> dict[str, _Polled]:
        """Open all projects that are new or have changed, or none."""
        opened: dict[str, _Polled] = {}
        try:
            for target in settings.targets:
                depends_on = (
                    target,
                    settings.collection,
                    poll_settings(target, settings),
                    settings.metrics.user_label,
                )
                old = self._polled.get(target.project)
                if old is not None and old.depends_on == depends_on:
                    continue
                connections = AsyncExitStack()
                poller = await connections.enter_async_context(
                    open_poller(
                        target,
                        settings,
                        clock=self._clock,
                        self_metrics=self._self_metrics,
                        on_change=self._publisher.update,
                    )
                )
                opened[target.project] = _Polled(target, depends_on, poller, connections)
        except BaseException:
            await self._discard(opened)
            for target in settings.targets:
                if target.project not in self._polled:
                    self._self_metrics.forget_project(target.project)
            raise
        return opened

    def _unpolled(self, target: Target) -> ProjectSnapshot:
        """A project before its first poll. It has its totals: a 0 shown now would be a counter reset."""
        return replace(initial_snapshot(target), totals=self._polled[target.project].poller.totals)

    async def _discard(self, opened: Mapping[str, _Polled]) -> None:
        for polled in opened.values():
            await polled.connections.aclose()

    async def _end(self, project: str) -> None:
        polled = self._polled[project]
        await self._schedule.end(*polled.names)
        # Without an await in between: every dump has the project's state.
        self._states[project] = polled.poller.dump()
        del self._polled[project]
        await polled.connections.aclose()

    def _begin(self, project: str, polled: _Polled, collection: Collection) -> None:
        state = self._states.pop(project, None)
        if state is not None:
            polled.poller.restore(state)
        works = {
            "jobs": (collection.jobs_interval_s, polled.poller.poll_jobs),
            "usage": (collection.usage_interval_s, polled.poller.poll_usage),
            "sweep": (min(collection.sweep_interval_s, _SWEEP_CHECK_S), polled.poller.sweep),
            "pools": (collection.pools_interval_s, polled.poller.poll_pools),
        }
        for collector, (interval_s, work) in works.items():
            self._schedule.every(interval_s, work, name=f"{project}/{collector}", jitter_s=interval_s * _JITTER)
        polled.names = tuple(f"{project}/{collector}" for collector in works)
        self._polled[project] = polled
