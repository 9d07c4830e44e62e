import itertools
from collections import Counter

import pytest

from exporter.simulator import JobScript, JobState, Options, ProjectOptions, World
from exporter.simulator.world.job import Incident, Job

NOW = 1_700_000_000.0
EMPTY = Options(empty=True)


def described(world: World) -> list[tuple[object, ...]]:
    return [
        (job.id, job.name, job.state, job.submitted_at, job.started_at, job.ended_at, tuple(job.node_counts))
        for job in world.jobs
    ]


def script(
    outcome: JobState = JobState.COMPLETED, *, incidents: tuple[Incident, ...] = (), **how: float
) -> JobScript:
    times = {"create_s": 10.0, "pull_s": 20.0, "run_s": 600.0} | how
    return JobScript(outcome=outcome, incidents=incidents, **times)  # type: ignore[arg-type] # floats all


def test_same_seed_same_world() -> None:
    """Two worlds of one seed agree in every job after a day; another seed makes another world."""
    one, two, three = (World(Options(jobs=10, history=20, seed=seed), now=NOW) for seed in (7, 7, 8))
    for world in (one, two, three):
        world.advance(86_400)

    assert described(one) == described(two)
    assert described(one) != described(three)


def test_small_steps_and_large_ones_agree() -> None:
    """How often the world is looked at does not change what happens in it."""
    one, two = (World(Options(jobs=10, history=0), now=NOW) for _ in range(2))
    one.advance(36_000)
    for _ in range(1_000):
        two.advance(36)

    assert described(one) == described(two)


def test_world_is_alive_from_the_start() -> None:
    """About as many jobs are unfinished as asked for, of both generations and in several states; history is exact."""
    world = World(Options(jobs=40, history=200), now=NOW)
    states = Counter(job.state for job in world.jobs)

    assert 25 <= len(world.unfinished) <= 50
    assert sum(number for state, number in states.items() if state.finished) == 200
    assert {job.api for job in world.unfinished} == {"v1", "v2"}
    assert states[JobState.RUNNING] > 10
    assert {JobState.COMPLETED, JobState.FAILED, JobState.TERMINATED} <= set(states)


def test_world_stays_alive() -> None:
    """Through four days the number of unfinished jobs stays about what was asked for; some wait, most run."""
    world = World(Options(jobs=40, history=0), now=NOW)
    numbers, waiting = [], 0
    for _ in range(96):
        world.advance(3_600)
        numbers.append(len(world.unfinished))
        waiting += sum(job.state is JobState.QUEUED for job in world.unfinished)

    assert min(numbers) >= 20
    assert max(numbers) <= 50
    assert 0 < waiting < sum(numbers) / 2


def test_every_state_and_incident_happens() -> None:
    """In some days every state is passed through, faults are recovered from, and elastic jobs change their size."""
    world = World(Options(jobs=60, history=0, v1_share=0.5), now=NOW)
    seen: set[JobState] = set()
    for _ in range(1_500):
        world.advance(120)
        seen |= {job.state for job in world.jobs}

    assert seen == set(JobState)
    assert world.ground_truth().recoveries.total() > 0
    assert any(len(job.records) > 1 for job in world.jobs)
    assert any(len({nodes for _, nodes in job.node_counts}) > 2 for job in world.jobs)
    assert any(job.roles for job in world.jobs)


def test_nothing_precedes_what_comes_before_it() -> None:
    """Every job is submitted, started and ended in this order, and its records do not overlap."""
    world = World(Options(jobs=30, history=300), now=NOW)
    world.advance(2 * 86_400)

    for job in world.jobs:
        assert job.submitted_at <= (job.started_at or world.now)
        assert (job.started_at or job.submitted_at) <= (job.ended_at or world.now) <= world.now
        assert job.state.finished == (job.ended_at is not None)
        for record, following in itertools.pairwise(job.records):
            assert record.started_at <= (record.ended_at or 0.0) <= following.started_at


def test_pools_are_finite() -> None:
    """No node ever gives more slots than it has, and all are given back when nothing holds them."""
    world = World(Options(jobs=60, history=0), now=NOW)
    project = world.project()
    for _ in range(200):
        world.advance(600)
        held: Counter[tuple[str, str]] = Counter()
        for job in world.unfinished:
            held[job.group_key] += sum(slots for _, slots in job.placement or ())
        for pool in project.pools.values():
            for group in pool.groups:
                assert all(0 <= free <= group.slots_per_node for free in group.free)
                taken = group.nodes * group.slots_per_node - group.free_slots
                assert taken == held[pool.id, group.accelerator]


def test_priority_goes_first() -> None:
    """When a node is freed, the job of higher priority starts before the one that waited longer."""
    world = World(Options(jobs=0, history=0), now=NOW)  # two nodes of eight in each group
    fill = [world.submit(f"fill-{n}", script=script()) for n in range(2)]
    world.advance(60)
    low = world.submit("low", priority=0, script=script())
    world.advance(60)
    high = world.submit("high", priority=3, script=script())
    world.advance(60)
    assert [job.state for job in (*fill, low, high)] == [JobState.RUNNING] * 2 + [JobState.QUEUED] * 2

    world.complete(fill[0])
    world.advance(30)

    assert (high.state, low.state) == (JobState.RUNNING, JobState.QUEUED)


def test_queue_is_first_come_first_served() -> None:
    """A small job does not overtake a large one that waits before it; the queue tells its order."""
    world = World(Options(jobs=0, history=0), now=NOW)
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


def test_course_of_a_planned_job() -> None:
    """A planned job is created for 10 s, pulls for 20 s, runs for 600 s and ends as planned."""
    world = World(EMPTY, now=NOW)
    job = world.submit(script=script())
    course = []
    for moment in (0, 9, 10, 29, 30, 629, 630):
        world.advance_to(NOW + moment)
        course.append(job.state)

    assert course == [
        JobState.CREATING,
        JobState.CREATING,
        JobState.STARTING,
        JobState.STARTING,
        JobState.RUNNING,
        JobState.RUNNING,
        JobState.COMPLETED,
    ]
    assert (job.started_at, job.ended_at) == (NOW + 30, NOW + 630)


@pytest.mark.parametrize(
    "outcome",
    [JobState.COMPLETED, JobState.FAILED, JobState.TERMINATED, JobState.LOST, JobState.CREATE_FAILED],
    ids=lambda s: s.value,
)
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_outcomes(outcome: JobState, api: str) -> None:
    """Each planned outcome comes about, in both generations."""
    world = World(EMPTY, now=NOW)
    job = world.submit(api="v1" if api == "v1" else "v2", script=script(outcome))
    world.advance(3_600)

    assert job.state is outcome
    assert bool(job.exits) == (outcome is JobState.FAILED)


def test_impatient_owner() -> None:
    """A job whose owner loses patience is cancelled while it waits, and one that has started is not."""
    world = World(Options(jobs=0, history=0), now=NOW)
    runs = world.submit(nodes=2, script=script(cancel_after_s=100.0))
    waits = world.submit(nodes=2, script=script(cancel_after_s=100.0))
    world.advance(200)

    assert (runs.state, waits.state, waits.started_at) == (JobState.RUNNING, JobState.TERMINATED, None)


def test_planned_incidents() -> None:
    """Planned faults and changes of size happen on time, and only within the run."""
    incidents = (
        Incident(after_s=100, kind="recover", policy="proc_restart", scenario="chip_fault", gap_s=50),
        Incident(after_s=120, kind="recover", policy="proc_restart", scenario="chip_fault", gap_s=50),
        Incident(after_s=300, kind="scale", nodes=1),
        Incident(after_s=900, kind="scale", nodes=2),
    )
    world = World(EMPTY, now=NOW)
    job = world.submit(nodes=2, script=script(incidents=incidents))
    world.advance(3_600)

    start = NOW + 30
    assert [(record.started_at, record.ended_at) for record in job.records] == [
        (start, start + 100),
        (start + 150, start + 600),  # the fault at 120 s found it still recovering from the first
    ]
    assert job.node_counts == [(start, 2), (start + 300, 1), (start + 600, 0)]


def test_old_jobs_scale_visibly() -> None:
    """A v1 job is scaling for a while, and running again."""
    world = World(EMPTY, now=NOW)
    scale = (Incident(after_s=100, kind="scale", nodes=1, gap_s=45),)
    job = world.submit(api="v1", nodes=2, script=script(incidents=scale))
    states = []
    for moment in (129, 131, 176):
        world.advance_to(NOW + moment)
        states.append(job.state)

    assert states == [JobState.RUNNING, JobState.SCALING, JobState.RUNNING]


def test_scaling_waits_for_nobody() -> None:
    """A change of size planned for a job that is being terminated does not happen."""
    world = World(EMPTY, now=NOW)
    job = world.submit(api="v1", nodes=2, script=script(incidents=(Incident(after_s=100, kind="scale", nodes=1),)))
    world.advance(60)
    world.stop(job, grace_s=1_000)
    world.advance(100)

    assert job.state is JobState.TERMINATING


def test_a_hand_overrules_the_plan() -> None:
    """A job moved by hand is not moved by its plan any more."""
    world = World(EMPTY, now=NOW)
    job = world.submit(script=script())
    world.advance(60)
    world.fail(job, exit_code=139)
    world.advance(3_600)

    assert (job.state, job.ended_at, job.exits[0].code) == (JobState.FAILED, NOW + 60, 139)


def test_owner_deletes() -> None:
    """A finished job is deleted when its plan says so."""
    world = World(EMPTY, now=NOW)
    world.submit("short-lived", script=script(delete_after_s=100.0))
    world.advance_to(NOW + 729)
    assert len(world.jobs) == 1
    world.advance_to(NOW + 730)

    assert world.jobs == []


def test_forgetting() -> None:
    """With retention_s finished jobs go after that time, history included, so that the world does not grow."""
    world = World(Options(jobs=5, history=50, retention_s=3_600.0), now=NOW)
    world.advance(12 * 3_600)

    ended = [job.ended_at for job in world.jobs if job.ended_at is not None]
    assert ended
    assert min(ended) > world.now - 3_600


def test_lookup() -> None:
    """Jobs are found by id or by name, the newest of a name first."""
    world = World(EMPTY, now=NOW)
    old = world.submit("twice")
    world.advance(1)
    new = world.submit("twice", api="v1")

    assert world.job(old.id) is old
    assert world.job(str(new.number)) is new
    assert world.job("twice") is new
    with pytest.raises(KeyError, match="no job 'nothing'"):
        world.job("nothing")


def test_ids_by_hand() -> None:
    """A test may choose a uuid or a version id."""
    world = World(EMPTY, now=NOW)

    assert world.submit(job_id="0-0").id == "0-0"
    assert world.submit(api="v1", job_id="1485").number == 1485


def test_deleting_twice() -> None:
    """Deleting a job that is gone already changes nothing."""
    world = World(EMPTY, now=NOW)
    job = world.submit()
    world.delete(job)
    world.delete(job)

    assert world.jobs == []


def test_stopping_an_ended_job() -> None:
    """Stopping what has ended, or is stopping, changes nothing."""
    world = World(EMPTY, now=NOW)
    job = world.submit()
    world.start(job)
    world.stop(job, grace_s=100)
    world.advance(50)
    world.stop(job, grace_s=100)
    world.advance(50)
    assert job.state is JobState.TERMINATED
    world.stop(job)

    assert job.state is JobState.TERMINATED


def test_only_lost_jobs_come_back() -> None:
    """A job that is not lost cannot come back; one that is runs on, with its nodes."""
    world = World(EMPTY, now=NOW)
    job = world.submit(nodes=2)
    with pytest.raises(ValueError, match="not lost"):
        world.come_back(job)
    world.start(job)
    world.advance(10)
    world.lose(job)
    world.advance(10)
    world.come_back(job)

    assert (job.state, job.nodes_now, job.ended_at) == (JobState.RUNNING, 2, None)


def test_time_does_not_run_backwards() -> None:
    """Advancing by less than nothing is refused, and a moment in the past changes nothing."""
    world = World(EMPTY, now=NOW)
    world.advance_to(NOW - 10)

    assert world.now == NOW
    with pytest.raises(ValueError, match="backwards"):
        world.advance(-1)


def test_projects_are_separate() -> None:
    """Each project has its own jobs and pools."""
    world = World(
        Options(jobs=10, history=10, projects=(ProjectOptions(), ProjectOptions(id="b" * 32, name="b"))), now=NOW
    )
    one, two = (world.project(project) for project in world.projects)

    assert {job.project for job in one.jobs()} == {one.options.id}
    assert not {job.id for job in one.jobs()} & {job.id for job in two.jobs()}


def test_pace_shortens_everything() -> None:
    """At a pace of 60 a day's worth of jobs ends within half an hour, by a clock that is right."""
    world = World(Options(jobs=40, history=0, pace=60.0), now=NOW)
    world.advance(1_800)

    finished = [job for job in world.jobs if job.state.finished and job.started_at is not None]
    assert len(finished) > 100
    assert sorted(job.duration_s(world.now) for job in finished)[len(finished) // 2] < 300


def test_arrivals_can_be_set() -> None:
    """With 60 arrivals an hour about 240 jobs come in four hours, whatever `jobs` says; with 0 none."""
    busy = World(Options(jobs=1, history=0, arrivals=60.0), now=NOW)
    before = busy.ground_truth().submitted.total()
    busy.advance(4 * 3_600)
    quiet = World(Options(jobs=40, history=10, arrivals=0.0), now=NOW)
    quiet.advance(86_400)

    assert before == 0
    assert 190 <= busy.ground_truth().submitted.total() <= 290
    assert len(quiet.jobs) == 10


def test_unknown_accelerator_is_refused() -> None:
    """Accelerators are gpu, npu or cpu."""
    with pytest.raises(ValueError, match="gpu, npu or cpu"):
        World(EMPTY, now=NOW).submit(accelerator="tpu")


def test_v1_versions_share_a_name() -> None:
    """Versions of one job have its name, workspace and job id; the job goes with its last version."""
    world = World(EMPTY, now=NOW)
    first = world.submit("bert", api="v1", workspace="w")
    second = world.submit("ignored", api="v1", version_of=first)

    assert (second.name, second.workspace, second.v1_job) == ("bert", "w", first.v1_job)
    world.delete(first)
    assert len(world.project().v1_jobs) == 1
    world.delete(second)
    assert world.project().v1_jobs == {}


def test_job_of_a_kind_the_pool_has_not() -> None:
    """A planned job in a pool without such nodes runs all the same: the pool is made for the test that names it."""
    world = World(EMPTY, now=NOW)
    job: Job = world.submit(pool="pool-made-up", script=script())
    world.advance(60)

    assert job.state is JobState.RUNNING
