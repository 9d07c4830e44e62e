import itertools
from collections import Counter

import pytest

from exporter.simulator import JobScript, JobState, Options, World
from exporter.simulator.world.job import Api, Incident
from exporter.simulator.world.pool import NPU_POOL, NodeGroup

NOW = 1_700_000_000.0
TWO_NODES = Options(jobs=0, history=0)
"""Pools have two nodes of eight cards in each group."""


@pytest.fixture
def world() -> World:
    return World(Options(empty=True), now=NOW)


def script(
    outcome: JobState = JobState.COMPLETED, *, incidents: tuple[Incident, ...] = (), **how: float
) -> JobScript:
    times = {"create_s": 10.0, "pull_s": 20.0, "run_s": 600.0} | how
    return JobScript(outcome=outcome, incidents=incidents, **times)  # type: ignore[arg-type] # floats only


def summary(world: World) -> list[tuple[object, ...]]:
    return [
        (job.id, job.name, job.state, job.submitted_at, job.started_at, job.ended_at, tuple(job.node_counts))
        for job in world.jobs
    ]


def test_determinism() -> None:
    """The same seed gives the same world, in large steps or small ones; another seed gives another world."""
    one, two, three = (World(Options(jobs=10, history=20, seed=seed), now=NOW) for seed in (7, 7, 8))
    one.advance(36_000)
    three.advance(36_000)
    for _ in range(1_000):
        two.advance(36)

    assert summary(one) == summary(two)
    assert summary(one) != summary(three)


def test_steady_state() -> None:
    """From the start and for four days the number of unfinished jobs is about `jobs`; some wait, most run."""
    world = World(Options(jobs=40, history=200), now=NOW)
    assert sum(job.state.finished for job in world.jobs) == 200
    numbers, waiting = [len(world.unfinished)], 0
    for _ in range(96):
        world.advance(3_600)
        numbers.append(len(world.unfinished))
        waiting += sum(job.state is JobState.QUEUED for job in world.unfinished)

    assert 20 <= min(numbers) <= max(numbers) <= 50
    assert 0 < waiting < sum(numbers) / 2


def test_variety_and_order() -> None:
    """In two days all states, recoveries, elastic jobs and roles occur, and no event precedes its cause."""
    world = World(Options(jobs=60, history=0, v1_share=0.5), now=NOW)
    seen: set[JobState] = set()
    for _ in range(1_500):
        world.advance(120)
        seen |= {job.state for job in world.jobs}

    assert seen == set(JobState)
    assert world.ground_truth().recoveries.total() > 0
    assert any(len({nodes for _, nodes in job.node_counts}) > 2 for job in world.jobs)
    assert any(job.roles for job in world.jobs)
    for job in world.jobs:
        assert job.submitted_at <= (job.started_at or world.now)
        assert (job.started_at or job.submitted_at) <= (job.ended_at or world.now) <= world.now
        assert job.state.finished == (job.ended_at is not None)
        for record, following in itertools.pairwise(job.records):
            assert record.started_at <= (record.ended_at or 0.0) <= following.started_at


def test_slots_are_conserved() -> None:
    """Allocated slots of each group are those of its jobs, and no node has more slots than it was created with."""
    world = World(Options(jobs=60, history=0), now=NOW)
    for _ in range(200):
        world.advance(600)
        held: Counter[tuple[str, str]] = Counter()
        for job in world.unfinished:
            held[job.group_key] += sum(slots for _, slots in job.placement or ())
        for pool in world.project().pools.values():
            for group in pool.groups:
                assert all(0 <= free <= group.slots_per_node for free in group.free)
                assert group.slots - group.free_slots == held[pool.id, group.accelerator]


def test_priority() -> None:
    """A freed node goes to the job of higher priority, even if another waits longer."""
    world = World(TWO_NODES, now=NOW)
    running = [world.submit(script=script()) for _ in range(2)]
    world.advance(60)
    low = world.submit("low", priority=0, script=script())
    world.advance(60)
    high = world.submit("high", priority=3, script=script())
    world.advance(60)
    assert [job.state for job in (low, high)] == [JobState.QUEUED] * 2

    world.complete(running[0])
    world.advance(30)

    assert (high.state, low.state) == (JobState.RUNNING, JobState.QUEUED)


def test_queue_order() -> None:
    """A small job does not overtake a large one that waits before it."""
    world = World(TWO_NODES, now=NOW)
    first = world.submit(script=script())
    world.advance(60)
    large = world.submit("large", nodes=2, script=script())
    world.advance(30)
    small = world.submit("small", accelerators_per_node=1, script=script())
    world.advance(30)

    group = world.project().pool("").group(first.flavor)
    assert group is not None
    assert [job.name for job in group.waiting()] == ["large", "small"]
    world.complete(first)
    world.advance(60)
    assert (large.state, small.state) == (JobState.RUNNING, JobState.QUEUED)


def test_scripted_job(world: World) -> None:
    """A job is created for 10 s, pulls its image for 20 s and runs for 600 s; an unknown pool has no limits."""
    job = world.submit(pool="pool-made-up", script=script(delete_after_s=100.0))
    states = []
    for moment in (9, 10, 29, 30, 629, 630):
        world.advance_to(NOW + moment)
        states.append(job.state)

    assert [state.value for state in states] == [
        "creating",
        "starting",
        "starting",
        "running",
        "running",
        "completed",
    ]
    assert (job.started_at, job.ended_at) == (NOW + 30, NOW + 630)
    world.advance(99)
    assert world.jobs == [job]
    world.advance(1)
    assert world.jobs == []


@pytest.mark.parametrize(
    "outcome",
    [JobState.COMPLETED, JobState.FAILED, JobState.TERMINATED, JobState.LOST, JobState.CREATE_FAILED],
    ids=lambda state: state.value,
)
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_outcomes(world: World, outcome: JobState, api: Api) -> None:
    """A scripted job ends in the state of its script, in both generations."""
    job = world.submit(api=api, script=script(outcome))
    world.advance(3_600)

    assert job.state is outcome
    assert bool(job.exits) == (outcome is JobState.FAILED)


def test_incidents(world: World) -> None:
    """Scripted faults and scalings occur on time, within the run, and no fault during a recovery."""
    fault = {"kind": "recover", "policy": "proc_restart", "scenario": "chip_fault", "gap_s": 50}
    incidents = (
        Incident(after_s=100, **fault),  # type: ignore[arg-type] # literals
        Incident(after_s=120, **fault),  # type: ignore[arg-type] # literals
        Incident(after_s=300, kind="scale", nodes=1),
        Incident(after_s=900, kind="scale", nodes=2),
    )
    job = world.submit(nodes=2, script=script(incidents=incidents))
    world.advance(3_600)

    start = NOW + 30
    records = [(record.started_at, record.ended_at) for record in job.records]
    assert records == [(start, start + 100), (start + 150, start + 600)]
    assert job.node_counts == [(start, 2), (start + 300, 1), (start + 600, 0)]


def test_v1_scaling(world: World) -> None:
    """A v1 job is in state SCALING for the gap; a job that is terminating does not scale."""
    incidents = (Incident(after_s=100, kind="scale", nodes=1, gap_s=45),)
    job, stopped = (world.submit(api="v1", nodes=2, script=script(incidents=incidents)) for _ in range(2))
    world.advance(60)
    world.stop(stopped, grace_s=1_000)
    states = []
    for moment in (129, 131, 176):
        world.advance_to(NOW + moment)
        states.append(job.state)

    assert states == [JobState.RUNNING, JobState.SCALING, JobState.RUNNING]
    assert stopped.state is JobState.TERMINATING


def test_manual_change_ends_the_script(world: World) -> None:
    """A job that was moved manually no longer follows its script."""
    job = world.submit(script=script())
    world.advance(60)
    world.fail(job, exit_code=139)
    world.advance(3_600)

    assert (job.state, job.ended_at, job.exits[0].code) == (JobState.FAILED, NOW + 60, 139)


def test_stop(world: World) -> None:
    """A second stop does not extend the grace, and stopping an ended job changes nothing."""
    job = world.submit()
    world.start(job)
    for _ in range(3):
        world.stop(job, grace_s=100)
        world.advance(50)

    assert (job.state, job.ended_at) == (JobState.TERMINATED, NOW + 100)


def test_lookup_and_deletion(world: World) -> None:
    """A job is found by id or name, the newest of a name first; ids can be chosen; a second deletion does nothing."""
    old = world.submit("twice", job_id="0-0")
    world.advance(1)
    new = world.submit("twice", api="v1", job_id="1485")

    assert world.job("0-0") is old
    assert world.job("1485") is world.job("twice") is new
    for _ in range(2):
        world.delete(new)
    assert world.job("twice") is old
    with pytest.raises(KeyError, match="no job 'nothing'"):
        world.job("nothing")


def test_pace_and_arrivals() -> None:
    """At pace 60 the median run is below five minutes; 60 arrivals per hour are about 240 in four hours."""
    fast = World(Options(jobs=40, history=0, pace=60.0), now=NOW)
    fast.advance(1_800)
    runs = sorted(job.duration_s(fast.now) for job in fast.jobs if job.state.finished and job.started_at is not None)
    assert len(runs) > 100
    assert runs[len(runs) // 2] < 300

    busy = World(Options(jobs=1, history=0, arrivals=60.0), now=NOW)
    busy.advance(4 * 3_600)
    quiet = World(Options(jobs=40, history=10, arrivals=0.0), now=NOW)
    quiet.advance(86_400)
    assert 190 <= busy.ground_truth().submitted.total() <= 290
    assert len(quiet.jobs) == 10


def test_emptiest_nodes_break_first() -> None:
    """Empty nodes break before those in use; a broken node keeps its jobs and takes no new ones until its repair."""
    nodes = NodeGroup(accelerator="gpu", model="x", slots_per_node=8, nodes=3)
    assert nodes.place(nodes=1, slots=4) == [(0, 4)]

    assert nodes.break_down(2) == [1, 2]
    assert nodes.place(nodes=1, slots=8) is None
    assert nodes.place(nodes=1, slots=4) == [(0, 4)]
    assert nodes.break_down(5) == [0]
    nodes.release([(0, 4)])
    assert nodes.place(nodes=1, slots=1) is None
    nodes.repair([0])
    assert nodes.place(nodes=1, slots=1) == [(0, 1)]


def test_repair_places_waiting_jobs(world: World) -> None:
    """A job waits while all nodes are broken, and is placed when they are repaired."""
    assert world.break_nodes(NPU_POOL, 2) == 2
    job = world.submit(pool=NPU_POOL, accelerator="npu", script=script())
    world.advance(60)
    assert (job.state, job.placement) == (JobState.QUEUED, None)

    world.repair_nodes(NPU_POOL)

    assert job.placement is not None


def test_random_breakdowns() -> None:
    """At most a third of each group is broken at random, the same nodes for a seed; without breakdowns none is."""

    def broken(breakdowns: float) -> list[list[int]]:
        world = World(Options(jobs=100, history=0, breakdowns=breakdowns), now=NOW)
        groups = [group for pool in world.project().pools.values() for group in pool.groups]
        numbers = []
        for _ in range(24 * 6):
            world.advance(600)
            assert all(3 * len(group.broken) <= group.nodes for group in groups)
            numbers.append([len(group.broken) for group in groups])
        return numbers

    with_breakdowns = broken(6.0)
    assert len({sum(numbers) for numbers in with_breakdowns}) > 1
    assert broken(6.0) == with_breakdowns
    assert not any(map(any, broken(0.0)))
