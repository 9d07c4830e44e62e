"""Usage: the summary of one task's samples, and the combination of tasks to a job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.domain.usage import JobUsage, TaskSeries, TaskUsage, combine, summarise

Samples = Sequence[float | None]

samples = st.lists(st.none() | st.floats(min_value=0, max_value=1), max_size=12)
tasks = st.builds(
    TaskSeries, task=st.sampled_from(["", "worker-0", "ps-1"]), cpu=samples, memory=samples, accelerator=samples
)


def read(
    *, cpu: Samples = (), memory: Samples = (), accelerator: Samples = (), idle_threshold: float = 0.05
) -> TaskUsage:
    series = TaskSeries(task="worker-0", cpu=cpu, memory=memory, accelerator=accelerator)
    return summarise(series, idle_threshold=idle_threshold)


def test_the_newest_minute_counts() -> None:
    """Each ratio is the last of its series."""
    usage = read(cpu=[0.1, 0.2], memory=[0.3, 0.4], accelerator=[0.5, 0.6])

    assert (usage.cpu_ratio, usage.memory_ratio, usage.accelerator_ratio) == (0.2, 0.4, 0.6)


def test_the_unfinished_minute_at_the_end_is_skipped() -> None:
    """When neither anchor has the last minute, the one before it is "now" for every series."""
    usage = read(cpu=[0.1, 0.2, None], memory=[0.3, 0.4, None], accelerator=[0.5, 0.6, None])

    assert (usage.cpu_ratio, usage.memory_ratio, usage.accelerator_ratio) == (0.2, 0.4, 0.6)


def test_one_anchor_is_enough_to_complete_a_minute() -> None:
    """The memory has the last minute, so that is "now"; the CPU may lag by one."""
    usage = read(cpu=[0.1, None], memory=[0.3, 0.4])

    assert (usage.cpu_ratio, usage.memory_ratio) == (0.1, 0.4)


def test_a_sample_beyond_the_newest_complete_minute_is_not_used_yet() -> None:
    """An accelerator sample in a minute the anchors do not have yet is not mixed with older anchors."""
    usage = read(cpu=[0.1, None], memory=[0.3, None], accelerator=[0.5, 0.9])

    assert usage.accelerator_ratio == 0.5


@pytest.mark.parametrize(
    "lag,expected",
    [
        pytest.param(1, 0.7, id="one-minute"),
        pytest.param(3, 0.7, id="three-minutes"),
        pytest.param(4, None, id="four-minutes-is-too-old"),
    ],
)
def test_a_series_may_lag_by_three_minutes(lag: int, expected: float | None) -> None:
    """A series without a sample now is read up to three minutes back, no further."""
    usage = read(cpu=[0.5] * 6, accelerator=[0.7] + [None] * lag)

    assert usage.accelerator_ratio == expected


def test_without_anchors_the_end_of_the_series_counts() -> None:
    """A task with accelerator samples only is read from the end."""
    assert read(accelerator=[0.5, 0.6]).accelerator_ratio == 0.6


@pytest.mark.parametrize(
    "series", [pytest.param((), id="no-series"), pytest.param([None, None], id="series-without-samples")]
)
def test_no_sample_is_no_reading(series: Samples) -> None:
    """Without a sample there is no ratio, no mean and no idle time: absent, never 0."""
    usage = read(cpu=series, memory=series, accelerator=series)

    assert usage == TaskUsage(task="worker-0")


def test_the_mean_is_over_every_valid_minute() -> None:
    """(0.2 + 0.4 + 0.9) / 3 = 0.5; minutes without a sample do not count."""
    assert read(accelerator=[None, 0.2, None, 0.4, 0.9]).accelerator_mean_ratio == pytest.approx(0.5)


@pytest.mark.parametrize(
    "accelerator,idle_s",
    [
        pytest.param([0.9, 0.9], 0.0, id="busy"),
        pytest.param([0.9, 0.01, 0.04], 120.0, id="two-minutes-below"),
        pytest.param([0.0, 0.0, 0.0], 180.0, id="never-busy"),
        pytest.param([0.0, 0.9, 0.0], 60.0, id="only-the-last-streak"),
        pytest.param([0.9, 0.0, None, 0.0, None], 120.0, id="gaps-neither-count-nor-end-it"),
        pytest.param([0.0, 0.05], 0.0, id="the-threshold-itself-is-busy"),
    ],
)
def test_idle_time_is_the_streak_below_the_threshold_up_to_now(accelerator: Samples, idle_s: float) -> None:
    """Idle is counted back from the newest sample, 60 s a minute, to the last one at or above 0.05."""
    assert read(accelerator=accelerator).idle_s == idle_s


def test_the_threshold_is_the_callers() -> None:
    """At a threshold of 0.5 a card at 0.4 is idle."""
    assert read(accelerator=[0.4], idle_threshold=0.5).idle_s == 60.0


def test_rates_are_read_at_the_same_minute() -> None:
    """The four rates follow the anchors like every other series."""
    series = TaskSeries(
        task="",
        cpu=[0.1, 0.1, None],
        disk_read=[1.0, 2.0, None],
        disk_written=[3.0, 4.0, None],
        network_received=[5.0, 6.0, 99.0],
        network_transmitted=[7.0, 8.0, None],
        accelerator_memory=[0.1, 0.2, 0.3],
    )

    usage = summarise(series, idle_threshold=0.05)

    assert usage.disk_read_bytes_per_second == 2.0
    assert usage.disk_written_bytes_per_second == 4.0
    assert usage.network_received_bytes_per_second == 6.0
    assert usage.network_transmitted_bytes_per_second == 8.0
    assert usage.accelerator_memory_ratio == 0.2


def test_a_job_has_the_mean_and_the_minimum_of_its_tasks() -> None:
    """(0.9 + 0.5) / 2 = 0.7 on average, the minimum is 0.5."""
    job = combine(
        [
            TaskUsage(task="worker-1", accelerator_ratio=0.9, cpu_ratio=0.2, memory_ratio=0.4),
            TaskUsage(task="worker-0", accelerator_ratio=0.5, cpu_ratio=0.4, memory_ratio=0.8),
        ]
    )

    assert job.accelerator_ratio == pytest.approx(0.7)
    assert job.accelerator_min_ratio == 0.5
    assert job.cpu_ratio == pytest.approx(0.3)
    assert job.memory_ratio == pytest.approx(0.6)
    assert [usage.task for usage in job.tasks] == ["worker-0", "worker-1"]


def test_a_task_without_a_sample_is_left_out_of_the_mean() -> None:
    """One task at 0.8 and one without a sample make 0.8, not 0.4."""
    job = combine([TaskUsage(task="a", accelerator_ratio=0.8), TaskUsage(task="b")])

    assert (job.accelerator_ratio, job.accelerator_min_ratio) == (0.8, 0.8)


def test_a_job_is_idle_only_as_long_as_all_its_tasks_are() -> None:
    """Of tasks idle for 600 s and 60 s the job as a whole is idle for 60 s."""
    job = combine([TaskUsage(task="a", idle_s=600.0), TaskUsage(task="b", idle_s=60.0)])

    assert job.idle_s == 60.0


def test_rates_add_up_over_tasks() -> None:
    """Two tasks that read 10 and 5 bytes a second read 15 together; one without samples adds nothing."""
    job = combine(
        [
            TaskUsage(
                task="a",
                disk_read_bytes_per_second=10.0,
                disk_written_bytes_per_second=1.0,
                network_received_bytes_per_second=2.0,
                network_transmitted_bytes_per_second=3.0,
            ),
            TaskUsage(task="b", disk_read_bytes_per_second=5.0),
            TaskUsage(task="c"),
        ]
    )

    assert job.disk_read_bytes_per_second == 15.0
    assert job.disk_written_bytes_per_second == 1.0
    assert job.network_received_bytes_per_second == 2.0
    assert job.network_transmitted_bytes_per_second == 3.0


def test_no_tasks_make_an_empty_usage() -> None:
    """A job without readings has no ratios at all."""
    assert combine([]) == JobUsage()


def test_after_the_end_only_the_mean_is_kept() -> None:
    """An ended job keeps its mean over the run; current values are withdrawn."""
    running = combine(
        [TaskUsage(task="a", cpu_ratio=0.5, accelerator_ratio=0.9, accelerator_mean_ratio=0.8, idle_s=0.0)]
    )

    assert running.ended() == JobUsage(accelerator_mean_ratio=0.8)


def test_without_a_mean_nothing_is_kept() -> None:
    """A CPU job has no usage after its end."""
    assert combine([TaskUsage(task="a", cpu_ratio=0.5)]).ended() is None


@given(series=tasks, idle_threshold=st.floats(min_value=0, max_value=1))
def test_a_summary_only_repeats_what_was_sampled(series: TaskSeries, idle_threshold: float) -> None:
    """Every ratio "now" is one of the series' own samples, and the idle time fits into the series."""
    usage = summarise(series, idle_threshold=idle_threshold)

    for ratio, samples in (
        (usage.cpu_ratio, series.cpu),
        (usage.memory_ratio, series.memory),
        (usage.accelerator_ratio, series.accelerator),
    ):
        assert ratio is None or ratio in samples
    samples = [value for value in series.accelerator if value is not None]
    assert (usage.idle_s is None) == (not samples)
    if usage.idle_s is not None:
        assert 0 <= usage.idle_s <= 60 * len(samples)


@given(usages=st.lists(tasks, max_size=6))
def test_the_mean_lies_between_the_slowest_and_the_fastest(usages: list[TaskSeries]) -> None:
    """A job's mean is never below its slowest task nor above 1, and the order of the tasks does not matter."""
    read = [summarise(series, idle_threshold=0.05) for series in usages]
    job = combine(read)

    if job.accelerator_ratio is not None and job.accelerator_min_ratio is not None:
        assert job.accelerator_min_ratio - 1e-9 <= job.accelerator_ratio <= 1 + 1e-9
    assert sorted(task.task for task in job.tasks) == [task.task for task in job.tasks]


@pytest.mark.parametrize(
    "cpu, accelerator, flat_min",
    [
        pytest.param([0.3, 0.3, 0.3], [0.9, 0.9, 0.9], 2, id="nothing moves"),
        pytest.param([0.3, 0.3, 0.3], [0.9, 0.8, 0.9], 0, id="the accelerators do"),
        pytest.param([0.2, 0.3, 0.3], [0.9, 0.9, 0.9], 1, id="the CPU did"),
        pytest.param([0.3, 0.304, 0.3], [0.9, 0.9, 0.9], 2, id="less than half a percentage point is noise"),
        pytest.param([0.005, 0.0], [0.9, 0.9], 1, id="so is half a percentage point"),
        pytest.param([0.3, None, 0.3], [0.9, None, 0.9], 1, id="a minute without samples is no evidence"),
        pytest.param([0.3, 0.3, None], [0.9, 0.9, None], 1, id="nor is the current one"),
    ],
)
def test_flat_is_how_long_nothing_has_moved(cpu: Samples, accelerator: Samples, flat_min: int) -> None:
    """The shortest of all series counts, up to the newest sample."""
    assert read(cpu=cpu, accelerator=accelerator).flat_s == flat_min * 60.0


def test_without_accelerators_nothing_is_flat() -> None:
    """A suspected hang needs accelerator samples."""
    assert read(cpu=[0.3, 0.3]).flat_s is None
    assert combine([read(cpu=[0.3, 0.3])]).suspected_hang is None


@pytest.mark.parametrize(
    "accelerators, hangs",
    [
        pytest.param([[0.9] * 4], True, id="busy and flat"),
        pytest.param([[0.9, 0.0, 0.0, 0.0, 0.0]], True, id="was busy, and is flat at 0"),
        pytest.param([[0.0] * 4], False, id="never was busy"),
        pytest.param([[0.05] * 4], True, id="the threshold itself is busy"),
        pytest.param([[0.9] * 3], False, id="not for long enough"),
        pytest.param([[0.9] * 4, [0.9, 0.8, 0.9, 0.8]], False, id="one task moves"),
        pytest.param([[0.9] * 4, [0.0] * 4], True, id="one busy task is enough"),
    ],
)
def test_a_hang_is_suspected_when_busy_tasks_become_flat(accelerators: list[Samples], hangs: bool) -> None:
    """Flat for `hang_after`, after the accelerators of any task had been busy."""
    tasks = [read(cpu=[0.3] * len(values), accelerator=values) for values in accelerators]

    assert combine(tasks, hang_after_s=180.0).suspected_hang is hangs


def current(values: Samples, anchors: Sequence[Samples]) -> float | None:
    """The value of one series now, from the minutes in which there are samples, counted back from the end."""
    by_age = {age: value for age, value in enumerate(reversed(values)) if value is not None}
    now = min(
        (age for anchor in anchors for age, value in enumerate(reversed(anchor)) if value is not None), default=0
    )
    recent = [age for age in by_age if now <= age <= now + 3]
    return by_age[min(recent)] if recent else None


levels = st.sampled_from([None, None, 0.0, 0.02, 0.021, 0.04, 0.05, 0.9, 0.904, 1.0])
ragged = st.lists(levels, max_size=9)


@given(cpu=ragged, memory=ragged, accelerator=ragged, card_memory=ragged, received=ragged)
def test_series_that_disagree_are_aligned_at_their_end(
    cpu: Samples, memory: Samples, accelerator: Samples, card_memory: Samples, received: Samples
) -> None:
    """Series that lag, that begin later, or that have gaps: each is read in the minute of the newest anchor."""
    usage = summarise(
        TaskSeries(
            task="worker-0",
            cpu=cpu,
            memory=memory,
            accelerator=accelerator,
            accelerator_memory=card_memory,
            network_received=received,
        ),
        idle_threshold=0.05,
    )
    samples = [value for value in accelerator if value is not None]
    idle_min = next((at for at, value in enumerate(reversed(samples)) if value >= 0.05), len(samples))
    still_min = min(
        next((at for at, value in enumerate(present) if abs(value - present[0]) > 0.005), len(present)) - 1
        for values in (cpu, memory, accelerator, card_memory)
        if (present := [value for value in reversed(values) if value is not None]) or values is accelerator
    )

    assert usage.cpu_ratio == current(cpu, [cpu, memory])
    assert usage.memory_ratio == current(memory, [cpu, memory])
    assert usage.accelerator_ratio == current(accelerator, [cpu, memory])
    assert usage.accelerator_memory_ratio == current(card_memory, [cpu, memory])
    assert usage.network_received_bytes_per_second == current(received, [cpu, memory])
    assert usage.disk_read_bytes_per_second is None
    if not samples:
        assert (usage.accelerator_mean_ratio, usage.idle_s, usage.flat_s) == (None, None, None)
        assert not usage.was_busy
    else:
        assert usage.accelerator_mean_ratio == pytest.approx(sum(samples) / len(samples))
        assert usage.idle_s == idle_min * 60.0
        assert usage.flat_s == still_min * 60.0
        assert usage.was_busy is (max(samples) >= 0.05)


@pytest.mark.parametrize(
    "series, ratio, idle_s, flat_s",
    [
        pytest.param([None], None, None, None, id="minute 0: only the slot before the start"),
        pytest.param([None, None], None, None, None, id="minute 0: under way"),
        pytest.param([None, 0.9], 0.9, 0.0, 0.0, id="minute 0: sampled"),
        pytest.param([0.9], 0.9, 0.0, 0.0, id="one slot that is sampled"),
        pytest.param([None, 0.0, None], 0.0, 60.0, 0.0, id="minute 0 is over"),
        pytest.param([0.0] * 4320, 0.0, 259_200.0, 259_140.0, id="a whole window that ends in a sample"),
        pytest.param([*[0.0] * 4319, None], 0.0, 259_140.0, 259_080.0, id="a whole window without its newest minute"),
        pytest.param([0.9, *[0.0] * 4319], 0.0, 259_140.0, 259_080.0, id="a whole window that was busy once"),
    ],
)
def test_the_ends_of_a_run_and_of_the_window(
    series: Samples, ratio: float | None, idle_s: float | None, flat_s: float | None
) -> None:
    """One minute is one sample, from the first minute of a run to a window of three days."""
    usage = read(cpu=[0.3 if value is not None else None for value in series], accelerator=series)

    assert (usage.accelerator_ratio, usage.idle_s, usage.flat_s) == (ratio, idle_s, flat_s)


def test_a_task_that_joins_late_is_judged_by_its_own_minutes() -> None:
    """A worker of an elastic job that joined two minutes ago: its mean and idle time are of these two."""
    early = summarise(TaskSeries(task="worker-0", cpu=[0.5] * 6, accelerator=[0.0] * 6), idle_threshold=0.05)
    late = summarise(TaskSeries(task="worker-1", cpu=[0.5] * 2, accelerator=[0.0, 0.0]), idle_threshold=0.05)
    joining = summarise(TaskSeries(task="worker-2", cpu=[None], accelerator=[None]), idle_threshold=0.05)

    assert combine([early, late]).idle_s == 120.0
    assert combine([joining, early]).idle_s == 360.0  # no sample yet is no evidence
    assert combine([early, late, joining]).accelerator_mean_ratio == 0.0


RATES = ("disk_read", "disk_written", "network_received", "network_transmitted")
COMBINED = {
    "cpu_ratio": ("cpu_ratio", "mean"),
    "memory_ratio": ("memory_ratio", "mean"),
    "accelerator_ratio": ("accelerator_ratio", "mean"),
    "accelerator_min_ratio": ("accelerator_ratio", "min"),
    "accelerator_memory_ratio": ("accelerator_memory_ratio", "mean"),
    "accelerator_mean_ratio": ("accelerator_mean_ratio", "mean"),
    "idle_s": ("idle_s", "min"),
    "flat_s": ("flat_s", "min"),
    "sampled_at": ("sampled_at", "max"),
    **{f"{rate}_bytes_per_second": (f"{rate}_bytes_per_second", "sum") for rate in RATES},
}
"""Each field of a job, the field of its tasks, and how these are combined."""

HOW: Mapping[str, Callable[[list[float]], float]] = {"mean": fmean, "min": min, "max": max, "sum": sum}

numbers = st.none() | st.sampled_from([0.0, 0.25, 0.5, 60.0, 3600.0])
summaries = st.lists(
    st.builds(
        TaskUsage,
        task=st.just(""),
        was_busy=st.booleans(),
        **dict.fromkeys({source for source, _ in COMBINED.values()}, numbers),
    ),
    max_size=4,
).map(lambda found: [replace(usage, task=f"worker-{number}") for number, usage in enumerate(found)])


@given(usages=summaries, order=st.randoms(use_true_random=False), hang_after_s=st.sampled_from([60.0, 3600.0]))
def test_tasks_are_combined_field_by_field_in_any_order(
    usages: list[TaskUsage], order: Random, hang_after_s: float
) -> None:
    """Each field depends on that field of the tasks alone, in any order; a task without a sample is left out."""
    shuffled = list(usages)
    order.shuffle(shuffled)
    job = combine(shuffled, hang_after_s=hang_after_s)
    for name, (source, how) in COMBINED.items():
        present = [value for usage in usages if (value := getattr(usage, source)) is not None]
        assert getattr(job, name) == (pytest.approx(HOW[how](present), abs=1e-6) if present else None), name
    flat = [usage.flat_s for usage in usages if usage.flat_s is not None]
    hangs = bool(flat) and min(flat) >= hang_after_s and any(usage.was_busy for usage in usages)

    assert job.suspected_hang == (hangs if flat else None)
    assert list(job.tasks) == usages
    assert combine(shuffled).suspected_hang is None


def test_combined_numbers_are_rounded_to_six_digits() -> None:
    """The cloud gives four digits; the noise of binary fractions would cost bytes in every scrape."""
    job = combine(
        [TaskUsage(task="a", cpu_ratio=0.1), TaskUsage(task="b", cpu_ratio=0.2), TaskUsage(task="c", cpu_ratio=0.2)]
    )

    assert job.cpu_ratio == 0.166667
