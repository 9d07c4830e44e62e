"""The families of one project over time: jobs by status, accelerators held and queued, what came and went."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exporter.backfill.grid import CumulativeCounter, Grid, Level
from exporter.backfill.timeline import course, states
from exporter.domain.job import Job, JobStatus
from exporter.domain.snapshot import TrackedJob
from exporter.metrics.exposition.family import Family
from exporter.metrics.families.accounting import ACCELERATORS
from exporter.metrics.families.job import accelerator_labels
from exporter.metrics.families.project import FINISHED, JOBS, PUBLIC_POOL, STARTED, SUBMITTED

SUMS: tuple[Family[Any], ...] = (JOBS, ACCELERATORS, SUBMITTED, STARTED, FINISHED)
"""In the order of the catalogue."""

_ENDS = tuple(status for status in JobStatus if status.finished)
_TOLD = (JobStatus.QUEUED, JobStatus.RUNNING, *_ENDS, JobStatus.UNKNOWN)
"""Statuses that the past tells of; of the others nobody knows, so they are absent, not 0."""

Row = tuple[Mapping[str, str], Sequence[float]]
"""Labels of the family's own, and a value for each moment of the grid."""


class Sums:
    """Adds up the jobs of one project, each given once. Finished jobs count in their status for the retention.

    Memory is for pools and moments; jobs leave nothing behind.
    """

    def __init__(self, grid: Grid, *, project: str, retention_s: float) -> None:
        self.untold = 0
        """Jobs left out, because the cloud does not tell when they were submitted, or when their run ended."""
        self._grid = grid
        self._project = project
        self._retention_s = retention_s
        self._pools: set[str] = {PUBLIC_POOL}
        self._jobs: dict[tuple[str, JobStatus], Level] = {}
        self._accelerators: dict[tuple[str, str, str], Level] = {}
        self._submitted: dict[str, CumulativeCounter] = {}
        self._started: dict[str, CumulativeCounter] = {}
        self._finished: dict[tuple[str, JobStatus], CumulativeCounter] = {}

    def add(self, job: Job) -> None:
        """Take in one job."""
        stretches = course(job)
        if not stretches:
            self.untold += 1
            return
        pool = job.pool_id
        self._pools.add(pool)
        _of(self._submitted, pool, CumulativeCounter, self._grid).count(stretches[0].begin)
        for stretch in stretches:
            end = stretch.end
            if stretch.status.finished:
                end = stretch.begin + self._retention_s
                _of(self._finished, (pool, stretch.status), CumulativeCounter, self._grid).count(stretch.begin)
            elif job.started_at is not None and stretch.status is not JobStatus.QUEUED:
                _of(self._started, pool, CumulativeCounter, self._grid).count(stretch.begin)
            _of(self._jobs, (pool, stretch.status), Level, self._grid).add(stretch.begin, end)
        self._add_accelerators(job)

    def _add_accelerators(self, job: Job) -> None:
        labels = accelerator_labels(TrackedJob(project=self._project, job=job))
        if labels is None or not job.spec_accelerators:
            return
        (kind,) = labels.values()
        for use in ("held", "queued"):  # a queue that is empty reads 0 beside what is held
            _of(self._accelerators, (job.pool_id, kind, use), Level, self._grid)
        for state in states(job):
            held = state.job.status_accelerators
            if held:
                self._accelerators[job.pool_id, kind, "held"].add(state.begin, state.end, held)
            if state.job.status is JobStatus.QUEUED:
                self._accelerators[job.pool_id, kind, "queued"].add(state.begin, state.end, job.spec_accelerators)

    def rows(self, family: Family[Any]) -> Iterator[Row]:
        """Every series of one of `SUMS`, in the order in which the exporter tells them."""
        pools = sorted(self._pools)
        if family is JOBS:
            for pool in pools:
                for status in _TOLD:
                    level = self._jobs.get((pool, status))
                    yield {"pool_id": pool, "status": status.value}, self._values(level)
        elif family is ACCELERATORS:
            for (pool, kind, use), level in sorted(self._accelerators.items()):
                yield {"pool_id": pool, "accelerator": kind, "state": use}, level.values()
        elif family is FINISHED:
            for pool in pools:
                for status in _ENDS:
                    yield {"pool_id": pool, "status": status.value}, self._values(self._finished.get((pool, status)))
        else:
            tallies = self._submitted if family is SUBMITTED else self._started
            for pool in pools:
                yield {"pool_id": pool}, self._values(tallies.get(pool))

    def _values(self, kept: Level | CumulativeCounter | None) -> Sequence[float]:
        return [0.0] * self._grid.count if kept is None else kept.values()


def _of(kept: dict[Any, Any], key: object, kind: type[Any], grid: Grid) -> Any:
    if key not in kept:
        kept[key] = kind(grid)
    return kept[key]
