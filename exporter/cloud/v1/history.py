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
from exporter.cloud.v1.version_cache import ParentJob, parent_of
from exporter.cloud.v1.wire import JobRow
from exporter.domain.history import HistoricJob, HistoryPage
from exporter.domain.job import Api

_WIDTH = 3
"""Jobs whose versions are requested at the same time; an interruption repeats at most so many."""


class _Cursor(msgspec.Struct, frozen=True, kw_only=True):
    workspace_id: str
    page: int
    job_id: str
    """The last job of the page whose versions were read. If it is no longer on the page, the page is read again."""


class V1History:
    """Reads v1's job list, and the versions of each job that may be in range, usage included.

    The overview lists versions in one call, but has neither their jobs nor their users, and each record would be one
    more call. `samples`: whether to read the usage that the records contain.
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
        self._with_samples = samples
        self._call_works = False

    @property
    def api(self) -> Api:
        """v1."""
        return Api.V1

    async def pages(self, *, back_to: float, cursor: str = "") -> AsyncIterator[HistoryPage]:
        """Read every version. See `JobHistory.pages`."""
        resume_at = msgspec.json.decode(cursor, type=_Cursor) if cursor else None
        workspaces = await self._workspaces()
        is_listed = resume_at is not None and resume_at.workspace_id in workspaces
        for workspace_id in workspaces[workspaces.index(resume_at.workspace_id) if resume_at and is_listed else 0 :]:
            resumed = resume_at if resume_at is not None and resume_at.workspace_id == workspace_id else None
            number = resumed.page if resumed is not None else 1
            async for page in job_list.pages(self._caller, workspace_id=workspace_id, note=self._note, start=number):
                parents = self._parents(page, workspace_id, back_to=back_to)
                job_ids = [parent.job_id for parent in parents]
                done = job_ids.index(resumed.job_id) + 1 if resumed is not None and resumed.job_id in job_ids else 0
                resumed = None
                for start in range(done, len(parents), _WIDTH):
                    batch = parents[start : start + _WIDTH]
                    found_jobs = await asyncio.gather(*(self._versions(parent, workspace_id) for parent in batch))
                    reached = _Cursor(workspace_id=workspace_id, page=number, job_id=batch[-1].job_id)
                    yield HistoryPage(
                        jobs=tuple(job for jobs in found_jobs for job in jobs),
                        cursor=msgspec.json.encode(reached).decode(),
                    )
                number += 1

    def _parents(self, page: Sequence[job_list.ListedJob], workspace_id: str, *, back_to: float) -> list[ParentJob]:
        return [
            parent
            for _, row in page
            if self._may_be_in_range(row, workspace_id, back_to=back_to)
            and (parent := parent_of(row, note=self._note))
        ]

    def _may_be_in_range(self, row: JobRow, workspace_id: str, *, back_to: float) -> bool:
        """Whether a job may have an active version, or one submitted since then.

        The list describes the newest version. Whether `create_time` is the version's or the job's is not documented,
        so the versions of a job with several are always requested.
        """
        if (count(row.version_count, field="v1.version_count", note=self._note) or 0) != 1:
            return True
        newest = from_listed(row, workspace_id=workspace_id, note=self._note)
        if newest is None or not newest.status.finished or newest.submitted_at is None:
            return True
        return newest.submitted_at >= back_to

    async def _versions(self, parent: ParentJob, workspace_id: str) -> list[HistoricJob]:
        try:
            found = await job_list.versions(self._caller, job_id=parent.job_id, note=self._note)
        except Refused as error:
            if isinstance(error, Unsupported) and not self._call_works:
                raise  # the call itself does not exist
            self._note("v1.versions", "refused")
            return []  # the job was deleted after it was listed: v1's response for that is not documented
        self._call_works = True
        found_jobs = []
        for record in found.records:
            version = from_record(record, name=found.job_name, workspace_id=workspace_id, note=self._note)
            if version is None:
                continue
            version = merge(version, None, name=parent.name, user=parent.user, parent_job_id=parent.job_id)
            samples = None
            if self._with_samples:  # in a thread: parsing three days of samples takes some time
                samples = await asyncio.to_thread(
                    series, record.system_metric_list, accelerator=version.accelerator, note=self._note
                )
            found_jobs.append(HistoricJob(job=version, series=() if samples is None else (samples,)))
        return found_jobs
