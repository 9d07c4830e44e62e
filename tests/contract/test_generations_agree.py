"""One job, read from each generation and in each way of v1, is the same `Job`."""

from collections.abc import AsyncIterator
from dataclasses import asdict

import pytest

from exporter.domain.job import Accelerator, Job, JobStatus
from exporter.domain.usage import JobUsage, combine, summarise
from exporter.simulator import SECOND_WORKSPACE, Engine, Options
from exporter.simulator import Job as Simulated
from exporter.simulator.world.job import Api
from tests.clock import ManualClock
from tests.contract.simulated import FakePoller, Scene, scene_of

GENERATION_FIELDS = {
    "api",
    "job_id",  # a uuid, and a version id
    "version",  # only v1 has versions
    "tasks",  # v1 does not list them
    "task_exit_codes",  # nor their exit codes
    "reported_nodes",  # nor the number of nodes held now
    "recoveries",  # nor its restarts
    "degraded_recoveries",
    "faults",
    "fault_results",
    "recovery_times",
    "task_faults",
    "last_recovery_at",
    "crash_loop_runs",
    "node_steps",
    "parent_job_id",  # only v1 has parent jobs
    "runtime_type",  # only v2 has these
    "preemptible",
    "priority",
    "quality",  # v2 has no such totals
}
STAGES = ("initializing", "queued", "running", "completed", "failed", "terminated", "lost")


@pytest.fixture
async def scene(clock: ManualClock) -> AsyncIterator[Scene]:
    async with scene_of(Options(empty=True), clock) as scene:
        yield scene


def common_fields(job: Job) -> dict[str, object]:
    """The fields that do not depend on the generation."""
    return {name: value for name, value in asdict(job).items() if name not in GENERATION_FIELDS}


def act(scene: Scene, *, api: Api, accelerator: str, stage: str) -> Simulated:
    """Submit a job and bring it to a stage, the same for both generations; times are whole seconds of the clock."""
    world = scene.cloud.world
    at = world.now
    job = world.submit(
        "bert",
        api=api,
        nodes=2,
        accelerator=accelerator,
        user="ada",
        workspace=SECOND_WORKSPACE,
        engine=Engine(name="PyTorch", version="pytorch_2.1", id="p"),
        submitted_at=at - 600,
    )
    if stage == "initializing":
        return job
    world.enqueue(job)
    if stage == "queued":
        return job
    world.start(job, at=at - 500)
    match stage:
        case "completed":
            world.complete(job, at=at - 20)
        case "failed":
            world.fail(job, at=at - 20)
        case "terminated":
            world.terminate(job, at=at - 20)
        case "lost":
            world.lose(job, at=at - 20)
    return job


async def found(poller: FakePoller, job: Simulated) -> Job:
    """The job after two polls: new in the first one, tracked in the second one."""
    await poller.jobs()
    return (await poller.jobs())[job.id]


@pytest.mark.parametrize("accelerator", ["gpu", "npu", "cpu"])
@pytest.mark.parametrize("stage", STAGES)
async def test_three_ways_to_read_one_job_agree(scene: Scene, accelerator: str, stage: str) -> None:
    """v1 by overview and records, v1 by list and versions, and v2 agree on every field that both generations have."""
    old = act(scene, api="v1", accelerator=accelerator, stage=stage)
    new = act(scene, api="v2", accelerator=accelerator, stage=stage)

    by_overview = await found(scene.v1, old)
    scene.cloud.quirks.on("v1-overview-missing")
    by_list = await found(FakePoller(scene.make_v1(), scene.clock), old)
    by_v2 = await found(scene.v2, new)

    assert by_overview == by_list
    assert common_fields(by_overview) == common_fields(by_v2)
    assert by_overview.status is JobStatus(stage)
    assert by_overview.accelerator is Accelerator(accelerator)
    assert by_overview.spec_accelerators == (0 if accelerator == "cpu" else 16)  # 8 cards on each of 2 nodes
    assert by_overview.user == "ada"
    assert by_overview.workspace_id == SECOND_WORKSPACE
    assert scene.notes.noted == []


async def usage(poller: FakePoller, job: Job) -> JobUsage:
    """The usage of a job from all its tasks."""
    readings = [await poller.source.usage(job, task) for task in poller.source.tasks(job)]
    return combine(summarise(series, idle_threshold=0.05) for series in readings if series is not None)


@pytest.mark.parametrize("accelerator", ["gpu", "npu", "cpu"])
async def test_usage_agrees(scene: Scene, accelerator: str) -> None:
    """The same samples, in the format of each generation, give the same ratios; a CPU job has no cards."""
    samples = {"cpu": [10.0, 50.0], "mem": [40.0, 45.0], "acc": [80.0, 95.5], "acc_mem": [60.0, 61.0]}
    old = act(scene, api="v1", accelerator=accelerator, stage="running")
    new = act(scene, api="v2", accelerator=accelerator, stage="running")
    names = {"cpu": "cpuUsage", "mem": "memUsage"}
    if accelerator != "cpu":
        names |= {"acc": f"{accelerator}Util", "acc_mem": f"{accelerator}MemUsage"}
    series = {name: [-1.0, *samples[short], -1.0] for short, name in names.items()}
    old.series = {"": series}
    new.series = {"worker-0": series, "worker-1": series}

    by_v1 = await usage(scene.v1, await found(scene.v1, old))
    by_v2 = await usage(scene.v2, await found(scene.v2, new))

    assert (by_v1.cpu_ratio, by_v1.memory_ratio) == (by_v2.cpu_ratio, by_v2.memory_ratio) == (0.5, 0.45)
    expected = (None, None) if accelerator == "cpu" else (0.955, 0.61)
    assert (by_v1.accelerator_ratio, by_v1.accelerator_memory_ratio) == expected
    assert (by_v2.accelerator_ratio, by_v2.accelerator_memory_ratio) == expected
    mean = None if accelerator == "cpu" else pytest.approx((0.8 + 0.955) / 2)
    assert by_v1.accelerator_mean_ratio == mean
    assert by_v2.accelerator_mean_ratio == mean
