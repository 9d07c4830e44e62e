"""The newest usage reading of each task, and the order in which tasks are read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.domain.usage import MINUTE_S, JobUsage, TaskUsage, combine, is_full_window


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRequest:
    """One task whose usage is to be read."""

    job_id: str
    task: str


@dataclass(slots=True)
class _Reading:
    known_at: float
    requested_at: float = float("-inf")
    read_at: float | None = None
    usage: TaskUsage | None = None
    short: int | None = None
    """Slots by which its series was shorter than the run time suggests; the fewest of all readings."""


class UsageReadings:
    """Readings of one project's running jobs.

    `keep_s`: from this age on a reading is not shown. `hang_after_s`: how long no series of a job may move before a
    hang is suspected. All times are of one monotonic clock.
    """

    def __init__(self, *, keep_s: float, hang_after_s: float) -> None:
        self._keep_s = keep_s
        self._hang_after_s = hang_after_s
        self._readings: dict[str, dict[str, _Reading]] = {}
        self._shown: dict[str, tuple[tuple[TaskUsage, ...], JobUsage]] = {}

    def requests(self, tasks: Mapping[str, Iterable[str]], *, at: float) -> list[UsageRequest]:
        """Return a request for each task of the running jobs, longest unread first; forget all other jobs."""
        for job_id in self._readings.keys() - tasks.keys():
            del self._readings[job_id]
            self._shown.pop(job_id, None)
        queue = []
        for job_id, names in tasks.items():
            known = self._readings.setdefault(job_id, {})
            for name in names:
                reading = known.setdefault(name, _Reading(known_at=at))
                queue.append((reading.requested_at, job_id, name))
        queue.sort(key=lambda request: request[0])
        return [UsageRequest(job_id=job_id, task=name) for _, job_id, name in queue]

    def record(self, request: UsageRequest, usage: TaskUsage | None, *, at: float) -> None:
        """Record the result of a request; None (no samples yet, or a failure) keeps the last reading as it is."""
        reading = self._readings[request.job_id][request.task]
        reading.requested_at = at
        if usage is not None:
            reading.read_at, reading.usage = at, usage

    def missing_slots(self, request: UsageRequest, slots: int, *, run_s: float) -> int:
        """Return how many slots have not been added to a task's series of so many slots.

        A series of a run has a slot for each minute and one before the start, unless its window is full (API
        reference §6.3). The series of a task that joined late is shorter from the beginning.
        """
        readings = self._readings[request.job_id]
        reading = readings[request.task]
        short = 0 if is_full_window(slots, run_s=run_s) else max(0, int(run_s // MINUTE_S) + 2 - slots)
        reading.short = short if reading.short is None else min(reading.short, short)
        common = min(other.short for other in readings.values() if other.short is not None)
        return short - reading.short + common

    def overdue_count(self, *, at: float) -> int:
        """Return how many tasks have not been requested for `keep_s`."""
        return sum(
            at - max(reading.requested_at, reading.known_at) >= self._keep_s
            for readings in self._readings.values()
            for reading in readings.values()
        )

    def usage(self, job_id: str, *, at: float) -> JobUsage | None:
        """Return a job's usage from its fresh readings; None when there are none.

        The same object is returned while the readings are the same.
        """
        fresh = tuple(
            reading.usage
            for reading in self._readings.get(job_id, {}).values()
            if reading.usage is not None and reading.read_at is not None and at - reading.read_at < self._keep_s
        )
        if not fresh:
            self._shown.pop(job_id, None)
            return None
        shown = self._shown.get(job_id)
        if shown is None or shown[0] != fresh:
            shown = self._shown[job_id] = (fresh, combine(fresh, hang_after_s=self._hang_after_s))
        return shown[1]
