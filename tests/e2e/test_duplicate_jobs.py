"""A job that both API generations list is one job: as v2 reports it, and once in every number."""

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.e2e.faults import Scrape
from tests.e2e.harness import Harness, harness_for, settings_for

COUNTERS = (
    "modelarts_training_jobs_submitted_total",
    "modelarts_training_jobs_started_total",
    "modelarts_training_jobs_finished_total",
    "modelarts_training_accelerator_seconds_total",
)


def total(harness: Harness, name: str) -> float:
    """Sum of all series of one name."""
    return sum(harness.samples(name, project="vision").values())


async def life(cloud: Simulator, clock: ManualClock) -> dict[str, float]:
    """Poll both generations through the life of some jobs; the totals at the end."""
    old = cloud.world.submit("old", api="v1", nodes=2)
    cloud.world.start(old)
    clock.turn(1)
    first = [cloud.world.submit(f"first{n}", api="v2", nodes=2) for n in range(3)]
    for job in first:
        cloud.world.start(job)
        clock.turn(1)
    quirk = "v1-lists-v2" in cloud.quirks
    async with harness_for(settings_for(cloud, api="both"), clock) as harness:
        await harness.poll()
        clock.turn(60)
        late = []
        for n in range(4):
            late.append(cloud.world.submit(f"late{n}", api="v2", nodes=2))
            cloud.world.start(late[-1])
            clock.turn(1)
        for _ in range(10):
            clock.turn(60)
            await harness.poll(usage=True, sweep=True)
        scrape = Scrape(harness)
        assert scrape.up() == {"vision": 1}
        assert set(scrape.statuses("vision")) == {job.id for job in (old, *first, *late)}
        assert harness.value("modelarts_training_duplicate_jobs", project="vision") == (7 if quirk else 0)
        assert harness.value("modelarts_training_jobs", pool_id="", status="running", project="vision") == 8
        for job in (old, *late):
            cloud.world.complete(job)
            clock.turn(1)
        for _ in range(3):
            clock.turn(60)
            await harness.poll(usage=True)
        totals = {name: total(harness, name) for name in COUNTERS}
        for _ in range(26):  # past the retention of a day: nothing is counted again
            clock.turn(3600)
            await harness.poll(sweep=True)
        for name in COUNTERS[:3]:
            assert total(harness, name) == totals[name]
        return totals


async def test_a_job_in_both_generations_is_counted_once() -> None:
    """The totals are those of a cloud whose v1 lists its own jobs only, and a gauge tells how many are in both."""
    found = []
    for quirks in ((), ("v1-lists-v2",)):
        clock = ManualClock()
        async with Simulator(Options(empty=True, seed=3, quirks=frozenset(quirks)), clock=clock) as cloud:
            found.append(await life(cloud, clock))

    assert found[0] == found[1]
    assert found[0]["modelarts_training_jobs_submitted_total"] == 4
