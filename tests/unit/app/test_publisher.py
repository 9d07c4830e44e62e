"""Publications: the newest snapshot, one publication at a time, the state before the snapshot."""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from exporter.app.publisher import Publisher, StatePersistence
from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Totals
from exporter.metrics.families.self_metrics import SelfMetrics
from exporter.polling.poller import ProjectState
from exporter.settings import Metrics
from tests.clock import ManualClock

POLLED = CollectorState(name="jobs", ok=True, last_success_at=None, duration_s=0.1)


def publisher_of(clock: ManualClock, projects: Iterable[ProjectSnapshot]) -> Publisher:
    """A publisher without a state file."""
    registry = CollectorRegistry()
    return Publisher(projects, metrics=Metrics(), registry=registry, self_metrics=SelfMetrics(registry), clock=clock)


def test_it_starts_with_every_project_unpolled(clock: ManualClock) -> None:
    """Before the first poll every project of the settings is there, without jobs."""
    publisher = publisher_of(clock, [ProjectSnapshot(project="b"), ProjectSnapshot(project="a")])

    assert [project.project for project in publisher.newest.projects] == ["b", "a"]
    assert all(project.jobs is None for project in publisher.newest.projects)
    assert not publisher.newest.settled


def test_it_is_settled_when_every_first_poll_has_ended(clock: ManualClock) -> None:
    """Ready means that each project was polled once, whatever the outcome."""
    publisher = publisher_of(clock, [ProjectSnapshot(project="a"), ProjectSnapshot(project="b")])
    publisher.update(ProjectSnapshot(project="a", collectors=(POLLED,)))
    assert not publisher.newest.settled
    publisher.update(ProjectSnapshot(project="b", collectors=(POLLED,)))
    assert publisher.newest.settled


def test_an_update_replaces_one_project(clock: ManualClock) -> None:
    """A project's update keeps the others and the order, and takes the time of the clock."""
    publisher = publisher_of(clock, [ProjectSnapshot(project="a"), ProjectSnapshot(project="b")])
    before = publisher.newest
    clock.turn(5)
    publisher.update(ProjectSnapshot(project="a", jobs={}))

    assert [project.jobs for project in publisher.newest.projects] == [{}, None]
    assert publisher.newest.taken_at == before.taken_at + 5
    assert before.projects[0].jobs is None


def test_changing_the_set_of_projects_keeps_what_is_known(clock: ManualClock) -> None:
    """After a change of the settings a project that stays keeps its jobs; one that was removed is gone."""
    publisher = publisher_of(clock, [ProjectSnapshot(project="a", project_id="1"), ProjectSnapshot(project="b")])
    publisher.update(ProjectSnapshot(project="a", project_id="1", jobs={}, collectors=(POLLED,)))
    publisher.set_projects([ProjectSnapshot(project="c"), ProjectSnapshot(project="a", project_id="1")])

    assert [(project.project, project.jobs) for project in publisher.newest.projects] == [("c", None), ("a", {})]


def test_changing_the_set_of_projects_takes_the_totals_of_one_that_was_not_polled(clock: ManualClock) -> None:
    """Totals from before a restart are served at once: totals of 0 would look like a counter reset."""
    publisher = publisher_of(clock, [ProjectSnapshot(project="a")])
    publisher.set_projects([ProjectSnapshot(project="a", totals=Totals(submitted={"": 7}))])

    assert [project.totals.submitted for project in publisher.newest.projects] == [{"": 7}]


def test_another_project_under_the_same_name_starts_anew(clock: ManualClock) -> None:
    """The jobs of one project are not served as those of another that has taken its name."""
    publisher = publisher_of(clock, [ProjectSnapshot(project="a", project_id="1")])
    publisher.update(ProjectSnapshot(project="a", project_id="1", jobs={}))
    publisher.set_projects([ProjectSnapshot(project="a", project_id="2")])

    assert [project.jobs for project in publisher.newest.projects] == [None]


class Slow(StatePersistence):
    """A state file on a disk that blocks while `free` is not set."""

    def __init__(self, path: Path, *, self_metrics: SelfMetrics, clock: ManualClock) -> None:
        super().__init__(str(path), self_metrics=self_metrics, clock=clock)
        self.free = threading.Event()
        self.begun = threading.Event()
        self.saved: list[str] = []
        self._alone = threading.Lock()

    def save(self, states: Mapping[str, ProjectState]) -> None:
        assert self._alone.acquire(blocking=False), "two writes at once"
        self.begun.set()
        assert self.free.wait(10)
        super().save(states)
        self.saved.append(states["vision"].origin)
        self._alone.release()


class Bench:
    """A publisher of one project."""

    def __init__(self, clock: ManualClock, folder: Path) -> None:
        registry = CollectorRegistry()
        self_metrics = SelfMetrics(registry)
        self.state = Slow(folder / "state.json", self_metrics=self_metrics, clock=clock)
        self.polls = 0
        self.publisher = Publisher(
            [ProjectSnapshot(project="vision")],
            metrics=Metrics(),
            registry=registry,
            self_metrics=self_metrics,
            clock=clock,
            state=self.state,
            dump=lambda: {"vision": ProjectState(origin=f"{self.polls} polls")},
        )

    def poll(self) -> None:
        """End one more poll."""
        self.polls += 1
        self.publisher.update(ProjectSnapshot(project="vision", collectors=(POLLED,) * self.polls))

    @property
    def served(self) -> int:
        """How many polls the served snapshot includes."""
        return len(self.publisher.served.projects[0].collectors)


@pytest.fixture
def bench(clock: ManualClock, tmp_path: Path) -> Bench:
    return Bench(clock, tmp_path)


async def test_a_snapshot_is_served_after_its_state_is_written(bench: Bench) -> None:
    """While the write lasts the old snapshot is served; both change in this order."""
    bench.poll()
    publishing = asyncio.create_task(bench.publisher.publish())
    await asyncio.to_thread(bench.state.begun.wait)
    assert bench.served == 0
    bench.state.free.set()
    await publishing
    assert (bench.state.saved, bench.served) == (["1 polls"], 1)


async def test_the_last_publication_waits_for_the_one_under_way(bench: Bench) -> None:
    """At the end a slow write is neither abandoned nor overtaken: two at once would corrupt the file."""
    async with bench.publisher.running():
        bench.poll()
        await asyncio.to_thread(bench.state.begun.wait)
        bench.poll()
        asyncio.get_running_loop().call_later(0.05, bench.state.free.set)
    assert bench.state.saved == ["1 polls", "2 polls"]
    assert bench.served == 2


async def test_changes_during_a_publication_are_published_together(bench: Bench) -> None:
    """However many polls end during a write, one more write follows, of the newest state."""
    async with bench.publisher.running():
        bench.poll()
        await asyncio.to_thread(bench.state.begun.wait)
        for _ in range(5):
            bench.poll()
        bench.state.free.set()
    assert bench.state.saved[:2] == ["1 polls", "6 polls"]
    assert bench.state.saved[2:] in ([], ["6 polls"])  # the last publication of all, after the one that was due


@pytest.mark.parametrize("obstacle", ["folder", "full", "text"])
def test_a_failed_write_is_reported_and_does_not_raise(clock: ManualClock, tmp_path: Path, obstacle: str) -> None:
    """Whatever the reason, saving never raises; the metric is 0 until a write succeeds again."""
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
