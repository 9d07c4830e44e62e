import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from exporter.simulator import FAULTS, PROJECT_ID, Fault, Options, Simulator, parse_fault
from exporter.simulator.faults.faults import Faults
from tests.clock import ManualClock
from tests.unit.simulator.client import Client, Response

WORKSPACES = f"/v1/{PROJECT_ID}/workspaces"


@pytest.mark.parametrize(
    "text, expected",
    [
        pytest.param("500", {"name": "500", "probability": 1.0, "count": 0}, id="name only"),
        pytest.param(
            "429:retry_after=2,probability=0.1",
            {"name": "429", "retry_after": "2", "probability": 0.1, "operation": "v?.*"},
            id="parameters",
        ),
        pytest.param("slow:delay=0.5,operation=v2.search", {"delay": 0.5, "operation": "v2.search"}, id="operation"),
        pytest.param("huge:size_mb=3,path=/v2/*,after=2", {"size_mb": 3, "path": "/v2/*", "after": 2}, id="numbers"),
        pytest.param("token-expired", {"count": 1}, id="default of the fault"),
    ],
)
def test_parsing(text: str, expected: dict[str, Any]) -> None:
    """The text of a fault sets its name and parameters; the others have the registry's defaults."""
    fault = parse_fault(text)

    assert {key: getattr(fault, key) for key in expected} == expected


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("oops", "no fault 'oops'; there are: 401, 403"),
        ("429:again", "'again' is not key=value"),
        ("429:colour=red", "is not key=value with a key of: operation"),
        ("slow:delay=long", "delay must be a float, not 'long'"),
        ("500:delay=3", "fault 500 has no parameter 'delay'; it has: after, code, count, operation"),
        ("500:probability=2", "probability must be between 0 and 1"),
    ],
)
def test_syntax_errors(text: str, sentence: str) -> None:
    """An invalid text raises ValueError with a sentence that names the mistake."""
    with pytest.raises(ValueError, match=sentence):
        parse_fault(text)


def test_registry() -> None:
    """Each entry of the registry has a help text of one line and works with its defaults."""
    for name, kind in FAULTS.items():
        assert kind.help
        assert "\n" not in kind.help
        assert Fault(name).as_json()["name"] == name


def test_probability() -> None:
    """With probability 0.3 about 300 of 1000 calls are hit, the same ones for the same seed."""
    hits = []
    for _ in range(2):
        faults = Faults(seed=1)
        faults.add("500:probability=0.3")
        hits.append([faults.select(operation="v2.search", path="/") is not None for _ in range(1_000)])

    assert 250 < sum(hits[0]) < 350
    assert hits[0] == hits[1]


def test_count_and_after() -> None:
    """With after=2 and count=2, two calls pass, two are hit, and all others pass."""
    faults = Faults(seed=1)
    faults.add(Fault("500", after=2, count=2))

    hits = [bool(faults.select(operation="v1.jobs", path="/")) for _ in range(6)]

    assert hits == [False, False, True, True, False, False]


def test_first_match_applies() -> None:
    """Faults are matched by operation and path in the order of their activation; a removed one no longer matches."""
    faults = Faults(seed=1)
    first = faults.add("503:operation=v2.search")
    faults.add("500:path=/v2/*")

    def selected(operation: str, path: str) -> str:
        fault = faults.select(operation=operation, path=path)
        return fault.name if fault else ""

    assert selected("v2.search", "/v2/p/x") == "503"
    assert selected("v2.job", "/v2/p/x") == "500"
    assert selected("v1.jobs", "/v1/p/x") == ""
    for _ in range(2):
        faults.remove(first)
    assert selected("v2.search", "/v2/p/x") == "500"
    assert [fault.name for fault in faults] == ["500"]
    faults.clear()
    assert len(faults) == 0


async def get(client: Client, fault: str, path: str = WORKSPACES) -> Response:
    """GET with an active fault."""
    await client.token()
    client.cloud.faults.add(fault)
    return await client.get(path)


@pytest.mark.parametrize(
    "fault, status, code",
    [
        ("401", 401, "APIG.0301"),
        ("403", 403, "ModelArts.0210"),
        ("404", 404, "APIG.0101"),
        ("408", 408, "ModelArts.6100"),
        ("429", 429, "APIG.0308"),
        ("429:code=ModelArts.6101", 429, "ModelArts.6101"),
        ("500", 500, "ModelArts.50005000"),
        ("503", 503, "ModelArts.4503"),
        ("echo:status=403", 403, "ModelArts.2764"),
        ("is-success-false", 200, "ModelArts.0105"),
        ("is-success-false:status=400,code=ModelArts.5039", 400, "ModelArts.5039"),
        ("token-expired", 401, "APIG.0307"),
    ],
)
async def test_errors(client: Client, fault: str, status: int, code: str) -> None:
    """Faults with an error body have their status and code."""
    response = await get(client, fault)

    assert (response.status, response.body["error_code"]) == (status, code)
    *_, last = client.cloud.requests
    assert (last.operation, last.status, last.fault) == ("v1.workspaces", status, fault.partition(":")[0])
    if fault.startswith("echo"):
        assert "Host" in response.body["error_msg"]


@pytest.mark.parametrize("value, expected", [("7", "7"), ("0.5", "0.5"), ("absurd", "31536000"), ("none", None)])
async def test_retry_after(client: Client, value: str, expected: str | None) -> None:
    """Retry-After is sent as given, is a year for `absurd`, and absent for `none`."""
    assert (await get(client, f"429:retry_after={value}")).headers.get("Retry-After") == expected


async def test_dates(client: Client) -> None:
    """Retry-After as a date is 5 s ahead; the Date header is that of the server's clock, skew included."""
    response = await get(client, "429:retry_after=date,count=1")
    assert parsedate_to_datetime(response.headers["Retry-After"]) == datetime.fromtimestamp(1_700_000_005, UTC)

    response = await get(client, "clock-skew:skew=1200")
    assert parsedate_to_datetime(response.headers["Date"]) == datetime.fromtimestamp(1_700_001_200, UTC)


@pytest.mark.parametrize(
    "fault, status, header",
    [
        ("html-502", 502, ("Content-Type", "text/html; charset=utf-8")),
        ("html-502:status=200", 200, ("Content-Type", "text/html; charset=utf-8")),
        ("empty-200", 200, ("Content-Length", "0")),
        ("204", 204, ("Content-Length", None)),
        ("redirect:location=http://elsewhere.invalid/", 302, ("Location", "http://elsewhere.invalid/")),
    ],
)
async def test_no_json(client: Client, fault: str, status: int, header: tuple[str, str | None]) -> None:
    """Faults without a JSON body have their status and header."""
    response = await get(client, fault)

    assert (response.status, response.headers.get(header[0])) == (status, header[1])
    assert response.body == "" or response.body.startswith("<html>") or status == 302


async def test_corrupt_bodies(client: Client) -> None:
    """A truncated body is no JSON; wrong-types replaces all types; bad-item replaces the first item of a list."""
    with pytest.raises(json.JSONDecodeError):
        await get(client, "truncated:count=1")
    assert (await get(client, "wrong-types:count=1")).body == {
        "total_count": {"number": 2},
        "count": {"number": 2},
        "workspaces": "a list stood here",
    }
    response = await get(client, "bad-item:count=1")
    assert [type(each) for each in response.body["workspaces"]] == [int, dict]

    job = client.cloud.world.submit()
    body = (await get(client, "wrong-types", f"/v2/{PROJECT_ID}/training-jobs/{job.id}")).body
    assert body["metadata"]["name"] == [job.name]
    assert (body["status"]["node_count_metrics"], body["spec"]["is_hosted_log"]) == (None, True)


@pytest.mark.parametrize("fault", ["bad-item", "reset-body"])
async def test_faults_of_the_body_without_a_body(client: Client, fault: str) -> None:
    """A 204 stays a 204 under a fault that modifies or interrupts the body."""
    job = client.cloud.world.submit()

    assert (await get(client, fault, f"/v2/{PROJECT_ID}/training-jobs/{job.id}/metrics/worker-0")).status == 204


async def test_hang(client: Client) -> None:
    """A call that hangs has no response; the next one, after the count, has one."""
    await client.token()
    client.cloud.faults.add("hang:count=1")

    with pytest.raises(TimeoutError):
        await client.send("GET", WORKSPACES, timeout_s=0.1)
    assert (await client.get(WORKSPACES)).status == 200


@pytest.mark.parametrize("fault", ["hang", "slow", "slow-body", "hang-body"])
async def test_delays(client: Client, fault: str) -> None:
    """With a delay the normal response is late."""
    begin = asyncio.get_running_loop().time()
    response = await get(client, f"{fault}:delay=0.05")

    assert response.body["total_count"] == 2
    assert asyncio.get_running_loop().time() - begin >= 0.045


@asynccontextmanager
async def streamed(client: Client, fault: str) -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"X-Auth-Token": await client.token()}
    client.cloud.faults.add(fault)
    url = client.cloud.url + WORKSPACES
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        yield response


async def test_hang_in_the_body(client: Client) -> None:
    """Headers and half the body are sent, then nothing."""
    async with streamed(client, "hang-body") as response:
        assert response.status == 200
        first = await response.content.readany()
        assert 0 < len(first) < int(response.headers["Content-Length"])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readany(), 0.05)


async def test_huge(client: Client) -> None:
    """The body of `huge` has the requested size."""
    async with streamed(client, "huge:size_mb=2") as response:
        assert 2 * 1024**2 < len(await response.read()) < 2 * 1024**2 + 100


@pytest.mark.parametrize(
    "fault, error", [("reset", aiohttp.ClientConnectionError), ("reset-body", aiohttp.ClientPayloadError)]
)
async def test_closed_connections(client: Client, fault: str, error: type[Exception]) -> None:
    """The connection is closed before the response, or in the middle of its body."""
    with pytest.raises(error):
        await get(client, fault)


async def test_expired_credentials(client: Client, clock: ManualClock) -> None:
    """All tokens and temporary keys issued before the fault are invalid; new ones are valid."""
    await get(client, "token-expired")
    async with Client(client.cloud) as another:
        assert (await another.get(WORKSPACES)).status == 200
    assert (await client.get(WORKSPACES)).status == 401

    key = client.cloud.state.keys.temporary("node")

    async def get_signed() -> int:
        how = {"access_key": key.access, "secret_key": key.secret, "security_token": key.security_token}
        return (await client.get_signed(WORKSPACES, time=clock.time(), **how)).status

    assert await get_signed() == 200
    client.cloud.faults.add("keys-expired")
    assert await get_signed() == 401


async def test_clock_skew(client: Client, clock: ManualClock) -> None:
    """While the server's clock is 1200 s ahead valid signatures are rejected; afterwards they are accepted."""
    client.cloud.faults.add("clock-skew:count=1")

    assert [(await client.get_signed(WORKSPACES, time=clock.time())).status for _ in range(2)] == [401, 200]


async def test_faults_and_iam(client: Client) -> None:
    """By default faults apply to ModelArts calls only; an operation pattern extends them to IAM."""
    await get(client, "500")
    assert (await client.send("POST", "/v3/auth/tokens", body={})).status == 400

    client.cloud.faults.add("500:operation=iam.*")
    assert (await client.send("POST", "/v3/auth/tokens", body={})).status == 500


async def test_closing_ends_hanging_calls(clock: ManualClock) -> None:
    """Closing the simulator ends calls that hang, before the headers and in the body."""
    async with (
        Simulator(Options(empty=True), clock=clock) as cloud,
        Client(cloud) as client,
        streamed(client, "hang-body:count=1") as half,
    ):
        await half.content.readany()
        cloud.faults.add("hang:count=1")
        hanging = asyncio.create_task(client.get(WORKSPACES))
        async with asyncio.timeout(5):
            while sum(fault.hits for fault in cloud.faults) < 2:  # noqa: ASYNC110 -- faults have no event
                await asyncio.sleep(0.001)
        await cloud.__aexit__(None, None, None)
        with pytest.raises(aiohttp.ClientError):
            await half.read()
        with pytest.raises(aiohttp.ClientError):
            await hanging
