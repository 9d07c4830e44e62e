"""Walking a v2 listing, whose `offset` may count pages, count jobs, or be ignored (API reference §1.3, trap 1).

`Pager` is the pure rule: it says which offset to ask for next, and learns from each page what `offset` means.
Asking for offset 1 after offset 0 tells the readings apart:

- the next page has (almost) nothing in common with the first: PAGE. That is the page that was wanted anyway.
- it is the first page shifted by one: RECORD. Go on at 51, because the jobs 0 to 50 are known now.
- it is the first page again: RECORD if a job was submitted in between, else IGNORED. Offset 51 decides.

Guessing RECORD against a PAGE server would silently lose almost every job, guessing PAGE against a RECORD server is
merely slow. So nothing is guessed: every walk that needs a second page either makes the probe or, where RECORD is
remembered, asks for offset 49, one job of overlap, and probes when the overlap is missing.

A walk ends at a short page, or one without anything new; never by a count (trap 3).
"""

from collections import deque
from collections.abc import Hashable, Sequence
from enum import StrEnum
from typing import Self

from exporter.cloud.cached import Cached
from exporter.cloud.v2.endpoints import PAGE_SIZE
from exporter.domain.source import Clock

PAGE_CAP = 4000
"""Pages of one walk: 200 000 jobs, which is a list that never ends rather than a history."""

_SHIFTED = 0.8
"""Share of a page that must have been on the one before to tell a shifted page from the next one. Below it the page
is taken for the next: that is the mistake that only costs calls, and the following page corrects it."""

MODE_TTL_S = 3600.0
"""How long a reading is relied on; after that the next walk probes again."""


class Mode(StrEnum):
    """What `offset` means to a server."""

    UNSURE = "unsure"
    PAGE = "page"
    RECORD = "record"
    IGNORED = "ignored"


class _Step(StrEnum):
    FIRST = "first"
    PROBE = "probe"
    DECIDE = "decide"
    CHECK = "check"
    WALK = "walk"


class Pager:
    """One walk. Ask for `offset`, feed what came, until `offset` is None.

    `truncated` says that the listing goes on, but cannot be followed. `horizon`: so many pages, and the first one,
    are remembered to tell what is new, so that a walk over a long history needs little memory; None: all of them.
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
        """Whether this walk found the mode out itself."""
        self.doubted = False
        """Whether the mode it was given did not fit what came."""
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
        """Go on with a walk that was broken off, at an offset it had reached by then, in a mode it had found out."""
        pager = cls(mode, horizon=horizon)
        pager._step = _Step.WALK
        pager.offset = offset
        return pager

    def feed(self, keys: Sequence[Hashable]) -> None:
        """Take in the page at `offset`: a key for each row, bad rows included."""
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
                self._seen -= fresh  # a page from anywhere in the list must not end the walk when it is reached
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
            self._go(None if short else _Step.WALK, 2)
        elif not page:
            self.offset = None  # exactly one page; PAGE if nothing was deleted meanwhile, but that is no evidence
            self.probed = False
        elif fresh or short:
            self.mode = Mode.RECORD
            self._go(None if short else _Step.WALK, self._limit + 1)
        else:
            self._go(_Step.DECIDE, self._limit + 1)

    def _after_decision(self, page: frozenset[Hashable], *, rows: int, short: bool) -> None:
        if len(page & self._first) * 2 >= self._limit:
            self.mode = Mode.IGNORED
            self._give_up(rows)
            return
        self.mode = Mode.RECORD
        self._go(None if short else _Step.WALK, 2 * self._limit + 1)

    def _after_page(self, page: frozenset[Hashable], *, fresh: int, short: bool) -> None:
        offset = self.offset or 0
        if short or not fresh:
            self.offset = None
            return
        if self.mode is Mode.PAGE and len(page & self._last) >= _SHIFTED * self._limit:
            self.mode = Mode.RECORD  # so many jobs came or went around the probe that it misled
        self._go(_Step.WALK, offset + (1 if self.mode is Mode.PAGE else self._limit))

    def _give_up(self, rows: int) -> None:
        self.offset = None
        self.truncated = rows <= self._limit  # more rows than asked for: the limit is ignored too, and all are here

    def _go(self, step: _Step | None, offset: int) -> None:
        if step is None:
            self.offset = None
            return
        self._step = step
        self.offset = offset


class ModeCache:
    """What `offset` means to one server, as its last listings found out."""

    def __init__(self, clock: Clock) -> None:
        self._mode: Cached[Mode] = Cached(clock, ttl_s=MODE_TTL_S)

    def get(self) -> Mode:
        """Return the mode to start a listing with."""
        return self._mode.get() or Mode.UNSURE

    def learn(self, pager: Pager) -> None:
        """Store the mode that a listing found out; one that used the stored mode does not extend its time."""
        if pager.probed or pager.doubted:
            self._mode.set(pager.mode)
