"""Tokens of IAM: bought with a password, renewed before they run out, and once when they are refused."""

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


async def test_trap_32_and_31_the_token_comes_in_a_header_and_goes_out_in_one(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Traps 31 and 32: X-Subject-Token in, X-Auth-Token out, no Authorization; a token of 20 kB fits."""
    token = "MII" + "y" * 20_000
    server.on(IAM, token_issued(token)).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    bought, called = server.received
    assert bought.target == "/v3/auth/tokens?nocatalog=true"
    assert json.loads(bought.body) == {
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


async def test_a_name_is_a_scope_too(server: ScriptedServer, clock: ManualClock, observer: RecordingObserver) -> None:
    """With a project's name only, the token is asked for by name."""
    server.on(IAM, token_issued()).on("/v1/", respond(200, PAGE))

    async with connect(
        login(server, project_id="", project_name="eu-de_vision"), clock=clock, observer=observer
    ) as client:
        assert await client.call(JOBS)

    assert json.loads(server.received[0].body)["auth"]["scope"] == {"project": {"name": "eu-de_vision"}}


async def test_one_token_serves_until_four_fifths_of_its_life(
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


async def test_twenty_calls_share_one_purchase(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Twenty calls without a token buy one, all together; when it is due they buy one again."""
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
        clock.turn(DAY_S + 1)  # run out by now
        calls = [asyncio.create_task(make_call(client)) for _ in range(20)]
        await server.until_received(22)
        gate.set()
        assert all(await asyncio.gather(*calls))

    assert len(server.requests_to(IAM)) == 2


async def test_refused_once_the_token_is_renewed_once(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A 401 on a token that was good buys another, and the call succeeds: four requests in all."""
    server.on(IAM, token_issued("first"), token_issued("second")).on("/v1/", EXPIRED, respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    assert [request.headers["x-auth-token"] for request in server.requests_to("/v1/")] == ["first", "second"]
    assert observer.calls == [("iam_token", "ok"), ("list_jobs", "denied"), ("iam_token", "ok"), ("list_jobs", "ok")]
    assert observer.circuit == [False]


async def test_refused_for_ever_the_number_of_requests_is_exact(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """401 for ever: two tokens, two refusals, then nothing for 330 s."""
    server.on(IAM, token_issued("first"), token_issued("second")).on("/v1/", EXPIRED)

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(Denied, match=r"APIG\.0307"):
            await client.call(JOBS)
        for _ in range(3):
            with pytest.raises(CircuitOpen):
                await client.call(JOBS)

    assert len(server.requests_to(IAM)) == 2
    assert len(server.requests_to("/v1/")) == 2


async def test_many_refused_at_once_share_one_renewal(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Nine calls whose token was revoked under way buy one new token, and all succeed with it."""
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


async def test_when_the_new_token_is_refused_too_it_is_tried_by_one(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Five calls refused under way buy one token; one tries it, is refused, and the other four are not sent again."""
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


async def test_a_token_is_not_renewed_again_and_again(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Where one operation answers 401 for ever and another works, tokens are bought at most once a minute."""
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
    """IAM down when the token is due: the old one serves on, IAM is asked each 30 s, and calls fail at its end."""
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


async def test_trap_34_a_refused_password_is_not_tried_each_half_minute(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Trap 34: with the old token still valid, a password that is wrong by now is tried each 330 s."""
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


async def test_trap_34_a_wrong_password_is_tried_twice(
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


async def test_a_renewal_that_fails_leaves_the_denial(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Token refused and IAM down: the call is denied, as the cloud said."""
    server.on(IAM, token_issued(), send_raw(then="close")).on("/v1/", EXPIRED)

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(Denied) as caught:
            await client.call(JOBS)

    assert caught.value.operation == "list_jobs"
    assert observer.calls[-1] == ("iam_token", "unreachable")


async def test_a_rotated_password_buys_the_next_token(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """The password is read at each purchase."""
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
async def test_an_answer_that_is_no_token_is_unintelligible(
    *, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver, step: Step, words: str
) -> None:
    """What IAM says must hold a token, its end and its project; else the text says what is missing."""
    server.on(IAM, step)

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(InvalidResponse, match=words):
            await client.call(JOBS)


async def test_a_clock_ahead_of_the_clouds_does_not_buy_a_token_a_call(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A token that seems to have run out already is used all the same, and replaced once a minute at most."""
    server.on(IAM, token_issued(expires_at="2023-11-14T20:00:00Z")).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        for _ in range(5):
            assert await client.call(JOBS)
        assert len(server.requests_to(IAM)) == 1
        clock.turn(60.0)
        assert await client.call(JOBS)

    assert len(server.requests_to(IAM)) == 2


async def test_a_purchase_outlives_the_call_that_began_it(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A poll cut off while its token is bought leaves the purchase to the next poll."""
    gate = asyncio.Event()
    server.on(IAM, respond_after(gate, token_issued())).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        cut_off = asyncio.create_task(make_call(client))
        await server.until_received(1)
        cut_off.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut_off
        gate.set()
        assert await client.call(JOBS)

    assert len(server.requests_to(IAM)) == 1


async def test_closing_stops_a_purchase_under_way(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """At the end nothing is left running, though IAM never answered."""
    server.on(IAM, send_raw(then="hang"))
    before = asyncio.all_tasks()

    async with connect(login(server), clock=clock, observer=observer) as client:
        cut_off = asyncio.create_task(make_call(client))
        await server.until_received(1)
        cut_off.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut_off

    left = {task for task in asyncio.all_tasks() - before if task.get_name() == "credentials refresh"}
    assert left == set()


async def test_a_purchase_nobody_waits_for_may_fail(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """When the only caller was cut off, a failure of IAM is not reported as forgotten; the next call asks anew."""
    gate = asyncio.Event()
    server.on(IAM, respond_after(gate, send_raw(then="close")), token_issued()).on("/v1/", respond(200, PAGE))

    async with connect(login(server), clock=clock, observer=observer) as client:
        cut_off = asyncio.create_task(make_call(client))
        await server.until_received(1)
        cut_off.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cut_off
        gate.set()
        await observer.until_called(1)
        assert await client.call(JOBS)

    assert observer.calls == [("iam_token", "unreachable"), ("iam_token", "ok"), ("list_jobs", "ok")]


async def test_an_iam_that_is_down_is_unreachable_for_the_call(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Without any token a failure of IAM is the failure of the call, retried like one."""
    server.on(IAM, send_raw(then="close"))

    async with connect(login(server), clock=clock, observer=observer) as client:
        with pytest.raises(Unreachable) as caught:
            await client.call(JOBS)

    assert caught.value.operation == "iam_token"
    assert len(server.requests_to(IAM)) == 3
