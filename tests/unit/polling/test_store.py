"""The store: one assignment publishes, one publication at a time."""

import asyncio
import threading

from exporter.domain.snapshot import CollectorState, ProjectSnapshot, Snapshot
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


async def test_publications_do_not_overlap_and_the_newest_wins(clock: ManualClock) -> None:
    """While one snapshot is being published, further ones gather; the next publication shows the newest of them."""
    store = SnapshotStore([ProjectSnapshot(project="a")], clock=clock)
    seen: list[int] = []
    begun, go_on, done = asyncio.Event(), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def publish(snapshot: Snapshot) -> None:
        seen.append(len(snapshot.projects[0].collectors))
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(5)
        if len(seen) == 2:
            loop.call_soon_threadsafe(done.set)

    publishing = asyncio.create_task(store.publishing(publish))
    store.update(ProjectSnapshot(project="a", collectors=(POLLED,)))
    await begun.wait()
    store.update(ProjectSnapshot(project="a", collectors=(POLLED,) * 2))
    store.update(ProjectSnapshot(project="a", collectors=(POLLED,) * 3))
    go_on.set()
    await asyncio.wait_for(done.wait(), 5)
    publishing.cancel()

    assert seen == [1, 3]
