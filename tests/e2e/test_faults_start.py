"""APIs that cannot be reached when the exporter starts, and single refusals later."""

import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.e2e.faults import Scrape
from tests.e2e.harness import AKSK, BY_PASSWORD, harness_for, settings_for


class FakeResolver:
    """Resolves one host name. Other names go to the real resolver."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.resolves = False
        self._real_getaddrinfo = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        """Replacement for `socket.getaddrinfo`."""
        if host != self.host:
            return self._real_getaddrinfo(host, port, *more, **named)
        if not self.resolves:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._real_getaddrinfo("127.0.0.1", port, *more, **named)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> FakeResolver:
    """A resolver for `modelarts.localhost`, which fails until `resolves` is set."""
    names = FakeResolver("modelarts.localhost")
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def certificate(folder: Path, name: str) -> Path:
    """Write a self-signed certificate for 127.0.0.1 and its key."""
    path = folder / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(path.with_suffix(".key")), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    return path


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    """The certificate that the settings trust."""
    return certificate(tmp_path, "trusted")


@pytest.fixture
def identity(tmp_path: Path) -> ssl.SSLContext:
    """TLS context of the server, at first with an untrusted certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    untrusted = certificate(tmp_path, "untrusted")
    context.load_cert_chain(untrusted, untrusted.with_suffix(".key"))
    return context


@pytest.fixture
async def secure(clock: ManualClock, identity: ssl.SSLContext) -> AsyncIterator[Simulator]:
    """An empty simulator over TLS."""
    async with Simulator(Options(empty=True), clock=clock, tls=identity) as cloud:
        yield cloud


async def test_a_cloud_that_is_down_at_the_start(cloud: Simulator, clock: ManualClock) -> None:
    """Without the API up is 0 and no job is exported. The first response adds its jobs, and no total counts them."""
    job = cloud.world.submit("steady")
    cloud.world.start(job)
    await cloud.go_down()
    async with harness_for(settings_for(cloud, api="auto"), clock) as harness:
        for _ in range(3):
            clock.turn(30)
            await harness.poll()
            shown = Scrape(harness)
            assert shown.up() == {"vision": 0}
            assert not shown.read("modelarts_training_jobs")
            assert shown.value("modelarts_exporter_api_requests_total", outcome="unreachable") > 0
        await cloud.come_back()
        clock.turn(330)
        await harness.poll()
        shown = Scrape(harness)
        assert shown.up() == {"vision": 1}
        assert shown.statuses("vision") == {job.id: "running"}
        assert shown.value("modelarts_training_jobs_submitted_total") == 0


async def test_a_name_that_does_not_resolve(cloud: Simulator, clock: ManualClock, names: FakeResolver) -> None:
    """While the host name does not resolve, up is 0 and the outcome unreachable; then the next trial succeeds."""
    cloud.world.submit("steady")
    endpoint = cloud.url.replace("127.0.0.1", names.host)
    async with harness_for(settings_for(cloud, api="v2", endpoint=endpoint), clock) as harness:
        for _ in range(3):
            clock.turn(30)
            await harness.poll()
            assert Scrape(harness).up() == {"vision": 0}
        # three attempts, two more until the circuit is open, and a trial after 30 s
        assert Scrape(harness).value("modelarts_exporter_api_requests_total", outcome="unreachable") == 3 + 2 + 1
        assert Scrape(harness).value("modelarts_exporter_circuit_open") == 1
        assert cloud.requests.count() == 0
        names.resolves = True
        clock.turn(60)
        await harness.poll()
        assert Scrape(harness).up() == {"vision": 1}


async def test_a_certificate_that_is_not_trusted(
    secure: Simulator, clock: ManualClock, identity: ssl.SSLContext, trusted: Path
) -> None:
    """An untrusted certificate counts as unreachable, before and after a trusted one; no request is sent."""
    secure.world.submit("steady")
    untrusted = trusted.with_name("untrusted.pem")
    settings = settings_for(secure, api="v2", tls={"ca_file": str(trusted)})
    async with harness_for(settings, clock) as harness:
        for path, up in ((untrusted, 0), (trusted, 1), (untrusted, 0), (trusted, 1)):
            identity.load_cert_chain(path, path.with_suffix(".key"))
            await secure.go_down()
            await secure.come_back()
            secure.requests.clear()
            clock.turn(330)
            await harness.poll()
            assert Scrape(harness).up() == {"vision": up}
            assert (secure.requests.count() > 0) == bool(up)
        assert Scrape(harness).value("modelarts_exporter_api_requests_total", outcome="unreachable") > 0


async def test_refused_once_with_a_key(cloud: Simulator, clock: ManualClock) -> None:
    """One 401 for an unchanged key fails one poll without a retry and does not open the circuit."""
    async with harness_for(settings_for(cloud, api="v2", workspaces=["0"]), clock) as harness:
        await harness.poll()
        cloud.requests.clear()
        cloud.faults.add("401:count=1")
        clock.turn(30)
        await harness.poll()
        assert Scrape(harness).up() == {"vision": 0}
        assert cloud.requests.count() == 1
        assert Scrape(harness).value("modelarts_exporter_circuit_open") == 0
        clock.turn(30)
        await harness.poll()
        assert Scrape(harness).up() == {"vision": 1}


async def test_refused_once_with_a_token(cloud: Simulator, clock: ManualClock) -> None:
    """One 401 for a token requests one new token, and the poll succeeds."""
    async with harness_for(settings_for(cloud, api="v2", credentials=BY_PASSWORD), clock) as harness:
        await harness.poll()
        assert cloud.requests.count("iam.token") == 1
        cloud.faults.add("401:count=1")
        clock.turn(30)
        await harness.poll()
        assert Scrape(harness).up() == {"vision": 1}
        assert cloud.requests.count("iam.token") == 2
        assert Scrape(harness).value("modelarts_exporter_api_requests_total", outcome="denied") == 1


async def test_never_more_than_two_refusals_before_a_pause(cloud: Simulator, clock: ManualClock) -> None:
    """With a wrong key, refused calls are at least 330 s apart after the second one, so that no key is locked."""
    async with harness_for(settings_for(cloud, api="auto"), clock) as harness:
        await harness.poll(usage=True)
        cloud.state.keys.rotate(secret_key="another")
        cloud.requests.clear()
        for _ in range(120):
            clock.turn(30)
            await harness.poll(usage=True)
        refused_at = [request.at for request in cloud.requests]
        assert {request.status for request in cloud.requests} == {401}
        assert all(later - earlier >= 330 for earlier, later in pairwise(refused_at[1:]))
        assert len(refused_at) <= 2 + 3600 // 330
        cloud.state.keys.rotate(secret_key=AKSK["secret_key"])
        clock.turn(330)
        await harness.poll()
        assert harness.value("modelarts_up") == 1
