"""The v2 history: every job at least once, in little memory, from any cursor."""

import pytest

from exporter.cloud.http.errors import CloudError, InvalidResponse, ServerError
from exporter.cloud.v2.endpoints import SEARCH
from exporter.cloud.v2.history import V2History
from exporter.cloud.v2.paging import Mode, Pager
from exporter.domain.history import HistoryPage
from tests.clock import ManualClock
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v2.fake_cloud import T0, FakeV2, Request


def history_of(cloud: FakeV2, *workspaces: str) -> V2History:
    async def ids() -> tuple[str, ...]:
        return workspaces or ("0",)

    return V2History(cloud, workspaces=ids, clock=ManualClock(), note=Notes())


async def read_pages(
    history: V2History, *, back_to: float = 0.0, cursor: str = "", max_pages: int = 10_000
) -> list[HistoryPage]:
    """The pages of a history, or the first ones."""
    pages = []
    async for page in history.pages(back_to=back_to, cursor=cursor):
        pages.append(page)
        if len(pages) == max_pages:
            break
    return pages


def ids(pages: list[HistoryPage]) -> set[str]:
    return {historic.job.job_id for page in pages for historic in page.jobs}


@pytest.mark.parametrize("offset", ["page", "record"])
async def test_every_job_is_returned_whatever_offset_means(offset: str) -> None:
    """330 jobs, both meanings of `offset`: all of them, in pages of limited size."""
    cloud = FakeV2(offset=offset)
    expected = set(cloud.submit(*range(330), phase="Completed"))

    pages = await read_pages(history_of(cloud))

    assert ids(pages) == expected
    assert max(len(page.jobs) for page in pages) == 50


async def test_reading_ends_at_old_jobs() -> None:
    """Job n was submitted n seconds after T0: back to 200 means the 100 newest of 300 and one more page."""
    cloud = FakeV2()
    cloud.submit(*range(300), phase="Completed")

    pages = await read_pages(history_of(cloud), back_to=T0 + 200)

    assert ids(pages) == {f"job-0-{number}" for number in range(150, 300)}
    assert len(cloud.searches) == 1 + 3  # the active jobs, and three pages


async def test_an_active_job_is_returned_whatever_its_age() -> None:
    """A job that has run for weeks was submitted before the range, and holds its nodes today."""
    cloud = FakeV2()
    cloud.submit(0)
    cloud.submit(*range(1000, 1200), phase="Completed")

    assert "job-0-0" in ids(await read_pages(history_of(cloud), back_to=T0 + 1150))


@pytest.mark.parametrize("offset", ["page", "record"])
@pytest.mark.parametrize("after", [1, 2, 3, 5, 7])
async def test_reading_resumes_after_any_cursor(offset: str, after: int) -> None:
    """Interrupted after some pages, with jobs submitted meanwhile: both parts together are complete."""
    cloud = FakeV2(offset=offset)
    expected = set(cloud.submit(*range(330), phase="Completed"))
    first = await read_pages(history_of(cloud), max_pages=after)
    cloud.submit(*range(400, 407), phase="Completed")
    before_answer = len(cloud.searches)

    second = await read_pages(history_of(cloud), cursor=first[-1].cursor)

    assert ids(first) | ids(second) >= expected
    assert len(cloud.searches) - before_answer <= 8 - after + 3  # the page of the cursor, and the rest


async def test_reading_starts_again_when_the_cursors_page_is_gone() -> None:
    """None of the page's jobs is at its offset any more: older jobs may have moved up."""
    cloud = FakeV2()
    jobs = cloud.submit(*range(300), phase="Completed")
    first = await read_pages(history_of(cloud), max_pages=4)  # active, and the pages 299-250, 249-200, 199-150
    cloud.delete(*jobs[140:300])

    second = await read_pages(history_of(cloud), cursor=first[-1].cursor)

    assert ids(second) == set(jobs[:140])


async def test_completed_workspaces_are_not_read_again() -> None:
    """Three workspaces; interrupted in the second, the first one is not requested again."""
    cloud = FakeV2()
    for workspace_id in ("a", "b", "c"):
        cloud.submit(1, phase="Completed", workspace_id=workspace_id)
    first = await read_pages(history_of(cloud, "a", "b", "c"), max_pages=5)
    cloud.requests.clear()

    second = await read_pages(history_of(cloud, "a", "b", "c"), cursor=first[-1].cursor)

    assert ids(first) | ids(second) == {"job-a-1", "job-b-1", "job-c-1"}
    assert "a" not in {request.body["workspace_id"] for request in cloud.searches}


async def test_the_first_failure_is_raised_after_the_pages_before_it() -> None:
    """The pages before it are returned; no failure is ignored."""
    cloud = FakeV2()
    cloud.submit(*range(120), phase="Completed")

    def third(request: Request) -> CloudError | None:
        return ServerError(SEARCH.name, "down", status=500) if request.body["offset"] == 1 else None

    cloud.fail = third
    pages: list[HistoryPage] = []

    async def read() -> None:
        async for page in history_of(cloud).pages(back_to=0):
            pages.append(page)  # noqa: PERF401 - the pages before the failure count

    with pytest.raises(ServerError):
        await read()
    assert len(ids(pages)) == 50


async def test_a_listing_with_an_ignored_offset_is_a_failure() -> None:
    """If `offset` is ignored, only the newest page is readable: sums over it would be wrong."""
    cloud = FakeV2(offset="ignored")
    cloud.submit(*range(120), phase="Completed")

    with pytest.raises(InvalidResponse, match="ignores offset"):
        await read_pages(history_of(cloud))


def test_a_pager_with_a_horizon_drops_old_pages() -> None:
    """100 000 jobs are not remembered; the first page and the last few are enough to detect a repeating list."""
    pager = Pager(limit=2, horizon=3)
    for number in range(0, 200, 2):
        pager.feed([number, number + 1])
    assert len(pager._seen) == 2 + 3 * 2

    assert pager.offset is not None
    pager.feed([198, 199])
    assert pager.offset is None


def test_a_resumed_pager_continues_like_the_first_one() -> None:
    """The next offset is one more by page, a page's length more by record, without a probe."""
    for mode, following in ((Mode.PAGE, 8), (Mode.RECORD, 9)):
        pager = Pager.resumed(mode, offset=7)
        pager._limit = 2
        pager.feed([1, 2])
        assert (pager.offset, pager.probed) == (following, False)
