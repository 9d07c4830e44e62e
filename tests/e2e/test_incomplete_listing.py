"""A listing that fails before it reaches known jobs: the next one finds and counts the jobs behind the failure."""

import pytest

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.e2e.harness import Harness, harness_for, settings_for

JOBS = 300
"""Six pages of 50."""


def submitted(harness: Harness) -> float:
    """Submitted jobs over all pools."""
    return sum(harness.samples("modelarts_training_jobs_submitted_total").values())


@pytest.fixture
def cloud(clock: ManualClock) -> Simulator:
    return Simulator(Options(empty=True), clock=clock)


@pytest.mark.parametrize("restart", [False, True], ids=["same-process", "restarted"])
@pytest.mark.parametrize("running", [0, 60], ids=["all-ended", "newest-run"])
@pytest.mark.parametrize("pages", [1, 2, 3, 4])
async def test_jobs_behind_the_failure_are_found(
    cloud: Simulator, clock: ManualClock, pages: int, running: int, restart: bool
) -> None:
    """Of 300 jobs that ran between two polls only some pages can be listed: all 300 are counted in the end."""
    async with cloud:
        settings = settings_for(cloud, api="v2", workspaces=["0"])
        async with harness_for(settings, clock) as harness:
            await harness.poll()
            for number in range(JOBS):
                clock.turn(1)
                job = cloud.world.submit(f"job-{number}")
                cloud.world.start(job)
                if number < JOBS - running:
                    cloud.world.complete(job)
            fault = cloud.faults.add(f"500:operation=v2.search,after={pages}")
            await harness.poll()
            assert submitted(harness) < JOBS
            cloud.faults.remove(fault)
            memory = harness.pollers[0].dump()
            if not restart:
                clock.turn(400)
                await harness.poll()
                assert submitted(harness) == JOBS
                clock.turn(30)
                before = cloud.requests.count("v2.search")
                await harness.poll()
                assert cloud.requests.count("v2.search") - before <= 4  # two pages of 60 running, one of the newest
                return
        async with harness_for(settings, clock) as harness:
            harness.pollers[0].restore(memory)
            await harness.poll()
            assert submitted(harness) == JOBS
