import asyncio
import io
import ssl
import subprocess
from pathlib import Path

import aiohttp
import pytest

from exporter.simulator import Options, RealClock, ScaledClock, Simulator
from exporter.simulator.requestlog import Request, Requests
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Visitor


async def test_it_catches_up_with_its_clock(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """The world has no task of its own: when asked, it is as late as the clock."""
    job = cloud.world.submit()
    cloud.world.start(job)
    clock.turn(60)

    body = (await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}")).body

    assert body["status"]["duration"] == 60_000


async def test_advance_puts_it_ahead(cloud: Simulator, clock: ManualClock) -> None:
    """What advance adds stays: the world is that much ahead of its clock ever after."""
    cloud.world.advance(100)
    clock.turn(10)

    assert cloud.world.now == clock.time() + 100


async def test_speed_is_the_worlds_alone(clock: ManualClock) -> None:
    """At a speed of 60 the clock's minute is the world's hour, while a token lives a day of the clock."""
    async with Simulator(Options(empty=True, speed=60.0), clock=clock) as cloud, Visitor(cloud) as visitor:
        await visitor.token()
        begin = cloud.world.now
        clock.turn(3_600)

        assert cloud.world.now - begin == 216_000
        assert (await visitor.get("/v1/{project}/workspaces")).status == 200


async def test_start_at(clock: ManualClock) -> None:
    """The world can begin at another moment than its clock's."""
    async with Simulator(Options(empty=True, start_at=1_000_000_000.0), clock=clock) as cloud:
        clock.turn(5)

        assert cloud.world.now == 1_000_000_005.0


def test_scaled_clock(clock: ManualClock) -> None:
    """A scaled clock runs so many times as fast, from where it is told to start."""
    fast = ScaledClock(base=clock, speed=10.0, start_at=500.0)
    clock.turn(3)

    assert (fast.time(), fast.monotonic()) == (530.0, 30.0)


def test_real_clock_is_the_machines() -> None:
    """The real clock goes, in both ways of telling."""
    clock = RealClock()
    time, monotonic = clock.time(), clock.monotonic()

    assert time > 1_700_000_000
    assert clock.monotonic() >= monotonic


async def test_without_a_clock_it_lives_in_real_time() -> None:
    """With no clock given, the world's time is the machine's."""
    async with Simulator(Options(empty=True)) as cloud:
        assert abs(cloud.world.now - RealClock().time()) < 5
        assert cloud.options.empty


async def test_going_down_and_coming_back(visitor: Visitor, cloud: Simulator) -> None:
    """While it is down connections are refused; it comes back on the same port, the world as it was."""
    job = cloud.world.submit()
    await visitor.token()
    url = cloud.url

    await cloud.go_down()
    await cloud.go_down()
    with pytest.raises(aiohttp.ClientConnectionError):
        await visitor.get("/v1/{project}/workspaces")

    await cloud.come_back()
    await cloud.come_back()
    assert cloud.url == url
    assert (await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}")).status == 200


async def test_it_can_be_left_without_having_been_entered(clock: ManualClock) -> None:
    """A simulator that never listened can be taken down, brought back and left without harm."""
    cloud = Simulator(Options(empty=True), clock=clock)

    await cloud.go_down()
    await cloud.come_back()
    await cloud.__aexit__(None, None, None)

    assert cloud.url == ""


async def test_port_taken(cloud: Simulator, clock: ManualClock) -> None:
    """A port that is taken is an OSError."""
    port = int(cloud.url.rpartition(":")[2])
    second = Simulator(Options(empty=True), port=port, clock=clock)

    with pytest.raises(OSError, match="in use"):
        await second.__aenter__()
    await second.__aexit__(None, None, None)


async def test_tls(clock: ManualClock, tmp_path: Path) -> None:
    """With a certificate it speaks TLS, and its URL says so."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    command = [
        *request.split(),
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    async with (
        Simulator(Options(empty=True), clock=clock, tls=server) as cloud,
        aiohttp.ClientSession() as session,
        session.get(f"{cloud.url}/simulator/", ssl=client) as response,
    ):
        assert cloud.url.startswith("https://")
        assert response.status == 200


async def test_ipv6_url(clock: ManualClock) -> None:
    """An IPv6 host stands in brackets."""
    async with Simulator(Options(empty=True), host="::1", clock=clock) as cloud:
        assert cloud.url.startswith("http://[::1]:")


async def test_two_in_one_process(clock: ManualClock) -> None:
    """Two simulators do not know each other."""
    async with (
        Simulator(Options(empty=True), clock=clock) as one,
        Simulator(Options(empty=True), clock=clock) as two,
        Visitor(one) as visitor,
    ):
        one.world.submit()
        await visitor.search()

        assert (len(one.world.jobs), len(two.world.jobs)) == (1, 0)
        assert (one.requests.count("v2.search"), two.requests.count()) == (1, 0)


async def test_requests_are_kept(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """A request is kept with moment, operation, path, query, body and status."""
    await visitor.token()
    clock.turn(7)
    await visitor.search(limit=51)
    await visitor.get("/v1/{project}/training-jobs?page=1")

    *_, search, jobs = cloud.requests
    assert (search.at, search.operation, search.method, search.status) == (1_700_000_007.0, "v2.search", "POST", 400)
    assert search.body == b'{"limit": 51}'
    assert (jobs.path, jobs.query) == (f"/v1/{visitor.project}/training-jobs", "page=1")


def test_counts_outlive_what_is_kept() -> None:
    """Of very many requests the oldest are forgotten, but still counted."""
    log = Requests()
    for number in range(100_001):
        log.add(
            Request(at=float(number), operation="v2.search", method="POST", path="/", query="", body=b"", status=200)
        )

    assert log.count("v2.search") == 100_001
    assert next(iter(log)).at == 1.0


async def test_every_answer_has_a_request_id(visitor: Visitor) -> None:
    """Answers, refusals included, carry X-Request-Id, and the gateway's repeat it in the body."""
    good = await visitor.get("/v1/{project}/workspaces")
    bad = await visitor.ask("GET", "/v9/nothing")

    assert good.headers["X-Request-Id"] != bad.headers["X-Request-Id"] == bad.body["request_id"]


async def test_a_body_beyond_the_gateways_limit(cloud: Simulator) -> None:
    """More than 12 MB is not taken."""
    body = io.BytesIO(b"x" * (12 * 1024**2 + 1))
    async with aiohttp.ClientSession() as session, session.post(f"{cloud.url}/v3/auth/tokens", data=body) as response:
        assert response.status == 413
