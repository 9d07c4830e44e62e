"""Listings that fail in part, change between pages or ignore the query: no job disappears."""

import pytest
from structlog.testing import capture_logs

from exporter.simulator import SECOND_WORKSPACE, Options, Simulator
from exporter.simulator.world.job import Api, Job
from tests.clock import ManualClock
from tests.e2e.faults import Scrape
from tests.e2e.harness import harness_for, settings_for


def running(cloud: Simulator, clock: ManualClock, *, api: Api, number: int, workspace: str = "0") -> list[Job]:
    """Submit and start this number of jobs, one second apart."""
    jobs = []
    for n in range(number):
        jobs.append(cloud.world.submit(f"j{n}", api=api, workspace=workspace))
        cloud.world.start(jobs[-1])
        clock.turn(1)
    return jobs


@pytest.mark.parametrize(
    "api, fault",
    [
        pytest.param("v1", "500:operation=v1.overview,after=1", id="v1-one-workspace"),
        pytest.param("v1", "truncated:operation=v1.overview,after=1", id="v1-one-workspace-truncated"),
        pytest.param("v2", "500:operation=v2.search,after=1", id="v2-second-page"),
        pytest.param("v2", "empty-200:operation=v2.search,after=1", id="v2-second-page-empty"),
        pytest.param("v2", "503:operation=v2.search,after=3", id="v2-one-workspace"),
    ],
)
async def test_a_listing_that_fails_half_way(cloud: Simulator, clock: ManualClock, api: Api, fault: str) -> None:
    """Jobs missing from an incomplete listing stay. A job is removed when a complete listing misses it."""
    jobs = running(cloud, clock, api=api, number=70)
    jobs += running(cloud, clock, api=api, number=5, workspace=SECOND_WORKSPACE)
    everyone = {job.id for job in jobs}
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        assert set(Scrape(harness).statuses("vision")) == everyone

        cloud.faults.add(fault)
        deleted = jobs[-1]
        cloud.world.delete(deleted)
        clock.turn(30)
        await harness.poll()
        shown = Scrape(harness)
        assert shown.up() == {"vision": 0}
        assert set(shown.statuses("vision")) == everyone
        assert set(shown.statuses("vision").values()) == {"running"}

        cloud.faults.clear()
        clock.turn(330)
        await harness.poll()
        shown = Scrape(harness)
        assert shown.up() == {"vision": 1}
        assert set(shown.statuses("vision")) == everyone - {deleted.id}


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_a_listing_without_one_workspace_is_withdrawn_by_its_parts(
    cloud: Simulator, clock: ManualClock, api: Api
) -> None:
    """When one workspace fails for longer than stale_after, its jobs and the sums are withdrawn; other jobs stay."""
    first = running(cloud, clock, api=api, number=2)
    second = running(cloud, clock, api=api, number=2, workspace=SECOND_WORKSPACE)
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        assert set(Scrape(harness).statuses("vision")) == {job.id for job in (*first, *second)}
        for _ in range(12):
            cloud.faults.clear()
            # the first workspace takes one call of v1, two of v2
            cloud.faults.add("403:after=1" if api == "v1" else "403:after=2")
            clock.turn(30)
            await harness.poll()
            assert Scrape(harness).up() == {"vision": 0}
        shown = Scrape(harness)
        assert set(shown.statuses("vision")) == {job.id for job in first}
        assert not shown.read("modelarts_training_jobs")
        cloud.faults.clear()
        clock.turn(30)
        await harness.poll()
        assert set(Scrape(harness).statuses("vision")) == {job.id for job in (*first, *second)}
        assert Scrape(harness).up() == {"vision": 1}


@pytest.mark.parametrize(
    "api, quirks",
    [
        pytest.param("v1", ["v1-overview-no-limit-0"], id="v1-overview"),
        pytest.param("v1", ["v1-overview-missing", "v1-page-clamped"], id="v1-list"),
        pytest.param("v2", [], id="v2"),
        pytest.param("v2", ["v2-offset-records"], id="v2-records"),
    ],
)
async def test_a_listing_that_changes_between_its_pages(clock: ManualClock, api: Api, quirks: list[str]) -> None:
    """While jobs are submitted between two pages, every running job stays and each new one counts once."""
    share = 1.0 if api == "v1" else 0.0
    options = Options(empty=True, quirks=frozenset({"shifting-pages", *quirks}), v1_share=share)
    async with Simulator(options, clock=clock) as cloud:
        jobs = {job.id for job in running(cloud, clock, api=api, number=120)}
        async with harness_for(settings_for(cloud, api=api, workspaces=["0"]), clock) as harness:
            await harness.poll()
            first = {job.id for job in cloud.world.jobs}
            for _ in range(5):
                clock.turn(30)
                await harness.poll()
                shown = Scrape(harness)
                assert jobs <= set(shown.statuses("vision"))
                assert shown.up() == {"vision": 1}
            cloud.quirks.off("shifting-pages")
            clock.turn(30)
            await harness.poll()
            shown = Scrape(harness)
            assert {shown.statuses("vision")[job] for job in jobs} == {"running"}
            new = {job.id for job in cloud.world.jobs if job.api == api and job.workspace == "0"} - jobs
            assert new <= set(shown.statuses("vision"))
            assert len(new - first) <= shown.value("modelarts_training_jobs_submitted_total") <= len(new)


@pytest.mark.parametrize(
    "api, quirks",
    [
        pytest.param("v1", ["v1-overview-no-limit-0", "v1-pages-repeat"], id="v1-overview"),
        pytest.param("v1", ["v1-overview-missing", "v1-page-clamped", "v1-pages-repeat"], id="v1-list"),
        pytest.param("v2", ["v2-offset-ignored"], id="v2"),
    ],
)
async def test_pages_that_repeat(clock: ManualClock, api: Api, quirks: list[str]) -> None:
    """A listing that repeats its first page ends, takes few calls, and loses no known job."""
    async with Simulator(Options(empty=True), clock=clock) as cloud:
        jobs = {job.id for job in running(cloud, clock, api=api, number=120)}
        async with harness_for(settings_for(cloud, api=api, workspaces=["0"]), clock) as harness:
            for _ in range(4):  # until all records are known
                clock.turn(30)
                await harness.poll()
            assert set(Scrape(harness).statuses("vision")) == jobs
            cloud.quirks.on(*quirks)
            cloud.requests.clear()
            for _ in range(5):
                clock.turn(30)
                await harness.poll()
                assert set(Scrape(harness).statuses("vision")) == jobs
            assert cloud.requests.count() <= 5 * 30  # the 20 jobs on no page take one call each


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_a_job_deleted_between_list_and_detail(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """A job that is deleted when its detail is requested is removed, and the poll succeeds."""
    first, *others = running(cloud, clock, api=api, number=55)  # so that the first is not on the newest page
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        for _ in range(2):
            clock.turn(30)
            await harness.poll()
        cloud.quirks.on("vanishing")
        cloud.world.complete(first)
        for _ in range(3):
            clock.turn(30)
            await harness.poll()
            assert Scrape(harness).up() == {"vision": 1}
        assert first.id not in {job.id for job in cloud.world.jobs}
        running_now = {job for job, status in Scrape(harness).statuses("vision").items() if status == "running"}
        assert running_now == {job.id for job in others}
        await harness.poll(usage=True)  # requests each of them, which deletes it
        assert Scrape(harness).value("modelarts_collector_up", collector="usage") == 1
        clock.turn(30)
        await harness.poll()
        assert "running" not in Scrape(harness).statuses("vision").values()
        assert Scrape(harness).up() == {"vision": 1}


async def test_filters_that_are_ignored(clock: ManualClock) -> None:
    """Where the search ignores its filter, every active job is found and no finished job counts."""
    options = Options(empty=True, quirks=frozenset({"v2-filters-ignored"}))
    async with Simulator(options, clock=clock) as cloud:
        jobs = running(cloud, clock, api="v2", number=120)
        for job in jobs[30:]:
            cloud.world.complete(job)
        async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
            for _ in range(3):
                clock.turn(30)
                await harness.poll()
                shown = Scrape(harness)
                assert shown.up() == {"vision": 1}
                assert shown.value("modelarts_training_jobs_finished_total") == 0
                statuses = shown.statuses("vision")
                assert {job for job, status in statuses.items() if status == "running"} == {
                    job.id for job in jobs[:30]
                }
            assert Scrape(harness).value("modelarts_exporter_unknown_values_total", field="v2.filters") > 0


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_one_bad_item_is_skipped(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """An undecodable item of a list is counted; its job and all others stay unchanged."""
    jobs = {job.id for job in running(cloud, clock, api=api, number=5)}
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        cloud.faults.add("bad-item:operation=v?.*e*r*")  # the listings: v1.overview, v2.search
        for _ in range(2):
            clock.turn(30)
            await harness.poll()
            assert set(Scrape(harness).statuses("vision")) == jobs
        assert Scrape(harness).value("modelarts_exporter_unknown_values_total") > 0


@pytest.mark.parametrize("quirk, kind", [("lone-surrogates", "escape"), ("byte-order-mark", "encoding")])
@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_text_that_other_decoders_read_costs_nothing(
    cloud: Simulator, clock: ManualClock, api: Api, quirk: str, kind: str
) -> None:
    """[51] Answers whose text has a flaw are read wholly: jobs, records, usage and pools; a counter tells of it."""
    cloud.quirks.on(quirk)
    jobs = running(cloud, clock, api=api, number=3)
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        clock.turn(300)
        with capture_logs() as logs:
            await harness.poll(usage=True, sweep=True, pools=True)
            await harness.poll(usage=True, pools=True)

        shown = Scrape(harness)
        assert shown.up() == {"vision": 1}
        assert set(shown.statuses("vision")) == {job.id for job in jobs}
        assert len(shown.read("modelarts_training_job_cpu_utilization_ratio")) == 3
        assert {
            dict(labels)["collector"]: up for labels, up in harness.samples("modelarts_collector_up").items()
        } == {
            "jobs": 1,
            "usage": 1,
            "sweep": 1,
            "pools": 1,
        }
        assert harness.value("modelarts_exporter_api_responses_repaired_total", project="vision", kind=kind)
        assert harness.value("modelarts_exporter_api_responses_repaired_total", project="vision", kind="nesting") == 0
        told = [(line["operation"], line["kind"]) for line in logs if line["event"] == "response.repaired"]
        assert {each for _, each in told} == {kind}
        assert len(told) == len(set(told))
        names = {dict(labels)["job_name"] for labels in harness.samples("modelarts_training_job_info")}
        assert all(name.endswith("\ufffd") for name in names) == (quirk == "lone-surrogates")


@pytest.mark.parametrize(
    "fault, jobs_up, usage_up",
    [
        pytest.param("500:operation=v2.metrics", 1, 0, id="usage-fails"),
        pytest.param("500:operation=v2.search", 0, 1, id="jobs-fail"),
        pytest.param("hang:operation=v2.metrics,delay=1", 1, 0, id="usage-hangs"),
    ],
)
async def test_collectors_fail_independently(
    cloud: Simulator, clock: ManualClock, fault: str, jobs_up: int, usage_up: int
) -> None:
    """A fault of one operation fails the collector that calls it, and no other."""
    running(cloud, clock, api="v2", number=2)
    collection = {"timeout": "1s"}
    async with harness_for(settings_for(cloud, api="v2", collection=collection), clock) as harness:
        clock.turn(300)
        await harness.poll(usage=True)
        usage = Scrape(harness).read("modelarts_training_job_accelerator_utilization_ratio")
        assert len(usage) == 2
        cloud.faults.add(fault)
        clock.turn(60)
        await harness.poll(usage=True)
        shown = Scrape(harness)
        assert shown.value("modelarts_collector_up", collector="jobs") == jobs_up
        assert shown.value("modelarts_collector_up", collector="usage") == usage_up
        assert shown.up() == {"vision": jobs_up}
        assert len(shown.statuses("vision")) == 2
        assert shown.read("modelarts_training_job_accelerator_utilization_ratio").keys() == usage.keys()


async def test_a_refusal_while_workspaces_are_listed_hides_none(cloud: Simulator, clock: ManualClock) -> None:
    """A 401 of the hourly workspace listing keeps all known workspaces."""
    running(cloud, clock, api="v2", number=1)
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        await harness.poll()
        clock.turn(3600)
        cloud.faults.add("401:operation=v1.workspaces,count=1")
        await harness.poll()
        late = cloud.world.submit("late", workspace=SECOND_WORKSPACE)
        clock.turn(30)
        await harness.poll()
        assert late.id in Scrape(harness).statuses("vision")
