"""How busy a job was, minute by minute, with the times that the cloud does not give (API reference §6.3)."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from exporter.domain.job import Api, Job
from exporter.domain.usage import MINUTE_S, JobUsage, TaskSeries, TaskUsage, combine

Minute = tuple[float, JobUsage]
"""When a minute was over, and what it was like."""


def samples(job: Job, series: Iterable[TaskSeries], *, asked_at: float) -> list[Minute]:
    """Give each sampled minute of a run its time, oldest first, aligned from the end.

    Points lie whole minutes after the start, and the last one belongs to the end of the run, or to `asked_at` while
    it runs. v2 has a slot for the minute under way, and v1's series are read up to the last sampled minute, which is
    the last whole one. A minute stands at its end, where a scrape could have seen it first. Empty without a start,
    and for a finished run without an end: then nothing says when the minutes were.
    """
    end = job.ended_at if job.status.finished else asked_at
    if job.started_at is None or end is None or end <= job.started_at:
        return []
    whole = job.started_at + math.floor((end - job.started_at) / MINUTE_S) * MINUTE_S
    ahead = 1 if job.api is Api.V2 else 0
    tasks: defaultdict[int, list[TaskUsage]] = defaultdict(list)
    for told in series:
        for age, usage in _aged(told):
            tasks[age - ahead].append(usage)
    found: list[Minute] = []
    for age in sorted(tasks, reverse=True):
        at = round(min(whole - age * MINUTE_S, end), 3)
        before = found[-1][0] if found else job.started_at
        if at > before:  # the minute under way has no length when the run was whole minutes long
            found.append((at, combine(tasks[age])))
    return found


def _aged(series: TaskSeries) -> Iterable[tuple[int, TaskUsage]]:
    """Each slot that has a sample, with its distance from the last slot."""
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
            _aged_value(column, age) for column in columns
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


def _aged_value(column: Sequence[float | None], age: int) -> float | None:
    return column[-1 - age] if age < len(column) else None
