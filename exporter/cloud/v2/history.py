"""The history of a project's v2 jobs, for a backfill: a page of 50 at a time, newest first."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec

from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.v2.listing import Lister, Stand
from exporter.domain.history import Leaf, Past
from exporter.domain.job import Api, Job
from exporter.domain.source import Clock, Known


class _Bookmark(msgspec.Struct, frozen=True, kw_only=True):
    workspace_id: str
    stand: Stand | None = None
    """None: only what is active has been read."""
    whole: bool = False
    """Everything of the workspace has been read."""


class V2Archive:
    """Walks v2's search, workspace by workspace: first what is active, then everything, newest first."""

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

    async def leaves(self, *, back_to: float, bookmark: str = "") -> AsyncIterator[Leaf]:
        """Walk every job. See `Archive.leaves`."""
        mark = msgspec.json.decode(bookmark, type=_Bookmark) if bookmark else None
        workspaces = await self._workspaces()
        begun = mark is not None and mark.workspace_id in workspaces
        for workspace_id in workspaces[workspaces.index(mark.workspace_id) if mark and begun else 0 :]:
            own = mark if mark is not None and mark.workspace_id == workspace_id else None
            if own is not None and own.whole:
                continue
            if own is None:
                active = await self._lister.active(workspace_id, Known())
                if active.failures:
                    raise active.failures[0]
                yield _leaf(tuple(active.jobs.values()), _Bookmark(workspace_id=workspace_id))
            stand = own.stand if own is not None else None
            async for jobs, reached in self._lister.archive(workspace_id, back_to=back_to, stand=stand):
                yield _leaf(jobs, _Bookmark(workspace_id=workspace_id, stand=reached))
            yield _leaf((), _Bookmark(workspace_id=workspace_id, whole=True))


def _leaf(jobs: Sequence[Job], bookmark: _Bookmark) -> Leaf:
    return Leaf(jobs=tuple(Past(job=job) for job in jobs), bookmark=msgspec.json.encode(bookmark).decode())
