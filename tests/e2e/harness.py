"""Poller, store and exposition against the simulator, over real sockets, on a manual clock and without a schedule."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from exporter.app.project import Host, initial_snapshot, open_poller
from exporter.app.publisher import Publisher
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import ProjectPoller
from exporter.settings import Settings, load
from exporter.simulator import ACCESS_KEY, DOMAIN, PASSWORD, PROJECT_ID, PROJECT_NAME, SECRET_KEY, USER, Simulator
from tests.clock import ManualClock

AKSK: Mapping[str, str] = {"type": "aksk", "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
BY_PASSWORD: Mapping[str, str] = {
    "type": "password",
    "username": USER,
    "password": PASSWORD,
    "domain_name": DOMAIN,
}


def settings_for(
    cloud: Simulator,
    *,
    collection: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    **target: Any,
) -> Settings:
    """Settings for one project of the simulator; `target` overrides or adds keys of the target."""
    whole: dict[str, Any] = {
        "project": "vision",
        "region": "eu-de",
        "cloud": "otc",
        "endpoint": cloud.url,
        "iam_endpoint": cloud.url,
        "credentials": AKSK,
        "rate_limit": {"requests_per_second": 10_000, "burst": 10_000, "concurrency": 8},
        **target,
    }
    if "project_name" not in whole:
        whole.setdefault("project_id", PROJECT_ID)
    document = {"targets": [whole], "collection": dict(collection or {}), "metrics": dict(metrics or {})}
    return load(json.dumps(document), environ={})


BY_PROJECT_NAME: Mapping[str, Any] = {"project_name": PROJECT_NAME, "credentials": BY_PASSWORD}
"""A target given by project name and password."""


BARE_HOST = Host(environ={}, metadata_url="http://127.0.0.1:9", jitter=lambda: 0.0)
"""A host that offers no credentials and retries without a delay."""


class Harness:
    """The pollers of all targets, their store and their exposition."""

    def __init__(self, settings: Settings, clock: ManualClock) -> None:
        self.settings = settings
        self.clock = clock
        self.registry = CollectorRegistry()
        self.self_metrics = SelfMetrics(self.registry)
        self.publisher = Publisher(
            map(initial_snapshot, settings.targets),
            metrics=settings.metrics,
            registry=self.registry,
            self_metrics=self.self_metrics,
            clock=clock,
        )
        self.pollers: list[ProjectPoller] = []

    async def poll(self, *, usage: bool = False, sweep: bool = False, pools: bool = False) -> None:
        """Poll every target once."""
        for poller in self.pollers:
            await poller.poll_jobs()
            if usage:
                await poller.poll_usage()
            if sweep:
                await poller.sweep()
            if pools:
                await poller.poll_pools()

    def text(self, *, openmetrics: bool = False) -> str:
        """Exposition that a scrape returns now."""
        self.clock.turn(1)  # the live part is cached for a quarter of a second
        error = self.publisher.serve(self.publisher.newest)
        assert error is None, error
        return b"".join(self.publisher.body(openmetrics=openmetrics, gzip=False).chunks).decode()

    def samples(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Samples of one name with these labels: value by the other labels, sorted."""
        found = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    rest = {key: value for key, value in sample.labels.items() if key not in labels}
                    found[tuple(sorted(rest.items()))] = sample.value
        return found

    def value(self, name: str, **labels: str) -> float | None:
        """Value of the only sample of one name with these labels. None without such a sample."""
        found = self.samples(name, **labels)
        assert len(found) <= 1, found
        return next(iter(found.values()), None)

    def statuses(self) -> dict[str, str]:
        """Status of each exported job by job id."""
        return {
            dict(labels)["job_id"]: dict(labels)["status"] for labels in self.samples("modelarts_training_job_status")
        }


@asynccontextmanager
async def harness_for(settings: Settings, clock: ManualClock, *, host: Host = BARE_HOST) -> AsyncIterator[Harness]:
    """Harness for these settings. Leaving the context closes its connections."""
    harness = Harness(settings, clock)
    async with AsyncExitStack() as up:
        for target in settings.targets:
            poller = open_poller(
                target,
                settings,
                clock=clock,
                self_metrics=harness.self_metrics,
                on_change=harness.publisher.update,
                host=host,
            )
            harness.pollers.append(await up.enter_async_context(poller))
        yield harness
