"""The whole daemon inside the test's process: real sockets and schedule, without the start of a process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from exporter.app import RealClock, Signals, WebOptions, serve
from exporter.settings import load
from exporter.web.address import Address
from tests.e2e.endurance import parse_samples

_TICK_S = 0.02


@dataclass(frozen=True)
class InProcessDaemon:
    """A running daemon."""

    url: str
    signals: Signals
    task: asyncio.Task[None]

    async def text(self) -> str:
        """Exposition that a scrape returns now."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            return await answer.text()

    async def samples(self, name: str, *, having: str = "") -> dict[str, float]:
        """Current samples of one name by their label text, of those whose label text contains `having`."""
        found = parse_samples(await self.text())
        return {labels: value for (key, labels), value in found.items() if key == name and having in labels}

    async def value(self, name: str, *, having: str = "") -> float:
        """Sum of the samples of one name. 0 without samples."""
        return sum((await self.samples(name, having=having)).values())

    async def reload(self) -> tuple[int, str]:
        """`POST /-/reload`: status and body."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/-/reload") as answer:
            return answer.status, await answer.text()

    async def wait_for_value(self, name: str, value: float, *, having: str = "") -> None:
        """Wait until the samples of one name have this sum."""
        async with asyncio.timeout(20):
            while await self.value(name, having=having) != value:  # noqa: ASYNC110 - only a scrape shows the value
                await asyncio.sleep(_TICK_S)


@asynccontextmanager
async def in_process_daemon(config: Path, *, lifecycle: bool = True) -> AsyncIterator[InProcessDaemon]:
    """Run the daemon with a settings file. Leaving the context stops it."""
    environ: Mapping[str, str] = {}
    listening: asyncio.Future[tuple[Address, ...]] = asyncio.get_running_loop().create_future()
    signals = Signals()
    task = asyncio.create_task(
        serve(
            load(config, environ=environ),
            load=lambda: load(config, environ=environ),
            web=WebOptions(
                listen_addresses=(Address("127.0.0.1", 0),),
                enable_lifecycle=lifecycle,
                on_listening=listening.set_result,
            ),
            signals=signals,
            clock=RealClock(),
        )
    )
    try:
        task.add_done_callback(lambda _: listening.done() or listening.cancel())
        yield InProcessDaemon(f"http://{(await listening)[0]}", signals, task)
    finally:
        signals.stop.set()
        async with asyncio.timeout(15):
            await task


async def wait_until(condition: Callable[[], bool]) -> None:
    """Poll a condition until it holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the simulator's request log has no events
            await asyncio.sleep(_TICK_S)
