"""One life of an exporter: what `serve` puts together, with its work done by hand instead of on a schedule."""

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
from tests.soak.remote import Books, Key

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
    rb'^(modelarts_training_(?:[a-z_]+_total|(?:queue|run)_seconds_count))\{project="[^"]*"([^}]*)\} (\S+)$',
    re.MULTILINE,
)
_LABEL = re.compile(rb'(?:^|,)(?!user=)[a-z_]+="([^"]*)"')
"""Values of the labels, without the user's: in v1 a name may be told too late."""


def settings(url: str, *, state: Path) -> Settings:
    """Settings for the simulated cloud: a password, whose tokens last a day, and time-outs that cost little."""
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


class Life:
    """One process's worth of an exporter; nothing of it is left when its context ends, but the state file."""

    def __init__(self, poller: ProjectPoller, publisher: Publisher, url: str) -> None:
        self._poller = poller
        self._publisher = publisher
        self._url = url

    @property
    def up(self) -> bool:
        """Whether the newest jobs poll succeeded wholly."""
        return self._publisher.newest.projects[0].up

    async def poll(self, *, usage: bool) -> None:
        """Poll the jobs, the usage if that is due, sweep if that is due, write the state and publish."""
        await self._poller.poll_jobs()
        await self._publisher.publish()
        if usage:
            await self._poller.poll_usage()
            await self._publisher.publish()
        await self._poller.sweep()

    async def scrape(self, session: aiohttp.ClientSession) -> Books:
        """Scrape over HTTP, as Prometheus does: the totals."""
        async with session.get(self._url) as answer:
            text = await answer.read()
        told: dict[str, Counter[Key]] = {name: Counter() for name in _TOTALS.values()}
        for match in _TOTAL.finditer(text):
            name, number = _TOTALS.get(match[1]), float(match[3])
            if name and number:
                key = tuple(value.decode() for value in _LABEL.findall(match[2]))
                told[name][key] += number  # type: ignore[assignment] # some count seconds
        return Books(told)


def bury() -> None:
    """Free what is left of the lives that are over: in earnest their process ends with them.

    A web server refers to itself, and by that to all it served, until the garbage collector comes by. So the first
    polls of the next life would find two exporters in memory, and what Python's allocator got from the system for
    both is hardly ever given back: a step, on whichever day it came, that is no growth of the exporter.
    """
    gc.collect()


@asynccontextmanager
async def life(settings: Settings, *, clock: ManualClock) -> AsyncIterator[Life]:
    """Give a new exporter that goes on from the state file, with threads of its own.

    They are waited for at the end: a poll that is killed leaves one at work, which would render the old jobs and
    write the old state while the next life reads it.
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
        host = Host(jitter=lambda: 0.0)  # pauses between attempts would be in earnest
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
        yield Life(poller, publisher, f"http://{bound[0]}/metrics")
