"""The first event of a series, as a real Prometheus sees it: `increase()` needs a sample before it."""

from pathlib import Path

import pytest
from aiohttp import web

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.e2e.harness import Harness, harness_for, settings_for
from tests.programs import Prometheus, free_port, until

pytestmark = pytest.mark.serial

SCRAPE_S = 1


class Scrapes:
    """Serves a harness to a Prometheus, and waits for scrapes."""

    def __init__(self, harness: Harness, prometheus: Prometheus) -> None:
        self._harness = harness
        self._prometheus = prometheus

    async def poll(self) -> None:
        """Poll half a minute later; return when Prometheus has scraped the result."""
        self._harness.clock.turn(30)
        await self._harness.poll()
        begun = await self._scraped_at()

        async def scraped() -> bool:
            return await self._scraped_at() > begun + SCRAPE_S

        await until(scraped, "Prometheus has scraped the poll", deadline_s=30)

    async def _scraped_at(self) -> float:
        result = await self._prometheus.query("timestamp(up)")
        return float(result[0]["value"][1]) if result else 0.0

    async def increase(self, series: str) -> float:
        """How much a series has grown, by `increase()`; 0 where it has no result."""
        result = await self._prometheus.query(f"sum(increase({series}[5m]))")
        return float(result[0]["value"][1]) if result else 0.0


async def test_increase_sees_the_first_event_of_a_series(clock: ManualClock, tmp_path: Path) -> None:
    """The first job of a pool, of a user, and the first recovery: each begins at 0, although it is there at once.

    The job is submitted, starts and recovers between two polls, so that no poll could see it waiting.
    """
    port = free_port()
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "exporter", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    async with (
        Simulator(Options(empty=True), clock=clock) as cloud,
        harness_for(settings_for(cloud, api="v2", workspaces=["0"]), clock) as harness,
    ):
        await harness.poll()

        async def metrics(_: web.Request) -> web.Response:
            return web.Response(text=harness.text(), content_type="text/plain")

        app = web.Application()
        app.router.add_get("/metrics", metrics)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            async with Prometheus(config, folder=tmp_path) as prometheus:
                scrapes = Scrapes(harness, prometheus)
                await scrapes.poll()
                job = cloud.world.submit("first", pool="pool-new", user="new", nodes=1)
                cloud.world.start(job)
                clock.turn(100)
                cloud.world.recover(job)
                await scrapes.poll()
                await scrapes.poll()

                pool = '{pool_id="pool-new"}'
                assert await scrapes.increase(f"modelarts_training_jobs_submitted_total{pool}") >= 1
                assert await scrapes.increase(f"modelarts_training_jobs_started_total{pool}") >= 1
                assert await scrapes.increase(f"modelarts_training_queue_duration_seconds_count{pool}") >= 1
                assert await scrapes.increase('modelarts_training_accelerator_seconds_total{user="new"}') >= 8 * 130
                assert await scrapes.increase("modelarts_training_recoveries_total") >= 1

                cloud.world.fail(job)
                await scrapes.poll()
                assert await scrapes.increase(f"modelarts_training_jobs_finished_total{pool}") >= 1
        finally:
            await runner.cleanup()


async def test_the_first_event_is_late_by_one_poll_only(clock: ManualClock) -> None:
    """A series is published at 0 by the poll that first sees it, and with its value by the next one."""
    async with (
        Simulator(Options(empty=True), clock=clock) as cloud,
        harness_for(settings_for(cloud, api="v2", workspaces=["0"]), clock) as harness,
    ):
        await harness.poll()
        cloud.world.start(cloud.world.submit("first", pool="pool-new"))
        told = []
        for _ in range(3):
            clock.turn(30)
            await harness.poll(usage=True)
            told.append(
                harness.value("modelarts_training_jobs_submitted_total", pool_id="pool-new", project="vision")
            )
        cloud.world.submit("second", pool="pool-new")
        clock.turn(30)
        await harness.poll()
        told.append(harness.value("modelarts_training_jobs_submitted_total", pool_id="pool-new", project="vision"))

        assert told == [0, 1, 1, 2]
