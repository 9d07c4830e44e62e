"""The listings of one workspace: active jobs, newest jobs, and the whole history."""

import hashlib
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from exporter.cloud.cached import REFUSED_TTL_S, Cached, is_refusal
from exporter.cloud.concurrency import OutOfTime
from exporter.cloud.decode.times import possible
from exporter.cloud.http.endpoint import Caller, NoteUnknown
from exporter.cloud.http.errors import Denied, InvalidResponse, Refused, Unsupported
from exporter.cloud.v2 import adapter
from exporter.cloud.v2.endpoints import ACTIVE_PHASES, PAGE_SIZE, PHASES, SEARCH, search_body
from exporter.cloud.v2.paging import Mode, ModeCache, Pager
from exporter.cloud.v2.wire import JobPage
from exporter.domain.job import Job
from exporter.domain.source import Clock, SourceError, TrackedState

_TAIL = 10
"""Rows at the end of a newest-first page that decide whether the next page can have new jobs. Not the whole page: a
new job further up proves nothing, but all jobs below known jobs are older than these."""

_UNFILTERED_PAGES = 20
_UNFILTERED_PAGES_BOOTSTRAPPING = 100
"""Pages read for active jobs when the server ignores the filter. At the first poll every active job has to be found
among the ended ones; later, active jobs further down are known and requested one by one."""


_REFUSED_EITHER_WAY_S = 300.0
"""How long a search is sent once only, after it was refused both with `unified_jobs` and without."""

_HORIZON = 20
"""Pages remembered in a listing of any length: a server that repeats rows repeats recent ones."""


@dataclass(frozen=True, slots=True)
class _Row:
    key: Hashable
    job: Job | None


Page = Sequence[_Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Position in a history: the page at `offset` was read, and held these jobs."""

    offset: int
    mode: Mode
    job_ids: tuple[str, ...]


@dataclass(slots=True)
class ListingResult:
    """The jobs of one listing, and why it is not complete."""

    jobs: dict[str, Job] = field(default_factory=dict)
    pages: int = 0
    failure: SourceError | None = None
    """The error of the call that ended the listing."""
    truncated: bool = False
    """There are more jobs, but no request returns them."""
    unfiltered: bool = False
    """The filter was ignored: these are the newest jobs of any phase."""

    @property
    def failures(self) -> tuple[SourceError, ...]:
        """Every reason why the listing is not complete."""
        if self.failure is not None:
            return (self.failure,)
        if self.truncated:
            # Not Refused: the request succeeded, but the response ignores a parameter.
            return (InvalidResponse(SEARCH.name, "the server ignores offset, so not every job can be listed"),)
        return ()


class Lister:
    """Searches for the jobs of a project. The detected meaning of `offset` is used by all listings for an hour.

    `on_unified_jobs` is called with whether fine-tuning jobs can be listed, after each search that shows it.
    """

    def __init__(
        self,
        caller: Caller,
        *,
        clock: Clock,
        note: NoteUnknown,
        on_unified_jobs: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._caller = caller
        self._clock = clock
        self._note = note
        self._mode = ModeCache(clock)
        self._unified = Cached[bool](clock, ttl_s=REFUSED_TTL_S)
        self._refused_either_way = Cached[bool](clock, ttl_s=_REFUSED_EITHER_WAY_S)
        """A search was refused without the key too, so the key is not the cause."""
        self._on_unified_jobs = on_unified_jobs

    async def active(self, workspace_id: str, known: TrackedState) -> ListingResult:
        """List every job in an active phase by a filter on the phase."""
        rule = _ActiveRule(workspace_id, known)
        listing = await self._list(workspace_id, phases=ACTIVE_PHASES, enough=rule, answer_by=known.answer_by)
        if rule.unfiltered:
            self._note("v2.filters", "ignored")
            listing.unfiltered = True
        elif listing.truncated:
            await self._list_by_phase(listing, workspace_id, phases=ACTIVE_PHASES, answer_by=known.answer_by)
        return listing

    async def newest(self, workspace_id: str, known: TrackedState) -> ListingResult:
        """List the newest jobs of any phase, down to a page that ends in known jobs."""

        def enough(page: Page) -> bool:
            return known.bootstrapping or not _ends_in_new_jobs(page, known)

        return await self._list(workspace_id, enough=enough, answer_by=known.answer_by)

    async def history(self, workspace_id: str, known: TrackedState) -> ListingResult:
        """List everything, newest first, down to a page on which every job is older than `known.oldest_at`."""

        def enough(page: Page) -> bool:
            return known.oldest_at is not None and _is_older(page, known.oldest_at)

        listing = await self._list(workspace_id, enough=enough, answer_by=known.answer_by)
        if listing.truncated:
            await self._list_by_phase(listing, workspace_id, phases=PHASES, answer_by=known.answer_by)
        return listing

    async def history_pages(
        self, workspace_id: str, *, back_to: float, cursor: Cursor | None = None
    ) -> AsyncIterator[tuple[Sequence[Job], Cursor]]:
        """List everything page by page, newest first, down to a page on which every job is older than `back_to`.

        With a `cursor`, its page is requested again first. If none of its jobs is on that page, many jobs were
        deleted and the listing starts again. Raises SourceError, and InvalidResponse when `offset` has no effect.
        """
        pager = Pager(self._mode.get(), horizon=_HORIZON)
        if cursor is not None and cursor.mode in {Mode.PAGE, Mode.RECORD}:
            pager = Pager.resumed(cursor.mode, offset=cursor.offset, horizon=_HORIZON)
        while (offset := pager.offset) is not None:
            listing = ListingResult()
            page = await self._page(listing, workspace_id, offset=offset, answer_by=None)
            if page is None:
                raise listing.failure or OutOfTime(SEARCH.name)
            jobs = tuple(listing.jobs.values())
            if cursor is not None and not listing.jobs.keys() & set(cursor.job_ids):
                pager = Pager(self._mode.get(), horizon=_HORIZON)
                cursor = None
                continue
            cursor = None
            pager.feed([row.key for row in page])
            yield jobs, Cursor(offset=offset, mode=pager.mode, job_ids=tuple(listing.jobs))
            if _is_older(page, back_to):
                break
        if pager.truncated:
            raise ListingResult(truncated=True).failures[0]
        self._mode.learn(pager)

    async def _list(
        self,
        workspace_id: str,
        *,
        phases: Sequence[str] = (),
        enough: Callable[[Page], bool],
        answer_by: float | None,
    ) -> ListingResult:
        listing = ListingResult()
        pager = Pager(self._mode.get())
        while (offset := pager.offset) is not None:
            page = await self._page(listing, workspace_id, offset=offset, phases=phases, answer_by=answer_by)
            if page is None or enough(page):
                break
            pager.feed([row.key for row in page])
        else:
            listing.truncated = pager.truncated
        self._mode.learn(pager)
        return listing

    async def _list_by_phase(
        self, listing: ListingResult, workspace_id: str, *, phases: Sequence[str], answer_by: float | None
    ) -> None:
        """List as many jobs as possible without an offset: for each phase the newest and the oldest ones."""
        listing.truncated = False
        for phase in phases:
            newest: frozenset[Hashable] = frozenset()
            for order in ("desc", "asc"):
                page = await self._page(listing, workspace_id, phases=(phase,), order=order, answer_by=answer_by)
                if page is None:
                    return
                if len(page) < PAGE_SIZE:
                    break
                ends = frozenset(row.key for row in page)
                if order == "asc" and not ends & newest:
                    listing.truncated = True
                newest = ends

    async def _page(
        self,
        listing: ListingResult,
        workspace_id: str,
        *,
        offset: int = 0,
        phases: Sequence[str] = (),
        order: str = "desc",
        answer_by: float | None,
    ) -> Page | None:
        """Request one page and add it to a listing; None when it failed, which is set as the listing's failure."""
        if answer_by is not None and self._clock.monotonic() >= answer_by:
            listing.failure = OutOfTime(SEARCH.name)
            return None
        body = search_body(workspace_id=workspace_id, offset=offset, phases=phases, order=order)
        try:
            answer = await self._search(body)
        except SourceError as error:
            listing.failure = error
            return None
        rows = [self._row(raw, workspace_id) for raw in (answer and answer.items) or ()]
        listing.pages += 1
        listing.jobs.update((row.job.job_id, row.job) for row in rows if row.job is not None)
        return rows

    async def _search(self, body: Mapping[str, object]) -> JobPage | None:
        """Search for custom and fine-tuning jobs together.

        A refusal that vanishes without `unified_jobs` is one of this key: it is then left out for an hour. A refusal
        of permission is tried without the key only while the key has not been accepted before.
        """
        if self._unified.get() is False:
            return await self._caller.call(SEARCH, body=_without_unified(body))
        try:
            answer = await self._caller.call(SEARCH, body=body)
        except SourceError as refusal:
            if not self._may_refuse_unified(refusal):
                raise
            try:
                answer = await self._caller.call(SEARCH, body=_without_unified(body))
            except SourceError:
                self._refused_either_way.set(value=True)
                raise refusal from None
            self._set_unified(supported=False)
            return answer
        self._set_unified(supported=True)
        return answer

    def _may_refuse_unified(self, error: SourceError) -> bool:
        if self._refused_either_way.get():
            return False
        if isinstance(error, Refused):
            return not isinstance(error, Unsupported)
        if self._unified.get() or not isinstance(error, Denied) or not error.code:  # no code: from a proxy
            return False
        return is_refusal(error, operation=SEARCH.name)

    def _set_unified(self, *, supported: bool) -> None:
        self._refused_either_way.clear()
        self._unified.set(supported)
        self._on_unified_jobs(supported)

    def _row(self, raw: msgspec.Raw, workspace_id: str) -> _Row:
        job = adapter.job(raw, workspace_id=workspace_id, note=self._note)
        if job is not None:
            return _Row(job.job_id, possible(job, now=self._clock.time(), note=self._note))
        return _Row(hashlib.sha256(raw).digest(), None)  # a bad row also counts as a row of the page


class _ActiveRule:
    """Decides when to stop listing active jobs: never, unless the server ignores the filter.

    A full page on which more than a quarter of the jobs has ended was not filtered; a few may end while the cloud
    answers. The listing then holds the newest jobs of any phase, and continues only while it can find new or wanted
    ones.
    """

    def __init__(self, workspace_id: str, known: TrackedState) -> None:
        self.unfiltered = False
        self._known = known
        self._wanted = {
            job.job_id: job for job in known.unfinished.values() if job.workspace_id in ("", workspace_id)
        }
        self._pages = 0

    def __call__(self, page: Page) -> bool:
        self._pages += 1
        for row in page:
            if row.job is not None:
                self._wanted.pop(row.job.job_id, None)
        ended = sum(1 for row in page if row.job is not None and row.job.status.finished)
        self.unfiltered = self.unfiltered or (len(page) >= PAGE_SIZE and ended * 4 > len(page))
        return self.unfiltered and self._is_enough(page)

    def _is_enough(self, page: Page) -> bool:
        if self._known.bootstrapping:
            return self._pages >= _UNFILTERED_PAGES_BOOTSTRAPPING
        if self._pages >= _UNFILTERED_PAGES:
            return True
        if _ends_in_new_jobs(page, self._known):
            return False
        times = [job.submitted_at for job in self._wanted.values()]
        oldest_at = min((at for at in times if at is not None), default=None)
        return oldest_at is None or _is_older(page, oldest_at)


def _without_unified(body: Mapping[str, object]) -> Mapping[str, object]:
    return {key: value for key, value in body.items() if key != "unified_jobs"}


def _ends_in_new_jobs(page: Page, known: TrackedState) -> bool:
    return any(row.job is not None and known.is_new(row.job) for row in page[-_TAIL:])


def _is_older(page: Page, at: float) -> bool:
    """Whether every job of a page with a submission time was submitted before `at`; False when none has one."""
    times = [row.job.submitted_at for row in page if row.job is not None and row.job.submitted_at is not None]
    return bool(times) and max(times) < at
