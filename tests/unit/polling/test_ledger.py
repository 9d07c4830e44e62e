"""The ledger: which jobs are tracked, which are new, and that each event counts once."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.source import PollResult, SourceError
from exporter.polling.ledger import LATE_S, Counts, Ledger

T0 = 1_700_000_000.0
DAY_S = 86400.0


def a_job(job_id: str = "a", status: JobStatus = JobStatus.RUNNING, **fields: object) -> Job:
    """Make a job that was submitted a minute before T0 and started at T0; `fields` override this."""
    job = Job(job_id=job_id, api=Api.V2, status=status, submitted_at=T0 - 60, started_at=T0)
    return replace(job, **fields)  # type: ignore[arg-type]  # test cases name the fields they need


class Bench:
    """A ledger with its counts."""

    def __init__(self) -> None:
        self.counts = Counts(max_users=100)
        self.ledger = Ledger(counts=self.counts, retention_s=DAY_S, linger_s=300.0)

    def update(self, *jobs: Job, at: float = T0, gone: Sequence[str] = (), failed: bool = False) -> None:
        failures = (SourceError("list: no response"),) if failed else ()
        self.ledger.update(PollResult(jobs=jobs, gone=frozenset(gone), failures=failures), now=at, at=at)

    def sweep(self, *jobs: Job, at: float = T0, gone: Sequence[str] = (), failed: bool = False) -> None:
        failures = (SourceError("list: no response"),) if failed else ()
        self.ledger.sweep(PollResult(jobs=jobs, gone=frozenset(gone), failures=failures), now=at)

    @property
    def counted(self) -> tuple[int, int, dict[str, int]]:
        """Submitted, started, and finished by status (zeros left out)."""
        totals = self.counts.freeze()
        finished: dict[str, int] = {}
        for (_, status), count in totals.finished.items():
            if count:
                finished[status.value] = finished.get(status.value, 0) + count
        return sum(totals.submitted.values()), sum(totals.started.values()), finished

    @property
    def tracked(self) -> dict[str, JobStatus]:
        return {entry.job.job_id: entry.job.status for entry in self.ledger.entries}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_poll_counts_nothing(bench: Bench) -> None:
    """Jobs from before the first poll are history: they are tracked, not counted."""
    bench.update(a_job("running"), a_job("done", JobStatus.COMPLETED, ended_at=T0))

    assert bench.counted == (0, 0, {})
    assert bench.tracked == {"running": JobStatus.RUNNING, "done": JobStatus.COMPLETED}


def test_a_first_poll_that_fails_in_part_continues_bootstrapping(bench: Bench) -> None:
    """Only a poll without failures ends bootstrapping: a workspace that answers late must not count as new."""
    bench.update(a_job("early"), failed=True)
    bench.update(a_job("early"), a_job("late"), at=T0 + 30)

    assert bench.counted == (0, 0, {})
    assert not bench.ledger.known().bootstrapping


def test_bootstrapping_ends_although_a_part_never_answers(bench: Bench) -> None:
    """A workspace that cannot be read must not keep the others from being counted: the third poll ends it."""
    for at in (0, 30, 60):
        assert bench.ledger.bootstrapping
        bench.update(a_job("old"), at=T0 + at, failed=True)
    assert not bench.ledger.bootstrapping
    bench.update(a_job("old"), a_job("new", submitted_at=T0 + 70), at=T0 + 90, failed=True)

    assert bench.counted == (1, 1, {})


def test_the_state_stays_bounded_while_a_part_fails(bench: Bench) -> None:
    """While a part fails ids are kept for six hours, because it may come back with jobs that were never listed."""
    bench.update()
    for hour in range(1, 30):
        job = a_job(f"j{hour}", JobStatus.COMPLETED, submitted_at=T0 + hour * 3600, ended_at=T0 + hour * 3600)
        bench.update(job, at=T0 + hour * 3600, failed=True)
    assert len(bench.ledger.dump(means={}).seen) == 6
    assert bench.ledger.is_new(a_job("late", submitted_at=T0 + 24 * 3600))
    assert bench.counted == (29, 29, {"completed": 29})


def test_a_job_that_reappears_counts_once(bench: Bench) -> None:
    """The cloud may report a job as gone and list it later: its end has been counted already."""
    bench.update(a_job())
    bench.update(at=T0 + 30, gone=["a"])
    bench.update(a_job(), at=T0 + 60)
    bench.update(a_job(status=JobStatus.COMPLETED), at=T0 + 90)

    assert bench.tracked == {"a": JobStatus.COMPLETED}
    assert bench.counted == (0, 0, {"unknown": 1})


def test_a_job_that_reappears_without_its_time_counts_once(bench: Bench) -> None:
    """A job that was counted and deleted is not new when it is listed again without a submission time."""
    bench.update(a_job())
    bench.update(at=T0 + 30, gone=["a"])
    bench.update(a_job(status=JobStatus.INITIALIZING, submitted_at=None, started_at=None), at=T0 + 60)

    assert bench.counted == (0, 0, {"unknown": 1})


def test_each_event_of_a_job_counts_once(bench: Bench) -> None:
    """Submitted, started and finished count once each, however often the job is seen in each status."""
    bench.update()
    waiting = a_job(status=JobStatus.QUEUED, submitted_at=T0 + 10, started_at=None)
    running = a_job(submitted_at=T0 + 10, started_at=T0 + 60)
    for at, job in enumerate([waiting, waiting, running, running, *[replace(running, status=JobStatus.FAILED)] * 2]):
        bench.update(job, at=T0 + 30 * at)

    assert bench.counted == (1, 1, {"failed": 1})


def test_a_job_between_two_polls_counts(bench: Bench) -> None:
    """A job that was submitted, ran and failed between two polls counts in all three totals."""
    bench.update(a_job("old"))
    bench.update(a_job("quick", JobStatus.FAILED, submitted_at=T0 + 5, started_at=T0 + 6), at=T0 + 30)

    assert bench.counted == (1, 1, {"failed": 1})


def test_a_job_that_never_ran_did_not_start(bench: Bench) -> None:
    """A job that failed before it ran is submitted and finished, never started."""
    bench.update()
    bench.update(a_job(status=JobStatus.FAILED, submitted_at=T0 + 5, started_at=None), at=T0 + 30)

    assert bench.counted == (1, 0, {"failed": 1})


def test_running_without_a_start_time_has_started(bench: Bench) -> None:
    """The cloud may report Running while start_time is still 0 (API reference §4.3): that is a start."""
    bench.update()
    bench.update(a_job(submitted_at=T0 + 5, started_at=None), at=T0 + 30)

    assert bench.counted == (1, 1, {})


def test_old_history_that_is_listed_later_is_not_new(bench: Bench) -> None:
    """When newer jobs are deleted, older ones move to the newest page: they are history and do not count."""
    bench.update(a_job("newest", JobStatus.COMPLETED, submitted_at=T0, ended_at=T0))
    bench.update(a_job("older", JobStatus.FAILED, submitted_at=T0 - 100, ended_at=T0 - 50), at=T0 + 30)

    assert bench.counted == (0, 0, {})
    assert "older" in bench.tracked


def test_history_beyond_the_retention_is_not_tracked(bench: Bench) -> None:
    """A finished job whose retention is over is not tracked when it is listed."""
    bench.update(a_job("ancient", JobStatus.FAILED, submitted_at=T0 - 3 * DAY_S, ended_at=T0 - 2 * DAY_S))

    assert bench.tracked == {}


def test_history_beyond_the_retention_is_not_new_later(bench: Bench) -> None:
    """The first poll sets the watermark, also when it tracks no job."""
    bench.update(a_job("ancient", JobStatus.COMPLETED, submitted_at=T0 - 3 * DAY_S, ended_at=T0 - 2 * DAY_S))
    bench.update(a_job("older", JobStatus.FAILED, submitted_at=T0 - 9 * DAY_S, ended_at=T0 - 60), at=T0 + 30)

    assert bench.tracked == {"older": JobStatus.FAILED}
    assert bench.counted == (0, 0, {})


def test_a_finished_job_stays_for_the_retention(bench: Bench) -> None:
    """The series of a finished job end one retention after its end, although the cloud keeps listing it (trap 40)."""
    bench.update(a_job())
    done = a_job(status=JobStatus.COMPLETED, ended_at=T0 + 30)
    bench.update(done, at=T0 + 30)
    bench.update(at=T0 + 30 + DAY_S - 1)
    assert bench.tracked == {"a": JobStatus.COMPLETED}

    bench.update(done, at=T0 + 30 + DAY_S)
    assert bench.tracked == {}

    bench.update(done, at=T0 + 60 + DAY_S)
    assert bench.tracked == {}
    assert bench.counted == (0, 0, {"completed": 1})


def test_an_expired_job_is_never_new_again(bench: Bench) -> None:
    """A counted job whose retention is over and that is still listed is not counted a second time."""
    bench.ledger = Ledger(counts=bench.counts, retention_s=60.0, linger_s=10.0)
    bench.update()
    quick = a_job("quick", JobStatus.COMPLETED, submitted_at=T0 + 5, ended_at=T0 + 10)
    for at in range(30, 30 * 200, 30):
        bench.update(quick, at=T0 + at)

    assert bench.counted == (1, 1, {"completed": 1})
    assert bench.tracked == {}


def test_an_expired_job_without_any_time_is_never_new_again(bench: Bench) -> None:
    """A job without any time is known by its id alone, also after its retention."""
    bench.ledger = Ledger(counts=bench.counts, retention_s=60.0, linger_s=10.0)
    bench.update()
    undated = a_job("undated", JobStatus.FAILED, submitted_at=None, started_at=None)
    for at in range(30, 30 * 20, 30):
        bench.update(undated, at=T0 + at)

    assert bench.counted == (1, 0, {"failed": 1})
    assert bench.tracked == {}


def test_a_job_that_is_listed_late_is_new(bench: Bench) -> None:
    """A job listed only after a newer one was seen counts, within the margin."""
    bench.update()
    bench.update(a_job("newer", submitted_at=T0 + 100), at=T0 + 110)
    bench.update(a_job("newer", submitted_at=T0 + 100), a_job("late", submitted_at=T0 + 50), at=T0 + 140)

    assert bench.counted == (2, 2, {})


def test_a_job_older_than_the_margin_is_not_new(bench: Bench) -> None:
    """Ids are kept for the margin only, so that memory does not grow with history."""
    bench.update()
    bench.update(a_job("first", submitted_at=T0 + 10), at=T0 + 30)
    bench.update(
        a_job("first", submitted_at=T0 + 10), a_job("next", submitted_at=T0 + 20 + LATE_S), at=T0 + 30 + LATE_S
    )

    assert not bench.ledger.is_new(a_job("untracked", submitted_at=T0 + 15))
    assert bench.ledger.is_new(a_job("untracked", submitted_at=T0 + 25 + LATE_S))


def test_a_failed_poll_removes_no_job(bench: Bench) -> None:
    """A part that failed changes nothing: the job stays as it was last seen."""
    bench.update(a_job())
    bench.update(at=T0 + 30, failed=True)

    assert bench.tracked == {"a": JobStatus.RUNNING}


def test_a_deleted_running_job_is_removed_and_counts_as_unknown(bench: Bench) -> None:
    """No poll saw how it ended, so it counts as finished with the status `unknown`."""
    bench.update(a_job())
    bench.update(gone=["a"], at=T0 + 30)

    assert bench.tracked == {}
    assert bench.counted == (0, 0, {"unknown": 1})


def test_a_job_deleted_right_after_its_end_lingers(bench: Bench) -> None:
    """A failure stays visible for five minutes even when the job is deleted at once, or a slow scraper misses it."""
    bench.update(a_job())
    bench.update(a_job(status=JobStatus.FAILED), at=T0 + 30)
    bench.update(gone=["a"], at=T0 + 60)
    assert bench.tracked == {"a": JobStatus.FAILED}

    bench.update(at=T0 + 30 + 299)
    assert bench.tracked == {"a": JobStatus.FAILED}

    bench.update(at=T0 + 30 + 300)
    assert bench.tracked == {}
    assert bench.counted == (0, 0, {"failed": 1})


def test_an_untracked_job_that_is_gone_changes_nothing(bench: Bench) -> None:
    """A report that an untracked job is gone has no effect."""
    bench.update(a_job())
    bench.update(a_job(), gone=["untracked"], at=T0 + 30)

    assert bench.tracked == {"a": JobStatus.RUNNING}


def test_an_end_without_a_time_is_when_it_was_first_seen(bench: Bench) -> None:
    """A job whose API times give no end ended when a poll first saw it; later polls do not move it."""
    bench.update(a_job())
    for at in (30, 60, 90):
        bench.update(a_job(status=JobStatus.FAILED), at=T0 + at)

    assert [entry.job.ended_at for entry in bench.ledger.entries] == [T0 + 30]


def test_an_end_before_the_first_poll_is_not_invented(bench: Bench) -> None:
    """A job that was finished at the first poll, without times, has no end time, also later."""
    failed = a_job(status=JobStatus.FAILED)
    bench.update(failed)
    bench.update(failed, at=T0 + 30)

    assert [entry.job.ended_at for entry in bench.ledger.entries] == [None]


def test_a_new_job_that_is_already_finished_ended_when_it_was_first_seen(bench: Bench) -> None:
    """A new job that has already failed, without times, gets the time of that poll as its end."""
    bench.update()
    bench.update(a_job("new", JobStatus.FAILED, submitted_at=T0 + 5, started_at=None), at=T0 + 30)

    assert [entry.job.ended_at for entry in bench.ledger.entries] == [T0 + 30]


def test_a_lost_job_that_comes_back_counts_its_end_once(bench: Bench) -> None:
    """Lost jobs may return (API reference §4.1): its end counts once, at the later time."""
    bench.update(a_job())
    bench.update(a_job(status=JobStatus.LOST), at=T0 + 30)
    bench.update(a_job(), at=T0 + 60)
    bench.update(a_job(status=JobStatus.COMPLETED), at=T0 + 90)

    assert bench.counted == (0, 0, {"lost": 1})
    assert [entry.job.ended_at for entry in bench.ledger.entries] == [T0 + 90]


def test_unknown_jobs_are_requested_a_few_at_a_time(bench: Bench) -> None:
    """The detail of a job of unknown status shows its end; each poll requests five, in rotation."""
    unclear = [a_job(f"u{n}", JobStatus.UNKNOWN) for n in range(12)]
    requested: set[str] = set()
    for at in range(3):
        bench.update(*unclear, at=T0 + at)
        known = bench.ledger.known()
        requested_now = set(known.unfinished)
        assert all(known.unfinished[job_id] is known.tracked[job_id] for job_id in requested_now)
        assert len(requested_now) == 5
        requested |= requested_now

    assert requested == {job.job_id for job in unclear}


def test_a_sweep_brings_recent_history_and_counts_nothing(bench: Bench) -> None:
    """The first sweep adds finished jobs that were not on the newest page; they ended before the first poll."""
    bench.update(a_job("running"))
    bench.sweep(a_job("done", JobStatus.FAILED, submitted_at=T0 - 5000, ended_at=T0 - 100), at=T0 + 100)

    assert bench.tracked == {"running": JobStatus.RUNNING, "done": JobStatus.FAILED}
    assert bench.counted == (0, 0, {})


def test_a_sweep_never_overwrites_newer_polls(bench: Bench) -> None:
    """A sweep takes minutes: what it read of a tracked or an active job is older than the results of polls."""
    bench.update(a_job())
    bench.update(a_job(status=JobStatus.COMPLETED, ended_at=T0 + 20), at=T0 + 30)
    bench.sweep(a_job(), a_job("untracked"), at=T0 + 60)

    assert bench.tracked == {"a": JobStatus.COMPLETED}


def test_a_sweep_leaves_new_jobs_to_the_poll(bench: Bench) -> None:
    """A new finished job that a sweep sees first is left to the next poll, which counts it."""
    bench.update()
    quick = a_job("quick", JobStatus.COMPLETED, submitted_at=T0 + 5, ended_at=T0 + 10)
    bench.sweep(quick, at=T0 + 20)
    assert bench.tracked == {}

    bench.update(quick, at=T0 + 30)
    assert bench.counted == (1, 1, {"completed": 1})


def test_a_sweep_removes_what_was_deleted(bench: Bench) -> None:
    """A finished job that was deleted is removed by the sweep that finds it gone."""
    bench.update(a_job("done", JobStatus.COMPLETED, ended_at=T0 - 10))
    bench.sweep(gone=["done"], at=T0 + 1000)

    assert bench.tracked == {}


def test_later_sweeps_stop_at_the_oldest_tracked_job(bench: Bench) -> None:
    """After a whole sweep, jobs older than every tracked one are irrelevant."""
    bench.update(a_job("young", submitted_at=T0 - 10), a_job("old", submitted_at=T0 - 500))
    assert bench.ledger.known().oldest_at is None
    bench.sweep(failed=True)
    assert bench.ledger.known().oldest_at is None
    bench.sweep()
    assert bench.ledger.known().oldest_at == T0 - 500


def test_every_pool_starts_at_zero(bench: Bench) -> None:
    """A pool's counters exist before its first event, so that increase() sees that event."""
    bench.update(a_job(pool_id="pool-a"))
    totals = bench.counts.freeze()

    assert totals.submitted == {"": 0, "pool-a": 0}
    assert totals.finished["pool-a", JobStatus.FAILED] == 0


STATUSES = st.lists(
    st.sampled_from([JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.LOST, JobStatus.FAILED, JobStatus.UNKNOWN]),
    max_size=6,
)


@given(statuses=st.lists(STATUSES, max_size=5), failed=st.lists(st.booleans(), min_size=6, max_size=6))
@settings(max_examples=150)
def test_counts_never_exceed_jobs(statuses: list[list[JobStatus]], failed: list[bool]) -> None:
    """Whatever the statuses and failures, a job counts at most once in each total, and no total decreases."""
    bench = Bench()
    bench.update()
    before = bench.counted
    for step in range(6):
        jobs = [
            a_job(str(n), life[step], submitted_at=T0 + n + 1, started_at=None)
            for n, life in enumerate(statuses)
            if step < len(life)
        ]
        bench.update(*jobs, at=T0 + 30 * (step + 1), failed=failed[step])
        submitted, started, finished = bench.counted
        assert submitted >= before[0]
        assert started >= before[1]
        assert sum(finished.values()) >= sum(before[2].values())
        before = bench.counted

    submitted, started, finished = bench.counted
    assert submitted == len([life for life in statuses if life])
    assert started <= submitted
    assert sum(finished.values()) <= submitted
