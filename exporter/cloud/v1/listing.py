"""One walk through the listings of all workspaces: what they say of the versions that matter, and what is missing."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from exporter.cloud.cached import Cached
from exporter.cloud.concurrency import OutOfTime
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import CloudError, Refused
from exporter.cloud.v1 import job_list, wire
from exporter.cloud.v1.adapter import from_listed, from_overview
from exporter.cloud.v1.endpoints import JOB_LIST, OVERVIEW
from exporter.cloud.v1.overview import OverviewPager
from exporter.cloud.v1.version_cache import ParentJob, VersionCache, owner_of
from exporter.domain.job import Job
from exporter.domain.source import Clock, SourceError, TrackedState

OUTAGE_RETRY_S = 600.0
"""When the overview is asked again after a look in which the list that stands in for it failed as well."""

OVERVIEW_RETRY_S = 6 * 3600.0
"""How long the job list stands in before the overview is tried again."""

_BREATH = 250  # rows between two turns of the event loop


@dataclass(slots=True, kw_only=True)
class ListingResult:
    """What one walk brought, and what failed on the way."""

    workspaces: tuple[str, ...]
    by_list: bool = False
    """The job list was walked, not the overview: it names only each job's newest version."""
    listed: dict[str, Job] = field(default_factory=dict)
    """Every version that matters, by id, as its listing tells it."""
    present: set[str] = field(default_factory=set)
    """Every version that was listed."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Rows of each workspace that was listed wholly."""
    failures: list[SourceError] = field(default_factory=list)
    stopped: bool = False
    """Asking one by one was given up, because the next call would fare no better."""

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Which of these jobs were not listed although their workspace was."""
        return [job for job in jobs if job.job_id not in self.present and self._covers(job.workspace_id)]

    def _covers(self, workspace_id: str) -> bool:
        if workspace_id in self.workspaces:
            return workspace_id in self.sizes
        return len(self.sizes) == len(self.workspaces)  # its workspace is not asked any more: it may be anywhere


Listed = tuple[Job, ParentJob | None]


class _Rows:
    """Turns rows into jobs, and remembers the result while a row stays the same to the letter.

    Of finished versions that nobody wants to hear of again only the id is remembered, so that a long history costs
    little time and memory.
    """

    def __init__(self) -> None:
        self._held: dict[bytes, Listed | str] = {}
        self._fresh: dict[bytes, Listed | str] = {}

    async def take(
        self,
        raws: Iterable[msgspec.Raw],
        *,
        adapt: Callable[[msgspec.Raw], Listed | None],
        walk: ListingResult,
        known: TrackedState,
    ) -> list[tuple[str, ParentJob]]:
        """Add rows to a walk, each version once; return the owners that the rows of versions that matter name."""
        owners: list[tuple[str, ParentJob]] = []
        for turn, raw in enumerate(raws, start=1):
            if turn % _BREATH == 0:
                await asyncio.sleep(0)
            key = hashlib.blake2b(raw, digest_size=16).digest()
            held = self._held.get(key)
            if held is None or (isinstance(held, str) and held in known.tracked):
                held = adapt(raw)
                if held is None:
                    continue
            if not isinstance(held, str):
                job, owner = held
                version_id = job.job_id
                if not matters(job, known):
                    held = version_id
                elif version_id not in walk.present:
                    walk.listed[version_id] = job
                    if owner is not None:
                        owners.append((version_id, owner))
                walk.present.add(version_id)
            else:
                walk.present.add(held)
            self._fresh[key] = held
        return owners

    def turn(self) -> None:
        """End a walk: what it did not meet is forgotten."""
        self._held, self._fresh = self._fresh, {}


def matters(job: Job, known: TrackedState) -> bool:
    """Whether polling wants to hear of a version: it is tracked, may still change, or was never accounted for."""
    return job.job_id in known.tracked or not job.status.finished or known.is_new(job)


class Lister:
    """Walks the overview of each workspace; the job list stands in for hours where there is no overview."""

    def __init__(
        self,
        caller: Caller,
        register: VersionCache,
        *,
        workspaces: Callable[[], Awaitable[tuple[str, ...]]],
        clock: Clock,
        note: NoteUnknown,
    ) -> None:
        self._caller = caller
        self._register = register
        self._workspaces = workspaces
        self._clock = clock
        self._note = note
        self._overview = OverviewPager(caller, clock=clock, note=note)
        self._uses_job_list: Cached[bool] = Cached(clock, ttl_s=OVERVIEW_RETRY_S)
        self._rows = _Rows()

    async def walk(self, known: TrackedState) -> ListingResult:
        """List every workspace; one that fails is in the walk's failures. Raises SourceError when all did."""
        workspaces = await self._workspaces()
        walk = ListingResult(workspaces=workspaces)
        by_list = bool(self._uses_job_list.get())
        if not by_list:
            refusals = await self._walk_overview(walk, known)
            by_list = bool(refusals) and not walk.sizes
            if by_list:  # not a workspace that is refused, but the call: there is no such listing
                walk = ListingResult(workspaces=workspaces)
            else:
                walk.failures += refusals
        if by_list:
            walk.by_list = True
            await self._walk_list(walk, known)
        failed = walk.failures and not walk.sizes
        if by_list and not self._uses_job_list.get():
            # Where the list fails too, perhaps nothing is missing but the cloud is: then it is asked again soon.
            self._uses_job_list.set(value=True, ttl_s=OUTAGE_RETRY_S if failed else OVERVIEW_RETRY_S)
        if failed:
            raise walk.failures[0]
        self._rows.turn()
        return walk

    async def _walk_overview(self, walk: ListingResult, known: TrackedState) -> list[CloudError]:
        refusals: list[CloudError] = []
        for workspace_id in self._in_time(OVERVIEW.name, walk, known):
            try:
                raws = await self._overview.rows(workspace_id)
            except Refused as error:
                refusals.append(error)
                continue
            except CloudError as error:
                walk.failures.append(error)
                if error.is_final:
                    break
                continue
            walk.sizes[workspace_id] = len(raws)

            def adapt(raw: msgspec.Raw, workspace_id: str = workspace_id) -> Listed | None:
                row = wire.read(raw, wire.OverviewRow, field="v1.versions", note=self._note)
                job = from_overview(row, workspace_id=workspace_id, note=self._note) if row is not None else None
                return (job, None) if job is not None else None

            await self._rows.take(raws, adapt=adapt, walk=walk, known=known)
        return refusals

    async def _walk_list(self, walk: ListingResult, known: TrackedState) -> None:
        for workspace_id in self._in_time(JOB_LIST.name, walk, known):
            try:
                found = await job_list.jobs(self._caller, workspace_id=workspace_id, note=self._note)
            except CloudError as error:
                walk.failures.append(error)
                if error.is_final:
                    break
                continue
            walk.sizes[workspace_id] = len(found)

            def adapt(raw: msgspec.Raw, workspace_id: str = workspace_id) -> Listed | None:
                row = wire.read(raw, wire.JobRow, field="v1.jobs", note=self._note)
                job = from_listed(row, workspace_id=workspace_id, note=self._note) if row is not None else None
                return (job, owner_of(row, note=self._note)) if job is not None and row is not None else None

            raws = (raw for raw, _ in found)
            for version_id, owner in await self._rows.take(raws, adapt=adapt, walk=walk, known=known):
                self._register.own(version_id, owner)

    def _in_time(self, operation: str, walk: ListingResult, known: TrackedState) -> Iterator[str]:
        """Name the workspaces, until the walk should be back."""
        for workspace_id in walk.workspaces:
            if known.answer_by is not None and self._clock.monotonic() >= known.answer_by:
                walk.failures.append(OutOfTime(operation))
                return
            yield workspace_id
