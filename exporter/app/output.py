"""Puts the families together with the settings: what is rendered, and what is said live."""

from prometheus_client import CollectorRegistry

from exporter.domain.snapshot import Snapshot
from exporter.domain.source import Clock
from exporter.metrics.catalog import JOB_FAMILIES, LIVE_FAMILIES, PROJECT_FAMILIES, TASK_FAMILIES
from exporter.metrics.exposition import Exposition
from exporter.metrics.own import OwnMetrics
from exporter.metrics.render import Renderer
from exporter.polling.store import SnapshotStore
from exporter.settings import Settings


def exposition_of(
    settings: Settings, *, store: SnapshotStore, registry: CollectorRegistry, clock: Clock
) -> Exposition:
    """Make the exposition that the settings ask for."""
    return Exposition(
        Renderer(
            JOB_FAMILIES,
            PROJECT_FAMILIES,
            job_labels=settings.metrics.job_labels,
            per_task_families=TASK_FAMILIES if settings.metrics.per_task else (),
            max_series_per_project=settings.metrics.max_series_per_project,
        ),
        live_families=LIVE_FAMILIES,
        newest=lambda: store.current,
        registry=registry,
        monotonic=clock.monotonic,
    )


class Publisher:
    """Publishes snapshots and accounts for it. Called in a thread; never raises, because scrapes must go on."""

    def __init__(self, exposition: Exposition, own: OwnMetrics, *, clock: Clock) -> None:
        self._exposition = exposition
        self._own = own
        self._clock = clock

    def publish(self, snapshot: Snapshot) -> Exception | None:
        """Serve this snapshot from now on; the error when it would not render, then the one before stays."""
        begun_at = self._clock.monotonic()
        try:
            rendered = self._exposition.publish(snapshot)
        except Exception as error:  # noqa: BLE001 - a snapshot that will not render is refused, whatever the defect
            self._own.publish_refused()
            return error
        self._own.published(
            taken_at=snapshot.taken_at,
            render_s=self._clock.monotonic() - begun_at,
            series=rendered.series,
            dropped=rendered.dropped,
        )
        return None
