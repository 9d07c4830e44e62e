"""Each fault case from the first failed poll to the recovery: what is exported, and how many API calls it takes."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from exporter.simulator import Options, Simulator
from exporter.simulator.world.job import Api
from tests.clock import ManualClock
from tests.e2e.faults import FAULT_CASES, FaultCase, Scrape, merge_settings
from tests.e2e.harness import Harness, harness_for, settings_for

INTERVAL_S = 30
SLOW_INTERVAL_S = 110
STALE_AFTER_S = 300
LONGEST_OPEN_S = 330
MAX_CALLS = 10
"""In eleven polls of one faulty target: three attempts, two more polls until the circuit opens, then one trial after
30, 60, 120 seconds and so on. A healthy target takes 22 to 44 calls in the same time."""


@pytest.fixture
async def other(clock: ManualClock) -> AsyncIterator[Simulator]:
    """A second simulator without a fault."""
    async with Simulator(Options(empty=True, seed=2), clock=clock) as cloud:
        yield cloud


@pytest.mark.parametrize("api", ["v1", "v2"])
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in FAULT_CASES.items()])
async def test_an_outage_from_its_beginning_to_its_end(
    cloud: Simulator, other: Simulator, clock: ManualClock, case: FaultCase, api: Api
) -> None:
    """A fault is exported at once, costs few calls and affects no other target. Recovery needs no action."""
    steady, ending = (cloud.world.submit(name, api=api) for name in ("steady", "ending"))
    neighbour = other.world.submit("neighbour", api=api)
    for world, job in ((cloud.world, steady), (cloud.world, ending), (other.world, neighbour)):
        world.start(job)
    collection = {"timeout": "1s" if case.outcome == "unreachable" else "30s"}
    settings = merge_settings(
        settings_for(cloud, api=api, collection=collection), settings_for(other, api=api, project="speech")
    )
    async with harness_for(settings, clock) as harness:
        clock.turn(60)
        await harness.poll()
        cloud.requests.clear()
        clock.turn(INTERVAL_S)
        await harness.poll()
        healthy = cloud.requests.count()
        before = Scrape(harness)
        assert before.up() == {"vision": 1, "speech": 1}
        assert before.statuses("vision") == {steady.id: "running", ending.id: "running"}
        assert before.statuses("speech") == {neighbour.id: "running"}

        cloud.requests.clear()
        async with case.active(cloud):
            cloud.world.complete(ending)
            polls, shown = await _poll_until_stale(harness, clock, before, case=case, outcome=case.expected(api))
            assert cloud.requests.count() <= (MAX_CALLS if case.opens else healthy * polls + 3)

        shown = await _poll_until_up(harness, clock, shown)
        assert shown.statuses("vision") == {steady.id: "running", ending.id: "completed"}
        assert shown.value("modelarts_training_jobs", project="vision", status="running") == 1
        assert shown.value("modelarts_training_jobs_finished_total", project="vision", status="completed") == 1
        assert shown.value("modelarts_exporter_circuit_open") == 0


async def _poll_until_stale(
    harness: Harness, clock: ManualClock, before: Scrape, *, case: FaultCase, outcome: str
) -> tuple[int, Scrape]:
    """Poll until the data is withdrawn. Returns the number of polls and the last scrape."""
    fresh_at = clock.monotonic() - 1  # a scrape advances the clock by a second
    interval_s = SLOW_INTERVAL_S if case.slow else INTERVAL_S
    first_failures: list[str] = []
    shown, polls = before, 0
    while clock.monotonic() < fresh_at + STALE_AFTER_S + interval_s:
        clock.turn(interval_s)
        with capture_logs() as logs:
            await harness.poll()
        first_failures = first_failures or [line["outcome"] for line in logs if line["event"] == "poll.failed"]
        polls += 1
        is_fresh = clock.monotonic() - fresh_at < STALE_AFTER_S
        last, shown = shown, Scrape(harness)
        assert shown.up() == {"vision": 0, "speech": 1}
        assert shown.statuses("vision") == (before.statuses("vision") if is_fresh else {})
        assert bool(shown.read("modelarts_training_jobs", project="vision")) is is_fresh
        assert shown.statuses("speech") == before.statuses("speech")
        assert shown.is_monotonic_since(last)
        assert shown.value("modelarts_exporter_api_requests_total", project="vision", outcome=outcome) > 0
    assert first_failures == [outcome]
    assert (shown.value("modelarts_exporter_api_retries_total", project="vision") > 0) is case.retried
    assert shown.value("modelarts_exporter_circuit_open", project="vision") == case.opens
    assert shown.value("modelarts_exporter_circuit_open", project="speech") == 0
    return polls, shown


async def _poll_until_up(harness: Harness, clock: ManualClock, shown: Scrape) -> Scrape:
    """Poll until the target is up. Its jobs are absent until then. Returns the last scrape."""
    over_at = clock.monotonic()
    while not shown.up()["vision"]:
        assert shown.statuses("vision") == {}
        assert clock.monotonic() - over_at <= LONGEST_OPEN_S + INTERVAL_S
        clock.turn(INTERVAL_S)
        await harness.poll()
        last, shown = shown, Scrape(harness)
        assert shown.is_monotonic_since(last)
    return shown
