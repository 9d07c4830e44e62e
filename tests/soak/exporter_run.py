"""One run of an exporter: the parts that `serve` puts together, with polls called by the caller."""

import asyncio
import gc
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry

from exporter.app.project import Host, initial_snapshot, open_poller
from exporter.app.publisher import Publisher, StatePersistence
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import ProjectPoller
from exporter.settings import Settings, load
from exporter.simulator import DOMAIN, PASSWORD, PROJECT_NAME, USER
from exporter.web.address import Address
from exporter.web.server import serving
from tests.clock import ManualClock
from tests.soak.simulator_process import Key, Totals

_TOTALS = {
    b"modelarts_training_jobs_submitted_total": "submitted",
    b"modelarts_training_jobs_started_total": "started",
    b"modelarts_training_jobs_finished_total": "finished",
    b"modelarts_training_queue_duration_seconds_count": "waits",
    b"modelarts_training_run_duration_seconds_count": "runs",
    b"modelarts_training_recoveries_total": "recoveries",
    b"modelarts_training_accelerator_seconds_total": "held",
}
_TOTAL = re.compile(
    rb'^(modelarts_training_(?:[a-z_]+_total|(?:queue|run)_duration_seconds_count))\{project="[^"]*"([^}]*)\} (\S+)$',
    re.MULTILINE,
)
_LABEL = re.compile(rb'(?:^|,)(?!user=)[a-z_]+="([^"]*)"')
"""Values of the labels without `user`, which v1 may return too late."""


def settings(url: str, *, state: Path) -> Settings:
    """Settings for the simulator: a password, whose tokens last a day, and short timeouts."""
    return load(
        json.dumps(
            {
                "targets": [
                    {
                        "project": "vision",
                        "endpoint": url,
                        "iam_endpoint": url,
                        "project_name": PROJECT_NAME,
                        "credentials": {
                            "type": "password",
                            "username": USER,
                            "password": PASSWORD,
                            "domain_name": DOMAIN,
                        },
                        "rate_limit": {"requests_per_second": 100_000, "burst": 100_000, "concurrency": 8},
                    }
                ],
                "collection": {"timeout": "3s", "retention": "1h", "stale_after": "20m"},
                "state": {"file": str(state)},
            }
        ),
        environ={},
    )


class ExporterRun:
    """An exporter. Only its state file remains after its context."""

    def __init__(self, poller: ProjectPoller, publisher: Publisher, url: str) -> None:
        self._poller = poller
        self._publisher = publisher
        self._url = url

    @property
    def up(self) -> bool:
        """Whether the last jobs poll succeeded completely."""
        return self._publisher.newest.projects[0].up

    async def poll(self, *, usage: bool) -> None:
        """Poll jobs, and usage if it is due, publish and sweep if it is due."""
        await self._poller.poll_jobs()
        await self._publisher.publish()
        if usage:
            await self._poller.poll_usage()
            await self._publisher.publish()
        await self._poller.sweep()

    async def scrape(self, session: aiohttp.ClientSession) -> Totals:
        """Scrape over HTTP as Prometheus does. Returns the totals."""
        async with session.get(self._url) as answer:
            text = await answer.read()
        totals: dict[str, Counter[Key]] = {name: Counter() for name in _TOTALS.values()}
        for match in _TOTAL.finditer(text):
            name, number = _TOTALS.get(match[1]), float(match[3])
            if name and number:
                key = tuple(value.decode() for value in _LABEL.findall(match[2]))
                totals[name][key] += number  # type: ignore[assignment] # some count seconds
        return Totals(totals)


def collect_garbage() -> None:
    """Free the memory of earlier exporters, which in production ends with their process.

    A web server is part of a reference cycle, which keeps all that it serves until the next garbage collection.
    Without this the next exporter would start beside the previous one, and Python's allocator rarely returns that
    memory to the system: a step in the measurement that is no growth of the exporter.
    """
    gc.collect()


@asynccontextmanager
async def exporter_run(settings: Settings, *, clock: ManualClock) -> AsyncIterator[ExporterRun]:
    """Run a new exporter that continues from the state file, with a thread pool of its own.

    Leaving the context waits for the threads: after a cancelled poll one may still render old jobs and write old
    state while the next exporter reads the file.
    """
    registry = CollectorRegistry()
    self_metrics = SelfMetrics(registry)
    state = StatePersistence(settings.state.file, self_metrics=self_metrics, clock=clock)
    states = state.load()
    target = settings.targets[0]
    publisher = Publisher(
        [initial_snapshot(target)],
        metrics=settings.metrics,
        registry=registry,
        self_metrics=self_metrics,
        clock=clock,
        state=state,
        dump=lambda: {target.project: poller.dump()},
    )
    async with AsyncExitStack() as up:
        asyncio.get_running_loop().set_default_executor(up.enter_context(ThreadPoolExecutor()))
        host = Host(jitter=lambda: 0.0)  # without it retries would wait in real time
        poller = await up.enter_async_context(
            open_poller(
                target,
                settings,
                clock=clock,
                self_metrics=self_metrics,
                on_change=publisher.update,
                host=host,
            )
        )
        if target.project in states:
            poller.restore(states[target.project])
        publisher.update(poller.snapshot())
        bound = await up.enter_async_context(
            serving(
                (Address("127.0.0.1", 0),),
                publisher,
                ready=lambda: True,
                snapshot=lambda: publisher.served,
                clock=clock,
                version="soak",
            )
        )
        yield ExporterRun(poller, publisher, f"http://{bound[0]}/metrics")
