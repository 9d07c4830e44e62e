"""The poller: a project's snapshot after good polls, failed ones, and none."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from exporter.cloud.http.errors import Denied as CloudDenied
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import CollectorState, ProjectSnapshot
from exporter.domain.source import PollResult, SourceError, TrackedState
from exporter.domain.usage import TaskSeries
from exporter.polling.call_count import count_call
from exporter.polling.poller import PollReport, PollSettings, ProjectPoller
from exporter.polling.visibility import Visibility
from tests.clock import ManualClock
from tests.polling import FakeSources, default_poll_settings

SETTINGS = default_poll_settings()


class Denied(SourceError):
    outcome = "denied"

    @property
    def is_final(self) -> bool:
        return True


class Gone(SourceError):
    outcome = "gone"


def a_job(job_id: str = "a", status: JobStatus = JobStatus.RUNNING, *, api: Api = Api.V2, **fields: object) -> Job:
    job = Job(job_id=job_id, api=api, status=status, submitted_at=1_699_990_000.0, tasks=("worker-0",))
    return replace(job, **fields)  # type: ignore[arg-type]  # test cases name the fields they need


@dataclass
class FakeSource:
    """A source with results set by the test."""

    api: Api = Api.V2
    jobs: list[Job] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    failures: list[SourceError] = field(default_factory=list)
    """Parts of a poll that fail."""
    error: Exception | None = None
    """Raised by a poll or sweep."""
    usage_errors: dict[str, SourceError] = field(default_factory=dict)
    """By job id."""
    series: TaskSeries | None = field(
        default_factory=lambda: TaskSeries(task="worker-0", cpu=[0.5], accelerator=[0.9])
    )
    read: list[tuple[str, str]] = field(default_factory=list)
    swept: int = 0
    answer: asyncio.Event | None = None
    """When set, a poll waits for it."""
    on_usage: Callable[[], None] = lambda: None

    async def poll(self, known: TrackedState) -> PollResult:
        del known
        count_call()
        if self.answer is not None:
            await self.answer.wait()
        if self.error is not None:
            raise self.error
        return PollResult(jobs=tuple(self.jobs), gone=frozenset(self.gone), failures=tuple(self.failures))

    async def sweep(self, known: TrackedState) -> PollResult:
        del known
        self.swept += 1
        if self.error is not None:
            raise self.error
        return PollResult(jobs=tuple(self.jobs), gone=frozenset(self.gone), failures=tuple(self.failures))

    def tasks(self, job: Job) -> tuple[str, ...]:
        return job.tasks

    async def usage(self, job: Job, task: str) -> TaskSeries | None:
        self.read.append((job.job_id, task))
        self.on_usage()
        if job.job_id in self.usage_errors:
            raise self.usage_errors[job.job_id]
        return self.series


class Bench:
    """A poller over fake sources, its snapshots and reports."""

    def __init__(
        self,
        clock: ManualClock,
        *sources: FakeSource,
        settings: PollSettings = SETTINGS,
        visibility: Visibility | None = None,
    ) -> None:
        self.clock = clock
        self.sources = FakeSources(sources)
        self.published: list[ProjectSnapshot] = []
        self.reports: list[PollReport] = []
        self.poller = ProjectPoller(
            initial_snapshot=ProjectSnapshot(project="vision", project_id="p1", region="eu-de", cloud="otc"),
            sources=self.sources,
            settings=settings,
            visibility=visibility or Visibility(),
            clock=clock,
            on_change=self.published.append,
            on_poll=self.reports.append,
        )

    @property
    def newest(self) -> ProjectSnapshot:
        return self.published[-1]

    def up(self) -> bool:
        return self.newest.up

    def complete(self) -> bool:
        return self.newest.complete

    def shown(self) -> set[str] | None:
        """Ids of the published jobs; None when they are withdrawn."""
        return None if self.newest.jobs is None else set(self.newest.jobs)

    def collector(self, name: str) -> CollectorState:
        return next(state for state in self.newest.collectors if state.name == name)


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(jobs=[a_job()])


@pytest.fixture
def bench(clock: ManualClock, source: FakeSource) -> Bench:
    return Bench(clock, source)


async def test_a_good_poll_is_published_and_reported(bench: Bench) -> None:
    """After a good poll the project is up, its jobs are there, and the report has its cost."""
    await bench.poller.poll_jobs()

    assert bench.up()
    assert bench.newest.settled
    assert bench.complete()
    assert bench.shown() == {"a"}
    assert (bench.newest.project_id, bench.newest.region, bench.newest.cloud) == ("p1", "eu-de", "otc")
    report = bench.reports[-1]
    assert (report.collector, report.ok, report.calls, report.jobs, report.failures) == ("jobs", True, 1, 1, ())
    assert bench.collector("jobs").last_success_at == bench.clock.time()


async def test_no_jobs_differs_from_no_answer(bench: Bench, source: FakeSource) -> None:
    """An empty project is up without jobs; in a project that never answered jobs are unknown."""
    source.error = SourceError("list: no response")
    await bench.poller.poll_jobs()
    assert bench.shown() is None
    assert not bench.up()
    assert bench.newest.settled

    source.error = None
    source.jobs = []
    await bench.poller.poll_jobs()
    assert bench.shown() == set()
    assert bench.up()


async def test_a_failure_shows_at_once_and_the_last_jobs_stay(bench: Bench, source: FakeSource) -> None:
    """One failed poll turns up to 0 and keeps the last good jobs; the time of the last success does not move."""
    await bench.poller.poll_jobs()
    good_at = bench.clock.time()
    source.error = SourceError("list: no response")
    bench.clock.turn(30)
    await bench.poller.poll_jobs()

    assert not bench.up()
    assert bench.shown() == {"a"}
    assert bench.complete()
    assert bench.collector("jobs").last_success_at == good_at
    assert bench.reports[-1].failures == (source.error,)
    assert source.error.__traceback__ is None  # or it would keep all that the poll had in hand


async def test_stale_jobs_are_withdrawn_and_come_back(bench: Bench, source: FakeSource) -> None:
    """After stale_after without a response the jobs are withdrawn; a good poll brings them back."""
    await bench.poller.poll_jobs()
    source.error = SourceError("list: no response")
    bench.clock.turn(299)
    await bench.poller.poll_jobs()
    assert bench.shown() == {"a"}

    bench.clock.turn(1)
    await bench.poller.poll_jobs()
    assert bench.shown() is None
    assert not bench.complete()

    source.error = None
    await bench.poller.poll_jobs()
    assert bench.shown() == {"a"}
    assert bench.complete()


async def test_a_part_that_fails_affects_only_itself(bench: Bench, source: FakeSource) -> None:
    """When one workspace fails for long, its active jobs are withdrawn, the others stay, and no sum is shown."""
    source.jobs = [a_job("seen"), a_job("unseen"), a_job("done", JobStatus.FAILED, ended_at=bench.clock.time())]
    await bench.poller.poll_jobs()
    source.jobs = [a_job("seen")]
    source.failures = [SourceError("list: workspace 7 does not answer")]
    for _ in range(10):
        bench.clock.turn(30)
        await bench.poller.poll_jobs()

    assert bench.shown() == {"seen", "done"}
    assert not bench.up()
    assert not bench.complete()


async def test_one_generation_that_fails_does_not_affect_the_other(clock: ManualClock) -> None:
    """Both generations are polled; the one that answers keeps its jobs, the project is not up and not complete."""
    v1, v2 = FakeSource(api=Api.V1, jobs=[a_job("1", api=Api.V1)]), FakeSource(jobs=[a_job("u")])
    bench = Bench(clock, v1, v2)
    await bench.poller.poll_jobs()
    assert bench.shown() == {"1", "u"}

    v1.error = SourceError("v1: no response")
    for _ in range(10):
        clock.turn(30)
        await bench.poller.poll_jobs()
    assert bench.shown() == {"u"}
    assert not bench.up()
    assert not bench.complete()


async def test_a_project_that_cannot_be_probed_fails_its_poll(bench: Bench) -> None:
    """While the API generations are unknown, the poll fails and reports the reason."""
    bench.sources.error = SourceError("probe: no response")
    await bench.poller.poll_jobs()

    assert not bench.up()
    assert bench.shown() is None
    assert str(bench.reports[-1].failures[0]) == "probe: no response"


async def test_a_generation_that_disappears_takes_its_jobs_along(clock: ManualClock) -> None:
    """When probing finds that an API generation is gone, its jobs are withdrawn."""
    v1, v2 = FakeSource(api=Api.V1, jobs=[a_job("1", api=Api.V1)]), FakeSource(jobs=[a_job("u")])
    bench = Bench(clock, v1, v2)
    await bench.poller.poll_jobs()
    bench.sources.sources = (v2,)
    await bench.poller.poll_jobs()

    assert bench.shown() == {"u"}
    assert bench.up()


async def test_a_poll_has_a_deadline(clock: ManualClock, source: FakeSource) -> None:
    """Without a response a poll ends at its timeout, as a failure with that reason."""
    source.answer = asyncio.Event()
    bench = Bench(clock, source, settings=replace(SETTINGS, timeout_s=0.01))
    await bench.poller.poll_jobs()

    assert not bench.up()
    assert str(bench.reports[-1].failures[0]) == "jobs: not finished within 0.01 s"


async def test_a_defect_is_a_failed_poll_and_is_raised(bench: Bench, source: FakeSource) -> None:
    """A defect of the exporter is not a success: up is 0, and the schedule gets the exception to log."""
    await bench.poller.poll_jobs()
    source.error = ZeroDivisionError()
    with pytest.raises(ExceptionGroup):
        await bench.poller.poll_jobs()

    assert not bench.up()
    assert bench.reports[-1].failures[0].outcome == "defect"


async def test_usage_is_read_for_running_jobs(bench: Bench, source: FakeSource) -> None:
    """The tasks of a running job are read and their means shown; those of a queued job are not read."""
    source.jobs = [a_job(tasks=("worker-0", "worker-1")), a_job("waits", JobStatus.QUEUED)]
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()

    assert sorted(source.read) == [("a", "worker-0"), ("a", "worker-1")]
    assert bench.newest.jobs is not None
    usage = bench.newest.jobs["a"].usage
    assert usage is not None
    assert (usage.cpu_ratio, usage.accelerator_ratio) == (0.5, 0.9)
    assert bench.newest.jobs["waits"].usage is None
    assert bench.collector("usage").ok


@pytest.mark.parametrize("api", list(Api))
async def test_ended_and_waiting_jobs_are_not_requested(clock: ManualClock, api: Api) -> None:
    """Usage of a job is requested while it runs, and until its final samples are read; of other jobs never."""

    def held(job_id: str, status: JobStatus, **facts: object) -> Job:
        facts = {"accelerator": Accelerator.GPU, "spec_accelerators": 8.0, "user": "ann", **facts}
        return a_job(job_id, status, api=api, run_duration_s=60.0, **facts)

    source = FakeSource(api=api)
    bench = Bench(clock, source)
    before = [held(f"old-{status}", status) for status in JobStatus if status.finished]
    waiting = [a_job("waits", JobStatus.QUEUED, api=api), a_job("new", JobStatus.INITIALIZING, api=api)]
    running = [held("a", JobStatus.RUNNING), held("b", JobStatus.SCALING), held("c", JobStatus.RUNNING)]

    async def requested() -> list[str]:
        await bench.poller.poll_jobs()
        source.read.clear()
        await bench.poller.poll_usage()
        clock.turn(30)
        return sorted(job_id for job_id, _ in source.read)

    source.jobs = [*before, *waiting, *running]
    assert await requested() == ["a", "b", "c"]

    ended = [replace(job, status=JobStatus.COMPLETED) for job in running[:2]]
    source.jobs = [*before, *waiting, *ended, running[2]]
    assert await requested() == ["a", "b", "c"]  # the final samples of two
    for _ in range(3):
        assert await requested() == ["c"]

    source.jobs = [*before, *waiting, *ended]
    source.gone = {"c"}
    for _ in range(3):
        assert await requested() == []


async def test_usage_waits_for_the_first_jobs(bench: Bench, source: FakeSource) -> None:
    """Started together with the first jobs poll, the usage poll follows it at once instead of an interval later."""
    usage = asyncio.create_task(bench.poller.poll_usage())
    await asyncio.sleep(0)
    assert bench.reports == []
    await bench.poller.poll_jobs()
    await usage

    assert [report.collector for report in bench.reports] == ["jobs", "usage"]
    assert source.read == [("a", "worker-0")]


async def test_without_a_source_no_usage_is_read(bench: Bench) -> None:
    """While the generations are unknown the usage collector has no state, neither ok nor failed."""
    bench.sources.error = SourceError("probe: no response")
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()

    assert [report.collector for report in bench.reports] == ["jobs"]


async def test_old_readings_are_withdrawn_alone(bench: Bench, source: FakeSource) -> None:
    """When usage fails for long its series are withdrawn, except the mean over the run; the job stays."""
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()
    source.usage_errors["a"] = SourceError("metrics: no response")
    for _ in range(10):
        bench.clock.turn(30)
        await bench.poller.poll_jobs()
        await bench.poller.poll_usage()

    assert bench.up()
    assert not bench.collector("usage").ok
    assert bench.newest.jobs is not None
    usage = bench.newest.jobs["a"].usage
    assert usage is not None
    assert (usage.cpu_ratio, usage.accelerator_ratio, usage.accelerator_mean_ratio) == (None, None, 0.9)


async def test_the_mean_outlives_the_job(bench: Bench, source: FakeSource) -> None:
    """A finished job keeps the mean over its run and no current value."""
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()
    for status in (JobStatus.TERMINATING, JobStatus.TERMINATED):
        source.jobs = [a_job(status=status)]
        await bench.poller.poll_jobs()
        await bench.poller.poll_usage()

    assert bench.newest.jobs is not None
    usage = bench.newest.jobs["a"].usage
    assert usage is not None
    assert (usage.accelerator_mean_ratio, usage.accelerator_ratio, usage.idle_s) == (0.9, None, None)


async def test_one_bad_task_does_not_affect_the_others(clock: ManualClock) -> None:
    """A task that always fails is reported, and every other task is read."""
    source = FakeSource(jobs=[a_job("bad"), a_job("good")], usage_errors={"bad": SourceError("metrics: HTTP 400")})
    bench = Bench(clock, source, settings=replace(SETTINGS, usage_workers=1))
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()

    assert bench.newest.jobs is not None
    assert bench.newest.jobs["good"].usage is not None
    assert bench.newest.jobs["bad"].usage is None
    assert not bench.collector("usage").ok


async def test_a_denied_credential_ends_the_usage_poll(clock: ManualClock) -> None:
    """After a denial no further task is read: five rejected signatures lock the key (trap 34)."""
    jobs = [a_job(str(n)) for n in range(20)]
    source = FakeSource(jobs=jobs, usage_errors={job.job_id: Denied("metrics: HTTP 401") for job in jobs})
    bench = Bench(clock, source, settings=replace(SETTINGS, usage_workers=1))
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()

    assert len(source.read) == 1
    assert bench.reports[-1].deferred == 19


async def test_one_forbidden_task_does_not_end_the_usage_poll(clock: ManualClock) -> None:
    """A 403 may concern one job only: the other tasks are read."""
    forbidden = CloudDenied("metrics", "no permission", status=403)
    source = FakeSource(jobs=[a_job("forbidden"), a_job("open")], usage_errors={"forbidden": forbidden})
    bench = Bench(clock, source, settings=replace(SETTINGS, usage_workers=1))
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()

    assert len(source.read) == 2
    assert not bench.collector("usage").ok


async def test_a_task_that_is_gone_is_no_failure(bench: Bench, source: FakeSource) -> None:
    """A job may end between the jobs poll and the usage poll; the next jobs poll finds out."""
    await bench.poller.poll_jobs()
    source.usage_errors["a"] = Gone("metrics: no such job")
    await bench.poller.poll_usage()

    assert bench.collector("usage").ok


async def test_no_data_yet_is_no_failure(bench: Bench, source: FakeSource) -> None:
    """204 means that the cloud has no samples yet: no series, no failure (trap 9)."""
    source.series = None
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()

    assert bench.collector("usage").ok
    assert bench.newest.jobs is not None
    assert bench.newest.jobs["a"].usage is None


async def test_the_longest_unread_task_is_read_first(clock: ManualClock) -> None:
    """With more tasks than one poll can read, each is read once before any is read twice."""
    source = FakeSource(jobs=[a_job(str(n)) for n in range(6)], on_usage=lambda: clock.turn(10))
    bench = Bench(
        clock, source, settings=replace(SETTINGS, usage_timeout_s=25.0, usage_workers=1)
    )  # 0.8 * 25 s: two tasks of 10 s
    await bench.poller.poll_jobs()
    for _ in range(3):
        await bench.poller.poll_usage()

    assert sorted(job_id for job_id, _ in source.read) == ["0", "1", "2", "3", "4", "5"]
    assert [report.deferred for report in bench.reports if report.collector == "usage"] == [4, 4, 4]
    assert bench.collector("usage").ok


async def test_too_few_calls_for_all_tasks_is_no_success(clock: ManualClock) -> None:
    """When tasks are not read for `stale_after`, the usage collector fails."""
    source = FakeSource(jobs=[a_job(str(n)) for n in range(40)], on_usage=lambda: clock.turn(10))
    settings = replace(
        SETTINGS, usage_timeout_s=25.0, usage_workers=1
    )  # two turns a poll, 40 tasks: a round takes 400 s
    bench = Bench(clock, source, settings=settings)
    await bench.poller.poll_jobs()
    for _ in range(14):
        await bench.poller.poll_usage()
    assert bench.collector("usage").ok  # 280 s: no task has waited for 300 s yet
    for _ in range(2):
        await bench.poller.poll_usage()

    assert not bench.collector("usage").ok
    assert bench.reports[-1].failures[0].outcome == "overdue"


async def test_a_step_of_the_wall_clock_withdraws_nothing(bench: Bench) -> None:
    """Freshness is measured by the monotonic clock: correcting the machine's time must not hide running jobs."""
    await bench.poller.poll_jobs()
    bench.clock.step(3600)
    await bench.poller.poll_usage()

    assert bench.shown() == {"a"}


async def test_each_failed_sweep_doubles_the_pause(bench: Bench, source: FakeSource) -> None:
    """A sweep that always fails lists the whole history each time, so its pause grows."""
    await bench.poller.poll_jobs()
    source.error = SourceError("list: no response")
    at = []
    for minute in range(0, 120, 10):
        before = source.swept
        await bench.poller.sweep()
        if source.swept > before:
            at.append(minute)
        bench.clock.turn(600)

    assert at == [0, 10, 30, 70]  # pauses of 10, 20, 40 minutes


async def test_nothing_changed_is_the_same_object(bench: Bench, source: FakeSource) -> None:
    """An unchanged job is published as the same object, so that it is not rendered again."""
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()
    assert bench.newest.jobs is not None
    before = bench.newest.jobs["a"]
    source.jobs = [a_job()]
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()
    assert bench.newest.jobs["a"] is before

    source.jobs = [a_job(run_duration_s=5.0)]
    await bench.poller.poll_jobs()
    assert bench.newest.jobs["a"] is not before


async def test_ended_usage_stays_the_same_object(bench: Bench, source: FakeSource) -> None:
    """A finished job with a mean is unchanged at each poll."""
    await bench.poller.poll_jobs()
    await bench.poller.poll_usage()
    source.jobs = [a_job(status=JobStatus.COMPLETED, ended_at=bench.clock.time())]
    await bench.poller.poll_jobs()
    assert bench.newest.jobs is not None
    before = bench.newest.jobs["a"]
    await bench.poller.poll_jobs()

    assert bench.newest.jobs["a"] is before


async def test_a_hidden_job_is_counted_not_shown(clock: ManualClock) -> None:
    """A filter hides a job's own series and leaves it in the aggregates."""
    source = FakeSource(jobs=[a_job("a", name="secret"), a_job("b", name="open")])
    bench = Bench(clock, source, visibility=Visibility(shows=lambda job: job.name != "secret"))
    await bench.poller.poll_jobs()

    assert bench.newest.jobs is not None
    assert {job_id: tracked.shown for job_id, tracked in bench.newest.jobs.items()} == {"a": False, "b": True}


@pytest.mark.parametrize(
    "user_label, expected",
    [
        pytest.param("keep", "alice", id="keep"),
        pytest.param("hash", "2bd806c97f0e", id="hash"),  # sha256("alice")
        pytest.param("drop", "", id="drop"),
    ],
)
async def test_users_are_masked_as_configured(clock: ManualClock, user_label: str, expected: str) -> None:
    """The user label is kept, hashed or dropped; filters still see the real name."""
    source = FakeSource(jobs=[a_job(user="alice")])
    visibility = Visibility(shows=lambda job: job.user == "alice", user_label=user_label)  # type: ignore[arg-type]  # a literal
    bench = Bench(clock, source, visibility=visibility)
    await bench.poller.poll_jobs()

    assert bench.newest.jobs is not None
    assert bench.newest.jobs["a"].job.user == expected
    assert bench.newest.jobs["a"].shown


async def test_a_sweep_follows_the_first_good_poll(bench: Bench, source: FakeSource) -> None:
    """No sweep while bootstrapping; then one at once, the next one a whole interval later."""
    source.error = SourceError("list: no response")
    await bench.poller.poll_jobs()
    await bench.poller.sweep()
    assert source.swept == 0

    source.error = None
    await bench.poller.poll_jobs()
    await bench.poller.sweep()
    await bench.poller.sweep()
    assert source.swept == 1

    bench.clock.turn(21600)
    await bench.poller.sweep()
    assert source.swept == 2


async def test_a_failed_sweep_is_tried_again_soon(bench: Bench, source: FakeSource) -> None:
    """A sweep that failed, wholly or in part, shows as a collector that is down and does not wait six hours."""
    await bench.poller.poll_jobs()
    source.failures = [SourceError("list: page 7 does not answer")]
    await bench.poller.sweep()
    assert not bench.collector("sweep").ok
    source.error = SourceError("list: no response")
    bench.clock.turn(600)
    await bench.poller.sweep()
    assert source.swept == 2
    assert not bench.collector("sweep").ok

    source.failures, source.error = [], None
    bench.clock.turn(1200)
    await bench.poller.sweep()
    assert bench.collector("sweep").ok
