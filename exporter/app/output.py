"""Puts the families together with the settings, and publishes snapshots."""

from threading import Lock

import structlog
from prometheus_client import CollectorRegistry

from exporter.domain.snapshot import Snapshot
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
from exporter.settings import Metrics

_log = structlog.get_logger()


class Output:
    """What is served: the exposition, and the snapshot it tells of.

    `latest` changes only when its jobs are served too, so `modelarts_up` never says 1 while they are still missing.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        initial: Snapshot,
        registry: CollectorRegistry,
        self_metrics: SelfMetrics,
        clock: Clock,
    ) -> None:
        self.latest = initial
        self.series = 0
        """Series of the projects in what is served; our own are not counted."""
        self._registry = registry
        self._own = self_metrics
        self._clock = clock
        self._metrics = metrics
        self._exposition = self._made_for(metrics)
        self._serving_anew = Lock()

    def body(self, *, openmetrics: bool, gzip: bool) -> Body:
        """Answer a scrape, at once."""
        return self._exposition.body(openmetrics=openmetrics, gzip=gzip)

    def change(self, metrics: Metrics) -> None:
        """Render by other settings from now on. Called in a thread: what is served is rendered anew before."""
        if metrics == self._metrics:
            return
        exposition = self._made_for(metrics)
        with self._serving_anew:  # or a snapshot published meanwhile would give way to the one before it
            exposition.publish(self.latest)
            self._metrics, self._exposition = metrics, exposition

    def _made_for(self, metrics: Metrics) -> Exposition:
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
            newest=lambda: self.latest,
            registry=self._registry,
            monotonic=self._clock.monotonic,
        )

    def publish(self, snapshot: Snapshot) -> Exception | None:
        """Serve this snapshot from now on. Called in a thread; never raises, because scrapes must go on.

        The error when it would not render: then the jobs of the one before are served on, and a metric counts it.
        Our own series of projects that are no longer in it are withdrawn.
        """
        with self._serving_anew:
            left = _names(self.latest) - _names(snapshot)
            error = self._publish(snapshot)
            for project in left:
                self._own.forget_project(project)
        return error

    def _publish(self, snapshot: Snapshot) -> Exception | None:
        begun_at = self._clock.monotonic()
        try:
            rendered = self._exposition.publish(snapshot)
        except Exception as error:  # noqa: BLE001 - a snapshot that will not render is refused, whatever the defect
            self.latest = snapshot
            self._own.publish_refused()
            return error
        self.latest = snapshot
        self.series = sum(rendered.series.values())
        duration_s = self._clock.monotonic() - begun_at
        self._own.published(
            taken_at=snapshot.taken_at,
            render_s=duration_s,
            series=rendered.series,
            dropped=rendered.dropped,
            failed=rendered.failed,
        )
        _log.debug("snapshot.published", series=self.series, duration_s=duration_s)
        return None


def _names(snapshot: Snapshot) -> set[str]:
    return {project.project for project in snapshot.projects}
