"""Paging through a v2 listing, whose `offset` may count pages or jobs, or be ignored (API reference §1.3, trap 1).

`Pager` is pure: it returns the next offset to request, and detects from each page what `offset` means. Offset 1
requested after offset 0 shows it:

- the page has (almost) nothing in common with the first one: PAGE. It is the second page.
- it is the first page shifted by one: RECORD. The next offset is 51, because the jobs 0 to 50 are known.
- it is the first page again: RECORD if a job was submitted in between, else IGNORED. Offset 51 decides.

With RECORD assumed, a PAGE server would silently lose almost every job; with PAGE assumed, a RECORD server is only
slow. Neither is assumed: every listing that needs a second page sends the probe. Where RECORD is cached, it requests
offset 49, one job of overlap, and sends the probe if the overlap is missing.

A listing ends at a short page or at one without new rows, and not by a count (trap 3).
"""

from collections import deque
from collections.abc import Hashable, Sequence
from enum import StrEnum
from typing import Self

from exporter.cloud.cached import Cached
from exporter.cloud.v2.endpoints import PAGE_SIZE
from exporter.domain.source import Clock

PAGE_CAP = 4000
"""Maximum number of pages of one listing, 200 000 jobs: a longer one is taken for endless."""

_SHIFTED = 0.8
"""Share of rows in common with the first page from which a page is a shifted one; below it, it is the next one. A
page wrongly taken for the next one only costs calls, and the page after it corrects that."""

MODE_TTL_S = 3600.0
"""How long a detected mode is used before the next listing probes again."""


class Mode(StrEnum):
    """Meaning of `offset` on a server."""

    UNSURE = "unsure"
    PAGE = "page"
    RECORD = "record"
    IGNORED = "ignored"


class _Step(StrEnum):
    FIRST = "first"
    PROBE = "probe"
    DECIDE = "decide"
    CHECK = "check"
    NEXT = "next"


class Pager:
    """One listing. Request `offset`, pass the page to `feed`, and repeat until `offset` is None.

    `truncated`: there are more rows, but no offset returns them. `horizon`: number of recent pages, beside the first
    one, that are remembered to detect new rows, so that a long history needs little memory; None: all pages.
    """

    def __init__(
        self,
        mode: Mode = Mode.UNSURE,
        *,
        limit: int = PAGE_SIZE,
        cap: int = PAGE_CAP,
        horizon: int | None = None,
    ) -> None:
        self.mode = mode
        self.offset: int | None = 0
        self.truncated = False
        self.probed = False
        """Whether this listing detected the mode itself."""
        self.doubted = False
        """Whether a page contradicted the given mode."""
        self._limit = limit
        self._cap = cap
        self._step = _Step.FIRST
        self._pages = 0
        self._seen: set[Hashable] = set()
        self._first: frozenset[Hashable] = frozenset()
        self._last: frozenset[Hashable] = frozenset()
        self._recent: deque[frozenset[Hashable]] | None = None if horizon is None else deque(maxlen=horizon)

    @classmethod
    def resumed(cls, mode: Mode, *, offset: int, horizon: int | None = None) -> Self:
        """Continue an interrupted listing at an offset, in the mode that it had detected."""
        pager = cls(mode, horizon=horizon)
        pager._step = _Step.NEXT
        pager.offset = offset
        return pager

    def feed(self, keys: Sequence[Hashable]) -> None:
        """Process the page at `offset`: one key per row, also for bad rows."""
        page = frozenset(keys)
        fresh = page - self._seen
        self._seen |= page
        self._pages += 1
        short = len(keys) < self._limit
        match self._step:
            case _Step.FIRST:
                self._first = page
                self._after_first(rows=len(keys), short=short)
            case _Step.PROBE:
                self._after_probe(page, fresh=len(fresh), short=short)
            case _Step.DECIDE:
                self._after_decision(page, rows=len(keys), short=short)
            case _Step.CHECK if not 0 < len(page & self._first) * 2 < self._limit:
                self.mode = Mode.UNSURE
                self.doubted = True
                self._seen -= (
                    fresh  # a page from anywhere in the list must not end the listing when it is reached later
                )
                self._go(_Step.PROBE, 1)
            case _:
                self._after_page(page, fresh=len(fresh), short=short)
        self._last = page
        if self._recent is not None:
            self._recent.append(page)
            self._seen = set(self._first).union(*self._recent)
        if self.offset is not None and self._pages >= self._cap:
            self.offset = None
            self.truncated = True

    def _after_first(self, *, rows: int, short: bool) -> None:
        if short:
            self.offset = None
        elif self.mode is Mode.IGNORED:
            self._give_up(rows)
        elif self.mode is Mode.RECORD:
            self._go(_Step.CHECK, self._limit - 1)
        else:
            self._go(_Step.PROBE, 1)

    def _after_probe(self, page: frozenset[Hashable], *, fresh: int, short: bool) -> None:
        self.probed = True
        common = len(page & self._first)
        if common < _SHIFTED * self._limit and common < len(page):
            self.mode = Mode.PAGE
            self._go(None if short else _Step.NEXT, 2)
        elif not page:
            self.offset = None  # exactly one page; on a PAGE server, or a RECORD server after a deletion: no proof
            self.probed = False
        elif fresh or short:
            self.mode = Mode.RECORD
            self._go(None if short else _Step.NEXT, self._limit + 1)
        else:
            self._go(_Step.DECIDE, self._limit + 1)

    def _after_decision(self, page: frozenset[Hashable], *, rows: int, short: bool) -> None:
        if len(page & self._first) * 2 >= self._limit:
            self.mode = Mode.IGNORED
            self._give_up(rows)
            return
        self.mode = Mode.RECORD
        self._go(None if short else _Step.NEXT, 2 * self._limit + 1)

    def _after_page(self, page: frozenset[Hashable], *, fresh: int, short: bool) -> None:
        offset = self.offset or 0
        if short or not fresh:
            self.offset = None
            return
        if self.mode is Mode.PAGE and len(page & self._last) >= _SHIFTED * self._limit:
            self.mode = Mode.RECORD  # so many jobs were added or deleted around the probe that its result was wrong
        self._go(_Step.NEXT, offset + (1 if self.mode is Mode.PAGE else self._limit))

    def _give_up(self, rows: int) -> None:
        self.offset = None
        self.truncated = (
            rows <= self._limit
        )  # more rows than requested: the limit is ignored too, and this is every row

    def _go(self, step: _Step | None, offset: int) -> None:
        if step is None:
            self.offset = None
            return
        self._step = step
        self.offset = offset


class ModeCache:
    """Meaning of `offset` on one server, as the last listings detected it."""

    def __init__(self, clock: Clock) -> None:
        self._mode: Cached[Mode] = Cached(clock, ttl_s=MODE_TTL_S)

    def get(self) -> Mode:
        """Return the mode to start a listing with."""
        return self._mode.get() or Mode.UNSURE

    def learn(self, pager: Pager) -> None:
        """Store the mode that a listing found out; one that used the stored mode does not extend its time."""
        if pager.probed or pager.doubted:
            self._mode.set(pager.mode)
