"""The newest usage reading of each task, and whose turn it is to be asked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.domain.usage import HANG_AFTER_S, JobUsage, TaskUsage, combine


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRequest:
    """One task to be asked about."""

    job_id: str
    task: str


@dataclass(slots=True)
class _Reading:
    known_at: float
    asked_at: float = float("-inf")
    read_at: float | None = None
    usage: TaskUsage | None = None


class UsageReadings:
    """Readings of one project's running jobs.

    `keep_s`: how old a reading may grow before it is no longer shown. `hang_after_s`: for how long a job may stand
    still. All times are of one monotonic clock.
    """

    def __init__(self, *, keep_s: float, hang_after_s: float = HANG_AFTER_S) -> None:
        self._keep_s = keep_s
        self._hang_after_s = hang_after_s
        self._readings: dict[str, dict[str, _Reading]] = {}
        self._shown: dict[str, tuple[tuple[TaskUsage, ...], JobUsage]] = {}

    def turns(self, tasks: Mapping[str, Iterable[str]], *, at: float) -> list[UsageRequest]:
        """Put every task of the running jobs in order, the one asked longest ago first; forget all other jobs."""
        for job_id in self._readings.keys() - tasks.keys():
            del self._readings[job_id]
            self._shown.pop(job_id, None)
        queue = []
        for job_id, names in tasks.items():
            known = self._readings.setdefault(job_id, {})
            for name in names:
                reading = known.setdefault(name, _Reading(known_at=at))
                queue.append((reading.asked_at, job_id, name))
        queue.sort(key=lambda turn: turn[0])
        return [UsageRequest(job_id=job_id, task=name) for _, job_id, name in queue]

    def asked(self, turn: UsageRequest, usage: TaskUsage | None, *, at: float) -> None:
        """Note an answer; None (no data yet, or a failure) leaves the last reading to grow old."""
        reading = self._readings[turn.job_id][turn.task]
        reading.asked_at = at
        if usage is not None:
            reading.read_at, reading.usage = at, usage

    def overdue(self, *, at: float) -> int:
        """How many tasks have been waiting for their turn longer than a reading may grow old."""
        return sum(
            at - max(reading.asked_at, reading.known_at) >= self._keep_s
            for readings in self._readings.values()
            for reading in readings.values()
        )

    def usage(self, job_id: str, *, at: float) -> JobUsage | None:
        """What is known now about a job from readings that are fresh enough; None when there are none.

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
