"""One poll of everything, for `modelarts-exporter scrape`."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from exporter.app.events import export_prices
from exporter.app.project import initial_snapshot, open_poller
from exporter.app.publisher import Publisher
from exporter.domain.source import Clock
from exporter.metrics.catalog import JOB_FAMILIES, TASK_FAMILIES
from exporter.metrics.exposition.growth import growth
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.call_count import count_calls
from exporter.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """Result and cost of one poll."""

    text: bytes
    """The exposition, text 0.0.4."""
    calls: int
    """API calls made, retries and token renewals included."""
    series: int
    """Series of the projects; the exporter's own are not counted."""
    forecast: int
    """Series to expect once finished jobs have been kept for the whole retention."""
    up: bool
    """Whether every project's jobs poll succeeded wholly."""


async def scrape(settings: Settings, *, clock: Clock) -> Once:
    """Poll jobs, usage and pools of every target once and render the result."""
    registry = CollectorRegistry()
    self_metrics = SelfMetrics(registry)
    export_prices(settings.prices, self_metrics)
    publisher = Publisher(
        map(initial_snapshot, settings.targets),
        metrics=settings.metrics,
        registry=registry,
        self_metrics=self_metrics,
        clock=clock,
    )
    with count_calls() as count:
        async with AsyncExitStack() as stack:
            pollers = [
                await stack.enter_async_context(
                    open_poller(target, settings, clock=clock, self_metrics=self_metrics, on_change=publisher.update)
                )
                for target in settings.targets
            ]
            await asyncio.gather(*(poller.poll_jobs() for poller in pollers))
            await asyncio.gather(*(poller.poll_usage() for poller in pollers))
            await asyncio.gather(*(poller.poll_pools() for poller in pollers))
    error = publisher.serve(publisher.newest)
    if error is not None:
        raise error
    projects = publisher.served.projects
    return Once(
        text=b"".join(publisher.body(openmetrics=False, gzip=False).chunks),
        calls=count.calls,
        series=publisher.series,
        forecast=publisher.series
        + sum(
            growth(
                (project.jobs or {}).values(),
                families=(*JOB_FAMILIES, *TASK_FAMILIES) if settings.metrics.per_task else JOB_FAMILIES,
                retention_s=settings.collection.retention_s,
            )
            for project in projects
        ),
        up=all(project.up for project in projects),
    )
