import io

import aiohttp
import pytest

from exporter.simulator import Options, RealClock, Simulator
from exporter.simulator.requestlog import Request, Requests
from tests.clock import ManualClock
from tests.unit.simulator.client import Client

WORKSPACES = "/v1/{project}/workspaces"


async def test_world_follows_the_clock(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """A request advances the world to the clock's time; `advance` puts the world ahead of it permanently."""
    job = cloud.world.submit()
    cloud.world.start(job)
    clock.turn(60)
    body = (await client.get(f"/v2/{{project}}/training-jobs/{job.id}")).body
    assert body["status"]["duration"] == 60_000

    cloud.world.advance(100)
    clock.turn(10)
    assert cloud.world.now == clock.time() + 100


async def test_speed_and_start(clock: ManualClock) -> None:
    """Speed 60 and the start time apply to the world only: a token is valid for a day of the clock."""
    options = Options(empty=True, speed=60.0, start_at=1_000_000_000.0)
    async with Simulator(options, clock=clock) as cloud, Client(cloud) as client:
        await client.token()
        clock.turn(3_600)

        assert cloud.world.now == 1_000_000_000 + 216_000
        assert (await client.get(WORKSPACES)).status == 200


async def test_real_clock_is_the_default() -> None:
    """Without a clock the simulated time is the system's."""
    async with Simulator(Options(empty=True)) as cloud:
        assert abs(cloud.world.now - RealClock().time()) < 5
        assert cloud.options.empty


async def test_outage(client: Client, cloud: Simulator) -> None:
    """While it is down connections are refused; afterwards it has the same port and the same world."""
    job = cloud.world.submit()
    await client.token()
    url = cloud.url

    for _ in range(2):
        await cloud.go_down()
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.get(WORKSPACES)

    for _ in range(2):
        await cloud.come_back()
    assert cloud.url == url
    assert (await client.get(f"/v2/{{project}}/training-jobs/{job.id}")).status == 200


async def test_port_in_use(cloud: Simulator, clock: ManualClock) -> None:
    """A port in use is an OSError."""
    second = Simulator(Options(empty=True), port=int(cloud.url.rpartition(":")[2]), clock=clock)

    with pytest.raises(OSError, match="in use"):
        await second.__aenter__()
    await second.__aexit__(None, None, None)


async def test_request_log(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """The log has time, operation, path, query, body and status of each request."""
    await client.token()
    clock.turn(7)
    await client.search(limit=51)
    await client.get("/v1/{project}/training-jobs?page=1")

    *_, search, jobs = cloud.requests
    assert (search.at, search.operation, search.method, search.status) == (1_700_000_007.0, "v2.search", "POST", 400)
    assert search.body == b'{"limit": 51}'
    assert (jobs.path.rpartition("/")[2], jobs.query) == ("training-jobs", "page=1")


def test_size_of_the_request_log() -> None:
    """The log keeps the newest 100000 requests, and counts all."""
    log = Requests()
    for number in range(100_001):
        log.add(Request(at=float(number), operation="v2.search", method="POST", path="/", query="", body=b""))

    assert log.count("v2.search") == 100_001
    assert next(iter(log)).at == 1.0


async def test_size_limit(cloud: Simulator) -> None:
    """A body of more than 12 MB is 413."""
    body = io.BytesIO(b"x" * (12 * 1024**2 + 1))
    async with aiohttp.ClientSession() as session, session.post(f"{cloud.url}/v3/auth/tokens", data=body) as response:
        assert response.status == 413
