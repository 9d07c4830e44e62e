"""The v2 source: results of a poll and of a sweep, their calls, and the effect of failures."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.http.errors import (
    CircuitOpen,
    CloudError,
    Denied,
    Gone,
    InvalidResponse,
    Refused,
    ServerError,
    Throttled,
    Unreachable,
    Unsupported,
)
from exporter.cloud.v2.endpoints import DETAIL, METRICS, SEARCH
from exporter.cloud.v2.source import V2Source
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.source import JobSource, PollResult, SourceError, TrackedState
from tests.clock import ManualClock
from tests.unit.cloud.odd_values import odd_values
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v2.fake_cloud import T0, FakeV2, Request


@dataclass
class FakePoller:
    """Polls as polling does, and tracks the jobs."""

    source: JobSource
    tracked: dict[str, Job] = field(default_factory=dict)
    accounted: set[str] = field(default_factory=set)
    bootstrapping: bool = True

    def known(self) -> TrackedState:
        return TrackedState(
            unfinished={job_id: job for job_id, job in self.tracked.items() if job.status.active},
            tracked=dict(self.tracked),
            is_new=lambda job: job.job_id not in self.accounted,
            bootstrapping=self.bootstrapping,
        )

    async def poll(self) -> PollResult:
        result = await self.source.poll(self.known())
        self.tracked.update({job.job_id: job for job in result.jobs})
        self.accounted |= self.tracked.keys()
        for job_id in result.gone:
            del self.tracked[job_id]
        self.bootstrapping = False
        return result


def make_source(
    cloud: FakeV2,
    clock: ManualClock,
    *,
    workspaces: tuple[str, ...] = ("0",),
    notes: Notes | None = None,
    on_unified_jobs: Callable[[bool], None] = lambda _: None,
) -> V2Source:
    async def listed() -> tuple[str, ...]:
        return workspaces

    return V2Source(
        cloud,
        project="vision",
        workspaces=listed,
        clock=clock,
        note=notes if notes is not None else Notes(),
        on_unified_jobs=on_unified_jobs,
    )


async def push_off_newest_page(cloud: FakeV2, poller: FakePoller) -> None:
    """Move every job off the newest page by 60 jobs that are accounted for."""
    cloud.submit(*range(20_000, 20_060), phase="Completed")
    await poller.poll()
    cloud.requests.clear()


def failing(match: Callable[[Request], bool], error: Exception) -> Callable[[Request], Exception | None]:
    return lambda request: error if match(request) else None


def outcomes(result: PollResult) -> list[str]:
    return [failure.outcome for failure in result.failures]


def status_of(result: PollResult) -> dict[str, JobStatus]:
    found = {job.job_id: job.status for job in result.jobs}
    assert len(found) == len(result.jobs), "each job once"
    return found


def refusing_unified(error: Exception) -> Callable[[Request], Exception | None]:
    """Refuse each search with `unified_jobs`."""
    return failing(lambda request: "unified_jobs" in request.body, error)


def unified(cloud: FakeV2) -> list[bool]:
    """Whether each search asked for fine-tuning jobs too."""
    return ["unified_jobs" in request.body for request in cloud.searches]


@pytest.mark.parametrize(
    "error",
    [
        Refused(SEARCH.name, "unknown field", status=400, code="ModelArts.2788"),
        Refused(SEARCH.name, "invalid body", status=400, code="ModelArts.2807"),
        Refused(SEARCH.name, "no", status=422),
        Refused(SEARCH.name, "in band"),
        Denied(SEARCH.name, "no permission for fine-tuning jobs", status=403, code="ModelArts.4630"),
    ],
    ids=str,
)
async def test_a_refused_unified_jobs_is_left_out_for_an_hour(
    cloud: FakeV2, clock: ManualClock, error: Exception
) -> None:
    """A refusal that vanishes without the key costs one search, fails nothing, and is reported; then it is tried."""
    (job_id,) = cloud.submit(1)
    cloud.fail = refusing_unified(error)
    reported: list[bool] = []
    poller = FakePoller(make_source(cloud, clock, on_unified_jobs=reported.append))

    result = await poller.poll()
    assert (set(status_of(result)), outcomes(result)) == ({job_id}, [])
    assert (unified(cloud), reported) == ([True, False, False], [False])

    cloud.requests.clear()
    clock.turn(3_599)
    await poller.poll()
    assert unified(cloud) == [False, False]

    cloud.requests.clear()
    clock.turn(1)
    cloud.fail = lambda _: None
    await poller.poll()
    assert unified(cloud) == [True, True]
    assert reported == [False, True, True]


@pytest.mark.parametrize(
    "error",
    [
        Refused(SEARCH.name, "no", status=400, code="ModelArts.2788"),
        Unsupported(SEARCH.name, "no such API", status=404, code="APIG.0101"),
        Denied(SEARCH.name, "bad signature", status=401, code="APIG.0301"),
        Throttled(SEARCH.name, "slower", status=429),
        Unreachable(SEARCH.name, "no connection"),
    ],
    ids=str,
)
async def test_other_failures_are_not_put_on_unified_jobs(
    cloud: FakeV2, clock: ManualClock, error: Exception
) -> None:
    """A search that also fails without the key, or that no refusal ended, is the failure that it was."""
    reported: list[bool] = []
    cloud.fail = lambda _: error
    source = make_source(cloud, clock, on_unified_jobs=reported.append)

    with pytest.raises(type(error)):
        await source.poll(TrackedState())

    assert reported == []


@pytest.fixture
def cloud() -> FakeV2:
    return FakeV2()


async def test_a_poll_lists_active_and_newest_jobs(cloud: FakeV2, clock: ManualClock) -> None:
    """The first poll lists active jobs of any age, and the newest page: 50 of 60 ended jobs, 1 old active."""
    cloud.submit(*range(1, 61), phase="Completed")
    (old,) = cloud.submit(0, phase="Running")
    poller = FakePoller(make_source(cloud, clock))

    result = await poller.poll()

    assert result.failures == ()
    assert status_of(result)[old] is JobStatus.RUNNING
    assert len(result.jobs) == 51
    assert len(cloud.requests) == 2


@pytest.mark.parametrize("history", [10, 10_000])
@pytest.mark.parametrize("active", [0, 1, 49, 50, 51, 120])
@pytest.mark.parametrize("offset", ["page", "record"])
async def test_the_calls_of_a_poll(offset: str, active: int, history: int, clock: ManualClock) -> None:
    """At most ⌈active/50⌉ + 2 calls, from the first poll on, with any history; one more for each job that ended."""
    cloud = FakeV2(offset=offset)
    cloud.submit(*range(history), phase="Completed")
    running = cloud.submit(*range(history, history + active))
    poller = FakePoller(make_source(cloud, clock))
    budget = math.ceil(active / 50) + 2

    for _ in range(3):
        cloud.requests.clear()
        result = await poller.poll()
        assert result.failures == ()
        assert {job_id for job_id, status in status_of(result).items() if status.active} == set(running)
        assert len(cloud.requests) <= budget

    await push_off_newest_page(cloud, poller)
    ended = running[:2]
    cloud.set_phase("Completed", *ended)
    result = await poller.poll()

    assert all(status_of(result)[job_id] is JobStatus.COMPLETED for job_id in ended)
    assert len(cloud.details) == len(ended)
    assert len(cloud.searches) <= budget
    cloud.requests.clear()
    await poller.poll()
    assert len(cloud.requests) <= budget


async def test_a_search_covers_one_workspace_newest_first_fifty_at_a_time(cloud: FakeV2, clock: ManualClock) -> None:
    """Traps 2 and 4: each search requests at most 50 jobs of one workspace in an explicit order."""
    cloud.submit(0, workspace_id="0")
    cloud.submit(1, workspace_id="ws-b")
    source = make_source(cloud, clock, workspaces=("0", "ws-b"))

    result = await source.poll(TrackedState())

    assert {job.workspace_id for job in result.jobs} == {"0", "ws-b"}
    assert [request.body["workspace_id"] for request in cloud.searches] == ["0", "0", "ws-b", "ws-b"]
    assert cloud.searches[0].body == {
        "offset": 0,
        "limit": 50,
        "sort_by": "create_time",
        "order": "desc",
        "workspace_id": "0",
        "unified_jobs": True,
        "filters": [
            {"key": "phase", "operator": "in", "value": ["Creating", "Pending", "Running", "Terminating"]},
        ],
    }
    assert "filters" not in cloud.searches[1].body


async def test_a_job_that_starts_and_ends_between_two_polls_is_listed(cloud: FakeV2, clock: ManualClock) -> None:
    """It was not active in any poll, but it is new on the newest page."""
    cloud.submit(*range(60), phase="Completed")
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()

    (short,) = cloud.submit(100, phase="Failed")
    result = await poller.poll()

    assert status_of(result)[short] is JobStatus.FAILED
    assert cloud.details == []


@pytest.mark.parametrize("offset", ["page", "record"])
async def test_a_burst_is_listed_down_to_known_jobs(offset: str, clock: ManualClock) -> None:
    """130 jobs that started and ended since the last poll fill over two pages: the listing continues past them."""
    cloud = FakeV2(offset=offset)
    cloud.submit(*range(1000), phase="Completed")
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()

    burst = cloud.submit(*range(2000, 2130), phase="Completed")
    cloud.requests.clear()
    result = await poller.poll()

    assert set(burst) <= set(status_of(result))
    assert len(cloud.requests) <= 1 + 4


async def test_unlisted_history_is_not_read_by_a_poll(cloud: FakeV2, clock: ManualClock) -> None:
    """The first poll listed one page; the jobs below it are not accounted for, and no poll reads them."""
    cloud.submit(*range(5000), phase="Completed")
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()

    cloud.submit(*range(6000, 6003), phase="Completed")
    cloud.requests.clear()
    await poller.poll()

    assert len(cloud.requests) == 2


async def test_details_of_ended_jobs_are_requested_a_few_at_a_time(cloud: FakeV2, clock: ManualClock) -> None:
    """30 jobs that are neither active nor on the newest page get a detail request each, at most 4 at once."""
    running = cloud.submit(*range(30))
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    await push_off_newest_page(cloud, poller)
    cloud.set_phase("Completed", *running)

    result = await poller.poll()

    assert sorted(cloud.details) == sorted(running)
    assert {status_of(result)[job_id] for job_id in running} == {JobStatus.COMPLETED}
    assert cloud.max_concurrent == 4


async def test_an_ended_job_on_the_newest_page_needs_no_detail(cloud: FakeV2, clock: ManualClock) -> None:
    """The newest page has the final status of a recent job."""
    (job_id,) = cloud.submit(0)
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    cloud.set_phase("Failed", job_id)

    result = await poller.poll()

    assert status_of(result) == {job_id: JobStatus.FAILED}
    assert cloud.details == []


async def test_a_deleted_job_is_gone(cloud: FakeV2, clock: ManualClock) -> None:
    """Traps 9 and 40: a job that is not listed is requested by itself; 400 with 2775 means deleted: no failure."""
    (job_id,) = cloud.submit(0)
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    cloud.delete(job_id)

    result = await poller.poll()

    assert result.gone == {job_id}
    assert result.failures == ()


async def test_a_failed_detail_is_a_failed_part(cloud: FakeV2, clock: ManualClock) -> None:
    """One job's detail fails; the other is returned, and the failed one is neither gone nor returned."""
    one, other = cloud.submit(0, 1)
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    await push_off_newest_page(cloud, poller)
    cloud.set_phase("Completed", one, other)
    cloud.fail = failing(
        lambda request: request.path.get("job_id") == one, ServerError(DETAIL.name, "busy", status=500)
    )

    result = await poller.poll()

    assert outcomes(result) == ["server_error"]
    assert status_of(result)[other] is JobStatus.COMPLETED
    assert one not in status_of(result)
    assert result.gone == frozenset()


@pytest.mark.parametrize(
    "answer", [pytest.param({"metadata": {"id": "another"}}, id="another-job"), pytest.param({}, id="no-job")]
)
async def test_a_detail_of_another_job_is_an_invalid_response(
    answer: dict[str, object], cloud: FakeV2, clock: ManualClock
) -> None:
    """A response about another job than the requested one changes nothing about that job."""
    (job_id,) = cloud.submit(0)
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    await push_off_newest_page(cloud, poller)
    cloud.set_phase("Completed", job_id)
    cloud.before_answer = lambda _: None if job_id not in cloud.details else cloud.jobs.update({job_id: answer})

    result = await poller.poll()

    assert outcomes(result) == ["invalid_response"]
    assert job_id not in status_of(result)


async def test_a_failed_workspace_does_not_affect_the_others(cloud: FakeV2, clock: ManualClock) -> None:
    """Of three workspaces one fails: its error is reported, its job is not requested, the others are complete."""
    cloud.submit(0, workspace_id="a")
    (lost,) = cloud.submit(0, workspace_id="b")
    cloud.submit(0, workspace_id="c")
    poller = FakePoller(make_source(cloud, clock, workspaces=("a", "b", "c")))
    await poller.poll()
    cloud.fail = failing(
        lambda request: request.body.get("workspace_id") == "b", ServerError(SEARCH.name, "busy", status=503)
    )
    cloud.requests.clear()

    result = await poller.poll()

    assert outcomes(result) == ["server_error"]
    assert {job.workspace_id for job in result.jobs} == {"a", "c"}
    assert cloud.details == []
    assert lost in poller.tracked
    assert len(cloud.searches) == 5  # two each for a and c, and one for b, whose newest page would fail too


async def test_a_refused_filter_leaves_the_newest_page(cloud: FakeV2, clock: ManualClock) -> None:
    """If only the filtered search is refused, the newest page is still requested; the poll is not complete."""
    (job_id,) = cloud.submit(0)
    cloud.fail = failing(
        lambda request: request.filtered, Refused(SEARCH.name, "bad operator", status=400, code="ModelArts.2808")
    )

    result = await make_source(cloud, clock).poll(TrackedState())

    assert outcomes(result) == ["refused"]
    assert list(status_of(result)) == [job_id]


async def test_a_failed_newest_page_is_a_failed_part(cloud: FakeV2, clock: ManualClock) -> None:
    """The active jobs are returned, the newest ones are missing, and the failure is reported."""
    (job_id,) = cloud.submit(0)
    cloud.fail = failing(lambda request: not request.filtered, Throttled(SEARCH.name, "slow down", status=429))

    result = await make_source(cloud, clock).poll(TrackedState())

    assert outcomes(result) == ["throttled"]
    assert list(status_of(result)) == [job_id]


async def test_a_failed_second_page_keeps_the_first(cloud: FakeV2, clock: ManualClock) -> None:
    """120 active jobs, the second page fails: the first 50 are returned, and no detail is requested."""
    cloud.submit(*range(120))
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    cloud.requests.clear()
    cloud.fail = failing(lambda r: r.body.get("offset") == 1, Unreachable(SEARCH.name, "reset"))

    result = await poller.poll()

    assert outcomes(result) == ["unreachable"]
    assert len(result.jobs) == 50
    assert cloud.details == []


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Denied(SEARCH.name, "bad signature", status=401), id="trap-34-denied"),
        pytest.param(CircuitOpen(SEARCH.name, "the circuit is open"), id="circuit_open"),
        pytest.param(Unsupported(SEARCH.name, "no such API", status=404, code="APIG.0101"), id="unsupported"),
    ],
)
async def test_a_final_error_stops_all_requests(error: CloudError, cloud: FakeV2, clock: ManualClock) -> None:
    """Trap 34: after such an error no second request is sent, not even for other workspaces; it is raised."""
    cloud.fail = lambda _: error
    source = make_source(cloud, clock, workspaces=("a", "b", "c", "d", "e", "f"))

    for request in (source.poll, source.sweep):
        cloud.requests.clear()
        with pytest.raises(type(error)):
            await request(TrackedState())
        assert len(cloud.requests) == 1


async def test_a_403_concerns_one_workspace(cloud: FakeV2, clock: ManualClock) -> None:
    """A 403 may concern one workspace: one call for it, and the others are requested."""
    (job_id,) = cloud.submit(0, workspace_id="b")
    cloud.fail = failing(
        lambda request: request.body.get("workspace_id") == "a", Denied(SEARCH.name, "no permission", status=403)
    )

    result = await make_source(cloud, clock, workspaces=("a", "b")).poll(TrackedState())

    assert outcomes(result) == ["denied"]
    assert list(status_of(result)) == [job_id]
    assert len(cloud.searches) == 3


async def test_denied_details_stop_further_requests(cloud: FakeV2, clock: ManualClock) -> None:
    """Trap 34: of 40 ended jobs at most the 4 in flight are requested after details are denied."""
    running = cloud.submit(*range(40))
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    await push_off_newest_page(cloud, poller)
    cloud.set_phase("Completed", *running)
    cloud.fail = failing(
        lambda request: request.name == DETAIL.name, Denied(DETAIL.name, "no permission", status=403)
    )

    result = await poller.poll()

    assert len(cloud.details) <= 4
    assert set(outcomes(result)) == {"denied"}
    assert len(result.jobs) == 50  # the newest page is complete


async def test_the_first_error_is_raised_when_no_request_succeeded(cloud: FakeV2, clock: ManualClock) -> None:
    """If no workspace answered, the first error is raised, because there is no result."""
    cloud.fail = lambda _: ServerError(SEARCH.name, "busy", status=500)

    with pytest.raises(ServerError):
        await make_source(cloud, clock, workspaces=("a", "b")).poll(TrackedState())


async def test_unknown_workspaces_are_an_error(cloud: FakeV2, clock: ManualClock) -> None:
    """If the workspaces cannot be listed, the poll raises that error and sends no request."""

    async def broken() -> tuple[str, ...]:
        raise ServerError("v1_list_workspaces", "busy", status=500)

    source = V2Source(cloud, project="vision", workspaces=broken, clock=clock, note=Notes())

    with pytest.raises(SourceError):
        await source.poll(TrackedState())
    assert cloud.requests == []


async def test_without_a_workspace_there_is_no_request(cloud: FakeV2, clock: ManualClock) -> None:
    """No workspace: no call, no job, no failure."""
    assert await make_source(cloud, clock, workspaces=()).poll(TrackedState()) == PollResult()


async def test_an_empty_list_means_no_jobs(cloud: FakeV2, clock: ManualClock) -> None:
    """A listing with null items is empty and complete; the contract test covers one without items."""
    assert await make_source(cloud, clock).poll(TrackedState()) == PollResult()


async def test_a_job_without_a_workspace_gets_the_listed_one(cloud: FakeV2, clock: ManualClock) -> None:
    """A job without a workspace id gets the one that was searched."""
    cloud.submit(0, workspace_id="b")
    cloud.names_workspaces = False

    result = await make_source(cloud, clock, workspaces=("a", "b")).poll(TrackedState())

    assert [job.workspace_id for job in result.jobs] == ["b"]


async def test_a_bad_item_is_skipped_alone(cloud: FakeV2, clock: ManualClock) -> None:
    """One undecodable item among 120: it is noted, the other 119 are returned, and paging is not affected."""
    running = cloud.submit(*range(120))
    cloud.jobs[running[60]]["metadata"]["id"] = None
    notes = Notes()

    result = await make_source(cloud, clock, notes=notes).poll(TrackedState())

    assert set(status_of(result)) == set(running) - {running[60]}
    assert set(notes.fields) == {"v2.items"}


async def poll_after_the_end(odd_details: dict[int, Any]) -> tuple[PollResult, list[str], FakeV2]:
    """Let four jobs end off the newest page; some of their details are odd. Returns the ids of the jobs too."""
    cloud = FakeV2()
    running = cloud.submit(*range(4))
    poller = FakePoller(make_source(cloud, ManualClock()))
    await poller.poll()
    await push_off_newest_page(cloud, poller)
    cloud.set_phase("Completed", *running)
    cloud.odd_details = {running[number]: detail for number, detail in odd_details.items()}
    return await poller.poll(), running, cloud


@given(details=st.dictionaries(st.integers(0, 2), odd_values, min_size=1))
@settings(max_examples=25)
async def test_a_malformed_detail_affects_only_its_job(details: dict[int, Any]) -> None:
    """Whatever is returned in place of a job's detail: a failed part; the job is not gone, the others have ended."""
    result, running, cloud = await poll_after_the_end(details)

    assert sorted(cloud.details) == sorted(running)
    assert result.gone == frozenset()
    assert set(outcomes(result)) == {"invalid_response"}
    assert len(result.failures) == len(details)
    intact = {job_id for number, job_id in enumerate(running) if number not in details}
    assert {job_id for job_id in running if job_id in status_of(result)} == intact
    assert {status_of(result)[job_id] for job_id in intact} == {JobStatus.COMPLETED}


@given(
    metadata=st.dictionaries(
        st.sampled_from(["name", "create_time", "user_name", "training_experiment"]), odd_values
    ),
    status=st.dictionaries(
        st.sampled_from(
            [
                "secondary_phase",
                "tasks",
                "task_statuses",
                "start_time",
                "duration",
                "node_count_metrics",
                "running_records",
                "recover_records",
            ]
        ),
        odd_values,
    ),
    parts=st.dictionaries(st.sampled_from(["kind", "algorithm", "tasks", "spec"]), odd_values),
)
@settings(max_examples=25)
async def test_a_detail_with_malformed_parts_still_ends_the_job(
    metadata: dict[str, Any], status: dict[str, Any], parts: dict[str, Any]
) -> None:
    """The id and the phase are enough: no other part, whatever its type, hides that the job has ended."""
    detail = {
        **parts,
        "metadata": {**metadata, "id": "job-0-1", "workspace_id": "0"},
        "status": {**status, "phase": "Completed"},
    }
    result, running, _ = await poll_after_the_end({1: detail})

    assert result.failures == ()
    assert {status_of(result)[job_id] for job_id in running} == {JobStatus.COMPLETED}


async def test_ended_and_listed_jobs_are_never_requested(cloud: FakeV2, clock: ManualClock) -> None:
    """One detail for each job that ended unlisted; none for a job that is listed, or that had ended before."""
    cloud.submit(*range(100, 160), phase="Failed")
    staying, *ending = cloud.submit(*range(4))
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    await push_off_newest_page(cloud, poller)
    cloud.set_phase("Completed", *ending)
    await poller.poll()
    assert sorted(cloud.details) == ending

    cloud.requests.clear()
    for _ in range(3):
        clock.turn(1800)
        assert (await poller.poll()).failures == ()
    assert cloud.details == []
    assert cloud.requests_to(METRICS.name) == []
    assert len(cloud.searches) == 2 * 3
    assert poller.tracked[staying].status is JobStatus.RUNNING


async def test_a_job_that_ends_during_the_search_is_returned_as_ended(cloud: FakeV2, clock: ManualClock) -> None:
    """A job that ends while the filtered search is answered is returned as ended, without a detail request."""
    (job_id,) = cloud.submit(0)
    cloud.filters = False
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    cloud.set_phase("Terminated", job_id)

    result = await poller.poll()

    assert status_of(result) == {job_id: JobStatus.TERMINATED}


class TestIgnoredFilters:
    """A server that ignores `filters` returns the newest jobs of any phase."""

    async def test_an_ignored_filter_is_detected_bounded_and_noted(self, clock: ManualClock) -> None:
        """Of 3000 jobs 20 run: a later poll finds them in few calls, without a second newest page, and notes it."""
        cloud = FakeV2(filters=False)
        cloud.submit(*range(3000), phase="Completed")
        running = cloud.submit(*range(3000, 3020))
        notes = Notes()
        poller = FakePoller(make_source(cloud, clock, notes=notes))
        await poller.poll()
        cloud.requests.clear()

        result = await poller.poll()

        assert set(running) <= set(status_of(result))
        assert result.failures == ()
        assert ("v2.filters", "ignored") in notes.noted
        assert len(cloud.requests) == 1

    async def test_the_first_poll_searches_further(self, clock: ManualClock) -> None:
        """An old active job among 1200 ended ones is found by the first poll, which reads up to 100 pages."""
        cloud = FakeV2(filters=False)
        (old,) = cloud.submit(0)
        cloud.submit(*range(1, 1200), phase="Completed")

        result = await make_source(cloud, clock).poll(TrackedState())

        assert status_of(result)[old] is JobStatus.RUNNING
        assert len(cloud.requests) == 25  # 1200 jobs on 24 full pages, and an empty one

    async def test_the_first_poll_is_bounded_too(self, clock: ManualClock) -> None:
        """Of 10 000 jobs the first poll reads 100 pages, no more."""
        cloud = FakeV2(filters=False)
        cloud.submit(*range(10_000), phase="Completed")

        await make_source(cloud, clock).poll(TrackedState())

        assert len(cloud.requests) == 100

    async def test_jobs_too_far_down_are_requested_by_themselves(self, clock: ManualClock) -> None:
        """A known active job 2000 places down is beyond the 20 pages of a poll: one detail request returns it."""
        cloud = FakeV2(filters=False)
        (old,) = cloud.submit(0)
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()
        finished = cloud.submit(*range(1, 2001), phase="Completed")
        poller.accounted |= set(finished)

        result = await poller.poll()

        assert cloud.details == [old]
        assert status_of(result)[old] is JobStatus.RUNNING
        assert len(cloud.searches) <= 2 + 20

    async def test_it_reads_no_further_than_wanted_jobs(self, clock: ManualClock) -> None:
        """An active job 120 places down is on the third page, and the listing ends there."""
        cloud = FakeV2(filters=False)
        cloud.submit(*range(-5000, 0), phase="Completed")
        (old,) = cloud.submit(0)
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()
        finished = cloud.submit(*range(1, 121), phase="Completed")
        poller.accounted |= set(finished)
        cloud.requests.clear()

        result = await poller.poll()

        assert status_of(result)[old] is JobStatus.RUNNING
        assert len(cloud.requests) == 3

    async def test_a_deleted_job_does_not_extend_the_listing(self, clock: ManualClock) -> None:
        """A wanted job that was deleted is not searched beyond the page that is older than it."""
        cloud = FakeV2(filters=False)
        cloud.submit(*range(-5000, 0), phase="Completed")
        (old,) = cloud.submit(10)
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()
        cloud.delete(old)
        cloud.requests.clear()

        result = await poller.poll()

        assert result.gone == {old}
        assert len(cloud.requests) == 2  # the first page, which is older, and the detail

    async def test_new_jobs_extend_the_listing(self, clock: ManualClock) -> None:
        """A burst of 130 jobs is listed down to known jobs here too."""
        cloud = FakeV2(filters=False)
        cloud.submit(*range(1000), phase="Completed")
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()

        burst = cloud.submit(*range(2000, 2130), phase="Completed")
        result = await poller.poll()

        assert set(burst) <= set(status_of(result))


class TestIgnoredOffset:
    """A server that ignores `offset` returns the same 50 jobs for every page."""

    async def test_phases_from_both_ends_return_more(self, clock: ManualClock) -> None:
        """60 running and 40 pending jobs: each phase, from both ends, returns all 100: nothing is missing."""
        cloud = FakeV2(offset="ignored")
        running = cloud.submit(*range(60))
        pending = cloud.submit(*range(60, 100), phase="Pending")

        result = await make_source(cloud, clock).poll(TrackedState())

        assert set(status_of(result)) == {*running, *pending}
        assert result.failures == ()

    async def test_unreachable_jobs_are_reported(self, clock: ManualClock) -> None:
        """Of 150 running jobs 100 are listed, from both ends: the poll is not complete."""
        cloud = FakeV2(offset="ignored")
        cloud.submit(*range(150))

        result = await make_source(cloud, clock).poll(TrackedState())

        assert len(result.jobs) == 100
        assert outcomes(result) == ["invalid_response"]

    async def test_known_unreachable_jobs_are_requested(self, clock: ManualClock) -> None:
        """The 50 in the middle are known from before: each is requested by itself."""
        cloud = FakeV2(offset="page")
        running = cloud.submit(*range(150))
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()
        cloud.offset = "ignored"

        result = await poller.poll()

        assert sorted(cloud.details) == sorted(running[50:100])
        assert set(status_of(result)) == set(running)

    async def test_the_ignored_offset_is_cached(self, clock: ManualClock) -> None:
        """The second poll does not probe again: the first page, four phases one by one, the newest page."""
        cloud = FakeV2(offset="ignored")
        cloud.submit(*range(60))
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()
        cloud.requests.clear()

        await poller.poll()

        assert [request.body["offset"] for request in cloud.searches] == [0] * 7
        assert [request.body["order"] for request in cloud.searches] == [
            "desc",
            "desc",
            "desc",
            "desc",
            "asc",
            "desc",
            "desc",
        ]

    async def test_a_burst_beyond_the_first_page_is_reported(self, clock: ManualClock) -> None:
        """60 jobs started and ended since the last poll: 50 are listed, and the poll is not complete."""
        cloud = FakeV2(offset="ignored")
        cloud.submit(*range(100), phase="Completed")
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()

        cloud.submit(*range(200, 260), phase="Completed")
        result = await poller.poll()

        assert outcomes(result) == ["invalid_response"]

    async def test_a_failure_while_listing_by_phase_is_reported(self, clock: ManualClock) -> None:
        """A failed search of one phase is the listing's failure."""
        cloud = FakeV2(offset="ignored")
        cloud.submit(*range(60))
        cloud.fail = failing(
            lambda request: request.filtered and len(request.body["filters"][0]["value"]) == 1,
            ServerError(SEARCH.name, "busy", status=500),
        )

        result = await make_source(cloud, clock).poll(TrackedState())

        assert outcomes(result) == ["server_error"]
        assert len(result.jobs) == 50


class TestSweep:
    """A sweep lists everything and finds deleted jobs."""

    async def test_it_lists_the_whole_history(self, cloud: FakeV2, clock: ManualClock) -> None:
        """1234 jobs over two workspaces, one call at a time."""
        jobs = cloud.submit(*range(1000), phase="Completed") + cloud.submit(*range(234), workspace_id="b")

        result = await make_source(cloud, clock, workspaces=("0", "b")).sweep(TrackedState())

        assert set(status_of(result)) == set(jobs)
        assert result.failures == ()
        assert cloud.max_concurrent == 1

    async def test_it_stops_at_the_oldest_tracked_job(self, cloud: FakeV2, clock: ManualClock) -> None:
        """The oldest tracked job is 120th from the top: pages 0, 1 and 2 reach it, all of page 3 is older."""
        cloud.submit(*range(1000), phase="Completed")

        await make_source(cloud, clock).sweep(TrackedState(oldest_at=float(T0 + 1000 - 120)))

        assert len(cloud.requests) == 4

    async def test_a_missing_job_is_confirmed_before_it_is_gone(self, cloud: FakeV2, clock: ManualClock) -> None:
        """Reference §1.3: of two tracked jobs that are not listed, one is gone and one still exists."""
        deleted, moved = cloud.submit(0, 1, phase="Completed")
        cloud.submit(*range(2, 10), phase="Completed")
        source = make_source(cloud, clock)
        tracked = {job.job_id: job for job in (await source.sweep(TrackedState())).jobs}
        cloud.delete(deleted)
        cloud.before_answer = lambda _: cloud.jobs[moved]["metadata"].update(workspace_id="elsewhere")

        result = await source.sweep(TrackedState(tracked=tracked))

        assert result.gone == {deleted}
        assert moved in status_of(result)
        assert sorted(cloud.details) == sorted([deleted, moved])

    async def test_an_incomplete_listing_proves_no_job_missing(self, cloud: FakeV2, clock: ManualClock) -> None:
        """The second page fails: jobs that the first page lacks are not requested, and not gone."""
        cloud.submit(*range(120), phase="Completed")
        source = make_source(cloud, clock)
        tracked = {job.job_id: job for job in (await source.sweep(TrackedState())).jobs}
        cloud.fail = failing(
            lambda request: request.body.get("offset") == 1, ServerError(SEARCH.name, "busy", status=500)
        )

        result = await source.sweep(TrackedState(tracked=tracked))

        assert len(result.jobs) == 50
        assert outcomes(result) == ["server_error"]
        assert (result.gone, cloud.details) == (frozenset(), [])

    async def test_a_job_of_unknown_workspace_needs_every_listing(self, cloud: FakeV2, clock: ManualClock) -> None:
        """A tracked job without a workspace is missing only when every workspace was listed completely."""
        cloud.submit(0, workspace_id="a")
        stray = Job(job_id="stray", api=Api.V2, status=JobStatus.COMPLETED)
        source = make_source(cloud, clock, workspaces=("a", "b"))
        cloud.fail = failing(
            lambda request: request.body.get("workspace_id") == "b", ServerError(SEARCH.name, "busy", status=500)
        )

        assert (await source.sweep(TrackedState(tracked={"stray": stray}))).gone == frozenset()
        cloud.fail = lambda _: None

        assert (await source.sweep(TrackedState(tracked={"stray": stray}))).gone == {"stray"}

    async def test_an_ignored_offset_is_listed_by_phase_and_reported(self, clock: ManualClock) -> None:
        """Of 150 completed and 60 failed jobs, 100 and 60 are listed; the sweep is not complete."""
        cloud = FakeV2(offset="ignored")
        cloud.submit(*range(150), phase="Completed")
        failed = cloud.submit(*range(150, 210), phase="Failed")

        result = await make_source(cloud, clock).sweep(TrackedState())

        assert len(result.jobs) == 160
        assert set(failed) <= set(status_of(result))
        assert outcomes(result) == ["invalid_response"]

    async def test_the_first_error_is_raised_when_no_request_succeeded(
        self, cloud: FakeV2, clock: ManualClock
    ) -> None:
        """A sweep without any response raises its first error."""
        cloud.fail = lambda _: Unreachable(SEARCH.name, "no route")

        with pytest.raises(Unreachable):
            await make_source(cloud, clock).sweep(TrackedState())


class TestTimeIsUp:
    """After its deadline a poll sends no further request and reports the ones it did not send."""

    async def test_details_not_requested_come_first_in_the_next_poll(self, cloud: FakeV2, clock: ManualClock) -> None:
        """Each detail takes 4 s of 20: five fit into a poll; the next poll requests the other five first."""
        unlisted = cloud.submit(*range(10), workspace_id="elsewhere")
        source = make_source(cloud, clock)
        cloud.before_answer = lambda request: clock.turn(4.0) if request.name == DETAIL.name else None
        requests_to = []
        for _ in range(2):
            cloud.requests.clear()
            result = await source.poll(
                TrackedState(
                    unfinished={job_id: Job(job_id=job_id, api=Api.V2, workspace_id="0") for job_id in unlisted},
                    answer_by=clock.monotonic() + 20.0,
                )
            )
            assert outcomes(result) == ["unreachable"]
            requests_to.append(set(cloud.details))

        assert requests_to[0] | requests_to[1] == set(unlisted)

    async def test_searches_stop_too(self, cloud: FakeV2, clock: ManualClock) -> None:
        """The first search takes all the time: no second one is sent; its jobs and one failure are returned."""
        (job_id,) = cloud.submit(0, workspace_id="a")
        cloud.before_answer = lambda _: clock.turn(20.0)

        result = await make_source(cloud, clock, workspaces=("a", "b", "c")).poll(
            TrackedState(answer_by=clock.monotonic() + 20.0)
        )

        assert list(status_of(result)) == [job_id]
        assert outcomes(result) == ["unreachable"]
        assert len(cloud.requests) == 1


async def test_a_cancelled_poll_leaves_no_task_running(cloud: FakeV2, clock: ManualClock) -> None:
    """A deadline cancels the poll in the middle of its detail requests, and every request with it."""
    running = cloud.submit(*range(20))
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    await push_off_newest_page(cloud, poller)
    cloud.set_phase("Completed", *running)
    begun = asyncio.Event()
    cloud.before_answer = lambda request: begun.set() if request.name == DETAIL.name else None
    poll = asyncio.create_task(poller.poll())
    await begun.wait()

    poll.cancel()
    with pytest.raises(asyncio.CancelledError):
        await poll

    assert len(cloud.details) < len(running)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_usage_is_requested_per_task(cloud: FakeV2, clock: ManualClock) -> None:
    """One call for one task, read by the job's kind of accelerator."""
    (job_id,) = cloud.submit(0)
    cloud.jobs[job_id]["metrics"] = {
        "metrics": [{"metric": "npuUtil", "value": [75.0]}, {"metric": "gpuUtil", "value": [-1]}]
    }
    source = make_source(cloud, clock)
    (job,) = (await source.poll(TrackedState())).jobs
    assert source.tasks(job) == ("worker-0",)

    series = await source.usage(replace(job, accelerator=Accelerator.NPU), "worker-0")

    assert series is not None
    assert (series.task, series.accelerator) == ("worker-0", [0.75])
    assert [request.path for request in cloud.requests_to(METRICS.name)] == [{"job_id": job_id, "task": "worker-0"}]


async def test_metrics_that_are_not_ready_are_no_error(cloud: FakeV2, clock: ManualClock) -> None:
    """Trap 9: 204 means that there is no sample yet."""
    (job_id,) = cloud.submit(0)

    assert await make_source(cloud, clock).usage(Job(job_id=job_id, api=Api.V2), "worker-0") is None


async def test_usage_of_a_deleted_job_is_gone(cloud: FakeV2, clock: ManualClock) -> None:
    """Errors of the metrics call are raised unchanged."""
    cloud.fail = lambda _: Gone(METRICS.name, "no such job", status=400, code="ModelArts.2775")

    with pytest.raises(Gone):
        await make_source(cloud, clock).usage(Job(job_id="a", api=Api.V2), "worker-0")


def test_it_is_a_source_of_v2(cloud: FakeV2, clock: ManualClock) -> None:
    """The source has its API generation, and its project in its repr."""
    source: JobSource = make_source(cloud, clock)

    assert source.api is Api.V2
    assert "vision" in repr(source)


def test_truncation_is_an_invalid_response_not_refused() -> None:
    """The request succeeded, but the response ignores a parameter; the outcome label shows it."""
    assert issubclass(InvalidResponse, CloudError)
    assert not issubclass(InvalidResponse, Refused)


@pytest.mark.parametrize("active", [(5,) * 6, (0, 0, 0), (49, 50, 120), (1,)])
async def test_the_calls_of_a_poll_grow_with_the_workspaces(active: tuple[int, ...], clock: ManualClock) -> None:
    """⌊active/50⌋ + 2 searches for each workspace, as docs/adr/0001 says, and a detail for each job that ended."""
    cloud = FakeV2()
    workspaces = tuple(str(number) for number in range(len(active)))
    running = []
    for workspace_id, jobs in zip(workspaces, active, strict=True):
        cloud.submit(*range(200), phase="Completed", workspace_id=workspace_id)
        running += cloud.submit(*range(200, 200 + jobs), workspace_id=workspace_id)
    poller = FakePoller(make_source(cloud, clock, workspaces=workspaces))
    await poller.poll()  # learns the meaning of `offset`

    cloud.requests.clear()
    await poller.poll()
    assert len(cloud.requests) <= sum(jobs // 50 + 2 for jobs in active)
    assert len(cloud.requests) >= 2 * len(active)
