"""Measures the time per job of a poll and a publish: page, `Job`, ledger, snapshot, exposition.

Each time is the lowest processor time of several rounds, because other load on the machine can only increase it. HTTP
and signing are excluded: they happen once for a page of 50 jobs.

Usage: PYTHONPATH=. python bench/poll.py [jobs]
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from pages import Pages
from prometheus_client import CollectorRegistry

from exporter.cloud.http.endpoint import Caller
from exporter.cloud.v2.source import V2Source
from exporter.domain.snapshot import ProjectSnapshot, Snapshot
from exporter.metrics.catalog import JOB_FAMILIES, LIVE_FAMILIES, PROJECT_FAMILIES
from exporter.metrics.exposition.exposition import Exposition
from exporter.metrics.exposition.renderer import Renderer
from exporter.polling.poller import ProjectPoller
from exporter.polling.visibility import Visibility
from tests.polling import FakeSources, default_poll_settings

UNCHANGED_BUDGET_S = 50e-6
CHANGED_BUDGET_S = 1e-3
ROUNDS = 7


class SystemClock:
    """The system clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point."""
        return time.monotonic()


def _fail(field: str, value: object) -> None:
    """Exit because of an unknown value, which would be a mistake in the pages."""
    raise SystemExit(f"{field}: {value!r}")


class Bench:
    """A poller of an in-memory API, and its exposition."""

    def __init__(self, cloud: Caller) -> None:
        clock = SystemClock()
        self.newest = Snapshot(taken_at=clock.time())

        async def workspaces() -> tuple[str, ...]:
            return ("0",)

        source = V2Source(cloud, project="vision", workspaces=workspaces, clock=clock, note=_fail)
        self.poller = ProjectPoller(
            initial_snapshot=ProjectSnapshot(project="vision"),
            sources=FakeSources((source,)),
            settings=default_poll_settings(timeout_s=600.0),
            visibility=Visibility(),
            clock=clock,
            on_change=self._take,
            on_poll=lambda _: None,
        )
        self.exposition = Exposition(
            Renderer(JOB_FAMILIES, PROJECT_FAMILIES, max_series_per_project=10**9),
            live_families=LIVE_FAMILIES,
            newest=lambda: self.newest,
            registry=CollectorRegistry(),
            monotonic=clock.monotonic,
        )

    @property
    def jobs(self) -> int:
        """Jobs in the newest snapshot."""
        return sum(len(project.jobs or ()) for project in self.newest.projects)

    async def publish(self) -> None:
        """Render and compress the newest snapshot."""
        self.exposition.publish(self.newest)

    def _take(self, project: ProjectSnapshot) -> None:
        self.newest = Snapshot(taken_at=time.time(), projects=(project,))


async def measure(run: Callable[[], Awaitable[None]]) -> float:
    """Processor time of one run of the function, in seconds."""
    started = time.process_time()
    await run()
    return time.process_time() - started


async def main(jobs: int) -> None:
    """Measure, and print microseconds per job."""
    cloud = Pages(jobs)
    bench = Bench(cloud)
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        cloud.advance()
        times.setdefault("jobs poll, all changed", []).append(await measure(bench.poller.poll_jobs))
        times.setdefault("usage poll, all changed, two tasks per job", []).append(
            await measure(bench.poller.poll_usage)
        )
        times.setdefault("publish, all changed", []).append(await measure(bench.publish))
        times.setdefault("jobs poll, none changed", []).append(await measure(bench.poller.poll_jobs))
        times.setdefault("publish, none changed", []).append(await measure(bench.publish))
    if bench.jobs != jobs:
        raise SystemExit(f"{bench.jobs} jobs in the snapshot instead of {jobs}")
    best = {name: min(measured[1:]) / jobs for name, measured in times.items()}  # in the first round every job is new
    print(f"{jobs} jobs")
    for name, value in best.items():
        print(f"{name:58} {value * 1e6:8.1f} µs per job")
    for name, value, budget in (
        ("an unchanged job", best["jobs poll, none changed"] + best["publish, none changed"], UNCHANGED_BUDGET_S),
        (
            "a changed job",
            sum(best[f"{part}, all changed"] for part in ("jobs poll", "publish"))
            + best["usage poll, all changed, two tasks per job"],
            CHANGED_BUDGET_S,
        ),
    ):
        verdict = "ok" if value <= budget else "MISSED"
        print(f"{name:58} {value * 1e6:8.1f} µs  budget {budget * 1e6:.0f} µs or less  {verdict}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 2_000))
