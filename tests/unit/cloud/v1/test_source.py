import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest

from exporter.cloud.http.errors import (
    CircuitOpen,
    CloudError,
    Denied,
    Gone,
    InvalidResponse,
    Refused,
    ServerError,
    Unreachable,
    Unsupported,
)
from exporter.cloud.v1.listing import OUTAGE_RETRY_S, OVERVIEW_RETRY_S
from exporter.cloud.v1.source import RECORDS_PER_POLL, V1Source
from exporter.domain.job import Accelerator, Api, JobStatus
from exporter.domain.job import Job as DomainJob
from exporter.domain.source import JobSource, PollResult, SourceError, TrackedState
from tests.clock import ManualClock
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v1.fake_cloud import NOW_MS, FakeV1, Job, Version

USAGE = {"cpuUsage": ["0", "50.00"], "memUsage": ["0", "40.00"], "gpuUtil": ["0", "75.00"]}


class Harness:
    """A source before a cloud, and what polling would know."""

    def __init__(
        self,
        cloud: FakeV1,
        clock: ManualClock,
        *,
        workspaces: tuple[str, ...] = ("0",),
        overview_counts: Literal["total", "per_node"] = "total",
    ) -> None:
        async def named() -> tuple[str, ...]:
            return workspaces

        self.cloud = cloud
        self.clock = clock
        self.notes = Notes()
        self.source = V1Source(
            cloud, project="p", workspaces=named, clock=clock, note=self.notes, overview_counts=overview_counts
        )
        self.known = TrackedState()
        self.seen: set[str] = set()

    async def poll(self, *, answer_by: float | None = None) -> PollResult:
        """Look, and know afterwards what was seen; finished versions are tracked while they ended within a day."""
        result = await self.source.poll(replace(self.known, answer_by=answer_by))
        found = dict(self.known.tracked) | {job.job_id: job for job in result.jobs}
        self.seen |= set(found)
        day_ago = self.clock.time() - 86_400
        tracked = {
            job_id: job
            for job_id, job in found.items()
            if job_id not in result.gone
            and (not job.status.finished or (job.ended_at or job.submitted_at or 0) > day_ago)
        }
        self.known = TrackedState(
            unfinished={job_id: job for job_id, job in tracked.items() if not job.status.finished},
            tracked=tracked,
            is_new=lambda job: job.job_id not in self.seen,
            bootstrapping=False,
        )
        return result

    async def calls(self, act: Callable[[], Any]) -> dict[str, int]:
        """Count the calls of an act."""
        self.cloud.calls.clear()
        await act()
        return dict(self.cloud.counts)


def by_id(result: PollResult) -> dict[str, DomainJob]:
    found = {job.job_id: job for job in result.jobs}
    assert len(found) == len(result.jobs)
    return found


def busy(**extra: Any) -> FakeV1:
    """A cloud with a running job on three nodes and a waiting one."""
    return FakeV1(
        Job(id=10, name="resnet", versions=[Version(id=11, nodes=3, extra=extra)]),
        Job(id=20, name="bert", user="lin", versions=[Version(id=21, status=7, start=None, duration=None)]),
    )


@pytest.fixture(params=["total", None], ids=["overview", "list"])
def cloud(request: pytest.FixtureRequest) -> FakeV1:
    fake = busy()
    fake.overview = request.param
    return fake


async def test_it_is_a_job_source(clock: ManualClock) -> None:
    """It fits the protocol, speaks v1, and has one nameless task a version."""
    source: JobSource = Harness(busy(), clock).source

    assert source.api is Api.V1
    assert source.tasks(DomainJob(job_id="11", api=Api.V1)) == ("",)
    assert repr(source) == "V1Source('p')"


async def test_a_look_tells_everything_of_the_active_versions(cloud: FakeV1, clock: ManualClock) -> None:
    """Overview and records, or list and versions: either way names, users, nodes and cards are there at once."""
    result = await Harness(cloud, clock).poll()

    assert result.failures == ()
    assert result.gone == frozenset()
    running, waiting = by_id(result)["11"], by_id(result)["21"]
    assert running == DomainJob(
        job_id="11",
        api=Api.V1,
        name="resnet",
        version="V0001",
        user="ada",
        workspace_id="0",
        flavor="modelarts.vm.gpu",
        accelerator=Accelerator.GPU,
        accelerator_model="Pnt1",
        engine="TF-1.13",
        kind="job",
        status=JobStatus.RUNNING,
        reason="RUNNING",
        submitted_at=NOW_MS / 1000 - 600,
        started_at=NOW_MS / 1000 - 500,
        run_duration_s=500.0,
        spec_nodes=3,
        spec_accelerators=6.0,  # 2 a node, 3 nodes
    )
    assert (waiting.user, waiting.status, waiting.started_at) == ("lin", JobStatus.QUEUED, None)
    assert waiting.run_duration_s is None


async def test_the_calls_of_a_quiet_overview(clock: ManualClock) -> None:
    """At first: overview, one page of the job list, a record for each version; then the overview alone."""
    harness = Harness(busy(), clock)

    first = await harness.calls(harness.poll)
    second = await harness.calls(harness.poll)

    assert first == {"v1_list_overview": 1, "v1_list_jobs": 1, "v1_get_version": 2}
    assert second == {"v1_list_overview": 1}


async def test_parameters_go_into_the_query(clock: ManualClock) -> None:
    """Traps 2, 4, 5, 6 and 7: limit=0 without offset, 1000 a page from page 1, the workspace named, no sort."""
    harness = Harness(busy(), clock, workspaces=("0", "w1"))

    await harness.poll()

    assert harness.cloud.calls[:3] == [
        ("v1_list_overview", {"workspace_id": "0", "limit": "0"}),
        ("v1_list_overview", {"workspace_id": "w1", "limit": "0"}),
        ("v1_list_jobs", {"workspace_id": "0", "per_page": "1000", "page": "1"}),
    ]
    assert [params for name, params in harness.cloud.calls[3:] if name == "v1_get_version"] == [
        {"job_id": "10", "version_id": "11"},
        {"job_id": "20", "version_id": "21"},
    ]


@pytest.mark.parametrize("history", [10, 10_000], ids=["10 finished", "10 000 finished"])
async def test_history_costs_no_calls_of_the_overview(history: int, clock: ManualClock) -> None:
    """Trap 40: finished versions live in the list for ever, and nothing is asked about them one by one."""
    cloud = busy()
    cloud.history(history)
    harness = Harness(cloud, clock)

    first = await harness.calls(harness.poll)
    quiet = await harness.calls(harness.poll)
    cloud.jobs.append(Job(id=30, name="new", versions=[Version(id=31)]))
    new = await harness.calls(harness.poll)
    cloud.job(10).versions[0].status = 10
    ended = await harness.calls(harness.poll)

    assert first["v1_list_overview"] == 1
    assert first["v1_list_jobs"] <= 2
    assert first["v1_get_version"] == 2
    assert quiet == {"v1_list_overview": 1}
    assert new == {"v1_list_overview": 1, "v1_list_jobs": 1, "v1_get_version": 1}
    assert ended == {"v1_list_overview": 1, "v1_get_version": 1}


@pytest.mark.parametrize("history", [10, 10_000], ids=["10 finished", "10 000 finished"])
async def test_history_costs_pages_of_the_list_alone(history: int, clock: ManualClock) -> None:
    """Without an overview a quiet look is the job list, 1000 rows a page: 12 jobs are 1 call, 10 002 are 11."""
    cloud = busy()
    cloud.overview = None
    cloud.history(history)
    harness = Harness(cloud, clock)
    pages = -(-(history + 2) // 1000)

    first = await harness.calls(harness.poll)
    quiet = await harness.calls(harness.poll)
    cloud.job(10).versions[0].duration = 530_000
    older = await harness.calls(harness.poll)
    cloud.job(10).versions[0].status = 10
    ended = await harness.calls(harness.poll)

    assert first == {"v1_list_overview": 1, "v1_list_jobs": pages, "v1_list_versions": 2}
    assert quiet == {"v1_list_jobs": pages}
    assert older == {"v1_list_jobs": pages}
    assert ended == {"v1_list_jobs": pages, "v1_list_versions": 1}


async def test_unchanged_versions_are_the_same_objects(cloud: FakeV1, clock: ManualClock) -> None:
    """What did not change is handed back as it was, so that nothing is rendered again."""
    harness = Harness(cloud, clock)
    await harness.poll()

    second, third = by_id(await harness.poll()), by_id(await harness.poll())

    assert second["11"] is third["11"]
    assert second["21"] is third["21"]


async def test_history_is_told_once(clock: ManualClock) -> None:
    """Finished versions that polling neither tracks nor asks for are not told again; they still count as present."""
    cloud = busy()
    cloud.history(3)
    harness = Harness(cloud, clock)

    first, second, third = await harness.poll(), await harness.poll(), await harness.poll()

    assert len(first.jobs) == 5
    assert set(by_id(second)) == set(by_id(third)) == {"11", "21"}
    assert (await harness.source.sweep(harness.known)).gone == frozenset()


async def test_a_version_runs_on_with_the_listing(cloud: FakeV1, clock: ManualClock) -> None:
    """Status and duration follow the listing; the end is derived where nobody tells it."""
    harness = Harness(cloud, clock)
    await harness.poll()
    version = cloud.job(10).versions[0]

    version.duration = 530_000
    running = by_id(await harness.poll())["11"]
    version.status, version.duration = 11, 560_000
    failed = by_id(await harness.poll())["11"]

    assert (running.run_duration_s, running.ended_at) == (530.0, None)
    assert (failed.status, failed.reason) == (JobStatus.FAILED, "FAILED")
    assert failed.ended_at == NOW_MS / 1000 - 500 + 560


async def test_a_finished_version_is_asked_once_more_for_its_quality(cloud: FakeV1, clock: ManualClock) -> None:
    """The totals of a model come at the end; one call after it brings them, and no further one."""
    harness = Harness(cloud, clock)
    await harness.poll()
    version = cloud.job(10).versions[0]
    version.status = 10
    version.extra["model_metric_list"] = {"total_metric": {"total_metric_values": {"recall": 0.5}}}

    ended = by_id(await harness.poll())["11"]
    after = await harness.calls(harness.poll)

    assert ended.quality == {"recall": 0.5}
    assert "v1_get_version" not in after
    assert "v1_list_versions" not in after


async def test_a_version_that_starts_is_asked_for_its_start(clock: ManualClock) -> None:
    """The job list knows no start, so a changed status there costs one versions call."""
    cloud = busy()
    cloud.overview = None
    harness = Harness(cloud, clock)
    await harness.poll()
    version = cloud.job(20).versions[0]
    version.status, version.start, version.duration = 8, NOW_MS - 1000, 1000

    started = by_id(await harness.poll())["21"]

    assert started.started_at == NOW_MS / 1000 - 1
    assert started.queue_duration_s == 599.0  # submitted 600 s ago, started 1 s ago


async def test_a_version_that_came_and_ended_between_two_looks(cloud: FakeV1, clock: ManualClock) -> None:
    """It is news, so it is told in full although it is over."""
    harness = Harness(cloud, clock)
    await harness.poll()
    cloud.jobs.append(Job(id=30, name="quick", user="eve", versions=[Version(id=31, status=10, duration=9_000)]))

    quick = by_id(await harness.poll())["31"]

    assert (quick.user, quick.spec_nodes, quick.ended_at) == ("eve", 1, NOW_MS / 1000 - 500 + 9)


async def test_the_first_look_asks_what_may_have_ended_lately(clock: ManualClock) -> None:
    """The job list does not say when a version ended: what can have ended today is asked for, older ones not."""
    day_ms = 86_400_000
    cloud = busy()
    cloud.overview = None
    late = Version(
        id=31, status=10, create=NOW_MS - 2 * day_ms, start=NOW_MS - 2 * day_ms, duration=2 * day_ms - 1000
    )
    old = Version(id=41, status=10, create=NOW_MS - 2 * day_ms, start=NOW_MS - 2 * day_ms, duration=1000)
    cloud.jobs += [Job(id=30, name="late", versions=[late]), Job(id=40, name="old", versions=[old])]
    harness = Harness(cloud, clock)

    found = by_id(await harness.poll())

    assert found["31"].ended_at == NOW_MS / 1000 - 1
    assert (found["41"].status, found["41"].ended_at) == (JobStatus.COMPLETED, None)
    assert harness.cloud.counts["v1_list_versions"] == 3  # two active versions, and the late one


async def test_newcomers_are_taken_in_over_several_looks(cloud: FakeV1, clock: ManualClock) -> None:
    """One look asks for at most 50 records; the rest are told by the listing until it is their turn."""
    cloud.jobs = [
        Job(id=1000 + at, name=f"job-{at:03d}", versions=[Version(id=1000 + at)])
        for at in range(RECORDS_PER_POLL + 5)
    ]
    harness = Harness(cloud, clock)

    first, second = await harness.poll(), await harness.poll()

    assert sum(job.spec_nodes is None for job in first.jobs) == 5
    assert all(job.status is JobStatus.RUNNING for job in first.jobs)
    assert all(job.spec_nodes == 1 for job in second.jobs)
    assert first.failures == second.failures == ()


async def test_deleted_versions_are_confirmed_before_they_are_gone(cloud: FakeV1, clock: ManualClock) -> None:
    """A version missing from the listing is asked for by itself; refused as well, it is gone."""
    harness = Harness(cloud, clock)
    await harness.poll()
    cloud.jobs.remove(cloud.job(20))
    cloud.calls.clear()

    result = await harness.poll()

    assert result.gone == {"21"}
    assert result.failures == ()
    assert ("v1_get_version", {"job_id": "20", "version_id": "21"}) in cloud.calls


async def test_a_version_that_is_only_not_listed_is_told_by_its_record(clock: ManualClock) -> None:
    """A listing that shifts may miss a version; its record says that it is there, and how it fares."""
    cloud = busy()
    harness = Harness(cloud, clock)
    await harness.poll()
    cloud.job(20).workspace = "elsewhere"  # not listed, and still there

    result = await harness.poll()

    assert by_id(result)["21"].status is JobStatus.QUEUED
    assert by_id(result)["21"].user == "lin"
    assert result.gone == frozenset()


async def test_nothing_is_gone_while_its_workspace_does_not_answer(cloud: FakeV1, clock: ManualClock) -> None:
    """A workspace that fails keeps its jobs; the other workspace is told all the same."""
    cloud.job(20).workspace = "w1"
    harness = Harness(cloud, clock, workspaces=("0", "w1"))
    await harness.poll()

    def broken(params: Any) -> CloudError | None:
        return ServerError("list", "down", status=502) if params["workspace_id"] == "w1" else None

    cloud.errors = {"v1_list_overview": broken, "v1_list_jobs": broken}
    cloud.calls.clear()
    result = await harness.poll()

    assert set(by_id(result)) == {"11"}
    assert result.gone == frozenset()
    assert [failure.outcome for failure in result.failures] == ["server_error"]
    assert "v1_get_version" not in cloud.counts


async def test_each_workspace_is_listed(cloud: FakeV1, clock: ManualClock) -> None:
    """Trap 4: workspace "0" is the default one only; a version carries the workspace it was listed in."""
    cloud.job(20).workspace = "w1"

    found = by_id(await Harness(cloud, clock, workspaces=("0", "w1")).poll())

    assert (found["11"].workspace_id, found["21"].workspace_id) == ("0", "w1")


@pytest.mark.parametrize(
    "error",
    [Unreachable("list", "no answer"), Denied("list", "no", status=403), CircuitOpen("list", "not sent")],
    ids=["unreachable", "denied", "circuit_open"],
)
async def test_a_look_that_learns_nothing_raises(cloud: FakeV1, clock: ManualClock, error: CloudError) -> None:
    """Nothing was answered: that is a failure, and no empty project."""
    cloud.errors = {"v1_list_overview": error, "v1_list_jobs": error}

    with pytest.raises(SourceError):
        await Harness(cloud, clock, workspaces=("0", "w1")).poll()


@pytest.mark.parametrize(
    "error, params",
    [(Denied("list", "no", status=401), 1), (CircuitOpen("list", "held"), 1), (Denied("list", "no", status=403), 2)],
    ids=["bad credential", "circuit_open", "forbidden"],
)
async def test_a_bad_credential_is_not_tried_on_every_workspace(
    clock: ManualClock, error: CloudError, params: int
) -> None:
    """Trap 34: refused signatures lock a key, so the next workspace is not asked; a 403 may be about one of them."""
    harness = Harness(busy(), clock, workspaces=("0", "w1"))
    harness.cloud.errors = {"v1_list_overview": error}

    with pytest.raises(SourceError):
        await harness.poll()

    assert harness.cloud.counts == {"v1_list_overview": params}


@pytest.mark.parametrize(
    "refusal",
    [
        Unsupported("v1_list_overview", "no such API", status=404, code="APIG.0101"),
        Refused("v1_list_overview", "job id versions is not a number", status=400),
        Refused("v1_list_overview", "parameter is not valid", status=200, code="ModelArts.0104"),
        Gone("v1_list_overview", "no such job", status=400, code="ModelArts.2775"),
    ],
    ids=["404", "routed as a job", "in-band", "job not found"],
)
async def test_a_missing_overview_is_tried_again_after_hours(clock: ManualClock, refusal: CloudError) -> None:
    """Trap 5: the list stands in, the overview is not asked at every look, and is used once it is there."""
    harness = Harness(busy(), clock)
    harness.cloud.errors = {"v1_list_overview": refusal}

    assert set(by_id(await harness.poll())) == {"11", "21"}
    meanwhile = await harness.calls(harness.poll)
    harness.cloud.errors = {}
    clock.turn(OVERVIEW_RETRY_S)
    again = await harness.calls(harness.poll)

    assert meanwhile == {"v1_list_jobs": 1}
    assert again == {"v1_list_overview": 1}


async def test_an_outage_of_everything_is_no_missing_overview(clock: ManualClock) -> None:
    """When the list is refused too, nothing says that the overview is missing: it is asked again within minutes."""
    harness = Harness(busy(), clock)
    refusal = Unsupported("v1", "no such API", status=404, code="APIG.0101")
    harness.cloud.errors = {"v1_list_overview": refusal, "v1_list_jobs": refusal}
    with pytest.raises(SourceError):
        await harness.poll()
    harness.cloud.errors = {}
    clock.turn(OUTAGE_RETRY_S)

    assert (await harness.calls(harness.poll))["v1_list_overview"] == 1


async def test_switching_between_overview_and_list_changes_nothing(clock: ManualClock) -> None:
    """The same versions, told by either way, are equal jobs."""
    harness = Harness(busy(), clock)
    overview = by_id(await harness.poll())
    harness.cloud.overview = None

    assert by_id(await harness.poll()) == overview


async def test_a_workspace_that_refuses_is_no_missing_overview(clock: ManualClock) -> None:
    """Where one workspace is listed the call exists; the other one's refusal is a failure."""
    harness = Harness(busy(), clock, workspaces=("0", "w1"))

    def picky(params: Any) -> CloudError | None:
        return Refused("v1_list_overview", "workspace", status=400) if params["workspace_id"] == "w1" else None

    harness.cloud.errors = {"v1_list_overview": picky}
    result = await harness.poll()

    assert set(by_id(result)) == {"11", "21"}
    assert [failure.outcome for failure in result.failures] == ["refused"]
    assert all(params["workspace_id"] == "0" for name, params in harness.cloud.calls if name == "v1_list_jobs")


async def test_every_version_of_a_job_that_changed_is_told(clock: ManualClock) -> None:
    """Trap 27: the list names one version a job; the versions call finds the others, which are then followed."""
    cloud = FakeV1(
        Job(id=10, name="twice", versions=[Version(id=11, create=NOW_MS - 900_000), Version(id=12)]), overview=None
    )
    harness = Harness(cloud, clock)

    first = by_id(await harness.poll())
    cloud.job(10).versions[0].status = 12
    second = by_id(await harness.poll())

    assert (first["11"].version, first["12"].version) == ("V0001", "V0002")
    assert (first["11"].status, second["11"].status) == (JobStatus.RUNNING, JobStatus.TERMINATED)
    assert second["11"].user == "ada"


async def test_an_older_version_finds_its_job_by_the_versions_call(clock: ManualClock) -> None:
    """Trap 27: the overview names version 11, which is not the newest of its job: the job's versions map it."""
    cloud = busy()
    cloud.job(10).versions.append(Version(id=12, status=7, start=None))
    long_ago = NOW_MS - 3 * 86_400_000
    cloud.jobs += [
        Job(id=job_id, name=name, versions=[Version(id=job_id + n, status=10, start=long_ago) for n in (1, 2)])
        for job_id, name in ((40, "other"), (5, "earlier"))
    ]
    harness = Harness(cloud, clock)

    found = by_id(await harness.poll())

    assert (found["11"].user, found["11"].version) == ("ada", "V0001")
    assert [params["job_id"] for name, params in cloud.calls if name == "v1_list_versions"] == ["10"]


async def test_a_version_of_no_job_is_not_looked_for_at_every_look(clock: ManualClock) -> None:
    """It is told by the overview alone, and looked for again after an hour."""
    cloud = busy()
    harness = Harness(cloud, clock)
    hidden = cloud._v1_list_jobs

    def without_bert(params: Any) -> dict[str, Any]:
        found = hidden(params)
        rows = [row for row in found["jobs"] if row["job_name"] != "bert"]
        return found | {"jobs": rows, "job_total_count": len(rows)}

    cloud._v1_list_jobs = without_bert  # type: ignore[method-assign]
    first = await harness.poll()
    quiet = await harness.calls(harness.poll)
    clock.turn(3600)
    later = await harness.calls(harness.poll)

    assert by_id(first)["21"].user == ""
    assert by_id(first)["21"].name == "bert"  # the overview's display text
    assert quiet == {"v1_list_overview": 1}
    assert later == {"v1_list_overview": 1, "v1_list_jobs": 1}


async def test_a_record_that_fails_leaves_the_version_told_by_its_listing(cloud: FakeV1, clock: ManualClock) -> None:
    """A cloud that is down for records is not asked for each of them, and the next look tries again."""
    cloud.errors = {
        "v1_get_version": ServerError("v", "down", status=502),
        "v1_list_versions": ServerError("v", "down"),
    }
    harness = Harness(cloud, clock)

    first = await harness.poll()
    params = cloud.counts["v1_get_version"] + cloud.counts["v1_list_versions"]
    cloud.errors = {}
    second = await harness.poll()

    assert {job.status for job in first.jobs} == {JobStatus.RUNNING, JobStatus.QUEUED}
    assert {failure.outcome for failure in first.failures} == {"server_error"}
    assert params <= 3
    assert {job.spec_nodes for job in second.jobs} == {3, 1}
    assert second.failures == ()


async def test_a_refused_record_is_left_to_the_next_look_and_then_to_the_next_hour(clock: ManualClock) -> None:
    """Once may be a deletion under way; twice is a failure, and is not repeated at every look."""
    harness = Harness(busy(), clock)
    await harness.poll()
    harness.cloud.jobs.append(Job(id=30, name="odd", versions=[Version(id=31)]))

    def refusing(params: Any) -> CloudError | None:
        return Refused("v1_get_version", "no", status=400) if params["version_id"] == "31" else None

    harness.cloud.errors = {"v1_get_version": refusing}
    first, second = await harness.poll(), await harness.poll()
    third = await harness.calls(harness.poll)
    clock.turn(3600)
    fourth = await harness.calls(harness.poll)

    assert first.failures == ()
    assert [failure.outcome for failure in second.failures] == ["refused"]
    assert third == {"v1_list_overview": 1}
    assert fourth == {"v1_list_overview": 1, "v1_get_version": 1}


async def test_a_records_call_that_does_not_exist_is_tried_once_a_look(clock: ManualClock) -> None:
    """Where no record ever came, a 404 is about the call: asking for 50 versions would bring 50 of them."""
    cloud = busy()
    cloud.jobs += [Job(id=100 + at, name=f"j{at}", versions=[Version(id=100 + at)]) for at in range(30)]
    cloud.errors = {"v1_get_version": Unsupported("v1_get_version", "no such API", status=404)}
    harness = Harness(cloud, clock)

    result = await harness.poll()

    assert len(result.jobs) == 32
    assert {failure.outcome for failure in result.failures} == {"unsupported"}
    assert cloud.counts["v1_get_version"] <= 3


async def test_a_job_list_that_fails_leaves_the_overview_standing(clock: ManualClock) -> None:
    """Versions are told without user and nodes, and the failure is told as well."""
    harness = Harness(busy(), clock)
    harness.cloud.errors = {"v1_list_jobs": Unreachable("v1_list_jobs", "no answer")}

    result = await harness.poll()

    assert {job.name for job in result.jobs} == {"resnet", "bert"}
    assert [failure.outcome for failure in result.failures] == ["unreachable"]


async def test_a_look_is_back_in_time(clock: ManualClock) -> None:
    """After `answer_by` nothing is asked one by one: records wait silently, endings not asked about are a failure."""
    harness = Harness(busy(), clock)
    await harness.poll()
    harness.cloud.jobs = [Job(id=30, name="new", versions=[Version(id=31)])]

    def slow(_asked: Any) -> CloudError | None:
        clock.turn(10)
        return None

    harness.cloud.errors = {"v1_list_jobs": slow}
    result = await harness.poll(answer_by=clock.monotonic() + 5)

    assert set(by_id(result)) == {"31"}
    assert result.gone == frozenset()
    assert [str(failure) for failure in result.failures] == [
        "v1_get_version: unreachable: 2 requests not sent: no time left in this poll"
    ]


async def test_workspaces_that_could_not_be_listed_in_time_are_a_failure(cloud: FakeV1, clock: ManualClock) -> None:
    """Their jobs stay as they were; nothing of them is gone."""
    cloud.job(20).workspace = "w1"
    harness = Harness(cloud, clock, workspaces=("0", "w1"))
    await harness.poll()

    def slow(_asked: Any) -> CloudError | None:
        clock.turn(10)
        return None

    cloud.errors = {"v1_list_overview": slow, "v1_list_jobs": slow}
    if cloud.overview is None:
        cloud.errors.pop("v1_list_overview")
    result = await harness.poll(answer_by=clock.monotonic() + 5)

    assert set(by_id(result)) == {"11"}
    assert result.gone == frozenset()
    assert [failure.outcome for failure in result.failures] == ["unreachable"]


@pytest.mark.parametrize("counts, truth", [("total", "per_node"), ("per_node", "total")], ids=["per node", "per job"])
async def test_records_decide_what_the_overview_counts(
    clock: ManualClock, counts: Literal["total", "per_node"], truth: str
) -> None:
    """Trap 24: 2 cards on 3 nodes, told as 2 or as 6: from then on rows without a record are read accordingly."""
    cloud = busy()
    cloud.overview = truth
    cloud.history(1)
    harness = Harness(cloud, clock, overview_counts=counts)

    found = by_id(await harness.poll())

    assert found["11"].spec_accelerators == 6.0
    assert found["100000"].spec_accelerators == (None if truth == "per_node" else 2.0)
    assert harness.notes.fields == ["v1.overview.gpu_num"]


async def test_one_node_decides_nothing(clock: ManualClock) -> None:
    """With one node both readings are the same number, so the setting stands."""
    cloud = FakeV1(Job(id=10, name="one", versions=[Version(id=11)]))
    cloud.history(1)
    harness = Harness(cloud, clock, overview_counts="per_node")

    found = by_id(await harness.poll())

    assert found["100000"].spec_accelerators is None
    assert harness.notes.noted == []


async def test_a_sweep_finds_deleted_history(cloud: FakeV1, clock: ManualClock) -> None:
    """A finished version that is still tracked is gone when neither listing nor record have it any more."""
    cloud.jobs += [Job(id=30, name="done", versions=[Version(id=31, status=10)])]
    harness = Harness(cloud, clock)
    await harness.poll()
    await harness.poll()
    cloud.jobs = [job for job in cloud.jobs if job.id != 30]

    assert (await harness.poll()).gone == frozenset()  # a look asks about unfinished ones only
    result = await harness.source.sweep(harness.known)

    assert result.gone == {"31"}
    assert set(by_id(result)) == {"11", "21"}


async def test_usage_is_read_from_the_versions_record(cloud: FakeV1, clock: ManualClock) -> None:
    """Trap 27: the address names the job as well as the version; the minutes are ratios."""
    cloud.job(10).versions[0].extra["system_metric_list"] = json.dumps(USAGE)
    harness = Harness(cloud, clock)
    job = by_id(await harness.poll())["11"]
    cloud.calls.clear()

    series = await harness.source.usage(job, "")

    assert series is not None
    assert list(series.accelerator) == [None, 0.75]
    assert cloud.calls == [("v1_get_version", {"job_id": "10", "version_id": "11"})]


async def test_usage_that_is_not_there_yet_is_none(cloud: FakeV1, clock: ManualClock) -> None:
    """A record without minutes is no failure."""
    harness = Harness(cloud, clock)
    job = by_id(await harness.poll())["11"]

    assert await harness.source.usage(job, "") is None


async def test_usage_brings_the_quality_of_a_running_model(cloud: FakeV1, clock: ManualClock) -> None:
    """The record that usage asks for anyway is told at the next look, at no further call."""
    harness = Harness(cloud, clock)
    job = by_id(await harness.poll())["11"]
    metrics = {"total_metric": {"total_metric_values": {"accuracy": 0.25}}}
    cloud.job(10).versions[0].extra["model_metric_list"] = metrics

    await harness.source.usage(job, "")
    cloud.calls.clear()
    found = by_id(await harness.poll())["11"]

    assert found.quality == {"accuracy": 0.25}
    assert "v1_get_version" not in cloud.counts
    assert "v1_list_versions" not in cloud.counts


async def test_usage_of_a_version_whose_job_is_not_known(clock: ManualClock) -> None:
    """The job is looked for; a version of no job has no usage, and that is noted."""
    cloud = busy(system_metric_list=USAGE)
    harness = Harness(cloud, clock)
    stranger = DomainJob(job_id="11", api=Api.V1, workspace_id="0")

    assert await harness.source.usage(stranger, "") is not None
    assert await harness.source.usage(replace(stranger, job_id="99"), "") is None
    assert harness.notes.noted == [("v1.version_id", "a version of no job")]


async def test_usage_of_a_deleted_version_is_gone_until_a_look_says_otherwise(clock: ManualClock) -> None:
    """The first refusal is taken for a deletion; once a look has still listed the version, the refusal is told."""
    harness = Harness(busy(), clock)
    job = by_id(await harness.poll())["11"]
    harness.cloud.errors = {"v1_get_version": Refused("v1_get_version", "no", status=200, code="ModelArts.0105")}

    with pytest.raises(Gone):
        await harness.source.usage(job, "")
    await harness.poll()
    with pytest.raises(Refused) as refused:
        await harness.source.usage(job, "")
    assert not isinstance(refused.value, Gone)


async def test_an_answer_about_another_version_is_not_believed(clock: ManualClock) -> None:
    """A record whose id is not the one asked for is not taken for it."""
    cloud = busy(version_id=99)
    harness = Harness(cloud, clock)

    result = await harness.poll()

    assert by_id(result)["11"].spec_nodes is None
    assert "99" not in by_id(result)
    assert [failure.outcome for failure in result.failures] == ["invalid_response"]
    with pytest.raises(InvalidResponse):
        await harness.source.usage(by_id(result)["11"], "")


async def test_where_there_are_no_records_the_versions_are_asked(clock: ManualClock) -> None:
    """A 404 for the first record ever asked for is about the call: the versions call decides what became of it."""
    cloud = FakeV1(
        Job(id=10, name="twice", versions=[Version(id=11), Version(id=12)]),
        Job(id=20, name="once", versions=[Version(id=21), Version(id=22)]),
        overview=None,
    )
    cloud.errors = {"v1_get_version": Unsupported("v1_get_version", "no such API", status=404)}
    harness = Harness(cloud, clock)
    await harness.poll()
    del cloud.job(20).versions[0]

    result = await harness.poll()

    assert set(by_id(result)) == {"11", "12", "22"}
    assert result.gone == {"21"}
    assert result.failures == ()


async def test_a_confirmation_that_fails_decides_nothing(cloud: FakeV1, clock: ManualClock) -> None:
    """A version that is missing from the listing and cannot be asked about is neither told nor gone."""
    harness = Harness(cloud, clock)
    await harness.poll()
    job = by_id(await harness.poll())["21"]
    await harness.source.usage(job, "")
    cloud.jobs.remove(cloud.job(20))
    cloud.errors = {"v1_get_version": ServerError("v1_get_version", "down", status=502)}

    result = await harness.poll()

    assert set(by_id(result)) == {"11"}
    assert result.gone == frozenset()
    assert "server_error" in {failure.outcome for failure in result.failures}


async def test_a_deleted_version_that_nobody_can_map(clock: ManualClock) -> None:
    """The whole overview does not name it and no job has it: gone. With the job list alone that would be a guess."""
    for overview, gone in (("total", {"99"}), (None, set[str]())):
        cloud = busy()
        cloud.overview = overview
        harness = Harness(cloud, clock)
        stranger = DomainJob(job_id="99", api=Api.V1, workspace_id="0", status=JobStatus.RUNNING)
        harness.known = TrackedState(unfinished={"99": stranger}, tracked={"99": stranger}, bootstrapping=False)

        result = await harness.poll()

        assert result.gone == gone
        assert result.failures == ()


async def test_a_mapping_that_fails_decides_nothing(clock: ManualClock) -> None:
    """While the job list does not answer, nothing unmapped is gone."""
    harness = Harness(busy(), clock)
    stranger = DomainJob(job_id="99", api=Api.V1, workspace_id="0", status=JobStatus.RUNNING)
    harness.known = TrackedState(unfinished={"99": stranger}, tracked={"99": stranger}, bootstrapping=False)
    harness.cloud.errors = {"v1_list_jobs": Unreachable("v1_list_jobs", "no answer")}

    result = await harness.poll()

    assert result.gone == frozenset()
    assert {failure.outcome for failure in result.failures} == {"unreachable"}


async def test_a_job_of_a_workspace_that_is_no_longer_listed(clock: ManualClock) -> None:
    """It is asked about by itself as long as it lives, since nobody said that it ended."""
    cloud = busy()
    cloud.job(20).workspace = "w1"
    harness = Harness(cloud, clock, workspaces=("0", "w1"))
    await harness.poll()
    known = harness.known

    fewer = Harness(cloud, clock)
    fewer.known = known
    result = await fewer.poll()

    assert by_id(result)["21"].status is JobStatus.QUEUED
    assert by_id(result)["21"].workspace_id == "w1"
    cloud.jobs.remove(cloud.job(20))
    assert (await fewer.poll()).gone == {"21"}


async def test_bad_rows_cost_themselves(cloud: FakeV1, clock: ManualClock) -> None:
    """Items that are no rows, or have no version or job, are skipped and noted; the rest is told."""
    overview, jobs, versions = cloud._v1_list_overview, cloud._v1_list_jobs, cloud._v1_list_versions
    odd = [17, {"version_id": None}, {"job_id": 1, "version_id": {}}]

    def with_odd(found: dict[str, Any], name: str, count: str) -> dict[str, Any]:
        return found | {name: [*odd, *found[name]], count: found[count] + len(odd)}

    cloud._v1_list_overview = lambda params: with_odd(overview(params), "versions", "total_count")  # type: ignore[method-assign]
    cloud._v1_list_jobs = lambda params: with_odd(jobs(params), "jobs", "job_total_count")  # type: ignore[method-assign]
    cloud._v1_list_versions = lambda params: with_odd(versions(params), "versions", "version_count")  # type: ignore[method-assign]
    harness = Harness(cloud, clock)

    result = await harness.poll()

    assert set(by_id(result)) == {"11", "21"}
    assert result.failures == ()
    assert {"v1.versions", "v1.version_id"} & set(harness.notes.fields)


async def test_a_row_without_a_job_is_told_without_a_record(clock: ManualClock) -> None:
    """A version whose job has no id cannot be asked about; what its row says is told."""
    cloud = busy()
    cloud.overview = None
    jobs = cloud._v1_list_jobs

    def nameless(params: Any) -> dict[str, Any]:
        found = jobs(params)
        return found | {
            "jobs": [row | {"job_id": None} if row["job_name"] == "bert" else row for row in found["jobs"]]
        }

    cloud._v1_list_jobs = nameless  # type: ignore[method-assign]
    harness = Harness(cloud, clock)

    found = by_id(await harness.poll())

    assert (found["21"].status, found["21"].spec_nodes) == (JobStatus.QUEUED, None)
    assert found["11"].spec_nodes == 3
    assert "v1.job_id" in harness.notes.fields


async def test_many_rows_leave_others_their_turn(clock: ManualClock) -> None:
    """A long listing is worked through in pieces, so that a scrape is answered meanwhile."""
    cloud = busy()
    cloud.history(1000)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await asyncio.sleep(0)
    begun = turns
    await Harness(cloud, clock).poll()
    task.cancel()

    assert turns - begun >= 4  # 1002 rows, a pause after each 250


async def test_a_failing_list_of_one_workspace_leaves_the_other(clock: ManualClock) -> None:
    """Without an overview too, a refused credential ends the walk, and any other failure does not."""
    cloud = busy()
    cloud.overview = None
    cloud.job(20).workspace = "w1"

    def first_fails(params: Any) -> CloudError | None:
        return ServerError("v1_list_jobs", "down", status=502) if params["workspace_id"] == "0" else None

    cloud.errors = {"v1_list_jobs": first_fails}
    result = await Harness(cloud, clock, workspaces=("0", "w1")).poll()
    assert set(by_id(result)) == {"21"}

    cloud.errors = {"v1_list_jobs": Denied("v1_list_jobs", "no", status=401)}
    cloud.calls.clear()
    with pytest.raises(Denied):
        await Harness(cloud, clock, workspaces=("0", "w1")).poll()
    assert cloud.counts["v1_list_jobs"] == 1


@pytest.mark.parametrize(
    "hours_ago, user", [pytest.param(1, "ada", id="lately"), pytest.param(48, "", id="long-ago")]
)
async def test_the_first_look_names_who_failed_lately(clock: ManualClock, hours_ago: int, user: str) -> None:
    """A version that ended shortly before the start has its user, for it may page; old history is not asked."""
    cloud = busy()
    ended_ms = NOW_MS - hours_ago * 3_600_000
    version = Version(id=91, status=11, create=ended_ms - 60_000, start=ended_ms - 50_000, duration=50_000)
    cloud.jobs.append(Job(id=90, name="failed", versions=[version]))

    found = by_id(await Harness(cloud, clock).poll())

    assert found["91"].user == user
