"""The tables of endpoints of v1, v2 and pools, compared with their recorded responses and the generated page."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.cloud.endpoint_docs import endpoints_markdown
from exporter.cloud.http.endpoint import Endpoint, Fixture
from exporter.cloud.http.errors import InvalidResponse, Refused
from exporter.cloud.http.response import Response, error_for, read_response
from exporter.cloud.pools import adapter as pools_adapter
from exporter.cloud.pools import endpoints as pools
from exporter.cloud.v1 import endpoints as v1
from exporter.cloud.v2 import adapter as v2_adapter
from exporter.cloud.v2 import endpoints as v2
from exporter.cloud.v2.series import series
from exporter.domain.job import Accelerator
from tests.unit.cloud.recorded_unknowns import Notes

FIXTURES = Path(__file__).parents[1] / "fixtures"
TABLES: dict[str, tuple[Endpoint[Any], ...]] = {"v1": v1.ENDPOINTS, "v2": v2.ENDPOINTS, "pools": pools.ENDPOINTS}
"""Each table, by the folder of its recorded responses."""

ENDPOINTS = [pytest.param(endpoint, id=endpoint.name) for table in TABLES.values() for endpoint in table]
RECORDINGS = [
    pytest.param(endpoint, fixture, FIXTURES / folder / fixture.file, id=f"{endpoint.name}-{fixture.file}")
    for folder, table in TABLES.items()
    for endpoint in table
    for fixture in endpoint.fixtures
]
READERS: dict[str, Callable[[Any, Notes], list[Any]]] = {
    v2.SEARCH.name: lambda page, notes: [v2_adapter.job(item, note=notes) for item in page.items or ()],
    v2.DETAIL.name: lambda job, notes: [v2_adapter.job(job, note=notes)],
    v2.METRICS.name: lambda body, notes: [series(body, task="worker-0", accelerator=Accelerator.GPU, note=notes)],
    pools.POOLS.name: lambda page, notes: [
        pools_adapter.pool(item, project="p", note=notes) for item in page.items or ()
    ],
    pools.USAGE.name: lambda page, notes: [pools_adapter.used(item, note=notes) for item in page.items],
    pools.STATISTICS.name: lambda counts, notes: [pools_adapter.statistics(counts, note=notes)],
    pools.WORKLOADS.name: lambda page, notes: [pools_adapter.workload(item, note=notes) for item in page.items],
    pools.FLAVORS.name: lambda page, notes: [pools_adapter.flavor(item, note=notes) for item in page.items],
    pools.QUOTAS.name: lambda quotas, notes: [pools_adapter.quotas(quotas, operation="x", note=notes)],
    pools.TRAINING_QUOTAS.name: lambda quotas, notes: [pools_adapter.quotas(quotas, operation="x", note=notes)],
}
"""How the adapters read a decoded response, item by item; an item is falsy when there is nothing in it."""

NOTHING = {"search_empty.json", "metrics_silent.json", "pools_none.json"}
"""Recordings that hold nothing."""


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_endpoint_is_complete(endpoint: Endpoint[Any]) -> None:
    """Each entry reads only, gives reasons, and has recordings or says why not; only v1 fails in-band (trap 8)."""
    generation = endpoint.name.partition("_")[0]
    where = f"{endpoint.name} in exporter/cloud/*/endpoints.py"
    assert re.fullmatch(r"v[12]_[a-z_]+", endpoint.name), f"{where}: name it v1_… or v2_…, in snake_case"
    assert endpoint.method == ("POST" if endpoint is v2.SEARCH else "GET")  # a search sends its filter as a body
    assert endpoint.path.startswith(f"/{generation}/{{project_id}}/")
    assert len(endpoint.notes) > 80, f"{where}: give the reason for each parameter and its source in `notes`"
    assert bool(endpoint.fixtures) != bool(endpoint.no_fixture_reason), (
        f"{where}: add a recorded response as a Fixture, or say in `no_fixture_reason` why there is none"
    )
    assert endpoint.in_band_failure == (generation == "v1")


def test_names_are_unique() -> None:
    """The name is the value of the label `operation`, so it identifies one call."""
    names = [endpoint.name for table in TABLES.values() for endpoint in table]
    assert len(set(names)) == len(names)


def test_only_metrics_may_be_empty() -> None:
    """Trap 9: an empty body means "not ready" for metrics; for a listing it must not mean "none"."""
    assert [endpoint for table in TABLES.values() for endpoint in table if endpoint.may_be_empty] == [v2.METRICS]


@pytest.mark.parametrize("folder", TABLES)
def test_each_recording_belongs_to_one_endpoint(folder: str) -> None:
    """A file that no endpoint names is not tested; a file that two name has no single reason."""
    claims = Counter(fixture.file for endpoint in TABLES[folder] for fixture in endpoint.fixtures)

    assert set(claims) == {path.name for path in (FIXTURES / folder).iterdir()}
    assert set(claims.values()) == {1}


@pytest.mark.parametrize("endpoint,fixture,path", RECORDINGS)
def test_a_recording_is_read(endpoint: Endpoint[Any], fixture: Fixture, path: Path) -> None:
    """Trap 38: each recording is strict JSON, gives its reason, and decodes and adapts as declared, or is refused."""
    body = path.read_bytes()
    json.loads(body)
    response = Response(status=200, body=body)

    assert len(fixture.why) > 10
    if fixture.file.startswith("refused"):
        with pytest.raises(Refused):
            read_response(response, endpoint.answer, operation=endpoint.name, now=0.0, in_band_failure=True)
        return
    decoded = read_response(
        response, endpoint.answer, operation=endpoint.name, now=0.0, in_band_failure=endpoint.in_band_failure
    )
    assert isinstance(decoded, endpoint.answer)
    if endpoint.name in READERS:
        assert any(READERS[endpoint.name](decoded, Notes())) == (fixture.file not in NOTHING)


@pytest.mark.parametrize(
    "endpoint",
    [v2.SEARCH, pools.POOLS, pools.USAGE, pools.WORKLOADS, pools.FLAVORS],
    ids=lambda endpoint: endpoint.name,
)
def test_a_listing_requires_its_items(endpoint: Endpoint[Any]) -> None:
    """Trap 3: an error with status 200, or any other object without items, does not decode as an empty listing."""
    with pytest.raises(msgspec.ValidationError, match="items"):
        msgspec.json.decode(b'{"kind": "PoolList", "total": 0, "count": 0}', type=endpoint.answer)


def test_statistics_require_counts() -> None:
    """Trap 37 allows `statics` and `statistics`; a response with neither does not mean "no workloads"."""
    with pytest.raises(InvalidResponse, match="neither"):
        pools_adapter.statistics(msgspec.json.decode(b"{}", type=pools.STATISTICS.answer), note=Notes())


def test_quotas_require_a_list() -> None:
    """An object without `resources` does not mean "no quotas"."""
    with pytest.raises(InvalidResponse, match="no list"):
        pools_adapter.quotas(
            msgspec.json.decode(b'{"quotas": {"pool": 1}}', type=pools.QUOTAS.answer), operation="x", note=Notes()
        )


@pytest.mark.parametrize("status", [200, 400, 404, 409])
@pytest.mark.parametrize("file", ["refused.json", "refused_msg.json"])
def test_v1_fails_in_band_at_any_status(status: int, file: str) -> None:
    """Trap 8: `is_success: false` decides, under either key of the text; a 404 with it is not a missing API."""
    response = Response(status=status, body=(FIXTURES / "v1" / file).read_bytes())

    error = error_for(response, operation="v1", now=0.0, in_band_failure=True)

    assert type(error) is Refused
    assert error.code == "ModelArts.0104"
    assert "the parameter is not valid" in str(error)


def test_v1_structs_have_no_field_for_secrets() -> None:
    """Trap 28: the recordings hold secrets such as job parameters; no struct has a field that would read them."""
    assert "SECRET-PARAMETER" in (FIXTURES / "v1" / "versions.json").read_text()
    for endpoint in v1.ENDPOINTS:
        names = {field.encode_name for field in msgspec.structs.fields(endpoint.answer)}
        assert not names & {"parameter", "user_command", "data_url", "train_url", "log_url", "user_image_url"}


@pytest.mark.parametrize("folder", TABLES)
def test_the_page_has_every_endpoint_and_fixture(folder: str) -> None:
    """`docs/endpoints.md` is generated from the tables: path, reason, and why each fixture exists."""
    page = endpoints_markdown()

    for endpoint in TABLES[folder]:
        assert f"### {endpoint.name}\n\n`{endpoint.method} {endpoint.path}`\n\n{endpoint.notes}\n" in page
        for fixture in endpoint.fixtures:
            assert f"| `{folder}/{fixture.file}` | {fixture.why} |" in page


def test_the_page_explains_the_unit_of_v1_rates() -> None:
    """Trap 21: an operator finds on the page that a KB is taken as 1000 bytes."""
    assert "KB a second, taken as 1000 bytes" in endpoints_markdown()
