"""Reads the whole overview, whatever its paging is (API reference §1.1.1).

v2's `Pager` is not used here, because the two listings differ in what they prove. The overview has a total, so its
pages are checked against the total at the end and read again, or refused, if rows are missing; it has at most ten
pages, and a server may return fewer rows per page than requested. A v2 search has no usable total and no end known in
advance, so `Pager` has to prove the meaning of `offset` in every listing by overlapping pages.
"""

from collections.abc import Sequence
from enum import Enum, auto

import msgspec

from exporter.cloud.cached import Cached
from exporter.cloud.decode.values import count
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import InvalidResponse, Refused, Unsupported
from exporter.cloud.v1 import wire
from exporter.cloud.v1.adapter import parse_id
from exporter.cloud.v1.endpoints import OVERVIEW
from exporter.domain.source import Clock

PAGE_SIZE = 100
MAX_PAGES = 10
"""With more pages, the job list with 1000 rows a page needs fewer calls."""
MODE_TTL_S = 3600.0
"""How long the detected paging is used."""


class _Unit(Enum):
    """What `offset` counts."""

    RECORD = auto()
    PAGE = auto()


class OverviewPager:
    """The overview of one project. The detected paging is used for an hour."""

    def __init__(self, caller: Caller, *, clock: Clock, note: NoteUnknown) -> None:
        self._caller = caller
        self._note = note
        self._needs_paging: Cached[bool] = Cached(clock, ttl_s=MODE_TTL_S)
        self._unit: Cached[_Unit] = Cached(clock, ttl_s=MODE_TTL_S)

    async def rows(self, workspace_id: str) -> Sequence[msgspec.Raw]:
        """Return every row of a workspace as raw JSON.

        Raises Unsupported when there is no overview, or none that can be read completely in a few calls; any other
        CloudError of a call.
        """
        if not self._needs_paging.get():
            try:
                page, total = await self._fetch_page(workspace_id, limit="0")
            except Unsupported:
                raise
            except (Refused, InvalidResponse):  # limit=0 is refused, or the response exceeds the size limit
                pass
            else:
                if total is not None and len(page) >= total:
                    return page
            self._needs_paging.set(value=True)
        return await self._fetch_pages(workspace_id)

    async def _fetch_page(
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

    async def _fetch_pages(self, workspace_id: str) -> Sequence[msgspec.Raw]:
        for attempt in (1, 2):
            pages = await self._list(workspace_id)
            if pages.is_complete():
                return pages.rows
            if attempt == 1:
                self._unit.clear()  # the meaning of `offset` may have changed, or rows moved between two pages
        raise Unsupported(OVERVIEW.name, "the pages hold fewer rows than the total")

    async def _list(self, workspace_id: str) -> "_Pages":
        pages = _Pages()
        first, total = await self._fetch_page(workspace_id, offset=0)
        pages.add(first, total)
        if pages.is_complete() or not first:
            return pages
        if total is not None and total > PAGE_SIZE * MAX_PAGES:
            raise Unsupported(OVERVIEW.name, f"{total} rows need more calls than the job list")
        unit = self._unit.get()
        page_count = 1
        if unit is None:
            probe, total = await self._fetch_page(workspace_id, offset=1)
            unit = _Unit.RECORD if 2 * pages.overlap(probe) >= len(first) else _Unit.PAGE
            pages.add(probe, total)
            self._unit.set(unit)
            page_count += unit is _Unit.PAGE
        seen = len(first)
        while not pages.is_complete() and page_count < MAX_PAGES + 1:
            page, total = await self._fetch_page(workspace_id, offset=seen if unit is _Unit.RECORD else page_count)
            new_rows = pages.add(page, total)
            if not new_rows:
                break
            seen += len(page)
            page_count += 1
        return pages


class _Pages:
    """The rows of the pages read so far."""

    def __init__(self) -> None:
        self.rows: list[msgspec.Raw] = []
        self._complete = False
        self._keys: set[str | bytes] = set()

    def add(self, page: Sequence[msgspec.Raw], total: int | None) -> int:
        """Add the new rows of a page; returns how many were new."""
        before = len(self.rows)
        for raw in page:
            key = _key(raw)
            if key not in self._keys:
                self._keys.add(key)
                self.rows.append(raw)
        self._complete = len(page) < PAGE_SIZE if total is None else len(self.rows) >= total
        return len(self.rows) - before

    def is_complete(self) -> bool:
        """Whether the last page was the end of the listing."""
        return self._complete

    def overlap(self, page: Sequence[msgspec.Raw]) -> int:
        """Number of rows of a page that are known."""
        return sum(_key(raw) in self._keys for raw in page)


def _key(raw: msgspec.Raw) -> str | bytes:
    """Key of a row: its version id, or all of its bytes if it has none."""
    row = wire.read(raw, wire.OverviewRow, field="", note=_ignore)
    return (parse_id(row.version_id) if row is not None else "") or bytes(raw)


def _ignore(field: str, value: object) -> None:
    """The adapter notes bad rows."""
