"""One poll of everything, for `modelarts-exporter scrape`."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from exporter.app.events import Observed, priced
from exporter.app.output import Output
from exporter.app.project import identity, watching
from exporter.domain.source import Clock
from exporter.metrics.catalog import JOB_FAMILIES, TASK_FAMILIES
from exporter.metrics.exposition.growth import growth
from exporter.polling.call_count import tally
from exporter.polling.store import SnapshotStore
from exporter.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """What one poll brought and cost."""

    text: bytes
    """The exposition, text 0.0.4."""
    calls: int
    """API calls made, retries and token renewals included."""
    series: int
    """Series of the projects; our own are not counted."""
    forecast: int
    """How many to expect once finished jobs have been kept for the whole retention."""
    up: bool
    """Whether every project's jobs poll succeeded wholly."""


async def scrape(settings: Settings, *, clock: Clock) -> Once:
    """Poll jobs, usage and pools of every target once and render the result."""
    registry = CollectorRegistry()
    self_metrics = Observed(registry)
    priced(settings.prices, self_metrics)
    store = SnapshotStore([identity(target) for target in settings.targets], clock=clock)
    output = Output(
        settings.metrics, initial=store.current, registry=registry, self_metrics=self_metrics, clock=clock
    )
    with tally() as counted:
        async with AsyncExitStack() as up:
            pollers = [
                await up.enter_async_context(
                    watching(target, settings, clock=clock, self_metrics=self_metrics, on_change=store.update)
                )
                for target in settings.targets
            ]
            await asyncio.gather(*(poller.poll_jobs() for poller in pollers))
            await asyncio.gather(*(poller.poll_usage() for poller in pollers))
            await asyncio.gather(*(poller.poll_pools() for poller in pollers))
    error = output.publish(store.current)
    if error is not None:
        raise error
    return Once(
        text=b"".join(output.body(openmetrics=False, gzip=False).chunks),
        calls=counted.calls,
        series=output.series,
        forecast=output.series
        + sum(
            growth(
                (project.jobs or {}).values(),
                families=(*JOB_FAMILIES, *TASK_FAMILIES) if settings.metrics.per_task else JOB_FAMILIES,
                retention_s=settings.collection.retention_s,
            )
            for project in store.current.projects
        ),
        up=all(project.up for project in store.current.projects),
    )
