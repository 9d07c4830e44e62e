"""Publishes snapshots: update, persist the state, render, swap what is served."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import Lock

import structlog
from prometheus_client import CollectorRegistry

from exporter.app.events import defect
from exporter.domain.snapshot import ProjectSnapshot, Snapshot
from exporter.domain.source import Clock
from exporter.metrics.catalog import (
    JOB_FAMILIES,
    LIVE_FAMILIES,
    POOL_FAMILIES,
    PROJECT_FAMILIES,
    QUOTA_FAMILIES,
    TASK_FAMILIES,
)
from exporter.metrics.exposition.exposition import Body, Exposition
from exporter.metrics.exposition.renderer import Renderer
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import ProjectState
from exporter.polling.statefile import StateFile
from exporter.settings import Metrics

_log = structlog.get_logger()


class StatePersistence:
    """The state file, if the settings name one. A failed write is logged and shown by a metric; work goes on."""

    def __init__(self, path: str, *, self_metrics: SelfMetrics, clock: Clock) -> None:
        self.path = path
        self._file = StateFile(Path(path)) if path else None
        self._self_metrics = self_metrics
        self._clock = clock
        self._failing = False

    @property
    def enabled(self) -> bool:
        """Whether there is a state file."""
        return self._file is not None

    def load(self) -> Mapping[str, ProjectState]:
        """Read the projects' states. Raises OSError when the file exists and cannot be read."""
        if self._file is None:
            return {}
        states, warning = self._file.load()
        if warning:
            _log.warning("state.set_aside", reason=warning)
        return states

    def save(self, states: Mapping[str, ProjectState]) -> None:
        """Write the states; of consecutive failures the first is logged. Never raises."""
        if self._file is None:
            return
        try:
            self._file.save(states)
        except Exception as error:  # noqa: BLE001 - whatever fails, scrapes must go on
            self._self_metrics.state_not_written()
            if not self._failing:
                _log.error("state.not_written", error=str(error))
            self._failing = True
        else:
            self._self_metrics.state_written(at=self._clock.time())
            if self._failing:
                _log.info("state.written_again")
            self._failing = False


class Publisher:
    """Holds the newest snapshot of each project and serves what was published of them.

    `projects` are unpolled, in the order of the settings. `dump` gives the state that belongs to the newest snapshot.
    The state is written before the snapshot is served (ADR 0005): after a crash the totals continue from the last
    served values or from later ones, never from earlier ones.
    """

    def __init__(
        self,
        projects: Iterable[ProjectSnapshot],
        *,
        metrics: Metrics,
        registry: CollectorRegistry,
        self_metrics: SelfMetrics,
        clock: Clock,
        state: StatePersistence | None = None,
        dump: Callable[[], Mapping[str, ProjectState]] = dict,
    ) -> None:
        self._registry = registry
        self._self_metrics = self_metrics
        self._clock = clock
        self._state = state
        self._dump = dump
        self._projects = {project.project: project for project in projects}
        self._changed = asyncio.Event()
        self._publishing = asyncio.Lock()
        self.newest = self.served = self._assemble()
        """`served` changes only when its jobs are served too: `modelarts_up` is never 1 while they are missing."""
        self.series = 0
        """Series of the projects in what is served; the exporter's own are not counted."""
        self._metrics = metrics
        self._exposition = self._exposition_for(metrics)
        self._swapping = Lock()

    def body(self, *, openmetrics: bool, gzip: bool) -> Body:
        """Answer a scrape, without waiting."""
        return self._exposition.body(openmetrics=openmetrics, gzip=gzip)

    def update(self, project: ProjectSnapshot) -> None:
        """Replace one project's part of the newest snapshot."""
        self._projects[project.project] = project
        self.newest = self._assemble()
        self._changed.set()

    def set_projects(self, projects: Iterable[ProjectSnapshot]) -> None:
        """Change the set of projects and their order. `projects` are unpolled; one that stays keeps its data.

        A project that stands for another project of the cloud than before starts anew.
        """
        self._projects = {project.project: self._kept(project) for project in projects}
        self.newest = self._assemble()
        self._changed.set()

    def set_metrics(self, metrics: Metrics) -> None:
        """Render by other settings from now on. Blocks: what is served is rendered again first."""
        if metrics == self._metrics:
            return
        exposition = self._exposition_for(metrics)
        with self._swapping:  # or an older snapshot could replace one published meanwhile
            exposition.publish(self.served)
            self._metrics, self._exposition = metrics, exposition

    async def publish(self) -> None:
        """Write the state and serve the newest snapshot. Never raises."""
        async with self._publishing:
            snapshot = self.newest
            # Dumped in the same step of the event loop as the snapshot, so that both belong together.
            states = self._dump() if self._state is not None and self._state.enabled else None
            _log.debug("snapshot.taken")  # what was logged before this line is in it, and served at `published`
            await asyncio.to_thread(self._persist_and_serve, snapshot, states)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Publish each change in the background; at the end once more, so that the last poll is not lost."""
        task = asyncio.create_task(self._publish_changes(), name="publishing")
        try:
            yield
        finally:
            async with self._publishing:  # or a thread left behind would write and serve something older later
                task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self.publish()

    def serve(self, snapshot: Snapshot) -> Exception | None:
        """Render a snapshot and serve it from now on. Blocks; never raises, because scrapes must go on.

        Returns the error when it cannot be rendered: then the jobs of the snapshot before are served on, and a metric
        counts it. The exporter's own series of projects that are no longer in the snapshot are withdrawn.
        """
        with self._swapping:
            removed = _names(self.served) - _names(snapshot)
            error = self._serve(snapshot)
            for project in removed:
                self._self_metrics.forget_project(project)
        return error

    async def _publish_changes(self) -> None:
        """Changes that come while one is being published are published together."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self.publish()

    def _persist_and_serve(self, snapshot: Snapshot, states: Mapping[str, ProjectState] | None) -> None:
        if self._state is not None and states is not None:
            self._state.save(states)
        error = self.serve(snapshot)
        if error is not None:
            defect("publish", error)

    def _serve(self, snapshot: Snapshot) -> Exception | None:
        begun_at = self._clock.monotonic()
        try:
            rendered = self._exposition.publish(snapshot)
        except Exception as error:  # noqa: BLE001 - whatever the defect, the snapshot is refused
            self.served = snapshot
            self._self_metrics.publish_refused()
            return error
        self.served = snapshot
        self.series = sum(rendered.series.values())
        duration_s = self._clock.monotonic() - begun_at
        self._self_metrics.published(
            taken_at=snapshot.taken_at,
            render_s=duration_s,
            series=rendered.series,
            dropped=rendered.dropped,
            failed=rendered.failed,
        )
        _log.debug("snapshot.published", series=self.series, duration_s=duration_s)
        return None

    def _exposition_for(self, metrics: Metrics) -> Exposition:
        return Exposition(
            Renderer(
                JOB_FAMILIES,
                (*PROJECT_FAMILIES, *QUOTA_FAMILIES),
                job_labels=metrics.job_labels,
                per_task_families=TASK_FAMILIES if metrics.per_task else (),
                pool_families=POOL_FAMILIES,
                max_series_per_project=metrics.max_series_per_project,
            ),
            live_families=LIVE_FAMILIES,
            newest=lambda: self.served,
            registry=self._registry,
            monotonic=self._clock.monotonic,
        )

    def _kept(self, project: ProjectSnapshot) -> ProjectSnapshot:
        known = self._projects.get(project.project)
        if known is None or not known.collectors or (project.project_id and known.project_id != project.project_id):
            return project
        return known

    def _assemble(self) -> Snapshot:
        return Snapshot(taken_at=self._clock.time(), projects=tuple(self._projects.values()))


def _names(snapshot: Snapshot) -> set[str]:
    return {project.project for project in snapshot.projects}
