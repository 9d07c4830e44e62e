"""One listing of all workspaces: the relevant versions, and which tracked versions are missing."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from exporter.cloud.cached import Cached
from exporter.cloud.concurrency import OutOfTime
from exporter.cloud.decode.values import count
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import CloudError, Refused
from exporter.cloud.v1 import job_list, wire
from exporter.cloud.v1.adapter import from_listed, from_overview, parse_id
from exporter.cloud.v1.endpoints import JOB_LIST, OVERVIEW
from exporter.cloud.v1.overview import OverviewPager
from exporter.cloud.v1.version_cache import ParentJob, VersionCache, parent_of
from exporter.domain.job import Job
from exporter.domain.source import Clock, SourceError, TrackedState

OUTAGE_RETRY_S = 600.0
"""How soon the overview is requested again when the job list failed as well."""

OVERVIEW_RETRY_S = 6 * 3600.0
"""How long the job list replaces a missing overview before the overview is requested again."""

_ROWS_PER_YIELD = 250  # yields to the event loop after so many rows


class JobWithVersions(NamedTuple):
    """A job of which the job list shows only the newest version."""

    parent: ParentJob
    workspace_id: str
    newest: str
    versions: int


@dataclass(slots=True, kw_only=True)
class ListingResult:
    """The versions of one listing, and its failures."""

    workspaces: tuple[str, ...]
    by_list: bool = False
    """The job list was read, not the overview. It holds only the newest version of each job."""
    listed: dict[str, Job] = field(default_factory=dict)
    """Every relevant version by id, as listed."""
    present: set[str] = field(default_factory=set)
    """Ids of every listed version."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Number of rows of each workspace that was listed completely."""
    with_versions: dict[str, JobWithVersions] = field(default_factory=dict)
    """Jobs of the job list that have several versions, by their ids."""
    failures: list[SourceError] = field(default_factory=list)
    stopped: bool = False
    """No further single requests are sent in this poll, because they would fail too."""

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Jobs that were not listed although their workspace was."""
        return [job for job in jobs if job.job_id not in self.present and self._covers(job.workspace_id)]

    def _covers(self, workspace_id: str) -> bool:
        if workspace_id in self.workspaces:
            return workspace_id in self.sizes
        # A workspace that is not listed any more: its jobs may be in any other.
        return len(self.sizes) == len(self.workspaces)


Listed = tuple[Job, ParentJob | None]


class _Rows:
    """Converts rows to jobs, and reuses the job while the bytes of its row stay the same.

    Of finished versions that polling does not need, only the id is kept, so a long history costs little time and
    memory.
    """

    def __init__(self) -> None:
        self._previous: dict[bytes, Listed | str] = {}
        self._current: dict[bytes, Listed | str] = {}

    async def add(
        self,
        raws: Iterable[msgspec.Raw],
        *,
        adapt: Callable[[msgspec.Raw], Listed | None],
        listing: ListingResult,
        known: TrackedState,
    ) -> list[tuple[str, ParentJob]]:
        """Add rows to a listing, each version once; return the parent jobs in the rows of relevant versions."""
        parents: list[tuple[str, ParentJob]] = []
        for number, raw in enumerate(raws, start=1):
            if number % _ROWS_PER_YIELD == 0:
                await asyncio.sleep(0)
            key = hashlib.blake2b(raw, digest_size=16).digest()
            row_or_id = self._previous.get(key)
            if row_or_id is None or (isinstance(row_or_id, str) and row_or_id in known.tracked):
                row_or_id = adapt(raw)
                if row_or_id is None:
                    continue
            if not isinstance(row_or_id, str):
                job, parent = row_or_id
                version_id = job.job_id
                if not is_wanted(job, known):
                    row_or_id = version_id
                elif version_id not in listing.present:
                    listing.listed[version_id] = job
                    if parent is not None:
                        parents.append((version_id, parent))
                listing.present.add(version_id)
            else:
                listing.present.add(row_or_id)
            self._current[key] = row_or_id
        return parents

    def end_listing(self) -> None:
        """End a listing: rows that were not in it are dropped."""
        self._previous, self._current = self._current, {}


def is_wanted(job: Job, known: TrackedState) -> bool:
    """Whether polling needs a version: it is tracked, may still change, or is new."""
    return job.job_id in known.tracked or not job.status.finished or known.is_new(job)


class Lister:
    """Lists the overview of each workspace, or the job list where the overview does not exist."""

    def __init__(
        self,
        caller: Caller,
        versions: VersionCache,
        *,
        workspaces: Callable[[], Awaitable[tuple[str, ...]]],
        clock: Clock,
        note: NoteUnknown,
    ) -> None:
        self._caller = caller
        self._versions = versions
        self._workspaces = workspaces
        self._clock = clock
        self._note = note
        self._overview = OverviewPager(caller, clock=clock, note=note)
        self._uses_job_list: Cached[bool] = Cached(clock, ttl_s=OVERVIEW_RETRY_S)
        self._rows = _Rows()

    async def list_all(self, known: TrackedState) -> ListingResult:
        """List every workspace; a failed one is in `failures`. Raises SourceError when all of them failed."""
        workspaces = await self._workspaces()
        listing = ListingResult(workspaces=workspaces)
        by_list = bool(self._uses_job_list.get())
        if not by_list:
            refusals = await self._list_overview(listing, known)
            by_list = bool(refusals) and not listing.sizes
            if by_list:  # every workspace refused: the call does not exist
                listing = ListingResult(workspaces=workspaces)
            else:
                listing.failures += refusals
        if by_list:
            listing.by_list = True
            await self._list_jobs(listing, known)
        failed = listing.failures and not listing.sizes
        if by_list and not self._uses_job_list.get():
            # If the list fails too, the cause may be an outage and not a missing call: retry soon.
            self._uses_job_list.set(value=True, ttl_s=OUTAGE_RETRY_S if failed else OVERVIEW_RETRY_S)
        if failed:
            raise listing.failures[0]
        self._rows.end_listing()
        return listing

    async def _list_overview(self, listing: ListingResult, known: TrackedState) -> list[CloudError]:
        refusals: list[CloudError] = []
        for workspace_id in self._workspaces_in_time(OVERVIEW.name, listing, known):
            try:
                raws = await self._overview.rows(workspace_id)
            except Refused as error:
                refusals.append(error)
                continue
            except CloudError as error:
                listing.failures.append(error)
                if error.is_final:
                    break
                continue
            listing.sizes[workspace_id] = len(raws)

            def adapt(raw: msgspec.Raw, workspace_id: str = workspace_id) -> Listed | None:
                row = wire.read(raw, wire.OverviewRow, field="v1.versions", note=self._note)
                job = from_overview(row, workspace_id=workspace_id, note=self._note) if row is not None else None
                return (job, None) if job is not None else None

            await self._rows.add(raws, adapt=adapt, listing=listing, known=known)
        return refusals

    async def _list_jobs(self, listing: ListingResult, known: TrackedState) -> None:
        for workspace_id in self._workspaces_in_time(JOB_LIST.name, listing, known):
            try:
                found = await job_list.jobs(self._caller, workspace_id=workspace_id, note=self._note)
            except CloudError as error:
                listing.failures.append(error)
                if error.is_final:
                    break
                continue
            listing.sizes[workspace_id] = len(found)

            def adapt(raw: msgspec.Raw, workspace_id: str = workspace_id) -> Listed | None:
                row = wire.read(raw, wire.JobRow, field="v1.jobs", note=self._note)
                job = from_listed(row, workspace_id=workspace_id, note=self._note) if row is not None else None
                return (job, parent_of(row, note=self._note)) if job is not None and row is not None else None

            for _, row in found:
                versions = count(row.version_count, field="v1.version_count", note=self._note) or 0
                if versions > 1 and (parent := parent_of(row, note=self._note)) is not None:
                    listing.with_versions[parent.job_id] = JobWithVersions(
                        parent, workspace_id, parse_id(row.version_id), versions
                    )
            raws = (raw for raw, _ in found)
            for version_id, parent in await self._rows.add(raws, adapt=adapt, listing=listing, known=known):
                self._versions.set_parent(version_id, parent)

    def _workspaces_in_time(self, operation: str, listing: ListingResult, known: TrackedState) -> Iterator[str]:
        """Yield the workspaces until the deadline of the poll."""
        for workspace_id in listing.workspaces:
            if known.answer_by is not None and self._clock.monotonic() >= known.answer_by:
                listing.failures.append(OutOfTime(operation))
                return
            yield workspace_id
