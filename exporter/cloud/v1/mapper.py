"""Finding the job a version belongs to, which every v1 address needs (API reference §3, trap 27)."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from exporter.cloud.cached import NegativeCache
from exporter.cloud.decode.values import count
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.v1 import job_list
from exporter.cloud.v1.adapter import from_record, identity
from exporter.cloud.v1.version_cache import ParentJob, VersionCache, owner_of
from exporter.domain.job import Job
from exporter.domain.source import Clock

NOT_FOUND_TTL_S = 3600.0
"""How long a version that was not found is not looked for again."""

_GUESSES = 5
"""Jobs whose versions are asked for in one search, to find a version that is not its job's newest."""


class Mapper:
    """Fills a register with owners.

    Cheapest first: a search by name where that saves pages, the job list as far as needed, and the versions of jobs
    that have several.
    """

    def __init__(self, caller: Caller, register: VersionCache, *, clock: Clock, note: NoteUnknown) -> None:
        self._caller = caller
        self._register = register
        self._note = note
        self._not_found = NegativeCache(clock, ttl_s=NOT_FOUND_TTL_S)
        self._search_helps = True

    async def find(self, wanted: Mapping[str, Job], *, sizes: Mapping[str, int]) -> None:
        """Look for the owners of versions, one workspace after the other. Raises CloudError at the first that fails.

        `wanted` holds what is known of each version; `sizes` says how many versions each workspace holds, which
        bounds how long its job list can be.
        """
        by_workspace: dict[str, dict[str, Job]] = defaultdict(dict)
        for version_id, job in wanted.items():
            if self._register.owner(version_id) is None and version_id not in self._not_found:
                by_workspace[job.workspace_id or "0"][version_id] = job
        for workspace_id, jobs in by_workspace.items():
            search = _Search(jobs, self._register, note=self._note)
            await self._find(search, workspace_id=workspace_id, size=sizes.get(workspace_id, 0))
            self._not_found.add(search.open)

    async def _find(self, search: "_Search", *, workspace_id: str, size: int) -> None:
        searched = self._search_helps and len(search.open) < -(-size // job_list.PAGE_SIZE)
        if searched:
            for version_id in search.open:
                name = search.wanted[version_id].name
                if name:
                    rows = await job_list.named(self._caller, workspace_id=workspace_id, name=name, note=self._note)
                    search.take(rows)
            await self._guess(search.guesses(same_name=True), search, workspace_id=workspace_id)
        if not search.open:
            return
        not_named = len(search.open)
        await job_list.jobs(self._caller, workspace_id=workspace_id, note=self._note, enough=search.take)
        if searched and len(search.open) < not_named:
            self._search_helps = False  # the list has what the search by name should have found
        await self._guess(search.guesses(), search, workspace_id=workspace_id)

    async def _guess(self, owners: Sequence[ParentJob], search: "_Search", *, workspace_id: str) -> None:
        for owner in owners:
            if not search.open:
                return
            found = await job_list.versions(self._caller, job_id=owner.job_id, note=self._note)
            for answer in found.records:
                record = from_record(answer, name=found.job_name, workspace_id=workspace_id, note=self._note)
                if record is not None and record.job_id in search.wanted:
                    self._register.own(record.job_id, owner)
                    self._register.learn(record)


class _Search:
    """Versions looked for, and the jobs met on the way that may have them."""

    def __init__(self, wanted: Mapping[str, Job], register: VersionCache, *, note: NoteUnknown) -> None:
        self.wanted = wanted
        self._register = register
        self._note = note
        self._several: dict[str, tuple[ParentJob, str]] = {}

    @property
    def open(self) -> Collection[str]:
        """Versions not found yet."""
        return [version_id for version_id in self.wanted if self._register.owner(version_id) is None]

    def take(self, rows: Sequence[job_list.ListedJob]) -> bool:
        """Learn from rows of the job list; whether nothing is open any more."""
        for _, row in rows:
            owner = owner_of(row, note=self._note)
            if owner is None:
                continue
            newest = identity(row.version_id)
            if newest in self.wanted:
                self._register.own(newest, owner)
            if (count(row.version_count, field="v1.version_count", note=self._note) or 0) > 1:
                self._several[owner.job_id] = (owner, newest)
        return not self.open

    def guesses(self, *, same_name: bool = False) -> list[ParentJob]:
        """Jobs with several versions, the likeliest owners first: by name, then by how near their newest version is.

        Version ids grow, so a job whose newest one is older than the version cannot have it. `same_name`: only jobs
        that are called as the version is.
        """
        ranked: dict[str, tuple[tuple[bool, int], ParentJob]] = {}
        for version_id in self.open:
            name = self.wanted[version_id].name
            for owner, newest in self._several.values():
                distance = _distance(version_id, newest)
                if distance < 0 or (same_name and owner.name != name):
                    continue
                rank = (owner.name != name, distance)
                if owner.job_id not in ranked or rank < ranked[owner.job_id][0]:
                    ranked[owner.job_id] = (rank, owner)
        return [owner for _, owner in sorted(ranked.values(), key=lambda pair: pair[0])][:_GUESSES]


def _distance(version_id: str, newest: str) -> int:
    """How many ids lie between a version and a job's newest one; negative: the job cannot have it."""
    if version_id.isdigit() and newest.isdigit():
        return int(newest) - int(version_id)
    return 0
