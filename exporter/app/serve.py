"""The daemon: what is started, in which order, and how it ends."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog
from prometheus_client import CollectorRegistry

from exporter import __version__
from exporter.app.output import Output
from exporter.app.project import identity, watching
from exporter.app.report import Observed, defect
from exporter.cloud.retry import silence_instrumentation
from exporter.domain.snapshot import Snapshot
from exporter.domain.source import Clock
from exporter.polling.poller import ProjectPoller
from exporter.polling.schedule import Schedule
from exporter.polling.store import SnapshotStore
from exporter.settings import Collection, Settings
from exporter.web.address import Address
from exporter.web.server import serving

_log = structlog.get_logger()

_DOCS_URL = "https://github.com/modelarts-exporter/modelarts-exporter/tree/main/docs"

_GRACE_S = 5.0
"""How long a running poll may go on after the request to stop; Kubernetes kills after thirty seconds."""

_JITTER = 0.1
"""Part of the interval by which polls are spread, so that replicas do not ask in step."""

_SWEEP_TICK_S = 60.0
"""How often a sweep asks itself whether it is due."""


class RealClock:
    """The machine's clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Where and how to serve."""

    listen_addresses: tuple[Address, ...] = (Address("", 10310),)
    telemetry_path: str = "/metrics"
    on_listening: Callable[[tuple[Address, ...]], None] = field(default=lambda _: None)
    """Told the addresses really bound, in the order asked for."""


async def serve(settings: Settings, *, web: WebOptions, stop: asyncio.Event, clock: Clock) -> None:
    """Poll and serve until `stop` is set; then end in reverse order: polls first, `/metrics` last.

    Raises OSError when an address cannot be listened on or a CA file cannot be read, before anything is asked.
    """
    silence_instrumentation()
    registry = CollectorRegistry()
    own = Observed(registry)
    store = SnapshotStore([identity(target) for target in settings.targets], clock=clock)
    output = Output(settings.metrics, initial=store.current, registry=registry, own=own, clock=clock)

    def publish(snapshot: Snapshot) -> None:
        error = output.publish(snapshot)
        if error is not None:
            defect("publish", error)

    async with AsyncExitStack() as up:
        bound = await up.enter_async_context(
            serving(
                web.listen_addresses,
                output.exposition,
                ready=lambda: output.latest.settled,
                snapshot=lambda: output.latest,
                clock=clock,
                version=__version__,
                telemetry_path=web.telemetry_path,
                docs_url=_DOCS_URL,
            )
        )
        pollers = [
            await up.enter_async_context(watching(target, settings, clock=clock, own=own, on_change=store.update))
            for target in settings.targets
        ]
        publishing = asyncio.create_task(store.publishing(publish), name="publishing")
        up.callback(publishing.cancel)
        schedule = await up.enter_async_context(Schedule(grace_s=_GRACE_S, on_error=defect))
        for poller in pollers:
            _plan(schedule, poller, settings.collection)
        _log.info(
            "exporter.started",
            version=__version__,
            targets=len(pollers),
            addresses=[str(address) for address in bound],
        )
        web.on_listening(bound)
        await stop.wait()
        _log.info("exporter.stopping")
    _log.info("exporter.stopped")


def _plan(schedule: Schedule, poller: ProjectPoller, collection: Collection) -> None:
    """Plan the polls of one project."""
    for collector, interval_s, work in (
        ("jobs", collection.jobs_interval_s, poller.poll_jobs),
        ("usage", collection.usage_interval_s, poller.poll_usage),
        ("sweep", min(collection.sweep_interval_s, _SWEEP_TICK_S), poller.sweep),
    ):
        schedule.every(interval_s, work, name=f"{poller.project}/{collector}", jitter_s=interval_s * _JITTER)
