"""Pools from the simulated world to /metrics over real sockets: values, refusals, failures and API calls."""

from collections.abc import AsyncIterator

import pytest

from exporter.app.once import scrape
from exporter.simulator import Fault, Options, Simulator
from exporter.simulator.options import SECOND_WORKSPACE
from exporter.simulator.world.pool import CPU_POOL, GPU_POOL, LEGACY_POOL, NPU_POOL, NodeGroup
from tests.clock import ManualClock
from tests.e2e.harness import Harness, harness_for, settings_for

RESOURCES = {GPU_POOL: "nvidia.com/gpu", NPU_POOL: "huawei.com/ascend-snt9b", LEGACY_POOL: "tnt004"}
KINDS = {GPU_POOL: "gpu", NPU_POOL: "npu", LEGACY_POOL: "gpu"}
REFUSED = [pytest.param("pools-forbidden", id="403"), pytest.param("no-pools", id="404")]


@pytest.fixture
async def world(clock: ManualClock) -> AsyncIterator[Simulator]:
    """A simulator with many jobs on a manual clock."""
    async with Simulator(Options(jobs=40, history=20), clock=clock) as cloud:
        yield cloud


def group(cloud: Simulator, pool: str) -> NodeGroup:
    return cloud.world.project().pools[pool].groups[0]


def accelerators(harness: Harness, pool: str) -> dict[str, float]:
    """Exported accelerators of a pool by state."""
    return {
        dict(labels)["state"]: value
        for labels, value in harness.samples(
            "modelarts_pool_accelerators", pool_id=pool, resource=RESOURCES[pool], accelerator=KINDS[pool]
        ).items()
    }


def pool_ids(harness: Harness) -> set[str]:
    """Ids of the exported pools."""
    return {dict(labels)["pool_id"] for labels in harness.samples("modelarts_pool_info")}


async def test_pools_equal_the_simulated_world(world: Simulator, clock: ManualClock) -> None:
    """Nodes, accelerators, cores, memory and workloads of every pool equal the simulated world."""
    struck = group(world, GPU_POOL)
    assert world.world.break_nodes(GPU_POOL, 1) == 1
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)

        assert pool_ids(harness) == {GPU_POOL, NPU_POOL, LEGACY_POOL, CPU_POOL}
        assert (
            harness.value("modelarts_pool_info", pool_id=CPU_POOL, workspace_id=SECOND_WORKSPACE, pool_name="etl")
            == 1
        )
        for pool in RESOURCES:
            nodes = group(world, pool)
            parts = accelerators(harness, pool)
            capacity = harness.value("modelarts_pool_accelerator_capacity", pool_id=pool, accelerator=KINDS[pool])
            assert capacity == nodes.slots == sum(parts.values())
            assert parts["allocated"] == nodes.slots - nodes.free_slots > 0
            assert parts["unavailable"] == 8 * len(nodes.broken)
            assert harness.value("modelarts_pool_nodes", pool_id=pool, state="available") == nodes.nodes - len(
                nodes.broken
            )
            assert harness.value("modelarts_pool_spec_nodes", pool_id=pool) == nodes.nodes
        assert harness.value("modelarts_pool_nodes", pool_id=GPU_POOL, state="abnormal") == 1
        assert struck.free[next(iter(struck.broken))] == 8  # so all of it is out of reach, and nothing held twice

        # GPU pool: 12 cores and 96 GiB a card, 0.35 cores and 700 MiB a node, 2 cores and 8 GiB for each of 3 others.
        held = struck.slots - struck.free_slots
        cores = held * 12 + struck.nodes * 0.35 + 3 * 2
        memory = held * 96 * 1024 + struck.nodes * 700 + 3 * 8 * 1024
        assert harness.value("modelarts_pool_cpu_allocated_cores", pool_id=GPU_POOL) == pytest.approx(cores)
        assert harness.value("modelarts_pool_cpu_capacity_cores", pool_id=GPU_POOL) == struck.nodes * 104
        assert harness.value("modelarts_pool_memory_allocated_bytes", pool_id=GPU_POOL) == memory * 1024**2
        assert harness.value("modelarts_pool_memory_capacity_bytes", pool_id=GPU_POOL) == struck.nodes * 800 * 1024**3

        running = sum(job.state.runs for job in world.world.unfinished if job.pool == GPU_POOL)
        assert running > 0
        assert harness.value("modelarts_pool_workloads", pool_id=GPU_POOL, kind="train", status="running") == running
        assert harness.value("modelarts_pool_workloads", pool_id=GPU_POOL, kind="notebook", status="running") == 2
        assert harness.value("modelarts_quota_used", resource="pool") == 4
        assert harness.value("modelarts_quota", resource="job-num") == 1000


async def test_pool_ids_match_those_of_jobs(world: Simulator, clock: ManualClock) -> None:
    """The pool id equals the label pool_id of its jobs, so that both can be joined."""
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)
        of_jobs = {dict(labels)["pool_id"] for labels in harness.samples("modelarts_training_job_info")} - {""}

        assert of_jobs
        assert of_jobs <= pool_ids(harness)


async def test_a_cpu_pool_has_no_accelerators(world: Simulator, clock: ManualClock) -> None:
    """A CPU pool has cores and no accelerator series, not even zeros. The public pool has no series."""
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)

        assert harness.samples("modelarts_pool_accelerator_capacity", pool_id=CPU_POOL) == {}
        assert harness.samples("modelarts_pool_accelerators", pool_id=CPU_POOL) == {}
        assert (
            harness.value("modelarts_pool_cpu_capacity_cores", pool_id=CPU_POOL) == 16 * group(world, CPU_POOL).nodes
        )
        assert harness.samples("modelarts_pool_info", pool_id="") == {}


@pytest.mark.parametrize("quirk", ["", "pools-capacity-available"])
async def test_broken_nodes_are_exported_until_repaired(world: Simulator, clock: ManualClock, quirk: str) -> None:
    """Whether the API's capacity includes abnormal nodes or not, the states sum up to all accelerators."""
    if quirk:
        world.quirks.on(quirk)
    nodes = group(world, NPU_POOL)
    empty = nodes.free.count(8)
    assert world.world.break_nodes(NPU_POOL, 2) == 2
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)
        parts = accelerators(harness, NPU_POOL)
        assert sum(parts.values()) == nodes.slots
        assert empty >= 2
        assert parts["unavailable"] == 16
        assert parts["free"] == nodes.free_slots - 16

        world.world.repair_nodes(NPU_POOL)
        await harness.poll(pools=True)
        parts = accelerators(harness, NPU_POOL)
        assert (parts["unavailable"], sum(parts.values())) == (0, nodes.slots)


async def test_without_flavors_free_is_not_guessed(world: Simulator, clock: ManualClock) -> None:
    """Without node flavors and with abnormal nodes only allocated is exported; a healthy pool has all states."""
    world.faults.add(Fault("403", operation="v1.resource-flavors"))
    world.world.break_nodes(GPU_POOL, 1)
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)

        assert accelerators(harness, GPU_POOL).keys() == {"allocated"}
        assert accelerators(harness, NPU_POOL).keys() == {"allocated", "free", "unavailable"}
        masked = harness.samples("modelarts_pool_accelerator_capacity", pool_id=LEGACY_POOL, resource="tnt004")
        assert [dict(labels)["accelerator"] for labels in masked] == ["unknown"]
        assert harness.value("modelarts_collector_up", collector="pools") == 1


@pytest.mark.parametrize("quirk", REFUSED)
async def test_refused_pools_are_disabled_until_allowed(world: Simulator, clock: ManualClock, quirk: str) -> None:
    """Refused pools are disabled, which is a metric and no failure; hourly calls find out when they are allowed."""
    world.quirks.on(quirk)
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)
        assert harness.value("modelarts_collector_enabled", collector="pools") == 0
        assert harness.value("modelarts_collector_up", collector="pools") is None
        assert pool_ids(harness) == set()
        assert harness.samples("modelarts_quota") == {}
        assert harness.value("modelarts_up") == 1
        assert harness.value("modelarts_collector_enabled", collector="jobs") == 1
        assert harness.value("modelarts_exporter_circuit_open") == 0
        assert harness.statuses()

        world.requests.clear()
        clock.turn(1800)
        await harness.poll(pools=True)
        assert world.requests.count("v2.pool*") == 0
        clock.turn(1800)
        await harness.poll(pools=True)
        assert world.requests.count("v2.pools") == len(world.options.projects[0].workspaces)

        world.quirks.off(quirk)
        clock.turn(3600)
        await harness.poll(pools=True)
        assert harness.value("modelarts_collector_enabled", collector="pools") == 1
        assert harness.value("modelarts_collector_up", collector="pools") == 1
        assert len(pool_ids(harness)) == 4


async def test_a_lost_permission_takes_two_polls(world: Simulator, clock: ManualClock) -> None:
    """The first refusal is a failure and keeps the pools. The second disables the collector."""
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)
        world.quirks.on("pools-forbidden")
        clock.turn(60)
        await harness.poll(pools=True)
        assert harness.value("modelarts_collector_up", collector="pools") == 0
        assert len(pool_ids(harness)) == 4

        clock.turn(60)
        await harness.poll(pools=True)
        assert harness.value("modelarts_collector_enabled", collector="pools") == 0
        assert pool_ids(harness) == set()


@pytest.mark.parametrize(
    "operation, lost",
    [
        pytest.param("v2.pool-usage", "modelarts_pool_accelerators", id="usage"),
        pytest.param("v2.pool-statistics", "modelarts_pool_workloads", id="statistics"),
        pytest.param("v1.quotas", 'modelarts_quota{project="vision",resource="pool"}', id="quotas"),
    ],
)
async def test_one_failing_call_hides_only_its_data(
    world: Simulator, clock: ManualClock, operation: str, lost: str
) -> None:
    """The collector is down, the data of the failed call is absent, all other data is there."""
    everything = ("modelarts_pool_accelerators", "modelarts_pool_workloads", "modelarts_pool_nodes")
    world.faults.add(Fault("500", operation=operation))
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)
        text = harness.text()

        assert harness.value("modelarts_collector_up", collector="pools") == 0
        assert harness.value("modelarts_collector_enabled", collector="pools") == 1
        assert harness.value("modelarts_up") == 1
        assert f"\n{lost}" not in text
        for name in everything:
            assert (f"\n{name}{{" in text) == (name != lost)

        world.faults.clear()
        clock.turn(600)  # beyond the longest pause of the circuit
        await harness.poll(pools=True)
        assert harness.value("modelarts_collector_up", collector="pools") == 1
        assert f"\n{lost}" in harness.text()


async def test_stale_pools_are_withdrawn_and_return(world: Simulator, clock: ManualClock) -> None:
    """While only pools fail they stay for `stale_after`, are withdrawn, and return; jobs stay all the time."""
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll(pools=True)
        world.faults.add(Fault("503", operation="v2.pool*"))
        clock.turn(240)
        await harness.poll(pools=True)
        assert len(pool_ids(harness)) == 4
        clock.turn(60)
        await harness.poll(pools=True)
        assert pool_ids(harness) == set()
        assert harness.samples("modelarts_pool_accelerators") == {}
        assert harness.statuses()
        assert harness.value("modelarts_up") == 1

        world.faults.clear()
        clock.turn(600)
        await harness.poll(pools=True)
        assert len(pool_ids(harness)) == 4


async def test_the_calls_of_a_pools_poll(world: Simulator, clock: ManualClock) -> None:
    """A poll takes workspaces + 1 + pools calls, and sometimes flavors (2 pages) and quotas (2 calls)."""
    workspaces = len(world.options.projects[0].workspaces)
    async with harness_for(settings_for(world), clock) as harness:
        await harness.poll()
        world.requests.clear()
        await harness.pollers[0].poll_pools()
        assert world.requests.count() == workspaces + 1 + 4 + 2 + 2
        for _ in range(3):
            world.requests.clear()
            clock.turn(60)
            await harness.pollers[0].poll_pools()
            assert world.requests.count() == workspaces + 1 + 4


async def test_a_filter_on_pools_narrows_them(world: Simulator, clock: ManualClock) -> None:
    """Pools outside the filter have no series and take no call of their own."""
    async with harness_for(settings_for(world, filters={"pools": [GPU_POOL, ""]}), clock) as harness:
        await harness.poll(pools=True)

        assert pool_ids(harness) == {GPU_POOL}
        assert world.requests.count("v2.pool-statistics") == 1


@pytest.mark.parametrize(
    "quirk",
    ["pools-objects", "pools-statics", "pools-no-statistics", "v1-numbers-as-strings", "v2-numbers-as-strings"],
)
async def test_the_shape_of_the_response_does_not_matter(world: Simulator, clock: ManualClock, quirk: str) -> None:
    """Arrays or objects, numbers or texts: the same lines. Without statistics there are no zeros."""

    async def page() -> set[str]:
        async with harness_for(settings_for(world), clock) as harness:
            await harness.poll(pools=True)
            lines = harness.text().splitlines()
            return {line for line in lines if line.startswith(("modelarts_pool", "modelarts_quota"))}

    plain = await page()
    world.quirks.on(quirk)
    changed = await page()

    zeros = {line for line in plain if line.startswith("modelarts_pool_workloads") and line.endswith(" 0")}
    assert changed | zeros == plain
    assert changed == plain or quirk == "pools-no-statistics"


async def test_scrape_polls_pools_too(world: Simulator, clock: ManualClock) -> None:
    """`modelarts-exporter scrape` exports pools and counts their calls."""
    once = await scrape(settings_for(world), clock=clock)

    assert b"modelarts_pool_accelerator_capacity{" in once.text
    assert once.calls == world.requests.count()
    assert world.requests.count("v2.pool-usage") == 1
