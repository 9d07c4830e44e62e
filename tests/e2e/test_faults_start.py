"""Clouds that cannot be reached when the exporter starts, and single refusals later on."""

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
from tests.e2e.faults import Shown
from tests.e2e.harness import AKSK, BY_PASSWORD, rig_for, settings_for


class Names:
    """A name server for one host of its own; everything else is left to the machine."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.resolves = False
        self._ask_machine = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *more: Any, **named: Any) -> list[Any]:
        """Answer in the place of `socket.getaddrinfo`."""
        if host != self.host:
            return self._ask_machine(host, port, *more, **named)
        if not self.resolves:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._ask_machine("127.0.0.1", port, *more, **named)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """A name server that knows `modelarts.localhost`, if it is told to."""
    names = Names("modelarts.localhost")
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    return names


def certificate(folder: Path, name: str) -> Path:
    """Write a certificate for 127.0.0.1 that is its own authority; the key lies beside it."""
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
    """What the cloud shows of itself: at first a certificate nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    stranger = certificate(tmp_path, "stranger")
    context.load_cert_chain(stranger, stranger.with_suffix(".key"))
    return context


@pytest.fixture
async def secure(clock: ManualClock, identity: ssl.SSLContext) -> AsyncIterator[Simulator]:
    """An empty cloud over TLS."""
    async with Simulator(Options(empty=True), clock=clock, tls=identity) as cloud:
        yield cloud


async def test_a_cloud_that_is_down_at_the_start(cloud: Simulator, clock: ManualClock) -> None:
    """Without a cloud up is 0 and nothing is known; with the first answer its jobs are there, and none counts."""
    job = cloud.world.submit("steady")
    cloud.world.start(job)
    await cloud.go_down()
    async with rig_for(settings_for(cloud, api="auto"), clock) as rig:
        for _ in range(3):
            clock.turn(30)
            await rig.poll()
            shown = Shown(rig)
            assert shown.up() == {"vision": 0}
            assert not shown.read("modelarts_training_jobs")
            assert shown.value("modelarts_exporter_api_requests_total", outcome="unreachable") > 0
        await cloud.come_back()
        clock.turn(330)
        await rig.poll()
        shown = Shown(rig)
        assert shown.up() == {"vision": 1}
        assert shown.statuses("vision") == {job.id: "running"}
        assert shown.value("modelarts_training_jobs_submitted_total") == 0


async def test_a_name_that_does_not_resolve(cloud: Simulator, clock: ManualClock, names: Names) -> None:
    """While the API's name is unknown up is 0, unreachable; once it resolves the next trial succeeds."""
    cloud.world.submit("steady")
    endpoint = cloud.url.replace("127.0.0.1", names.host)
    async with rig_for(settings_for(cloud, api="v2", endpoint=endpoint), clock) as rig:
        for _ in range(3):
            clock.turn(30)
            await rig.poll()
            assert Shown(rig).up() == {"vision": 0}
        # three attempts, two more until the circuit is open, and a trial after 30 s
        assert Shown(rig).value("modelarts_exporter_api_requests_total", outcome="unreachable") == 3 + 2 + 1
        assert Shown(rig).value("modelarts_exporter_circuit_open") == 1
        assert cloud.requests.count() == 0
        names.resolves = True
        clock.turn(60)
        await rig.poll()
        assert Shown(rig).up() == {"vision": 1}


async def test_a_certificate_that_is_not_trusted(
    secure: Simulator, clock: ManualClock, identity: ssl.SSLContext, trusted: Path
) -> None:
    """A certificate of a stranger is unreachable, before and after a good time; no request is sent to it."""
    secure.world.submit("steady")
    stranger = trusted.with_name("stranger.pem")
    settings = settings_for(secure, api="v2", tls={"ca_file": str(trusted)})
    async with rig_for(settings, clock) as rig:
        for path, up in ((stranger, 0), (trusted, 1), (stranger, 0), (trusted, 1)):
            identity.load_cert_chain(path, path.with_suffix(".key"))
            await secure.go_down()
            await secure.come_back()
            secure.requests.clear()
            clock.turn(330)
            await rig.poll()
            assert Shown(rig).up() == {"vision": up}
            assert (secure.requests.count() > 0) == bool(up)
        assert Shown(rig).value("modelarts_exporter_api_requests_total", outcome="unreachable") > 0


async def test_refused_once_with_a_key(cloud: Simulator, clock: ManualClock) -> None:
    """One 401 for a key that has not changed fails one poll, is not repeated in it, and holds nothing back."""
    async with rig_for(settings_for(cloud, api="v2", workspaces=["0"]), clock) as rig:
        await rig.poll()
        cloud.requests.clear()
        cloud.faults.add("401:count=1")
        clock.turn(30)
        await rig.poll()
        assert Shown(rig).up() == {"vision": 0}
        assert cloud.requests.count() == 1
        assert Shown(rig).value("modelarts_exporter_circuit_open") == 0
        clock.turn(30)
        await rig.poll()
        assert Shown(rig).up() == {"vision": 1}


async def test_refused_once_with_a_token(cloud: Simulator, clock: ManualClock) -> None:
    """One 401 for a token buys one more token, and the poll succeeds wholly."""
    async with rig_for(settings_for(cloud, api="v2", credentials=BY_PASSWORD), clock) as rig:
        await rig.poll()
        assert cloud.requests.count("iam.token") == 1
        cloud.faults.add("401:count=1")
        clock.turn(30)
        await rig.poll()
        assert Shown(rig).up() == {"vision": 1}
        assert cloud.requests.count("iam.token") == 2
        assert Shown(rig).value("modelarts_exporter_api_requests_total", outcome="denied") == 1


async def test_never_more_than_two_refusals_before_a_pause(cloud: Simulator, clock: ManualClock) -> None:
    """Over an hour with a wrong key no two refused signatures but the first are nearer than 330 s, and none locks."""
    async with rig_for(settings_for(cloud, api="auto"), clock) as rig:
        await rig.poll(usage=True)
        cloud.state.keys.rotate(secret_key="another")
        cloud.requests.clear()
        for _ in range(120):
            clock.turn(30)
            await rig.poll(usage=True)
        refused_at = [request.at for request in cloud.requests]
        assert {request.status for request in cloud.requests} == {401}
        assert all(later - earlier >= 330 for earlier, later in pairwise(refused_at[1:]))
        assert len(refused_at) <= 2 + 3600 // 330
        cloud.state.keys.rotate(secret_key=AKSK["secret_key"])
        clock.turn(330)
        await rig.poll()
        assert rig.value("modelarts_up") == 1
