"""Jobs in the order of submission, kept sorted so that a listing does not sort the whole history."""

from collections.abc import Callable, Hashable, Iterator

from exporter.simulator.world.job import Job


class JobIndex:
    """Jobs of one generation of one project, by id, oldest first, with a separate index of unfinished jobs."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._unfinished: dict[str, Job] = {}
        self._newest_at = float("-inf")
        self._sorted = True
        self._cache: dict[Hashable, list[Job]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, job_id: str) -> Job | None:
        """Return the job with that id, or None."""
        return self._jobs.get(job_id)

    def add(self, job: Job) -> None:
        """Add a job; a job submitted before the newest is sorted in by the next listing."""
        self._cache.clear()
        self._jobs[job.id] = job
        self._sorted = self._sorted and job.submitted_at >= self._newest_at
        self._newest_at = max(self._newest_at, job.submitted_at)
        self.update(job)

    def update(self, job: Job) -> None:
        """Update the index after a state change."""
        if job.state.finished:
            self._unfinished.pop(job.id, None)
        elif job.id not in self._unfinished:
            self._unfinished[job.id] = job

    def remove(self, job: Job) -> None:
        """Remove a job; a job that is not in the index is no error."""
        self._cache.clear()
        self._jobs.pop(job.id, None)
        self._unfinished.pop(job.id, None)

    def oldest_first(self) -> Iterator[Job]:
        """Every job, in the order of submission."""
        self._sort()
        return iter(self._jobs.values())

    def newest_first(self) -> Iterator[Job]:
        """Every job, newest first."""
        self._sort()
        return reversed(self._jobs.values())

    def unfinished(self) -> list[Job]:
        """Jobs that have not ended, in the order of submission."""
        return sorted(self._unfinished.values(), key=_submission_order)

    def cached(self, key: Hashable, build: Callable[[], list[Job]]) -> list[Job]:
        """Return what `build` returned for that key, cached until a job is added or removed: a page costs no scan."""
        if key not in self._cache:
            self._cache[key] = build()
        return self._cache[key]

    @property
    def unfinished_count(self) -> int:
        """Number of jobs that have not ended."""
        return len(self._unfinished)

    def _sort(self) -> None:
        if not self._sorted:
            self._jobs = {job.id: job for job in sorted(self._jobs.values(), key=_submission_order)}
            self._sorted = True


def _submission_order(job: Job) -> tuple[float, int]:
    return job.submitted_at, job.number
