"""Reading the overview whole, however the cloud pages it (API reference §1.1.1)."""

from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from exporter.cloud.cached import Cached
from exporter.cloud.decode.values import count
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import InvalidResponse, Refused, Unsupported
from exporter.cloud.v1 import wire
from exporter.cloud.v1.adapter import identity
from exporter.cloud.v1.endpoints import OVERVIEW
from exporter.domain.source import Clock

PAGE_SIZE = 100
MAX_PAGES = 10
"""Beyond that the job list, with 1000 rows a page, costs fewer calls."""
MODE_TTL_S = 3600.0
"""How long we rely on what was found out about the paging."""


class _Unit(Enum):
    """What `offset` counts."""

    RECORD = auto()
    PAGE = auto()


class OverviewPager:
    """The overview of one project. What it finds out about the paging holds for an hour."""

    def __init__(self, caller: Caller, *, clock: Clock, note: NoteUnknown) -> None:
        self._caller = caller
        self._note = note
        self._needs_paging: Cached[bool] = Cached(clock, ttl_s=MODE_TTL_S)
        self._unit: Cached[_Unit] = Cached(clock, ttl_s=MODE_TTL_S)

    async def rows(self, workspace_id: str) -> Sequence[msgspec.Raw]:
        """Return every row of a workspace, as it came.

        Raises Unsupported when there is no overview, or none that can be read whole in a few calls; other CloudErrors
        as they come.
        """
        if not self._needs_paging.get():
            try:
                page, total = await self._ask(workspace_id, limit="0")
            except Unsupported:
                raise
            except (Refused, InvalidResponse):  # 0 is not taken, or the answer is larger than an answer may be
                pass
            else:
                if total is not None and len(page) >= total:
                    return page
            self._needs_paging.set(value=True)
        return await self._paged(workspace_id)

    async def _ask(
        self, workspace_id: str, *, limit: str = str(PAGE_SIZE), offset: int | None = None
    ) -> tuple[Sequence[msgspec.Raw], int | None]:
        query = {"workspace_id": workspace_id, "limit": limit}
        if offset is not None:
            query["offset"] = str(offset)
        answer = await self._caller.call(OVERVIEW, query=query)
        if answer is None:
            return [], None
        total = count(answer.total_count, field="v1.total_count", note=self._note)
        return wire.listed(answer.versions, total=total, operation=OVERVIEW.name), total

    async def _paged(self, workspace_id: str) -> Sequence[msgspec.Raw]:
        for attempt in (1, 2):
            walk = await self._walk(workspace_id)
            if walk.is_whole():
                return walk.rows
            if attempt == 1:
                self._unit.clear()  # the offset may count something else by now, or rows moved between two pages
        raise Unsupported(OVERVIEW.name, "its pages do not add up to the total it names")

    async def _walk(self, workspace_id: str) -> "_Walk":
        walk = _Walk()
        first, total = await self._ask(workspace_id, offset=0)
        walk.take(first, total)
        if walk.is_whole() or not first:
            return walk
        if total is not None and total > PAGE_SIZE * MAX_PAGES:
            raise Unsupported(OVERVIEW.name, f"{total} rows in pages of {PAGE_SIZE}: the job list is cheaper")
        unit = self._unit.get()
        pages = 1
        if unit is None:
            probe, total = await self._ask(workspace_id, offset=1)
            unit = _Unit.RECORD if 2 * walk.overlap(probe) >= len(first) else _Unit.PAGE
            walk.take(probe, total)
            self._unit.set(unit)
            pages += unit is _Unit.PAGE
        seen = len(first)
        while not walk.is_whole() and pages < MAX_PAGES + 1:
            page, total = await self._ask(workspace_id, offset=seen if unit is _Unit.RECORD else pages)
            brought = walk.take(page, total)
            if not brought:
                break
            seen += len(page)
            pages += 1
        return walk


class _Walk:
    """The pages so far."""

    def __init__(self) -> None:
        self.rows: list[msgspec.Raw] = []
        self._whole = False
        self._keys: set[str | bytes] = set()

    def take(self, page: Sequence[msgspec.Raw], total: int | None) -> int:
        """Keep the rows of a page that are new, and return how many were."""
        before = len(self.rows)
        for raw in page:
            key = _key(raw)
            if key not in self._keys:
                self._keys.add(key)
                self.rows.append(raw)
        self._whole = len(page) < PAGE_SIZE if total is None else len(self.rows) >= total
        return len(self.rows) - before

    def is_whole(self) -> bool:
        """Whether the last page was the last one there is."""
        return self._whole

    def overlap(self, page: Sequence[msgspec.Raw]) -> int:
        """How many rows of a page are known."""
        return sum(_key(raw) in self._keys for raw in page)


def _key(raw: msgspec.Raw) -> str | bytes:
    """What makes a row itself: its version, or all of its text where that cannot be read."""
    row = wire.read(raw, wire.OverviewRow, field="", note=_silent)
    return (identity(row.version_id) if row is not None else "") or bytes(raw)


def _silent(field: str, value: object) -> None:
    """Leave it to the adapter to note a bad row."""
