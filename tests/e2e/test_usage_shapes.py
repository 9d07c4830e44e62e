"""Usage from the simulator in every shape that the API reference allows, over real sockets."""

import pytest

from exporter.simulator import Options, Simulator
from exporter.simulator.world.job import Api
from tests.clock import ManualClock
from tests.e2e.harness import Harness, harness_for, settings_for

CARDS = 8


async def follow(harness: Harness, clock: ManualClock, minutes: int) -> None:
    """Poll at the default intervals: jobs every 30 s, usage every minute."""
    for _ in range(minutes):
        clock.turn(30)
        await harness.poll()
        clock.turn(30)
        await harness.poll(usage=True)


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize(
    "quirk, minutes",
    [
        pytest.param("", 39, id="the first minute and the one under way have no sample"),
        pytest.param("usage-full-minutes", 40, id="a value for each full minute after two empty slots"),
        pytest.param("usage-completed-slots", 40, id="no slot for the minute under way"),
        pytest.param("usage-late", 39, id="samples are late, also after the end"),
        pytest.param("usage-stopped", 19, id="no samples from minute 20 on"),
        pytest.param("usage-frozen", 19, id="no slots from minute 20 on"),
        pytest.param("usage-late-task", 39, id="a task joins late"),
    ],
)
async def test_idle_time_of_every_shape(clock: ManualClock, api: Api, quirk: str, minutes: int) -> None:
    """Each sampled minute of a job that idles counts as a whole minute."""
    async with Simulator(Options(empty=True, quirks=frozenset({quirk} - {""})), clock=clock) as cloud:
        settings = settings_for(cloud, api="both", workspaces=["0"], metrics={"idle_grace": "0s"})
        async with harness_for(settings, clock) as harness:
            await harness.poll(usage=True)
            clock.turn(7)
            job = cloud.world.submit("idler", api=api, nodes=2, profile="idle")
            cloud.world.start(job)
            await follow(harness, clock, 40)
            clock.turn(11)
            cloud.world.complete(job)
            await follow(harness, clock, 6)

            told = sum(harness.samples("modelarts_training_idle_accelerator_seconds_total").values())
            assert told == minutes * 60 * 2 * CARDS


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("quirk", ["usage-stopped", "usage-frozen"])
async def test_usage_that_stops_is_withdrawn(clock: ManualClock, api: Api, quirk: str) -> None:
    """A quarter of an hour after the collectors die, only the age of the usage and the mean are exported."""
    async with Simulator(Options(empty=True, quirks=frozenset({quirk})), clock=clock) as cloud:
        settings = settings_for(cloud, api="both", workspaces=["0"])
        async with harness_for(settings, clock) as harness:
            await harness.poll(usage=True)
            job = cloud.world.submit("idler", api=api, profile="idle")
            cloud.world.start(job)
            started_at = clock.time()
            await follow(harness, clock, 24)
            assert harness.samples("modelarts_training_job_idle_seconds")
            await follow(harness, clock, 12)

            for family in ("idle_seconds", "flat_seconds", "suspected_hang", "accelerator_utilization_ratio"):
                assert not harness.samples(f"modelarts_training_job_{family}")
            assert not harness.samples("modelarts_training_job_cpu_utilization_ratio")
            assert harness.samples("modelarts_training_job_accelerator_utilization_mean_ratio")
            newest_at = harness.value("modelarts_training_job_usage_timestamp_seconds", job_id=job.id)
            assert newest_at == started_at + 19 * 60


async def test_two_series_of_one_name_are_counted(clock: ManualClock) -> None:
    """Series that contradict each other are left out, and counted as unknown values."""
    async with Simulator(Options(empty=True, quirks=frozenset({"v2-metrics-twice"})), clock=clock) as cloud:
        settings = settings_for(cloud, api="v2", workspaces=["0"])
        async with harness_for(settings, clock) as harness:
            job = cloud.world.submit("trainer", api="v2")
            cloud.world.start(job)
            await follow(harness, clock, 5)

            assert not harness.samples("modelarts_training_job_accelerator_utilization_ratio")
            assert harness.value("modelarts_exporter_unknown_values_total", field="v2.metrics.metric")
