"""The pools source against the simulator: every call of the table is made, in every shape of the responses."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from exporter.cloud.pools.endpoints import (
    ENDPOINTS,
    FLAVORS,
    POOLS,
    QUOTAS,
    STATISTICS,
    TRAINING_QUOTAS,
    USAGE,
    WORKLOADS,
)
from exporter.cloud.pools.source import CloudPools
from exporter.domain.pool import Pool, PoolPollResult
from exporter.simulator import Options
from exporter.simulator.api.dispatch import ROUTES
from tests.clock import ManualClock
from tests.contract.simulated import Scene, scene_of

OPERATIONS = {
    POOLS.name: "v2.pools",
    USAGE.name: "v2.pool-usage",
    STATISTICS.name: "v2.pool-statistics",
    WORKLOADS.name: "v2.pool-workloads",
    FLAVORS.name: "v1.resource-flavors",
    QUOTAS.name: "v1.quotas",
    TRAINING_QUOTAS.name: "v2.training-quotas",
}
"""The simulator's name of each call."""


@pytest.fixture
async def scene(clock: ManualClock) -> AsyncIterator[Scene]:
    async with scene_of(Options(jobs=60, history=10), clock) as scene:
        yield scene


def without_zeros(result: PoolPollResult) -> dict[str, Pool]:
    """The pools without zero counts of workloads: statistics report a 0, a list of workloads has no entry for it."""
    return {
        pool_id: replace(pool, workloads={key: number for key, number in (pool.workloads or {}).items() if number})
        for pool_id, pool in (result.pools or {}).items()
    }


def pools_of(scene: Scene) -> CloudPools:
    return CloudPools(
        scene.client,
        project="vision",
        workspaces=scene.workspaces,
        clock=scene.clock,
        note=scene.notes,
        keep_s=300.0,
    )


def test_the_simulator_has_the_same_paths() -> None:
    """The simulator, which shares no code with the client, serves each call at the path that the client uses."""
    routes = {route.operation: route.path for route in ROUTES}

    for endpoint in ENDPOINTS:
        assert routes[OPERATIONS[endpoint.name]] == endpoint.path.replace("{project_id}", "{project}")


@pytest.mark.parametrize("quirks", [(), ("pools-no-statistics",), ("pools-statics", "pools-objects")], ids="+".join)
async def test_every_call_is_made_and_decoded(scene: Scene, quirks: tuple[str, ...]) -> None:
    """One poll makes each call of the table, and no value of the simulator is unknown, in any shape."""
    scene.cloud.quirks.on(*quirks)
    scene.cloud.requests.clear()

    result = await pools_of(scene).poll(answer_by=scene.clock.monotonic() + 30)

    called = set(scene.cloud.requests.counts()) - {"v1.workspaces"}
    unused = {OPERATIONS[WORKLOADS.name]} if "pools-no-statistics" not in quirks else set()
    assert called == set(OPERATIONS.values()) - unused
    assert result.failures == ()
    assert result.pools is not None
    assert len(result.pools) == 4
    assert scene.notes.noted == []


@pytest.mark.parametrize(
    "quirks",
    [
        ("pools-objects",),
        ("pools-statics",),
        ("pools-no-statistics",),
        ("v1-numbers-as-strings", "v2-numbers-as-strings"),
    ],
    ids="+".join,
)
async def test_the_shape_of_a_response_does_not_matter(scene: Scene, quirks: tuple[str, ...]) -> None:
    """Traps 36 and 37: arrays or objects, numbers or text, statistics or none: pools and quotas are the same."""
    scene.cloud.world.break_nodes("pool-vision-a100", 2)
    plain = await pools_of(scene).poll(answer_by=scene.clock.monotonic() + 30)
    scene.cloud.quirks.on(*quirks)

    changed = await pools_of(scene).poll(answer_by=scene.clock.monotonic() + 30)

    assert without_zeros(plain) == without_zeros(changed)
    assert plain.quotas == changed.quotas
