"""What a refusal means: of the credential, of a permission, or of too many calls. Optional calls cost no listing."""

from collections import Counter

import pytest
from structlog.testing import capture_logs

from exporter.simulator import Simulator
from tests.clock import ManualClock
from tests.e2e.faults import Scrape
from tests.e2e.harness import harness_for, settings_for
from tests.e2e.test_faults_listing import running

PERMISSION = ["ModelArts.0112", "ModelArts.0428", "ModelArts.4203", "ModelArts.4630", "ModelArts.6201", "APIG.0302"]


def calls(cloud: Simulator) -> Counter[str]:
    """Calls so far, by operation."""
    return Counter(request.operation for request in cloud.requests)


@pytest.mark.parametrize("status", ["401", "403"])
@pytest.mark.parametrize("code", [*PERMISSION, "APIG.0301"])
async def test_refused_usage_is_off_and_the_jobs_go_on(
    cloud: Simulator, clock: ManualClock, status: str, code: str
) -> None:
    """[44] Usage that is refused, whatever the status and the code, is switched off, and asked for again hourly."""
    running(cloud, clock, api="v2", number=20)
    cloud.faults.add(f"{status}:operation=v2.metrics,code={code}")
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        clock.turn(300)
        with capture_logs() as logs:
            await harness.poll(usage=True)
            refused = calls(cloud)["v2.metrics"]
            assert 1 <= refused <= 12  # of twenty tasks
            for _ in range(20):
                clock.turn(60)
                await harness.poll(usage=True)
                assert Scrape(harness).up() == {"vision": 1}
        assert calls(cloud)["v2.metrics"] == refused
        assert harness.value("modelarts_collector_enabled", project="vision", collector="usage") == 0
        assert harness.value("modelarts_collector_up", project="vision", collector="usage") is None
        assert harness.value("modelarts_exporter_circuit_open", project="vision") == 0
        assert [line["event"] for line in logs if line["event"].startswith("collector.")] == ["collector.disabled"]

        cloud.faults.clear()
        clock.turn(3600)
        await harness.poll(usage=True)
        assert harness.value("modelarts_collector_enabled", project="vision", collector="usage") == 1
        assert len(harness.samples("modelarts_training_job_cpu_utilization_ratio")) == 20


async def test_usage_that_worked_is_off_after_two_refused_polls(cloud: Simulator, clock: ManualClock) -> None:
    """A gateway under maintenance refuses for a moment: one refused poll hides the usage of no hour."""
    running(cloud, clock, api="v2", number=2)
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        clock.turn(300)
        await harness.poll(usage=True)
        fault = cloud.faults.add("403:operation=v2.metrics")
        await harness.poll(usage=True)
        assert harness.value("modelarts_collector_enabled", project="vision", collector="usage") == 1
        assert harness.value("modelarts_collector_up", project="vision", collector="usage") == 0
        cloud.faults.remove(fault)
        await harness.poll(usage=True)
        cloud.faults.add(fault)
        await harness.poll(usage=True)
        assert harness.value("modelarts_collector_enabled", project="vision", collector="usage") == 1
        await harness.poll(usage=True)
        assert harness.value("modelarts_collector_enabled", project="vision", collector="usage") == 0


@pytest.mark.parametrize("code", [*PERMISSION, "APIG.0301"])
async def test_refused_pools_never_hold_back_the_jobs(cloud: Simulator, clock: ManualClock, code: str) -> None:
    """[44] Calls about pools and quotas that are refused with 401 switch the pools off, and open no lock-out."""
    running(cloud, clock, api="v2", number=2)
    cloud.faults.add(f"401:operation=v?.*pool*,code={code}")
    cloud.faults.add(f"401:operation=v?.*quotas,code={code}")
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        for _ in range(5):
            clock.turn(60)
            await harness.poll(pools=True)
            assert Scrape(harness).up() == {"vision": 1}
        assert harness.value("modelarts_collector_enabled", project="vision", collector="pools") == 0
        assert harness.value("modelarts_exporter_circuit_open", project="vision") == 0


@pytest.mark.parametrize("api,operation", [("v1", "v1.overview"), ("v2", "v2.search")])
async def test_a_refused_permission_for_the_listing_is_no_lock_out(
    cloud: Simulator, clock: ManualClock, api: str, operation: str
) -> None:
    """[44] 401 with ModelArts.4203 fails the poll, and the next poll asks again; a lock-out would wait for 330 s."""
    running(cloud, clock, api="v1" if api == "v1" else "v2", number=1)
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        cloud.faults.add(f"401:operation={operation},code=ModelArts.4203")
        for _ in range(4):
            clock.turn(30)
            await harness.poll()
            assert Scrape(harness).up() == {"vision": 0}
            assert harness.value("modelarts_exporter_circuit_open", project="vision") == 0
        cloud.faults.clear()
        clock.turn(30)
        await harness.poll()
        assert Scrape(harness).up() == {"vision": 1}


@pytest.mark.parametrize("status", ["401", "403", "429"])
async def test_throttled_usage_leaves_the_budget_to_the_listings(
    cloud: Simulator, clock: ManualClock, status: str
) -> None:
    """[53] "limit:200,time:5 minute": usage gets at most half of the stated budget, and the jobs poll stays whole."""
    running(cloud, clock, api="v2", number=60)
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        clock.turn(300)
        await harness.poll(usage=True)
        cloud.faults.add(f"throttled:operation=v2.metrics,count=1,status={status}")
        await harness.poll(usage=True)
        before = calls(cloud)["v2.metrics"]
        for _ in range(15):  # three windows of five minutes
            clock.turn(60)
            await harness.poll(usage=True)
            assert Scrape(harness).up() == {"vision": 1}
        assert 200 <= calls(cloud)["v2.metrics"] - before <= 320
        assert harness.value("modelarts_exporter_circuit_open", project="vision") == 0
        assert harness.value("modelarts_exporter_throttled_total", project="vision") == 1
        assert harness.value("modelarts_collector_up", project="vision", collector="usage") == 0
        throttled = harness.value(
            "modelarts_exporter_api_requests_total",
            operation="v2_get_task_metrics",
            outcome="throttled",
            project="vision",
        )
        assert throttled is not None
        assert throttled > 1
