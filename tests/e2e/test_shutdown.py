"""SIGTERM under load, while the cloud hangs and a client does not read: over in ten seconds, and nothing is lost."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import aiohttp

from exporter.simulator import Options, Simulator
from tests.e2e.endurance import Living, counted_by_us, document, living, write

CLIENTS = 8
JOBS = 1_500


class Load:
    """Clients that scrape as fast as they are answered, until nobody listens any more."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/metrics"
        self.good = 0
        self.broken: list[str] = []
        self.last_good_at = 0.0

    async def run(self) -> None:
        """Scrape with all clients. A refused connection is the end; half an answer would be a fault."""
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
                    self.broken.append(str(error))
                    return
            assert answer.status == 200
            self.good += 1
            self.last_good_at = asyncio.get_running_loop().time()


async def stopped(exporter: Living) -> float:
    """Send SIGTERM, and wait until it has ended well: how long that took, in seconds."""
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    exporter.process.send_signal(signal.SIGTERM)
    assert await exporter.ended() == 0
    return loop.time() - begun_at


def deaf(url: str) -> socket.socket:
    """Ask for a scrape and never read the answer."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.sendall(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n")
    return client


async def test_it_ends_within_ten_seconds_under_load(tmp_path: Path) -> None:
    """Scrapes are answered whole until the end, the state is the last poll's, and a second start goes on from it."""
    state = tmp_path / "state.json"
    async with Simulator(Options(empty=True)) as cloud:
        config = write(
            tmp_path / "config.yaml", document(cloud, state=state, collection={"timeout": "30s", "stale_after": "5m"})
        )
        async with living(config) as exporter:
            await exporter.showed(r"poll\.finished.*collector=jobs")
            for number in range(JOBS):
                cloud.world.start(cloud.world.submit(f"job-{number}"))
            told = len(exporter.lines)
            await exporter.showed(rf"poll\.finished.*collector=jobs jobs={JOBS}", since=told)
            hang = cloud.faults.add("hang:operation=v?.*")
            while not hang.hits:  # noqa: ASYNC110 - the simulator's faults have no events
                await asyncio.sleep(0.02)
            load = Load(exporter.url)
            loading = asyncio.create_task(load.run())
            while load.good < CLIENTS:  # noqa: ASYNC110 - the load is under way when each client was answered
                await asyncio.sleep(0.02)
            with deaf(exporter.url):
                before = load.good
                took_s = await stopped(exporter)
                ended_at = asyncio.get_running_loop().time()
            await loading
        assert took_s < 10
        assert load.broken == []
        assert load.good > before
        assert "exporter.stopped" in exporter.lines[-1]
        stopping = next(number for number, line in enumerate(exporter.lines) if "exporter.stopping" in line)
        assert load.last_good_at > ended_at - took_s + 3  # a hanging poll gets 4 s, and so long they were answered
        assert any("snapshot.published" in line for line in exporter.lines[stopping:])

        counts = json.loads(state.read_text(encoding="utf-8"))["projects"]["vision"]["counts"]
        assert counts["submitted"] == {"": JOBS}
        cloud.faults.clear()
        async with living(config) as exporter:
            await exporter.showed(r"poll\.finished.*collector=jobs")
            assert counted_by_us(await exporter.text()).submitted == {"": JOBS}


async def test_a_reload_under_way_loses_nothing_at_the_end(tmp_path: Path) -> None:
    """SIGTERM while a reload waits for a hanging poll: the reload is given up, and the state knows every project."""
    state = tmp_path / "state.json"
    async with Simulator(Options(empty=True)) as cloud:
        settings = document(cloud, state=state, collection={"timeout": "30s", "stale_after": "5m"})
        config = write(tmp_path / "config.yaml", settings)
        async with living(config) as exporter:
            await exporter.showed(r"poll\.finished.*collector=jobs")
            cloud.world.submit("bert")
            told = len(exporter.lines)
            await exporter.showed(r"poll\.finished.*collector=jobs jobs=1", since=told)
            hang = cloud.faults.add("hang:operation=v?.*")
            while not hang.hits:  # noqa: ASYNC110 - the simulator's faults have no events
                await asyncio.sleep(0.02)
            settings["targets"][0]["filters"] = {"names": "x"}
            write(config, settings)
            told = len(exporter.lines)
            exporter.process.send_signal(signal.SIGHUP)
            await exporter.said("Removed job", since=told)  # the reload has begun to end the old polls
            assert await stopped(exporter) < 10
            assert exporter.count("defect") == 0
        counts = json.loads(state.read_text(encoding="utf-8"))["projects"]["vision"]["counts"]
        assert counts["submitted"] == {"": 1}
