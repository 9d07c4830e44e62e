"""The store: one assignment publishes, one publication at a time."""

import asyncio

from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Snapshot, Totals
from exporter.polling.store import SnapshotStore
from tests.clock import ManualClock

POLLED = CollectorState(name="jobs", ok=False, last_success_at=None, duration_s=0.1)


def test_it_starts_with_every_project_unpolled(clock: ManualClock) -> None:
    """Before the first poll every project of the settings is there, and says nothing about jobs."""
    store = SnapshotStore([ProjectSnapshot(project="b"), ProjectSnapshot(project="a")], clock=clock)

    assert [project.project for project in store.current.projects] == ["b", "a"]
    assert all(project.jobs is None for project in store.current.projects)
    assert not store.current.settled


def test_it_is_settled_when_every_first_poll_is_over(clock: ManualClock) -> None:
    """Ready means each project was polled once, well or badly."""
    store = SnapshotStore([ProjectSnapshot(project="a"), ProjectSnapshot(project="b")], clock=clock)
    store.update(ProjectSnapshot(project="a", collectors=(POLLED,)))
    assert not store.current.settled
    store.update(ProjectSnapshot(project="b", collectors=(POLLED,)))
    assert store.current.settled


def test_an_update_replaces_one_project(clock: ManualClock) -> None:
    """A project's update keeps the others and the order, and takes the time of the clock."""
    store = SnapshotStore([ProjectSnapshot(project="a"), ProjectSnapshot(project="b")], clock=clock)
    before = store.current
    clock.turn(5)
    store.update(ProjectSnapshot(project="a", jobs={}))

    assert [project.jobs for project in store.current.projects] == [{}, None]
    assert store.current.taken_at == before.taken_at + 5
    assert before.projects[0].jobs is None


def test_rearranging_keeps_what_is_known(clock: ManualClock) -> None:
    """After a change of the settings a project that stayed keeps its jobs, one that left is gone."""
    store = SnapshotStore([ProjectSnapshot(project="a", project_id="1"), ProjectSnapshot(project="b")], clock=clock)
    store.update(ProjectSnapshot(project="a", project_id="1", jobs={}, collectors=(POLLED,)))
    store.arrange([ProjectSnapshot(project="c"), ProjectSnapshot(project="a", project_id="1")])

    assert [(project.project, project.jobs) for project in store.current.projects] == [("c", None), ("a", {})]


def test_rearranging_takes_the_totals_of_a_project_that_was_not_polled(clock: ManualClock) -> None:
    """What is remembered from before a restart is shown at once: totals of 0 would look like a counter reset."""
    store = SnapshotStore([ProjectSnapshot(project="a")], clock=clock)
    store.arrange([ProjectSnapshot(project="a", totals=Totals(submitted={"": 7}))])

    assert [project.totals.submitted for project in store.current.projects] == [{"": 7}]


def test_another_project_under_the_same_name_starts_anew(clock: ManualClock) -> None:
    """The jobs of one project are not shown as those of another that took over its name."""
    store = SnapshotStore([ProjectSnapshot(project="a", project_id="1")], clock=clock)
    store.update(ProjectSnapshot(project="a", project_id="1", jobs={}))
    store.arrange([ProjectSnapshot(project="a", project_id="2")])

    assert [project.jobs for project in store.current.projects] == [None]


async def test_publications_do_not_overlap_and_the_newest_wins(clock: ManualClock) -> None:
    """While one snapshot is being published, further ones gather; the next publication shows the newest of them."""
    store = SnapshotStore([ProjectSnapshot(project="a")], clock=clock)
    seen: list[int] = []
    begun, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def publish(snapshot: Snapshot) -> None:
        seen.append(len(snapshot.projects[0].collectors))
        begun.set()
        await go_on.wait()
        if len(seen) == 2:
            done.set()

    publishing = asyncio.create_task(store.publishing(publish))
    store.update(ProjectSnapshot(project="a", collectors=(POLLED,)))
    await begun.wait()
    store.update(ProjectSnapshot(project="a", collectors=(POLLED,) * 2))
    store.update(ProjectSnapshot(project="a", collectors=(POLLED,) * 3))
    go_on.set()
    await asyncio.wait_for(done.wait(), 5)
    publishing.cancel()

    assert seen == [1, 3]
