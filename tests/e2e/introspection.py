"""The whole daemon inside the test's own process: real sockets, real schedule, no start-up to wait for."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from exporter.app import RealClock, Signals, WebOptions, serve
from exporter.settings import load
from exporter.web.address import Address
from tests.e2e.endurance import parsed

_TICK_S = 0.02


@dataclass(frozen=True)
class Inside:
    """A running daemon."""

    url: str
    wishes: Signals
    task: asyncio.Task[None]

    async def text(self) -> str:
        """What a scrape gets now."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/metrics") as answer:
            assert answer.status == 200
            return await answer.text()

    async def samples(self, name: str, *, having: str = "") -> dict[str, float]:
        """Samples of one name now, by their labels as they are written, where these hold `having`."""
        told = parsed(await self.text())
        return {labels: value for (spoken, labels), value in told.items() if spoken == name and having in labels}

    async def value(self, name: str, *, having: str = "") -> float:
        """Sum of the samples of one name; 0 when there are none."""
        return sum((await self.samples(name, having=having)).values())

    async def reload(self) -> tuple[int, str]:
        """`POST /-/reload`: status and body."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.url}/-/reload") as answer:
            return answer.status, await answer.text()

    async def becomes(self, name: str, value: float, *, having: str = "") -> None:
        """Wait until the samples of one name sum up to this."""
        async with asyncio.timeout(20):
            while await self.value(name, having=having) != value:  # noqa: ASYNC110 - a scrape is what there is to ask
                await asyncio.sleep(_TICK_S)


@asynccontextmanager
async def inside(config: Path, *, lifecycle: bool = True) -> AsyncIterator[Inside]:
    """Run the daemon with a settings file until the context ends; then it is asked to stop, and has to."""
    environ: Mapping[str, str] = {}
    listening: asyncio.Future[tuple[Address, ...]] = asyncio.get_running_loop().create_future()
    wishes = Signals()
    task = asyncio.create_task(
        serve(
            load(config, environ=environ),
            load=lambda: load(config, environ=environ),
            web=WebOptions(
                listen_addresses=(Address("127.0.0.1", 0),),
                enable_lifecycle=lifecycle,
                on_listening=listening.set_result,
            ),
            signals=wishes,
            clock=RealClock(),
        )
    )
    try:
        task.add_done_callback(lambda _: listening.done() or listening.cancel())
        yield Inside(f"http://{(await listening)[0]}", wishes, task)
    finally:
        wishes.stop.set()
        async with asyncio.timeout(15):
            await task


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the simulator's log of requests has no events
            await asyncio.sleep(_TICK_S)
