import pytest

from exporter.simulator import Options, ProjectOptions, Role, Simulator, World, flavor
from exporter.simulator.world.ground_truth import Totals, held_s
from exporter.simulator.world.job import Job
from tests.clock import ManualClock

NOW = 1_700_000_000.0
GPU = ("", "vision-train", "gpu")


@pytest.fixture
def world() -> World:
    return World(Options(empty=True), now=NOW)


def run(world: World, seconds: float, **how: int) -> Job:
    """Submit a job, start it at once, and let it run."""
    job = world.submit(**how)  # type: ignore[arg-type] # counts only
    world.start(job)
    world.advance(seconds)
    return job


def test_counts(world: World) -> None:
    """Submissions and starts are counted by pool, ends by pool and status; a failed creation is a failure."""
    world.submit(pool="p")
    world.complete(run(world, 10))
    world.fail(run(world, 10))
    world.lose(run(world, 10))
    world.terminate(run(world, 10))
    world.create_fail(world.submit())

    totals = world.ground_truth()

    assert totals.submitted == {"p": 1, "": 5}
    assert totals.started == {"": 4}
    assert totals.finished == {("", "completed"): 1, ("", "failed"): 2, ("", "lost"): 1, ("", "terminated"): 1}
    assert totals.run_s["", "completed"] == [10.0]
    assert totals.run_s["", "failed"] == [10.0]  # the job whose creation failed has not run


def test_held_seconds_follow_the_nodes(world: World) -> None:
    """4 nodes for 100 s, 3 for 50 s, 8 cards each: 4*8*100 + 3*8*50 = 4400, while it runs and after its end."""
    job = run(world, 100, nodes=4)
    world.scale(job, 3)
    world.advance(50)
    assert world.ground_truth().held_s == {GPU: 4_400.0}
    world.complete(job)
    world.advance(1_000)

    assert world.ground_truth().held_s == {GPU: 4_400.0}
    assert held_s(job, since=NOW + 50, until=NOW + 120) == 4 * 8 * 50 + 3 * 8 * 20


def test_held_seconds_of_roles(world: World) -> None:
    """One node of eight and three of one hold eleven accelerators: 110 in 10 s."""
    roles = (Role(name="a", nodes=1, flavor=flavor("gpu", 8)), Role(name="b", nodes=3, flavor=flavor("gpu", 1)))
    world.start(world.submit(roles=roles))
    world.advance(10)

    assert world.ground_truth().held_s == {GPU: 110.0}


def test_lost_seconds(world: World) -> None:
    """All seconds of runs that ended failed or lost are lost, those of other runs are not."""
    world.fail(run(world, 10, accelerators_per_node=1))
    world.lose(run(world, 20, accelerators_per_node=1))
    world.complete(run(world, 40, accelerators_per_node=1))

    totals = world.ground_truth()

    assert totals.lost_s == {GPU: 30.0}
    assert totals.held_s == {GPU: 70.0}


def test_deleted_job_stays_counted(world: World) -> None:
    """A deletion changes no total, of an ended job or of one that ran until then."""
    ended = run(world, 10, accelerators_per_node=1)
    world.complete(ended)
    world.delete(ended)
    world.delete(run(world, 5, accelerators_per_node=1))
    world.advance(1_000)

    assert world.ground_truth().held_s == {GPU: 15.0}
    assert world.ground_truth().finished.total() == 1


def test_job_that_comes_back(world: World) -> None:
    """A job lost after 10 s that comes back 5 s later and runs 20 s holds 30 s, none counted twice."""
    job = run(world, 10, accelerators_per_node=1)
    world.lose(job)
    world.advance(5)
    world.come_back(job)
    world.advance(20)
    world.complete(job)

    assert world.ground_truth().held_s == {GPU: 30.0}


def test_queue_seconds(world: World) -> None:
    """The wait is from submission to first start, once for each job, whatever its recoveries."""
    job = world.submit()
    world.advance(90)
    world.start(job)
    world.advance(60)
    world.recover(job, policy="proc_restart")

    totals = world.ground_truth()

    assert totals.queue_s == {"": [90.0]}
    assert totals.recoveries == {"proc_restart": 1}


def test_idle_seconds(world: World) -> None:
    """A job that idles from its start idles as long as it runs, without its recovery; CPU jobs hold nothing."""
    job = world.submit(profile="idle", accelerators_per_node=2)
    world.start(job)
    world.advance(600)
    world.recover(job, gap_s=100)
    world.advance(300)
    world.start(world.submit(profile="steady"))
    world.start(world.submit(accelerator="cpu", profile="idle"))

    assert world.ground_truth().idle_s == {GPU: 2 * (900.0 - 100.0)}
    world.advance(60)
    assert set(world.ground_truth().held_s) == {GPU}


def test_idle_seconds_of_manual_series(world: World) -> None:
    """A minute is idle if all tasks with a sample are below 5 %; series are aligned at their ends."""
    job = world.submit(nodes=2, accelerators_per_node=1)
    world.start(job)
    world.advance(600)
    job.usage("worker-0", gpu=[90, 1, 2, -1, 3])
    job.usage("worker-1", gpu=[1, 60, 0, -1])

    # from the end: (3, none) idle, (none, 0) idle, (2, 60) busy, (1, 1) idle, (90) busy: three minutes of two cards
    assert world.ground_truth().idle_s == {GPU: 360.0}


def test_sampled_idle_seconds(world: World) -> None:
    """Two cards idle for 930 s: minutes 1 to 14 are sampled, 14 * 60 * 2. At 660 s the period is within the grace."""
    job = world.submit(profile="idle", accelerators_per_node=2)
    world.start(job)
    world.advance(660)

    assert not world.ground_truth().sampled_idle_s
    world.advance(270)
    assert world.ground_truth().sampled_idle_s == {GPU: 14 * 60 * 2}


def test_seconds_before_the_opening(world: World) -> None:
    """Events before the world's creation are not counted; of a job that runs across it only later seconds are."""
    running = world.submit(profile="idle", accelerators_per_node=1, submitted_at=NOW - 1_000)
    world.start(running, at=NOW - 900)
    ended = world.submit(submitted_at=NOW - 100)
    world.start(ended, at=NOW - 90)
    world.fail(ended, at=NOW - 10)
    world.advance(60)

    totals = world.ground_truth()

    assert (totals.held_s, totals.idle_s) == ({GPU: 60.0}, {GPU: 60.0})
    assert totals.submitted.total() == totals.started.total() == totals.finished.total() == 0


def test_random_world() -> None:
    """After three days held seconds are the sum over all jobs, and idle and lost seconds are parts of them."""
    world = World(Options(jobs=40, history=0), now=NOW)
    assert not world.ground_truth().held_s
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


def test_projects_add_up() -> None:
    """The totals of all projects are the sum of those of each."""
    projects = (ProjectOptions(), ProjectOptions(id="b" * 32, name="b"))
    world = World(Options(jobs=10, history=0, projects=projects), now=NOW)
    world.advance(86_400)
    total = Totals()
    for project in world.projects:
        total.add(world.ground_truth(project))

    assert total.finished == world.ground_truth().finished
    assert sum(total.held_s.values()) == pytest.approx(sum(world.ground_truth().held_s.values()))


async def test_totals_of_a_simulator(cloud: Simulator, clock: ManualClock) -> None:
    """Reading the totals of a simulator advances its world to the present first."""
    job = cloud.world.submit(accelerators_per_node=1)
    cloud.world.start(job)
    clock.turn(42)

    assert cloud.ground_truth.held_s == {GPU: 42.0}
    assert cloud.state.ground_truth(job.project).held_s == {GPU: 42.0}
