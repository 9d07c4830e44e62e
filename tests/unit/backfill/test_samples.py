"""Timestamps of usage samples, which the API does not return."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backfill.samples import samples
from exporter.domain.job import Api, Job, JobStatus
from exporter.domain.usage import TaskSeries
from tests.unit.backfill.past import T0, job, ran


def busy(past: Job, *tasks: TaskSeries, read_at: float = T0 + 10_000) -> list[tuple[float, float | None]]:
    """Time after T0 and mean accelerator utilisation of each minute."""
    return [(at - T0, usage.accelerator_ratio) for at, usage in samples(past, tasks, read_at=read_at)]


def test_v2_samples_end_with_the_current_minute() -> None:
    """A run of 250 s has floor(250/60) + 2 = 6 slots: before the start, four complete minutes, the incomplete one."""
    series = TaskSeries(task="worker-0", accelerator=[None, 0.1, 0.2, 0.3, 0.4, None])

    assert busy(ran(begin=0, run=250), series) == [(60, 0.1), (120, 0.2), (180, 0.3), (240, 0.4)]


def test_a_sample_of_the_current_minute_is_at_the_end_of_the_run() -> None:
    """The value of the last slot belongs to the end of the job at 250 s, not to 300 s."""
    series = TaskSeries(task="worker-0", accelerator=[0.4, 0.5])

    assert busy(ran(begin=0, run=250), series) == [(240, 0.4), (250, 0.5)]


def test_v1_samples_end_with_the_last_complete_minute() -> None:
    """v1's padding is removed before, so its last sample is the last complete minute of the run."""
    series = TaskSeries(task="", accelerator=[None, 0.1, 0.2, 0.3, 0.4])

    assert busy(ran(begin=0, run=250, api=Api.V1), series) == [(60, 0.1), (120, 0.2), (180, 0.3), (240, 0.4)]


def test_a_window_shorter_than_the_run_is_its_end() -> None:
    """The API keeps three days: of a longer run the samples are the last ones."""
    week = 7 * 86_400.0
    series = TaskSeries(task="worker-0", accelerator=[0.5] * 4320)

    found = busy(ran(begin=0, run=week), series)

    assert found[-1] == (week, 0.5)
    assert found[0][0] == pytest.approx(week - 3 * 86_400, abs=120)


def test_a_running_job_is_aligned_at_the_time_of_reading() -> None:
    """After 130 s of running two minutes are complete, and the third is not."""
    running = job(status=JobStatus.RUNNING, submitted_at=T0, started_at=T0)
    series = TaskSeries(task="worker-0", accelerator=[None, 0.1, 0.2, None])

    assert busy(running, series, read_at=T0 + 130) == [(60, 0.1), (120, 0.2)]


def test_a_run_of_whole_minutes_has_no_current_minute() -> None:
    """After exactly 120 s the slot of the next minute has no time of its own, whatever its value."""
    series = TaskSeries(task="worker-0", accelerator=[0.1, 0.2, 0.9])

    assert busy(ran(begin=0, run=120), series) == [(60, 0.1), (120, 0.2)]


def test_tasks_are_aligned_at_the_end() -> None:
    """Two tasks of different length end together: 0.2 and 0.4 are the same minute, 0.1 is alone."""
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
def test_without_times_there_are_no_samples(past: Job) -> None:
    """If the times of a job are unknown, its samples are left out."""
    assert busy(past, TaskSeries(task="worker-0", accelerator=[0.5, 0.5])) == []


@given(
    run=st.integers(1, 10_000_000).map(lambda milliseconds: milliseconds / 1000)
    | st.integers(1, 100).map(lambda whole: whole * 60.0),
    values=st.lists(st.none() | st.floats(0, 1), max_size=30),
    api=st.sampled_from(Api),
)
def test_samples_are_within_the_run_and_in_order(run: float, values: list[float | None], api: Api) -> None:
    """Times increase strictly and stay between start and end, for any length of run and series."""
    past = ran(begin=0, run=run, api=api)
    found = [at for at, _ in busy(past, TaskSeries(task="", accelerator=values))]

    assert all(before < after for before, after in pairwise(found))
    assert all(0 < at <= run + 1e-3 for at in found)


def test_slots_after_the_last_sample_of_v1_move_the_samples_back() -> None:
    """A collector that died two minutes before the end leaves padding: the samples stay in their minutes."""
    series = TaskSeries(task="", accelerator=[None, 0.1, 0.2], padding=3)

    assert busy(ran(begin=0, run=250, api=Api.V1), series) == [(60, 0.1), (120, 0.2)]
