"""Times of a job that are years ahead of the clock."""

from dataclasses import replace

import pytest

from exporter.cloud.decode.times import MAX_AHEAD_S, possible
from exporter.domain.job import Api, Job, JobStatus
from tests.unit.cloud.recorded_unknowns import Notes

NOW = 1_700_000_000.0
YEARS_AHEAD = NOW + 3 * 366 * 86_400

JOBS = [
    pytest.param(
        Job(job_id="a", api=Api.V1, status=JobStatus.RUNNING, submitted_at=NOW - 60, started_at=NOW),
        "v1.create_time",
        "v1.start_time",
        id="v1",
    ),
    pytest.param(
        Job(job_id="a", api=Api.V2, status=JobStatus.RUNNING, submitted_at=NOW - 60, started_at=NOW),
        "v2.metadata.create_time",
        "v2.status.start_time",
        id="v2",
    ),
]


@pytest.mark.parametrize("job,submitted,started", JOBS)
def test_times_years_ahead_are_unknown(job: Job, submitted: str, started: str) -> None:
    """The job is kept without the time, and the field is noted under the name that the API gives it."""
    notes = Notes()

    assert possible(replace(job, submitted_at=YEARS_AHEAD), now=NOW, note=notes) == replace(job, submitted_at=None)
    late_start = replace(job, started_at=YEARS_AHEAD, ended_at=YEARS_AHEAD + 5)
    assert possible(late_start, now=NOW, note=notes) == replace(job, started_at=None)
    assert notes.noted == [(submitted, YEARS_AHEAD), (started, YEARS_AHEAD)]


@pytest.mark.parametrize("job,submitted,started", JOBS)
def test_other_times_are_kept(job: Job, submitted: str, started: str) -> None:  # noqa: ARG001 - one table
    """Hours and months ahead are a matter of clocks; the same object is returned."""
    notes = Notes()
    for at in (None, NOW - 5e8, NOW, NOW + 7_200, NOW + MAX_AHEAD_S):
        dated = replace(job, submitted_at=at)
        assert possible(dated, now=NOW, note=notes) is dated
    assert notes.noted == []
