"""The v2 source over real sockets, against the simulator and its quirks."""

import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from exporter.cloud.http.endpoint import Caller
from exporter.cloud.v2.endpoints import DETAIL, ENDPOINTS
from exporter.cloud.v2.source import V2Source
from exporter.domain.job import Accelerator, Job, JobStatus
from exporter.domain.source import PollResult, TrackedState
from exporter.domain.usage import summarise
from exporter.settings import AkSk, Secret
from exporter.simulator import ACCESS_KEY, PROJECT_ID, SECOND_WORKSPACE, SECRET_KEY, SECRET_MARKER, Options, Simulator
from exporter.simulator.world.job import Job as SimulatedJob
from tests.clock import ManualClock
from tests.contract.simulated import FakePoller, NullObserver
from tests.unit.cloud.account import connect
from tests.unit.cloud.account import options as connect_options

WORKSPACES = ("0", SECOND_WORKSPACE)


@dataclass
class Harness:
    """A source with a simulator, and the values it noted."""

    cloud: Simulator
    clock: ManualClock
    caller: Caller
    source: V2Source
    noted: list[tuple[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.poller = FakePoller(self.source, self.clock)

    async def poll(self) -> PollResult:
        """Poll as polling does: jobs of earlier polls are tracked and not new."""
        return await self.poller.poll()

    async def one(self) -> Job:
        """Poll a simulator with one job."""
        (job,) = (await self.poll()).jobs
        return job


@asynccontextmanager
async def harness_for(options: Options, clock: ManualClock) -> AsyncIterator[Harness]:
    async def workspaces() -> tuple[str, ...]:
        return WORKSPACES

    noted: list[tuple[str, object]] = []
    async with Simulator(options, clock=clock) as cloud:
        credentials = AkSk(access_key=Secret(ACCESS_KEY), secret_key=Secret(SECRET_KEY))
        given = connect_options(
            cloud.url, project_id=PROJECT_ID, credentials=credentials, burst=10_000, timeout_s=10.0
        )
        async with connect(given, clock=clock, observer=NullObserver()) as caller:
            source = V2Source(
                caller,
                project="vision",
                workspaces=workspaces,
                clock=clock,
                note=lambda name, value: noted.append((name, value)),
            )
            yield Harness(cloud=cloud, clock=clock, caller=caller, source=source, noted=noted)


@pytest.fixture
async def harness(clock: ManualClock) -> AsyncIterator[Harness]:
    async with harness_for(Options(empty=True), clock) as harness:
        yield harness


def _pattern(path: str) -> str:
    return re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))


async def test_requests_match_the_endpoint_table(harness: Harness) -> None:
    """A poll, a confirmation and a usage request send the method and path of each entry, and nothing else."""
    job = harness.cloud.world.submit("bert", nodes=2)
    harness.cloud.world.start(job)
    known = await harness.one()
    await harness.source.usage(known, known.tasks[0])
    harness.cloud.world.delete(job)
    assert (await harness.poll()).gone == {job.id}

    sent = {(request.method, request.path) for request in harness.cloud.requests}
    for endpoint in ENDPOINTS:
        matching = {(m, p) for m, p in sent if m == endpoint.method and re.fullmatch(_pattern(endpoint.path), p)}
        assert matching, f"{endpoint.name} is in the table and was not requested"
        sent -= matching
    assert sent == set(), "requested, but not in the table"


async def test_a_search_carries_its_parameters_in_the_body(harness: Harness) -> None:
    """Every search is JSON with only the documented keys, and without a query string."""
    await harness.poll()

    searches = [request for request in harness.cloud.requests if request.path.endswith("training-job-searches")]
    assert len(searches) == 4  # active and newest, of two workspaces
    for request in searches:
        assert request.query == ""
        documented = {"offset", "limit", "sort_by", "order", "workspace_id", "filters", "unified_jobs"}
        assert set(json.loads(request.body)) <= documented


@pytest.mark.parametrize(
    "act,status,reason",
    [
        pytest.param(lambda _world, _job: None, JobStatus.INITIALIZING, "creating", id="created"),
        pytest.param(lambda world, job: world.enqueue(job), JobStatus.QUEUED, "queuing", id="queued"),
        pytest.param(lambda world, job: world.start(job), JobStatus.RUNNING, "running", id="running"),
        pytest.param(lambda world, job: world.complete(job), JobStatus.COMPLETED, "completed", id="completed"),
        pytest.param(lambda world, job: world.fail(job), JobStatus.FAILED, "failed", id="failed"),
        pytest.param(lambda world, job: world.terminate(job), JobStatus.TERMINATED, "terminated", id="terminated"),
        pytest.param(lambda world, job: world.lose(job), JobStatus.LOST, "lost", id="lost"),
        pytest.param(lambda world, job: world.create_fail(job), JobStatus.FAILED, "create_failed", id="not-created"),
    ],
)
async def test_each_state_of_a_job(
    harness: Harness, act: Callable[[Any, SimulatedJob], object], status: JobStatus, reason: str
) -> None:
    """The source has the status and the reason of each state of the simulator."""
    job = harness.cloud.world.submit("bert")
    if reason not in ("creating", "queuing", "running", "create_failed"):
        harness.cloud.world.start(job)
        harness.clock.turn(60)
    act(harness.cloud.world, job)

    seen = await harness.one()

    assert (seen.job_id, seen.status, seen.reason) == (job.id, status, reason)
    assert harness.noted == []


@pytest.mark.parametrize(
    "field,expected",
    [
        pytest.param("flavor_detail", (16.0, Accelerator.NPU), id="flavor_detail"),
        pytest.param("pool_info", (16.0, Accelerator.NPU), id="pool_info"),
        pytest.param("allocated", (16.0, Accelerator.NPU), id="allocated"),
        pytest.param("customized", (16.0, Accelerator.NPU), id="customized"),
        pytest.param("flavor_id", (16.0, None), id="flavor_id"),
        pytest.param("nothing", (None, Accelerator.NPU), id="only-the-flavors-name"),
    ],
)
async def test_each_source_of_accelerators(
    harness: Harness, field: str, expected: tuple[float | None, Accelerator | None]
) -> None:
    """Trap 25: 2 nodes of 8 NPUs, in each place where the cloud may have the number, or in none."""
    job = harness.cloud.world.submit(
        "glm", nodes=2, accelerators_per_node=8, accelerator="npu", pool="pool-x", accelerator_field=field
    )
    harness.cloud.world.start(job)

    seen = await harness.one()

    assert (seen.spec_accelerators, seen.accelerator) == expected


@pytest.mark.parametrize(
    "quirk", [None, "v2-offset-records", "v2-count-page", "v2-numbers-as-strings", "shifting-pages"]
)
async def test_many_jobs_are_listed_completely(clock: ManualClock, quirk: str | None) -> None:
    """Traps 1, 3 and 16: 130 active jobs on several pages are listed, whatever offset means and types are sent."""
    quirks = frozenset({quirk} if quirk else ())
    async with harness_for(Options(empty=True, quirks=quirks), clock) as harness:
        jobs = [harness.cloud.world.submit(f"job-{n}") for n in range(130)]
        for job in jobs:
            harness.cloud.world.start(job)

        result = await harness.poll()

        assert {job.id for job in jobs} <= {job.job_id for job in result.jobs}
        assert result.failures == ()
        assert harness.noted == []


@pytest.mark.parametrize("refused", [False, True])
async def test_fine_tuning_jobs(clock: ManualClock, refused: bool) -> None:
    """Fact 42: they are listed with custom jobs, as their own kind; a gateway that refuses this lists the rest."""
    quirks = frozenset({"v2-unified-jobs-refused"} if refused else ())
    async with harness_for(Options(empty=True, quirks=quirks), clock) as harness:
        custom = harness.cloud.world.submit("custom")
        tuned = harness.cloud.world.submit("tuned", kind="fine_tuning_job")
        for job in (custom, tuned):
            harness.cloud.world.start(job)

        result = await harness.poll()

        expected = {custom.id: "job"} if refused else {custom.id: "job", tuned.id: "fine_tuning_job"}
        assert {job.job_id: job.kind for job in result.jobs} == expected
        assert (result.failures, harness.noted) == ((), [])


async def test_an_ignored_offset_is_reported_as_incomplete(clock: ManualClock) -> None:
    """Trap 1: of 130 running jobs 100 can be listed, and the poll is not complete."""
    async with harness_for(Options(empty=True, quirks=frozenset({"v2-offset-ignored"})), clock) as harness:
        for n in range(130):
            harness.cloud.world.start(harness.cloud.world.submit(f"job-{n}"))
            clock.turn(1)

        result = await harness.poll()

        assert len(result.jobs) == 100
        assert [failure.outcome for failure in result.failures] == ["invalid_response"]


async def test_ignored_filters_are_detected(clock: ManualClock) -> None:
    """A server that ignores filters is detected by the ended jobs it lists; running jobs are found."""
    options = Options(jobs=0, history=300, v1_share=0.0, arrivals=0, quirks=frozenset({"v2-filters-ignored"}))
    async with harness_for(options, clock) as harness:
        job = harness.cloud.world.submit("bert")
        harness.cloud.world.start(job)

        result = await harness.poll()

        assert job.id in {seen.job_id for seen in result.jobs if seen.status is JobStatus.RUNNING}
        assert ("v2.filters", "ignored") in harness.noted
        assert result.failures == ()


async def test_workspaces_are_searched_one_by_one(harness: Harness) -> None:
    """Trap 4: a job in another than the default workspace is listed, with its workspace."""
    job = harness.cloud.world.submit("bert", workspace=SECOND_WORKSPACE)
    harness.cloud.world.start(job)

    assert (await harness.one()).workspace_id == SECOND_WORKSPACE


async def test_usage_of_a_task(harness: Harness) -> None:
    """Traps 19 and 20: the last valid minute counts, -1 never does, and a GPU job has no NPU series."""
    job = harness.cloud.world.submit("bert", accelerator="gpu")
    harness.cloud.world.start(job)
    job.usage("worker-0", cpu=[-1, 40.0, 50.0, -1], mem=[-1, 20.0, 30.0, -1], gpu=[-1, 80, 90, -1], npu=[-1] * 4)
    seen = await harness.one()

    series = await harness.source.usage(seen, "worker-0")

    assert series is not None
    usage = summarise(series, idle_threshold=0.05)
    assert (usage.cpu_ratio, usage.memory_ratio, usage.accelerator_ratio) == (0.5, 0.3, 0.9)


async def test_usage_that_is_not_ready(clock: ManualClock) -> None:
    """Trap 9: 204 without a body is no data and no error."""
    async with harness_for(Options(empty=True, quirks=frozenset({"v2-metrics-204"})), clock) as harness:
        harness.cloud.world.start(harness.cloud.world.submit("bert"))
        seen = await harness.one()

        assert await harness.source.usage(seen, "worker-0") is None


async def test_a_job_deleted_during_a_poll_is_gone(clock: ManualClock) -> None:
    """Trap 9: a job deleted between list and detail returns 400 with 2775: it is gone, and nothing failed."""
    async with harness_for(Options(empty=True), clock) as harness:
        job = harness.cloud.world.submit("bert")
        harness.cloud.world.start(job)
        await harness.poll()
        for n in range(60):
            harness.clock.turn(1)
            harness.cloud.world.complete(harness.cloud.world.submit(f"short-{n}"))
        await harness.poll()
        harness.cloud.world.complete(job)
        harness.cloud.quirks.on("vanishing")

        result = await harness.poll()

        assert result.gone == {job.id}
        assert result.failures == ()


async def test_secrets_are_not_kept(clock: ManualClock) -> None:
    """Trap 28: with secrets in every response, none is in a job, in a note, or in usage."""
    options = Options(jobs=40, history=40, v1_share=0.0, arrivals=0, quirks=frozenset({"secrets-in-answers"}))
    async with harness_for(options, clock) as harness:
        result = await harness.poll()
        swept = await harness.source.sweep(TrackedState())

        answer = await harness.caller.call(DETAIL, path={"job_id": swept.jobs[0].job_id})

        assert answer is not None
        assert SECRET_MARKER.encode() in bytes(answer)
        assert len(swept.jobs) >= 40
        assert SECRET_MARKER not in repr(result) + repr(swept) + repr(harness.noted)


async def test_a_simulated_cloud_has_no_unknown_values(clock: ManualClock) -> None:
    """80 changing jobs with a history of 300 are read without a failure and without one unknown value."""
    async with harness_for(Options(jobs=80, history=300, v1_share=0.0), clock) as harness:
        truth = {job.id: job for job in harness.cloud.world.jobs}
        result = await harness.source.sweep(TrackedState())

        assert {job.job_id for job in result.jobs} == set(truth)
        assert result.failures == ()
        assert harness.noted == []
        for job in result.jobs:
            assert job.submitted_at == pytest.approx(truth[job.job_id].submitted_at, abs=0.002)


async def test_unknown_words_lose_no_job(clock: ManualClock) -> None:
    """With undocumented phases, kinds and types in every fifth job, all are returned, and the words noted."""
    options = Options(jobs=60, history=60, v1_share=0.0, arrivals=0, quirks=frozenset({"unknown-values"}))
    async with harness_for(options, clock) as harness:
        result = await harness.source.sweep(TrackedState())

        assert {job.job_id for job in result.jobs} == {job.id for job in harness.cloud.world.jobs}
        assert {name for name, _ in harness.noted} >= {"v2.status.phase"}


@pytest.mark.parametrize("history", [10, 2_000])
async def test_the_calls_over_sockets(clock: ManualClock, history: int) -> None:
    """Design §7: ⌈20/50⌉ + 2 calls for the workspace with 20 active jobs, 2 for the empty one, with any history."""
    async with harness_for(Options(jobs=0, history=history, v1_share=0.0, arrivals=0), clock) as harness:
        for n in range(20):
            harness.cloud.world.start(harness.cloud.world.submit(f"job-{n}"))
        await harness.poll()
        before = len(harness.cloud.requests)

        await harness.poll()

        assert len(harness.cloud.requests) - before <= (1 + 2) + 2
