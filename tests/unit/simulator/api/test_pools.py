"""Pools of the simulated cloud: the calls tell what the world holds, and broken nodes take nothing new."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from exporter.simulator import Options, Simulator, World
from exporter.simulator.options import SECOND_WORKSPACE
from exporter.simulator.world.job import JobScript, JobState
from exporter.simulator.world.pool import CPU_POOL, GPU_POOL, LEGACY_POOL, NPU_POOL, NodeGroup
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Visitor

NOW = 1_700_000_000.0


@pytest.fixture
async def busy(clock: ManualClock) -> AsyncIterator[Simulator]:
    async with Simulator(Options(jobs=60, history=10), clock=clock) as cloud:
        yield cloud


@pytest.fixture
async def guest(busy: Simulator) -> AsyncIterator[Visitor]:
    async with Visitor(busy) as visitor:
        yield visitor


def group(cloud: Simulator, pool: str) -> NodeGroup:
    return cloud.world.project().pools[pool].groups[0]


async def items(visitor: Visitor, path: str) -> dict[str, dict[str, Any]]:
    """Items of a listing by name."""
    answer = await visitor.get(path)
    assert answer.status == 200, answer.body
    return {item["metadata"]["name"]: item for item in answer.body["items"]}


async def test_pools_are_listed_by_workspace(guest: Visitor) -> None:
    """Without a workspace the default one is meant, as everywhere; the public pool is in none."""
    assert (await items(guest, "/v2/{project}/pools")).keys() == {GPU_POOL, NPU_POOL, LEGACY_POOL}
    assert (await items(guest, f"/v2/{{project}}/pools?workspaceId={SECOND_WORKSPACE}")).keys() == {CPU_POOL}


async def test_what_is_allocated_is_what_jobs_hold(busy: Simulator, guest: Visitor) -> None:
    """Cards are those of placed jobs, under the pool's own name for them; cores come in thousandths."""
    told = await items(guest, "/v2/{project}/metrics/runtime/pools")

    for pool, name in ((GPU_POOL, "nvidia.com/gpu"), (NPU_POOL, "huawei.com/ascend-snt9b"), (LEGACY_POOL, "tnt004")):
        nodes = group(busy, pool)
        table = told[pool]["table"]
        held = sum(
            job.nodes * job.flavor.cards for job in busy.world.unfinished if job.pool == pool and job.placement
        )
        assert table["allocated"]["value"][name] == held == nodes.slots - nodes.free_slots
        assert table["capacity"]["value"][name] == nodes.slots == nodes.nodes * 8
    assert set(told[CPU_POOL]["table"]["capacity"]["value"]) == {"cpu", "memory"}
    assert any(str(each["table"]["allocated"]["value"]["cpu"]).endswith("m") for each in told.values())


async def test_a_job_started_by_hand_holds_cards_too(cloud: Simulator, visitor: Visitor) -> None:
    """It asked no pool for room, and is running there all the same."""
    cloud.world.start(cloud.world.submit(pool=NPU_POOL, accelerator="npu", nodes=2, accelerators_per_node=4))

    told = await items(visitor, "/v2/{project}/metrics/runtime/pools")

    assert told[NPU_POOL]["table"]["allocated"]["value"]["huawei.com/ascend-snt9b"] == 8


async def test_workloads_are_the_jobs_that_have_not_ended(busy: Simulator, guest: Visitor) -> None:
    """Counted and listed, by type and status, in pages."""
    mine = [job for job in busy.world.unfinished if job.pool == GPU_POOL]
    counted = (await guest.get(f"/v2/{{project}}/statistics/pools/{GPU_POOL}/workloads")).body["statistics"]
    listed = (await guest.get(f"/v2/{{project}}/pools/{GPU_POOL}/workloads")).body["items"]
    page = (await guest.get(f"/v2/{{project}}/pools/{GPU_POOL}/workloads?offset=1&limit=2&type=train")).body["items"]

    by_type = {item["type"]: item for item in counted["items"]}
    assert by_type["train"]["total"] == sum(by_type["train"]["status"].values()) == len(mine)
    assert by_type["train"]["status"]["Running"] == sum(job.state.runs for job in mine)
    assert (by_type["notebook"]["total"], by_type["infer"]["total"]) == (2, 1)
    assert len(listed) == len(mine) + 3
    assert [item["jobUUID"] for item in page] == [job.id for job in mine[1:3]]


async def test_an_unknown_pool_is_not_found(guest: Visitor) -> None:
    """As documented: 404 with ModelArts.50015001, by either call."""
    for path in ("statistics/pools/nowhere/workloads", "pools/nowhere/workloads"):
        answer = await guest.get(f"/v2/{{project}}/{path}")
        assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.50015001")


async def test_flavors_go_on_by_a_token(guest: Visitor) -> None:
    """Two a page, until the metadata has no token; the masked flavor has GPUs."""
    names: list[str] = []
    token = ""
    while True:
        body = (await guest.get(f"/v1/{{project}}/resourceflavors{f'?continue={token}' if token else ''}")).body
        names += [item["metadata"]["name"] for item in body["items"]]
        if not (token := body["metadata"].get("continue", "")):
            break

    assert len(names) == len(set(names)) == 4
    assert "modelarts.vm.tnt004.8xlarge" in names


async def test_quotas_count_what_there_is(busy: Simulator, guest: Visitor) -> None:
    """Four pools of fifteen, and every unfinished job of the new generation."""
    pools = (await guest.get("/v1/{project}/quotas")).body["quotas"]["resources"]
    training = (await guest.get("/v2/{project}/training-quotas")).body["quotas"]

    assert {"type": "pool", "quota": 15, "used": 4} in pools
    jobs = sum(job.api == "v2" for job in busy.world.unfinished)
    assert training == [{"resource": "job-num", "quota": 1000, "used": jobs}]


PATHS = (
    "/v2/{project}/pools",
    "/v2/{project}/metrics/runtime/pools",
    f"/v2/{{project}}/statistics/pools/{GPU_POOL}/workloads",
    f"/v2/{{project}}/pools/{GPU_POOL}/workloads",
    "/v1/{project}/resourceflavors",
    "/v1/{project}/quotas",
    "/v2/{project}/training-quotas",
)


@pytest.mark.parametrize("quirk, status", [("no-pools", 404), ("pools-forbidden", 403)])
@pytest.mark.parametrize("path", PATHS)
async def test_a_quirk_refuses_all_of_it(busy: Simulator, guest: Visitor, quirk: str, status: int, path: str) -> None:
    """Some clouds have no such calls, some users may not make them."""
    assert (await guest.get(path)).status == 200
    busy.quirks.on(quirk)
    assert (await guest.get(path)).status == status


async def test_broken_nodes_are_abnormal_until_they_are_mended(busy: Simulator, guest: Visitor) -> None:
    """By hand over HTTP: two nodes are no longer available, and are again."""
    nodes = group(busy, GPU_POOL).nodes

    async def states() -> dict[str, int]:
        told = (await items(guest, "/v2/{project}/pools"))[GPU_POOL]["status"]["resources"]
        return {state: sum(each["count"] for each in counts) for state, counts in told.items()}

    await guest.ask("POST", f"/simulator/pools/{GPU_POOL}/break", body={"nodes": 2})
    assert await states() == {"creating": 0, "available": nodes - 2, "abnormal": 2, "deleting": 0}
    told = (await guest.ask("GET", "/simulator/pools")).body["pools"]
    assert {pool["id"]: pool["groups"][0]["broken"] for pool in told}[GPU_POOL] == 2
    await guest.ask("POST", f"/simulator/pools/{GPU_POOL}/repair", body={})
    assert (await states())["abnormal"] == 0
    wrong = await guest.ask("POST", "/simulator/pools/nowhere/break", body={})
    assert (wrong.status, "nowhere" in wrong.body["error"]) == (400, True)


async def test_a_wholly_broken_pool_is_abnormal(busy: Simulator, guest: Visitor) -> None:
    """Its phase says so, and with the quirk its capacity is 0."""
    assert busy.world.break_nodes(GPU_POOL, 1_000) == group(busy, GPU_POOL).nodes
    busy.quirks.on("pools-capacity-available")

    assert (await items(guest, "/v2/{project}/pools"))[GPU_POOL]["status"]["phase"] == "Abnormal"
    usage = await items(guest, "/v2/{project}/metrics/runtime/pools")
    assert usage[GPU_POOL]["table"]["capacity"]["value"]["nvidia.com/gpu"] == 0


def test_a_broken_node_takes_nothing_new() -> None:
    """With every node broken a job waits; once they are mended it is placed at once."""
    world = World(Options(empty=True), now=NOW)
    assert world.break_nodes(NPU_POOL, 2) == 2
    plan = JobScript(create_s=10.0, pull_s=10.0, run_s=600.0, outcome=JobState.COMPLETED)
    job = world.submit(pool=NPU_POOL, accelerator="npu", accelerators_per_node=8, script=plan)
    world.advance(60)
    assert (job.state, job.placement) == (JobState.QUEUED, None)

    world.repair_nodes(NPU_POOL)

    assert job.placement is not None


def test_the_emptiest_nodes_break_first() -> None:
    """A node that is in use is struck only when no empty one is left, and goes on."""
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


def test_nodes_break_by_chance_and_are_mended() -> None:
    """With six breakdowns an hour some nodes are broken now and then, never more than a third of a pool."""
    world = World(Options(jobs=100, history=0, breakdowns=6.0), now=NOW)
    seen = set()
    for _ in range(24 * 6):
        world.advance(600)
        groups = [each for pool in world.project().pools.values() for each in pool.groups]
        assert all(3 * len(each.broken) <= each.nodes for each in groups)
        seen.add(sum(len(each.broken) for each in groups))
    assert min(seen) < max(seen)
    assert not any(each.broken for each in world.project().pools[""].groups)


def test_breakdowns_have_dice_of_their_own() -> None:
    """Whoever asks for none gets the world there was before; the same seed breaks the same nodes."""

    def story(breakdowns: float) -> list[tuple[float, list[set[int]]]]:
        world = World(Options(jobs=100, history=0, breakdowns=breakdowns), now=NOW)
        told = []
        for _ in range(50):
            world.advance(600)
            pools = world.project().pools.values()
            told.append((world.now, [set(each.broken) for pool in pools for each in pool.groups]))
        return told

    assert story(6.0) == story(6.0)
    assert not any(broken for _, groups in story(0.0) for broken in groups)
