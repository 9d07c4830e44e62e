"""Holds what is published: the newest snapshot of each project, and one publication at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from exporter.domain.snapshot import ProjectSnapshot, Snapshot
from exporter.domain.source import Clock


class SnapshotStore:
    """The newest snapshot, put together from the projects' own.

    `projects` fixes the order; a project that has not been polled yet is there without jobs and collectors.
    """

    def __init__(self, projects: Iterable[ProjectSnapshot], *, clock: Clock) -> None:
        self._clock = clock
        self._projects = {project.project: project for project in projects}
        self._changed = asyncio.Event()
        self._current = self._assemble()

    @property
    def current(self) -> Snapshot:
        """The newest snapshot; one assignment replaced the one before."""
        return self._current

    def update(self, project: ProjectSnapshot) -> None:
        """Replace one project's part and let `publishing` know."""
        self._projects[project.project] = project
        self._current = self._assemble()
        self._changed.set()

    def arrange(self, projects: Iterable[ProjectSnapshot]) -> None:
        """Go over to another set of projects, in their order; what is known of one that stays stays too.

        `projects` are unpolled. One that is about another project of the cloud than before starts anew.
        """
        self._projects = {project.project: self._kept(project) for project in projects}
        self._current = self._assemble()
        self._changed.set()

    def _kept(self, project: ProjectSnapshot) -> ProjectSnapshot:
        known = self._projects.get(project.project)
        if known is None or not known.collectors or (project.project_id and known.project_id != project.project_id):
            return project
        return known

    async def publishing(self, publish: Callable[[Snapshot], Awaitable[None]]) -> None:
        """Publish each change, one at a time, until cancelled.

        Changes that come while one is being published are published together. `publish` must not raise.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            await publish(self._current)

    def _assemble(self) -> Snapshot:
        return Snapshot(taken_at=self._clock.time(), projects=tuple(self._projects.values()))
