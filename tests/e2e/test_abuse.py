"""Hostile clients that open many connections to the real process, and a hostile API whose texts are attacks."""

import asyncio
import re
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator import PASSWORD, PROJECT_NAME, Options, Simulator
from tests.e2e.endurance import ServeProcess, document, serve_process, write
from tests.e2e.harness import BY_PASSWORD

CONNECTIONS = 760
"""Open at once: more than the exporter keeps, fewer than the default limit of open files."""
KEPT = 512
MEMORY_BYTES = 96 * 1024 * 1024
"""Bound of the memory for all connections: 512 with 32 KiB of an unfinished request each are 16 MiB."""

HOSTILE_NAME = (
    "</style><script>alert(1)</script>\"'\n# HELP x\nmodelarts_up 1\r\n\x1b[2J\x1b]0;owned\x07\u202elevel=info\x85"
)
HOSTILE_TEXT = 'no\nts=2026-01-01T00:00:00Z level=info event=exporter.started\r\x1b[31m\x00\u202e\u2028" forged=1'


@pytest.fixture
def file_limit() -> Iterator[None]:
    """Raise the limit of open files for the connections of this process and of those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def exporter(tmp_path: Path, file_limit: None) -> AsyncIterator[ServeProcess]:
    """A running exporter after its first jobs poll."""
    del file_limit
    async with (
        Simulator(Options(jobs=20, history=20)) as cloud,
        serve_process(write(tmp_path / "config.yaml", document(cloud))) as exporter,
    ):
        await exporter.wait_until_served(r"poll\.finished.*collector=jobs")
        yield exporter


def memory_bytes(exporter: ServeProcess) -> int:
    """Resident memory of the exporter."""
    status = Path(f"/proc/{exporter.process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def open_files(exporter: ServeProcess) -> int:
    """Number of open files and sockets of the exporter."""
    return len(list(Path(f"/proc/{exporter.process.pid}/fd").iterdir()))


PAYLOADS = (
    b"",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + 3 * (b"X-A: " + b"a" * 8000 + b"\r\n"),
    b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 10,
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"a" * 60_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 500,
)
"""Sent by the clients: nothing, half a request, large headers, one request, many requests without a
reader, an unfinished body, random bytes."""


@asynccontextmanager
async def flood(exporter: ServeProcess) -> AsyncIterator[None]:
    """Open all connections. Each sends one payload and reads nothing."""
    loop = asyncio.get_running_loop()
    host, _, port = exporter.url.removeprefix("http://").partition(":")
    sockets: list[socket.socket] = []
    try:
        for number in range(CONNECTIONS):
            one = socket.socket()
            sockets.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            async with asyncio.timeout(20):
                with suppress(ConnectionError):  # those above the cap are closed
                    await loop.sock_connect(one, (host, int(port)))
                    await loop.sock_sendall(one, PAYLOADS[number % len(PAYLOADS)])
        yield
    finally:
        for one in sockets:
            one.close()


async def scrape(exporter: ServeProcess) -> None:
    """Scrape once over a new connection."""
    async with (
        asyncio.timeout(10),
        aiohttp.ClientSession() as session,
        session.get(f"{exporter.url}/metrics") as answer,
    ):
        assert answer.status == 200
        assert "modelarts_up" in await answer.text()


@pytest.mark.serial
async def test_scrapes_succeed_with_many_connections(exporter: ServeProcess) -> None:
    """With any number of useless connections each scrape succeeds, and memory and open files stay bounded."""
    await scrape(exporter)
    before = memory_bytes(exporter)
    sizes = []
    for _ in range(3):
        async with flood(exporter):
            for _ in range(3):
                await scrape(exporter)
            assert open_files(exporter) <= KEPT + 64
            sizes.append(memory_bytes(exporter))
    assert max(sizes) - before < MEMORY_BYTES, sizes
    assert max(sizes[1:]) - sizes[0] < MEMORY_BYTES / 8, sizes
    async with asyncio.timeout(20):
        while open_files(exporter) > 64:
            await scrape(exporter)
    assert not exporter.count(r"level=error|Traceback")


class HostileProxy:
    """A proxy before the simulator that replaces texts in its responses with attacks."""

    def __init__(self, cloud: Simulator) -> None:
        self._cloud = cloud
        self.refusing = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        """Forward a request and change the response."""
        if self.refusing and not request.path.startswith("/v3/"):
            error = {"error_code": "ModelArts.0104", "error_msg": HOSTILE_TEXT}
            return web.json_response(error, status=403)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, self._cloud.url + request.path_qs, headers=headers, data=await request.read()
            ) as reply,
        ):
            body = await reply.read()
            kept = {name: value for name, value in reply.headers.items() if name == "X-Subject-Token"}
            if reply.content_type != "application/json" or request.path.startswith("/v3/"):
                return web.Response(body=body, status=reply.status, headers=kept, content_type=reply.content_type)
            return web.json_response(with_attacks(await reply.json()), status=reply.status)


def with_attacks(value: Any) -> Any:
    """Replace texts of free and of fixed vocabulary with attacks."""
    if isinstance(value, dict):
        return {
            key: HOSTILE_TEXT if key in {"phase", "engine_name", "secondary_phase"} else with_attacks(inner)
            for key, inner in value.items()
        }
    return [with_attacks(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
async def hostile() -> AsyncIterator[HostileProxy]:
    """A hostile proxy before one running job, whose name is an attack too."""
    async with Simulator(Options(empty=True)) as cloud:
        job = cloud.world.submit(HOSTILE_NAME, user=HOSTILE_NAME)
        cloud.world.start(job)
        hostile = HostileProxy(cloud)
        server = web.Application()
        server.router.add_route("*", "/{path:.*}", hostile.handle)
        runner = web.AppRunner(server)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        hostile.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield hostile
        await runner.cleanup()


class Elements(HTMLParser):
    """Elements, attributes and text of an HTML page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Record text."""
        self.text += data


@pytest.mark.parametrize("form", ["logfmt", "json", "console"])
async def test_texts_of_the_api_inject_nothing(tmp_path: Path, hostile: HostileProxy, form: str) -> None:
    """Texts of a hostile API start no log line, emit no terminal sequence and add no sample."""
    settings = document(
        hostile._cloud,
        target={
            "endpoint": hostile.url,
            "iam_endpoint": hostile.url,
            "project_name": PROJECT_NAME,
            "credentials": dict(BY_PASSWORD),
            "api": "v2",
        },
    )
    del settings["targets"][0]["project_id"]
    async with serve_process(write(tmp_path / "config.yaml", settings), f"--log.format={form}") as exporter:
        await exporter.wait_for_log(r"cloud\.value_unknown")
        await exporter.wait_until_served(r"poll\.finished")
        text = await exporter.text()
        async with aiohttp.ClientSession() as session, session.get(exporter.url) as answer:
            page = await answer.text()
            policy = answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["Server"] == "modelarts-exporter"
        hostile.refusing = True
        await exporter.wait_for_log(r"poll\.failed")
        lines = list(exporter.lines)

    for line in lines:
        body = line.removesuffix("\n")
        assert body.isprintable() or form == "console", line
        assert not re.search(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u2028\u202e]", body), line
        assert "\x1b" not in body, line
        assert re.match(EACH_LINE[form], body), line
    assert any("forged" in line for line in lines), "no attack reached the log"

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert [sample.value for sample in families["modelarts_up"].samples] == [1.0]
    infos = [sample.labels for sample in families["modelarts_training_job_info"].samples]
    assert [(labels["job_name"], labels["user"]) for labels in infos] == [(HOSTILE_NAME, HOSTILE_NAME)]

    elements = Elements()
    elements.feed(page)
    assert "script" not in elements.tags
    assert not any(name.startswith("on") for name in elements.attributes)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert PASSWORD not in page


EACH_LINE = {
    "logfmt": r"ts=\S+ level=\w+ event=\S+",
    "json": r'\{"ts":"[^"]+","level":"\w+","event":"',
    "console": r"\d{4}-\d\d-\d\dT\S+ \[\w+ *\] ",
}
"""Start of a log line by format."""
