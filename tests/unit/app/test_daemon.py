"""The set of polled projects: a change that fails or is cancelled leaves everything as it was."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from exporter.app.daemon import Daemon, ShutdownError
from exporter.app.events import defect
from exporter.app.project import initial_snapshot
from exporter.app.publisher import Publisher
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.ledger import CountsState
from exporter.polling.poller import ProjectState
from exporter.polling.schedule import Schedule
from exporter.settings import Settings
from exporter.settings.model import Tls
from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.e2e.harness import settings_for

STATES = {"vision": ProjectState(origin="elsewhere", counts=CountsState(submitted={"": 7}))}


@dataclass(frozen=True)
class Bench:
    """A daemon on its schedule."""

    daemon: Daemon
    publisher: Publisher
    registry: CollectorRegistry

    def projects(self) -> set[str]:
        """Projects with self-metrics."""
        return {
            sample.labels["project"]
            for metric in self.registry.collect()
            for sample in metric.samples
            if "project" in sample.labels
        }


@asynccontextmanager
async def running(settings: Settings, clock: ManualClock) -> AsyncIterator[Bench]:
    """Start a daemon with a state of seven submissions; at the end it is stopped as the program does it."""
    registry = CollectorRegistry()
    self_metrics = SelfMetrics(registry)
    publisher = Publisher(
        map(initial_snapshot, settings.targets),
        metrics=settings.metrics,
        registry=registry,
        self_metrics=self_metrics,
        clock=clock,
    )
    schedule = Schedule(grace_s=0.2, on_error=defect)
    daemon = Daemon(
        settings, states=STATES, schedule=schedule, publisher=publisher, clock=clock, self_metrics=self_metrics
    )
    async with schedule:
        await daemon.start()
        yield Bench(daemon, publisher, registry)
    await daemon.close()


@pytest.fixture
async def cloud(clock: ManualClock) -> AsyncIterator[Simulator]:
    async with Simulator(Options(empty=True), clock=clock) as cloud:
        yield cloud


def with_another(settings: Settings, *, ca_file: str = "") -> Settings:
    """Add a second target after a change of the first."""
    first, *_ = settings.targets
    second = replace(first, project="speech", tls=Tls(ca_file=ca_file))
    return replace(settings, targets=(replace(first, workspaces=("0",)), second))


def totals(bench: Bench) -> dict[str, int]:
    """Submissions by project."""
    return {project.project: project.totals.submitted[""] for project in bench.publisher.newest.projects}


async def test_a_target_that_cannot_be_opened_changes_nothing(
    cloud: Simulator, clock: ManualClock, tmp_path: Path
) -> None:
    """A CA file that was deleted after the settings were read: the error is raised, and no target changes."""
    settings = settings_for(cloud)
    async with running(settings, clock) as bench:
        with pytest.raises(OSError, match="No such file"):
            await bench.daemon.change(with_another(settings, ca_file=str(tmp_path / "gone.pem")))
        assert totals(bench) == {"vision": 7}
        assert bench.projects() == {"vision"}
        await bench.daemon.change(with_another(settings))
        assert totals(bench) == {"vision": 7, "speech": 0}


async def test_a_cancelled_change_loses_nothing(cloud: Simulator, clock: ManualClock) -> None:
    """A change that is cancelled while it waits for a hanging poll leaves the totals in the state."""
    hang = cloud.faults.add("hang:operation=*")
    settings = settings_for(cloud)
    async with running(settings, clock) as bench:
        while not hang.hits:  # noqa: ASYNC110 - the simulator's faults have no events
            await asyncio.sleep(0.01)
        changing = asyncio.create_task(bench.daemon.change(with_another(settings)))
        await asyncio.sleep(0.05)  # less than the poll's grace
        assert not changing.done()
        assert bench.daemon.dump()["vision"].counts.submitted == {"": 7}
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        assert bench.daemon.dump()["vision"].counts.submitted == {"": 7}


async def test_the_state_of_a_removed_project_is_kept(cloud: Simulator, clock: ManualClock) -> None:
    """If it comes back, it continues from its totals."""
    settings = settings_for(cloud)
    other = replace(settings, targets=(replace(settings.targets[0], project="speech"),))
    async with running(settings, clock) as bench:
        await bench.daemon.change(other)
        assert totals(bench) == {"speech": 0}
        assert bench.daemon.dump()["vision"].counts.submitted == {"": 7}
        await bench.daemon.change(settings)
        assert totals(bench) == {"vision": 7}


async def test_a_closed_daemon_refuses_changes(cloud: Simulator, clock: ManualClock) -> None:
    """A reload during the shutdown is refused: connections that it opened would never be closed."""
    settings = settings_for(cloud)
    async with running(settings, clock) as bench:
        pass
    with pytest.raises(ShutdownError, match="stopping"):
        await bench.daemon.change(with_another(settings))
