"""The command of `helm test`, run against the real exporter and against fake servers."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.chart import chart
from tests.chart.chart import Rendered
from tests.programs import Service, free_port

OWN = 'modelarts_exporter_build_info{version="0.1.0"} 1'


@pytest.fixture(scope="module")
def release() -> Rendered:
    """The rendered demo."""
    return chart.render({"demo": {"enabled": True}})


async def checked(release: Rendered, *, at: str) -> tuple[int | None, str]:
    """Run the command of the test pod against an address; return status and output."""
    python, flag, script, base, path, *secrets = release.one("Pod")["spec"]["containers"][0]["command"]
    assert (python, flag) == ("python3", "-c")
    assert base == "http://modelarts-exporter.monitoring:10310"
    command = (sys.executable, "-I", "-c", script, at, path, *secrets)
    run = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    out, err = await run.communicate()
    return run.returncode, (out + err).decode()


async def start_fake(lines: Sequence[str], *, refusals: int = 0) -> TestServer:
    """Start a server that exposes these lines. Its first `refusals` readiness requests fail."""
    left = iter(range(refusals))

    async def ready(_: web.Request) -> web.Response:
        return web.Response(status=200 if next(left, None) is None else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text="".join(f"{line}\n" for line in lines))

    app = web.Application()
    app.add_routes([web.get("/-/ready", ready), web.get("/metrics", metrics)])
    server = TestServer(app)
    await server.start_server()
    return server


async def test_demo_passes_helm_test(release: Rendered, tmp_path: Path) -> None:
    """With the arguments of the container, the exporter starts, its probes succeed, and `helm test` succeeds."""
    container = release.container()
    port = free_port()
    arguments = [argument.replace(":10310", f"127.0.0.1:{port}") for argument in container["args"]]
    assert arguments != container["args"]
    simulator = f"--listen-address=127.0.0.1:{free_port()}"
    command = (sys.executable, "-m", "exporter", *arguments, simulator)
    async with Service("exporter", command, folder=tmp_path, port=port) as exporter:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            answer, _ = await exporter.get(container[probe]["httpGet"]["path"])
            assert answer == 200, probe
        status, output = await checked(release, at=exporter.url)
    assert (status, output.split()) == (
        0,
        ['modelarts_up{project="vision"}', "1", 'modelarts_up{project="speech"}', "1"],
    )


@pytest.mark.parametrize(
    "lines, complaint",
    [
        pytest.param(
            [OWN, 'modelarts_up{project="a"} 1', 'modelarts_up{project="b"} 0'], "not every project", id="blind"
        ),
        pytest.param(["up 1"], "does not serve the metrics of modelarts-exporter", id="something-else"),
    ],
)
async def test_helm_test_fails(lines: Sequence[str], complaint: str, release: Rendered) -> None:
    """`helm test` fails with a message if a project cannot be read or another program answers."""
    server = await start_fake(lines)
    try:
        status, output = await checked(release, at=str(server.make_url("")))
    finally:
        await server.close()
    assert status == 1
    assert complaint in output


async def test_helm_test_waits_until_ready(release: Rendered) -> None:
    """`helm test` waits for an exporter that is not ready yet."""
    server = await start_fake([OWN, 'modelarts_up{project="a"} 1'], refusals=1)
    try:
        status, output = await checked(release, at=str(server.make_url("")))
    finally:
        await server.close()
    assert (status, output) == (0, 'modelarts_up{project="a"} 1\n')
