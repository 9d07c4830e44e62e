"""Walking a listing under every reading of `offset`, with a server model in place of the cloud."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cloud.v2.paging import MODE_TTL_S, Mode, ModeCache, Pager
from tests.clock import ManualClock

Rows = list[int]


def served(rows: Rows, offset: int, *, reading: str, limit: int = 50) -> Rows:
    """The page a server of that reading gives."""
    begin = {"page": offset * limit, "record": offset, "ignored": 0}[reading]
    return rows[begin : begin + limit]


def walk(
    rows: Rows,
    *,
    reading: str,
    mode: Mode = Mode.UNSURE,
    meanwhile: Callable[[Rows], Rows] = lambda rows: rows,
    cap: int = 500,
) -> tuple[set[int], Pager, list[int]]:
    """Walk to the end, changing the rows between requests by `meanwhile`; return rows, pager and offsets."""
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
def test_everything_is_seen_under_both_readings(total: int, reading: str, mode: Mode) -> None:
    """Trap 1: whatever offset counts and whatever was remembered, all rows are seen, none is claimed missing."""
    seen, pager, _ = walk(list(range(total)), reading=reading, mode=mode)

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
def test_what_is_asked(total: int, reading: str, mode: Mode, offsets: list[int]) -> None:
    """The offsets, and so the number of calls, of each way through a listing."""
    assert walk(list(range(total)), reading=reading, mode=mode)[2] == offsets


@pytest.mark.parametrize("reading", ["page", "record"])
@pytest.mark.parametrize("mode", [Mode.UNSURE, Mode.PAGE])
def test_the_calls_of_a_walk_are_bounded(reading: str, mode: Mode) -> None:
    """A walk over n rows takes at most ⌈n/50⌉ + 1 requests, probe included."""
    for total in range(0, 420, 7):
        offsets = walk(list(range(total)), reading=reading, mode=mode)[2]

        assert len(offsets) <= -(-total // 50) + 1


def test_the_calls_of_a_remembered_record_walk_are_bounded() -> None:
    """Remembering RECORD saves the probe and keeps one row of overlap as evidence: ⌈n/50⌉ + 1 at most."""
    for total in range(0, 420, 7):
        offsets = walk(list(range(total)), reading="record", mode=Mode.RECORD)[2]

        assert len(offsets) <= -(-total // 50) + 1


@pytest.mark.parametrize("reading,mode", [("page", Mode.PAGE), ("record", Mode.RECORD), ("ignored", Mode.IGNORED)])
def test_the_reading_is_found_out(reading: str, mode: Mode) -> None:
    """Trap 1: the probe of reference §1.3 tells the three readings apart."""
    pager = walk(list(range(120)), reading=reading)[1]

    assert (pager.mode, pager.probed) == (mode, True)


def test_an_ignored_offset_is_reported_as_truncation() -> None:
    """The same 50 rows at offsets 0, 1 and 51: the rest cannot be reached, and that is said."""
    seen, pager, _ = walk(list(range(120)), reading="ignored")

    assert seen == set(range(50))
    assert pager.truncated


def test_an_ignored_limit_brings_everything_at_once() -> None:
    """A server that ignores offset and limit alike sends all rows on the first page: nothing is missing."""
    for mode in (Mode.UNSURE, Mode.IGNORED):
        pager = Pager(mode)
        while pager.offset is not None:
            pager.feed(list(range(120)))

        assert not pager.truncated


def test_one_page_says_nothing_about_offsets() -> None:
    """A single page, short or exactly full, teaches nothing: the mode stays unsure and unprobed."""
    for total in (3, 50):
        pager = walk(list(range(total)), reading="page")[1]

        assert (pager.mode, pager.probed) == (Mode.UNSURE, False)


def test_a_job_submitted_before_the_probe_hides_the_shift() -> None:
    """By record, one new row makes offset 1 the first page again: not IGNORED, because offset 51 goes on."""
    newer = iter(range(-1, -1000, -1))
    once = iter([True])

    def submit(rows: Rows) -> Rows:
        return [next(newer), *rows] if next(once, False) else rows

    seen, pager, _ = walk(list(range(120)), reading="record", meanwhile=submit)

    assert set(range(120)) <= seen
    assert pager.mode is Mode.RECORD


def test_many_jobs_around_the_probe_can_only_slow_it_down() -> None:
    """By record, 30 deletions before the probe make it look like PAGE; the overlap of later pages puts that right."""
    once = iter([True])

    def delete(rows: Rows) -> Rows:
        return rows[30:] if next(once, False) else rows

    seen, pager, offsets = walk(list(range(300)), reading="record", meanwhile=delete)

    assert set(range(30, 300)) <= seen
    assert pager.mode is Mode.RECORD
    assert len(offsets) < 12


def test_a_batch_submitted_around_the_probe_loses_nothing() -> None:
    """By page, 30 jobs submitted before the probe put 30 known ones on the next page: it is still the next page."""
    once = iter([True])

    def submit(rows: Rows) -> Rows:
        return [*range(-30, 0), *rows] if next(once, False) else rows

    seen, pager, _ = walk(list(range(400)), reading="page", meanwhile=submit)

    assert set(range(400)) <= seen
    assert pager.mode is Mode.PAGE


@pytest.mark.parametrize("reading", ["page", "record"])
def test_jobs_submitted_between_pages_hide_none(reading: str) -> None:
    """New rows push old ones down: some are seen twice, none is missed."""
    newer = iter(range(-1, -100_000, -1))

    seen = walk(list(range(400)), reading=reading, meanwhile=lambda rows: [next(newer), *rows])[0]

    assert set(range(400)) <= seen


def test_a_deletion_under_a_remembered_record_costs_a_probe() -> None:
    """A deleted row takes the overlap away that proves RECORD; the walk probes again and sees everything left."""
    once = iter([True])

    seen, pager, offsets = walk(
        list(range(200)), reading="record", mode=Mode.RECORD, meanwhile=lambda r: r[1:] if next(once, False) else r
    )

    assert set(range(200)) <= seen
    assert offsets[:3] == [0, 49, 1]
    assert pager.doubted


def test_a_server_that_repeats_its_last_page_ends_the_walk() -> None:
    """Trap 3: a full page that brings nothing new is the end, whatever any count says."""
    pager = Pager()
    requests_to = 0
    while (offset := pager.offset) is not None:
        begin = min(offset, 2) * 50
        pager.feed(list(range(begin, begin + 50)))
        requests_to += 1

    assert requests_to == 4  # pages 0, 1, 2, and 2 again
    assert not pager.truncated


def test_a_list_without_end_is_cut_and_said_to_be() -> None:
    """New rows for ever: the walk stops at its cap of pages and reports truncation."""
    _, pager, offsets = walk(list(range(10_000)), reading="page", cap=7)

    assert len(offsets) == 7
    assert pager.truncated


@settings(max_examples=60)
@given(
    total=st.integers(min_value=0, max_value=400),
    reading=st.sampled_from(["page", "record", "ignored"]),
    mode=st.sampled_from(Mode),
)
def test_a_walk_sees_all_or_says_that_it_does_not(total: int, reading: str, mode: Mode) -> None:
    """Whatever is remembered and whatever the server does, a walk ends, and is whole or reported as truncated."""
    seen, pager, offsets = walk(list(range(total)), reading=reading, mode=mode)

    assert seen == set(range(total)) or pager.truncated
    assert len(offsets) <= -(-total // 50) + 5
    assert all(one != other for one, other in pairwise(offsets))


def test_what_was_found_out_is_remembered_for_an_hour(clock: ManualClock) -> None:
    """The mode is recalled until an hour after the probe; walks that only relied on it do not prolong that."""
    modes = ModeCache(clock)
    assert modes.get() is Mode.UNSURE

    modes.learn(walk(list(range(120)), reading="record")[1])
    clock.turn(MODE_TTL_S - 1)
    assert modes.get() is Mode.RECORD
    modes.learn(walk(list(range(120)), reading="record", mode=Mode.RECORD)[1])
    clock.turn(1)

    assert modes.get() is Mode.UNSURE


def test_a_single_page_does_not_unlearn(clock: ManualClock) -> None:
    """A short walk knows nothing and changes nothing of what is remembered."""
    modes = ModeCache(clock)
    modes.learn(walk(list(range(120)), reading="record")[1])

    modes.learn(walk(list(range(5)), reading="record", mode=modes.get())[1])

    assert modes.get() is Mode.RECORD


def test_an_inconsistency_is_unlearned(clock: ManualClock) -> None:
    """A server that counted records and now counts pages is found out at once, not after the hour."""
    modes = ModeCache(clock)
    modes.learn(walk(list(range(120)), reading="record")[1])

    seen, pager, _ = walk(list(range(5000)), reading="page", mode=modes.get())
    modes.learn(pager)

    assert seen == set(range(5000))
    assert modes.get() is Mode.PAGE
