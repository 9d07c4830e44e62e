from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.errors import CloudError, InvalidResponse, Refused, ServerError, Unsupported
from exporter.cloud.v1.overview import MAX_PAGES, MODE_TTL_S, PAGE_SIZE, OverviewPager
from tests.clock import ManualClock
from tests.unit.cloud.recorded_unknowns import Notes


class Pages:
    """An overview of so many rows, newest first, with one of several kinds of paging."""

    def __init__(
        self,
        size: int,
        *,
        unit: str = "record",
        zero: str = "everything",
        total: bool = True,
        max_page_rows: int = PAGE_SIZE,
    ) -> None:
        self.ids = list(range(size, 0, -1))
        self.unit = unit
        self.zero = zero
        self.total = total
        self.max_page_rows = max_page_rows
        self.calls: list[tuple[str, str | None]] = []
        self.before_page: list[Any] = []

    async def call(
        self,
        endpoint: Endpoint[Any],
        *,
        path: Mapping[str, str] | None = None,  # noqa: ARG002 - part of the protocol
        query: Mapping[str, str] | None = None,
        body: object = None,  # noqa: ARG002 - part of the protocol
    ) -> Any:
        """Answer one page."""
        assert query is not None
        limit, offset = int(query["limit"]), int(query.get("offset", 0))
        self.calls.append((query["limit"], query.get("offset")))
        if offset and self.before_page:
            self.before_page.pop(0)()
        if limit == 0:
            if self.zero == "refused":
                raise Refused(endpoint.name, "limit", status=400)
            if self.zero == "too large":
                raise InvalidResponse(endpoint.name, "larger than a response may be")
            page = {"everything": self.ids, "default": self.ids[:20], "nothing": []}[self.zero]
        else:
            limit = min(limit, self.max_page_rows)
            skip = {"record": offset, "page": offset * limit, "ignored": 0}[self.unit]
            page = self.ids[skip : skip + limit]
        found = {"versions": [{"version_id": at} for at in page]}
        if self.total:
            found["total_count"] = len(self.ids)  # type: ignore[assignment]
        return msgspec.json.decode(msgspec.json.encode(found), type=endpoint.answer)


def overview(pages: Any, clock: ManualClock) -> OverviewPager:
    return OverviewPager(pages, clock=clock, note=Notes())


def ids(rows: Any) -> set[int]:
    found = [msgspec.json.decode(raw)["version_id"] for raw in rows]
    assert len(set(found)) == len(found)
    return set(found)


async def test_limit_zero_returns_everything(clock: ManualClock) -> None:
    """Trap 5: one call, with limit=0 and without an offset."""
    pages = Pages(5000)

    assert ids(await overview(pages, clock).rows("0")) == set(range(1, 5001))
    assert pages.calls == [("0", None)]


async def test_an_empty_workspace_is_one_call(clock: ManualClock) -> None:
    """No rows and a total of 0 is a complete answer."""
    pages = Pages(0)

    assert list(await overview(pages, clock).rows("0")) == []
    assert pages.calls == [("0", None)]


@pytest.mark.parametrize("zero", ["refused", "too large", "default", "nothing"])
@pytest.mark.parametrize("unit", ["record", "page"])
async def test_paging_is_complete_whatever_the_offset_counts(clock: ManualClock, unit: str, zero: str) -> None:
    """250 rows in pages of 100: each is returned once, whether the offset counts rows or pages."""
    pages = Pages(250, unit=unit, zero=zero)

    assert ids(await overview(pages, clock).rows("0")) == set(range(1, 251))


@pytest.mark.parametrize(
    "unit, first, later",
    [("record", ["0", "1", "100", "200"], ["0", "100", "200"]), ("page", ["0", "1", "2"], ["0", "1", "2"])],
    ids=["record", "page"],
)
async def test_the_second_request_detects_what_the_offset_counts(
    clock: ManualClock, unit: str, first: list[str], later: list[str]
) -> None:
    """Offset 1 overlaps by 99 rows or by none; the result is cached, so that later reads send no probe."""
    pages = Pages(250, unit=unit, zero="refused")
    read = overview(pages, clock)

    await read.rows("0")
    calls, pages.calls = pages.calls, []
    await read.rows("0")

    assert calls == [("0", None), *(("100", offset) for offset in first)]
    assert pages.calls == [("100", offset) for offset in later]


async def test_limit_zero_is_tried_again_after_an_hour(clock: ManualClock) -> None:
    """The detected paging expires."""
    pages = Pages(50, zero="default")
    read = overview(pages, clock)
    await read.rows("0")
    pages.zero, pages.calls = "everything", []

    clock.turn(MODE_TTL_S)
    await read.rows("0")

    assert pages.calls == [("0", None)]


async def test_a_changed_meaning_of_the_offset_is_detected(clock: ManualClock) -> None:
    """When the pages have fewer rows than the total, the probe is repeated in the same read."""
    pages = Pages(350, unit="page", zero="refused")
    read = overview(pages, clock)
    await read.rows("0")

    pages.unit = "record"

    assert ids(await read.rows("0")) == set(range(1, 351))


async def test_rows_that_shift_between_pages_are_read_once(clock: ManualClock) -> None:
    """A version submitted between two pages shifts the rest: duplicates are dropped, no row is lost."""
    pages = Pages(250, zero="refused")
    pages.before_page = [lambda: pages.ids.insert(0, 1000)]

    assert ids(await overview(pages, clock).rows("0")) >= set(range(1, 251))


async def test_an_ignored_offset_makes_the_overview_unsupported(clock: ManualClock) -> None:
    """The server repeats the same 100 rows: the job list is used, so that no version is lost."""
    with pytest.raises(Unsupported, match="fewer rows than the total"):
        await overview(Pages(250, unit="ignored", zero="refused"), clock).rows("0")


@pytest.mark.parametrize("unit", ["record", "page", "ignored"])
async def test_without_a_total_a_short_page_is_the_last(clock: ManualClock, unit: str) -> None:
    """Without a total, pages are read until a short one; a server that ignores the offset is unsupported."""
    pages = Pages(250, unit=unit, zero="everything", total=False)
    read = overview(pages, clock)

    if unit == "ignored":
        with pytest.raises(Unsupported):
            await read.rows("0")
    else:
        assert ids(await read.rows("0")) == set(range(1, 251))


async def test_a_reduced_page_size_is_followed(clock: ManualClock) -> None:
    """A server that returns 30 rows per page, whatever the limit, is read completely."""
    pages = Pages(95, zero="refused", max_page_rows=30)

    assert ids(await overview(pages, clock).rows("0")) == set(range(1, 96))


async def test_a_long_overview_in_pages_is_left_to_the_job_list(clock: ManualClock) -> None:
    """More than ten pages of 100 cost more than the job list's pages of 1000; two calls detect it."""
    pages = Pages(PAGE_SIZE * MAX_PAGES + 1, zero="refused")

    with pytest.raises(Unsupported, match="more calls than the job list"):
        await overview(pages, clock).rows("0")
    assert len(pages.calls) == 2


class Bad:
    """An overview with items that are not rows."""

    async def call(self, endpoint: Endpoint[Any], **_: Any) -> Any:
        found = {"total_count": 4, "versions": [{"version_id": 1}, 17, {"version_id": 1}, {"status": 8}]}
        return msgspec.json.decode(msgspec.json.encode(found), type=endpoint.answer)


async def test_bad_items_count_as_rows(clock: ManualClock) -> None:
    """A bad item counts as a row, so that the overview is not taken for incomplete."""
    assert len(await overview(Bad(), clock).rows("0")) == 4


class Silent:
    """A caller that returns None."""

    async def call(self, endpoint: Endpoint[Any], **_: Any) -> Any:
        assert endpoint.name == "v1_list_overview"


async def test_an_empty_answer_has_no_rows(clock: ManualClock) -> None:
    """An empty response is an empty listing."""
    assert list(await overview(Silent(), clock).rows("0")) == []


@pytest.mark.parametrize(
    "error",
    [Unsupported("o", "no such API", status=404), ServerError("o", "down", status=502)],
    ids=["missing", "down"],
)
async def test_other_failures_are_raised(clock: ManualClock, error: CloudError) -> None:
    """A missing overview, and one that fails, are not requested again in pages."""

    class Failing:
        async def call(self, endpoint: Endpoint[Any], **_: Any) -> Any:
            assert endpoint.name == "v1_list_overview"
            raise error

    with pytest.raises(type(error)):
        await overview(Failing(), clock).rows("0")
