"""`kill -9` of the real program, at any moment, while jobs come and go: nothing is lost and nothing counts twice."""

import asyncio
import random
from contextlib import suppress
from pathlib import Path

from exporter.simulator import Simulator
from tests.e2e.living import (
    STILL,
    Living,
    Tide,
    Watcher,
    counted_by_the_cloud,
    counted_by_us,
    document,
    living,
    since,
    write,
)

ROUNDS = 16

JOBS_POLL = r"poll\.finished.*collector=jobs"


async def draft_is_there(state: Path) -> None:
    """Wait for the moment in which the state is being written."""
    draft = state.with_name(f".{state.name}.draft")
    while not draft.exists():  # noqa: ASYNC110 - nobody tells when a file of another process comes into being
        await asyncio.sleep(0)


async def watch_and_kill(exporter: Living, watcher: Watcher, *, state: Path, dice: random.Random, aim: bool) -> None:
    """Scrape a running exporter until it is killed: somewhere in its first polls, or while it writes."""
    watching = asyncio.create_task(watcher.watch(exporter))
    await asyncio.sleep(dice.uniform(0.0, 1.5))
    if aim:
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                await draft_is_there(state)
    await exporter.kill()
    await watching


async def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    """After many kills, every second one in the middle of a write, the totals are the cloud's own to the last job.

    Jobs that came and ended while nobody watched are among them; and no scrape ever showed a counter go back.
    """
    state = tmp_path / "state.json"
    dice = random.Random(20)
    watcher = Watcher()
    async with Simulator(STILL) as cloud:
        config = write(tmp_path / "config.yaml", document(cloud, state=state))
        tide = Tide(cloud, per_s=15, seed=4)
        tide.advance(5)
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            seeded = counted_by_the_cloud(cloud)
        flowing = asyncio.create_task(tide.flow())
        for number in range(ROUNDS):
            async with living(config) as exporter:
                await watch_and_kill(exporter, watcher, state=state, dice=dice, aim=number % 2 == 0)
            assert exporter.count("state.set_aside") == 0
        flowing.cancel()
        tide.ebb()
        async with living(config) as exporter:
            await exporter.showed(JOBS_POLL)
            text = await exporter.text()
        watcher.take(text)

        assert counted_by_us(text) == since(counted_by_the_cloud(cloud), seeded)
        assert sum(seeded.submitted.values()) > 0  # there were jobs before the first look, and they do not count
        assert sum(counted_by_us(text).finished.values()) > 20 * ROUNDS
        assert watcher.scrapes > ROUNDS
