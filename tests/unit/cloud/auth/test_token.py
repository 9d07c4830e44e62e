"""Tokens of IAM: requested with a password, renewed before they expire, and once when they are refused."""

import asyncio
import json

import pytest

from exporter.cloud.http.errors import CircuitOpen, Denied, InvalidResponse, Refused, ServerError, Unreachable
from exporter.settings import Password, Secret
from tests.clock import ManualClock
from tests.unit.cloud.account import (
    JOBS,
    LOGIN,
    METRICS,
    PAGE,
    PASSWORD,
    PROJECT_ID,
    TOKEN,
    ComputedSecret,
    Options,
    RecordingObserver,
    connect,
    make_call,
    options,
    retries,
    token_issued,
)
from tests.unit.cloud.scripted_server import ScriptedServer, Step, respond, respond_after, send_raw

IAM = "/v3/auth/tokens"
UNAUTHORIZED = respond(401, {"error": {"code": 401, "message": "The username or password is wrong."}})
EXPIRED = respond(401, {"error_code": "APIG.0307", "error_msg": "The token must be updated."})
START = 1_700_000_000.0
DAY_S = 86_400.0


def login(server: ScriptedServer, **changes: object) -> Options:
    return options(server.url, **{"credentials": LOGIN, **changes})


async def test_traps_31_and_32_the_token_is_received_and_sent_in_headers(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Traps 31 and 32: the token is in X-Subject-Token and is sent as X-Auth-Token, alone; 20 kB are accepted."""
    token = "MII" + "y" * 20_000
    server.on(IAM, token_issued(token)).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    login_request, called = server.received
    assert login_request.target == "/v3/auth/tokens?nocatalog=true"
    assert json.loads(login_request.body) == {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": "ivy", "password": PASSWORD, "domain": {"name": "INVENTED-DOMAIN"}}},
            },
            "scope": {"project": {"id": PROJECT_ID}},
        }
    }
    assert called.headers["x-auth-token"] == token
    assert "authorization" not in called.headers
    assert observer.calls == [("iam_token", "ok"), ("list_jobs", "ok")]
    assert observer.expiries == [START + DAY_S]


async def test_trap_33_the_scope_is_the_project_of_the_urls(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Trap 33: a token for another project than the configured one is refused before it is used."""
    server.on(IAM, token_issued(project_id="e" * 32))

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(Refused, match="the token is for another project"):
            await client.call(JOBS)

    assert server.requests_to("/v1/") == []


async def test_a_project_name_is_a_scope(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """With a project name only, the token is requested for that name."""
    server.on(IAM, token_issued()).on("/v1/", respond(200, PAGE))

    async with connect(
        login(server, project_id="", project_name="eu-de_vision"), clock=clock, observer=observer
    ) as client:
        assert await client.call(JOBS)

    assert json.loads(server.received[0].body)["auth"]["scope"] == {"project": {"name": "eu-de_vision"}}


async def test_a_token_is_replaced_at_80_percent_of_its_lifetime(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A token of 24 h is kept for 19.2 h, then replaced while it is still valid."""
    server.on(IAM, token_issued("first"), token_issued("second", expires_at="2023-11-16T22:13:20Z"))
    server.on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        clock.turn(0.8 * DAY_S - 1)
        await client.call(JOBS)
        clock.turn(1)
        await client.call(JOBS)

    assert [request.headers["x-auth-token"] for request in server.requests_to("/v1/")] == ["first", "first", "second"]
    assert observer.expiries == [START + DAY_S, START + 2 * DAY_S]


async def test_twenty_calls_share_one_token_request(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Twenty concurrent calls without a token request one; when it has expired they request one again."""
    gate = asyncio.Event()
    server.on(IAM, respond_after(gate, token_issued("first")), respond_after(gate, token_issued("second")))
    server.on("/v1/", respond(200, PAGE))

    async with connect(login(server, concurrency=20), clock=clock, observer=observer) as client:
        calls = [asyncio.create_task(make_call(client)) for _ in range(20)]
        await server.until_received(1)
        gate.set()
        assert all(await asyncio.gather(*calls))
        assert len(server.requests_to(IAM)) == 1
        gate.clear()
        clock.turn(DAY_S + 1)  # expired
        calls = [asyncio.create_task(make_call(client)) for _ in range(20)]
        await server.until_received(22)
        gate.set()
        assert all(await asyncio.gather(*calls))

    assert len(server.requests_to(IAM)) == 2


async def test_a_refused_token_is_renewed_once(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """After a 401 another token is requested, and the call succeeds: four requests in all."""
    server.on(IAM, token_issued("first"), token_issued("second")).on("/v1/", EXPIRED, respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    assert [request.headers["x-auth-token"] for request in server.requests_to("/v1/")] == ["first", "second"]
    assert observer.calls == [("iam_token", "ok"), ("list_jobs", "denied"), ("iam_token", "ok"), ("list_jobs", "ok")]
    assert observer.circuit == [False]


async def test_a_token_that_is_always_refused_is_requested_twice(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """If every token is refused there are two tokens, two refusals, and no request for 330 s."""
    server.on(IAM, token_issued("first"), token_issued("second")).on("/v1/", EXPIRED)

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(Denied, match=r"APIG\.0307"):
            await client.call(JOBS)
        for _ in range(3):
            with pytest.raises(CircuitOpen):
                await client.call(JOBS)

    assert len(server.requests_to(IAM)) == 2
    assert len(server.requests_to("/v1/")) == 2


async def test_concurrent_refusals_share_one_renewal(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Nine running calls whose token is revoked request one new token, and all succeed with it."""
    gate = asyncio.Event()
    refused = respond_after(gate, EXPIRED)
    server.on(IAM, token_issued("first"), token_issued("second"))
    server.on("/v1/", respond(200, PAGE)).on("/v2/", *[refused] * 9, respond(200, PAGE))

    async with connect(login(server, concurrency=10), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        calls = [asyncio.create_task(make_call(client, METRICS)) for _ in range(9)]
        await server.until_received(2 + 9)
        gate.set()
        assert all(await asyncio.gather(*calls))

    assert len(server.requests_to(IAM)) == 2
    assert observer.circuit == [False]


async def test_a_renewed_token_is_probed_by_one_call(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Five refused calls request one token; one is sent with it and refused, the other four are not sent again."""
    gate = asyncio.Event()
    server.on(IAM, token_issued("first"), token_issued("second"))
    server.on("/v1/", respond(200, PAGE)).on("/v2/", respond_after(gate, EXPIRED))

    async with connect(login(server, concurrency=6), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        calls = [asyncio.create_task(make_call(client, METRICS)) for _ in range(5)]
        await server.until_received(2 + 5)
        gate.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(outcome).__name__ for outcome in outcomes] == ["Denied"] * 5
    assert [request.headers["x-auth-token"] for request in server.requests_to("/v2/")] == ["first"] * 5 + ["second"]
    assert len(server.requests_to(IAM)) == 2
    assert observer.circuit == [False, True]


async def test_a_token_is_renewed_at_most_once_a_minute(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Where one operation always returns 401 and another works, tokens are requested at most once a minute."""
    server.on(IAM, token_issued("first"), token_issued("second"), token_issued("third"))
    server.on("/v1/", respond(200, PAGE)).on("/v2/", EXPIRED, respond(200, PAGE), EXPIRED)

    async with connect(login(server), clock=clock, observer=observer) as client:
        assert await client.call(METRICS)
        for _ in range(3):
            with pytest.raises(Denied):
                await client.call(METRICS)
            assert await client.call(JOBS)
        assert len(server.requests_to(IAM)) == 2
        clock.turn(60.0)
        with pytest.raises(Denied):
            await client.call(METRICS)

    assert len(server.requests_to(IAM)) == 3


async def test_a_failed_refresh_keeps_the_old_token_while_it_is_valid(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """While IAM is down the old token is used, a new one is requested each 30 s, and calls fail after its end."""
    server.on(IAM, token_issued("first"), respond(503)).on("/v1/", respond(200, PAGE))

    async with connect(login(server, retry=retries(attempts=1)), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        clock.turn(0.8 * DAY_S)
        for _ in range(3):
            assert await client.call(JOBS)
        assert len(server.requests_to(IAM)) == 2
        clock.turn(30.0)
        assert await client.call(JOBS)
        assert len(server.requests_to(IAM)) == 3
        clock.turn(0.2 * DAY_S)
        with pytest.raises(ServerError) as caught:
            await client.call(JOBS)

    assert caught.value.operation == "iam_token"
    assert observer.expiries == [START + DAY_S]
    assert {request.headers["x-auth-token"] for request in server.requests_to("/v1/")} == {"first"}


async def test_trap_34_a_refused_password_is_sent_each_330_s(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Trap 34: while the old token is valid, a password that is refused is sent each 330 s."""
    server.on(IAM, token_issued("first"), UNAUTHORIZED).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        clock.turn(0.8 * DAY_S)
        for _ in range(10):
            assert await client.call(JOBS)
            clock.turn(33.0)
        assert len(server.requests_to(IAM)) == 2
        assert await client.call(JOBS)

    assert len(server.requests_to(IAM)) == 3
    assert observer.circuit == [False]


async def test_trap_34_a_wrong_password_is_sent_twice(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Trap 34: twenty calls with a wrong password are two logins, then a pause of 330 s."""
    server.on(IAM, UNAUTHORIZED)

    async with connect(login(server), clock=clock, observer=observer) as client:
        outcomes = await asyncio.gather(*(make_call(client) for _ in range(20)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CircuitOpen"] * 18 + ["Denied"] * 2
        clock.turn(330.0)
        server.on(IAM, token_issued()).on("/v1/", respond(200, PAGE))
        assert await client.call(JOBS)

    assert len(server.requests_to(IAM)) == 3
    assert observer.circuit == [False, True, False]


async def test_a_failed_renewal_keeps_the_denial(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """If the token is refused and IAM is down, the call fails with the denial."""
    server.on(IAM, token_issued(), send_raw(then="close")).on("/v1/", EXPIRED)

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(Denied) as caught:
            await client.call(JOBS)

    assert caught.value.operation == "list_jobs"
    assert observer.calls[-1] == ("iam_token", "unreachable")


async def test_a_rotated_password_is_used_for_the_next_token(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """The password is read at each token request."""
    passwords = iter(["old", "new"])
    credentials = Password(
        username=Secret("ivy"),
        password=ComputedSecret(lambda: next(passwords)),
        domain_name=Secret("INVENTED-DOMAIN"),
    )
    server.on(IAM, token_issued("first"), token_issued("second")).on("/v1/", EXPIRED, respond(200, PAGE))

    async with connect(login(server, credentials=credentials), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    sent = [
        json.loads(request.body)["auth"]["identity"]["password"]["user"]["password"]
        for request in server.requests_to(IAM)
    ]
    assert sent == ["old", "new"]


@pytest.mark.parametrize(
    "step,words",
    [
        pytest.param(token_issued(""), "no `X-Subject-Token`", id="no-token"),
        pytest.param(token_issued(expires_at="soon"), r"no date in `\$\.token\.expires_at`", id="no-date"),
        pytest.param(respond(201, {"token": {}}, {"X-Subject-Token": TOKEN}), "expires_at", id="no-expiry"),
        pytest.param(respond(200, b"<html>", {"Content-Type": "text/html"}), "text/html", id="html"),
        pytest.param(respond(201, None), "an empty body", id="empty"),
    ],
)
async def test_a_response_without_a_token_is_invalid(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, step: Step, words: str
) -> None:
    """A response without token, expiry or project is invalid, and the text names what is missing."""
    server.on(IAM, step)

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(InvalidResponse, match=words):
            await client.call(JOBS)


async def test_a_token_that_seems_expired_is_not_requested_at_each_call(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A token that seems to have expired is used nevertheless, and replaced at most once a minute."""
    server.on(IAM, token_issued(expires_at="2023-11-14T20:00:00Z")).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        for _ in range(5):
            assert await client.call(JOBS)
        assert len(server.requests_to(IAM)) == 1
        clock.turn(60.0)
        assert await client.call(JOBS)

    assert len(server.requests_to(IAM)) == 2


async def test_a_token_request_outlives_its_caller(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A token request continues when its caller is cancelled, and the next call uses the token."""
    gate = asyncio.Event()
    server.on(IAM, respond_after(gate, token_issued())).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        cancelled = asyncio.create_task(make_call(client))
        await server.until_received(1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        gate.set()
        assert await client.call(JOBS)

    assert len(server.requests_to(IAM)) == 1


async def test_closing_cancels_a_token_request(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Closing leaves no task running, even if IAM has not responded."""
    server.on(IAM, send_raw(then="hang"))
    before = asyncio.all_tasks()

    async with connect(login(server), clock=clock, observer=observer) as client:
        cancelled = asyncio.create_task(make_call(client))
        await server.until_received(1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    left = {task for task in asyncio.all_tasks() - before if task.get_name() == "credentials refresh"}
    assert left == set()


async def test_a_token_request_without_callers_may_fail(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """If the only caller was cancelled, an error of IAM causes no warning; the next call requests again."""
    gate = asyncio.Event()
    server.on(IAM, respond_after(gate, send_raw(then="close")), token_issued()).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        cancelled = asyncio.create_task(make_call(client))
        await server.until_received(1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        gate.set()
        await observer.until_called(1)
        assert await client.call(JOBS)

    assert observer.calls == [("iam_token", "unreachable"), ("iam_token", "ok"), ("list_jobs", "ok")]


async def test_an_error_of_iam_fails_the_call(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Without a token an error of IAM is the error of the call, and is retried."""
    server.on(IAM, send_raw(then="close"))

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable) as caught:
            await client.call(JOBS)

    assert caught.value.operation == "iam_token"
    assert len(server.requests_to(IAM)) == 3
