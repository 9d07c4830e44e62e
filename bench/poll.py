"""What a poll costs a job: a page's bytes, a `Job`, the ledger, the snapshot; and on to the finished exposition.

Processor time of this process, the best of several rounds, because a shared machine only ever adds to it. HTTP and
signing are not in it: they are paid once for a page of 50 jobs.

Usage: python bench/poll.py [jobs]
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
from exporter.domain.source import JobSource
from exporter.metrics.catalog import JOB_FAMILIES, LIVE_FAMILIES, PROJECT_FAMILIES
from exporter.metrics.exposition.exposition import Exposition
from exporter.metrics.exposition.renderer import Renderer
from exporter.polling.poller import PollSettings, ProjectPoller
from exporter.polling.visibility import Visibility

UNCHANGED_BUDGET_S = 50e-6
CHANGED_BUDGET_S = 1e-3
ROUNDS = 7


class Wall:
    """The real clock."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point."""
        return time.monotonic()


class Fixed:
    """One source, always."""

    def __init__(self, source: JobSource) -> None:
        self._source = source

    async def current(self) -> tuple[JobSource, ...]:
        """The source."""
        return (self._source,)


def _unheard(field: str, value: object) -> None:
    """Hear of a value nobody knows; a page that has one would be a mistake of this benchmark."""
    raise SystemExit(f"{field}: {value!r}")


class Rig:
    """A poller of an in-memory cloud, and what it publishes into."""

    def __init__(self, cloud: Caller) -> None:
        clock = Wall()
        self.newest = Snapshot(taken_at=clock.time())

        async def workspaces() -> tuple[str, ...]:
            return ("0",)

        source = V2Source(cloud, project="vision", workspaces=workspaces, clock=clock, note=_unheard)
        self.poller = ProjectPoller(
            identity=ProjectSnapshot(project="vision"),
            sources=Fixed(source),
            plan=PollSettings(timeout_s=600.0),
            screen=Visibility(),
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
        """Render and compress what is known."""
        self.exposition.publish(self.newest)

    def _take(self, project: ProjectSnapshot) -> None:
        self.newest = Snapshot(taken_at=time.time(), projects=(project,))


async def computed(work: Callable[[], Awaitable[None]]) -> float:
    """Processor time of one piece of work, in seconds."""
    begun = time.process_time()
    await work()
    return time.process_time() - begun


async def main(jobs: int) -> None:
    """Measure, print microseconds a job."""
    cloud = Pages(jobs)
    rig = Rig(cloud)
    took: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        cloud.turn()
        took.setdefault("jobs poll, all changed", []).append(await computed(rig.poller.poll_jobs))
        took.setdefault("usage poll, all changed, two tasks a job", []).append(await computed(rig.poller.poll_usage))
        took.setdefault("publish, all changed", []).append(await computed(rig.publish))
        took.setdefault("jobs poll, none changed", []).append(await computed(rig.poller.poll_jobs))
        took.setdefault("publish, none changed", []).append(await computed(rig.publish))
    if rig.jobs != jobs:
        raise SystemExit(f"{rig.jobs} jobs seen instead of {jobs}")
    best = {name: min(times[1:]) / jobs for name, times in took.items()}  # the first round meets every job anew
    print(f"{jobs} jobs")
    for name, value in best.items():
        print(f"{name:58} {value * 1e6:8.1f} µs a job")
    for name, value, budget in (
        ("an unchanged job", best["jobs poll, none changed"] + best["publish, none changed"], UNCHANGED_BUDGET_S),
        (
            "a changed job",
            sum(best[f"{part}, all changed"] for part in ("jobs poll", "publish"))
            + best["usage poll, all changed, two tasks a job"],
            CHANGED_BUDGET_S,
        ),
    ):
        met = "ok" if value <= budget else "MISSED"
        print(f"{name:58} {value * 1e6:8.1f} µs  budget {budget * 1e6:.0f} µs or less  {met}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 2_000))
