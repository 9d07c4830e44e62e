"""A listing that breaks off on its way down: what lies below the break is found later, and counts."""

import pytest

from exporter.simulator import Options, Simulator
from tests.clock import ManualClock
from tests.e2e.harness import Rig, rig_for, settings_for

JOBS = 300
"""Six pages of 50."""


def submitted(rig: Rig) -> float:
    """What is counted, over all pools."""
    return sum(rig.samples("modelarts_training_jobs_submitted_total").values())


@pytest.fixture
def cloud(clock: ManualClock) -> Simulator:
    return Simulator(Options(empty=True), clock=clock)


@pytest.mark.parametrize("restart", [False, True], ids=["same-process", "restarted"])
@pytest.mark.parametrize("running", [0, 60], ids=["all-ended", "newest-run"])
@pytest.mark.parametrize("answered", [1, 2, 3, 4])
async def test_nothing_below_the_break_is_lost(
    cloud: Simulator, clock: ManualClock, answered: int, running: int, restart: bool
) -> None:
    """300 jobs came and ended since the last look, of which some pages answer: all of them count in the end."""
    async with cloud:
        settings = settings_for(cloud, api="v2", workspaces=["0"])
        async with rig_for(settings, clock) as rig:
            await rig.poll()
            for number in range(JOBS):
                clock.turn(1)
                job = cloud.world.submit(f"job-{number}")
                cloud.world.start(job)
                if number < JOBS - running:
                    cloud.world.complete(job)
            fault = cloud.faults.add(f"500:operation=v2.search,after={answered}")
            await rig.poll()
            assert submitted(rig) < JOBS
            cloud.faults.remove(fault)
            memory = rig.pollers[0].dump()
            if not restart:
                clock.turn(400)
                await rig.poll()
                assert submitted(rig) == JOBS
                clock.turn(30)
                before = cloud.requests.count("v2.search")
                await rig.poll()
                assert cloud.requests.count("v2.search") - before <= 4  # two pages of 60 running, one of the newest
                return
        async with rig_for(settings, clock) as rig:
            rig.pollers[0].restore(memory)
            await rig.poll()
            assert submitted(rig) == JOBS
