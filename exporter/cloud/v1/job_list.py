"""Reading the job list and the versions of a job whole: two calls, two rules of paging (API reference §1.1.2)."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from exporter.cloud.decode.values import count, text
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.v1 import wire
from exporter.cloud.v1.adapter import identity
from exporter.cloud.v1.endpoints import JOB_LIST, VERSIONS

PAGE_SIZE = 1000
"""The most that both calls take (trap 2)."""
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
    """Walk the job list of a workspace until a page brings nothing new, or `enough` says so of a page.

    The total is only a hint: it is believed when it says that a short page is not the last one, because a server may
    quietly give fewer rows a page than it was asked for. Raises CloudError.
    """
    found: list[ListedJob] = []
    async with aclosing(pages(caller, workspace_id=workspace_id, note=note)) as walk:
        async for new in walk:
            found += new
            if enough(new):  # asked of every page, the last one too: it may learn from what it is shown
                break
    return found


async def pages(
    caller: Caller, *, workspace_id: str, note: NoteUnknown, start: int = 1
) -> AsyncGenerator[Sequence[ListedJob], None]:
    """Walk the job list of a workspace, of each page what is new. Raises CloudError."""
    seen: set[str] = set()
    for page in range(start, _LAST_PAGE + 1):
        query = {"workspace_id": workspace_id, "per_page": str(PAGE_SIZE), "page": str(page)}
        answer = await caller.call(JOB_LIST, query=query)
        total = None if answer is None else count(answer.job_total_count, field="v1.job_total_count", note=note)
        raws = [] if answer is None else wire.listed(answer.jobs, total=total, operation=JOB_LIST.name)
        rows = list(wire.rows(raws, wire.JobRow, field="v1.jobs", note=note))
        new = [(raw, row) for raw, row in rows if identity(row.job_id) not in seen]
        seen.update(identity(row.job_id) for _, row in new)
        yield new
        before = (start - 1) * PAGE_SIZE  # pages that are not walked again, as far as they were full
        if not new or (len(raws) < PAGE_SIZE and (total is None or before + len(seen) >= total)):
            break


async def named(caller: Caller, *, workspace_id: str, name: str, note: NoteUnknown) -> list[ListedJob]:
    """Ask the job list for jobs with this in their name: one page, which may hold others too. Raises CloudError."""
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
    """Read all versions of a job: one call with its paging off; pages only if that was not all. Raises CloudError."""
    answer = await caller.call(VERSIONS, path={"job_id": job_id})
    if answer is None:
        return Versions(job_name="", records=())
    told = count(answer.version_count, field="v1.version_count", note=note)
    raws = wire.listed(answer.versions, total=told, operation=VERSIONS.name)
    total = told or 0
    found = {identity(record.version_id): record for record in _records(raws, note=note)}
    page = 0
    while len(raws) < total and page < _LAST_PAGE and len(found) < total:
        page += 1
        query = {"per_page": str(PAGE_SIZE), "page": str(page)}
        paged = await caller.call(VERSIONS, path={"job_id": job_id}, query=query)
        known = len(found)
        more = (paged and paged.versions) or []
        found |= {identity(record.version_id): record for record in _records(more, note=note)}
        if len(more) < PAGE_SIZE or (page > 1 and len(found) == known):
            break
    return Versions(job_name=text(answer.job_name), records=tuple(found.values()))


def _records(raws: Sequence[msgspec.Raw], *, note: NoteUnknown) -> list[wire.VersionRecord]:
    return [record for _, record in wire.rows(raws, wire.VersionRecord, field="v1.versions", note=note)]
