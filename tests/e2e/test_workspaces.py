"""Workspaces that may not be entered, or are being deleted: set aside and scrape, and no failure of the others."""

import pytest
from structlog.testing import capture_logs

from exporter.simulator import SECOND_WORKSPACE, Simulator
from exporter.simulator.world.job import Api
from tests.clock import ManualClock
from tests.e2e.faults import Scrape
from tests.e2e.harness import Harness, harness_for, settings_for
from tests.e2e.test_faults_listing import running


def accessible(harness: Harness) -> dict[tuple[str, str], float]:
    """Whether each workspace is accessible, by id and name."""
    found = {}
    for labels, value in harness.samples("modelarts_workspace_accessible", project="vision").items():
        named = dict(labels)
        found[named["workspace_id"], named["name"]] = value
    return found


@pytest.mark.parametrize(
    "quirks",
    [
        ("workspace-forbidden", "accessible-ignored"),
        ("workspace-forbidden", "accessible-refused"),
        ("workspace-unknown",),
        ("workspace-deleting",),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_a_workspace_that_may_not_be_entered_is_set_aside(
    cloud: Simulator, clock: ManualClock, api: Api, quirks: tuple[str, ...]
) -> None:
    """[43] It is scrape with 0 and one log line, the others count wholly, and it is listed again every hour."""
    cloud.quirks.on(*quirks)
    ours = running(cloud, clock, api=api, number=2)
    theirs = running(cloud, clock, api=api, number=3, workspace=SECOND_WORKSPACE)
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        with capture_logs() as logs:
            for _ in range(20):
                await harness.poll(sweep=True)
                clock.turn(60)
                scrape = Scrape(harness)
                assert scrape.up() == {"vision": 1}
                assert set(scrape.statuses("vision")) == {job.id for job in ours}
                assert harness.value("modelarts_training_jobs", pool_id="", status="running", project="vision") == 2
            assert accessible(harness) == {("0", "default"): 1, (SECOND_WORKSPACE, "research"): 0}
            aside = [line for line in logs if line["event"] == "workspace.set_aside"]
            assert [(line["workspace_id"], line["name"]) for line in aside] == [(SECOND_WORKSPACE, "research")]

            cloud.quirks.off(*quirks)
            clock.turn(3600)
            await harness.poll()
            await harness.poll()
        assert set(Scrape(harness).statuses("vision")) == {job.id for job in (*ours, *theirs)}
        assert accessible(harness) == {("0", "default"): 1, (SECOND_WORKSPACE, "research"): 1}
        assert [line["event"] for line in logs].count("workspace.accessible") == 1


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_a_workspace_that_the_filter_leaves_out_is_not_asked_for(
    cloud: Simulator, clock: ManualClock, api: Api
) -> None:
    """[43] filter_accessible is sent, and no listing of a workspace that it leaves out."""
    cloud.quirks.on("workspace-forbidden")
    running(cloud, clock, api=api, number=1)
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        assert Scrape(harness).up() == {"vision": 1}
        assert accessible(harness) == {("0", "default"): 1}
        assert not any(request.status == 401 for request in cloud.requests)


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_a_readable_workspace_that_fails_is_a_failure(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """[43] 500 is a failure for ever; a permission that is taken away is one for 15 minutes, then it is set aside."""
    running(cloud, clock, api=api, number=1)
    running(cloud, clock, api=api, number=1, workspace=SECOND_WORKSPACE)
    listing = "v1.overview" if api == "v1" else "v2.search"
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        for _ in range(10):
            cloud.faults.clear()
            cloud.faults.add(f"500:operation={listing},after={1 if api == 'v1' else 2}")
            clock.turn(330)
            await harness.poll()
            assert Scrape(harness).up() == {"vision": 0}
            assert accessible(harness)[SECOND_WORKSPACE, "research"] == 1
        cloud.faults.clear()
        clock.turn(330)
        await harness.poll()
        assert Scrape(harness).up() == {"vision": 1}

        cloud.quirks.on("workspace-forbidden")
        ups = []
        for _ in range(40):
            clock.turn(30)
            await harness.poll()
            ups.append(Scrape(harness).up()["vision"])
        assert ups == sorted(ups)
        assert ups[0] == 0
        assert ups[-1] == 1
        assert accessible(harness)[SECOND_WORKSPACE, "research"] == 0


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_workspaces_of_the_settings_are_never_set_aside(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """A workspace that somebody wrote into the settings and that may not be entered is a mistake to be seen."""
    cloud.quirks.on("workspace-forbidden")
    running(cloud, clock, api=api, number=1)
    async with harness_for(settings_for(cloud, api=api, workspaces=["0", SECOND_WORKSPACE]), clock) as harness:
        for _ in range(20):
            clock.turn(60)
            await harness.poll()
            assert Scrape(harness).up() == {"vision": 0}
        assert accessible(harness) == {("0", ""): 1, (SECOND_WORKSPACE, ""): 0}


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_refusals_of_every_workspace_are_a_failure(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """Where no workspace can be entered, the permission for the call is missing: nothing is set aside."""
    running(cloud, clock, api=api, number=1)
    cloud.faults.add("403:operation=v?.[!w]*")
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        for _ in range(3):
            clock.turn(60)
            await harness.poll()
            assert Scrape(harness).up() == {"vision": 0}
        assert accessible(harness) == {}
        cloud.faults.clear()
        clock.turn(60)
        await harness.poll()
        assert Scrape(harness).up() == {"vision": 1}
