"""State: a restart at any moment does not change what is counted and tracked later."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.snapshot import ProjectSnapshot
from exporter.domain.source import PollResult, SourceError, TrackedState
from exporter.domain.usage import TaskSeries
from exporter.polling.ledger import LATE_S, Counts, CountsState, Ledger, LedgerState
from exporter.polling.poller import ProjectPoller, ProjectState
from exporter.polling.statefile import StateFile
from exporter.polling.visibility import Visibility
from tests.clock import ManualClock
from tests.polling import FakeSources, default_poll_settings

T0 = 1_700_000_000.0
RETENTION_S = 86_400.0
LINGER_S = 300.0


@dataclass(frozen=True)
class Step:
    """One poll or sweep, and the time since the one before."""

    result: PollResult
    sweep: bool
    after_s: float


@dataclass
class Kept:
    """A ledger and its counts."""

    counts: Counts
    ledger: Ledger

    def take(self, step: Step, *, now: float) -> None:
        """Take in one step."""
        if step.sweep:
            self.ledger.sweep(step.result, now=now)
        else:
            self.ledger.update(step.result, now=now, at=now)

    def state(self) -> ProjectState:
        """Everything that survives."""
        return ProjectState(origin="here", counts=self.counts.dump(), ledgers={"v2": self.ledger.dump(means={})})

    def known(self) -> tuple[object, ...]:
        """What a source is given."""
        known = self.ledger.known()
        jobs = [job("x", submitted_at=T0 + at) for at in (-LATE_S, 0.0, LATE_S)]
        return (
            known.unfinished,
            known.tracked,
            known.bootstrapping,
            known.oldest_at,
            known.incomplete,
            [known.is_new(each) for each in jobs],
        )


def kept() -> Kept:
    counts = Counts(max_users=100)
    return Kept(counts, Ledger(counts=counts, retention_s=RETENTION_S, linger_s=LINGER_S))


def restarted(before: Kept, *, path: Path) -> Kept:
    """Write everything to a file, and restore it as another process would."""
    state = StateFile(path)
    state.save({"vision": before.state()})
    projects, warning = state.load()
    assert warning == ""
    after = kept()
    after.counts.restore(projects["vision"].counts)
    after.ledger.restore(projects["vision"].ledgers["v2"])
    return after


def job(
    job_id: str,
    status: JobStatus = JobStatus.RUNNING,
    *,
    submitted_at: float | None = T0,
    pool_id: str = "",
    started_at: float | None = None,
    ended_at: float | None = None,
) -> Job:
    return Job(
        job_id=job_id,
        api=Api.V2,
        status=status,
        submitted_at=submitted_at,
        pool_id=pool_id,
        started_at=started_at,
        ended_at=ended_at,
    )


TIMES = st.none() | st.sampled_from([T0 - 9_000.5, T0 - 60, T0 + 1.25, T0 + 200, T0 + LATE_S + 300, T0 + 90_000])
JOBS = st.builds(
    job,
    st.sampled_from("abcdef"),
    st.sampled_from(JobStatus),
    submitted_at=TIMES,
    pool_id=st.sampled_from(["", "a100"]),
    started_at=TIMES,
    ended_at=TIMES,
)


def poll_result(jobs: Sequence[Job], gone: frozenset[str], *, failed: bool) -> PollResult:
    once = {each.job_id: each for each in jobs}
    return PollResult(
        jobs=tuple(once.values()),
        gone=gone - once.keys(),
        failures=(SourceError("no response"),) if failed else (),
        incomplete=frozenset(once) if failed else frozenset(),
    )


STEPS = st.builds(
    Step,
    st.builds(
        poll_result,
        st.lists(JOBS, max_size=4),
        st.frozensets(st.sampled_from("abcdef"), max_size=2),
        failed=st.booleans(),
    ),
    sweep=st.sampled_from([False, False, False, True]),
    after_s=st.sampled_from([30.0, 400.0, 4_000.0, 90_000.0]),
)


@given(steps=st.lists(STEPS, min_size=1, max_size=8), data=st.data())
@settings(max_examples=150)
def test_a_restart_at_any_point_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step], data: st.DataObject
) -> None:
    """Whatever the polls before and after, totals, tracked jobs and the next requests are the same."""
    at = data.draw(st.integers(min_value=0, max_value=len(steps)), label="restart before step")
    continuous, with_restarts = kept(), kept()
    now = T0
    for number, step in enumerate(steps):
        now += step.after_s
        if number == at:
            with_restarts = restarted(with_restarts, path=tmp_path_factory.mktemp("state") / "state.json")
        continuous.take(step, now=now)
        with_restarts.take(step, now=now)
    if at == len(steps):
        with_restarts = restarted(with_restarts, path=tmp_path_factory.mktemp("state") / "state.json")

    assert with_restarts.state() == continuous.state()
    assert with_restarts.counts.freeze() == continuous.counts.freeze()
    assert with_restarts.known() == continuous.known()


def test_permanent_fields_of_a_job_stay() -> None:
    """A restart loses the records behind a listing: until they are read again a job keeps its pool and start."""
    before = kept()
    poll = Step(PollResult(), sweep=False, after_s=0)
    before.take(poll, now=T0)
    known = job("a", submitted_at=T0 + 1, pool_id="a100", started_at=T0 + 2)
    before.take(Step(PollResult(jobs=(known,)), sweep=False, after_s=0), now=T0 + 30)
    before.ledger.restore(before.ledger.dump(means={}))
    finished = job("a", JobStatus.FAILED, submitted_at=T0 + 1, ended_at=T0 + 40)
    before.take(Step(PollResult(jobs=(finished,)), sweep=False, after_s=0), now=T0 + 60)

    assert {key: n for key, n in before.counts.freeze().finished.items() if n} == {("a100", JobStatus.FAILED): 1}
    entry = before.ledger.entry("a")
    assert entry is not None
    assert (entry.job.pool_id, entry.job.started_at, entry.job.status) == ("a100", T0 + 2, JobStatus.FAILED)


def test_an_empty_state_is_a_first_start() -> None:
    """Restored from an empty state, the next poll bootstraps."""
    fresh = kept()
    fresh.ledger.restore(LedgerState())
    fresh.counts.restore(CountsState())
    assert fresh.ledger.known().bootstrapping
    assert fresh.state() == kept().state()


@dataclass
class FakeSource:
    """A source with these jobs."""

    api: Api
    jobs: tuple[Job, ...] = ()

    async def poll(self, known: TrackedState) -> PollResult:
        missing = frozenset(known.unfinished.keys() - {each.job_id for each in self.jobs})
        return PollResult(jobs=self.jobs, gone=missing)

    async def sweep(self, known: TrackedState) -> PollResult:
        return await self.poll(known)

    def tasks(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        return ("worker-0",)

    async def usage(self, job: Job, task: str) -> TaskSeries | None:  # noqa: ARG002 - the protocol's
        return TaskSeries(task=task, cpu=[0.5], accelerator=[0.5, 0.75])


def a_poller(clock: ManualClock, sources: FakeSources, *, origin: str = "here") -> ProjectPoller:
    return ProjectPoller(
        initial_snapshot=ProjectSnapshot(project="vision"),
        sources=sources,
        settings=default_poll_settings(),
        visibility=Visibility(),
        clock=clock,
        on_change=lambda _: None,
        on_poll=lambda _: None,
        origin=origin,
    )


async def test_a_generation_that_comes_back_continues(clock: ManualClock) -> None:
    """Jobs start and end while an API generation is missing; when it is back each is counted once."""
    old, new = FakeSource(Api.V1), FakeSource(Api.V2)
    sources = FakeSources((old, new))
    poller = a_poller(clock, sources)
    await poller.poll_jobs()
    old.jobs = (job("a", JobStatus.RUNNING, submitted_at=clock.time() + 1),)
    clock.turn(30)
    await poller.poll_jobs()
    sources.sources = (new,)
    clock.turn(30)
    await poller.poll_jobs()
    assert "a" not in (poller.snapshot().jobs or {})
    assert poller.dump().ledgers.keys() == {"v1", "v2"}  # a restart now would keep it too

    old.jobs = (
        job("a", JobStatus.FAILED, submitted_at=clock.time() - 29),
        job("b", JobStatus.QUEUED, submitted_at=clock.time()),
    )
    sources.sources = (old, new)
    clock.turn(30)
    await poller.poll_jobs()
    assert poller.totals.submitted[""] == 2
    assert poller.totals.finished["", JobStatus.FAILED] == 1
    assert (poller.snapshot().jobs or {}).keys() == {"a", "b"}


async def test_another_project_keeps_the_totals_only(clock: ManualClock) -> None:
    """State of another project of the cloud: the totals of the label continue, and the ledgers start again."""
    here, there = FakeSource(Api.V2), FakeSource(Api.V2, (job("b", submitted_at=clock.time() + 5),))
    before = a_poller(clock, FakeSources((here,)))
    await before.poll_jobs()
    here.jobs = (job("a", submitted_at=clock.time() + 1),)
    await before.poll_jobs()
    after = a_poller(clock, FakeSources((there,)), origin="there")
    after.restore(before.dump())
    await after.poll_jobs()
    assert after.totals.submitted[""] == 1
    assert (after.snapshot().jobs or {}).keys() == {"b"}


async def test_the_mean_over_the_run_survives(clock: ManualClock) -> None:
    """No later call returns the usage of an ended job: its mean is kept, also across two restarts."""
    source = FakeSource(Api.V2, (job("a", started_at=T0),))
    before = a_poller(clock, FakeSources((source,)))
    await before.poll_jobs()
    await before.poll_usage()
    await before.poll_jobs()
    source.jobs = (job("a", JobStatus.COMPLETED, started_at=T0, ended_at=clock.time()),)
    for _ in range(2):
        after = a_poller(clock, FakeSources((source,)))
        after.restore(before.dump())
        await after.poll_jobs()
        usage = (after.snapshot().jobs or {})["a"].usage
        assert usage is not None
        assert usage.accelerator_mean_ratio == pytest.approx(0.625)  # (0.5 + 0.75) / 2
        before = after


async def test_a_ledger_waits_for_its_generation(clock: ManualClock) -> None:
    """A restart while the cloud does not answer loses nothing: a ledger that is not restored is saved again."""
    source = FakeSource(Api.V2)
    before = a_poller(clock, FakeSources((source,)))
    await before.poll_jobs()
    source.jobs = (job("a", submitted_at=clock.time() + 1),)
    await before.poll_jobs()
    blind = a_poller(clock, FakeSources(()))
    blind.restore(before.dump())
    await blind.poll_jobs()
    assert blind.totals.submitted[""] == 1
    assert blind.dump() == before.dump()
