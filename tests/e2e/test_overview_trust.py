"""The overview of v1 may be one user's view: the job list of the same workspace tells, and then replaces it."""

import pytest
from structlog.testing import capture_logs

from exporter.simulator import SECOND_WORKSPACE, Simulator
from tests.clock import ManualClock
from tests.e2e.faults import Scrape
from tests.e2e.harness import harness_for, settings_for


@pytest.mark.parametrize("ours", [0, 2])
async def test_a_contradiction_ends_the_trust_in_the_overview(
    cloud: Simulator, clock: ManualClock, ours: int
) -> None:
    """[46] Running jobs that the overview lacks are scrape from the first poll on; a log line and a counter tell."""
    cloud.quirks.on("v1-overview-one-user")
    first = cloud.world.submit("first", api="v1", user="a")
    cloud.world.start(first)
    cloud.world.complete(first)
    jobs = [cloud.world.submit(f"a{n}", api="v1", user="a") for n in range(ours)]
    jobs += [cloud.world.submit(f"b{n}", api="v1", user="b") for n in range(3)]
    other = cloud.world.submit("other", api="v1", user="a", workspace=SECOND_WORKSPACE)
    for job in (*jobs, other):
        cloud.world.start(job)
        clock.turn(1)
    running = {job.id for job in (*jobs, other)}
    async with harness_for(settings_for(cloud, api="v1"), clock) as harness:
        with capture_logs() as logs:
            for _ in range(3):
                await harness.poll()
                clock.turn(30)
                scrape = Scrape(harness)
                statuses = scrape.statuses("vision")
                assert {job for job, status in statuses.items() if status == "running"} == running
                assert scrape.up() == {"vision": 1}
        told = [line["workspace_id"] for line in logs if line["event"] == "overview.distrusted"]
        assert told == ["0"]
        assert (
            harness.value("modelarts_exporter_unknown_values_total", project="vision", field="v1.overview.versions")
            == 1
        )
        overviews = [request.query for request in cloud.requests if request.operation == "v1.overview"]
        assert sum("workspace_id=0" in query for query in overviews) == 2  # it is read again before it is distrusted
        assert sum(SECOND_WORKSPACE in query for query in overviews) == 3

        new = cloud.world.submit("late", api="v1", user="b")
        cloud.world.start(new)
        await harness.poll()
        assert new.id in Scrape(harness).statuses("vision")


async def test_an_overview_that_agrees_stays_in_use(cloud: Simulator, clock: ManualClock) -> None:
    """The comparison costs one job list an hour for a workspace without active jobs, and else nothing."""
    for n in range(3):
        cloud.world.start(cloud.world.submit(f"j{n}", api="v1"))
    async with harness_for(settings_for(cloud, api="v1"), clock) as harness:
        await harness.poll()
        before = cloud.requests.counts()["v1.jobs"]
        for _ in range(60):
            clock.turn(30)
            await harness.poll()
        assert cloud.requests.counts()["v1.jobs"] == before  # the half hour is not over
        assert cloud.requests.counts()["v1.overview"] == 61 * 2
        assert Scrape(harness).up() == {"vision": 1}
