"""One project: its jobs of both generations, its pools and its ledger."""

from collections.abc import Callable, Iterator
from itertools import islice

from exporter.simulator.options import ProjectOptions
from exporter.simulator.world.ground_truth import Ledger
from exporter.simulator.world.job import Api, Job, JobState, V1Job
from exporter.simulator.world.job_index import JobIndex
from exporter.simulator.world.pool import Pool, standard_pools

_NEWEST = 20


class Project:
    """Jobs, pools and ledger of one project. `jobs`: the number of unfinished jobs that its pools are sized for."""

    def __init__(self, options: ProjectOptions, *, opened_at: float, jobs: int) -> None:
        self.options = options
        self.ledger = Ledger(opened_at=opened_at)
        self.v1_jobs: dict[int, V1Job] = {}
        """By id, in the order of their first submission."""
        self._sorted: dict[tuple[str, bool], list[V1Job]] = {}
        self.pools: dict[str, Pool] = standard_pools(jobs)
        self._indexes: dict[Api, JobIndex] = {"v1": JobIndex(), "v2": JobIndex()}

    def job_index(self, api: Api) -> JobIndex:
        """The jobs of one generation."""
        return self._indexes[api]

    def jobs(self) -> Iterator[Job]:
        """Every job, v1 first, oldest first."""
        yield from self._indexes["v1"].oldest_first()
        yield from self._indexes["v2"].oldest_first()

    def unfinished(self) -> list[Job]:
        """The jobs that have not ended."""
        return [*self._indexes["v1"].unfinished(), *self._indexes["v2"].unfinished()]

    @property
    def unfinished_count(self) -> int:
        """Number of jobs that have not ended."""
        return sum(job_index.unfinished_count for job_index in self._indexes.values())

    def job(self, job_id: str) -> Job | None:
        """Return the job with that uuid or v1 version id, or None."""
        return self._indexes["v2"].get(job_id) or self._indexes["v1"].get(job_id)

    def pool(self, pool_id: str) -> Pool:
        """Return the pool with that id; an unknown id creates a pool without limits."""
        if pool_id not in self.pools:
            self.pools[pool_id] = Pool(id=pool_id, name=pool_id, accelerator_field="pool_info")
        return self.pools[pool_id]

    def capacity(self) -> dict[tuple[str, str], int]:
        """Number of nodes, by (pool, accelerator)."""
        return {(pool.id, group.accelerator): group.nodes for pool in self.pools.values() for group in pool.groups}

    def add_v1_job(self, v1_job: V1Job) -> V1Job:
        """Add a new v1 job, and return it."""
        self.v1_jobs[v1_job.id] = v1_job
        self._sorted.clear()
        return v1_job

    def sorted_v1_jobs(self, key: tuple[str, bool], build: Callable[[], list[V1Job]]) -> list[V1Job]:
        """Return what `build` returned for that key, cached until a v1 job is added or removed."""
        if key not in self._sorted:
            self._sorted[key] = build()
        return self._sorted[key]

    def newest_version(self) -> Job | None:
        """A finished v1 version among the newest v1 jobs, to submit another version of; None if there is none."""
        for v1_job in islice(reversed(self.v1_jobs.values()), _NEWEST):
            if v1_job.versions[-1].state.finished:
                return v1_job.versions[-1]
        return None

    def remove(self, job: Job) -> None:
        """Remove a job; a v1 job is removed with its last version."""
        self._indexes[job.api].remove(job)
        if job.v1_job is None:
            return
        job.v1_job.versions.remove(job)
        if not job.v1_job.versions:
            self.v1_jobs.pop(job.v1_job.id, None)
            self._sorted.clear()

    def trim(self, finished: int) -> None:
        """Remove the oldest finished jobs until that many are left."""
        ended = sorted(
            (job for job in self.jobs() if job.state.finished), key=lambda job: (job.submitted_at, job.number)
        )
        for job in ended[: max(0, len(ended) - finished)]:
            self.remove(job)


UNSTARTED = frozenset({JobState.CREATING, JobState.IMAGE, JobState.SUBMITTING, JobState.QUEUED, JobState.STARTING})
"""States before the first start."""
