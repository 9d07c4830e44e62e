"""Usage of a job: the samples of one task, their summary, and the combination of all tasks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MINUTE_S = 60.0
"""Both generations sample once a minute (API reference §6.1, §6.2)."""

OLD_SLOTS = 10
"""A newest sample with more slots than this after it is old; a dead collector leaves a tail of any length."""

_FULL_WINDOW = 4_320 - 10
"""Series of so many samples may have lost their oldest ones: the cloud keeps three days (API reference §6.3)."""

_FLAT_TOLERANCE = 0.005
"""How far a flat series may move, as a ratio: half a percentage point is caused by rounding and drivers."""

_MAX_LAG = 3
"""How many slots a single series may lag behind the newest complete one and still be current."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSeries:
    """One task's samples, one a minute, oldest first, aligned at the end; ratios 0-1, rates in bytes per second.

    None in a list: no sample for that minute. An empty list: the cloud has no such series.
    v1 has one set of series for each job, which is a task named "".
    """

    task: str
    cpu: Sequence[float | None] = ()
    memory: Sequence[float | None] = ()
    accelerator: Sequence[float | None] = ()
    accelerator_memory: Sequence[float | None] = ()
    disk_read: Sequence[float | None] = ()
    disk_written: Sequence[float | None] = ()
    network_received: Sequence[float | None] = ()
    network_transmitted: Sequence[float | None] = ()
    padding: int = 0
    """Slots without a sample in any series that follow the lists."""

    @property
    def slots(self) -> int:
        """Minutes that the cloud has, sampled or not."""
        return self.padding + max(len(values) for values in self._lists)

    @property
    def unsampled_slots(self) -> int:
        """Slots after the newest sample."""
        ages = [age for values in self._lists if (age := _age(values)) is not None]
        return self.padding + min(ages, default=0)

    @property
    def _lists(self) -> tuple[Sequence[float | None], ...]:
        return (
            self.cpu, self.memory, self.accelerator, self.accelerator_memory,
            self.disk_read, self.disk_written, self.network_received, self.network_transmitted,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskUsage:
    """Summary of one task's series. Ratios 0-1; None means no valid sample."""

    task: str
    cpu_ratio: float | None = None
    memory_ratio: float | None = None
    accelerator_ratio: float | None = None
    accelerator_memory_ratio: float | None = None
    accelerator_mean_ratio: float | None = None
    """Mean of all valid samples that the cloud still has."""
    idle_s: float | None = None
    """How long, up to the newest sample, the accelerators have been below the threshold; 0 when they are busy."""
    flat_s: float | None = None
    """How long, up to the newest sample, no series of the task has moved; None without accelerator samples."""
    was_busy: bool = False
    """Whether any accelerator sample that the cloud still has is at or above the threshold."""
    disk_read_bytes_per_second: float | None = None
    disk_written_bytes_per_second: float | None = None
    network_received_bytes_per_second: float | None = None
    network_transmitted_bytes_per_second: float | None = None
    sampled_at: float | None = None
    """Time of the newest sample, seconds since the epoch; None: unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUsage:
    """Usage of a job: means over its tasks, the minimum over its tasks, sums of rates."""

    cpu_ratio: float | None = None
    memory_ratio: float | None = None
    accelerator_ratio: float | None = None
    accelerator_min_ratio: float | None = None
    accelerator_memory_ratio: float | None = None
    accelerator_mean_ratio: float | None = None
    idle_s: float | None = None
    """How long every task's accelerators have been idle: the shortest of the tasks' idle times."""
    flat_s: float | None = None
    """How long no series of any task has moved: the shortest of the tasks' times."""
    suspected_hang: bool | None = None
    """Whether all series have been flat for `hang_after`, after the accelerators had been busy."""
    disk_read_bytes_per_second: float | None = None
    disk_written_bytes_per_second: float | None = None
    network_received_bytes_per_second: float | None = None
    network_transmitted_bytes_per_second: float | None = None
    sampled_at: float | None = None
    """Time of the newest sample of any task, seconds since the epoch; None: unknown."""
    tasks: tuple[TaskUsage, ...] = ()

    def ended(self) -> "JobUsage | None":
        """Return what stays true once the job has ended: the mean over the run. None without a mean."""
        if self.accelerator_mean_ratio is None:
            return None
        return JobUsage(accelerator_mean_ratio=self.accelerator_mean_ratio)


def is_full_window(slots: int, *, run_s: float) -> bool:
    """Whether a series of so many slots may have lost its oldest ones, so that its first is not the start."""
    return slots >= _FULL_WINDOW and run_s // MINUTE_S + 2 > slots


def summarise(
    series: TaskSeries, *, idle_threshold: float, missing_slots: int = 0, sampled_at: float | None = None
) -> TaskUsage:
    """Summarise one task's samples: its newest complete minute, its mean and its idle time.

    The newest minute is the last one with a CPU or memory sample, because a running container always uses memory
    (API reference §6.2). A series without a sample there may lag by up to three minutes. When more than `OLD_SLOTS`
    slots follow the newest sample, usage has stopped arriving: only the mean is left. `missing_slots` have not even
    been added to the series. `sampled_at` is the time of the newest sample.
    """
    newest = _newest(series)
    valid = [value for value in series.accelerator if value is not None]
    mean_ratio = sum(valid) / len(valid) if valid else None
    if series.unsampled_slots + missing_slots > OLD_SLOTS:
        return TaskUsage(task=series.task, accelerator_mean_ratio=mean_ratio, sampled_at=sampled_at)
    return TaskUsage(
        task=series.task,
        sampled_at=sampled_at,
        cpu_ratio=_at(series.cpu, newest),
        memory_ratio=_at(series.memory, newest),
        accelerator_ratio=_at(series.accelerator, newest),
        accelerator_memory_ratio=_at(series.accelerator_memory, newest),
        accelerator_mean_ratio=mean_ratio,
        idle_s=_idle(series.accelerator, threshold=idle_threshold) if valid else None,
        flat_s=_flat(series) if valid else None,
        was_busy=any(value >= idle_threshold for value in valid),
        disk_read_bytes_per_second=_at(series.disk_read, newest),
        disk_written_bytes_per_second=_at(series.disk_written, newest),
        network_received_bytes_per_second=_at(series.network_received, newest),
        network_transmitted_bytes_per_second=_at(series.network_transmitted, newest),
    )


def combine(tasks: Iterable[TaskUsage], *, hang_after_s: float | None = None) -> JobUsage:
    """Combine the tasks of one job. A task without a sample is left out of that mean, never counted as 0.

    A job that has been flat for `hang_after_s` after having been busy is suspected to hang; None: it is not judged.
    """
    tasks = tuple(sorted(tasks, key=lambda usage: usage.task))
    flat_s = _min(task.flat_s for task in tasks)
    return JobUsage(
        cpu_ratio=_mean(task.cpu_ratio for task in tasks),
        memory_ratio=_mean(task.memory_ratio for task in tasks),
        accelerator_ratio=_mean(task.accelerator_ratio for task in tasks),
        accelerator_min_ratio=_min(task.accelerator_ratio for task in tasks),
        accelerator_memory_ratio=_mean(task.accelerator_memory_ratio for task in tasks),
        accelerator_mean_ratio=_mean(task.accelerator_mean_ratio for task in tasks),
        idle_s=_min(task.idle_s for task in tasks),
        flat_s=flat_s,
        suspected_hang=(
            None
            if flat_s is None or hang_after_s is None
            else flat_s >= hang_after_s and any(task.was_busy for task in tasks)
        ),
        disk_read_bytes_per_second=_sum(task.disk_read_bytes_per_second for task in tasks),
        disk_written_bytes_per_second=_sum(task.disk_written_bytes_per_second for task in tasks),
        network_received_bytes_per_second=_sum(task.network_received_bytes_per_second for task in tasks),
        network_transmitted_bytes_per_second=_sum(task.network_transmitted_bytes_per_second for task in tasks),
        sampled_at=max((task.sampled_at for task in tasks if task.sampled_at is not None), default=None),
        tasks=tasks,
    )


def _newest(series: TaskSeries) -> int:
    """Slots from the end to the newest CPU or memory sample; 0 when neither series has one."""
    ages = [age for values in (series.cpu, series.memory) if (age := _age(values)) is not None]
    return min(ages, default=0)


def _age(values: Sequence[float | None]) -> int | None:
    for age, value in enumerate(reversed(values)):
        if value is not None:
            return age
    return None


def _at(values: Sequence[float | None], age: int) -> float | None:
    for back in range(age, age + _MAX_LAG + 1):
        if back >= len(values):
            return None
        value = values[-1 - back]
        if value is not None:
            return value
    return None


def _idle(values: Sequence[float | None], *, threshold: float) -> float:
    samples = 0
    for value in reversed(values):
        if value is None:
            continue  # no evidence either way: it does not count, and does not end the idle time
        if value >= threshold:
            break
        samples += 1
    return samples * MINUTE_S


def _flat(series: TaskSeries) -> float:
    """How long all series have stayed within `_FLAT_TOLERANCE` of their newest value, in seconds.

    The utilisation of a working process varies with batches, checkpoints and garbage collection. A process that waits
    for a peer or a lock has the same utilisation minute after minute, at 0 or at 100 %. A minute without samples is
    no evidence.
    """
    samples = None
    for values in (series.cpu, series.memory, series.accelerator, series.accelerator_memory):
        flat = _flat_minutes(values)
        if flat is not None:
            samples = flat if samples is None else min(samples, flat)
    return (samples or 0) * MINUTE_S


def _flat_minutes(values: Sequence[float | None]) -> int | None:
    """Minutes from the newest sample back to the oldest in a row that equals it within the tolerance; None: none."""
    newest = None
    samples = 0
    for value in reversed(values):
        if value is None:
            continue
        if newest is None:
            newest = value
            continue
        if abs(value - newest) > _FLAT_TOLERANCE:
            return samples
        samples += 1
    return None if newest is None else samples


def _present(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    present = _present(values)
    return _rounded(sum(present) / len(present)) if present else None


def _min(values: Iterable[float | None]) -> float | None:
    present = _present(values)
    return _rounded(min(present)) if present else None


def _sum(values: Iterable[float | None]) -> float | None:
    present = _present(values)
    return _rounded(sum(present)) if present else None


def _rounded(value: float) -> float:
    """Round off the noise of binary fractions, which costs bytes: the cloud gives four digits."""
    return round(value, 6)
