"""The totals of a ledger against a book that knows what really happened."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.source import PollResult
from exporter.polling.ledger import Counts, Ledger
from tests.book import WorldJob, keep_book

T0 = 1_700_000_000.0
POLL_S = 30.0
HOUR_S = 3600.0


def reported(job: WorldJob, *, at: float, names_pool: bool = True, moves_start: bool = True) -> Job | None:
    """What a listing says of a job; None before its submission."""
    if job.submitted_at > at:
        return None
    runs = [run for run in (*job.earlier_runs, (job.started_at, job.ended_at)) if run[0] <= at]
    begin, end = runs[-1] if runs else (0.0, 0.0)
    waits = not runs or (end <= at and len(runs) <= len(job.earlier_runs))
    status = JobStatus.QUEUED if waits else JobStatus.COMPLETED if end <= at else JobStatus.RUNNING
    cards = [count for since, count in job.cards if since < at]
    return Job(
        job_id=job.job_id,
        api=Api.V1 if not names_pool else Api.V2,
        user=job.user,
        pool_id=job.pool_id if names_pool else "",
        pool_known=names_pool,
        accelerator=Accelerator.GPU,
        status=status,
        submitted_at=job.reported_submission,
        started_at=(begin if moves_start else runs[0][0]) if runs else None,
        ended_at=job.ended_at if status.finished else None,
        run_duration_s=min(at, end) - begin if runs else None,
        spec_nodes=1,
        spec_accelerators=cards[-1] if cards else None,
    )


class Polls:
    """A ledger that polls a world."""

    def __init__(self, *, retention_s: float = 86_400.0, names_pool_after: int = 0, moves_start: bool = True) -> None:
        """`names_pool_after`: polls that list a job before one names its pool."""
        self._names_pool_after = names_pool_after
        self._moves_start = moves_start
        self._listings: Counter[str] = Counter()
        self.counts = Counts(max_users=100)
        self._retention_s = retention_s
        self.ledger = self._ledger()

    def _ledger(self) -> Ledger:
        return Ledger(counts=self.counts, retention_s=self._retention_s, linger_s=300.0)

    def poll(self, jobs: Iterable[WorldJob], *, at: float) -> None:
        """Take a complete listing."""
        listed = []
        for job in jobs:
            names_pool = self._listings[job.job_id] >= self._names_pool_after
            if (told := reported(job, at=at, names_pool=names_pool, moves_start=self._moves_start)) is not None:
                self._listings[job.job_id] += 1
                listed.append(told)
        self.ledger.update(PollResult(jobs=tuple(listed)), now=at, at=at)

    def restart(self) -> None:
        """Continue from the state in a new ledger."""
        state = self.ledger.dump(means={})
        self.ledger = self._ledger()
        self.ledger.restore(state)

    def totals(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Submitted, started and finished by pool, without zeros."""
        totals = self.counts.freeze()
        finished: Counter[str] = Counter()
        for (pool_id, _), count in totals.finished.items():
            finished[pool_id] += count
        return +Counter(totals.submitted), +Counter(totals.started), +finished

    def held_s(self) -> dict[tuple[str, str], float]:
        """Accelerator seconds by pool and user."""
        return {(holder.pool_id, holder.user): held for holder, held in self.counts.freeze().held_s.items() if held}


SUBMISSIONS = ("right", "hours-ahead", "missing")
"""What the cloud reports as the submission time of a job."""


@st.composite
def changes_of_cards(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    """Draw how many cards a job has, and when that changes: right after a poll, because only polls can see it."""
    polls = sorted(draw(st.sets(st.integers(1, 100), max_size=3)))
    return ((0.0, 8.0), *((T0 + poll * POLL_S, float(draw(st.integers(1, 64)))) for poll in polls))


@st.composite
def worlds(draw: st.DrawFn) -> list[WorldJob]:
    """Draw jobs around the first poll, some with a submission time that is ahead of the clock or missing."""
    jobs = []
    for number in range(draw(st.integers(1, 12))):
        submitted_at = T0 + draw(st.integers(-600, 3000)) + 0.5
        started_at = submitted_at + draw(st.integers(1, 300))
        submission = draw(st.sampled_from(SUBMISSIONS))
        ahead_s = draw(st.integers(1, 30)) * HOUR_S
        jobs.append(
            WorldJob(
                job_id=f"job-{draw(st.integers(0, 9))}-{number}",  # ids are in no order
                submitted_at=submitted_at,
                started_at=started_at,
                ended_at=started_at + draw(st.integers(1, 2000)),
                pool_id=draw(st.sampled_from(("", "pool-a"))),
                user=draw(st.sampled_from(("ann", "bob"))),
                cards=draw(changes_of_cards()),
                reported_submission={
                    "right": submitted_at,
                    "hours-ahead": submitted_at + ahead_s,
                    "missing": None,
                }[submission],
            )
        )
    return jobs


@settings(max_examples=30, deadline=None, phases=[Phase.generate])
@given(worlds(), st.sets(st.integers(1, 160), max_size=4), st.integers(0, 2**16), st.integers(0, 19))
def test_the_totals_are_those_of_the_book(
    jobs: list[WorldJob], restarts: set[int], seed: int, names_pool_after: int
) -> None:
    """Each job counts once, in its pool and with the cards that it held at each time.

    Whatever submission times the cloud reports, in whatever order it lists, and up to 19 polls before the record
    that names the pool of a job.
    """
    order = random.Random(seed)
    polls = Polls(names_pool_after=names_pool_after)
    last_poll_at = T0
    for number in range(200):
        last_poll_at = T0 + number * POLL_S
        if number in restarts:
            polls.restart()
        order.shuffle(jobs)
        polls.poll(jobs, at=last_poll_at)

    book = keep_book(jobs, first_poll_at=T0, last_poll_at=last_poll_at)
    assert polls.totals() == (book.submitted, book.started, book.finished)
    assert polls.held_s() == pytest.approx({key: held for key, held in book.held_s.items() if held})


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(61, 900), st.integers(1, 600)), min_size=1, max_size=4),
    st.integers(-1000, 1000),
    st.booleans(),
)
def test_a_run_that_begins_again_is_held_on_top(
    runs: list[tuple[int, int]], submitted_s: int, moves_start: bool
) -> None:
    """A requeued job whose run time restarts at 0 goes on counting, whether or not its start time moves with it."""
    at = T0 + submitted_s
    intervals = []
    for run_s, pause_s in runs:
        begin = at + pause_s
        at = begin + run_s
        intervals.append((begin, at))
    (started_at, ended_at) = intervals[-1]
    job = WorldJob(
        job_id="requeued",
        submitted_at=T0 + submitted_s,
        started_at=started_at,
        ended_at=ended_at,
        reported_submission=T0 + submitted_s,
        earlier_runs=tuple(intervals[:-1]),
    )
    polls = Polls(moves_start=moves_start)
    for number in range(300):
        polls.poll([job], at=T0 + number * 20.0)

    book = keep_book([job], first_poll_at=T0, last_poll_at=T0 + 299 * 20.0)
    # The last seconds of a run before it was requeued are never reported: at most one interval is missing for each.
    held_s = polls.held_s().get(("", "ann"), 0.0)
    assert book.held_s["", "ann"] - 8 * 20.0 * len(intervals) <= held_s <= book.held_s["", "ann"] + 1e-6


def a_job(name: str, *, submitted_at: float, reported_submission: float | None, run_s: float = 60.0) -> WorldJob:
    return WorldJob(
        job_id=name,
        submitted_at=submitted_at,
        started_at=submitted_at + 1,
        ended_at=submitted_at + 1 + run_s,
        reported_submission=reported_submission,
    )


@pytest.mark.parametrize(
    "first_seen_at", [pytest.param(-10.0, id="at-the-first-poll"), pytest.param(40.0, id="later")]
)
@pytest.mark.parametrize("ahead_s", [2 * HOUR_S, 100 * 86_400.0])
def test_a_submission_in_the_future_hides_no_other(first_seen_at: float, ahead_s: float) -> None:
    """What was submitted since counts, although a job claims to be newer."""
    at = T0 + first_seen_at
    jobs = [a_job("ahead", submitted_at=at, reported_submission=at + ahead_s, run_s=9_000)]
    jobs += [a_job(f"{n}", submitted_at=T0 + 100 * n, reported_submission=T0 + 100 * n) for n in range(1, 21)]
    polls = Polls()
    last_poll_at = T0
    for number in range(90):
        last_poll_at = T0 + number * POLL_S
        polls.poll(jobs, at=last_poll_at)

    book = keep_book(jobs, first_poll_at=T0, last_poll_at=last_poll_at)
    assert polls.totals() == (book.submitted, book.started, book.finished)
    assert sum(book.submitted.values()) in {20, 21}


def test_jobs_without_a_time_count_once() -> None:
    """They are remembered as long as they are listed, although their retention is over, and across restarts."""
    world = Polls(retention_s=60.0)
    jobs = [a_job(f"old-{n}", submitted_at=T0 - 500, reported_submission=None) for n in range(3)]
    jobs += [a_job(f"new-{n}", submitted_at=T0 + 50 * n, reported_submission=None) for n in range(1, 4)]
    for number in range(400):
        if number % 50 == 49:
            world.restart()
        world.poll(jobs, at=T0 + number * HOUR_S / 20)

    assert world.totals() == (Counter({"": 3}),) * 3


def sizes(ledger: Ledger) -> Sequence[int]:
    """How much the state holds beside the tracked jobs."""
    state = ledger.dump(means={})
    return len(state.seen), len(state.deleted), len(state.undated)


def test_the_state_is_bounded_by_the_tracked_jobs() -> None:
    """6,000 short jobs an hour at a retention of a minute: the state stays in proportion to the tracked jobs."""
    world = Polls(retention_s=60.0)
    jobs = [
        a_job(f"{n}", submitted_at=T0 + 0.6 * n + 0.3, reported_submission=T0 + 0.6 * n + 0.3, run_s=20)
        for n in range(6_000)
    ]
    for number in range(1, 120):
        at = T0 + number * POLL_S
        world.poll([job for job in jobs if at - 200 < job.submitted_at <= at], at=at)
        assert len(world.ledger) < 300
        assert sum(sizes(world.ledger)) <= 1_000

    submitted, _, _ = world.totals()
    assert submitted == Counter({"": sum(job.submitted_at <= T0 + 119 * POLL_S for job in jobs[50:])})


def test_a_recovery_before_the_second_poll_counts() -> None:
    """A job that waited at the first poll has had no recovery then, although the listing had no records of it."""
    world = Polls()
    queued = Job(job_id="a", api=Api.V2, status=JobStatus.QUEUED, submitted_at=T0 - 60)
    running = replace(queued, status=JobStatus.RUNNING, started_at=T0 + 5, run_duration_s=25.0)
    world.ledger.update(PollResult(jobs=(queued,)), now=T0, at=T0)
    recovered = replace(running, recoveries={"pod_reschedule": 1})
    world.ledger.update(PollResult(jobs=(recovered,)), now=T0 + 30, at=T0 + 30)

    assert +Counter(world.counts.freeze().recoveries) == Counter({"pod_reschedule": 1})


def test_recoveries_before_the_first_poll_do_not_count() -> None:
    """A running job whose records come with a later answer may have recovered before the first poll."""
    world = Polls()
    running = Job(
        job_id="a", api=Api.V2, status=JobStatus.RUNNING, submitted_at=T0 - 60, started_at=T0 - 9, run_duration_s=9.0
    )
    world.ledger.update(PollResult(jobs=(running,)), now=T0, at=T0)
    recovered = replace(running, recoveries={"pod_reschedule": 1})
    world.ledger.update(PollResult(jobs=(recovered,)), now=T0 + 30, at=T0 + 30)

    assert +Counter(world.counts.freeze().recoveries) == Counter()
