"""Every v1 call has recorded answers, each claimed once, and the page about the calls is theirs."""

from typing import Any

import msgspec
import pytest

from exporter.cloud.endpoint_docs import endpoints_markdown
from exporter.cloud.http.endpoint import Endpoint, Fixture
from exporter.cloud.http.errors import Refused
from exporter.cloud.http.response import Response, error_for, read_response
from exporter.cloud.v1.endpoints import ENDPOINTS
from exporter.cloud.v2.endpoints import ENDPOINTS as V2_ENDPOINTS
from tests.unit.cloud.v1.fixtures import FOLDER

CLAIMED = [(endpoint, fixture) for endpoint in ENDPOINTS for fixture in endpoint.fixtures]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_every_call_has_a_fixture_or_says_why_not(endpoint: Endpoint[Any]) -> None:
    """A gap must be claimed; and every call of v1 may fail in-band (trap 8)."""
    assert endpoint.fixtures or endpoint.no_fixture_reason
    assert endpoint.in_band_failure
    assert endpoint.method == "GET"
    assert endpoint.path.startswith("/v1/{project_id}/")


def test_every_recorded_answer_is_claimed_once() -> None:
    """A file nobody claims pins nothing."""
    assert sorted(fixture.file for _, fixture in CLAIMED) == sorted(path.name for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("endpoint, fixture", CLAIMED, ids=[fixture.file for _, fixture in CLAIMED])
def test_every_recorded_answer_is_read(endpoint: Endpoint[Any], fixture: Fixture) -> None:
    """Trap 38: fixtures are valid JSON, and decode to the call's answer or to the failure they record."""
    body = (FOLDER / fixture.file).read_bytes()
    response = Response(status=200, body=body)

    if fixture.file.startswith("refused"):
        with pytest.raises(Refused):
            read_response(response, endpoint.answer, operation=endpoint.name, now=0.0, in_band_failure=True)
    else:
        answer = read_response(response, endpoint.answer, operation=endpoint.name, now=0.0, in_band_failure=True)
        assert isinstance(answer, endpoint.answer)
        assert len(fixture.why) > 10


@pytest.mark.parametrize("status", [200, 400, 404, 409])
@pytest.mark.parametrize("file", ["refused.json", "refused_msg.json"])
def test_a_failure_in_band_is_one_at_any_status(status: int, file: str) -> None:
    """Trap 8: `is_success: false` decides, whatever the text's key; the service's own 404 is no missing API."""
    error = error_for(
        Response(status=status, body=(FOLDER / file).read_bytes()), operation="v1", now=0.0, in_band_failure=True
    )

    assert type(error) is Refused
    assert error.code == "ModelArts.0104"
    assert "the parameter is not valid" in str(error)


def test_recorded_answers_hold_what_must_not_be_kept() -> None:
    """Trap 28: the fixtures carry secrets, so that a test notices when one is read; no struct has such a field."""
    assert "SECRET-PARAMETER" in (FOLDER / "versions.json").read_text()
    for endpoint in ENDPOINTS:
        names = {field.encode_name for field in msgspec.structs.fields(endpoint.answer)}
        assert not names & {"parameter", "user_command", "data_url", "train_url", "log_url", "user_image_url"}


def test_the_page_names_every_call_and_fixture_of_both_generations() -> None:
    """`docs/endpoints.md` is made from the tables: path, reason, and why each fixture exists."""
    page = endpoints_markdown()

    for generation, endpoints in (("v1", ENDPOINTS), ("v2", V2_ENDPOINTS)):
        for endpoint in endpoints:
            assert f"### {endpoint.name}\n\n`{endpoint.method} {endpoint.path}`\n\n{endpoint.notes}\n" in page
            for fixture in endpoint.fixtures:
                assert f"| `{generation}/{fixture.file}` | {fixture.why} |" in page
    assert page.endswith("\n")
    assert "KB a second, taken as 1000 bytes" in page  # trap 21: said where an operator can find it
