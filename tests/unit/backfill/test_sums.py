"""The sums of a project over time, compared with its jobs."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from exporter.backfill.grid import CumulativeCounter, Gauge, Grid
from exporter.backfill.sums import SUMS, Sums
from exporter.backfill.timeline import job_intervals, status_timeline
from exporter.domain.job import Accelerator, Job, JobStatus
from exporter.metrics.families.accounting import ACCELERATORS
from exporter.metrics.families.project import FINISHED, JOBS, STARTED, SUBMITTED
from tests.unit.backfill.past import T0, job, jobs, ran

GRID = Grid.covering(T0, T0 + 1000, step=100)
RETENTION_S = 300.0


def added(*many: Job, grid: Grid = GRID) -> Sums:
    """Sums over these jobs."""
    sums = Sums(grid, project="vision", retention_s=RETENTION_S)
    for one in many:
        sums.add(one)
    return sums


def values(sums: Sums, family: object, **labels: str) -> list[float]:
    """The only series with these labels."""
    (found,) = [
        list(numbers)
        for labelled, numbers in sums.rows(next(one for one in SUMS if one is family))
        if labels.items() <= dict(labelled).items()
    ]
    return found


def test_the_grid_has_multiples_of_the_step() -> None:
    """Backfills with the same step share timestamps: from 130 to 460 by 100 is 200, 300, 400."""
    assert list(Grid.covering(130, 460, step=100)) == [200, 300, 400]
    assert list(Grid.covering(200, 400, step=100)) == [200, 300]


def test_a_job_counts_at_its_begin_and_not_at_its_end() -> None:
    """From 100 up to, but not including, 300: at the timestamps 100 and 200."""
    level = Gauge(GRID)
    level.add(T0 + 100, T0 + 300)
    level.add(T0 + 101, T0 + 199)  # between two timestamps: in no sample

    assert level.values() == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]


def test_fractions_leave_no_noise() -> None:
    """0.1 and 0.2 accelerators are 0.3, and 0 when both are released; never -0."""
    level = Gauge(GRID)
    level.add(T0, T0 + 100, 0.1)
    level.add(T0, T0 + 200, 0.2)

    assert [str(value) for value in level.values()[:3]] == ["0.3", "0.2", "0.0"]


def test_events_before_the_first_timestamp_are_not_counted() -> None:
    """A counter starts at 0: events at or before the first timestamp are not counted."""
    counter = CumulativeCounter(GRID)
    for at in (-50, 0, 1, 100, 950, 5000):
        counter.count(T0 + at)

    assert counter.values() == [0, 2, 2, 2, 2, 2, 2, 2, 2, 2]


def test_one_job_in_every_sum() -> None:
    """Submitted at 100, started at 300, completed at 500, kept for 300 s: each sum by hand."""
    sums = added(ran(begin=100, wait=200, run=200, pool_id="pool-a"))
    pool = {"pool_id": "pool-a"}

    assert values(sums, JOBS, status="queued", **pool) == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert values(sums, JOBS, status="running", **pool) == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
    assert values(sums, JOBS, status="completed", **pool) == [0, 0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert values(sums, ACCELERATORS, state="queued", accelerator="gpu", **pool) == [0, 8, 8, 0, 0, 0, 0, 0, 0, 0]
    assert values(sums, ACCELERATORS, state="held", accelerator="gpu", **pool) == [0, 0, 0, 8, 8, 0, 0, 0, 0, 0]
    assert values(sums, SUBMITTED, **pool) == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert values(sums, STARTED, **pool) == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert values(sums, FINISHED, status="completed", **pool) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert values(sums, SUBMITTED, pool_id="") == [0] * 10


def test_unknown_statuses_are_absent() -> None:
    """The times of initializing, scaling and terminating are not kept; these statuses are absent, not 0."""
    statuses = {labels["status"] for labels, _ in added().rows(JOBS)}

    assert statuses == set(JobStatus) - {JobStatus.INITIALIZING, JobStatus.SCALING, JobStatus.TERMINATING}


def test_a_job_without_times_is_counted_as_untimed() -> None:
    """A run without an end time is in no sum; the number of such jobs is known."""
    sums = added(job(status=JobStatus.COMPLETED, submitted_at=T0, started_at=T0), ran(begin=0, run=50))

    assert sums.untimed == 1
    assert values(sums, SUBMITTED, pool_id="")[-1] == 0  # the other one was submitted at the first moment


def test_an_accelerator_of_a_masked_kind_is_counted_as_such() -> None:
    """A job with 8 cards of a masked kind counts under `unknown`; a CPU job is not counted."""
    sums = added(
        ran("masked", begin=0, run=500, accelerator=None),
        ran("cpu", begin=0, run=500, accelerator=Accelerator.CPU, spec_accelerators=0.0),
    )

    assert [dict(own)["accelerator"] for own, _ in sums.rows(ACCELERATORS)] == ["unknown", "unknown"]


def _at(many: Sequence[Job], timestamp: float) -> list[JobStatus]:
    """The status of each job at a time: until its retention ends."""
    found = []
    for one in many:
        for stretch in status_timeline(one):
            kept = stretch.begin + RETENTION_S if stretch.status.finished else stretch.end
            if stretch.begin <= timestamp < kept:
                found.append(stretch.status)
    return found


def _total(rows: Sequence[tuple[Mapping[str, str], Sequence[float]]], number: int, **labels: str) -> float:
    return sum(numbers[number] for labelled, numbers in rows if labels.items() <= dict(labelled).items())


@given(many=jobs, step=st.sampled_from([60, 100, 300]))
def test_sums_match_the_jobs_at_each_timestamp(many: list[Job], step: int) -> None:
    """Jobs by status add up to the existing jobs, and held accelerators to what each job holds."""
    grid = Grid.covering(T0 - 1000, T0 + 2000, step=step)
    sums = added(*many, grid=grid)
    counted, accelerators = list(sums.rows(JOBS)), list(sums.rows(ACCELERATORS))

    for number, timestamp in enumerate(grid):
        there = _at(many, timestamp)
        assert _total(counted, number) == len(there)
        for status in (JobStatus.QUEUED, JobStatus.RUNNING):
            assert _total(counted, number, status=status.value) == there.count(status)
        held = sum(
            state.job.status_accelerators or 0.0
            for one in many
            if one.accelerator is not Accelerator.CPU
            for state in job_intervals(one)
            if state.begin <= timestamp < state.end
        )
        assert _total(accelerators, number, state="held") == held


@given(many=jobs)
def test_counters_begin_at_zero_and_never_go_back(many: list[Job]) -> None:
    """Submitted, started and finished only increase, and nothing starts or ends without submission."""
    sums = added(*many)
    for family in (SUBMITTED, STARTED, FINISHED):
        for _, numbers in sums.rows(family):
            assert numbers[0] == 0
            assert list(numbers) == sorted(numbers)
    assert sums.untimed == sum(not status_timeline(one) for one in many)


def test_a_run_of_zero_length_has_started() -> None:
    """A job that ended in the moment of its start counts as started, as it does in the daemon."""
    sums = added(ran(begin=150, wait=100, run=0, status=JobStatus.FAILED))

    assert values(sums, STARTED, pool_id="") == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert values(sums, FINISHED, status="failed") == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_a_requeued_job_is_queued_again_and_has_started_once() -> None:
    """It ran from 100 to 300 and has waited since: queued at both sides, started once."""
    sums = added(job(status=JobStatus.QUEUED, submitted_at=T0, started_at=T0 + 100, run_duration_s=200.0))

    assert values(sums, JOBS, status="queued") == [1, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert values(sums, JOBS, status="running") == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert values(sums, ACCELERATORS, state="held") == [0, 8, 8, 0, 0, 0, 0, 0, 0, 0]
    assert values(sums, ACCELERATORS, state="queued") == [8, 0, 0, 8, 8, 8, 8, 8, 8, 8]
    assert values(sums, STARTED, pool_id="") == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
