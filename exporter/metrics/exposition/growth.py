"""How many more series to expect once the retention is full of finished jobs."""

from collections.abc import Iterable

from exporter.domain.job import Api, Job
from exporter.domain.snapshot import TrackedJob
from exporter.metrics.exposition.family import Family
from exporter.metrics.exposition.renderer import job_columns
from exporter.metrics.exposition.table import Table

_NEWEST = 50
"""Jobs of each generation from which the submission rate is computed: one page of a listing."""


def growth(jobs: Iterable[TrackedJob], *, families: Iterable[Family[TrackedJob]], retention_s: float) -> int:
    """Estimate how many series of finished jobs a project gains until the retention is full.

    Assumes that jobs keep coming at the rate of the newest submissions, that active jobs stay as many as now, and
    that a finished job has the mean number of series of those known. 0 when no finished job is known.
    """
    visible = [tracked for tracked in jobs if tracked.shown]
    finished = [tracked for tracked in visible if tracked.job.status.finished]
    if not finished:
        return 0
    table = Table(job_columns(families, info=None, copied=()))
    table.update(finished)
    series = sum(table.series)
    expected_jobs = _rate(tracked.job for tracked in visible) * retention_s
    return max(0, round(expected_jobs * series / len(finished)) - series)


def _rate(jobs: Iterable[Job]) -> float:
    """Jobs submitted per second, summed over both generations; 0 for one with fewer than two submission times."""
    rate = 0.0
    listed = list(jobs)
    for api in Api:
        times = sorted((job.submitted_at for job in listed if job.api is api and job.submitted_at), reverse=True)
        newest = times[:_NEWEST]
        if len(newest) > 1 and newest[0] > newest[-1]:
            rate += (len(newest) - 1) / (newest[0] - newest[-1])
    return rate
