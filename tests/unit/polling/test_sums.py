"""The totals of a ledger against a book that knows what really happened."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.job import Accelerator, Api, Job, JobStatus
from exporter.domain.source import PollResult
from exporter.polling.ledger import Counts, Ledger
from tests.book import WorldJob, keep_book

T0 = 1_700_000_000.0
POLL_S = 30.0
HOUR_S = 3600.0


def reported(job: WorldJob, *, at: float) -> Job | None:
    """What a listing says of a job; None before its submission."""
    if job.submitted_at > at:
        return None
    started = job.started_at <= at
    status = JobStatus.COMPLETED if job.ended_at <= at else JobStatus.RUNNING if started else JobStatus.QUEUED
    cards = [count for since, count in job.cards if since <= at]
    return Job(
        job_id=job.job_id,
        api=Api.V2,
        user=job.user,
        pool_id=job.pool_id,
        accelerator=Accelerator.GPU,
        status=status,
        submitted_at=job.reported_submission,
        started_at=job.started_at if started else None,
        ended_at=job.ended_at if job.ended_at <= at else None,
        run_duration_s=min(at, job.ended_at) - job.started_at if started else None,
        spec_nodes=1,
        spec_accelerators=cards[-1] if cards else None,
    )


class Polls:
    """A ledger that polls a world."""

    def __init__(self, *, retention_s: float = 86_400.0) -> None:
        self.counts = Counts(max_users=100)
        self._retention_s = retention_s
        self.ledger = self._ledger()

    def _ledger(self) -> Ledger:
        return Ledger(counts=self.counts, retention_s=self._retention_s, linger_s=300.0)

    def poll(self, jobs: Iterable[WorldJob], *, at: float) -> None:
        """Take a complete listing."""
        listed = tuple(job for job in (reported(job, at=at) for job in jobs) if job is not None)
        self.ledger.update(PollResult(jobs=listed), now=at, at=at)

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
                reported_submission={
                    "right": submitted_at,
                    "hours-ahead": submitted_at + ahead_s,
                    "missing": None,
                }[submission],
            )
        )
    return jobs


@settings(max_examples=60, deadline=None)
@given(worlds(), st.sets(st.integers(1, 160), max_size=4), st.integers(0, 2**16))
def test_the_totals_are_those_of_the_book(jobs: list[WorldJob], restarts: set[int], seed: int) -> None:
    """Whatever submission times the cloud reports, in whatever order it lists, each job counts once."""
    order = random.Random(seed)
    polls = Polls()
    last_poll_at = T0
    for number in range(161):
        last_poll_at = T0 + number * POLL_S
        if number in restarts:
            polls.restart()
        order.shuffle(jobs)
        polls.poll(jobs, at=last_poll_at)

    book = keep_book(jobs, first_poll_at=T0, last_poll_at=last_poll_at)
    assert polls.totals() == (book.submitted, book.started, book.finished)
    assert polls.held_s() == pytest.approx({key: held for key, held in book.held_s.items() if held})


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
