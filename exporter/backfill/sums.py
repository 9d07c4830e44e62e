"""Aggregates of one project over time: jobs by status, accelerators held and queued, jobs submitted to finished."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exporter.backfill.grid import CumulativeCounter, Gauge, Grid
from exporter.backfill.timeline import job_intervals, status_timeline
from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.metrics.exposition.family import Family
from exporter.metrics.families.accounting import ACCELERATORS
from exporter.metrics.families.job import accelerator_labels
from exporter.metrics.families.project import FINISHED, JOBS, PUBLIC_POOL, STARTED, SUBMITTED

SUMS: tuple[Family[Any], ...] = (JOBS, ACCELERATORS, SUBMITTED, STARTED, FINISHED)
"""In the order of the catalog."""

_FINAL_STATUSES = tuple(status for status in JobStatus if status.finished)
_KNOWN_STATUSES = (JobStatus.QUEUED, JobStatus.RUNNING, *_FINAL_STATUSES, JobStatus.UNKNOWN)
"""Statuses that can be derived from the times of a job. The others are unknown, so they are absent, not 0."""

Row = tuple[Mapping[str, str], Sequence[float]]
"""Labels of the family, and a value for each timestamp of the grid."""


class Sums:
    """Aggregates the jobs of one project; each is added once. Finished jobs count in their status for the retention.

    Memory grows with pools and timestamps, not with jobs.
    """

    def __init__(self, grid: Grid, *, project: str, retention_s: float) -> None:
        self.untimed = 0
        """Jobs left out, because the API returns no submission time, or no end time of their run."""
        self._grid = grid
        self._project = project
        self._retention_s = retention_s
        self._pools: set[str] = {PUBLIC_POOL}
        self._jobs: dict[tuple[str, JobStatus], Gauge] = {}
        self._accelerators: dict[tuple[str, str, str], Gauge] = {}
        self._submitted: dict[str, CumulativeCounter] = {}
        self._started: dict[str, CumulativeCounter] = {}
        self._finished: dict[tuple[str, JobStatus], CumulativeCounter] = {}

    def add(self, job: Job) -> None:
        """Add one job."""
        timeline = status_timeline(job)
        if not timeline:
            self.untimed += 1
            return
        pool = job.pool_id
        self._pools.add(pool)
        _get_or_create(self._submitted, pool, CumulativeCounter, self._grid).count(timeline[0].begin)
        if job.started_at is not None:  # also a run of zero length, which has no interval
            started_at = max(job.started_at, timeline[0].begin)
            _get_or_create(self._started, pool, CumulativeCounter, self._grid).count(started_at)
        for interval in timeline:
            end = interval.end
            if interval.status.finished:
                end = interval.begin + self._retention_s
                _get_or_create(self._finished, (pool, interval.status), CumulativeCounter, self._grid).count(
                    interval.begin
                )
            _get_or_create(self._jobs, (pool, interval.status), Gauge, self._grid).add(interval.begin, end)
        self._add_accelerators(job)

    def _add_accelerators(self, job: Job) -> None:
        labels = accelerator_labels(TrackedJob(project=self._project, job=job))
        if labels is None or not job.spec_accelerators:
            return
        (kind,) = labels.values()
        for state in ("held", "queued"):  # an empty queue is 0 while accelerators are held
            _get_or_create(self._accelerators, (job.pool_id, kind, state), Gauge, self._grid)
        for interval in job_intervals(job):
            held = interval.job.status_accelerators
            if held:
                self._accelerators[job.pool_id, kind, "held"].add(interval.begin, interval.end, held)
            if interval.job.status is JobStatus.QUEUED:
                self._accelerators[job.pool_id, kind, "queued"].add(
                    interval.begin, interval.end, job.spec_accelerators
                )

    def rows(self, family: Family[Any]) -> Iterator[Row]:
        """Series of one family of `SUMS`, in the order of the exposition."""
        pools = sorted(self._pools)
        if family is JOBS:
            for pool in pools:
                for status in _KNOWN_STATUSES:
                    gauge = self._jobs.get((pool, status))
                    yield {"pool_id": pool, "status": status.value}, self._values(gauge)
        elif family is ACCELERATORS:
            for (pool, kind, state), gauge in sorted(self._accelerators.items()):
                yield {"pool_id": pool, "accelerator": kind, "state": state}, gauge.values()
        elif family is FINISHED:
            for pool in pools:
                for status in _FINAL_STATUSES:
                    yield {"pool_id": pool, "status": status.value}, self._values(self._finished.get((pool, status)))
        else:
            counters = self._submitted if family is SUBMITTED else self._started
            for pool in pools:
                yield {"pool_id": pool}, self._values(counters.get(pool))

    def _values(self, entry: Gauge | CumulativeCounter | None) -> Sequence[float]:
        return [0.0] * self._grid.count if entry is None else entry.values()


def _get_or_create(entry: dict[Any, Any], key: object, kind: type[Any], grid: Grid) -> Any:
    if key not in entry:
        entry[key] = kind(grid)
    return entry[key]
