"""Times of a job that are years ahead of the clock: no job has them, so they are unknown."""

from dataclasses import replace

from exporter.cloud.http.endpoint import NoteUnknown
from exporter.domain.job import Api, Job

MAX_AHEAD_S = 366 * 86_400.0
"""A year. No job is submitted, started or ended so long after now, even if one of the clocks is wrong by months."""

_FIELDS = {
    Api.V1: {"submitted_at": "v1.create_time", "started_at": "v1.start_time", "ended_at": "v1.end_time"},
    Api.V2: {
        "submitted_at": "v2.metadata.create_time",
        "started_at": "v2.status.start_time",
        "ended_at": "v2.status.running_records.end_at",
    },
}


def possible(job: Job, *, now: float, note: NoteUnknown) -> Job:
    """Return the job without times that are more than a year after `now`; these are noted. Usually the same object.

    An end that was derived from an impossible start goes with it, and is not noted.
    """
    latest = now + MAX_AHEAD_S
    times = (job.submitted_at, job.started_at, job.ended_at)
    if all(at is None or at <= latest for at in times):
        return job
    fields = _FIELDS[job.api]
    ahead = {name: at for name, at in zip(fields, times, strict=True) if at is not None and at > latest}
    for name, at in ahead.items():
        if name != "ended_at" or "started_at" not in ahead:
            note(fields[name], at)
    return replace(job, **dict.fromkeys(ahead))  # type: ignore[arg-type]  # None is a value of each of these fields
