"""The v2 jobs of one project."""

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from exporter.cloud.access import WorkspaceAccess, is_entry_refusal
from exporter.cloud.concurrency import OutOfTime, for_each
from exporter.cloud.decode.times import possible
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import CloudError, Denied, Gone, InvalidResponse, Refused, Unsupported
from exporter.cloud.v2 import adapter
from exporter.cloud.v2.endpoints import DETAIL, METRICS
from exporter.cloud.v2.listing import Lister, ListingResult
from exporter.cloud.v2.series import series
from exporter.domain.job import Api, Job
from exporter.domain.source import Clock, PollResult, SourceError, TrackedState
from exporter.domain.usage import TaskSeries

_WIDTH = 4
"""Maximum number of requests in flight. The client has its own limit; this one lets the poll stop soon."""


@dataclass(slots=True)
class _ResultBuilder:
    """The parts of a poll or a sweep so far."""

    jobs: dict[str, Job] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failures: list[SourceError] = field(default_factory=list)
    has_answer: bool = False
    """Whether any request succeeded."""
    stopped: bool = False
    """Whether to send no further request."""
    unlisted: set[str] = field(default_factory=set)
    """Workspaces whose listing is not complete: a job that it does not contain may exist."""
    incomplete: set[str] = field(default_factory=set)
    """Workspaces whose newest jobs were not listed down to known ones."""
    refused: dict[str, CloudError] = field(default_factory=dict)
    """Workspaces with a refused listing, and the first refusal of each."""
    entered: set[str] = field(default_factory=set)
    """Workspaces of which at least one page was listed."""

    def add(self, listing: ListingResult, workspace_id: str) -> None:
        self.jobs.update(listing.jobs)
        if listing.pages:
            self.has_answer = True
            self.entered.add(workspace_id)
        failure = listing.failure
        if isinstance(failure, CloudError) and is_entry_refusal(failure):
            self.refused.setdefault(workspace_id, failure)
        else:
            self.failures.extend(listing.failures)
        if failure is not None and failure.is_final:
            self.stopped = True
        elif isinstance(failure, Unsupported) and not failure.code.startswith("ModelArts."):
            self.stopped = True  # there is no such call for any workspace

    def settle(self, access: WorkspaceAccess | None) -> None:
        """Decide what the refused workspaces are: set aside while others were listed, else failures."""
        if access is None or not self.entered:
            self.failures.extend(self.refused.values())
            return
        self.failures.extend(error for key, error in self.refused.items() if key in self.entered)
        access.entered(self.entered)
        refused = {key: error for key, error in self.refused.items() if key not in self.entered}
        self.incomplete -= access.judge(refused, report=self.failures.append)
        self.unlisted |= access.set_aside

    def build(self, known: TrackedState) -> PollResult:
        """Raise the first failure when no request succeeded."""
        if self.failures and not self.has_answer:
            raise self.failures[0]
        return PollResult(
            jobs=tuple(self.jobs.values()),
            gone=frozenset(self.gone),
            failures=tuple(self.failures),
            incomplete=self._incomplete_jobs(known) if self.incomplete else frozenset(),
        )

    def _incomplete_jobs(self, known: TrackedState) -> frozenset[str]:
        before = (job for job_id in known.incomplete if (job := known.tracked.get(job_id)) is not None)
        new = (job for job in self.jobs.values() if known.is_new(job))
        return frozenset(
            job.job_id for job in (*before, *new) if not job.workspace_id or job.workspace_id in self.incomplete
        )


class V2Source:
    """Reads the v2 training jobs of one project.

    `workspaces` returns the workspaces to search, because a search covers only one (trap 4); it may raise
    SourceError. A search returns a page of 50 jobs. A poll sends at most ⌊active/50⌋ + 2 searches per workspace, if
    at most 40 jobs were submitted since the last one, and a detail request for each job that is no longer listed as
    active. `on_unified_jobs`: see `Lister`.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        project: str,
        workspaces: Callable[[], Awaitable[tuple[str, ...]]],
        clock: Clock,
        note: NoteUnknown,
        access: WorkspaceAccess | None = None,
        on_unified_jobs: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._caller = caller
        self._project = project
        self._workspaces = workspaces
        self._access = access
        self._clock = clock
        self._note = note
        self._lister = Lister(caller, clock=clock, note=note, on_unified_jobs=on_unified_jobs)
        self._requested_at: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"V2Source({self._project!r})"

    @property
    def api(self) -> Api:
        """Its API generation."""
        return Api.V2

    async def poll(self, known: TrackedState) -> PollResult:
        """List active and new jobs, and request what became of the others. See `JobSource.poll`."""
        result = _ResultBuilder()
        workspaces = await self._workspaces()
        result.unlisted.update(workspaces)
        result.incomplete.update(workspaces)

        async def list_workspace(workspace_id: str) -> None:
            await self._list_workspace(workspace_id, known, result)

        await for_each(
            workspaces[:1], list_workspace, width=1
        )  # alone: a rejected credential must fail once, not four times
        await for_each(workspaces[1:], list_workspace, width=_WIDTH, stop=lambda: result.stopped)
        result.settle(self._access)
        missing = [job for job in known.unfinished.values() if _is_missing(job, result)]
        missing.sort(
            key=lambda job: self._requested_at.get(job.job_id, -math.inf)
        )  # after a poll without time for all of them, the others come first
        self._requested_at = {
            job.job_id: at for job in missing if (at := self._requested_at.get(job.job_id)) is not None
        }
        await self._fetch_details(missing, result, answer_by=known.answer_by, width=_WIDTH)
        return result.build(known)

    async def sweep(self, known: TrackedState) -> PollResult:
        """List everything, one request at a time. See `JobSource.sweep`."""
        result = _ResultBuilder()
        workspaces = await self._workspaces()
        result.unlisted.update(workspaces)

        async def list_history(workspace_id: str) -> None:
            listing = await self._lister.history(workspace_id, known)
            result.add(listing, workspace_id)
            if not listing.failures:
                result.unlisted.discard(workspace_id)

        await for_each(workspaces, list_history, width=1, stop=lambda: result.stopped)
        result.settle(self._access)
        missing = [job for job in known.tracked.values() if _is_missing(job, result)]
        await self._fetch_details(missing, result, answer_by=known.answer_by, width=1)
        return result.build(known)

    def tasks(self, job: Job) -> tuple[str, ...]:
        """Return the job's task ids; each has usage samples."""
        return job.tasks

    async def usage(self, job: Job, task: str) -> TaskSeries | None:
        """Request one task's samples; None while there is none. Raises SourceError."""
        raw = await self._caller.call(METRICS, path={"job_id": job.job_id, "task": task})
        if raw is None:
            return None
        return series(raw, task=task, accelerator=job.accelerator, note=self._note)

    async def _list_workspace(self, workspace_id: str, known: TrackedState, result: _ResultBuilder) -> None:
        active = await self._lister.active(workspace_id, known)
        result.add(active, workspace_id)
        if active.failure is None:
            result.unlisted.discard(workspace_id)
        elif result.stopped or not isinstance(active.failure, Refused):
            return  # the request for the newest jobs would fail too, unless only the filter was refused
        newest = active if active.unfiltered else await self._lister.newest(workspace_id, known)
        if newest is not active:
            result.add(newest, workspace_id)
        if newest.failure is None:
            result.incomplete.discard(workspace_id)

    async def _fetch_details(
        self, jobs: Iterable[Job], result: _ResultBuilder, *, answer_by: float | None, width: int
    ) -> None:
        """Request each job by itself: it has ended, was deleted, or is missing from the listing by mistake."""

        async def fetch(job: Job) -> None:
            if answer_by is not None and self._clock.monotonic() >= answer_by:
                result.failures.append(OutOfTime(DETAIL.name))
                result.stopped = True
                return
            self._requested_at[job.job_id] = self._clock.monotonic()
            try:
                result.jobs[job.job_id] = await self._fetch_detail(job)
            except Gone:
                result.gone.add(job.job_id)
            except SourceError as error:
                result.failures.append(error)
                result.stopped = result.stopped or error.is_final or isinstance(error, Denied)
                return
            result.has_answer = True

        await for_each(jobs, fetch, width=width, stop=lambda: result.stopped)

    async def _fetch_detail(self, job: Job) -> Job:
        raw = await self._caller.call(DETAIL, path={"job_id": job.job_id})
        read = adapter.job(raw, workspace_id=job.workspace_id, note=self._note) if raw is not None else None
        if read is None or read.job_id != job.job_id:
            raise InvalidResponse(DETAIL.name, "the response is about another job")
        return possible(read, now=self._clock.time(), note=self._note)


def _is_missing(job: Job, result: _ResultBuilder) -> bool:
    """Whether a job should have been listed and was not. In an unlisted workspace no job is missing."""
    if job.job_id in result.jobs:
        return False
    if not job.workspace_id:
        return not result.unlisted
    return job.workspace_id not in result.unlisted
