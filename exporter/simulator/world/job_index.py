"""Jobs in the order of their submission, so that no listing ever sorts the whole history."""

from collections.abc import Callable, Hashable, Iterator

from exporter.simulator.world.job import Job


class JobIndex:
    """One generation's jobs of one project, by id, oldest first; the unfinished ones once more on their own."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._unfinished: dict[str, Job] = {}
        self._newest_at = float("-inf")
        self._sorted = True
        self._listings: dict[Hashable, list[Job]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, job_id: str) -> Job | None:
        """Return the job with that id, or None."""
        return self._jobs.get(job_id)

    def add(self, job: Job) -> None:
        """Put a job on the shelf; one submitted before the newest is filed at the next listing."""
        self._listings.clear()
        self._jobs[job.id] = job
        self._sorted = self._sorted and job.submitted_at >= self._newest_at
        self._newest_at = max(self._newest_at, job.submitted_at)
        self.note(job)

    def note(self, job: Job) -> None:
        """Take notice of a changed state."""
        if job.state.finished:
            self._unfinished.pop(job.id, None)
        elif job.id not in self._unfinished:
            self._unfinished[job.id] = job

    def drop(self, job: Job) -> None:
        """Forget a job."""
        self._listings.clear()
        self._jobs.pop(job.id, None)
        self._unfinished.pop(job.id, None)

    def oldest_first(self) -> Iterator[Job]:
        """Every job, in the order of submission."""
        self._file()
        return iter(self._jobs.values())

    def newest_first(self) -> Iterator[Job]:
        """Every job, the last submitted first."""
        self._file()
        return reversed(self._jobs.values())

    def unfinished(self) -> list[Job]:
        """Jobs that have not ended, in the order of submission."""
        return sorted(self._unfinished.values(), key=_age)

    def listing(self, key: Hashable, build: Callable[[], list[Job]]) -> list[Job]:
        """Return what `build` made for that key, kept while no job comes or goes: paging costs no scan a page."""
        if key not in self._listings:
            self._listings[key] = build()
        return self._listings[key]

    @property
    def unfinished_count(self) -> int:
        """How many jobs have not ended."""
        return len(self._unfinished)

    def _file(self) -> None:
        if not self._sorted:
            self._jobs = {job.id: job for job in sorted(self._jobs.values(), key=_age)}
            self._sorted = True


def _age(job: Job) -> tuple[float, int]:
    return job.submitted_at, job.number
