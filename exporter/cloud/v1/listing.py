"""One listing of all workspaces: the relevant versions, and which tracked versions are missing."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import structlog

from exporter.cloud.access import WorkspaceAccess, is_entry_refusal
from exporter.cloud.cached import Cached
from exporter.cloud.concurrency import OutOfTime
from exporter.cloud.decode.values import count
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import CloudError, Refused, Unsupported
from exporter.cloud.v1 import job_list, wire
from exporter.cloud.v1.adapter import from_listed, from_overview, parse_id
from exporter.cloud.v1.endpoints import JOB_LIST, OVERVIEW
from exporter.cloud.v1.overview import OverviewPager
from exporter.cloud.v1.version_cache import ParentJob, VersionCache, parent_of
from exporter.domain.job import Job, JobStatus
from exporter.domain.source import Clock, SourceError, TrackedState

OUTAGE_RETRY_S = 600.0
"""How soon the overview is requested again when the job list failed as well."""

OVERVIEW_RETRY_S = 6 * 3600.0
"""How long the job list replaces a missing overview before the overview is requested again."""

COMPARE_S = 3600.0
"""How often the job list is read for a workspace whose overview, which may be one user's view, has no active version.
"""

_log = structlog.get_logger()

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
    by_list: set[str] = field(default_factory=set)
    """Workspaces whose job list was read, and not the overview. It holds only the newest version of each job."""
    listed: dict[str, Job] = field(default_factory=dict)
    """Every relevant version by id, as listed."""
    present: set[str] = field(default_factory=set)
    """Ids of every listed version."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Number of rows of each workspace that was listed completely."""
    with_versions: dict[str, JobWithVersions] = field(default_factory=dict)
    """Jobs of the job list that have several versions, by their ids."""
    failures: list[SourceError] = field(default_factory=list)
    refused: dict[str, CloudError] = field(default_factory=dict)
    """Workspaces whose listing was refused, and the refusal."""
    set_aside: frozenset[str] = frozenset()
    """Workspaces that may not be entered: their jobs are neither listed nor missing."""
    stopped: bool = False
    """No further single requests are sent in this poll, because they would fail too."""

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Jobs that were not listed although their workspace was."""
        return [job for job in jobs if job.job_id not in self.present and self._covers(job.workspace_id)]

    def is_by_list(self, job: Job) -> bool:
        """Whether the listing of a job's workspace was the job list."""
        is_listed = job.workspace_id in self.workspaces
        return job.workspace_id in self.by_list if is_listed else bool(self.by_list)

    def settle(self, access: WorkspaceAccess | None) -> None:
        """Decide what the refused workspaces are: set aside while others were listed, else failures."""
        if access is None or not self.sizes:
            self.failures.extend(self.refused.values())
            return
        access.entered(self.sizes)
        access.judge(self.refused, report=self.failures.append)
        self.set_aside = access.set_aside

    def _covers(self, workspace_id: str) -> bool:
        if workspace_id in self.set_aside:
            return False
        if workspace_id in self.workspaces:
            return workspace_id in self.sizes
        # A workspace that is not listed any more: its jobs may be in any other.
        return len(self.sizes) == len(self.workspaces) and not self.set_aside


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
        access: WorkspaceAccess | None = None,
    ) -> None:
        self._access = access
        self._caller = caller
        self._versions = versions
        self._workspaces = workspaces
        self._clock = clock
        self._note = note
        self._overview = OverviewPager(caller, clock=clock, note=note)
        self._uses_job_list: Cached[bool] = Cached(clock, ttl_s=OVERVIEW_RETRY_S)
        self._running: dict[str, set[str]] = {}
        self._compared: dict[str, Cached[bool]] = {}
        self._distrusted: dict[str, Cached[bool]] = {}
        self._rows = _Rows()

    async def list_all(self, known: TrackedState) -> ListingResult:
        """List every workspace; a failed one is in `failures`. Raises SourceError when all of them failed."""
        workspaces = await self._workspaces()
        listing = ListingResult(workspaces=workspaces)
        by_list = bool(self._uses_job_list.get())
        if not by_list:
            await self._list_overview(listing, known)
            await self._list_jobs(listing, known, [key for key in workspaces if self._is_distrusted(key)])
            by_list = not listing.sizes and any(isinstance(error, Refused) for error in listing.refused.values())
            if by_list:  # every workspace refused: the call does not exist
                listing = ListingResult(workspaces=workspaces)
        if by_list:
            await self._list_jobs(listing, known, workspaces)
        listing.settle(self._access)
        failed = listing.failures and not listing.sizes
        if by_list and not self._uses_job_list.get():
            # If the list fails too, the cause may be an outage and not a missing call: retry soon.
            self._uses_job_list.set(value=True, ttl_s=OUTAGE_RETRY_S if failed else OVERVIEW_RETRY_S)
        if failed:
            raise listing.failures[0]
        self._rows.end_listing()
        return listing

    def observe(self, workspace_id: str, rows: Iterable[job_list.ListedJob]) -> None:
        """Note the running versions in rows of the job list; `compare` looks them up in the overview."""
        for _, row in rows:
            job = from_listed(row, workspace_id=workspace_id, note=self._note)
            if job is not None and job.status is JobStatus.RUNNING:
                self._running.setdefault(workspace_id, set()).add(job.job_id)

    async def compare(self, listing: ListingResult, known: TrackedState, *, thorough: bool = False) -> None:
        """End the trust in the overview of each workspace that lacks running versions of the job list (fact 46).

        The overview is read again first: a version may have started after it was read. The job list replaces it.
        `thorough`: read the job list of every workspace for the comparison.
        """
        await self._read_job_lists(listing, known, thorough=thorough)
        running, self._running = self._running, {}
        for workspace_id, ids in running.items():
            lacking = ids - listing.present
            if not lacking or workspace_id not in listing.sizes or workspace_id in listing.by_list:
                continue
            again = ListingResult(workspaces=(workspace_id,))
            await self._list_overview(again, known)
            lacking -= again.present
            if not lacking or not again.sizes:
                continue
            self._note("v1.overview.versions", "lacks running versions of the job list")
            _log.warning("overview.distrusted", workspace_id=workspace_id, versions=len(lacking))
            self._distrust(workspace_id)
            await self._list_jobs(listing, known, (workspace_id,))

    async def _read_job_lists(self, listing: ListingResult, known: TrackedState, *, thorough: bool) -> None:
        """Read the job list of workspaces whose overview has no active version, once an hour; `thorough`: of all.

        Where it has some, polling reads the job list for their records anyway. A failure proves nothing.
        """
        active = {job.workspace_id for job in listing.listed.values() if job.status.active}
        for workspace_id in [key for key in listing.sizes if key not in listing.by_list]:
            if known.answer_by is not None and self._clock.monotonic() >= known.answer_by:
                return
            compared = self._compared.setdefault(workspace_id, Cached(self._clock, ttl_s=COMPARE_S))
            if not thorough and (workspace_id in active or compared.get()):
                continue
            compared.set(value=True)
            with suppress(CloudError):
                self.observe(
                    workspace_id, await job_list.jobs(self._caller, workspace_id=workspace_id, note=self._note)
                )

    def _distrust(self, workspace_id: str) -> None:
        self._distrusted[workspace_id] = Cached(self._clock, ttl_s=OVERVIEW_RETRY_S)
        self._distrusted[workspace_id].set(value=True)

    def _is_distrusted(self, workspace_id: str) -> bool:
        distrusted = self._distrusted.get(workspace_id)
        return distrusted is not None and bool(distrusted.get())

    async def _list_overview(self, listing: ListingResult, known: TrackedState) -> None:
        trusted = [key for key in listing.workspaces if not self._is_distrusted(key)]
        for workspace_id in self._in_time(trusted, OVERVIEW.name, listing, known):
            try:
                raws = await self._overview.rows(workspace_id)
            except Unsupported as error:
                if error.status is None:  # its pages do not add up: the job list replaces it in this workspace
                    self._distrust(workspace_id)
                else:
                    self._add_failure(error, workspace_id, listing)
                continue
            except CloudError as error:
                if self._add_failure(error, workspace_id, listing).is_final:
                    break
                continue
            listing.sizes[workspace_id] = len(raws)

            def adapt(raw: msgspec.Raw, workspace_id: str = workspace_id) -> Listed | None:
                row = wire.read(raw, wire.OverviewRow, field="v1.versions", note=self._note)
                job = from_overview(row, workspace_id=workspace_id, note=self._note) if row is not None else None
                return (job, None) if job is not None else None

            await self._rows.add(raws, adapt=adapt, listing=listing, known=known)

    async def _list_jobs(self, listing: ListingResult, known: TrackedState, workspaces: Iterable[str]) -> None:
        for workspace_id in self._in_time(workspaces, JOB_LIST.name, listing, known):
            listing.by_list.add(workspace_id)
            try:
                found = await job_list.jobs(self._caller, workspace_id=workspace_id, note=self._note)
            except CloudError as error:
                if self._add_failure(error, workspace_id, listing).is_final:
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

    def _add_failure(self, error: CloudError, workspace_id: str, listing: ListingResult) -> CloudError:
        if is_entry_refusal(error):
            listing.refused[workspace_id] = error
        else:
            listing.failures.append(error)
        return error

    def _in_time(
        self, workspaces: Iterable[str], operation: str, listing: ListingResult, known: TrackedState
    ) -> Iterator[str]:
        """Yield the workspaces until the deadline of the poll."""
        for workspace_id in workspaces:
            if known.answer_by is not None and self._clock.monotonic() >= known.answer_by:
                listing.failures.append(OutOfTime(operation))
                return
            yield workspace_id
