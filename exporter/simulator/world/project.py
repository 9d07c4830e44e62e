"""One project: its jobs of both generations, its pools and its books."""

from collections.abc import Callable, Iterator
from itertools import islice

from exporter.simulator.options import ProjectOptions
from exporter.simulator.world.ground_truth import Ledger
from exporter.simulator.world.job import Api, Job, JobState, Lineage
from exporter.simulator.world.job_index import JobIndex
from exporter.simulator.world.pool import Pool, standard_pools

_NEWEST = 20


class Project:
    """What one project has. `jobs` is how many unfinished ones its pools are made for."""

    def __init__(self, project: ProjectOptions, *, opened_at: float, jobs: int) -> None:
        self.project = project
        self.ledger = Ledger(opened_at=opened_at)
        self.lineages: dict[int, Lineage] = {}
        """v1 jobs by id, in the order of their first submission."""
        self._sorted: dict[tuple[str, bool], list[Lineage]] = {}
        self.pools: dict[str, Pool] = standard_pools(jobs)
        self._shelves: dict[Api, JobIndex] = {"v1": JobIndex(), "v2": JobIndex()}

    def job_index(self, api: Api) -> JobIndex:
        """The jobs of one generation."""
        return self._shelves[api]

    def jobs(self) -> Iterator[Job]:
        """Every job, v1 first, oldest first."""
        yield from self._shelves["v1"].oldest_first()
        yield from self._shelves["v2"].oldest_first()

    def unfinished(self) -> list[Job]:
        """The jobs that have not ended."""
        return [*self._shelves["v1"].unfinished(), *self._shelves["v2"].unfinished()]

    @property
    def unfinished_count(self) -> int:
        """How many jobs have not ended."""
        return sum(job_index.unfinished_count for job_index in self._shelves.values())

    def job(self, job_id: str) -> Job | None:
        """Return the job with that uuid or v1 version id, or None."""
        return self._shelves["v2"].get(job_id) or self._shelves["v1"].get(job_id)

    def pool(self, pool_id: str) -> Pool:
        """Return the pool with that id; an unknown one is made, without limits."""
        if pool_id not in self.pools:
            self.pools[pool_id] = Pool(id=pool_id, name=pool_id, telling="pool_info")
        return self.pools[pool_id]

    def room(self) -> dict[tuple[str, str], int]:
        """How many nodes there are, by (pool, accelerator)."""
        return {(pool.id, group.accelerator): group.nodes for pool in self.pools.values() for group in pool.groups}

    def lineage(self, lineage: Lineage) -> Lineage:
        """Take in a new v1 job."""
        self.lineages[lineage.id] = lineage
        self._sorted.clear()
        return lineage

    def sorted_lineages(self, key: tuple[str, bool], build: Callable[[], list[Lineage]]) -> list[Lineage]:
        """Return what `build` made for that key, kept while no v1 job comes or goes."""
        if key not in self._sorted:
            self._sorted[key] = build()
        return self._sorted[key]

    def newest_version(self) -> Job | None:
        """A finished v1 version among the newest jobs, which another version may follow; None when there is none."""
        for lineage in islice(reversed(self.lineages.values()), _NEWEST):
            if lineage.versions[-1].state.finished:
                return lineage.versions[-1]
        return None

    def drop(self, job: Job) -> None:
        """Forget a job; a v1 job goes with its last version."""
        self._shelves[job.api].drop(job)
        if job.lineage is None:
            return
        job.lineage.versions.remove(job)
        if not job.lineage.versions:
            self.lineages.pop(job.lineage.id, None)
            self._sorted.clear()

    def trim(self, finished: int) -> None:
        """Drop the oldest finished jobs until so many are left."""
        ended = sorted(
            (job for job in self.jobs() if job.state.finished), key=lambda job: (job.submitted_at, job.number)
        )
        for job in ended[: max(0, len(ended) - finished)]:
            self.drop(job)


UNSTARTED = frozenset({JobState.CREATING, JobState.IMAGE, JobState.SUBMITTING, JobState.QUEUED, JobState.STARTING})
"""States before the first start."""
