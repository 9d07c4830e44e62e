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
    requests: list[float] = field(default_factory=list)

    @property
    def now_s(self) -> float:
        return self.clock.time() - STARTED_AT

    @property
    def run_s(self) -> float:
        return min(self.now_s, self.end_s)

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
                    status=JobStatus.COMPLETED if over else JobStatus.RUNNING,
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
