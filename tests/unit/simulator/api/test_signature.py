import pytest

from exporter.simulator.api.signature import Authorization, canonical_request, parse, parse_date, sign

PROJECT = "0123456789abcdef0123456789abcdef"
SECRET = "ExampleSecretKeyExampleSecretKeyExample1"
DATE = "20250102T030405Z"
HEADERS = {
    "host": "modelarts.eu-de.otc.t-systems.com",
    "x-project-id": PROJECT,
    "x-sdk-date": DATE,
    "content-type": "application/json",
    "x-security-token": "TESTTOKEN0123456789/+=",
}
JOB = "2cd88daa-31a4-40a8-a58f-d186b0e93e4f"


@pytest.mark.parametrize(
    "method, raw_path, signed, body, signature",
    [
        pytest.param(
            "GET",
            f"/v1/{PROJECT}/training-jobs/versions"
            "?sort_by=create_time&pool_id=a%20b%2F%C3%BC~%2A&order=desc&offset=0&limit=100",
            ("host", "x-project-id", "x-sdk-date"),
            b"",
            "604634d309493aee1851859755780fcd0f652a904f75e9b5ec3f1e63dcf43a8e",
            id="A: GET with query",
        ),
        pytest.param(
            "POST",
            f"/v2/{PROJECT}/training-job-searches",
            ("content-type", "host", "x-project-id", "x-sdk-date"),
            b'{"offset":0,"limit":50,"sort_by":"create_time","order":"desc"}',
            "c2dd593a7e2c74564b92afcb4f920a467010a32436c0901e90a32fdde5d00f49",
            id="B: POST with body",
        ),
        pytest.param(
            "GET",
            f"/v2/{PROJECT}/training-jobs/{JOB}/metrics/worker-0",
            ("host", "x-project-id", "x-sdk-date", "x-security-token"),
            b"",
            "84007e3566e3f17b8a1fc66db2c14ecd6c55afc7b9c35dda098aa93d1898a8c2",
            id="C: GET with security token",
        ),
    ],
)
def test_reference_vectors(method: str, raw_path: str, signed: tuple[str, ...], body: bytes, signature: str) -> None:
    """The signatures of the API reference result, in any order of the query parameters."""
    canonical = canonical_request(method=method, raw_path=raw_path, headers=HEADERS, signed=signed, body=body)

    assert sign(SECRET, date=DATE, canonical=canonical) == signature


def test_authorization_header() -> None:
    """The header is parsed to key, signed names and signature; the older form with Credential= is invalid."""
    header = f"SDK-HMAC-SHA256 Access=KEY, SignedHeaders=host;x-sdk-date, Signature={'ab' * 32}"

    assert parse(header) == Authorization(access_key="KEY", signed=("host", "x-sdk-date"), signature="ab" * 32)
    scoped = f"SDK-HMAC-SHA256 Credential=KEY/20250102///sdk_request, SignedHeaders=host, Signature={'ab' * 32}"

    assert parse(scoped) is None


def test_date() -> None:
    """20250102T030405Z is 1735787045 seconds after the epoch; another format is invalid."""
    assert parse_date(DATE) == 1_735_787_045.0
    assert parse_date("2025-01-02T03:04:05Z") is None
