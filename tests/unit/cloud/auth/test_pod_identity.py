"""Keys of the pod's identity."""

from pathlib import Path

import pytest

from exporter.cloud.http.errors import Denied
from exporter.settings import POD_TOKEN_FILE, POD_URL, PodIdentity
from tests.clock import ManualClock
from tests.unit.cloud.account import JOBS, PAGE, Options, RecordingObserver, connect, options
from tests.unit.cloud.scripted_server import ScriptedServer, Step, respond

KEY = "/v1/credentials"


def key(access: str, *, expires_at: str) -> Step:
    return respond(
        200,
        {"access": access, "secret": "InventedPodSecret", "securitytoken": "invented", "expires_at": expires_at},
    )


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("invented-pod-token\n")
    return path


def rotate(token: Path, content: str) -> None:
    token.write_text(content)


def remove(token: Path) -> None:
    token.unlink()


def pod(server: ScriptedServer, token: Path) -> Options:
    environ = {POD_URL: f"{server.url}{KEY}?pod=1", POD_TOKEN_FILE: str(token)}
    return options(server.url, credentials=PodIdentity(), environ=environ)


async def test_the_mounted_token_gets_a_key(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, token: Path
) -> None:
    """The content of the file is sent as Authorization with an empty object; the key of the response signs."""
    server.on(KEY, key("POD1", expires_at="2023-11-14T23:13:20Z")).on("/v1/0", respond(200, PAGE))

    async with connect(pod(server, token), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    fetched, called = server.received
    assert (fetched.method, fetched.target, fetched.body) == ("POST", f"{KEY}?pod=1", b"{}")
    assert fetched.headers["authorization"] == "invented-pod-token"
    assert "Access=POD1," in called.headers["authorization"]
    assert called.headers["x-security-token"] == "invented"
    assert observer.expiries == [1_700_003_600.0]


async def test_the_mounted_token_is_read_at_each_fetch(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, token: Path
) -> None:
    """The kubelet rotates the file; the next fetch, after 48 of 60 minutes, uses the new content."""
    server.on(KEY, key("POD1", expires_at="2023-11-14T23:13:20Z"), key("POD2", expires_at="2023-11-15T00:01:20Z")).on(
        "/v1/0", respond(200, PAGE)
    )

    async with connect(pod(server, token), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        rotate(token, "rotated-pod-token")
        clock.turn(48 * 60)
        await client.call(JOBS)

    assert [request.headers["authorization"] for request in server.requests_to(KEY)] == [
        "invented-pod-token",
        "rotated-pod-token",
    ]


async def test_without_the_mounted_token_calls_are_denied(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, token: Path
) -> None:
    """The error for a missing file names it, and nothing is sent."""
    remove(token)

    async with connect(pod(server, token), clock=clock, observer=observer) as client:
        with pytest.raises(Denied, match="No such file"):
            await client.call(JOBS)

    assert server.received == []
