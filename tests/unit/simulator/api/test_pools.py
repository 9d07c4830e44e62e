from collections.abc import AsyncIterator
from typing import Any

import pytest

from exporter.simulator import Options, Simulator
from exporter.simulator.world.pool import GPU_POOL, NPU_POOL, NodeGroup
from tests.clock import ManualClock
from tests.unit.simulator.client import Client

POOLS = "/v2/{project}/pools"
USAGE = "/v2/{project}/metrics/runtime/pools"


@pytest.fixture
async def cloud(clock: ManualClock) -> AsyncIterator[Simulator]:
    """A simulator with running jobs, in place of an empty one."""
    async with Simulator(Options(jobs=60, history=10), clock=clock) as cloud:
        yield cloud


def group(cloud: Simulator, pool: str) -> NodeGroup:
    return cloud.world.project().pools[pool].groups[0]


async def items(client: Client, path: str) -> dict[str, dict[str, Any]]:
    """Items of a list, by name."""
    response = await client.get(path)
    assert response.status == 200, response.body
    return {item["metadata"]["name"]: item for item in response.body["items"]}


async def test_manually_started_job_is_allocated(cloud: Simulator, client: Client) -> None:
    """The cards of a job that was started without a placement count as allocated."""
    name = "huawei.com/ascend-snt9b"
    before = (await items(client, USAGE))[NPU_POOL]["table"]["allocated"]["value"][name]
    cloud.world.start(cloud.world.submit(pool=NPU_POOL, accelerator="npu", nodes=2, accelerators_per_node=4))

    assert (await items(client, USAGE))[NPU_POOL]["table"]["allocated"]["value"][name] == before + 8


async def test_workloads(cloud: Simulator, client: Client) -> None:
    """Workloads are the unfinished jobs, notebooks and services, counted by type and status, and listed in pages."""
    own = [job for job in cloud.world.unfinished if job.pool == GPU_POOL]
    counts = (await client.get(f"/v2/{{project}}/statistics/pools/{GPU_POOL}/workloads")).body["statistics"]
    listed = (await client.get(f"{POOLS}/{GPU_POOL}/workloads")).body["items"]
    page = (await client.get(f"{POOLS}/{GPU_POOL}/workloads?offset=1&limit=2&type=train")).body["items"]

    by_type = {item["type"]: item for item in counts["items"]}
    assert by_type["train"]["total"] == sum(by_type["train"]["status"].values()) == len(own)
    assert by_type["train"]["status"]["Running"] == sum(job.state.runs for job in own)
    assert (by_type["notebook"]["total"], by_type["infer"]["total"]) == (2, 1)
    assert len(listed) == len(own) + 3
    assert [item["jobUUID"] for item in page] == [job.id for job in own[1:3]]


@pytest.mark.parametrize("quirk, status", [("no-pools", 404), ("pools-forbidden", 403)])
async def test_quirks_of_all_calls(cloud: Simulator, client: Client, quirk: str, status: int) -> None:
    """Each quirk makes every call about pools, node flavors and quotas fail."""
    cloud.quirks.on(quirk)

    for path in (
        POOLS,
        USAGE,
        f"/v2/{{project}}/statistics/pools/{GPU_POOL}/workloads",
        f"{POOLS}/{GPU_POOL}/workloads",
        "/v1/{project}/resourceflavors",
        "/v1/{project}/quotas",
        "/v2/{project}/training-quotas",
    ):
        assert (await client.get(path)).status == status


async def test_broken_nodes(cloud: Simulator, client: Client) -> None:
    """Nodes broken through the control API are abnormal, not available, until they are repaired."""
    nodes = group(cloud, GPU_POOL).nodes

    async def states() -> dict[str, int]:
        resources = (await items(client, POOLS))[GPU_POOL]["status"]["resources"]
        return {state: sum(each["count"] for each in counts) for state, counts in resources.items()}

    await client.send("POST", f"/simulator/pools/{GPU_POOL}/break", body={"nodes": 2})
    assert await states() == {"creating": 0, "available": nodes - 2, "abnormal": 2, "deleting": 0}
    pools = (await client.send("GET", "/simulator/pools")).body["pools"]
    assert {pool["id"]: pool["groups"][0]["broken"] for pool in pools}[GPU_POOL] == 2
    await client.send("POST", f"/simulator/pools/{GPU_POOL}/repair", body={})
    assert (await states())["abnormal"] == 0
    for step in ("break", "repair"):
        wrong = await client.send("POST", f"/simulator/pools/nowhere/{step}", body={})
        assert (wrong.status, "nowhere" in wrong.body["error"]) == (400, True)
