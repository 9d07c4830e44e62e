"""The signature, compared with the vectors of the reference and with the vendor's signer."""

import calendar
import hashlib
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.auth.credentials import AccessKey
from exporter.cloud.auth.sign import canonical, sign
from exporter.cloud.http.request import Request, encode_query, encode_segment

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the vendor's package uses deprecated features of Python
    from huaweicloudsdkcore.sdk_request import SdkRequest
    from huaweicloudsdkcore.signer.signer import Signer

PROJECT = "0123456789abcdef0123456789abcdef"
HOST = "modelarts.eu-de.otc.t-systems.com"
KEY = AccessKey(access="EXAMPLEAKEXAMPLEAK01", secret="ExampleSecretKeyExampleSecretKeyExample1")
AT = float(calendar.timegm((2025, 1, 2, 3, 4, 5)))


def request(**changes: Any) -> Request:
    given: dict[str, Any] = {
        "operation": "any",
        "method": "GET",
        "base": f"https://{HOST}",
        "path": f"/v1/{PROJECT}/training-jobs/versions",
        "headers": {"X-Project-Id": PROJECT},
    }
    return Request(**{**given, **changes})


VECTOR_A = request(
    query=encode_query(
        {"limit": "100", "offset": "0", "sort_by": "create_time", "order": "desc", "pool_id": "a b/ü~*"}
    )
)
VECTOR_B = request(
    method="POST",
    path=f"/v2/{PROJECT}/training-job-searches",
    headers={"X-Project-Id": PROJECT, "Content-Type": "application/json"},
    body=b'{"offset":0,"limit":50,"sort_by":"create_time","order":"desc"}',
)
VECTOR_C = request(path=f"/v2/{PROJECT}/training-jobs/2cd88daa-31a4-40a8-a58f-d186b0e93e4f/metrics/worker-0")
TEMPORARY = AccessKey(access=KEY.access, secret=KEY.secret, security_token="TESTTOKEN0123456789/+=")


@pytest.mark.parametrize(
    "signed,key,names,canonical_hash,signature",
    [
        pytest.param(
            VECTOR_A,
            KEY,
            "host;x-project-id;x-sdk-date",
            "beef5209b0a0094cb68bb79341dca1c2b445965390a6607ef250788ddbceb099",
            "604634d309493aee1851859755780fcd0f652a904f75e9b5ec3f1e63dcf43a8e",
            id="A-query",
        ),
        pytest.param(
            VECTOR_B,
            KEY,
            "content-type;host;x-project-id;x-sdk-date",
            "8e9afebeca1bb748e43e754d50680932dc07768740adeff2fa856e33b5586b56",
            "c2dd593a7e2c74564b92afcb4f920a467010a32436c0901e90a32fdde5d00f49",
            id="B-body",
        ),
        pytest.param(
            VECTOR_C,
            TEMPORARY,
            "host;x-project-id;x-sdk-date;x-security-token",
            "219b2ce966f1a66adfb731b8090ba97c26d8a4b315a6a1b3352d0e1202aab802",
            "84007e3566e3f17b8a1fc66db2c14ecd6c55afc7b9c35dda098aa93d1898a8c2",
            id="C-security-token",
        ),
    ],
)
def test_signatures_equal_the_vectors_of_the_reference(
    signed: Request, key: AccessKey, names: str, canonical_hash: str, signature: str
) -> None:
    """Canonical request and signature are those of reference §9.2, in the simple dialect (trap 30)."""
    headers = sign(signed, key, at=AT)

    assert headers.pop("Authorization") == (
        f"SDK-HMAC-SHA256 Access={KEY.access}, SignedHeaders={names}, Signature={signature}"
    )
    assert hashlib.sha256(canonical(signed, headers).encode()).hexdigest() == canonical_hash
    assert headers["X-Sdk-Date"] == "20250102T030405Z"


def test_trap_29_the_slash_at_the_end_is_only_in_the_canonical_path() -> None:
    """Trap 29: the canonical URI ends in a slash, the URL that is sent does not."""
    headers = sign(VECTOR_A, KEY, at=AT)

    assert canonical(VECTOR_A, headers).split("\n")[1] == f"/v1/{PROJECT}/training-jobs/versions/"
    assert str(VECTOR_A.url).partition("?")[0] == f"https://{HOST}/v1/{PROJECT}/training-jobs/versions"


def test_trap_29_the_query_is_sorted_and_sent_as_signed() -> None:
    """Trap 29: a space is %20 and never "+", keys are sorted, and the signed text is sent."""
    headers = sign(VECTOR_A, KEY, at=AT)

    assert canonical(VECTOR_A, headers).split("\n")[2] == VECTOR_A.url.raw_query_string
    assert VECTOR_A.url.raw_query_string == (
        "limit=100&offset=0&order=desc&pool_id=a%20b%2F%C3%BC~%2A&sort_by=create_time"
    )


@pytest.mark.parametrize(
    "base,host",
    [
        pytest.param("https://cloud.invalid", "cloud.invalid", id="default-port"),
        pytest.param("https://cloud.invalid:443", "cloud.invalid", id="default-port-written-out"),
        pytest.param("http://127.0.0.1:10311", "127.0.0.1:10311", id="other-port"),
        pytest.param("http://[::1]:10311", "[::1]:10311", id="ipv6"),
    ],
)
def test_trap_29_the_host_is_signed_with_its_port(base: str, host: str) -> None:
    """Trap 29: Host is signed as it is sent, with the port unless it is the default port of the scheme."""
    assert sign(request(base=base), KEY, at=AT)["Host"] == host


def test_trap_29_nothing_added_later_is_signed() -> None:
    """Trap 29: only Host, the request's own headers, the date and the security token are signed."""
    signed = sign(VECTOR_B, TEMPORARY, at=AT)

    assert "SignedHeaders=content-type;host;x-project-id;x-sdk-date;x-security-token," in signed["Authorization"]
    assert signed["X-Security-Token"] == TEMPORARY.security_token


def test_a_prefix_of_the_endpoint_is_part_of_the_signed_path() -> None:
    """The path prefix of an API is signed."""
    prefixed = request(base=f"https://{HOST}/gate")

    assert canonical(prefixed, {}).split("\n")[1] == f"/gate/v1/{PROJECT}/training-jobs/versions/"


def test_a_new_date_gives_a_new_signature() -> None:
    """A retry a second later has another signature."""
    assert sign(VECTOR_A, KEY, at=AT)["Authorization"] != sign(VECTOR_A, KEY, at=AT + 1)["Authorization"]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=150)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    segments=st.lists(words, min_size=1, max_size=4),
    query=st.dictionaries(names, words, max_size=4),
    body=st.binary(max_size=40),
    token=st.sampled_from(["", "TESTTOKEN0123456789/+="]),
    at=st.integers(0, 4_102_444_800),
)
def test_every_request_is_signed_as_the_vendor_signs_it(
    *, method: str, segments: list[str], query: dict[str, str], body: bytes, token: str, at: int
) -> None:
    """For any path, query, body and date the signature equals that of the vendor's signer."""
    path = "".join(f"/{encode_segment(part)}" for part in segments)
    headers = {"X-Project-Id": PROJECT, **({"Content-Type": "application/json"} if body else {})}
    ours = request(method=method, path=path, query=encode_query(query), headers=headers, body=body)
    key = AccessKey(access=KEY.access, secret=KEY.secret, security_token=token)
    signed = sign(ours, key, at=float(at))

    class Pair:
        ak, sk = KEY.access, KEY.secret

    theirs = SdkRequest(
        method=method,
        schema="https",
        host=HOST,
        resource_path=path,
        query_params=list(query.items()),
        header_params={name: value for name, value in signed.items() if name != "Authorization"},
        body=body,
    )
    Signer(Pair()).sign(theirs)

    assert signed["Authorization"] == theirs.header_params["Authorization"]
    assert theirs.uri == path + (f"?{ours.query}" if query else "")
