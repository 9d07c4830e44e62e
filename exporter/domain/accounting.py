"""Monotonic totals of use: queue times and run times by bucket, and accelerator seconds by holder."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from exporter.domain.job import Accelerator, Job, JobStatus

QUEUE_BUCKETS_S = (
    30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 43_200.0, 86_400.0, 172_800.0,
)  # fmt: skip
"""Upper bounds of queue times, from half a minute, which a person notices, to two days."""

RUN_BUCKETS_S = (
    60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 57_600.0, 86_400.0, 172_800.0, 345_600.0,
    604_800.0, 1_209_600.0,
)  # fmt: skip
"""Upper bounds of run times, from a minute (it failed at once) to two weeks."""


RUN_STATUSES = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.TERMINATED, JobStatus.LOST)
"""Statuses in which a run of known length can have ended."""


class Holder(NamedTuple):
    """Key of all totals of accelerator seconds."""

    pool_id: str
    """Empty: the public pool."""
    user: str
    """Empty: unknown."""
    accelerator: Accelerator | None
    """None: the job has accelerators of an unknown kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A histogram of lengths of time."""

    bounds_s: tuple[float, ...]
    """Upper bounds of the buckets, inclusive."""
    counts: tuple[int, ...]
    """Observations in each bucket, not cumulative; the last one is for lengths beyond all bounds."""
    sum_s: float = 0.0

    @classmethod
    def empty(cls, bounds_s: Sequence[float]) -> "Distribution":
        """Return a distribution without observations."""
        return cls(bounds_s=tuple(bounds_s), counts=(0,) * (len(bounds_s) + 1))

    def with_one(self, length_s: float) -> "Distribution":
        """Return a distribution with one more observation."""
        counts = list(self.counts)
        counts[bisect_left(self.bounds_s, length_s)] += 1
        return replace(self, counts=tuple(counts), sum_s=self.sum_s + length_s)


def accelerator_seconds(job: Job, *, since_s: float = 0.0, until_s: float | None = None) -> float | None:
    """Return the accelerator seconds of a part of the run, given in seconds of the run; `until_s` None: to the end.

    Exact for elastic jobs where the cloud reports the nodes over time. A running job has run for as long as the last
    poll reported. Returns None while the run time, the number of accelerators or that of the nodes is unknown.
    """
    run_s = job.run_duration_s
    if job.spec_accelerators is None or run_s is None:
        return None
    if job.started_at is not None and job.waiting_since is not None:
        run_s = min(run_s, max(0.0, job.waiting_since - job.started_at))  # queued again: it holds nothing
    until_s = run_s if until_s is None else min(until_s, run_s)
    if until_s <= since_s:
        return 0.0
    if not job.node_steps:
        return job.spec_accelerators * (until_s - since_s)
    if not job.spec_nodes or job.started_at is None:
        return None
    ends = [*(at for at, _ in job.node_steps), job.started_at + run_s]
    since, until = job.started_at + since_s, job.started_at + until_s
    node_s = 0.0
    for (_, nodes), (begin, end) in zip(job.node_steps, pairwise(ends), strict=True):
        node_s += max(0.0, min(end, until) - max(begin, since)) * nodes
    return node_s * job.spec_accelerators / job.spec_nodes
