"""Finds the job of a version, which every v1 address requires (API reference §3, trap 27)."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from exporter.cloud.cached import NegativeCache
from exporter.cloud.decode.values import count
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.v1 import job_list
from exporter.cloud.v1.adapter import from_record, parse_id
from exporter.cloud.v1.version_cache import ParentJob, VersionCache, parent_of
from exporter.domain.job import Job
from exporter.domain.source import Clock

NOT_FOUND_TTL_S = 3600.0
"""How long a version that was not found is not searched again."""

_MAX_CANDIDATES = 5
"""Jobs whose versions are requested in one search, to find versions that are not the newest of their jobs. Further
jobs follow in the next searches."""


def _ignore(workspace_id: str, rows: Sequence[job_list.ListedJob]) -> None:
    """Read nothing else in the rows."""


class Mapper:
    """Fills a version cache with parent jobs.

    The cheapest way first: a search by name if it saves pages, then the job list as far as needed, then the versions
    of jobs that have several.
    """

    def __init__(
        self,
        caller: Caller,
        versions: VersionCache,
        *,
        clock: Clock,
        note: NoteUnknown,
        on_rows: Callable[[str, Sequence[job_list.ListedJob]], None] = _ignore,
    ) -> None:
        """`on_rows` is called with the workspace and the rows of each job list that is read."""
        self._on_rows = on_rows
        self._caller = caller
        self._versions = versions
        self._note = note
        self._not_found = NegativeCache(clock, ttl_s=NOT_FOUND_TTL_S)
        self._search_helps = True
        self._read: dict[str, tuple[str, int]] = {}
        """Jobs whose versions were read: their newest version and number of versions at that time."""
        self._parents: dict[str, ParentJob] = {}
        """Jobs of all versions that were read."""

    async def find(self, wanted: Mapping[str, Job], *, sizes: Mapping[str, int]) -> None:
        """Find the parent jobs of versions, one workspace after the other. Raises the CloudError of a failed call.

        `wanted` holds the known fields of each version. `sizes` holds the number of versions of each workspace, which
        limits the length of its job list.
        """
        by_workspace: dict[str, dict[str, Job]] = defaultdict(dict)
        for version_id, job in wanted.items():
            if (parent := self._parents.get(version_id)) is not None:
                self._versions.set_parent(version_id, parent)
            if self._versions.parent(version_id) is None and version_id not in self._not_found:
                by_workspace[job.workspace_id or "0"][version_id] = job
        for workspace_id, jobs in by_workspace.items():
            search = _Search(jobs, self._versions, read=self._read, note=self._note)
            await self._find(search, workspace_id=workspace_id, size=sizes.get(workspace_id, 0))
            if not search.candidates():
                self._not_found.add(search.unresolved)

    async def _find(self, search: "_Search", *, workspace_id: str, size: int) -> None:
        searched = self._search_helps and len(search.unresolved) < -(-size // job_list.PAGE_SIZE)
        if searched:
            for version_id in search.unresolved:
                name = search.wanted[version_id].name
                if name:
                    rows = await job_list.search_by_name(
                        self._caller, workspace_id=workspace_id, name=name, note=self._note
                    )
                    search.add_rows(rows)
            await self._search_versions(search.candidates(same_name=True), search, workspace_id=workspace_id)
        if not search.unresolved:
            return
        unresolved_by_name = len(search.unresolved)
        rows = await job_list.jobs(self._caller, workspace_id=workspace_id, note=self._note, enough=search.add_rows)
        self._on_rows(workspace_id, rows)
        if searched and len(search.unresolved) < unresolved_by_name:
            self._search_helps = False  # the list holds a job that the search by name did not return
        await self._search_versions(search.candidates(), search, workspace_id=workspace_id)

    async def _search_versions(self, parents: Sequence[ParentJob], search: "_Search", *, workspace_id: str) -> None:
        for parent in parents:
            if not search.unresolved:
                return
            found = await job_list.versions(self._caller, job_id=parent.job_id, note=self._note)
            search.mark_read(parent)
            for answer in found.records:
                record = from_record(answer, name=found.job_name, workspace_id=workspace_id, note=self._note)
                if record is None:
                    continue
                self._parents[record.job_id] = parent
                if record.job_id in search.wanted:
                    self._versions.set_parent(record.job_id, parent)
                    self._versions.set_record(record)


class _Search:
    """The versions to find, and the jobs read so far that may have them."""

    def __init__(
        self,
        wanted: Mapping[str, Job],
        versions: VersionCache,
        *,
        read: dict[str, tuple[str, int]],
        note: NoteUnknown,
    ) -> None:
        self.wanted = wanted
        self._versions = versions
        self._read = read
        self._note = note
        self._with_several_versions: dict[str, tuple[ParentJob, str, int]] = {}

    @property
    def unresolved(self) -> Collection[str]:
        """Versions not found yet."""
        return [version_id for version_id in self.wanted if self._versions.parent(version_id) is None]

    def add_rows(self, rows: Sequence[job_list.ListedJob]) -> bool:
        """Read rows of the job list; returns whether every version is found."""
        for _, row in rows:
            parent = parent_of(row, note=self._note)
            if parent is None:
                continue
            newest = parse_id(row.version_id)
            if newest in self.wanted:
                self._versions.set_parent(newest, parent)
            versions = count(row.version_count, field="v1.version_count", note=self._note) or 0
            if versions > 1:
                self._with_several_versions[parent.job_id] = (parent, newest, versions)
        return not self.unresolved

    def mark_read(self, parent: ParentJob) -> None:
        """The versions of a job were read: it is a candidate again when it has another one."""
        _, newest, versions = self._with_several_versions[parent.job_id]
        self._read[parent.job_id] = (newest, versions)

    def candidates(self, *, same_name: bool = False) -> list[ParentJob]:
        """Jobs with several versions, the most likely parents first: same name, then the nearest newest version.

        Equally likely ones are in the order of their ids, so that the order of the list does not matter. Version ids
        grow, so a job whose newest version is older than the wanted one is no candidate. `same_name`: only jobs with
        the name of the version.
        """
        ranked: dict[str, tuple[tuple[bool, int], ParentJob]] = {}
        for version_id in self.unresolved:
            name = self.wanted[version_id].name
            for parent, newest, versions in self._with_several_versions.values():
                if self._read.get(parent.job_id) == (newest, versions):
                    continue
                distance = _distance(version_id, newest)
                if distance < 0 or (same_name and parent.name != name):
                    continue
                rank = (parent.name != name, distance)
                if parent.job_id not in ranked or rank < ranked[parent.job_id][0]:
                    ranked[parent.job_id] = (rank, parent)
        ordered = sorted(ranked.values(), key=lambda pair: (pair[0], pair[1].job_id))
        return [parent for _, parent in ordered[:_MAX_CANDIDATES]]


def _distance(version_id: str, newest: str) -> int:
    """Difference between the id of a job's newest version and a version's id; negative: not a version of the job."""
    if version_id.isdigit() and newest.isdigit():
        return int(newest) - int(version_id)
    return 0
