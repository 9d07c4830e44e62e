"""What jobs used, as figures that only grow: waits and runs by length, and accelerator seconds by who held them."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from exporter.domain.job import Accelerator, Job, JobStatus

QUEUE_BUCKETS_S = (
    30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 43_200.0, 86_400.0, 172_800.0,
)  # fmt: skip
"""Upper bounds of waits, from half a minute to two days: what a person notices, and what a queue can come to."""

RUN_BUCKETS_S = (
    60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 57_600.0, 86_400.0, 172_800.0, 345_600.0,
    604_800.0, 1_209_600.0,
)  # fmt: skip
"""Upper bounds of runs, from a minute (it broke at once) to two weeks."""


RUN_STATUSES = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.TERMINATED, JobStatus.LOST)
"""How a run whose length is known can have ended."""


class Holder(NamedTuple):
    """Whose accelerators: the key of every total of accelerator seconds."""

    pool_id: str
    """Empty: the public pool."""
    user: str
    """Empty: the cloud does not say."""
    accelerator: Accelerator | None
    """None: the job has accelerators, and nothing tells of which kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Lengths, each observed once."""

    bounds_s: tuple[float, ...]
    """Upper bounds of the buckets, each included in its own."""
    counts: tuple[int, ...]
    """Lengths in each bucket, not cumulative; one more than there are bounds, for those beyond the last."""
    sum_s: float = 0.0

    @classmethod
    def empty(cls, bounds_s: Sequence[float]) -> "Distribution":
        """Nothing observed yet."""
        return cls(bounds_s=tuple(bounds_s), counts=(0,) * (len(bounds_s) + 1))

    def with_one(self, length_s: float) -> "Distribution":
        """Observe one more."""
        counts = list(self.counts)
        counts[bisect_left(self.bounds_s, length_s)] += 1
        return replace(self, counts=tuple(counts), sum_s=self.sum_s + length_s)


def accelerator_seconds(job: Job, *, since_s: float = 0.0, until_s: float | None = None) -> float | None:
    """Accelerators that the job held, integrated over its run from one moment to another, in seconds of the run.

    Exact under elasticity where the cloud tells the nodes over time, and as far as it has told the run: a running
    job has run for as long as the last look said. `until_s` None: to the end. None when the cloud does not tell how
    long it ran, how many accelerators it has, or on how many nodes they are.
    """
    run_s = job.run_duration_s
    if job.spec_accelerators is None or run_s is None:
        return None
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
