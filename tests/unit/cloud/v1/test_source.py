import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from tests.unit.cloud.odd_values import among, odd_rows
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v1.fake_cloud import NOW_MS, FakeV1, Job, Version

USAGE = {"cpuUsage": ["0", "50.00"], "memUsage": ["0", "40.00"], "gpuUtil": ["0", "75.00"]}


class Harness:
    """A v1 source with a fake cloud, and the state that polling keeps."""

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
        """Poll, and store the result; finished versions are tracked for a day after their end."""
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
        """Count the calls of an action."""
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
    """It implements the protocol for v1, and has one unnamed task per version."""
    source: JobSource = Harness(busy(), clock).source

    assert source.api is Api.V1
    assert source.tasks(DomainJob(job_id="11", api=Api.V1)) == ("",)
    assert repr(source) == "V1Source('p')"


async def test_a_poll_returns_every_field_of_active_versions(cloud: FakeV1, clock: ManualClock) -> None:
    """By overview and records, or by list and versions: names, users, nodes and cards are complete at once."""
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
        parent_job_id="10",
        kind="job",
        status=JobStatus.RUNNING,
        reason="running",
        submitted_at=NOW_MS / 1000 - 600,
        started_at=NOW_MS / 1000 - 500,
        run_duration_s=500.0,
        spec_nodes=3,
        spec_accelerators=6.0,  # 2 a node, 3 nodes
    )
    assert (waiting.user, waiting.status, waiting.started_at) == ("lin", JobStatus.QUEUED, None)
    assert waiting.run_duration_s is None


async def test_the_calls_of_a_poll_without_changes(clock: ManualClock) -> None:
    """First: overview, one page of the job list, a record for each version; after that only the overview."""
    harness = Harness(busy(), clock)

    first = await harness.calls(harness.poll)
    second = await harness.calls(harness.poll)

    assert first == {"v1_list_overview": 1, "v1_list_jobs": 1, "v1_get_version": 2}
    assert second == {"v1_list_overview": 1}


async def test_parameters_go_into_the_query(clock: ManualClock) -> None:
    """Traps 2, 4, 5, 6 and 7: limit=0 without offset, 1000 a page from page 1, the workspace, no sort."""
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
async def test_history_adds_no_calls_with_the_overview(history: int, clock: ManualClock) -> None:
    """Trap 40: finished versions stay in the list for ever, and none of them is requested by itself."""
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
async def test_history_adds_only_pages_of_the_job_list(history: int, clock: ManualClock) -> None:
    """Without an overview, such a poll is the job list, 1000 rows a page: 12 jobs are 1 call, 10 002 are 11."""
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
    """An unchanged version is returned as the same object, so that it is not rendered again."""
    harness = Harness(cloud, clock)
    await harness.poll()

    second, third = by_id(await harness.poll()), by_id(await harness.poll())

    assert second["11"] is third["11"]
    assert second["21"] is third["21"]


async def test_history_is_returned_once(clock: ManualClock) -> None:
    """Finished versions that are not tracked are returned only once; they still count as present."""
    cloud = busy()
    cloud.history(3)
    harness = Harness(cloud, clock)

    first, second, third = await harness.poll(), await harness.poll(), await harness.poll()

    assert len(first.jobs) == 5
    assert set(by_id(second)) == set(by_id(third)) == {"11", "21"}
    assert (await harness.source.sweep(harness.known)).gone == frozenset()


async def test_status_and_duration_follow_the_listing(cloud: FakeV1, clock: ManualClock) -> None:
    """The end is derived where no response contains it."""
    harness = Harness(cloud, clock)
    await harness.poll()
    version = cloud.job(10).versions[0]

    version.duration = 530_000
    running = by_id(await harness.poll())["11"]
    version.status, version.duration = 11, 560_000
    failed = by_id(await harness.poll())["11"]

    assert (running.run_duration_s, running.ended_at) == (530.0, None)
    assert (failed.status, failed.reason) == (JobStatus.FAILED, "failed")
    assert failed.ended_at == NOW_MS / 1000 - 500 + 560


async def test_a_finished_version_is_requested_once_more_for_its_quality(cloud: FakeV1, clock: ManualClock) -> None:
    """Model totals exist after the end: one more call reads them."""
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


async def test_a_version_that_starts_is_requested_for_its_start(clock: ManualClock) -> None:
    """The job list has no start, so a changed status costs one versions call."""
    cloud = busy()
    cloud.overview = None
    harness = Harness(cloud, clock)
    await harness.poll()
    version = cloud.job(20).versions[0]
    version.status, version.start, version.duration = 8, NOW_MS - 1000, 1000

    started = by_id(await harness.poll())["21"]

    assert started.started_at == NOW_MS / 1000 - 1
    assert started.queue_duration_s == 599.0  # submitted 600 s ago, started 1 s ago


async def test_a_version_that_began_and_ended_between_two_polls(cloud: FakeV1, clock: ManualClock) -> None:
    """It is new, so it is returned with all fields although it is finished."""
    harness = Harness(cloud, clock)
    await harness.poll()
    cloud.jobs.append(Job(id=30, name="quick", user="eve", versions=[Version(id=31, status=10, duration=9_000)]))

    quick = by_id(await harness.poll())["31"]

    assert (quick.user, quick.spec_nodes, quick.ended_at) == ("eve", 1, NOW_MS / 1000 - 500 + 9)


async def test_the_first_poll_requests_what_may_have_ended_recently(clock: ManualClock) -> None:
    """The job list has no end times: versions that may have ended today are requested, older ones are not."""
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


async def test_new_versions_are_read_over_several_polls(cloud: FakeV1, clock: ManualClock) -> None:
    """One poll requests at most 50 records; the other versions have only their listed fields until later."""
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


async def test_a_deleted_version_is_confirmed_before_it_is_gone(cloud: FakeV1, clock: ManualClock) -> None:
    """A version that is not listed is requested by itself; if it is refused, it is gone."""
    harness = Harness(cloud, clock)
    await harness.poll()
    cloud.jobs.remove(cloud.job(20))
    cloud.calls.clear()

    result = await harness.poll()

    assert result.gone == {"21"}
    assert result.failures == ()
    assert ("v1_get_version", {"job_id": "20", "version_id": "21"}) in cloud.calls


async def test_an_unlisted_version_is_read_from_its_record(clock: ManualClock) -> None:
    """A listing that shifts may lack a version; its record proves that it exists, and has its status."""
    cloud = busy()
    harness = Harness(cloud, clock)
    await harness.poll()
    cloud.job(20).workspace = "elsewhere"  # not listed, and still there

    result = await harness.poll()

    assert by_id(result)["21"].status is JobStatus.QUEUED
    assert by_id(result)["21"].user == "lin"
    assert result.gone == frozenset()


async def test_nothing_is_gone_while_its_workspace_fails(cloud: FakeV1, clock: ManualClock) -> None:
    """A workspace that fails keeps its jobs; the other workspace is complete."""
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
    """Trap 4: workspace "0" is only the default one; a version has the workspace in which it was listed."""
    cloud.job(20).workspace = "w1"

    found = by_id(await Harness(cloud, clock, workspaces=("0", "w1")).poll())

    assert (found["11"].workspace_id, found["21"].workspace_id) == ("0", "w1")


@pytest.mark.parametrize(
    "error",
    [Unreachable("list", "no response"), Denied("list", "no", status=403), CircuitOpen("list", "not sent")],
    ids=["unreachable", "denied", "circuit_open"],
)
async def test_a_poll_without_an_answer_raises(cloud: FakeV1, clock: ManualClock, error: CloudError) -> None:
    """If no request succeeds, the poll fails; the project is not empty."""
    cloud.errors = {"v1_list_overview": error, "v1_list_jobs": error}

    with pytest.raises(SourceError):
        await Harness(cloud, clock, workspaces=("0", "w1")).poll()


@pytest.mark.parametrize(
    "error, params",
    [(Denied("list", "no", status=401), 1), (CircuitOpen("list", "held"), 1), (Denied("list", "no", status=403), 2)],
    ids=["bad credential", "circuit_open", "forbidden"],
)
async def test_a_rejected_credential_is_not_sent_for_every_workspace(
    clock: ManualClock, error: CloudError, params: int
) -> None:
    """Trap 34: rejected signatures lock a key, so the next workspace is not requested; a 403 may concern only one."""
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
async def test_a_missing_overview_is_requested_again_after_hours(clock: ManualClock, refusal: CloudError) -> None:
    """Trap 5: the job list replaces the overview, which is not requested in every poll, and used once it exists."""
    harness = Harness(busy(), clock)
    harness.cloud.errors = {"v1_list_overview": refusal}

    assert set(by_id(await harness.poll())) == {"11", "21"}
    meanwhile = await harness.calls(harness.poll)
    harness.cloud.errors = {}
    clock.turn(OVERVIEW_RETRY_S)
    again = await harness.calls(harness.poll)

    assert meanwhile == {"v1_list_jobs": 1}
    assert again == {"v1_list_overview": 1}


async def test_an_outage_is_not_a_missing_overview(clock: ManualClock) -> None:
    """If the list is refused too, the overview may exist: it is requested again within minutes."""
    harness = Harness(busy(), clock)
    refusal = Unsupported("v1", "no such API", status=404, code="APIG.0101")
    harness.cloud.errors = {"v1_list_overview": refusal, "v1_list_jobs": refusal}
    with pytest.raises(SourceError):
        await harness.poll()
    harness.cloud.errors = {}
    clock.turn(OUTAGE_RETRY_S)

    assert (await harness.calls(harness.poll))["v1_list_overview"] == 1


async def test_switching_between_overview_and_list_changes_nothing(clock: ManualClock) -> None:
    """The same versions, listed either way, are equal jobs."""
    harness = Harness(busy(), clock)
    overview = by_id(await harness.poll())
    harness.cloud.overview = None

    assert by_id(await harness.poll()) == overview


async def test_a_refused_workspace_is_not_a_missing_overview(clock: ManualClock) -> None:
    """If one workspace is listed, the call exists; the refusal of the other is a failure."""
    harness = Harness(busy(), clock, workspaces=("0", "w1"))

    def picky(params: Any) -> CloudError | None:
        return Refused("v1_list_overview", "workspace", status=400) if params["workspace_id"] == "w1" else None

    harness.cloud.errors = {"v1_list_overview": picky}
    result = await harness.poll()

    assert set(by_id(result)) == {"11", "21"}
    assert [failure.outcome for failure in result.failures] == ["refused"]
    assert all(params["workspace_id"] == "0" for name, params in harness.cloud.calls if name == "v1_list_jobs")


async def test_every_version_of_a_changed_job_is_returned(clock: ManualClock) -> None:
    """Trap 27: the list has one version per job; the versions call finds the others, which are then followed."""
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


async def test_the_job_of_an_older_version_is_found_by_the_versions_call(clock: ManualClock) -> None:
    """Trap 27: version 11 of the overview is not the newest of its job: the job's versions contain it."""
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


async def test_a_version_without_a_job_is_not_searched_in_every_poll(clock: ManualClock) -> None:
    """It has only its overview fields, and is searched again after an hour."""
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
    assert by_id(first)["21"].name == "bert"  # the overview's display name
    assert quiet == {"v1_list_overview": 1}
    assert later == {"v1_list_overview": 1, "v1_list_jobs": 1}


async def test_a_version_whose_record_fails_has_its_listed_fields(cloud: FakeV1, clock: ManualClock) -> None:
    """After one failed record no further ones are requested; the next poll tries again."""
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


async def test_a_refused_record_is_retried_in_the_next_poll_and_then_after_an_hour(clock: ManualClock) -> None:
    """The first refusal may be a deletion; the second is a failure, and is not repeated in every poll."""
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


async def test_a_missing_record_call_is_tried_once_per_poll(clock: ManualClock) -> None:
    """If no record was ever read, a 404 concerns the call: 50 requests would get 50 of them."""
    cloud = busy()
    cloud.jobs += [Job(id=100 + at, name=f"j{at}", versions=[Version(id=100 + at)]) for at in range(30)]
    cloud.errors = {"v1_get_version": Unsupported("v1_get_version", "no such API", status=404)}
    harness = Harness(cloud, clock)

    result = await harness.poll()

    assert len(result.jobs) == 32
    assert {failure.outcome for failure in result.failures} == {"unsupported"}
    assert cloud.counts["v1_get_version"] <= 3


async def test_a_failing_job_list_leaves_the_overview(clock: ManualClock) -> None:
    """Versions are returned without user and nodes, and the failure is reported."""
    harness = Harness(busy(), clock)
    harness.cloud.errors = {"v1_list_jobs": Unreachable("v1_list_jobs", "no response")}

    result = await harness.poll()

    assert {job.name for job in result.jobs} == {"resnet", "bert"}
    assert [failure.outcome for failure in result.failures] == ["unreachable"]


async def test_a_poll_ends_by_its_deadline(clock: ManualClock) -> None:
    """After `answer_by` no single request is sent: records wait, and endings not confirmed are a failure."""
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


async def test_workspaces_that_were_not_listed_in_time_are_a_failure(cloud: FakeV1, clock: ManualClock) -> None:
    """Their jobs are kept; none of them is gone."""
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
    """Trap 24: 2 cards on 3 nodes, listed as 2 or as 6: rows without a record are then read in the same way."""
    cloud = busy()
    cloud.overview = truth
    cloud.history(1)
    harness = Harness(cloud, clock, overview_counts=counts)

    found = by_id(await harness.poll())

    assert found["11"].spec_accelerators == 6.0
    assert found["100000"].spec_accelerators == (None if truth == "per_node" else 2.0)
    assert harness.notes.fields == ["v1.overview.gpu_num"]


async def test_a_version_on_one_node_decides_nothing(clock: ManualClock) -> None:
    """On one node both counts are equal, so the setting stays."""
    cloud = FakeV1(Job(id=10, name="one", versions=[Version(id=11)]))
    cloud.history(1)
    harness = Harness(cloud, clock, overview_counts="per_node")

    found = by_id(await harness.poll())

    assert found["100000"].spec_accelerators is None
    assert harness.notes.noted == []


async def test_a_sweep_finds_deleted_history(cloud: FakeV1, clock: ManualClock) -> None:
    """A finished tracked version is gone when neither the listing nor its record has it any more."""
    cloud.jobs += [Job(id=30, name="done", versions=[Version(id=31, status=10)])]
    harness = Harness(cloud, clock)
    await harness.poll()
    await harness.poll()
    cloud.jobs = [job for job in cloud.jobs if job.id != 30]

    assert (await harness.poll()).gone == frozenset()  # a poll confirms only unfinished ones
    result = await harness.source.sweep(harness.known)

    assert result.gone == {"31"}
    assert set(by_id(result)) == {"11", "21"}


async def test_usage_is_read_from_the_versions_record(cloud: FakeV1, clock: ManualClock) -> None:
    """Trap 27: the address contains the job and the version; the samples are ratios."""
    cloud.job(10).versions[0].extra["system_metric_list"] = json.dumps(USAGE)
    harness = Harness(cloud, clock)
    job = by_id(await harness.poll())["11"]
    cloud.calls.clear()

    series = await harness.source.usage(job, "")

    assert series is not None
    assert list(series.accelerator) == [None, 0.75]
    assert cloud.calls == [("v1_get_version", {"job_id": "10", "version_id": "11"})]


async def test_missing_usage_is_none(cloud: FakeV1, clock: ManualClock) -> None:
    """A record without samples is no failure."""
    harness = Harness(cloud, clock)
    job = by_id(await harness.poll())["11"]

    assert await harness.source.usage(job, "") is None


async def test_usage_also_updates_the_quality_of_a_running_model(cloud: FakeV1, clock: ManualClock) -> None:
    """The record that usage requests is used by the next poll, without a further call."""
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


async def test_usage_of_a_version_with_an_unknown_job(clock: ManualClock) -> None:
    """The job is searched; a version without a job has no usage, which is noted."""
    cloud = busy(system_metric_list=USAGE)
    harness = Harness(cloud, clock)
    unlisted = DomainJob(job_id="11", api=Api.V1, workspace_id="0")

    assert await harness.source.usage(unlisted, "") is not None
    assert await harness.source.usage(replace(unlisted, job_id="99"), "") is None
    assert harness.notes.noted == [("v1.version_id", "no job found")]


async def test_usage_of_a_refused_version_is_gone_until_it_is_listed_again(clock: ManualClock) -> None:
    """The first refusal is reported as gone; if a later poll still lists the version, the refusal is raised."""
    harness = Harness(busy(), clock)
    job = by_id(await harness.poll())["11"]
    harness.cloud.errors = {"v1_get_version": Refused("v1_get_version", "no", status=200, code="ModelArts.0105")}

    with pytest.raises(Gone):
        await harness.source.usage(job, "")
    await harness.poll()
    with pytest.raises(Refused) as refused:
        await harness.source.usage(job, "")
    assert not isinstance(refused.value, Gone)


async def test_an_answer_about_another_version_is_rejected(clock: ManualClock) -> None:
    """A record with another id than the requested one is not used."""
    cloud = busy(version_id=99)
    harness = Harness(cloud, clock)

    result = await harness.poll()

    assert by_id(result)["11"].spec_nodes is None
    assert "99" not in by_id(result)
    assert [failure.outcome for failure in result.failures] == ["invalid_response"]
    with pytest.raises(InvalidResponse):
        await harness.source.usage(by_id(result)["11"], "")


async def test_without_a_record_call_the_versions_call_is_used(clock: ManualClock) -> None:
    """A 404 for the first record concerns the call: the versions call decides what became of the version."""
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


async def test_a_failed_confirmation_decides_nothing(cloud: FakeV1, clock: ManualClock) -> None:
    """A version that is not listed and whose request fails is neither returned nor gone."""
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


async def test_a_deleted_version_without_a_job(clock: ManualClock) -> None:
    """The complete overview lacks it and no job has it: gone. The job list alone does not prove that."""
    for overview, gone in (("total", {"99"}), (None, set[str]())):
        cloud = busy()
        cloud.overview = overview
        harness = Harness(cloud, clock)
        unlisted = DomainJob(job_id="99", api=Api.V1, workspace_id="0", status=JobStatus.RUNNING)
        harness.known = TrackedState(unfinished={"99": unlisted}, tracked={"99": unlisted}, bootstrapping=False)

        result = await harness.poll()

        assert result.gone == gone
        assert result.failures == ()


async def test_a_failed_search_for_the_job_decides_nothing(clock: ManualClock) -> None:
    """While the job list fails, no version without a job is gone."""
    harness = Harness(busy(), clock)
    unlisted = DomainJob(job_id="99", api=Api.V1, workspace_id="0", status=JobStatus.RUNNING)
    harness.known = TrackedState(unfinished={"99": unlisted}, tracked={"99": unlisted}, bootstrapping=False)
    harness.cloud.errors = {"v1_list_jobs": Unreachable("v1_list_jobs", "no response")}

    result = await harness.poll()

    assert result.gone == frozenset()
    assert {failure.outcome for failure in result.failures} == {"unreachable"}


async def test_a_job_of_a_workspace_that_is_no_longer_listed(clock: ManualClock) -> None:
    """It is requested by itself until it ends or is deleted."""
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


async def test_bad_rows_are_skipped_alone(cloud: FakeV1, clock: ManualClock) -> None:
    """Items that are no rows, or have no version or job, are skipped and noted; the rest is returned."""
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


@given(odd=odd_rows, overview=st.sampled_from(["total", None]))
async def test_bad_rows_among_the_versions_of_a_job_are_skipped_alone(
    odd: list[tuple[int, Any]], overview: str | None
) -> None:
    """Whatever else is among a job's versions: its versions have their records, and other jobs are not affected."""

    async def polled(odd: list[tuple[int, Any]]) -> tuple[PollResult, FakeV1]:
        cloud = busy()
        cloud.overview = overview
        cloud.job(10).versions.append(Version(id=12, status=7, start=None))
        versions = cloud._v1_list_versions

        def with_odd(params: Any) -> dict[str, Any]:
            found = versions(params)
            rows = among(found["versions"], odd)
            return found | {"versions": rows, "version_count": len(rows)}

        cloud._v1_list_versions = with_odd  # type: ignore[method-assign]
        return await Harness(cloud, ManualClock()).poll(), cloud

    clean, _ = await polled([])
    found, cloud = await polled(odd)

    assert by_id(found) == by_id(clean)
    assert by_id(found).keys() == {"11", "12", "21"}
    assert by_id(found)["11"].user == "ada"
    assert found.failures == ()
    assert cloud.counts["v1_list_versions"] > 0


async def test_ended_versions_are_never_requested_again(cloud: FakeV1, clock: ManualClock) -> None:
    """One record after the end; then only the listing is requested, although ended versions stay tracked."""
    cloud.job(10).versions.insert(0, Version(id=9, status=11))
    cloud.jobs.append(Job(id=30, name="done", versions=[Version(id=31, status=10), Version(id=32, status=12)]))
    cloud.jobs.append(Job(id=40, name="done too", versions=[Version(id=41, status=10)]))
    cloud.history(3)
    harness = Harness(cloud, clock)
    await harness.poll()
    cloud.job(10).versions[1].status = 11
    await harness.poll()
    await harness.poll()
    assert {"11", "32", "41"} <= harness.known.tracked.keys()
    assert harness.known.unfinished.keys() == {"21"}

    for _ in range(3):
        clock.turn(1800)
        calls = await harness.calls(harness.poll)
        assert calls.keys() == {"v1_list_overview" if cloud.overview else "v1_list_jobs"}


async def test_versions_calls_are_for_jobs_with_several_versions(clock: ManualClock) -> None:
    """With the overview, a job with one version needs no versions call: its row and its record have everything."""
    cloud = busy()
    cloud.jobs += [Job(id=100 + each, name=f"single-{each}", versions=[Version(id=200 + each)]) for each in range(20)]
    cloud.jobs.append(Job(id=300, name="twice", versions=[Version(id=301), Version(id=302)]))
    harness = Harness(cloud, clock)
    for _ in range(3):
        await harness.poll()

    assert [params["job_id"] for name, params in cloud.calls if name == "v1_list_versions"] == ["300"]
    assert harness.known.tracked["301"].user == "ada"


async def test_a_row_without_a_job_has_no_record(clock: ManualClock) -> None:
    """A version whose job has no id cannot be requested; its listed fields are returned."""
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


async def test_a_long_listing_yields_to_the_event_loop(clock: ManualClock) -> None:
    """Rows are processed in parts, so that other tasks run in between."""
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

    assert turns - begun >= 4  # 1002 rows, a yield after each 250


async def test_a_failing_job_list_of_one_workspace_leaves_the_other(clock: ManualClock) -> None:
    """Without an overview too, only a rejected credential ends the listing."""
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
async def test_the_first_poll_has_the_users_of_recent_failures(clock: ManualClock, hours_ago: int, user: str) -> None:
    """A version that failed shortly before the start has its user, for alerts; old history is not requested."""
    cloud = busy()
    ended_ms = NOW_MS - hours_ago * 3_600_000
    version = Version(id=91, status=11, create=ended_ms - 60_000, start=ended_ms - 50_000, duration=50_000)
    cloud.jobs.append(Job(id=90, name="failed", versions=[version]))

    found = by_id(await Harness(cloud, clock).poll())

    assert found["91"].user == user


async def test_every_version_that_may_have_ended_in_the_retention_is_read(clock: ManualClock) -> None:
    """144 versions were created two days ago and ended today: 50 records a poll give the end of each, once."""
    day_ms = 86_400_000
    cloud = FakeV1()
    cloud.overview = None
    for each in range(144):
        create = NOW_MS - 2 * day_ms - each * 1000
        version = Version(id=1000 + each, status=10, create=create, start=create, duration=2 * day_ms - 60_000)
        cloud.jobs.append(Job(id=each + 1, name=f"j{each}", versions=[version]))
    harness = Harness(cloud, clock)

    ended: dict[str, float] = {}
    for _ in range(4):
        ended |= {job.job_id: job.ended_at for job in (await harness.poll()).jobs if job.ended_at is not None}

    assert len(ended) == 144
    assert cloud.counts["v1_list_versions"] == 144


async def test_older_versions_that_run_are_found_by_job_list(clock: ManualClock) -> None:
    """The list shows the newest versions, which ended long ago; an older one of each of 40 jobs still runs."""
    old = NOW_MS - 30 * 86_400_000
    cloud = FakeV1()
    cloud.overview = None
    for each in range(40):
        newest = Version(id=2000 + each, status=10, create=old, start=old, duration=1000)
        running = Version(id=1000 + each, status=8)
        cloud.jobs.append(Job(id=each + 1, name=f"j{each}", user="ada", versions=[running, newest]))
    harness = Harness(cloud, clock)

    await harness.poll()
    found = by_id(await harness.poll())
    calls = cloud.counts["v1_list_versions"]
    await harness.poll()

    assert {f"{1000 + each}" for each in range(40)} <= found.keys()
    assert {job.user for job in found.values()} == {"ada"}
    assert calls == cloud.counts["v1_list_versions"] == 40
