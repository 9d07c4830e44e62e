"""The set of projects that is watched, and how it changes while the program runs."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from exporter.app.events import Observed
from exporter.app.project import identity, plan, watching
from exporter.domain.snapshot import ProjectSnapshot
from exporter.domain.source import Clock
from exporter.polling.poller import ProjectPoller, ProjectState
from exporter.polling.schedule import Schedule
from exporter.polling.store import SnapshotStore
from exporter.settings import Collection, Settings, Target

_JITTER = 0.1
"""Part of the interval by which polls are spread, so that replicas do not ask in step."""

_SWEEP_TICK_S = 60.0
"""How often a sweep asks itself whether it is due."""


class ShutdownError(OSError):
    """Changed settings came when the program was about to end."""


@dataclass(slots=True)
class _Watched:
    """One project that is polled, and what it was made of."""

    target: Target
    made_of: tuple[object, ...]
    poller: ProjectPoller
    connections: AsyncExitStack
    works: tuple[str, ...] = ()
    """Names of its work in the schedule."""


class Daemon:
    """Watches the projects of the settings; `memory` is what earlier runs remembered, by project.

    What is remembered of projects that are not in the settings (any more) is kept, in case they come back.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        memory: Mapping[str, ProjectState],
        schedule: Schedule,
        store: SnapshotStore,
        clock: Clock,
        self_metrics: Observed,
    ) -> None:
        self._settings = settings
        self._memory = dict(memory)
        self._schedule = schedule
        self._store = store
        self._clock = clock
        self._own = self_metrics
        self._watched: dict[str, _Watched] = {}
        self._changing = asyncio.Lock()
        self._closed = False

    def dump(self) -> dict[str, ProjectState]:
        """Tell what must survive, of all projects ever watched."""
        now = {project: watched.poller.dump() for project, watched in self._watched.items()}
        return {**self._memory, **now}

    async def start(self) -> None:
        """Begin to poll. Raises OSError when a file of the settings cannot be read; then nothing polls."""
        await self.change(self._settings)

    async def close(self) -> None:
        """Close all connections; the schedule has stopped before. No change is taken over any more."""
        async with self._changing:
            self._closed = True
            for watched in self._watched.values():
                await watched.connections.aclose()

    async def change(self, settings: Settings) -> None:
        """Go over to other settings: what did not change is not touched, what did goes on from what it remembers.

        Everything that can fail comes first. Raises OSError when a file of the new settings cannot be read, or when
        this daemon is closed; then the old ones stay in force.
        """
        async with self._changing:
            if self._closed:
                raise ShutdownError("the exporter is stopping")
            opened = await self._opened(settings)
            try:
                kept = {target.project for target in settings.targets} - opened.keys()
                await asyncio.gather(*(self._end(project) for project in self._watched.keys() - kept))
            except BaseException:
                await self._discard(opened)
                raise
            for project, watched in opened.items():
                self._begin(project, watched, settings.collection)
            self._store.arrange([self._unpolled(target) for target in settings.targets])
            self._settings = settings

    async def _opened(self, settings: Settings) -> dict[str, _Watched]:
        """Open what is new or other than before; all of it or nothing."""
        opened: dict[str, _Watched] = {}
        try:
            for target in settings.targets:
                made_of = (target, settings.collection, plan(target, settings), settings.metrics.user_label)
                old = self._watched.get(target.project)
                if old is not None and old.made_of == made_of:
                    continue
                connections = AsyncExitStack()
                poller = await connections.enter_async_context(
                    watching(
                        target, settings, clock=self._clock, self_metrics=self._own, on_change=self._store.update
                    )
                )
                opened[target.project] = _Watched(target, made_of, poller, connections)
        except BaseException:
            await self._discard(opened)
            for target in settings.targets:
                if target.project not in self._watched:
                    self._own.forget_project(target.project)
            raise
        return opened

    def _unpolled(self, target: Target) -> ProjectSnapshot:
        """A project before its first poll; its totals go on at once, for a 0 shown now would be a counter reset."""
        return replace(identity(target), totals=self._watched[target.project].poller.totals)

    async def _discard(self, opened: Mapping[str, _Watched]) -> None:
        for watched in opened.values():
            await watched.connections.aclose()

    async def _end(self, project: str) -> None:
        watched = self._watched[project]
        await self._schedule.end(*watched.works)
        # In one step: there is no moment at which a state is written that knows nothing of this project.
        self._memory[project] = watched.poller.dump()
        del self._watched[project]
        await watched.connections.aclose()

    def _begin(self, project: str, watched: _Watched, collection: Collection) -> None:
        memory = self._memory.pop(project, None)
        if memory is not None:
            watched.poller.restore(memory)
        works = {
            "jobs": (collection.jobs_interval_s, watched.poller.poll_jobs),
            "usage": (collection.usage_interval_s, watched.poller.poll_usage),
            "sweep": (min(collection.sweep_interval_s, _SWEEP_TICK_S), watched.poller.sweep),
            "pools": (collection.pools_interval_s, watched.poller.poll_pools),
        }
        for collector, (interval_s, work) in works.items():
            self._schedule.every(interval_s, work, name=f"{project}/{collector}", jitter_s=interval_s * _JITTER)
        watched.works = tuple(f"{project}/{collector}" for collector in works)
        self._watched[project] = watched
