import pytest

from exporter.simulator import Options, Role, Simulator, World, flavor
from exporter.simulator.world.ground_truth import Totals, held_s
from exporter.simulator.world.job import Job
from tests.clock import ManualClock

NOW = 1_700_000_000.0
GPU = ("", "vision-train", "gpu")


@pytest.fixture
def world() -> World:
    return World(Options(empty=True), now=NOW)


def ran(world: World, seconds: float, **how: int) -> Job:
    job = world.submit(**how)  # type: ignore[arg-type] # counts only
    world.start(job)
    world.advance(seconds)
    return job


def test_counts(world: World) -> None:
    """Submissions, starts and ends are counted by pool, ends by status too; failed creations are failures."""
    world.submit(pool="p")
    world.complete(ran(world, 10))
    world.fail(ran(world, 10))
    world.lose(ran(world, 10))
    world.terminate(ran(world, 10))
    world.create_fail(world.submit())

    totals = world.ground_truth()

    assert totals.submitted == {"p": 1, "": 5}
    assert totals.started == {"": 4}
    assert totals.finished == {
        ("", "completed"): 1,
        ("", "failed"): 2,
        ("", "lost"): 1,
        ("", "terminated"): 1,
    }
    assert totals.run_s["", "completed"] == [10.0]
    assert ("", "failed") in totals.run_s
    assert len(totals.run_s["", "failed"]) == 1  # the one that was never created has not run


def test_held_seconds_of_a_running_job(world: World) -> None:
    """Two nodes of eight, held for 100 s and still held, are 1600 accelerator seconds."""
    ran(world, 100, nodes=2)

    assert world.ground_truth().held_s == {GPU: 1_600.0}


def test_held_seconds_follow_the_nodes(world: World) -> None:
    """4 nodes for 100 s, 3 for 50 s, 8 cards each: 4*8*100 + 3*8*50 = 4400."""
    job = ran(world, 100, nodes=4)
    world.scale(job, 3)
    world.advance(50)
    world.complete(job)
    world.advance(1_000)

    assert world.ground_truth().held_s == {GPU: 4_400.0}
    assert held_s(job, since=NOW + 50, until=NOW + 120) == 4 * 8 * 50 + 3 * 8 * 20


def test_heterogeneous_roles_hold_their_own(world: World) -> None:
    """One node of eight and three of one hold eleven accelerators."""
    roles = (Role(name="a", nodes=1, flavor=flavor("gpu", 8)), Role(name="b", nodes=3, flavor=flavor("gpu", 1)))
    job = world.submit(roles=roles)
    world.start(job)
    world.advance(10)

    assert world.ground_truth().held_s == {GPU: 110.0}


def test_lost_seconds(world: World) -> None:
    """Runs that ended failed or lost are lost as a whole; others are not."""
    world.fail(ran(world, 10, accelerators_per_node=1))
    world.lose(ran(world, 20, accelerators_per_node=1))
    world.complete(ran(world, 40, accelerators_per_node=1))

    totals = world.ground_truth()

    assert totals.lost_s == {GPU: 30.0}
    assert totals.held_s == {GPU: 70.0}


def test_a_deleted_job_stays_counted(world: World) -> None:
    """Deleting a job takes nothing back, whether it had ended or ran on until then."""
    ended = ran(world, 10, accelerators_per_node=1)
    world.complete(ended)
    world.delete(ended)
    world.delete(ran(world, 5, accelerators_per_node=1))
    world.advance(1_000)

    assert world.ground_truth().held_s == {GPU: 15.0}
    assert world.ground_truth().finished.total() == 1


def test_a_job_that_comes_back_is_counted_on(world: World) -> None:
    """Lost after 10 s and back 5 s later for 20 s: 30 s held, none twice."""
    job = ran(world, 10, accelerators_per_node=1)
    world.lose(job)
    world.advance(5)
    world.come_back(job)
    world.advance(20)
    world.complete(job)

    assert world.ground_truth().held_s == {GPU: 30.0}


def test_waits(world: World) -> None:
    """The wait is from submission to the first start, once a job, however often it recovers."""
    job = world.submit()
    world.advance(90)
    world.start(job)
    world.advance(60)
    world.recover(job, policy="proc_restart")

    totals = world.ground_truth()

    assert totals.queue_s == {"": [90.0]}
    assert totals.recoveries == {"proc_restart": 1}


def test_idle_seconds(world: World) -> None:
    """A job that idles from its start idles all the time it runs, outages left out."""
    job = world.submit(profile="idle", accelerators_per_node=2)
    world.start(job)
    world.advance(600)
    world.recover(job, gap_s=100)
    world.advance(300)
    busy = world.submit(profile="steady")
    world.start(busy)

    assert world.ground_truth().idle_s == {GPU: 2 * (900.0 - 100.0)}


def test_idle_seconds_of_series_by_hand(world: World) -> None:
    """Minutes in which every task's newest readings are below 5 % count, aligned at the end; no sample counts not."""
    job = world.submit(nodes=2, accelerators_per_node=1)
    world.start(job)
    world.advance(600)
    job.usage("worker-0", gpu=[90, 1, 2, -1, 3])
    job.usage("worker-1", gpu=[1, 60, 0, -1])

    # from the end: (3, none) idle, (none, 0) idle, (2, 60) busy, (1, 1) idle, (90) busy: three minutes of two cards
    assert world.ground_truth().idle_s == {GPU: 360.0}


def test_a_job_without_accelerators_holds_nothing(world: World) -> None:
    """CPU jobs have no accelerator seconds."""
    job = world.submit(accelerator="cpu", profile="idle")
    world.start(job)
    world.advance(60)

    totals = world.ground_truth()
    assert not totals.held_s
    assert not totals.idle_s


def test_what_began_before_the_books_is_cut() -> None:
    """Jobs that ran when the world began count from then on: after 0 s nothing is held, after 60 s a minute each."""
    world = World(Options(jobs=40, history=10, arrivals=0.0), now=NOW)
    busy = World(Options(jobs=40, history=10), now=NOW)

    assert world.unfinished == []
    assert busy.unfinished
    assert not world.ground_truth().held_s
    cards = sum(job.accelerators_at(job.nodes_now) for job in busy.unfinished if job.state.runs)
    before = busy.unfinished
    busy.advance(0.001)
    unchanged = [job for job in before if not job.state.finished]
    assert len(unchanged) == len(before)
    assert sum(world.ground_truth().held_s.values()) == pytest.approx(cards * 0.001, rel=1e-3)


def test_idle_before_the_books_is_cut() -> None:
    """An idle job that started before the books were opened counts from their opening."""
    world = World(Options(empty=True), now=NOW)
    job = world.submit(profile="idle", accelerators_per_node=1, submitted_at=NOW - 1_000)
    world.start(job, at=NOW - 900)
    world.advance(60)

    totals = world.ground_truth()

    assert (totals.held_s, totals.idle_s) == ({GPU: 60.0}, {GPU: 60.0})
    assert totals.submitted.total() == totals.started.total() == 0


def test_ends_before_the_books_are_history() -> None:
    """A job that ended before the world began is not counted."""
    world = World(Options(empty=True), now=NOW)
    job = world.submit(submitted_at=NOW - 100)
    world.start(job, at=NOW - 90)
    world.fail(job, at=NOW - 10)

    assert world.ground_truth().finished.total() == 0


def test_held_equals_the_sum_over_jobs() -> None:
    """After three lively days the held seconds are the sum over all jobs, and idle and lost are parts of them."""
    world = World(Options(jobs=40, history=0), now=NOW)
    world.advance(3 * 86_400)

    totals = world.ground_truth()
    jobs = sum(held_s(job, since=NOW, until=world.now) for job in world.jobs)
    deleted = sum(totals.held_s.values()) - jobs
    assert 0 <= deleted < 0.2 * jobs  # one job in twenty is deleted by its owner
    for key, seconds in totals.held_s.items():
        assert 0 <= totals.idle_s.get(key, 0.0) <= seconds
        assert 0 <= totals.lost_s.get(key, 0.0) <= seconds
    assert totals.submitted.total() >= totals.started.total()
    assert sum(len(waits) for waits in totals.queue_s.values()) == totals.started.total()


def test_books_by_project_add_up() -> None:
    """The books of all projects are the sum of each one's."""
    from exporter.simulator import ProjectOptions  # noqa: PLC0415 -- used here only

    world = World(
        Options(jobs=10, history=0, projects=(ProjectOptions(), ProjectOptions(id="b" * 32, name="b"))), now=NOW
    )
    world.advance(86_400)
    total = Totals()
    for project in world.projects:
        total.add(world.ground_truth(project))

    assert total.finished == world.ground_truth().finished
    assert sum(total.held_s.values()) == pytest.approx(sum(world.ground_truth().held_s.values()))


async def test_books_of_a_simulator_are_up_to_date(cloud: Simulator, clock: ManualClock) -> None:
    """Reading the simulator's books lets the world catch up with its clock first."""
    job = cloud.world.submit(accelerators_per_node=1)
    cloud.world.start(job)
    clock.turn(42)

    assert cloud.ground_truth.held_s == {GPU: 42.0}
    assert cloud.state.ground_truth(job.project).held_s == {GPU: 42.0}


def test_sampled_idle_seconds_are_whole_minutes_of_long_stretches(world: World) -> None:
    """Two cards idle for 930 s: minutes 1 to 14 have samples, 14 * 60 * 2; ten minutes at 660 s are not enough."""
    job = world.submit(profile="idle", accelerators_per_node=2)
    world.start(job)
    world.advance(660)

    assert not world.ground_truth().sampled_idle_s
    world.advance(270)
    assert world.ground_truth().sampled_idle_s == {GPU: 14 * 60 * 2}
