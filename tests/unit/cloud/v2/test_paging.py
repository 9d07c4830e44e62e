"""Paging under every meaning of `offset`, with a model of the server."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.v2.paging import MODE_TTL_S, Mode, ModeCache, Pager
from tests.clock import ManualClock

Rows = list[int]


def served(rows: Rows, offset: int, *, reading: str, limit: int = 50) -> Rows:
    """The page that a server with this meaning of `offset` returns."""
    begin = {"page": offset * limit, "record": offset, "ignored": 0}[reading]
    return rows[begin : begin + limit]


def read_all(
    rows: Rows,
    *,
    reading: str,
    mode: Mode = Mode.UNSURE,
    meanwhile: Callable[[Rows], Rows] = lambda rows: rows,
    cap: int = 500,
) -> tuple[set[int], Pager, list[int]]:
    """Read to the end, changing the rows between requests by `meanwhile`; return rows, pager and offsets."""
    pager = Pager(mode, cap=cap)
    seen: set[int] = set()
    offsets: list[int] = []
    while (offset := pager.offset) is not None:
        page = served(rows, offset, reading=reading)
        offsets.append(offset)
        seen.update(page)
        pager.feed(page)
        rows = meanwhile(rows)
    return seen, pager, offsets


@pytest.mark.parametrize("mode", [Mode.UNSURE, Mode.PAGE, Mode.RECORD])
@pytest.mark.parametrize("reading", ["page", "record"])
@pytest.mark.parametrize("total", [0, 1, 49, 50, 51, 99, 100, 101, 120, 149, 150, 151, 1000, 5059])
def test_every_row_is_read_under_both_meanings(total: int, reading: str, mode: Mode) -> None:
    """Trap 1: whatever offset counts and whatever is cached, all rows are read and none is reported missing."""
    seen, pager, _ = read_all(list(range(total)), reading=reading, mode=mode)

    assert seen == set(range(total))
    assert not pager.truncated


@pytest.mark.parametrize(
    "total,reading,mode,offsets",
    [
        pytest.param(0, "page", Mode.UNSURE, [0], id="empty"),
        pytest.param(49, "page", Mode.UNSURE, [0], id="short-first-page"),
        pytest.param(50, "page", Mode.UNSURE, [0, 1], id="exactly-one-page"),
        pytest.param(50, "record", Mode.UNSURE, [0, 1], id="exactly-one-page-by-record"),
        pytest.param(120, "page", Mode.UNSURE, [0, 1, 2], id="the-probe-is-the-second-page"),
        pytest.param(120, "page", Mode.PAGE, [0, 1, 2], id="remembered-page"),
        pytest.param(120, "record", Mode.UNSURE, [0, 1, 51, 101], id="the-probe-costs-one-by-record"),
        pytest.param(120, "record", Mode.RECORD, [0, 49, 99], id="remembered-record"),
        pytest.param(120, "ignored", Mode.UNSURE, [0, 1, 51], id="ignored"),
        pytest.param(120, "ignored", Mode.IGNORED, [0], id="remembered-ignored"),
        pytest.param(120, "page", Mode.RECORD, [0, 49, 1, 2], id="remembered-record-was-wrong"),
    ],
)
def test_the_requested_offsets(total: int, reading: str, mode: Mode, offsets: list[int]) -> None:
    """The offsets, and so the number of calls, of each kind of listing."""
    assert read_all(list(range(total)), reading=reading, mode=mode)[2] == offsets


@pytest.mark.parametrize("reading", ["page", "record"])
@pytest.mark.parametrize("mode", [Mode.UNSURE, Mode.PAGE])
def test_the_calls_of_a_listing_are_bounded(reading: str, mode: Mode) -> None:
    """A listing of n rows takes at most ⌈n/50⌉ + 1 requests, including the probe."""
    for total in range(0, 420, 7):
        offsets = read_all(list(range(total)), reading=reading, mode=mode)[2]

        assert len(offsets) <= -(-total // 50) + 1


def test_the_calls_with_a_cached_record_mode_are_bounded() -> None:
    """With RECORD cached, one row of overlap replaces the probe: at most ⌈n/50⌉ + 1 requests."""
    for total in range(0, 420, 7):
        offsets = read_all(list(range(total)), reading="record", mode=Mode.RECORD)[2]

        assert len(offsets) <= -(-total // 50) + 1


@pytest.mark.parametrize("reading,mode", [("page", Mode.PAGE), ("record", Mode.RECORD), ("ignored", Mode.IGNORED)])
def test_the_mode_is_detected(reading: str, mode: Mode) -> None:
    """Trap 1: the probe of reference §1.3 distinguishes the three meanings."""
    pager = read_all(list(range(120)), reading=reading)[1]

    assert (pager.mode, pager.probed) == (mode, True)


def test_an_ignored_offset_is_reported_as_truncation() -> None:
    """The same 50 rows at offsets 0, 1 and 51: the rest is not readable, and the listing is truncated."""
    seen, pager, _ = read_all(list(range(120)), reading="ignored")

    assert seen == set(range(50))
    assert pager.truncated


def test_an_ignored_limit_returns_everything_at_once() -> None:
    """A server that ignores offset and limit returns all rows on the first page: nothing is missing."""
    for mode in (Mode.UNSURE, Mode.IGNORED):
        pager = Pager(mode)
        while pager.offset is not None:
            pager.feed(list(range(120)))

        assert not pager.truncated


def test_one_page_does_not_show_the_mode() -> None:
    """After a single page, short or exactly full, the mode is unknown and not probed."""
    for total in (3, 50):
        pager = read_all(list(range(total)), reading="page")[1]

        assert (pager.mode, pager.probed) == (Mode.UNSURE, False)


def test_a_job_submitted_before_the_probe_hides_the_shift() -> None:
    """By record, one new row makes offset 1 the first page again: not IGNORED, because offset 51 has new rows."""
    newer = iter(range(-1, -1000, -1))
    once = iter([True])

    def submit(rows: Rows) -> Rows:
        return [next(newer), *rows] if next(once, False) else rows

    seen, pager, _ = read_all(list(range(120)), reading="record", meanwhile=submit)

    assert set(range(120)) <= seen
    assert pager.mode is Mode.RECORD


def test_many_changes_around_the_probe_only_cost_calls() -> None:
    """By record, 30 deletions before the probe look like PAGE; the overlap of later pages corrects it."""
    once = iter([True])

    def delete(rows: Rows) -> Rows:
        return rows[30:] if next(once, False) else rows

    seen, pager, offsets = read_all(list(range(300)), reading="record", meanwhile=delete)

    assert set(range(30, 300)) <= seen
    assert pager.mode is Mode.RECORD
    assert len(offsets) < 12


def test_a_batch_submitted_around_the_probe_loses_no_row() -> None:
    """By page, 30 jobs submitted before the probe put 30 known ones on the next page: it is still the next page."""
    once = iter([True])

    def submit(rows: Rows) -> Rows:
        return [*range(-30, 0), *rows] if next(once, False) else rows

    seen, pager, _ = read_all(list(range(400)), reading="page", meanwhile=submit)

    assert set(range(400)) <= seen
    assert pager.mode is Mode.PAGE


@pytest.mark.parametrize("reading", ["page", "record"])
def test_jobs_submitted_between_pages_hide_no_row(reading: str) -> None:
    """New rows move old ones down: some are read twice, none is missed."""
    newer = iter(range(-1, -100_000, -1))

    seen = read_all(list(range(400)), reading=reading, meanwhile=lambda rows: [next(newer), *rows])[0]

    assert set(range(400)) <= seen


def test_a_deletion_under_a_cached_record_mode_costs_a_probe() -> None:
    """A deleted row removes the overlap that proves RECORD; the listing probes again and reads everything."""
    once = iter([True])

    seen, pager, offsets = read_all(
        list(range(200)), reading="record", mode=Mode.RECORD, meanwhile=lambda r: r[1:] if next(once, False) else r
    )

    assert set(range(200)) <= seen
    assert offsets[:3] == [0, 49, 1]
    assert pager.doubted


def test_a_server_that_repeats_its_last_page_ends_the_listing() -> None:
    """Trap 3: a full page without new rows is the end, whatever a count is."""
    pager = Pager()
    requests_to = 0
    while (offset := pager.offset) is not None:
        begin = min(offset, 2) * 50
        pager.feed(list(range(begin, begin + 50)))
        requests_to += 1

    assert requests_to == 4  # pages 0, 1, 2, and 2 again
    assert not pager.truncated


def test_an_endless_list_is_truncated() -> None:
    """With new rows on every page, the listing stops at its maximum of pages and reports truncation."""
    _, pager, offsets = read_all(list(range(10_000)), reading="page", cap=7)

    assert len(offsets) == 7
    assert pager.truncated


@settings(max_examples=60)
@given(
    total=st.integers(min_value=0, max_value=400),
    reading=st.sampled_from(["page", "record", "ignored"]),
    mode=st.sampled_from(Mode),
)
def test_a_listing_is_complete_or_truncated(total: int, reading: str, mode: Mode) -> None:
    """Whatever is cached and whatever the server does, a listing ends, and is complete or reported as truncated."""
    seen, pager, offsets = read_all(list(range(total)), reading=reading, mode=mode)

    assert seen == set(range(total)) or pager.truncated
    assert len(offsets) <= -(-total // 50) + 5
    assert all(one != other for one, other in pairwise(offsets))


def test_the_mode_is_cached_for_an_hour(clock: ManualClock) -> None:
    """The mode expires an hour after the probe; listings that only used it do not extend that."""
    modes = ModeCache(clock)
    assert modes.get() is Mode.UNSURE

    modes.learn(read_all(list(range(120)), reading="record")[1])
    clock.turn(MODE_TTL_S - 1)
    assert modes.get() is Mode.RECORD
    modes.learn(read_all(list(range(120)), reading="record", mode=Mode.RECORD)[1])
    clock.turn(1)

    assert modes.get() is Mode.UNSURE


def test_a_single_page_keeps_the_cached_mode(clock: ManualClock) -> None:
    """A short listing does not detect the mode and does not change the cache."""
    modes = ModeCache(clock)
    modes.learn(read_all(list(range(120)), reading="record")[1])

    modes.learn(read_all(list(range(5)), reading="record", mode=modes.get())[1])

    assert modes.get() is Mode.RECORD


def test_a_changed_mode_replaces_the_cached_one(clock: ManualClock) -> None:
    """A server that counted records and now counts pages is detected at once, not after the hour."""
    modes = ModeCache(clock)
    modes.learn(read_all(list(range(120)), reading="record")[1])

    seen, pager, _ = read_all(list(range(5000)), reading="page", mode=modes.get())
    modes.learn(pager)

    assert seen == set(range(5000))
    assert modes.get() is Mode.PAGE
