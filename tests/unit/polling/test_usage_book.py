"""Idle time and means against a book that shares no code with the exporter, over all shapes of series."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.cloud.v1 import series as v1_series
from exporter.cloud.v2 import series as v2_series
from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot
from exporter.domain.source import PollResult, TrackedState
from exporter.domain.usage import TaskSeries
from exporter.polling.poller import ProjectPoller
from exporter.polling.visibility import Visibility
from tests import usage_book as book
from tests.clock import ManualClock
from tests.polling import FakeSources, default_poll_settings

CARDS = 8.0
STARTED_AT = 1_700_000_000.0

NO_LAG = [
    pytest.param(book.Shape(), id="a slot before the start and one for the minute under way"),
    pytest.param(book.Shape(begun=False), id="a slot before the start, none for the minute under way"),
    pytest.param(book.Shape(lead=2, begun=False), id="two slots before the start, one for each full minute"),
    pytest.param(book.Shape(lead=0, begun=False), id="one slot for each full minute"),
    pytest.param(book.Shape(lead=0), id="one slot for each minute"),
]


@dataclass
class OneRun:
    """A source with one job, whose run begins at `STARTED_AT`."""

    clock: ManualClock
    shape: book.Shape
    tasks_: list[tuple[str, int]]
    end_s: float
    api: Api
    terminating_s: float = 0.0
    reported_nodes: int | None = None
    requests: list[float] = field(default_factory=list)

    @property
    def now_s(self) -> float:
        return self.clock.time() - STARTED_AT

    @property
    def run_s(self) -> float:
        return min(self.now_s, self.end_s)

    @property
    def _status(self) -> JobStatus:
        if self.now_s >= self.end_s:
            return JobStatus.COMPLETED
        return JobStatus.TERMINATING if self.now_s >= self.end_s - self.terminating_s else JobStatus.RUNNING

    async def poll(self, known: TrackedState) -> PollResult:
        del known
        if self.now_s < 0:
            return PollResult()
        over = self.now_s >= self.end_s
        return PollResult(
            jobs=(
                Job(
                    job_id="a",
                    api=self.api,
                    user="ada",
                    status=self._status,
                    reported_nodes=self.reported_nodes,
                    accelerator=Accelerator.GPU,
                    submitted_at=STARTED_AT - 5,
                    started_at=STARTED_AT,
                    ended_at=STARTED_AT + self.end_s if over else None,
                    run_duration_s=self.run_s,
                    spec_nodes=len(self.tasks_),
                    spec_accelerators=CARDS,
                    tasks=tuple(f"worker-{number}" for number in range(len(self.tasks_))),
                ),
            )
        )

    async def sweep(self, known: TrackedState) -> PollResult:
        return await self.poll(known)

    def tasks(self, job: Job) -> tuple[str, ...]:
        return job.tasks if self.api is Api.V2 else ("",)

    async def usage(self, job: Job, task: str) -> TaskSeries | None:
        del job
        self.requests.append(self.now_s)
        moods, joined = self.tasks_[int(task.removeprefix("worker-") or 0)]
        answer = book.moods_in_answer(self.shape, moods, joined=joined, run_s=self.run_s, now_s=self.now_s)
        if self.api is Api.V1:
            raw = msgspec.Raw(book.v1_answer(answer))
            return v1_series.series(raw, accelerator=Accelerator.GPU, note=lambda *_: None)
        raw_v2 = book.v2_answer(answer)
        return v2_series.series(raw_v2, task=task, accelerator=Accelerator.GPU, note=lambda *_: None)


def told(
    source: OneRun,
    *,
    from_s: float,
    until_s: float,
    jobs_phase_s: float,
    usage_phase_s: float,
    grace_s: float = 0.0,
    look: Callable[[ProjectSnapshot], None] = lambda _: None,
) -> ProjectSnapshot:
    """Poll at the default intervals and return the last snapshot."""
    clock = source.clock
    published: list[ProjectSnapshot] = []
    poller = ProjectPoller(
        initial_snapshot=ProjectSnapshot(project="vision"),
        sources=FakeSources((source,)),
        settings=default_poll_settings(idle_grace_s=grace_s),
        visibility=Visibility(),
        clock=clock,
        on_change=published.append,
        on_poll=lambda _: None,
    )
    moments = sorted(
        [(from_s + jobs_phase_s + 30 * n, True) for n in range(int((until_s - from_s) // 30) + 1)]
        + [(from_s + usage_phase_s + 60 * n, False) for n in range(int((until_s - from_s) // 60) + 1)]
    )

    async def run() -> None:
        await poller.poll_jobs()
        for at, is_jobs in moments:
            clock.turn(max(0.0, STARTED_AT + at - clock.time()))
            await (poller.poll_jobs() if is_jobs else poller.poll_usage())
            look(published[-1])

    asyncio.run(run())
    return published[-1]


def idle_s(snapshot: ProjectSnapshot) -> float:
    return sum(snapshot.totals.idle_s.values())


def one_run(shape: book.Shape, *tasks: tuple[str, int], end_s: float, from_s: float, api: Api = Api.V2) -> OneRun:
    return OneRun(ManualClock(STARTED_AT + from_s), shape, list(tasks), end_s, api)


RUNS = st.integers(0, 25).flatmap(
    lambda minutes: st.tuples(
        st.lists(
            st.tuples(st.text("iiib.", min_size=minutes, max_size=minutes), st.sampled_from([0, 0, 2, 5, 9])),
            min_size=1,
            max_size=3,
        ),
        st.floats(minutes * 60, minutes * 60 + 59.5),
    )
)


@settings(deadline=None, max_examples=60)
@given(
    run=RUNS,
    shape=st.builds(
        book.Shape,
        lead=st.just(1),
        begun=st.booleans(),
        lag=st.integers(0, 4),
        lag_has_slots=st.booleans(),
        late_is_padded=st.booleans(),
    ),
    api=st.sampled_from([Api.V1, Api.V2]),
    phases=st.tuples(st.floats(0, 29), st.floats(0, 59)),
    grace_s=st.sampled_from([0.0, 180.0]),
)
def test_every_sampled_idle_minute_counts_once(
    run: tuple[list[tuple[str, int]], float],
    shape: book.Shape,
    api: Api,
    phases: tuple[float, float],
    grace_s: float,
) -> None:
    """Whatever the lag, the padding and the moments of the polls: idle time and mean are those of the book."""
    tasks, end_s = run
    tasks = [(tasks[0][0], 0)] + ([] if api is Api.V1 else tasks[1:])
    source = one_run(shape, *tasks, end_s=end_s, from_s=-60, api=api)
    last = told(
        source, from_s=-60, until_s=end_s + 600, jobs_phase_s=phases[0], usage_phase_s=phases[1], grace_s=grace_s
    )

    assert idle_s(last) == pytest.approx(60 * CARDS * book.idle_minutes(tasks, end_s=end_s, grace_s=grace_s))
    assert last.jobs is not None
    usage = last.jobs["a"].usage
    expected = book.mean(tasks, end_s=end_s)
    if expected is None:
        assert usage is None
    else:
        assert usage is not None
        assert usage.accelerator_mean_ratio == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("api", [Api.V1, Api.V2])
@pytest.mark.parametrize("shape", NO_LAG)
def test_a_run_that_idles_all_the_time_is_told_wholly(shape: book.Shape, api: Api) -> None:
    """All whole minutes of an idle run count, whichever slot the first of them has."""
    for usage_phase_s in (0.0, 7.0, 31.0, 55.0):
        source = one_run(shape, ("i" * 30, 0), end_s=30 * 60 + 20, from_s=-60, api=api)
        last = told(source, from_s=-60, until_s=32 * 60, jobs_phase_s=3, usage_phase_s=usage_phase_s)
        assert idle_s(last) == 30 * 60 * CARDS


@pytest.mark.parametrize("shape", NO_LAG)
def test_a_running_job_is_told_up_to_the_last_minute(shape: book.Shape) -> None:
    """While a job runs, idle time is at most two minutes and the intervals of the polls behind."""
    source = one_run(shape, ("i" * 60, 0), end_s=3600, from_s=-60)

    def look(snapshot: ProjectSnapshot) -> None:
        assert source.run_s - 240 <= idle_s(snapshot) / CARDS <= max(0.0, source.run_s)

    told(source, from_s=-60, until_s=3500, jobs_phase_s=3, usage_phase_s=11, look=look)


@settings(deadline=None, max_examples=20)
@given(
    since_s=st.floats(120, 1_200), moods=st.text("iiib.", min_size=40, max_size=40), grace=st.sampled_from([0, 180])
)
@example(since_s=600.0, moods="i" * 40, grace=180)
def test_a_job_that_ran_at_the_first_poll_counts_from_then_on(since_s: float, moods: str, grace: int) -> None:
    """What was before the first poll does not count, but tells how long the job has idled."""
    source = one_run(book.Shape(), (moods, 0), end_s=40 * 60 + 30, from_s=since_s)
    last = told(source, from_s=since_s, until_s=43 * 60, jobs_phase_s=30, usage_phase_s=7, grace_s=grace)

    expected = book.idle_minutes([(moods, 0)], end_s=40 * 60 + 30, grace_s=grace, since_s=since_s)
    assert idle_s(last) == pytest.approx(60 * CARDS * expected)


@pytest.mark.parametrize("shape", NO_LAG)
def test_a_window_that_slides_loses_nothing(shape: book.Shape) -> None:
    """Over the moment from which the cloud keeps three days only, each idle minute counts once."""
    minutes = book.WINDOW + 25
    moods = "b" * (book.WINDOW - 25) + "iib" * 20
    since_s = (book.WINDOW - 20) * 60.0
    source = one_run(shape, (moods, 0), end_s=minutes * 60 + 25.0, from_s=since_s)
    last = told(source, from_s=since_s, until_s=minutes * 60 + 120.0, jobs_phase_s=3, usage_phase_s=11)

    expected = book.idle_minutes([(moods, 0)], end_s=minutes * 60, grace_s=0, since_s=since_s)
    assert idle_s(last) / CARDS == pytest.approx(60 * expected, abs=61)


DEAD = [
    pytest.param(book.Shape(dead_from=20), id="a tail without samples"),
    pytest.param(book.Shape(dead_from=20, dead_has_slots=False), id="no further slots"),
]


@pytest.mark.parametrize("joined", [0, 6])
@pytest.mark.parametrize("shape", DEAD)
@pytest.mark.parametrize("api", [Api.V1, Api.V2])
def test_usage_that_has_stopped_arriving_is_withdrawn(shape: book.Shape, api: Api, joined: int) -> None:
    """After ten slots without a sample only the mean and the time of the newest sample are left."""
    tasks = [("i" * 60, 0)] + ([("i" * 60, joined)] if api is Api.V2 else [])
    source = one_run(shape, *tasks, end_s=3600, from_s=-60, api=api)
    newest_at = STARTED_AT + 19 * 60

    def look(snapshot: ProjectSnapshot) -> None:
        assert snapshot.jobs is not None
        usage = snapshot.jobs["a"].usage if "a" in snapshot.jobs else None
        if usage is None or source.run_s < 22 * 60:
            return
        assert usage.sampled_at == newest_at
        assert usage.accelerator_mean_ratio == 0.0
        shown = (usage.cpu_ratio, usage.memory_ratio, usage.accelerator_ratio, usage.idle_s, usage.flat_s)
        if source.run_s > 33 * 60:
            assert shown == (None,) * 5
            assert usage.suspected_hang is None
            assert usage.accelerator_min_ratio is None
        elif source.run_s < 29 * 60:
            assert None not in shown

    told(source, from_s=-60, until_s=3500, jobs_phase_s=3, usage_phase_s=11, look=look)


def test_one_dead_task_leaves_the_others() -> None:
    """The current values are those of the tasks whose usage arrives, and idle minutes count by them."""
    source = one_run(book.Shape(), ("i" * 60, 0), ("b" * 20 + "." * 40, 0), end_s=3600, from_s=-60)
    last = told(source, from_s=-60, until_s=3500, jobs_phase_s=3, usage_phase_s=11)

    assert last.jobs is not None
    usage = last.jobs["a"].usage
    assert usage is not None
    assert (usage.accelerator_ratio, usage.accelerator_min_ratio) == (0.0, 0.0)
    assert 26 * 60 <= idle_s(last) / CARDS <= 38 * 60
    assert usage.sampled_at is not None
    assert usage.sampled_at >= STARTED_AT + 3500 - 200


@pytest.mark.parametrize("api", [Api.V1, Api.V2])
def test_a_job_that_terminates_keeps_its_usage_while_it_holds_nodes(api: Api) -> None:
    """Usage is read and shown until the nodes are released."""
    source = one_run(book.Shape(), ("b" * 30, 0), end_s=30 * 60, from_s=-60, api=api)
    source.terminating_s = 600
    source.reported_nodes = 1

    def look(snapshot: ProjectSnapshot) -> None:
        assert snapshot.jobs is not None
        if source.run_s > 25 * 60 and source.now_s < source.end_s:
            tracked = snapshot.jobs["a"]
            assert tracked.job.status is JobStatus.TERMINATING
            assert tracked.usage is not None
            assert tracked.usage.accelerator_ratio == 0.875

    told(source, from_s=-60, until_s=32 * 60, jobs_phase_s=3, usage_phase_s=11, look=look)
    assert [at for at in source.requests if 25 * 60 < at < 29 * 60]


def test_a_job_that_terminates_without_nodes_is_not_read() -> None:
    """Without nodes there is no usage: no call is made for it."""
    source = one_run(book.Shape(), ("b" * 30, 0), end_s=30 * 60, from_s=-60)
    source.terminating_s = 600
    source.reported_nodes = 0
    told(source, from_s=-60, until_s=29 * 60, jobs_phase_s=3, usage_phase_s=11)

    assert [at for at in source.requests if at > 21 * 60] == []


def test_an_ended_job_is_read_once_when_nothing_is_missing() -> None:
    """Final samples cost one call a task; a job whose last samples never come costs calls for five minutes only."""
    whole = one_run(book.Shape(), ("b" * 30, 0), end_s=30 * 60 + 20, from_s=-60)
    told(whole, from_s=-60, until_s=3600, jobs_phase_s=3, usage_phase_s=11)
    dead = one_run(book.Shape(dead_from=20), ("b" * 30, 0), end_s=30 * 60 + 20, from_s=-60)
    told(dead, from_s=-60, until_s=3600, jobs_phase_s=3, usage_phase_s=11)

    assert len([at for at in whole.requests if at > whole.end_s]) == 1
    assert 1 < len([at for at in dead.requests if at > dead.end_s]) <= 6


def test_a_short_run_has_a_mean() -> None:
    """A run of 93 s that ended between two usage polls has the mean of its one sample."""
    source = one_run(book.Shape(lead=2, begun=False), ("b" * 2, 0), end_s=93, from_s=-60)
    last = told(source, from_s=-60, until_s=400, jobs_phase_s=3, usage_phase_s=55)

    assert last.jobs is not None
    usage = last.jobs["a"].usage
    assert usage is not None
    assert usage.accelerator_mean_ratio == 0.875
