"""Jobs that have ended, for the tests of the backfill."""

from typing import Any

from hypothesis import strategies as st

from exporter.domain.job import Accelerator, Api, Job, JobStatus

T0 = 1_700_000_000.0
"""A timestamp on the grid of every step that divides 100 s."""


def job(job_id: str = "j1", /, **facts: Any) -> Job:
    """Create a v2 job of 8 GPUs."""
    fields: dict[str, Any] = {"api": Api.V2, "accelerator": Accelerator.GPU, "spec_accelerators": 8.0, **facts}
    return Job(job_id=job_id, **fields)


def ran(job_id: str = "j1", /, *, begin: float, wait: float = 0.0, run: float, **facts: Any) -> Job:
    """Create a completed job: submitted `begin` seconds after T0, queued for `wait` s, then running for `run` s."""
    started_at = T0 + begin + wait
    return job(
        job_id,
        submitted_at=T0 + begin,
        started_at=started_at,
        ended_at=started_at + run,
        **{"status": JobStatus.COMPLETED, **facts},
    )


_times = st.none() | st.integers(-5_000, 5_000).map(lambda seconds: T0 + seconds)
jobs = st.lists(
    st.builds(
        Job,
        job_id=st.uuids().map(str),
        api=st.sampled_from(Api),
        pool_id=st.sampled_from(["", "pool-a"]),
        status=st.sampled_from(JobStatus),
        accelerator=st.sampled_from([None, *Accelerator]),
        spec_accelerators=st.none() | st.integers(0, 64).map(float),
        submitted_at=_times,
        started_at=_times,
        ended_at=_times,
    ),
    max_size=12,
    unique_by=lambda job: job.job_id,
)
"""Any jobs, consistent or not."""
