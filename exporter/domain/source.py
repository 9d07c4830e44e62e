"""The protocols by which polling meets the cloud, and the one failure a source may raise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from exporter.domain.job import Api, Job
from exporter.domain.usage import TaskSeries


class SourceError(Exception):
    """The source could not answer. Its text is one sentence that names the operation and holds no secret."""

    outcome = "failed"
    """Bounded label value that says why."""

    @property
    def is_final(self) -> bool:
        """Whether asking this source anything else now would fare no better."""
        return False


class Clock(Protocol):
    """Time, passed in so that tests can turn it."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedState:
    """What polling already knows of one source's jobs, so that the source asks for no more than it must."""

    unfinished: Mapping[str, Job] = field(default_factory=dict)
    """Tracked jobs last seen active, by id: each must turn up again, or its detail be asked for."""
    tracked: Mapping[str, Job] = field(default_factory=dict)
    """Every tracked job by id, `unfinished` included."""
    is_new: Callable[[Job], bool] = lambda _: True
    """Whether a listed job has never been accounted for. Listing newest first stops at a page without news, and so
    that it does not stop too soon, jobs of `torn` are news to it although they were."""
    incomplete: frozenset[str] = frozenset()
    """Tracked jobs that the last look reported as torn."""
    bootstrapping: bool = True
    """The first look of this process: one page of the newest jobs is enough, the sweep brings the rest."""
    answer_by: float | None = None
    """Monotonic time after which a look asks nothing further and returns what it has, the rest as a failure: asked
    for one by one, what became of many jobs can take longer than a poll, and must not be lost for it. None: no end.
    """
    oldest_at: float | None = None
    """Submission time of the oldest tracked job; a later sweep need not look further back. None: sweep everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollResult:
    """What one look at a source brought. A failed part is in `failures` and blanks nothing else."""

    jobs: tuple[Job, ...] = ()
    """Every job this look has word of, once each."""
    gone: frozenset[str] = frozenset()
    """Tracked jobs of which the cloud says, asked one by one, that they no longer exist."""
    failures: tuple[SourceError, ...] = ()
    """What did not answer. Empty: the look succeeded wholly, and "no jobs" really means none."""
    incomplete: frozenset[str] = frozenset()
    """Jobs that are new, or were when they were torn, from a listing that broke off before it reached known ground:
    between them and that there may be others, so no later listing may stop at them."""


class JobSource(Protocol):
    """One API generation of one project."""

    @property
    def api(self) -> Api:
        """The generation it speaks."""
        ...

    async def poll(self, known: TrackedState) -> PollResult:
        """See every active job, whatever is new, and what became of those that are no longer active.

        Raises SourceError only when nothing at all could be learned.
        """
        ...

    async def sweep(self, known: TrackedState) -> PollResult:
        """Walk the whole listing (back to `known.oldest_at`); report which tracked jobs were deleted.

        Calls are made one at a time, so that it never crowds out a look. Raises as `look`.
        """
        ...

    def tasks(self, job: Job) -> tuple[str, ...]:
        """Names of the tasks `usage` can be asked about; v1 answers ("",)."""
        ...

    async def usage(self, job: Job, task: str) -> TaskSeries | None:
        """The minutes of one task; None when the cloud has none yet. Raises SourceError."""
        ...


class Sources(Protocol):
    """Finds a project's sources: those that the settings name, or those that answer a probe."""

    async def project_id(self) -> str:
        """Return the project's id in the cloud; empty: unknown. Raises SourceError."""
        ...

    async def current(self) -> tuple[JobSource, ...]:
        """Return the sources to poll now; the same objects while the answer does not change. Raises SourceError."""
        ...
