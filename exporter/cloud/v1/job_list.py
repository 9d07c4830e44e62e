"""Reads the whole job list and all versions of a job: two calls with two paging rules (API reference §1.1.2)."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from exporter.cloud.decode.values import count, text
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.v1 import wire
from exporter.cloud.v1.adapter import parse_id
from exporter.cloud.v1.endpoints import JOB_LIST, VERSIONS

PAGE_SIZE = 1000
"""The maximum of both calls (trap 2)."""
_LONGEST_SEARCH = 64
_LAST_PAGE = 65535

ListedJob = tuple[msgspec.Raw, wire.JobRow]


def _never(_: Sequence[ListedJob]) -> bool:
    return False


async def jobs(
    caller: Caller,
    *,
    workspace_id: str,
    note: NoteUnknown,
    enough: Callable[[Sequence[ListedJob]], bool] = _never,
) -> list[ListedJob]:
    """Read the job list of a workspace until a page has no new job, or `enough` returns true for a page.

    The total is a hint. It is used only to continue after a short page, because a server may return fewer rows per
    page than requested. Raises CloudError.
    """
    found: list[ListedJob] = []
    async with aclosing(pages(caller, workspace_id=workspace_id, note=note)) as new_rows:
        async for new in new_rows:
            found += new
            if enough(new):  # called for every page, also for the last one: it may read rows from it
                break
    return found


async def pages(
    caller: Caller, *, workspace_id: str, note: NoteUnknown, start: int = 1
) -> AsyncGenerator[Sequence[ListedJob], None]:
    """Read the job list of a workspace page by page; yields the new rows of each. Raises CloudError."""
    seen: set[str] = set()
    for page in range(start, _LAST_PAGE + 1):
        query = {"workspace_id": workspace_id, "per_page": str(PAGE_SIZE), "page": str(page)}
        answer = await caller.call(JOB_LIST, query=query)
        total = None if answer is None else count(answer.job_total_count, field="v1.job_total_count", note=note)
        raws = [] if answer is None else wire.listed(answer.jobs, total=total, operation=JOB_LIST.name)
        rows = list(wire.rows(raws, wire.JobRow, field="v1.jobs", note=note))
        new = [(raw, row) for raw, row in rows if parse_id(row.job_id) not in seen]
        seen.update(parse_id(row.job_id) for _, row in new)
        yield new
        before = (start - 1) * PAGE_SIZE  # rows of the pages before `start`, if these were full
        if not new or (len(raws) < PAGE_SIZE and (total is None or before + len(seen) >= total)):
            break


async def search_by_name(caller: Caller, *, workspace_id: str, name: str, note: NoteUnknown) -> list[ListedJob]:
    """Search the job list for a name: one page, which may also hold other jobs. Raises CloudError."""
    query = {
        "workspace_id": workspace_id,
        "per_page": str(PAGE_SIZE),
        "page": "1",
        "search_content": name[:_LONGEST_SEARCH],
    }
    answer = await caller.call(JOB_LIST, query=query)
    return list(wire.rows((answer and answer.jobs) or (), wire.JobRow, field="v1.jobs", note=note))


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """All versions of one job."""

    job_name: str
    records: Sequence[wire.VersionRecord]


async def versions(caller: Caller, *, job_id: str, note: NoteUnknown) -> Versions:
    """Read all versions of a job: one call without paging, then pages if rows are missing. Raises CloudError."""
    answer = await caller.call(VERSIONS, path={"job_id": job_id})
    if answer is None:
        return Versions(job_name="", records=())
    total = count(answer.version_count, field="v1.version_count", note=note)
    raws = wire.listed(answer.versions, total=total, operation=VERSIONS.name)
    total = total or 0
    found = {parse_id(record.version_id): record for record in _records(raws, note=note)}
    page = 0
    while len(raws) < total and page < _LAST_PAGE and len(found) < total:
        page += 1
        query = {"per_page": str(PAGE_SIZE), "page": str(page)}
        paged = await caller.call(VERSIONS, path={"job_id": job_id}, query=query)
        known = len(found)
        more = (paged and paged.versions) or []
        found |= {parse_id(record.version_id): record for record in _records(more, note=note)}
        if len(more) < PAGE_SIZE or (page > 1 and len(found) == known):
            break
    return Versions(job_name=text(answer.job_name), records=tuple(found.values()))


def _records(raws: Sequence[msgspec.Raw], *, note: NoteUnknown) -> list[wire.VersionRecord]:
    return [record for _, record in wire.rows(raws, wire.VersionRecord, field="v1.versions", note=note)]
