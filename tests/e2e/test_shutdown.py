"""SIGTERM under load and during a hanging API call: the process ends in time and keeps its state."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from exporter.simulator import Options, Simulator
from tests.e2e.endurance import ServeProcess, document, exported_totals, serve_process, write

pytestmark = pytest.mark.serial

CLIENTS = 8
JOBS = 1_500


class Load:
    """Clients that scrape continuously until the server no longer listens."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metrics"
        self.responses = 0
        self.truncated: list[str] = []
        self.last_response_at = 0.0

    async def run(self) -> None:
        """Scrape with all clients until a connection is refused. A truncated response is an error."""
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._scrape(session) for _ in range(CLIENTS)))

    async def _scrape(self, session: aiohttp.ClientSession) -> None:
        while True:
            try:
                answer = await session.get(self._url, headers={"Accept-Encoding": "gzip"})
            except aiohttp.ClientError:
                return
            async with answer:
                try:
                    await answer.read()
                except aiohttp.ClientError as error:
                    self.truncated.append(str(error))
                    return
            assert answer.status == 200
            self.responses += 1
            self.last_response_at = asyncio.get_running_loop().time()


async def stop(exporter: ServeProcess) -> float:
    """Send SIGTERM and wait for exit code 0. Returns the seconds it took."""
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    exporter.process.send_signal(signal.SIGTERM)
    assert await exporter.wait_for_exit() == 0
    return loop.time() - started_at


def request_without_reading(url: str) -> socket.socket:
    """Request a scrape and do not read the response."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
    return client


async def test_it_ends_within_ten_seconds_under_load(tmp_path: Path) -> None:
    """All responses are whole, the state is that of the last poll, and a second start continues from it."""
    state = tmp_path / "state.json"
    async with Simulator(Options(empty=True)) as cloud:
        config = write(
            tmp_path / "config.yaml", document(cloud, state=state, collection={"timeout": "30s", "stale_after": "5m"})
        )
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(r"poll\.finished.*collector=jobs")
            for number in range(JOBS):
                cloud.world.start(cloud.world.submit(f"job-{number}"))
            line = len(exporter.lines)
            await exporter.wait_until_served(rf"poll\.finished.*collector=jobs jobs={JOBS}", since=line)
            hang = cloud.faults.add("hang:operation=v?.*")
            while not hang.hits:  # noqa: ASYNC110 - the simulator's faults have no event
                await asyncio.sleep(0.02)
            load = Load(exporter.url)
            loading = asyncio.create_task(load.run())
            while load.responses < CLIENTS:  # noqa: ASYNC110 - until each client has a response
                await asyncio.sleep(0.02)
            with request_without_reading(exporter.url):
                before = load.responses
                took_s = await stop(exporter)
                ended_at = asyncio.get_running_loop().time()
            await loading
        assert took_s < 10
        assert load.truncated == []
        assert load.responses > before
        assert "exporter.stopped" in exporter.lines[-1]
        stopping = next(number for number, line in enumerate(exporter.lines) if "exporter.stopping" in line)
        assert (
            load.last_response_at > ended_at - took_s + 3
        )  # scrapes are answered for the 4 s that a hanging poll gets
        assert any("snapshot.published" in line for line in exporter.lines[stopping:])

        counts = json.loads(state.read_text(encoding="utf-8"))["projects"]["vision"]["counts"]
        assert {pool: count for pool, count in counts["submitted"].items() if count} == {"": JOBS}
        cloud.faults.clear()
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(r"poll\.finished.*collector=jobs")
            assert exported_totals(await exporter.text()).submitted == {"": JOBS}


async def test_a_reload_under_way_loses_nothing_at_the_end(tmp_path: Path) -> None:
    """SIGTERM during a reload that waits for a hanging poll cancels the reload; the state has every project."""
    state = tmp_path / "state.json"
    async with Simulator(Options(empty=True)) as cloud:
        settings = document(cloud, state=state, collection={"timeout": "30s", "stale_after": "5m"})
        config = write(tmp_path / "config.yaml", settings)
        async with serve_process(config) as exporter:
            await exporter.wait_until_served(r"poll\.finished.*collector=jobs")
            cloud.world.submit("bert")
            line = len(exporter.lines)
            await exporter.wait_until_served(r"poll\.finished.*collector=jobs jobs=1", since=line)
            hang = cloud.faults.add("hang:operation=v?.*")
            while not hang.hits:  # noqa: ASYNC110 - the simulator's faults have no event
                await asyncio.sleep(0.02)
            settings["targets"][0]["filters"] = {"names": "x"}
            write(config, settings)
            line = len(exporter.lines)
            exporter.process.send_signal(signal.SIGHUP)
            await exporter.wait_for_log("Removed job", since=line)  # the reload is stopping the old polls
            assert await stop(exporter) < 10
            assert exporter.count("defect") == 0
        counts = json.loads(state.read_text(encoding="utf-8"))["projects"]["vision"]["counts"]
        assert {pool: count for pool, count in counts["submitted"].items() if count} == {"": 1}
