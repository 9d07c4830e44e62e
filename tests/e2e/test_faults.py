"""Each fault of the cloud, from the first failed poll to the recovery: what is shown, and what it costs."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from exporter.simulator import Options, Simulator
from exporter.simulator.world.job import Api
from tests.clock import ManualClock
from tests.e2e.faults import TROUBLES, Shown, Trouble, together
from tests.e2e.harness import Rig, rig_for, settings_for

INTERVAL_S = 30
SELDOM_S = 110
STALE_AFTER_S = 300
LONGEST_PAUSE_S = 330
MOST_CALLS = 10
"""In eleven polls of one broken target: three attempts, two more polls until the circuit is open, then one trial
after 30, 60, 120 seconds and so on; a healthy target is asked 22 to 44 times meanwhile."""


@pytest.fixture
async def other(clock: ManualClock) -> AsyncIterator[Simulator]:
    """Another cloud, where all is well."""
    async with Simulator(Options(empty=True, seed=2), clock=clock) as cloud:
        yield cloud


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("trouble", [pytest.param(trouble, id=name) for name, trouble in TROUBLES.items()])
async def test_an_outage_from_its_beginning_to_its_end(
    cloud: Simulator, other: Simulator, clock: ManualClock, trouble: Trouble, api: Api
) -> None:
    """A fault shows at once with its reason, costs little, blanks nothing early and nobody else, ends by itself."""
    steady, ending = (cloud.world.submit(name, api=api) for name in ("steady", "ending"))
    neighbour = other.world.submit("neighbour", api=api)
    for world, job in ((cloud.world, steady), (cloud.world, ending), (other.world, neighbour)):
        world.start(job)
    collection = {"timeout": "1s" if trouble.outcome == "unreachable" else "30s"}
    settings = together(
        settings_for(cloud, api=api, collection=collection), settings_for(other, api=api, project="speech")
    )
    async with rig_for(settings, clock) as rig:
        clock.turn(60)
        await rig.poll()
        cloud.requests.clear()
        clock.turn(INTERVAL_S)
        await rig.poll()
        healthy = cloud.requests.count()
        before = Shown(rig)
        assert before.up() == {"vision": 1, "speech": 1}
        assert before.statuses("vision") == {steady.id: "running", ending.id: "running"}
        assert before.statuses("speech") == {neighbour.id: "running"}

        cloud.requests.clear()
        async with trouble.at(cloud):
            cloud.world.complete(ending)
            polls, shown = await _endured(rig, clock, before, trouble=trouble, outcome=trouble.expected(api))
            assert cloud.requests.count() <= (MOST_CALLS if trouble.opens else healthy * polls + 3)

        shown = await _recovered(rig, clock, shown)
        assert shown.statuses("vision") == {steady.id: "running", ending.id: "completed"}
        assert shown.value("modelarts_training_jobs", project="vision", status="running") == 1
        assert shown.value("modelarts_training_jobs_finished_total", project="vision", status="completed") == 1
        assert shown.value("modelarts_exporter_circuit_open") == 0


async def _endured(
    rig: Rig, clock: ManualClock, before: Shown, *, trouble: Trouble, outcome: str
) -> tuple[int, Shown]:
    """Poll until what was known has been withdrawn; the number of polls, and what is shown at the end."""
    good_at = clock.monotonic() - 1  # a scrape turns the clock by a second
    interval_s = SELDOM_S if trouble.slow else INTERVAL_S
    first_failures: list[str] = []
    shown, polls = before, 0
    while clock.monotonic() < good_at + STALE_AFTER_S + interval_s:
        clock.turn(interval_s)
        with capture_logs() as logs:
            await rig.poll()
        first_failures = first_failures or [line["outcome"] for line in logs if line["event"] == "poll.failed"]
        polls += 1
        is_fresh = clock.monotonic() - good_at < STALE_AFTER_S
        last, shown = shown, Shown(rig)
        assert shown.up() == {"vision": 0, "speech": 1}
        assert shown.statuses("vision") == (before.statuses("vision") if is_fresh else {})
        assert bool(shown.read("modelarts_training_jobs", project="vision")) is is_fresh
        assert shown.statuses("speech") == before.statuses("speech")
        assert shown.has_grown_from(last)
        assert shown.value("modelarts_exporter_api_requests_total", project="vision", outcome=outcome) > 0
    assert first_failures == [outcome]
    assert (shown.value("modelarts_exporter_api_retries_total", project="vision") > 0) is trouble.retried
    assert shown.value("modelarts_exporter_circuit_open", project="vision") == trouble.opens
    assert shown.value("modelarts_exporter_circuit_open", project="speech") == 0
    return polls, shown


async def _recovered(rig: Rig, clock: ManualClock, shown: Shown) -> Shown:
    """Poll until the project is up again, with nothing shown of its jobs before; what is shown then."""
    over_at = clock.monotonic()
    while not shown.up()["vision"]:
        assert shown.statuses("vision") == {}
        assert clock.monotonic() - over_at <= LONGEST_PAUSE_S + INTERVAL_S
        clock.turn(INTERVAL_S)
        await rig.poll()
        last, shown = shown, Shown(rig)
        assert shown.has_grown_from(last)
    return shown
