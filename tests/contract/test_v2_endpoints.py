"""The table of v2 endpoints, held against its recordings and against what the program really asks."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.cloud.http.endpoint import Endpoint, Fixture
from exporter.cloud.v2 import adapter, wire
from exporter.cloud.v2.endpoints import DETAIL, ENDPOINTS, METRICS, SEARCH
from exporter.cloud.v2.series import series
from exporter.domain.job import Accelerator

FOLDER = Path(__file__).parents[1] / "fixtures" / "v2"

CLAIMS = [
    pytest.param(endpoint, fixture, id=f"{endpoint.name}-{fixture.file}")
    for endpoint in ENDPOINTS
    for fixture in endpoint.fixtures
]


def ignore(field: str, value: object) -> None:
    """Take no notice: what is noted is the unit tests' matter."""


@pytest.mark.parametrize("endpoint", [pytest.param(endpoint, id=endpoint.name) for endpoint in ENDPOINTS])
def test_an_endpoint_explains_itself(endpoint: Endpoint[Any]) -> None:
    """Each entry has a v2 path, a reason for its shape, and recordings or a reason for having none."""
    assert re.fullmatch(r"v2_[a-z_]+", endpoint.name)
    assert endpoint.path.startswith("/v2/{project_id}/")
    assert len(endpoint.notes) > 80
    assert bool(endpoint.fixtures) != bool(endpoint.no_fixture_reason)
    assert not endpoint.in_band_failure  # v2 fails by HTTP status only (reference, fact 1)


def test_names_are_labels_and_so_unique() -> None:
    """The operation label tells the calls apart."""
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)


def test_only_metrics_may_be_empty() -> None:
    """Trap 9: an empty body means "not ready" for metrics; for a listing it must not mean "no jobs"."""
    assert [endpoint for endpoint in ENDPOINTS if endpoint.may_be_empty] == [METRICS]


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

    assert len(fixture.why) > 10
    if endpoint is SEARCH:
        assert isinstance(answer, wire.JobPage)
        jobs = [adapter.job(item, note=ignore) for item in answer.items or ()]
        assert any(jobs) or fixture.file == "search_empty.json"
    elif endpoint is DETAIL:
        assert adapter.job(answer, note=ignore) is not None
    else:
        found = series(answer, task="worker-0", accelerator=Accelerator.GPU, note=ignore)
        assert (found is None) == (fixture.file == "metrics_silent.json")


def test_a_listing_without_items_is_no_listing() -> None:
    """Trap 3: an error told with status 200, or any object without items, must not pass for "there are no jobs"."""
    with pytest.raises(msgspec.ValidationError, match="items"):
        msgspec.json.decode(b'{"total": 0, "count": 0}', type=SEARCH.answer)
