"""The times of minutes, which the cloud does not give."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backfill.samples import samples
from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.usage import TaskSeries
from tests.unit.backfill.past import T0, job, ran


def busy(past: Job, *tasks: TaskSeries, asked_at: float = T0 + 10_000) -> list[tuple[float, float | None]]:
    """Time after T0 and mean accelerator utilisation of each minute."""
    return [(at - T0, usage.accelerator_ratio) for at, usage in samples(past, tasks, asked_at=asked_at)]


def test_v2_minutes_end_with_the_one_under_way() -> None:
    """A run of 250 s has floor(250/60) + 2 = 6 slots: before the start, four whole minutes, the one cut off."""
    series = TaskSeries(task="worker-0", accelerator=[None, 0.1, 0.2, 0.3, 0.4, None])

    assert busy(ran(begin=0, run=250), series) == [(60, 0.1), (120, 0.2), (180, 0.3), (240, 0.4)]


def test_a_sample_of_the_minute_under_way_stands_at_the_end() -> None:
    """What the last slot says was true when the job ended, after 250 s, and not at 300 s."""
    series = TaskSeries(task="worker-0", accelerator=[0.4, 0.5])

    assert busy(ran(begin=0, run=250), series) == [(240, 0.4), (250, 0.5)]


def test_v1_minutes_end_with_the_last_whole_one() -> None:
    """v1's padding is cut off before, so the last of its minutes is the last whole one of the run."""
    series = TaskSeries(task="", accelerator=[None, 0.1, 0.2, 0.3, 0.4])

    assert busy(ran(begin=0, run=250, api=Api.V1), series) == [(60, 0.1), (120, 0.2), (180, 0.3), (240, 0.4)]


def test_a_window_shorter_than_the_run_is_its_end() -> None:
    """The cloud keeps three days: of a longer run the minutes are the last ones, whatever stood first once."""
    week = 7 * 86_400.0
    series = TaskSeries(task="worker-0", accelerator=[0.5] * 4320)

    found = busy(ran(begin=0, run=week), series)

    assert found[-1] == (week, 0.5)
    assert found[0][0] == pytest.approx(week - 3 * 86_400, abs=120)


def test_a_job_that_still_runs_is_aligned_at_the_moment_it_was_asked() -> None:
    """After 130 s of running two minutes are whole, and the third is under way."""
    running = job(status=JobStatus.RUNNING, submitted_at=T0, started_at=T0)
    series = TaskSeries(task="worker-0", accelerator=[None, 0.1, 0.2, None])

    assert busy(running, series, asked_at=T0 + 130) == [(60, 0.1), (120, 0.2)]


def test_a_run_of_whole_minutes_has_none_under_way() -> None:
    """After exactly 120 s the slot of the next minute has no time of its own, whatever stands in it."""
    series = TaskSeries(task="worker-0", accelerator=[0.1, 0.2, 0.9])

    assert busy(ran(begin=0, run=120), series) == [(60, 0.1), (120, 0.2)]


def test_tasks_meet_in_the_minute_they_share() -> None:
    """Two tasks of unlike length end together: 0.2 and 0.4 are the same minute, 0.1 stands alone."""
    first = TaskSeries(task="worker-0", accelerator=[0.1, 0.2, None])
    second = TaskSeries(task="worker-1", accelerator=[0.4, None])

    assert busy(ran(begin=0, run=130), first, second) == [(60, 0.1), (120, pytest.approx(0.3))]


@pytest.mark.parametrize(
    "past",
    [
        pytest.param(job(status=JobStatus.COMPLETED, submitted_at=T0, started_at=T0), id="no end"),
        pytest.param(job(status=JobStatus.FAILED, submitted_at=T0, ended_at=T0 + 60), id="no start"),
        pytest.param(ran(begin=0, run=0), id="no run"),
    ],
)
def test_without_times_there_are_no_minutes(past: Job) -> None:
    """Where nothing says when a job ran, its minutes are left out rather than put somewhere."""
    assert busy(past, TaskSeries(task="worker-0", accelerator=[0.5, 0.5])) == []


@given(
    run=st.integers(1, 10_000_000).map(lambda milliseconds: milliseconds / 1000)
    | st.integers(1, 100).map(lambda whole: whole * 60.0),
    values=st.lists(st.none() | st.floats(0, 1), max_size=30),
    api=st.sampled_from(Api),
)
def test_minutes_lie_within_the_run_and_in_order(run: float, values: list[float | None], api: Api) -> None:
    """Times grow strictly and stay between start and end, whatever the length of run and series."""
    past = ran(begin=0, run=run, api=api)
    found = [at for at, _ in busy(past, TaskSeries(task="", accelerator=values))]

    assert all(before < after for before, after in pairwise(found))
    assert all(0 < at <= run + 1e-3 for at in found)
