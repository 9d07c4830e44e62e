"""Usage samples of a job with timestamps, which the API does not return (API reference §6.3)."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from exporter.domain.job import Api, Job
from exporter.domain.usage import MINUTE_S, JobUsage, TaskSeries, TaskUsage, combine

TimedSample = tuple[float, JobUsage]
"""End of a minute, and the usage in it."""


def samples(job: Job, series: Iterable[TaskSeries], *, read_at: float) -> list[TimedSample]:
    """Assign a timestamp to each sampled minute of a run, oldest first, aligned from the end.

    Samples are whole minutes after the start. The last slot belongs to the end of the run, or to `read_at` while it
    runs. v2 has a slot for the current, incomplete minute. The last slot of v1 is that minute if it has no sample,
    else the last complete one. The timestamp is the end of the minute, when a scrape could first have seen it. Empty
    without a start time, and for a finished run without an end time, because the samples then have no known time.
    """
    end = job.ended_at if job.status.finished else read_at
    if job.started_at is None or end is None or end <= job.started_at:
        return []
    last_full_minute = job.started_at + math.floor((end - job.started_at) / MINUTE_S) * MINUTE_S
    tasks: defaultdict[int, list[TaskUsage]] = defaultdict(list)
    for task_series in series:
        offset = -1 if job.api is Api.V2 else max(0, task_series.padding - 1)
        for age, usage in _slots_by_age(task_series):
            tasks[age + offset].append(usage)
    timed: list[TimedSample] = []
    for age in sorted(tasks, reverse=True):
        at = round(min(last_full_minute - age * MINUTE_S, end), 3)
        before = timed[-1][0] if timed else job.started_at
        if at > before:  # the current minute is empty if the run took whole minutes
            timed.append((at, combine(tasks[age])))
    return timed


def _slots_by_age(series: TaskSeries) -> Iterable[tuple[int, TaskUsage]]:
    """Slots that have a sample, with their distance from the last slot."""
    columns = (
        series.cpu,
        series.memory,
        series.accelerator,
        series.accelerator_memory,
        series.disk_read,
        series.disk_written,
        series.network_received,
        series.network_transmitted,
    )
    for age in range(max(map(len, columns))):
        cpu, memory, busy, busy_memory, read, written, received, transmitted = (
            _value_at_age(column, age) for column in columns
        )
        usage = TaskUsage(
            task=series.task,
            cpu_ratio=cpu,
            memory_ratio=memory,
            accelerator_ratio=busy,
            accelerator_memory_ratio=busy_memory,
            disk_read_bytes_per_second=read,
            disk_written_bytes_per_second=written,
            network_received_bytes_per_second=received,
            network_transmitted_bytes_per_second=transmitted,
        )
        if usage != TaskUsage(task=series.task):
            yield age, usage


def _value_at_age(column: Sequence[float | None], age: int) -> float | None:
    return column[-1 - age] if age < len(column) else None
