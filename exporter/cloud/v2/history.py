"""The history of a project's v2 jobs, for a backfill: a page of 50 at a time, newest first."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.v2.listing import Cursor, Lister
from exporter.domain.history import HistoricJob, HistoryPage
from exporter.domain.job import Api, Job
from exporter.domain.source import Clock, TrackedState


class _Cursor(msgspec.Struct, frozen=True, kw_only=True):
    workspace_id: str
    position: Cursor | None = None
    """None: only the active jobs have been read."""
    complete: bool = False
    """Every job of the workspace has been read."""


class V2History:
    """Reads v2's search by workspace: first the active jobs, then all of them, newest first."""

    def __init__(
        self,
        caller: Caller,
        *,
        workspaces: Callable[[], Awaitable[tuple[str, ...]]],
        clock: Clock,
        note: NoteUnknown,
    ) -> None:
        self._workspaces = workspaces
        self._lister = Lister(caller, clock=clock, note=note)

    @property
    def api(self) -> Api:
        """v2."""
        return Api.V2

    async def pages(self, *, back_to: float, cursor: str = "") -> AsyncIterator[HistoryPage]:
        """Read every job. See `JobHistory.pages`."""
        resume_at = msgspec.json.decode(cursor, type=_Cursor) if cursor else None
        workspaces = await self._workspaces()
        is_listed = resume_at is not None and resume_at.workspace_id in workspaces
        for workspace_id in workspaces[workspaces.index(resume_at.workspace_id) if resume_at and is_listed else 0 :]:
            resumed = resume_at if resume_at is not None and resume_at.workspace_id == workspace_id else None
            if resumed is not None and resumed.complete:
                continue
            if resumed is None:
                active = await self._lister.active(workspace_id, TrackedState())
                if active.failures:
                    raise active.failures[0]
                yield _page(tuple(active.jobs.values()), _Cursor(workspace_id=workspace_id))
            after = resumed.position if resumed is not None else None
            async for jobs, position in self._lister.history_pages(workspace_id, back_to=back_to, cursor=after):
                yield _page(jobs, _Cursor(workspace_id=workspace_id, position=position))
            yield _page((), _Cursor(workspace_id=workspace_id, complete=True))


def _page(jobs: Sequence[Job], cursor: _Cursor) -> HistoryPage:
    return HistoryPage(jobs=tuple(HistoricJob(job=job) for job in jobs), cursor=msgspec.json.encode(cursor).decode())
