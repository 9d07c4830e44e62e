"""Holds what is published: the newest snapshot of each project, and one publication at a time."""

import asyncio
from collections.abc import Callable, Iterable

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

    async def publishing(self, publish: Callable[[Snapshot], None]) -> None:
        """Publish each change, in a thread and one at a time, until cancelled.

        Changes that come while one is being published are published together. `publish` must not raise.
        """
        while True:
            await self._changed.wait()
            self._changed.clear()
            await asyncio.to_thread(publish, self._current)

    def _assemble(self) -> Snapshot:
        return Snapshot(taken_at=self._clock.time(), projects=tuple(self._projects.values()))
