"""The protocols between polling and the cloud, and the one error that a source raises."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from exporter.domain.job import Api, Job
from exporter.domain.usage import TaskSeries


class SourceError(Exception):
    """A source failed to answer. Its text is one sentence that names the operation and holds no secret."""

    outcome: str = "failed"
    """Bounded word for the reason: an `Outcome` when a call failed."""

    @property
    def is_final(self) -> bool:
        """Whether every further request to this source would fail now, so that none is to be sent in this poll.

        The one rule for giving up: bad credentials (five rejected signatures lock a key), an open circuit, and a
        poll without time left. False for a failure of one job, page or workspace.
        """
        return False

    @property
    def is_refusal(self) -> bool:
        """Whether the cloud accepts the credential and refuses this kind of call: no such call, or no permission."""
        return False


class Clock(Protocol):
    """The time, passed in so that tests can set it."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment; never decreases."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedState:
    """What polling already knows about one source's jobs, so that the source sends only necessary requests."""

    unfinished: Mapping[str, Job] = field(default_factory=dict)
    """Tracked jobs last seen active, by id. If a listing does not contain one, its detail is requested."""
    tracked: Mapping[str, Job] = field(default_factory=dict)
    """Every tracked job by id, including `unfinished`."""
    is_new: Callable[[Job], bool] = lambda _: True
    """Whether a listed job was never accounted for. A listing, newest first, stops at a page without new jobs. The
    jobs of `incomplete` count as new here, so that a listing does not stop at them."""
    incomplete: frozenset[str] = frozenset()
    """The `incomplete` jobs of the last poll."""
    bootstrapping: bool = True
    """The first poll of this process: one page of the newest jobs is enough, the sweep reads the rest."""
    answer_by: float | None = None
    """Monotonic deadline after which a poll sends no further request and returns what it has; requests not sent are a
    failure. The details of many jobs can take longer than a poll, and the ones already read are kept. None: no
    deadline."""
    oldest_at: float | None = None
    """Submission time of the oldest tracked job: a later sweep stops there. None: sweep everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollResult:
    """Result of one poll of a source. A failed part is in `failures` and does not affect the others."""

    jobs: tuple[Job, ...] = ()
    """Every job in any response of this poll, once each."""
    gone: frozenset[str] = frozenset()
    """Tracked jobs that no longer exist, according to the response to a request for each of them."""
    failures: tuple[SourceError, ...] = ()
    """Requests that failed. Empty: the poll is complete, and "no jobs" means that there are none."""
    incomplete: frozenset[str] = frozenset()
    """New jobs from a listing that failed before it reached tracked jobs; unlisted jobs may follow them, so the next
    listing must not stop at them."""


class JobSource(Protocol):
    """One API generation of one project."""

    @property
    def api(self) -> Api:
        """Its API generation."""
        ...

    async def poll(self, known: TrackedState) -> PollResult:
        """List every active job and every new job, and request what became of those that are no longer active.

        Raises SourceError only when no request succeeded.
        """
        ...

    async def sweep(self, known: TrackedState) -> PollResult:
        """Read the whole listing (back to `known.oldest_at`), and report which tracked jobs were deleted.

        Sends one request at a time, so that it does not delay a poll. Raises as `poll`.
        """
        ...

    def tasks(self, job: Job) -> tuple[str, ...]:
        """Names of the tasks for `usage`; ("",) for v1."""
        ...

    async def usage(self, job: Job, task: str) -> TaskSeries | None:
        """The samples of one task; None when there is none yet. Raises SourceError."""
        ...


class Sources(Protocol):
    """The sources of a project: fixed by the settings, or detected by probing."""

    async def project_id(self) -> str:
        """The project's id in the cloud; empty: unknown. Raises SourceError."""
        ...

    async def current(self) -> tuple[JobSource, ...]:
        """The current sources; the same objects while they do not change. Raises SourceError."""
        ...
