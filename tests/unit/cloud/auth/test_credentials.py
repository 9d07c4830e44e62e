"""Keys from the settings, and calls whose key the cloud refuses."""

import asyncio
from pathlib import Path

import pytest

from exporter.cloud.auth.credentials import AccessKey, StaticKeys, reveal, reveal_header
from exporter.cloud.http.errors import CircuitOpen, Denied, Refused, Unsupported
from exporter.settings import AkSk, Secret, SecretFile, SecretUnreadable
from tests.clock import ManualClock
from tests.unit.cloud.account import (
    ACCESS,
    JOBS,
    METRICS,
    PAGE,
    PROJECT_ID,
    SECRET,
    ComputedSecret,
    RecordingObserver,
    connect,
    make_call,
    options,
)
from tests.unit.cloud.scripted_server import ScriptedServer, respond, respond_after

UNAUTHORIZED = respond(401, {"error_code": "APIG.0301", "error_msg": "Incorrect IAM authentication information"})


def raising(error: Exception) -> Secret:
    def compute() -> str:
        raise error

    return ComputedSecret(compute)


@pytest.mark.parametrize(
    "secret,words",
    [
        pytest.param(Secret(""), "it is empty", id="empty"),
        pytest.param(raising(SecretUnreadable("sk: /run/sk: No such file")), "sk: /run/sk: No such file", id="file"),
        pytest.param(raising(OSError("hunter2")), "OSError", id="os"),
        pytest.param(raising(ValueError("hunter2")), "ValueError", id="value"),
        pytest.param(raising(KeyError("hunter2")), "KeyError", id="other"),
    ],
)
def test_an_unreadable_secret_is_denied(secret: Secret, words: str) -> None:
    """Any failure to read a secret denies the call, and the text of another error is not shown."""
    with pytest.raises(Denied) as caught:
        reveal(secret, what="the password")

    assert str(caught.value) == f"credentials: denied: the password cannot be read: {words}"


@pytest.mark.parametrize("text", ["two\nlines", "  \n", "kéy", "a\x00b"], ids=["lines", "blank", "accent", "nul"])
def test_a_key_that_no_header_may_have_is_denied(text: str) -> None:
    """A key that is empty or has a line break inside is denied before it breaks the request."""
    with pytest.raises(Denied, match="has characters that no header may have"):
        reveal_header(Secret(text), what="the access key")


def test_white_space_around_a_key_is_removed() -> None:
    """The newline at the end of a file is not part of the key."""
    assert reveal_header(Secret(" AK1\n"), what="the access key") == "AK1"


def test_the_repr_of_a_key_has_no_secret() -> None:
    """The repr of a key has the access key id only."""
    key = AccessKey(access="AK1", secret="hunter2", security_token="hunter3")
    assert repr(key) == "AccessKey(access='AK1', expires_at=None)"


async def test_a_rotated_file_counts_from_the_next_call(
    tmp_path: Path, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Keys are read from their files at each call; each new pair is reported, without an expiry."""
    access, secret = tmp_path / "ak", tmp_path / "sk"
    access.write_text("INVENTED1\n")
    secret.write_text(SECRET)
    server.on("/", respond(200, PAGE))
    credentials = AkSk(access_key=Secret(SecretFile(access)), secret_key=Secret(SecretFile(secret)))

    async with connect(options(server.url, credentials=credentials), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        await client.call(JOBS)
        access.write_text("INVENTED2\n")
        await client.call(JOBS)

    used = [request.headers["authorization"].split("Access=")[1].split(",")[0] for request in server.received]
    assert used == ["INVENTED1", "INVENTED1", "INVENTED2"]
    assert observer.expiries == [None, None]


async def test_a_security_token_is_sent(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A temporary pair of the settings is sent with its token, and the token is signed."""
    server.on("/", respond(200, PAGE))
    credentials = AkSk(access_key=Secret(ACCESS), secret_key=Secret(SECRET), security_token=Secret("INVENTED/TOKEN="))

    async with connect(options(server.url, credentials=credentials), clock=clock, observer=observer) as client:
        await client.call(JOBS)

    assert server.received[0].headers["x-security-token"] == "INVENTED/TOKEN="
    assert "x-security-token," in server.received[0].headers["authorization"]


async def test_an_unreadable_secret_sends_nothing_and_recovers(
    tmp_path: Path, server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """While the file is missing every call is denied; when it is back the next call succeeds."""
    secret = tmp_path / "sk"
    server.on("/", respond(200, PAGE))
    credentials = AkSk(access_key=Secret(ACCESS), secret_key=Secret(SecretFile(secret), key="secret_key"))

    async with connect(options(server.url, credentials=credentials), clock=clock, observer=observer) as client:
        for _ in range(10):
            with pytest.raises(Denied, match="No such file"):
                await client.call(JOBS)
        assert server.received == []
        secret.write_text(SECRET)
        assert await client.call(JOBS)

    assert observer.circuit == [False]  # nothing was refused, so no call is held back
    assert observer.withheld == [("list_jobs", "denied")] * 10


async def test_trap_34_a_refused_key_is_used_twice_and_then_every_330_s(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Trap 34: exactly two refused signatures, then none for 330 s, then one trial in each 330 s."""
    server.on("/", UNAUTHORIZED)

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        for endpoint in (JOBS, METRICS):
            with pytest.raises(Denied):
                await client.call(endpoint)
        for endpoint in (JOBS, METRICS, JOBS):
            with pytest.raises(CircuitOpen, match="the credential was refused"):
                await client.call(endpoint)
        clock.turn(329.0)
        with pytest.raises(CircuitOpen):
            await client.call(JOBS)
        assert len(server.received) == 2
        clock.turn(1.0)
        with pytest.raises(Denied):
            await client.call(JOBS)
        with pytest.raises(CircuitOpen):
            await client.call(JOBS)
        assert len(server.received) == 3
        clock.turn(330.0)
        server.on("/", respond(200, PAGE))
        assert await client.call(JOBS)

    assert observer.circuit == [False, True, False]
    assert observer.withheld == [(endpoint.name, "circuit_open") for endpoint in (JOBS, METRICS, JOBS, JOBS, JOBS)]


async def test_trap_34_twenty_concurrent_calls_with_a_wrong_key_are_two_refusals(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Trap 34: of twenty concurrent calls with an unproven key two are refused and 18 are not sent."""
    server.on("/", UNAUTHORIZED)

    async with connect(options(server.url, concurrency=8), clock=clock, observer=observer) as client:
        outcomes = await asyncio.gather(*(make_call(client, JOBS) for _ in range(20)), return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CircuitOpen"] * 18 + ["Denied"] * 2
    assert len(server.received) == 2


async def test_a_key_that_becomes_invalid_is_refused_once_more(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Calls that are running when the key becomes invalid count as one refusal; one more call is sent."""
    gate = asyncio.Event()
    server.on("/v1/", respond(200, PAGE)).on("/v2/", respond_after(gate, UNAUTHORIZED))

    async with connect(options(server.url, concurrency=4), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        calls = [asyncio.create_task(make_call(client, METRICS)) for _ in range(20)]
        await server.until_received(1 + 3)  # one operation gets three of four slots
        gate.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CircuitOpen"] * 16 + ["Denied"] * 4
    assert len(server.received) == 1 + 4


async def test_a_missing_permission_does_not_open_a_circuit(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A 403 refuses the request, not the credential: the call is denied each time, and other calls are sent."""
    server.on("/v1/", respond(403, {"error_code": "APIG.0302"})).on("/v2/", respond(200, PAGE))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        for _ in range(6):
            with pytest.raises(Denied):
                await client.call(JOBS)
        assert await client.call(METRICS)

    assert len(server.received) == 7
    assert observer.circuit == [False]


async def test_a_rotated_key_is_used_at_once_after_a_refusal(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """After a 401 the files are read again; if they hold another pair, the call is sent once more."""
    pairs = iter(["OLD1", "NEW1", "NEW1", "NEW1"])
    server.on("/", UNAUTHORIZED, respond(200, PAGE))
    credentials = AkSk(access_key=ComputedSecret(lambda: next(pairs)), secret_key=Secret(SECRET))

    async with connect(options(server.url, credentials=credentials), clock=clock, observer=observer) as client:
        assert await client.call(JOBS)

    assert observer.calls == [("list_jobs", "denied"), ("list_jobs", "ok")]


async def test_static_keys_are_renewed_by_their_files() -> None:
    """Renewing static keys compares them with the current content of the files."""
    held = ["AK1"]
    keys = StaticKeys(access=ComputedSecret(lambda: held[0]), secret=Secret("sk"))
    key = await keys.key()
    assert not await keys.renew(key)
    held[0] = "AK2"
    assert await keys.renew(key)
    await keys.close()


async def test_a_project_is_found_by_its_name(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """With only a name IAM gets one signed request; the project with exactly that name is used.

    Concurrent calls share the request.
    """
    projects = {"projects": [{"id": "a" * 32, "name": "eu-de"}, {"id": "b" * 32, "name": "eu-de_vision"}]}
    server.on("/v3/projects", respond(200, projects)).on("/v1/", respond(200, PAGE))
    given = options(server.url, project_id="", project_name="eu-de_vision")

    async with connect(given, clock=clock, observer=observer) as client:
        ids = await asyncio.gather(*(client.project_id() for _ in range(3)))
        assert ids == ["b" * 32] * 3
        await asyncio.gather(*(make_call(client, JOBS) for _ in range(5)))
        assert await client.project_id() == "b" * 32

    (lookup,) = server.requests_to("/v3/projects")
    assert lookup.target == "/v3/projects?name=eu-de_vision"
    assert "SignedHeaders=host;x-sdk-date," in lookup.headers["authorization"]
    assert {request.target for request in server.requests_to("/v1/")} == {f"/v1/{'b' * 32}/jobs"}
    assert observer.calls[0] == ("iam_projects", "ok")


async def test_an_unknown_project_is_refused(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A name that IAM does not know fails the call, and the text has the name."""
    server.on("/v3/projects", respond(200, {"projects": []}))
    given = options(server.url, project_id="", project_name="eu-de_nowhere")

    async with connect(given, clock=clock, observer=observer) as client:
        with pytest.raises(Refused, match="there is no project eu-de_nowhere"):
            await client.call(JOBS)


async def test_an_error_of_iam_keeps_its_operation(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """An error of IAM has the operation of IAM."""
    server.on("/v3/projects", respond(404))
    given = options(server.url, project_id="", project_name="eu-de")

    async with connect(given, clock=clock, observer=observer) as client:
        with pytest.raises(Unsupported) as caught:
            await client.call(JOBS)

    assert caught.value.operation == "iam_projects"


async def test_a_configured_id_needs_no_request(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """With an id in the settings no request is needed."""
    async with connect(options(server.url), clock=clock, observer=observer) as client:
        assert await client.project_id() == PROJECT_ID

    assert server.received == []
