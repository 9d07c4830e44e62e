"""Selects the workspaces to list: a listing call covers one workspace, by default only one of them (trap 4)."""

import asyncio
import math

from exporter.cloud.access import WorkspaceAccess
from exporter.cloud.cached import REFUSED_TTL_S, Cached, is_refusal
from exporter.cloud.decode.values import count, text
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import Refused, Unsupported
from exporter.cloud.v1 import wire
from exporter.cloud.v1.adapter import parse_id
from exporter.cloud.v1.endpoints import WORKSPACES
from exporter.domain.source import Clock, SourceError

DEFAULT = "0"
"""Id of the default workspace."""

REFRESH_S = 3600.0
"""How long a list of workspaces is used; people create and delete them by hand."""

_PAGE_SIZE = 1000
_MAX_PAGES = 100


class FixedWorkspaces:
    """The workspaces in the settings."""

    def __init__(self, ids: tuple[str, ...], *, access: WorkspaceAccess) -> None:
        self._ids = ids
        self.access = access

    async def __call__(self) -> tuple[str, ...]:
        """Return the ids."""
        return self._ids


class AllWorkspaces:
    """Every workspace of the project that the credential may enter, listed once an hour.

    `filter_accessible` leaves out the others; where the parameter is refused, it is left out for an hour. What is
    listed and may not be entered all the same is set aside by `access`.

    If the call does not exist or is refused, the last response is used, or the default workspace when there is none.
    Any other failure also leaves the last response; it is raised (SourceError) only when there is none.
    """

    def __init__(
        self, caller: Caller, clock: Clock, note: NoteUnknown, *, access: WorkspaceAccess | None = None
    ) -> None:
        self.access = access or WorkspaceAccess(clock)
        self._caller = caller
        self._note = note
        self._filter_refused: Cached[bool] = Cached(clock, ttl_s=REFUSED_TTL_S)
        self._ids: Cached[tuple[str, ...]] = Cached(clock, ttl_s=math.inf, refresh_s=REFRESH_S)
        self._lock = asyncio.Lock()

    async def __call__(self) -> tuple[str, ...]:
        """Return the ids in the cloud's order, without those that are set aside; never empty."""
        return self.access.usable(await self._current())

    async def _current(self) -> tuple[str, ...]:
        async with self._lock:  # both generations poll at the same time: one request serves both
            ids = self._ids.get()
            if ids is not None and not self._ids.is_due:
                return ids
            try:
                ids = await self._list() or (DEFAULT,)
            except SourceError as error:
                if isinstance(error, Refused) or is_refusal(error, operation=WORKSPACES.name):
                    ids = ids or (DEFAULT,)
                elif ids is not None:
                    return ids  # requested again at the next call: the hour begins with a response
                else:
                    raise
            self._ids.set(ids)
            return ids

    async def _list(self) -> tuple[str, ...]:
        if not self._filter_refused.get():
            try:
                return await self._pages({"filter_accessible": "true"})
            except Unsupported:
                raise  # there is no such call, with or without the parameter
            except Refused:
                self._filter_refused.set(value=True)
        return await self._pages({})

    async def _pages(self, parameters: dict[str, str]) -> tuple[str, ...]:
        found: dict[str, tuple[str, str]] = {}
        for _ in range(_MAX_PAGES):
            query = {"limit": str(_PAGE_SIZE), **parameters}
            if found:
                query["offset"] = str(len(found))
            page = await self._caller.call(WORKSPACES, query=query)
            if page is None:
                break
            known = len(found)
            total = count(page.total_count, field="v1.workspaces.total_count", note=self._note)
            raws = wire.listed(page.workspaces, total=total, operation=WORKSPACES.name)
            for _raw, row in wire.rows(raws, wire.WorkspaceRow, field="v1.workspaces", note=self._note):
                workspace_id = parse_id(row.id)
                if workspace_id:
                    found[workspace_id] = (text(row.name), text(row.status))
                else:
                    self._note("v1.workspaces.id", row.id)
            if len(found) == known or len(found) >= (total or 0):
                break
        if found:
            self.access.update(found)
        return tuple(found)
