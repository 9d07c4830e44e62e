"""From API responses to /metrics over real sockets: what is exported, when, and at what cost in API calls."""

import pytest

from exporter.simulator import SECRET_MARKER, Options, Simulator
from exporter.simulator.world.job import Api
from tests.clock import ManualClock
from tests.e2e.harness import BY_PROJECT_NAME, Harness, harness_for, settings_for

APIS: tuple[Api, ...] = ("v1", "v2")


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_a_job_from_submission_to_retention(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """A job of either generation is exported as queued, running and failed, with exact times, for a day."""
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        clock.turn(10)
        job = cloud.world.submit("bert", api=api, nodes=2, accelerators_per_node=8, user="alice")
        submitted_at = clock.time()
        cloud.world.enqueue(job)
        await harness.poll()
        assert harness.statuses() == {job.id: "queued"}
        assert harness.value("modelarts_training_job_submitted_timestamp_seconds", job_id=job.id) == submitted_at
        assert harness.value("modelarts_training_job_start_timestamp_seconds", job_id=job.id) is None
        assert harness.value("modelarts_training_job_queue_duration_seconds", job_id=job.id) is None
        assert harness.value("modelarts_training_job_spec_accelerators", job_id=job.id) == 16  # 2 nodes of 8
        assert harness.value("modelarts_training_job_status_accelerators", job_id=job.id) == 0

        clock.turn(300)
        cloud.world.start(job)
        started_at = clock.time()
        await harness.poll()
        assert harness.statuses() == {job.id: "running"}
        assert harness.value("modelarts_training_job_start_timestamp_seconds", job_id=job.id) == started_at
        assert (
            harness.value("modelarts_training_job_queue_duration_seconds", job_id=job.id) == started_at - submitted_at
        )
        assert harness.value("modelarts_training_job_status_accelerators", job_id=job.id) == 16

        clock.turn(3600)
        cloud.world.fail(job, exit_code=137)
        ended_at = clock.time()
        clock.turn(20)
        await harness.poll()
        assert harness.statuses() == {job.id: "failed"}
        assert harness.value("modelarts_training_job_end_timestamp_seconds", job_id=job.id) == pytest.approx(ended_at)
        run_duration_s = harness.value("modelarts_training_job_run_duration_seconds", job_id=job.id)
        assert run_duration_s == pytest.approx(ended_at - started_at)
        assert harness.value("modelarts_training_job_status_accelerators", job_id=job.id) == 0
        info = harness.samples("modelarts_training_job_info", job_id=job.id, job_name="bert", user="alice", api=api)
        assert len(info) == 1
        assert harness.value("modelarts_training_jobs_finished_total", status="failed", pool_id="") == 1

        clock.turn(86400)
        await harness.poll()
        assert harness.statuses() == {}
        assert harness.value("modelarts_training_jobs_finished_total", status="failed", pool_id="") == 1


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_a_job_between_two_polls_is_counted(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """A job that is submitted, starts and fails between two polls is in all three totals and exported."""
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        clock.turn(5)
        job = cloud.world.submit("quick", api=api)
        clock.turn(5)
        cloud.world.start(job)
        clock.turn(5)
        cloud.world.fail(job)
        clock.turn(15)
        await harness.poll()

        assert harness.statuses() == {job.id: "failed"}
        assert harness.value("modelarts_training_jobs_submitted_total", pool_id="") == 1
        assert harness.value("modelarts_training_jobs_started_total", pool_id="") == 1
        assert harness.value("modelarts_training_jobs_finished_total", pool_id="", status="failed") == 1


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_a_deleted_job_disappears(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """A deleted running job is gone at the next poll, and the poll succeeds."""
    job = cloud.world.submit("gone", api=api)
    cloud.world.start(job)
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        clock.turn(60)
        await harness.poll()
        assert harness.statuses() == {job.id: "running"}
        cloud.world.delete(job)
        clock.turn(30)
        await harness.poll()

        assert harness.statuses() == {}
        assert harness.value("modelarts_up") == 1


@pytest.mark.parametrize("history", [10, 10_000])
@pytest.mark.parametrize("active", [0, 1, 50, 51, 120])
async def test_calls_do_not_grow_with_history(clock: ManualClock, history: int, active: int) -> None:
    """A v2 jobs poll costs at most ceil(active/50) + 2 calls, plus one for each ended job (design §7)."""
    options = Options(jobs=0, history=history, arrivals=0, v1_share=0.0)
    async with Simulator(options, clock=clock) as cloud:
        jobs = [cloud.world.submit(f"j{n}") for n in range(active)]
        for job in jobs:
            cloud.world.start(job)
        async with harness_for(settings_for(cloud, api="v2", workspaces=["0"]), clock) as harness:
            clock.turn(60)
            await harness.poll()
            cloud.requests.clear()
            clock.turn(30)
            await harness.poll()
            most = -(-active // 50) + 2
            assert cloud.requests.count() <= most

            for job in jobs[:3]:
                cloud.world.complete(job)
            cloud.requests.clear()
            clock.turn(30)
            await harness.poll()
            assert cloud.requests.count() <= most + len(jobs[:3])
            assert cloud.requests.count("v2.detail") <= len(jobs[:3])


@pytest.mark.parametrize("quirk", ["", "v2-offset-records", "v2-count-page"])
async def test_every_active_job_is_found_however_pages_are_counted(clock: ManualClock, quirk: str) -> None:
    """Whether the offset counts pages or records, all 120 active jobs are exported (traps 1 and 3)."""
    quirks = frozenset({quirk} - {""})
    async with Simulator(Options(empty=True, quirks=quirks), clock=clock) as cloud:
        for n in range(120):
            cloud.world.start(cloud.world.submit(f"j{n}"))
            clock.turn(1)
        async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
            await harness.poll()
            assert len(harness.statuses()) == 120
            assert harness.value("modelarts_up") == 1


async def test_all_workspaces_are_watched(cloud: Simulator, clock: ManualClock) -> None:
    """`workspaces: all` finds the jobs of every workspace in both generations. "0" alone does not (trap 4)."""
    other = cloud.options.projects[0].workspaces[1][0]
    jobs = [
        cloud.world.submit(f"{api}-{workspace}", api=api, workspace=workspace)
        for api in APIS
        for workspace in ("0", other)
    ]
    async with harness_for(settings_for(cloud, api="both"), clock) as harness:
        await harness.poll()
        assert set(harness.statuses()) == {job.id for job in jobs}


@pytest.mark.parametrize(
    "quirks, found",
    [
        pytest.param([], {"v1", "v2"}, id="both"),
        pytest.param(["no-v1"], {"v2"}, id="only-v2"),
        pytest.param(["no-v2"], {"v1"}, id="only-v1"),
    ],
)
async def test_auto_finds_the_generations(clock: ManualClock, quirks: list[str], found: set[str]) -> None:
    """`api: auto` polls the generations that answer. A missing generation is no failure."""
    async with Simulator(Options(empty=True, quirks=frozenset(quirks)), clock=clock) as cloud:
        for api in APIS:
            cloud.world.submit(api, api=api)
        async with harness_for(settings_for(cloud, api="auto"), clock) as harness:
            await harness.poll()
            seen = {dict(labels)["api"] for labels in harness.samples("modelarts_training_job_info")}
            assert seen == found
            assert harness.value("modelarts_up") == 1


async def test_auto_probes_again_after_an_hour(clock: ManualClock) -> None:
    """A generation that is switched on later is found within an hour."""
    async with Simulator(Options(empty=True, quirks=frozenset({"no-v2"})), clock=clock) as cloud:
        for api in APIS:
            cloud.world.submit(api, api=api)
        async with harness_for(settings_for(cloud, api="auto"), clock) as harness:
            await harness.poll()
            assert len(harness.statuses()) == 1
            cloud.quirks.off("no-v2")
            clock.turn(3600)
            await harness.poll()
            assert len(harness.statuses()) == 2


async def test_a_project_by_name_and_password(cloud: Simulator, clock: ManualClock) -> None:
    """With a password and a project name, IAM returns the project id, which is in the project's info."""
    cloud.world.submit("bert")
    async with harness_for(settings_for(cloud, **BY_PROJECT_NAME), clock) as harness:
        await harness.poll()
        assert harness.value("modelarts_up") == 1
        labels = {"project": "vision", "region": "eu-de", "cloud": "otc"}
        assert list(harness.samples("modelarts_project_info", **labels)) == [
            (("project_id", cloud.options.projects[0].id),)
        ]


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_usage_equals_the_samples(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """The usage of a running job is exported as ratios of its newest whole minute."""
    job = cloud.world.submit("busy", api=api)
    cloud.world.start(job)
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        clock.turn(3600)
        await harness.poll(usage=True)
        for name in ("cpu", "memory", "accelerator", "accelerator_memory"):
            ratio = harness.value(f"modelarts_training_job_{name}_utilization_ratio", job_id=job.id)
            assert ratio is not None
            assert 0 < ratio <= 1
        disk = harness.value("modelarts_training_job_disk_read_bytes_per_second", job_id=job.id)
        assert (disk is not None) == (api == "v1")  # only v1 has rates
        assert harness.value("modelarts_collector_up", collector="usage") == 1


async def test_minus_one_is_no_reading(cloud: Simulator, clock: ManualClock) -> None:
    """The API sends -1 for a missing reading; nothing is exported then, never -1 (trap 19)."""
    job = cloud.world.submit("silent", accelerator="npu")
    cloud.world.start(job)
    for name in job.tasks:
        job.usage(name, cpu=[-1, -1], mem=[-1, -1], npu=[-1, -1], npu_mem=[-1, -1])
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        clock.turn(120)
        await harness.poll(usage=True)
        assert harness.value("modelarts_training_job_accelerator_utilization_ratio", job_id=job.id) is None
        assert harness.value("modelarts_training_job_cpu_utilization_ratio", job_id=job.id) is None
        assert harness.statuses() == {job.id: "running"}


async def test_the_sweep_finds_earlier_failures(clock: ManualClock) -> None:
    """A job submitted weeks ago that failed an hour ago is not on the newest page; the first sweep finds it."""
    async with Simulator(Options(empty=True), clock=clock) as cloud:
        old = cloud.world.submit("old", submitted_at=clock.time() - 20 * 86400)
        cloud.world.start(old, at=clock.time() - 20 * 86400)
        cloud.world.fail(old, at=clock.time() - 3600)
        for n in range(120):
            job = cloud.world.submit(f"j{n}", submitted_at=clock.time() - 3 * 86400)
            cloud.world.start(job, at=clock.time() - 3 * 86400)
            cloud.world.complete(job, at=clock.time() - 2 * 86400)
        async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
            await harness.poll()
            assert harness.statuses() == {}
            await harness.poll(sweep=True)
            assert harness.statuses() == {old.id: "failed"}
            assert harness.value("modelarts_training_jobs_finished_total", status="failed", pool_id="") == 0


async def test_the_sweep_finds_what_was_deleted(cloud: Simulator, clock: ManualClock) -> None:
    """A deleted finished job is gone after the next sweep."""
    job = cloud.world.submit("done")
    cloud.world.start(job)
    cloud.world.complete(job)
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        await harness.poll(sweep=True)
        assert harness.statuses() == {job.id: "completed"}
        cloud.world.delete(job)
        clock.turn(6 * 3600)
        await harness.poll(sweep=True)
        assert harness.statuses() == {}
        assert harness.value("modelarts_collector_up", collector="sweep") == 1


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_stale_data_is_withdrawn_in_an_outage(cloud: Simulator, clock: ManualClock, api: Api) -> None:
    """When the API is down, up is 0 at once; jobs are withdrawn after stale_after and return with the API."""
    job = cloud.world.submit("steady", api=api)
    cloud.world.start(job)
    async with harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll()
        await cloud.go_down()
        clock.turn(30)
        await harness.poll()
        assert harness.value("modelarts_up") == 0
        assert harness.statuses() == {job.id: "running"}
        assert harness.value("modelarts_training_jobs", status="running", pool_id="") == 1
        assert sum(harness.samples("modelarts_exporter_api_requests_total", outcome="unreachable").values()) > 0

        clock.turn(300)
        await harness.poll()
        assert harness.statuses() == {}
        assert harness.samples("modelarts_training_jobs") == {}

        await cloud.come_back()
        clock.turn(600)  # longer than the circuit stays open
        await harness.poll()
        assert harness.value("modelarts_up") == 1
        assert harness.statuses() == {job.id: "running"}


async def test_many_endings_at_once_are_processed(cloud: Simulator, clock: ManualClock) -> None:
    """When more jobs end than one poll has time for, the poll keeps its results and the next polls add the rest."""
    jobs = [cloud.world.submit(f"j{n}") for n in range(130)]
    for job in jobs:
        cloud.world.start(job)
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        await harness.poll()
        for n, job in enumerate(jobs):
            clock.turn(1)
            if n % 2:
                cloud.world.complete(job)
        for _ in range(3):
            clock.turn(30)
            await harness.poll()
        assert harness.value("modelarts_training_jobs_finished_total", status="completed", pool_id="") == 65
        assert list(harness.statuses().values()).count("running") == 65


async def test_a_filter_hides_series_and_keeps_sums(cloud: Simulator, clock: ManualClock) -> None:
    """A filtered job has no series and still counts in the totals of its project."""
    for name in ("open-a", "open-b", "hidden-c"):
        cloud.world.start(cloud.world.submit(name))
    settings = settings_for(cloud, filters={"exclude_names": "hidden.*"})
    async with harness_for(settings, clock) as harness:
        await harness.poll()
        assert len(harness.statuses()) == 2
        assert harness.value("modelarts_training_jobs", status="running", pool_id="") == 3
        assert "hidden-c" not in harness.text()


def all_text(harness: Harness) -> str:
    return harness.text() + harness.text(openmetrics=True)


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_secrets_of_jobs_are_not_exposed(clock: ManualClock, api: Api) -> None:
    """Parameters, environments, commands and endpoints hold secrets; none is in the exposition (trap 28)."""
    options = Options(jobs=60, history=100, quirks=frozenset({"secrets-in-answers"}))
    async with Simulator(options, clock=clock) as cloud, harness_for(settings_for(cloud, api=api), clock) as harness:
        await harness.poll(usage=True, sweep=True)
        clock.turn(600)
        await harness.poll(usage=True)
        assert len(harness.statuses()) > 10
        assert SECRET_MARKER not in all_text(harness)


async def test_fine_tuning_jobs_that_cannot_be_listed(cloud: Simulator, clock: ManualClock) -> None:
    """A gateway that refuses `unified_jobs`: the custom jobs are complete, and a metric shows what is missing."""
    tuned, custom = cloud.world.submit("tuned", kind="fine_tuning_job"), cloud.world.submit("custom")
    async with harness_for(settings_for(cloud, api="v2"), clock) as harness:
        cloud.quirks.on("v2-unified-jobs-refused")
        await harness.poll()
        assert set(harness.statuses()) == {custom.id}
        assert harness.value("modelarts_up", project="vision") == 1
        assert harness.value("modelarts_exporter_unified_jobs_supported", project="vision") == 0

        cloud.quirks.clear()
        clock.turn(3_600)
        await harness.poll()
        assert set(harness.statuses()) == {custom.id, tuned.id}
        assert harness.value("modelarts_exporter_unified_jobs_supported", project="vision") == 1
