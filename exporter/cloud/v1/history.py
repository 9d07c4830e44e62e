"""The history of a project's v1 versions, for a backfill: the job list, and all versions of each job in one call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from exporter.cloud.decode.values import count
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import Refused, Unsupported
from exporter.cloud.v1 import job_list
from exporter.cloud.v1.adapter import from_listed, from_record, merge
from exporter.cloud.v1.series import series
from exporter.cloud.v1.version_cache import ParentJob, owner_of
from exporter.cloud.v1.wire import JobRow
from exporter.domain.history import HistoricJob, HistoryPage
from exporter.domain.job import Api

_WIDTH = 3
"""Jobs whose versions are asked for at the same time; what a break can cost."""


class _Cursor(msgspec.Struct, frozen=True, kw_only=True):
    workspace_id: str
    page: int
    job_id: str
    """The last job on the page whose versions were read; where it is not found any more, the page is read again."""


class V1History:
    """Walks v1's job list, and asks for the versions of every job that can matter, usage included.

    The overview would list versions in one call, but names neither their jobs nor their users, and every record
    behind it would be a call. `minutes`: whether the usage that comes along is to be read.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        workspaces: Callable[[], Awaitable[tuple[str, ...]]],
        note: NoteUnknown,
        samples: bool = True,
    ) -> None:
        self._caller = caller
        self._workspaces = workspaces
        self._note = note
        self._minutes = samples
        self._works = False

    @property
    def api(self) -> Api:
        """v1."""
        return Api.V1

    async def pages(self, *, back_to: float, cursor: str = "") -> AsyncIterator[HistoryPage]:
        """Walk every version. See `Archive.leaves`."""
        mark = msgspec.json.decode(cursor, type=_Cursor) if cursor else None
        workspaces = await self._workspaces()
        begun = mark is not None and mark.workspace_id in workspaces
        for workspace_id in workspaces[workspaces.index(mark.workspace_id) if mark and begun else 0 :]:
            own = mark if mark is not None and mark.workspace_id == workspace_id else None
            number = own.page if own is not None else 1
            async for page in job_list.pages(self._caller, workspace_id=workspace_id, note=self._note, start=number):
                owners = self._owners(page, workspace_id, back_to=back_to)
                places = [owner.job_id for owner in owners]
                done = places.index(own.job_id) + 1 if own is not None and own.job_id in places else 0
                own = None
                for start in range(done, len(owners), _WIDTH):
                    some = owners[start : start + _WIDTH]
                    told = await asyncio.gather(*(self._versions(owner, workspace_id) for owner in some))
                    reached = _Cursor(workspace_id=workspace_id, page=number, job_id=some[-1].job_id)
                    yield HistoryPage(
                        jobs=tuple(past for pasts in told for past in pasts),
                        cursor=msgspec.json.encode(reached).decode(),
                    )
                number += 1

    def _owners(self, page: Sequence[job_list.ListedJob], workspace_id: str, *, back_to: float) -> list[ParentJob]:
        return [
            owner
            for _, row in page
            if self._matters(row, workspace_id, back_to=back_to) and (owner := owner_of(row, note=self._note))
        ]

    def _matters(self, row: JobRow, workspace_id: str, *, back_to: float) -> bool:
        """Whether a job can have a version submitted since then, or an active one.

        The list tells of its newest version, but whether `create_time` is the version's or the job's is not
        documented: a job with several versions is always asked.
        """
        if (count(row.version_count, field="v1.version_count", note=self._note) or 0) != 1:
            return True
        newest = from_listed(row, workspace_id=workspace_id, note=self._note)
        if newest is None or not newest.status.finished or newest.submitted_at is None:
            return True
        return newest.submitted_at >= back_to

    async def _versions(self, owner: ParentJob, workspace_id: str) -> list[HistoricJob]:
        try:
            found = await job_list.versions(self._caller, job_id=owner.job_id, note=self._note)
        except Refused as error:
            if isinstance(error, Unsupported) and not self._works:
                raise  # it is the call that does not exist, not the job
            self._note("v1.versions", "refused")
            return []  # deleted since it was listed: how v1 says so is not documented
        self._works = True
        told = []
        for record in found.records:
            version = from_record(record, name=found.job_name, workspace_id=workspace_id, note=self._note)
            if version is None:
                continue
            version = merge(version, None, name=owner.name, user=owner.user)
            samples = None
            if self._minutes:  # in a thread, as three days of minutes take some time to read
                samples = await asyncio.to_thread(
                    series, record.system_metric_list, accelerator=version.accelerator, note=self._note
                )
            told.append(HistoricJob(job=version, series=() if samples is None else (samples,)))
        return told
