"""For any bytes that the API, IAM or the node's services return, a call ends with a response or one of our errors."""

import asyncio
import json
import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.cloud.auth.temporary import read_lease
from exporter.cloud.http.errors import CloudError
from exporter.cloud.http.response import Response, error_for, parse_time, retry_after_s
from exporter.domain.outcome import Outcome
from exporter.settings import POD_TOKEN_FILE, POD_URL, Credentials, Metadata, PodIdentity
from tests.clock import ManualClock
from tests.fuzz.mutation import any_value
from tests.unit.cloud.account import (
    JOBS_V1,
    KEYS,
    LOGIN,
    PASSWORD,
    SECRET,
    RecordingObserver,
    connect,
    make_call,
    options,
    retries,
)
from tests.unit.cloud.scripted_server import ScriptedServer, send_raw

pytestmark = pytest.mark.endurance

NOW = 1_700_000_000.0

header_values = st.one_of(
    st.sampled_from(
        [
            "0",
            "5",
            "-1",
            "1e9",
            "99999999999999999999",
            "gzip",
            "deflate",
            "chunked",
            "Wed, 21 Oct 2026 07:28:00 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Mon, 99 Foo 99999 99:99:99 GMT",
            "application/json",
            "text/html",
            "http://127.0.0.1:9/",
        ]
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30),
)
header_names = st.sampled_from(
    [
        "Retry-After",
        "Date",
        "Content-Type",
        "Content-Length",
        "Content-Encoding",
        "Transfer-Encoding",
        "Location",
        "Set-Cookie",
        "X-Subject-Token",
        "X-Odd",
    ]
)
ERROR_FIELDS = ("is_success", "error_code", "error_msg", "error_message", "error", "jobs", "token", "credential")
refusals = st.fixed_dictionaries({}, optional=dict.fromkeys(ERROR_FIELDS, any_value))


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Bytes of a response: mostly a head and a body, sometimes no HTTP at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    status = draw(st.sampled_from([200, 200, 201, 204, 302, 400, 401, 403, 404, 408, 429, 500, 502, 503, 600, 99]))
    body = draw(
        st.binary(max_size=60) | refusals.map(lambda content: str(content).replace("'", '"').encode(errors="replace"))
    )
    lines = draw(st.lists(st.tuples(header_names, header_values), max_size=4))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    if draw(st.booleans()):
        head += f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} Odd\r\n{head}\r\n".encode("latin-1") + body


CREDENTIALS: dict[str, Credentials] = {"keys": KEYS, "password": LOGIN, "metadata": Metadata(), "pod": PodIdentity()}


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pod") / "token"
    path.write_text("invented-pod-token")
    return path


@given(body=answers(), kind=st.sampled_from(sorted(CREDENTIALS)), then=st.sampled_from(["close", "close", "reset"]))
def test_any_bytes_end_in_an_outcome(token_file: Path, body: bytes, kind: str, then: str) -> None:
    """One call with these bytes as every response: a page, or a CloudError of one line without a secret."""

    async def call() -> tuple[CloudError | None, RecordingObserver]:
        observer = RecordingObserver()
        async with ScriptedServer() as server:
            server.on("/", send_raw(body, then=then))
            given = options(
                server.url,
                credentials=CREDENTIALS[kind],
                metadata_url=server.url,
                environ={POD_URL: f"{server.url}/pod", POD_TOKEN_FILE: str(token_file)},
                timeout_s=0.5,
                max_response_bytes=10_000,
                retry=retries(attempts=1),
            )
            async with connect(given, clock=ManualClock(), observer=observer) as client:
                try:
                    await make_call(client, JOBS_V1)
                except CloudError as error:
                    return error, observer
        return None, observer

    with capture_logs():
        error, observer = asyncio.run(call())
    text = str(error or "")
    assert error is None or error.outcome in Outcome
    assert text.isprintable()
    assert not any(secret in text for secret in (SECRET, PASSWORD, "invented-pod-token"))
    assert {outcome for _, outcome in observer.calls} <= set(Outcome)


@given(status=st.integers(100, 599), content=refusals, in_band=st.booleans())
def test_any_error_response_has_an_outcome(status: int, content: dict[str, object], in_band: bool) -> None:
    """Any status with any error body is a success or one CloudError with one line of bounded length."""
    response = Response(status=status, headers={}, body=msgspec.json.encode(content))
    error = error_for(response, operation="op", now=NOW, in_band_failure=in_band)
    assert (error is None) <= (200 <= status < 300)
    if error is not None:
        assert len(str(error)) < 400
        assert str(error).isprintable()


@given(value=header_values, date=header_values)
@example(value="Fri, 31 Dec 9999 23:59:59 -2359", date="")
@example(value="Mon, 01 Jan 0001 00:00:00 +2359", date="Mon, 01 Jan 0001 00:00:00 GMT")
def test_any_retry_after_is_absent_or_within_bounds(value: str, date: str) -> None:
    """Whatever Retry-After and Date contain, the delay is None or from 0 to 60 s."""
    wait_s = retry_after_s({"Retry-After": value, "Date": date}, now=NOW)
    assert wait_s is None or 0 <= wait_s <= 60


@given(text=st.text(max_size=40) | st.datetimes().map(str) | st.datetimes().map(lambda at: f"{at.isoformat()}+23:59"))
@example(text="0001-01-01T00:00:00+23:59")
@example(text="9999-12-31T23:59:59.999999-23:59")
def test_any_expiry_is_a_time_or_none(text: str) -> None:
    """Whatever the expiry of a credential contains, it is a finite time or None."""
    at = parse_time(text)
    assert at is None or math.isfinite(at)


@given(
    content=st.dictionaries(
        st.sampled_from(
            ["credential", "access", "secret", "securitytoken", "expires_at", "accessKeyId", "expiration"]
        ),
        any_value
        | st.just("2023-11-14T23:13:20Z")
        | st.dictionaries(st.sampled_from(["access", "secret", "securitytoken", "expires_at"]), any_value),
    )
)
def test_any_credential_is_a_key_or_one_sentence(content: dict[str, object]) -> None:
    """Whatever a node's service returns, it is a key that is valid in headers, or a CloudError."""
    response = Response(status=200, body=json.dumps(content).encode())
    try:
        lease = read_lease(response, operation="op", now=NOW)
    except CloudError:
        return
    assert math.isfinite(lease.expires_at)
    for part in (lease.value.access, lease.value.secret, lease.value.security_token):
        assert part.isascii()
        assert part.isprintable()
