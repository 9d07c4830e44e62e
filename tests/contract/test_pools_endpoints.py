"""The table of calls about pools, held against its recordings and against what the program really asks."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.cloud.endpoint_docs import endpoints_markdown
from exporter.cloud.http.endpoint import Endpoint, Fixture
from exporter.cloud.http.errors import InvalidResponse
from exporter.cloud.pools import adapter
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
from tests.unit.cloud.recorded_unknowns import Notes

FOLDER = Path(__file__).parents[1] / "fixtures" / "pools"

CLAIMS = [
    pytest.param(endpoint, fixture, id=f"{endpoint.name}-{fixture.file}")
    for endpoint in ENDPOINTS
    for fixture in endpoint.fixtures
]
OPERATIONS = {
    POOLS.name: "v2.pools",
    USAGE.name: "v2.pool-usage",
    STATISTICS.name: "v2.pool-statistics",
    WORKLOADS.name: "v2.pool-workloads",
    FLAVORS.name: "v1.resource-flavors",
    QUOTAS.name: "v1.quotas",
    TRAINING_QUOTAS.name: "v2.training-quotas",
}
"""What the simulator calls the same call."""


@pytest.fixture
async def scene(clock: ManualClock) -> AsyncIterator[Scene]:
    async with scene_of(Options(jobs=60, history=10), clock) as scene:
        yield scene


def without_zeros(sighting: PoolPollResult) -> dict[str, Pool]:
    """The pools, of whose workloads a list mentions no status that none is in, where statistics write 0."""
    return {
        pool_id: replace(pool, workloads={key: number for key, number in (pool.workloads or {}).items() if number})
        for pool_id, pool in (sighting.pools or {}).items()
    }


def pools_of(scene: Scene) -> CloudPools:
    return CloudPools(
        scene.transport,
        project="vision",
        workspaces=scene.workspaces,
        clock=scene.clock,
        note=scene.notes,
        keep_s=300.0,
    )


@pytest.mark.parametrize("endpoint", [pytest.param(endpoint, id=endpoint.name) for endpoint in ENDPOINTS])
def test_an_endpoint_explains_itself(endpoint: Endpoint[Any]) -> None:
    """Each entry only reads, says why it has its shape, and has recordings; v1 alone may fail in-band (trap 8)."""
    generation = endpoint.name.partition("_")[0]
    assert re.fullmatch(r"v[12]_[a-z_]+", endpoint.name)
    assert endpoint.method == "GET"
    assert endpoint.path.startswith(f"/{generation}/{{project_id}}/")
    assert len(endpoint.notes) > 80
    assert bool(endpoint.fixtures) != bool(endpoint.no_fixture_reason)
    assert endpoint.in_band_failure == (generation == "v1")
    assert not endpoint.may_be_empty


def test_each_recording_is_claimed_once() -> None:
    """A file nobody claims pins nothing, and one claimed twice has no single reason."""
    claims = Counter(fixture.file for endpoint in ENDPOINTS for fixture in endpoint.fixtures)

    assert set(claims) == {path.name for path in FOLDER.iterdir()}
    assert set(claims.values()) == {1}


@pytest.mark.parametrize("endpoint,fixture", CLAIMS)
def test_a_recording_decodes_and_is_read(endpoint: Endpoint[Any], fixture: Fixture) -> None:
    """Trap 38: each recording is strict JSON, says why it exists, decodes as declared, and can be adapted."""
    raw = (FOLDER / fixture.file).read_bytes()
    json.loads(raw)
    answer = msgspec.json.decode(raw, type=endpoint.answer)
    notes = Notes()

    assert len(fixture.why) > 10
    if endpoint is POOLS:
        pools = [adapter.pool(item, project="p", note=notes) for item in answer.items or ()]
        assert any(pools) or fixture.file == "pools_none.json"
    elif endpoint is USAGE:
        assert any(adapter.used(item, note=notes) for item in answer.items)
    elif endpoint is STATISTICS:
        assert adapter.statistics(answer, note=notes)
    elif endpoint is WORKLOADS:
        assert any(adapter.workload(item, note=notes) for item in answer.items)
    elif endpoint is FLAVORS:
        assert any(adapter.flavor(item, note=notes) for item in answer.items)
    else:
        assert adapter.quotas(answer, operation=endpoint.name, note=notes)


@pytest.mark.parametrize("endpoint", [POOLS, USAGE, WORKLOADS, FLAVORS], ids=lambda endpoint: endpoint.name)
def test_a_listing_without_items_is_no_listing(endpoint: Endpoint[Any]) -> None:
    """An error told with status 200, or any object without items, must not pass for "there are none"."""
    with pytest.raises(msgspec.ValidationError, match="items"):
        msgspec.json.decode(b'{"kind": "PoolList"}', type=endpoint.answer)


def test_counts_without_either_name_are_no_counts() -> None:
    """Trap 37 allows `statics` and `statistics`; an answer with neither must not pass for "no workloads"."""
    with pytest.raises(InvalidResponse, match="neither"):
        adapter.statistics(msgspec.json.decode(b"{}", type=STATISTICS.answer), note=Notes())


def test_quotas_that_are_no_list_are_none() -> None:
    """An object without `resources` is not an empty list of quotas."""
    with pytest.raises(InvalidResponse, match="no list"):
        adapter.quotas(
            msgspec.json.decode(b'{"quotas": {"pool": 1}}', type=QUOTAS.answer), operation="x", note=Notes()
        )


def test_the_page_names_every_call_and_fixture() -> None:
    """`docs/endpoints.md` has a chapter about these calls too."""
    page = endpoints_markdown()

    for endpoint in ENDPOINTS:
        assert f"### {endpoint.name}\n\n`{endpoint.method} {endpoint.path}`\n\n{endpoint.notes}\n" in page
        for fixture in endpoint.fixtures:
            assert f"| `pools/{fixture.file}` | {fixture.why} |" in page


def test_the_simulator_answers_under_the_same_paths() -> None:
    """The simulator, written by itself, has each call at the path at which the exporter asks for it."""
    routes = {route.operation: route.path for route in ROUTES}

    for endpoint in ENDPOINTS:
        assert routes[OPERATIONS[endpoint.name]] == endpoint.path.replace("{project_id}", "{project}")


@pytest.mark.parametrize("quirks", [(), ("pools-no-statistics",), ("pools-statics", "pools-objects")], ids="+".join)
async def test_every_call_is_made_and_understood(scene: Scene, quirks: tuple[str, ...]) -> None:
    """A look makes each call of the table, and nothing the simulator writes in any shape is unknown."""
    scene.cloud.quirks.on(*quirks)
    scene.cloud.requests.clear()

    sighting = await pools_of(scene).poll(answer_by=scene.clock.monotonic() + 30)

    asked = set(scene.cloud.requests.counts()) - {"v1.workspaces"}
    left_out = {OPERATIONS[WORKLOADS.name]} if "pools-no-statistics" not in quirks else set()
    assert asked == set(OPERATIONS.values()) - left_out
    assert sighting.failures == ()
    assert sighting.pools is not None
    assert len(sighting.pools) == 4
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
async def test_the_shape_of_an_answer_changes_nothing(scene: Scene, quirks: tuple[str, ...]) -> None:
    """Traps 36 and 37: arrays or objects, numbers or text, statistics or none, the pools and quotas are the same."""
    scene.cloud.world.break_nodes("pool-vision-a100", 2)
    plain = await pools_of(scene).poll(answer_by=scene.clock.monotonic() + 30)
    scene.cloud.quirks.on(*quirks)

    bent = await pools_of(scene).poll(answer_by=scene.clock.monotonic() + 30)

    assert without_zeros(plain) == without_zeros(bent)
    assert plain.quotas == bent.quotas
