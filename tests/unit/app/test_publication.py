"""Publications: one at a time, the state first, and the last one after the one that is under way."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from exporter.app.output import Output
from exporter.app.publication import Publication, StatePersistence
from exporter.domain.snapshot import CollectorState, ProjectSnapshot
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import ProjectState
from exporter.polling.store import SnapshotStore
from exporter.settings import Metrics
from tests.clock import ManualClock

POLLED = CollectorState(name="jobs", ok=True, last_success_at=None, duration_s=0.1)


class Slow(StatePersistence):
    """A state file on a disk that is slow while `free` is not set."""

    def __init__(self, path: Path, *, self_metrics: SelfMetrics, clock: ManualClock) -> None:
        super().__init__(str(path), self_metrics=self_metrics, clock=clock)
        self.free = threading.Event()
        self.begun = threading.Event()
        self.saved: list[str] = []
        self._alone = threading.Lock()

    def save(self, memory: Mapping[str, ProjectState]) -> None:
        assert self._alone.acquire(blocking=False), "two writes at once"
        self.begun.set()
        assert self.free.wait(10)
        super().save(memory)
        self.saved.append(memory["vision"].origin)
        self._alone.release()


class Bench:
    """A publication of one project."""

    def __init__(self, clock: ManualClock, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self_metrics = SelfMetrics(self.registry)
        self.store = SnapshotStore([ProjectSnapshot(project="vision")], clock=clock)
        self.output = Output(
            Metrics(), initial=self.store.current, registry=self.registry, self_metrics=self_metrics, clock=clock
        )
        self.state = Slow(folder / "state.json", self_metrics=self_metrics, clock=clock)
        self.publication = Publication(
            self.store,
            dump=lambda: {"vision": ProjectState(origin=f"{self.polls} polls")},
            output=self.output,
            state=self.state,
        )
        self.polls = 0

    def poll(self) -> None:
        """One more poll is over."""
        self.polls += 1
        self.store.update(ProjectSnapshot(project="vision", collectors=(POLLED,) * self.polls))

    @property
    def shown(self) -> int:
        """How many polls what is served knows of."""
        return len(self.output.latest.projects[0].collectors)


@pytest.fixture
def bench(clock: ManualClock, tmp_path: Path) -> Bench:
    return Bench(clock, tmp_path)


async def test_nothing_is_shown_that_is_not_written(bench: Bench) -> None:
    """While the write lasts the old snapshot is served; both change in this order."""
    bench.poll()
    publishing = asyncio.create_task(bench.publication.publish())
    await asyncio.to_thread(bench.state.begun.wait)
    assert bench.shown == 0
    bench.state.free.set()
    await publishing
    assert (bench.state.saved, bench.shown) == (["1 polls"], 1)


async def test_the_last_publication_waits_for_the_one_under_way(bench: Bench) -> None:
    """At the end a slow write is neither abandoned nor overtaken: two at once would spoil each other's file."""
    async with bench.publication.going_on():
        bench.poll()
        await asyncio.to_thread(bench.state.begun.wait)
        bench.poll()
        asyncio.get_running_loop().call_later(0.05, bench.state.free.set)
    assert bench.state.saved == ["1 polls", "2 polls"]
    assert bench.shown == 2


async def test_changes_meanwhile_are_written_once(bench: Bench) -> None:
    """However many polls end during a write, one more write follows: at most one a poll."""
    async with bench.publication.going_on():
        bench.poll()
        await asyncio.to_thread(bench.state.begun.wait)
        for _ in range(5):
            bench.poll()
        bench.state.free.set()
    assert bench.state.saved[:2] == ["1 polls", "6 polls"]
    assert bench.state.saved[2:] in ([], ["6 polls"])  # the last one of all, after the one that was due


@pytest.mark.parametrize("obstacle", ["folder", "full", "text"])
def test_a_write_that_fails_is_told_once_and_ends(clock: ManualClock, tmp_path: Path, obstacle: str) -> None:
    """Whatever stands in its way, saving never raises; the metric says 0 until it works again."""
    registry = CollectorRegistry()
    state = StatePersistence(str(tmp_path / "state.json"), self_metrics=SelfMetrics(registry), clock=clock)
    good = {"vision": ProjectState(origin="here")}
    draft = tmp_path / ".state.json.draft"
    state.save(good)
    assert registry.get_sample_value("modelarts_exporter_state_last_write_successful") == 1
    if obstacle == "folder":
        draft.mkdir()
    elif obstacle == "full":
        draft.symlink_to("/dev/full")
    for _ in range(2):
        state.save({"vision": ProjectState(origin="\ud800")} if obstacle == "text" else good)
        assert registry.get_sample_value("modelarts_exporter_state_last_write_successful") == 0
    assert state.load() == good
    if obstacle == "folder":
        draft.rmdir()
    elif obstacle == "full":
        draft.unlink()
    state.save(good)
    assert registry.get_sample_value("modelarts_exporter_state_last_write_successful") == 1
