"""The v2 source: what a look and a sweep bring, what they cost, and what a failure leaves standing."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

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
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v2.fake_cloud import T0, FakeV2, Request


@dataclass
class FakePoller:
    """Plays polling: looks, and remembers what it saw."""

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
    cloud: FakeV2, clock: ManualClock, *, workspaces: tuple[str, ...] = ("0",), notes: Notes | None = None
) -> V2Source:
    async def listed() -> tuple[str, ...]:
        return workspaces

    return V2Source(
        cloud, project="vision", workspaces=listed, clock=clock, note=notes if notes is not None else Notes()
    )


async def push_off_newest_page(cloud: FakeV2, poller: FakePoller) -> None:
    """Push every job so far off the newest page, with 60 jobs that are accounted for."""
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


@pytest.fixture
def cloud() -> FakeV2:
    return FakeV2()


async def test_a_look_sees_active_and_newest_jobs(cloud: FakeV2, clock: ManualClock) -> None:
    """The first look brings what is active, however old, and the newest page: 50 of 60 ended jobs, 1 old active."""
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
async def test_the_cost_of_a_look(offset: str, active: int, history: int, clock: ManualClock) -> None:
    """At most ⌈active/50⌉ + 2 calls, from the first look on, with any history; one more for each that ended."""
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


async def test_a_search_is_of_one_workspace_newest_first_fifty_at_a_time(cloud: FakeV2, clock: ManualClock) -> None:
    """Traps 2 and 4: each search asks for 50 at the most, in a sort of its own saying, of one named workspace."""
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
        "filters": [
            {"key": "phase", "operator": "in", "value": ["Creating", "Pending", "Running", "Terminating"]},
        ],
    }
    assert "filters" not in cloud.searches[1].body


async def test_a_job_that_starts_and_ends_between_two_looks_is_seen(cloud: FakeV2, clock: ManualClock) -> None:
    """It was never active when asked, but it is news on the newest page."""
    cloud.submit(*range(60), phase="Completed")
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()

    (short,) = cloud.submit(100, phase="Failed")
    result = await poller.poll()

    assert status_of(result)[short] is JobStatus.FAILED
    assert cloud.details == []


@pytest.mark.parametrize("offset", ["page", "record"])
async def test_a_burst_is_followed_to_known_ground(offset: str, clock: ManualClock) -> None:
    """130 jobs that came and went since the last look fill over two pages: the walk goes on until it is past them."""
    cloud = FakeV2(offset=offset)
    cloud.submit(*range(1000), phase="Completed")
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()

    burst = cloud.submit(*range(2000, 2130), phase="Completed")
    cloud.requests.clear()
    result = await poller.poll()

    assert set(burst) <= set(status_of(result))
    assert len(cloud.requests) <= 1 + 4


async def test_old_news_does_not_lead_into_the_history(cloud: FakeV2, clock: ManualClock) -> None:
    """The seed saw one page only; what lies below it is unaccounted for, and still no reason to walk there."""
    cloud.submit(*range(5000), phase="Completed")
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()

    cloud.submit(*range(6000, 6003), phase="Completed")
    cloud.requests.clear()
    await poller.poll()

    assert len(cloud.requests) == 2


async def test_ended_jobs_are_asked_for_one_by_one_a_few_at_a_time(cloud: FakeV2, clock: ManualClock) -> None:
    """30 jobs that left the active set and the newest page get a detail each, at most 4 under way at once."""
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
    """The newest page already tells how a young job ended."""
    (job_id,) = cloud.submit(0)
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    cloud.set_phase("Failed", job_id)

    result = await poller.poll()

    assert status_of(result) == {job_id: JobStatus.FAILED}
    assert cloud.details == []


async def test_a_deleted_job_is_gone(cloud: FakeV2, clock: ManualClock) -> None:
    """Traps 9 and 40: a job that vanished is asked for by itself; 400 with 2775 says that it is gone: no failure."""
    (job_id,) = cloud.submit(0)
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    cloud.delete(job_id)

    result = await poller.poll()

    assert result.gone == {job_id}
    assert result.failures == ()


async def test_a_detail_that_fails_is_a_failed_part(cloud: FakeV2, clock: ManualClock) -> None:
    """One job's detail breaks; the other's is told, and the failing one is neither gone nor invented."""
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
async def test_a_detail_of_something_else_is_unintelligible(
    answer: dict[str, object], cloud: FakeV2, clock: ManualClock
) -> None:
    """An answer that is not the job that was asked for changes nothing about that job."""
    (job_id,) = cloud.submit(0)
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    await push_off_newest_page(cloud, poller)
    cloud.set_phase("Completed", job_id)
    cloud.before_answer = lambda _: None if job_id not in cloud.details else cloud.jobs.update({job_id: answer})

    result = await poller.poll()

    assert outcomes(result) == ["invalid_response"]
    assert job_id not in status_of(result)


async def test_a_workspace_that_fails_blanks_no_other(cloud: FakeV2, clock: ManualClock) -> None:
    """Of three workspaces one breaks: its error is told, its running job is not asked for, the others are whole."""
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
    assert len(cloud.searches) == 5  # two each for a and c, and one for b, whose newest page would fare no better


async def test_a_refused_filter_leaves_the_newest_page(cloud: FakeV2, clock: ManualClock) -> None:
    """When only the filtered search is refused, the newest page is still asked for; the look is not whole."""
    (job_id,) = cloud.submit(0)
    cloud.fail = failing(
        lambda request: request.filtered, Refused(SEARCH.name, "bad operator", status=400, code="ModelArts.2808")
    )

    result = await make_source(cloud, clock).poll(TrackedState())

    assert outcomes(result) == ["refused"]
    assert list(status_of(result)) == [job_id]


async def test_a_failed_newest_page_is_a_failed_part(cloud: FakeV2, clock: ManualClock) -> None:
    """The active jobs stand, the newest ones are missing, and that is said."""
    (job_id,) = cloud.submit(0)
    cloud.fail = failing(lambda request: not request.filtered, Throttled(SEARCH.name, "slow down", status=429))

    result = await make_source(cloud, clock).poll(TrackedState())

    assert outcomes(result) == ["throttled"]
    assert list(status_of(result)) == [job_id]


async def test_a_failed_second_page_keeps_the_first(cloud: FakeV2, clock: ManualClock) -> None:
    """120 active jobs, the second page breaks: the first 50 are told, and nobody is asked for one by one."""
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
    """Trap 34: after the first such answer no second request is sent, not even for other workspaces; it is raised."""
    cloud.fail = lambda _: error
    source = make_source(cloud, clock, workspaces=("a", "b", "c", "d", "e", "f"))

    for request in (source.poll, source.sweep):
        cloud.requests.clear()
        with pytest.raises(type(error)):
            await request(TrackedState())
        assert len(cloud.requests) == 1


async def test_a_forbidden_workspace_is_that_workspaces_matter(cloud: FakeV2, clock: ManualClock) -> None:
    """A 403 can be about one workspace: one call for it, and the others are asked all the same."""
    (job_id,) = cloud.submit(0, workspace_id="b")
    cloud.fail = failing(
        lambda request: request.body.get("workspace_id") == "a", Denied(SEARCH.name, "no permission", status=403)
    )

    result = await make_source(cloud, clock, workspaces=("a", "b")).poll(TrackedState())

    assert outcomes(result) == ["denied"]
    assert list(status_of(result)) == [job_id]
    assert len(cloud.searches) == 3


async def test_denied_details_stop_the_questions(cloud: FakeV2, clock: ManualClock) -> None:
    """Trap 34: of 40 ended jobs at most the 4 that were under way are asked for after details are denied."""
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
    assert len(result.jobs) == 50  # the newest page stands


async def test_nothing_learned_is_raised(cloud: FakeV2, clock: ManualClock) -> None:
    """When no workspace answered, the first error is raised: there is no sighting to speak of."""
    cloud.fail = lambda _: ServerError(SEARCH.name, "busy", status=500)

    with pytest.raises(ServerError):
        await make_source(cloud, clock, workspaces=("a", "b")).poll(TrackedState())


async def test_unknown_workspaces_are_an_error(cloud: FakeV2, clock: ManualClock) -> None:
    """When the workspaces cannot be listed, that error is the look's; nothing is asked."""

    async def broken() -> tuple[str, ...]:
        raise ServerError("v1_list_workspaces", "busy", status=500)

    source = V2Source(cloud, project="vision", workspaces=broken, clock=clock, note=Notes())

    with pytest.raises(SourceError):
        await source.poll(TrackedState())
    assert cloud.requests == []


async def test_without_a_workspace_there_is_nothing_to_see(cloud: FakeV2, clock: ManualClock) -> None:
    """No workspace: no call, no job, no failure."""
    assert await make_source(cloud, clock, workspaces=()).poll(TrackedState()) == PollResult()


async def test_an_empty_list_really_means_no_jobs(cloud: FakeV2, clock: ManualClock) -> None:
    """A listing whose items are null is empty and whole; of one without items the contract test speaks."""
    assert await make_source(cloud, clock).poll(TrackedState()) == PollResult()


async def test_a_job_without_a_workspace_is_where_it_was_listed(cloud: FakeV2, clock: ManualClock) -> None:
    """A job that does not name its workspace has the one that was asked about."""
    cloud.submit(0, workspace_id="b")
    cloud.names_workspaces = False

    result = await make_source(cloud, clock, workspaces=("a", "b")).poll(TrackedState())

    assert [job.workspace_id for job in result.jobs] == ["b"]


async def test_a_bad_item_costs_only_itself(cloud: FakeV2, clock: ManualClock) -> None:
    """One unreadable item among 120: it is noted, the other 119 are told, and paging is not confused."""
    running = cloud.submit(*range(120))
    cloud.jobs[running[60]]["metadata"]["id"] = None
    notes = Notes()

    result = await make_source(cloud, clock, notes=notes).poll(TrackedState())

    assert set(status_of(result)) == set(running) - {running[60]}
    assert set(notes.fields) == {"v2.items"}


async def test_a_job_that_is_said_active_and_is_not_is_told_as_it_is(cloud: FakeV2, clock: ManualClock) -> None:
    """A job that ends while the filtered list is answered comes as ended, and is told so without a detail."""
    (job_id,) = cloud.submit(0)
    cloud.filters = False
    poller = FakePoller(make_source(cloud, clock))
    await poller.poll()
    cloud.set_phase("Terminated", job_id)

    result = await poller.poll()

    assert status_of(result) == {job_id: JobStatus.TERMINATED}


class TestIgnoredFilters:
    """A server that ignores `filters` answers with the newest of everything."""

    async def test_it_is_noticed_bounded_and_said(self, clock: ManualClock) -> None:
        """Of 3000 jobs 20 run: a later look finds them in few calls, without a second newest page, and notes it."""
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

    async def test_the_first_look_searches_further(self, clock: ManualClock) -> None:
        """An old active job among 1200 ended ones is found by the first look, which walks up to 100 pages."""
        cloud = FakeV2(filters=False)
        (old,) = cloud.submit(0)
        cloud.submit(*range(1, 1200), phase="Completed")

        result = await make_source(cloud, clock).poll(TrackedState())

        assert status_of(result)[old] is JobStatus.RUNNING
        assert len(cloud.requests) == 25  # 1200 jobs on 24 full pages, and an empty one

    async def test_the_first_look_is_bounded_too(self, clock: ManualClock) -> None:
        """Of 10 000 jobs the first look walks 100 pages, no more."""
        cloud = FakeV2(filters=False)
        cloud.submit(*range(10_000), phase="Completed")

        await make_source(cloud, clock).poll(TrackedState())

        assert len(cloud.requests) == 100

    async def test_jobs_too_far_down_are_asked_for_by_themselves(self, clock: ManualClock) -> None:
        """A known active job 2000 places down is beyond the 20 pages of a look: one detail tells about it."""
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

    async def test_it_goes_no_further_than_what_is_wanted(self, clock: ManualClock) -> None:
        """An active job 120 places down is reached on the third page, and there the walk ends."""
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

    async def test_a_deleted_job_does_not_lead_on(self, clock: ManualClock) -> None:
        """A wanted job that is gone is not searched for beyond the page that is older than it."""
        cloud = FakeV2(filters=False)
        cloud.submit(*range(-5000, 0), phase="Completed")
        (old,) = cloud.submit(10)
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()
        cloud.delete(old)
        cloud.requests.clear()

        result = await poller.poll()

        assert result.gone == {old}
        assert len(cloud.requests) == 2  # the first page, which is older but for nothing, and the detail

    async def test_news_leads_on(self, clock: ManualClock) -> None:
        """A burst of 130 jobs is followed to known ground here too."""
        cloud = FakeV2(filters=False)
        cloud.submit(*range(1000), phase="Completed")
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()

        burst = cloud.submit(*range(2000, 2130), phase="Completed")
        result = await poller.poll()

        assert set(burst) <= set(status_of(result))


class TestIgnoredOffset:
    """A server that ignores `offset` shows the same 50 jobs for ever."""

    async def test_phases_and_both_ends_show_more(self, clock: ManualClock) -> None:
        """60 running and 40 pending jobs: each phase by itself, from both ends, shows all 100: nothing is missing."""
        cloud = FakeV2(offset="ignored")
        running = cloud.submit(*range(60))
        pending = cloud.submit(*range(60, 100), phase="Pending")

        result = await make_source(cloud, clock).poll(TrackedState())

        assert set(status_of(result)) == {*running, *pending}
        assert result.failures == ()

    async def test_what_cannot_be_reached_is_reported(self, clock: ManualClock) -> None:
        """Of 150 running jobs 100 can be seen, from both ends: the look says that it is not whole."""
        cloud = FakeV2(offset="ignored")
        cloud.submit(*range(150))

        result = await make_source(cloud, clock).poll(TrackedState())

        assert len(result.jobs) == 100
        assert outcomes(result) == ["invalid_response"]

    async def test_known_jobs_that_cannot_be_reached_are_asked_for(self, clock: ManualClock) -> None:
        """The 50 in the middle are known from before: each is asked for by itself."""
        cloud = FakeV2(offset="page")
        running = cloud.submit(*range(150))
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()
        cloud.offset = "ignored"

        result = await poller.poll()

        assert sorted(cloud.details) == sorted(running[50:100])
        assert set(status_of(result)) == set(running)

    async def test_it_is_remembered(self, clock: ManualClock) -> None:
        """The second look does not probe again: the first page, the narrowing of four phases, the newest page."""
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
        """60 jobs came and went since the last look: 50 can be seen, and the look says that it is not whole."""
        cloud = FakeV2(offset="ignored")
        cloud.submit(*range(100), phase="Completed")
        poller = FakePoller(make_source(cloud, clock))
        await poller.poll()

        cloud.submit(*range(200, 260), phase="Completed")
        result = await poller.poll()

        assert outcomes(result) == ["invalid_response"]

    async def test_a_failure_while_narrowing_is_told(self, clock: ManualClock) -> None:
        """The narrowing breaks off: its failure is the listing's."""
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
    """The sweep walks everything and finds out what was deleted."""

    async def test_it_brings_the_whole_history(self, cloud: FakeV2, clock: ManualClock) -> None:
        """1234 jobs over two workspaces, one call at a time."""
        jobs = cloud.submit(*range(1000), phase="Completed") + cloud.submit(*range(234), workspace_id="b")

        result = await make_source(cloud, clock, workspaces=("0", "b")).sweep(TrackedState())

        assert set(status_of(result)) == set(jobs)
        assert result.failures == ()
        assert cloud.max_concurrent == 1

    async def test_it_stops_at_the_oldest_tracked_job(self, cloud: FakeV2, clock: ManualClock) -> None:
        """The oldest tracked job is 120th from the top: pages 0, 1 and 2 reach it, page 3 is wholly older."""
        cloud.submit(*range(1000), phase="Completed")

        await make_source(cloud, clock).sweep(TrackedState(oldest_at=float(T0 + 1000 - 120)))

        assert len(cloud.requests) == 4

    async def test_a_missing_job_is_confirmed_before_it_is_gone(self, cloud: FakeV2, clock: ManualClock) -> None:
        """Reference §1.3: of two tracked jobs missing from the listing, one is gone and one turns out to be there."""
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

    async def test_an_incomplete_listing_proves_nothing_missing(self, cloud: FakeV2, clock: ManualClock) -> None:
        """The second page breaks: what the first did not show is not asked for, let alone gone."""
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
        """A tracked job without a workspace is missing only when every workspace was listed in full."""
        cloud.submit(0, workspace_id="a")
        stray = Job(job_id="stray", api=Api.V2, status=JobStatus.COMPLETED)
        source = make_source(cloud, clock, workspaces=("a", "b"))
        cloud.fail = failing(
            lambda request: request.body.get("workspace_id") == "b", ServerError(SEARCH.name, "busy", status=500)
        )

        assert (await source.sweep(TrackedState(tracked={"stray": stray}))).gone == frozenset()
        cloud.fail = lambda _: None

        assert (await source.sweep(TrackedState(tracked={"stray": stray}))).gone == {"stray"}

    async def test_an_ignored_offset_is_narrowed_and_reported(self, clock: ManualClock) -> None:
        """Of 150 completed and 60 failed jobs, 100 and 60 can be seen; the sweep says that it is not whole."""
        cloud = FakeV2(offset="ignored")
        cloud.submit(*range(150), phase="Completed")
        failed = cloud.submit(*range(150, 210), phase="Failed")

        result = await make_source(cloud, clock).sweep(TrackedState())

        assert len(result.jobs) == 160
        assert set(failed) <= set(status_of(result))
        assert outcomes(result) == ["invalid_response"]

    async def test_nothing_learned_is_raised(self, cloud: FakeV2, clock: ManualClock) -> None:
        """A sweep of which nothing answered raises what went wrong."""
        cloud.fail = lambda _: Unreachable(SEARCH.name, "no route")

        with pytest.raises(Unreachable):
            await make_source(cloud, clock).sweep(TrackedState())


class TestTimeIsUp:
    """A look that should be back asks nothing further and says what it left out."""

    async def test_details_left_over_are_the_next_looks_first(self, cloud: FakeV2, clock: ManualClock) -> None:
        """Each detail takes 4 s of 20: five fit into a look; the other five have their turn in the next one."""
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
        """The first search takes all the time: no second one is sent, one failure is told, its jobs are."""
        (job_id,) = cloud.submit(0, workspace_id="a")
        cloud.before_answer = lambda _: clock.turn(20.0)

        result = await make_source(cloud, clock, workspaces=("a", "b", "c")).poll(
            TrackedState(answer_by=clock.monotonic() + 20.0)
        )

        assert list(status_of(result)) == [job_id]
        assert outcomes(result) == ["unreachable"]
        assert len(cloud.requests) == 1


async def test_a_look_that_is_cancelled_leaves_nothing_running(cloud: FakeV2, clock: ManualClock) -> None:
    """A poll's deadline cancels the look in the middle of its details, and every question with it."""
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


async def test_usage_is_asked_by_task(cloud: FakeV2, clock: ManualClock) -> None:
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
    """Trap 9: 204 means that there are none yet."""
    (job_id,) = cloud.submit(0)

    assert await make_source(cloud, clock).usage(Job(job_id=job_id, api=Api.V2), "worker-0") is None


async def test_usage_of_a_deleted_job_is_gone(cloud: FakeV2, clock: ManualClock) -> None:
    """Errors of the metrics call pass through as they are."""
    cloud.fail = lambda _: Gone(METRICS.name, "no such job", status=400, code="ModelArts.2775")

    with pytest.raises(Gone):
        await make_source(cloud, clock).usage(Job(job_id="a", api=Api.V2), "worker-0")


def test_it_is_a_source_of_v2(cloud: FakeV2, clock: ManualClock) -> None:
    """The source says which generation it speaks, and names its project where it is printed."""
    source: JobSource = make_source(cloud, clock)

    assert source.api is Api.V2
    assert "vision" in repr(source)


def test_truncation_is_unintelligible_not_refused() -> None:
    """The cloud said yes and meant something else; that is what the outcome label says."""
    assert issubclass(InvalidResponse, CloudError)
    assert not issubclass(InvalidResponse, Refused)
