"""Keys of the node's agency."""

import asyncio

import pytest

from exporter.cloud.http.errors import Denied, InvalidResponse, Unreachable
from exporter.settings import Metadata
from tests.clock import ManualClock
from tests.unit.cloud.account import (
    JOBS,
    METRICS,
    PAGE,
    Options,
    RecordingObserver,
    connect,
    make_call,
    options,
    retries,
)
from tests.unit.cloud.scripted_server import ScriptedServer, Step, respond, respond_after, send_raw

TOKEN = "/meta-data/latest/api/token"
KEY = "/openstack/latest/securitykey"
HOUR_LATER = "2023-11-14T23:13:20.000000Z"  # than the manual clock's start
START = 1_700_000_000.0
UNAUTHORIZED = respond(401, {"error_code": "APIG.0301"})


def key(number: int, *, expires_at: str = HOUR_LATER) -> Step:
    credential = {
        "access": f"TEMPORARY{number}",
        "secret": "InventedTemporarySecret",
        "securitytoken": f"invented-security-token-{number}",
        "expires_at": expires_at,
    }
    return respond(200, {"credential": credential})


def node(server: ScriptedServer, **changes: object) -> Options:
    return options(server.url, **{"credentials": Metadata(), "metadata_url": server.url, **changes})


def used(server: ScriptedServer) -> list[tuple[str, str]]:
    return [
        (request.headers["authorization"].split("Access=")[1].split(",")[0], request.headers["x-security-token"])
        for request in server.requests_to("/v1/")
    ]


async def test_the_key_of_the_agency_signs(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """The session token is fetched first, then the key; the security token is sent and the expiry reported."""
    server.on(TOKEN, respond(200, b"invented-session")).on(KEY, key(1)).on("/v1/", respond(200, PAGE))

    async with connect(node(server), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        await client.call(JOBS)

    session, fetch, *_ = server.received
    assert (session.method, session.headers["x-metadata-token-ttl-seconds"]) == ("PUT", "21600")
    assert fetch.headers["x-metadata-token"] == "invented-session"
    assert used(server) == [("TEMPORARY1", "invented-security-token-1")] * 2
    assert observer.expiries == [START + 3600.0]
    assert [operation for operation, _ in observer.calls] == [
        "metadata_token",
        "metadata_key",
        "list_jobs",
        "list_jobs",
    ]


@pytest.mark.parametrize("status", [404, 405, 503])
async def test_a_service_without_session_tokens(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, status: int
) -> None:
    """Where session tokens are not available, the key is fetched without one."""
    server.on(TOKEN, respond(status)).on(KEY, key(1)).on("/v1/", respond(200, PAGE))

    async with connect(node(server), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    assert "x-metadata-token" not in server.requests_to(KEY)[0].headers


async def test_a_refused_session_is_renewed_once(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """After a 401 the key is fetched again with a new session token."""
    server.on(TOKEN, respond(200, b"one"), respond(200, b"two")).on(KEY, UNAUTHORIZED, key(1))
    server.on("/v1/", respond(200, PAGE))

    async with connect(node(server), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    assert [request.headers["x-metadata-token"] for request in server.requests_to(KEY)] == ["one", "two"]


async def test_a_session_that_is_refused_twice_is_denied(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """After two sessions and two 401s the call is denied."""
    server.on(TOKEN, respond(200, b"one")).on(KEY, UNAUTHORIZED)

    async with connect(node(server), clock=clock, observer=observer) as client:
        with pytest.raises(Denied):
            await client.call(JOBS)

    assert len(server.requests_to(TOKEN)) == 2
    assert len(server.requests_to(KEY)) == 2


async def test_the_session_token_is_reused_for_the_next_key(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A key 48 minutes later is fetched with the same session token, one after 4.8 h with a new token."""
    server.on(TOKEN, respond(200, b"one"), respond(200, b"two"))
    server.on(KEY, key(1), key(2, expires_at="2023-11-15T00:01:20Z"), key(3)).on("/v1/", respond(200, PAGE))

    async with connect(node(server), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        clock.turn(48 * 60)
        await client.call(JOBS)
        clock.turn(4 * 3600)
        await client.call(JOBS)

    assert [request.headers["x-metadata-token"] for request in server.requests_to(KEY)] == ["one", "one", "two"]
    assert [access for access, _ in used(server)] == ["TEMPORARY1", "TEMPORARY2", "TEMPORARY3"]


async def test_a_key_that_the_node_has_not_rotated_is_fetched_again(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """From 12 minutes before the end the node may return the same key; it is used, and fetched again later."""
    server.on(TOKEN, respond(404)).on(KEY, key(1), key(1), key(2)).on("/v1/", respond(200, PAGE))

    async with connect(node(server), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        clock.turn(48 * 60)
        await client.call(JOBS)
        clock.turn(9 * 60 + 35)  # 80 % of the 12 minutes that were left
        await client.call(JOBS)
        clock.turn(1)
        await client.call(JOBS)

    assert [access for access, _ in used(server)] == ["TEMPORARY1", "TEMPORARY1", "TEMPORARY1", "TEMPORARY2"]
    assert len(server.requests_to(KEY)) == 3


async def test_a_refused_key_is_fetched_again_once(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """After a 401 of the API the key is fetched again; the call is sent once more with another key."""
    server.on(TOKEN, respond(404)).on(KEY, key(1), key(2)).on("/v1/", UNAUTHORIZED, respond(200, PAGE))

    async with connect(node(server), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    assert [access for access, _ in used(server)] == ["TEMPORARY1", "TEMPORARY2"]


async def test_a_late_refusal_of_the_old_key_fetches_nothing(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Two calls that are refused after a third call has fetched the next key use that key."""
    gate = asyncio.Event()
    server.on(TOKEN, respond(404)).on(KEY, key(1), key(2)).on("/v1/", respond(200, PAGE))
    server.on("/v2/", *[respond_after(gate, UNAUTHORIZED)] * 2, respond(401), respond(200, PAGE))

    async with connect(node(server), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        early = [asyncio.create_task(make_call(client, METRICS)) for _ in range(2)]
        await server.until_received(3 + 2)
        assert await client.call(METRICS)  # refused, and accepted with the second key
        gate.set()
        assert all(await asyncio.gather(*early))

    assert len(server.requests_to(KEY)) == 2


async def test_the_refused_key_is_not_used_again(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """If the node returns the refused key again, it is not used a second time."""
    server.on(TOKEN, respond(404)).on(KEY, key(1)).on("/v1/", UNAUTHORIZED)

    async with connect(node(server), clock=clock, observer=observer) as client:
        with pytest.raises(Denied):
            await client.call(JOBS)

    assert len(server.requests_to("/v1/")) == 1
    assert len(server.requests_to(KEY)) == 2


@pytest.mark.parametrize("status", [400, 404])
async def test_a_node_without_agency_is_denied(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, status: int
) -> None:
    """A 4xx of the key call means that the node has no agency, and the text says so."""
    server.on(TOKEN, respond(200, b"one")).on(KEY, respond(status, b"no agency", {"Content-Type": "text/plain"}))

    async with connect(node(server), clock=clock, observer=observer) as client:
        with pytest.raises(Denied, match="the node has no agency to take a key from"):
            await client.call(JOBS)


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param(
            {"credential": {"access": "A", "secret": "S", "securitytoken": "T", "expires_at": HOUR_LATER}}, id="ecs"
        ),
        pytest.param(
            {
                "credentials": {
                    "accessKeyId": "A",
                    "secretAccessKey": "S",
                    "securityToken": "T",
                    "expiration": HOUR_LATER,
                }
            },
            id="camel",
        ),
        pytest.param(
            {"access_key_id": "A", "secret_access_key": "S", "security_token": "T", "expiration": HOUR_LATER},
            id="bare",
        ),
    ],
)
async def test_a_key_is_read_in_each_spelling(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, spelling: dict[str, object]
) -> None:
    """All names and wrappers of reference §9.3 are read."""
    server.on(TOKEN, respond(404)).on(KEY, respond(200, spelling)).on("/v1/", respond(200, PAGE))

    async with connect(node(server), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    assert used(server) == [("A", "T")]


@pytest.mark.parametrize(
    "step,words",
    [
        pytest.param(respond(200, {"credential": {"access": "A"}}), "no text in `secret`", id="incomplete"),
        pytest.param(respond(200, {"credential": None}), "no text in `access`", id="null"),
        pytest.param(respond(200, {"access": "A\nB"}), "no text in `access`", id="two-lines"),
        pytest.param(key(1, expires_at="later"), "no date in `expires_at`", id="no-date"),
        pytest.param(respond(200, b"text", {"Content-Type": "text/plain"}), "text/plain", id="text"),
    ],
)
async def test_an_invalid_key_is_an_invalid_response(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, step: Step, words: str
) -> None:
    """The error names the missing field, never a value."""
    server.on(TOKEN, respond(404)).on(KEY, step)

    async with connect(node(server), clock=clock, observer=observer) as client:
        with pytest.raises(InvalidResponse, match=words):
            await client.call(JOBS)


@pytest.mark.parametrize("body", [b"", b" \n", b"two\nlines", b"\xff"], ids=["empty", "blank", "lines", "binary"])
async def test_an_invalid_session_token_is_an_invalid_response(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, body: bytes
) -> None:
    """A session token must be text that a header may have."""
    server.on(TOKEN, respond(200, body))

    async with connect(node(server), clock=clock, observer=observer) as client:
        with pytest.raises(InvalidResponse, match="the body is not a token"):
            await client.call(JOBS)


async def test_a_missing_service_is_unreachable(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Without a metadata service the call is Unreachable, with the operation of the session token."""
    server.on(TOKEN, send_raw(then="close"))

    async with connect(node(server, retry=retries(attempts=1)), clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable) as caught:
            await client.call(JOBS)

    assert caught.value.operation == "metadata_token"
