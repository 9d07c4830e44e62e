"""The v2 archive: every job once at least, in little memory, from any bookmark on."""

import pytest

from exporter.cloud.http.errors import CloudError, InvalidResponse, ServerError
from exporter.cloud.v2.endpoints import SEARCH
from exporter.cloud.v2.history import V2History
from exporter.cloud.v2.paging import Mode, Pager
from exporter.domain.history import HistoryPage
from tests.clock import ManualClock
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v2.fake_cloud import T0, FakeV2, Request


def archive_of(cloud: FakeV2, *workspaces: str) -> V2History:
    async def ids() -> tuple[str, ...]:
        return workspaces or ("0",)

    return V2History(cloud, workspaces=ids, clock=ManualClock(), note=Notes())


async def walked(
    history_pages: V2History, *, back_to: float = 0.0, cursor: str = "", most: int = 10_000
) -> list[HistoryPage]:
    """The leaves of a walk, or the first ones."""
    pages = []
    async for leaf in history_pages.pages(back_to=back_to, cursor=cursor):
        pages.append(leaf)
        if len(pages) == most:
            break
    return pages


def ids(pages: list[HistoryPage]) -> set[str]:
    return {past.job.job_id for leaf in pages for past in leaf.jobs}


@pytest.mark.parametrize("offset", ["page", "record"])
async def test_every_job_is_told_whatever_offset_means(offset: str) -> None:
    """330 jobs, both readings of `offset`: all of them, and none is held back until the end."""
    cloud = FakeV2(offset=offset)
    expected = set(cloud.submit(*range(330), phase="Completed"))

    pages = await walked(archive_of(cloud))

    assert ids(pages) == expected
    assert max(len(leaf.jobs) for leaf in pages) == 50


async def test_a_walk_ends_where_it_is_old_enough() -> None:
    """Job n was submitted n seconds after T0: back to 200 means the 100 newest of 300 and a page to see that."""
    cloud = FakeV2()
    cloud.submit(*range(300), phase="Completed")

    pages = await walked(archive_of(cloud), back_to=T0 + 200)

    assert ids(pages) == {f"job-0-{number}" for number in range(150, 300)}
    assert len(cloud.searches) == 1 + 3  # what is active, and three pages


async def test_an_active_job_is_told_however_old() -> None:
    """A run of weeks was submitted before everything that is looked at, and holds its nodes today."""
    cloud = FakeV2()
    cloud.submit(0)
    cloud.submit(*range(1000, 1200), phase="Completed")

    assert "job-0-0" in ids(await walked(archive_of(cloud), back_to=T0 + 1150))


@pytest.mark.parametrize("offset", ["page", "record"])
@pytest.mark.parametrize("after", [1, 2, 3, 5, 7])
async def test_a_walk_goes_on_from_any_bookmark(offset: str, after: int) -> None:
    """Broken off after some leaves, and with jobs submitted meanwhile: both parts together are everything."""
    cloud = FakeV2(offset=offset)
    expected = set(cloud.submit(*range(330), phase="Completed"))
    first = await walked(archive_of(cloud), most=after)
    cloud.submit(*range(400, 407), phase="Completed")
    before_answer = len(cloud.searches)

    second = await walked(archive_of(cloud), cursor=first[-1].cursor)

    assert ids(first) | ids(second) >= expected
    assert len(cloud.searches) - before_answer <= 8 - after + 3  # the page it had come to, and the rest


async def test_a_walk_begins_anew_where_its_page_is_gone() -> None:
    """So much was deleted that nothing of the bookmark's page is where it was: older jobs may have moved up."""
    cloud = FakeV2()
    jobs = cloud.submit(*range(300), phase="Completed")
    first = await walked(archive_of(cloud), most=4)  # active, and the pages 299-250, 249-200, 199-150
    cloud.delete(*jobs[140:300])

    second = await walked(archive_of(cloud), cursor=first[-1].cursor)

    assert ids(second) == set(jobs[:140])


async def test_workspaces_that_are_done_are_not_walked_again() -> None:
    """Three workspaces; broken off in the second, the first one is not asked about again."""
    cloud = FakeV2()
    for workspace_id in ("a", "b", "c"):
        cloud.submit(1, phase="Completed", workspace_id=workspace_id)
    first = await walked(archive_of(cloud, "a", "b", "c"), most=5)
    cloud.requests.clear()

    second = await walked(archive_of(cloud, "a", "b", "c"), cursor=first[-1].cursor)

    assert ids(first) | ids(second) == {"job-a-1", "job-b-1", "job-c-1"}
    assert "a" not in {request.body["workspace_id"] for request in cloud.searches}


async def test_the_first_failure_is_raised_and_tells_what_came_before() -> None:
    """The leaves before it are out by then; nothing is passed over in silence."""
    cloud = FakeV2()
    cloud.submit(*range(120), phase="Completed")

    def third(request: Request) -> CloudError | None:
        return ServerError(SEARCH.name, "down", status=500) if request.body["offset"] == 1 else None

    cloud.fail = third
    pages: list[HistoryPage] = []

    async def walk() -> None:
        async for leaf in archive_of(cloud).pages(back_to=0):
            pages.append(leaf)  # noqa: PERF401 - what came before the failure counts

    with pytest.raises(ServerError):
        await walk()
    assert len(ids(pages)) == 50


async def test_a_listing_that_cannot_be_followed_is_no_history() -> None:
    """Where `offset` is ignored only the newest page is seen: sums over that would be a lie."""
    cloud = FakeV2(offset="ignored")
    cloud.submit(*range(120), phase="Completed")

    with pytest.raises(InvalidResponse, match="ignores offset"):
        await walked(archive_of(cloud))


def test_a_pager_with_a_horizon_forgets_what_lies_behind_it() -> None:
    """100 000 jobs are not remembered; the first page and the last few are enough to see a list repeat itself."""
    pager = Pager(limit=2, horizon=3)
    for number in range(0, 200, 2):
        pager.feed([number, number + 1])
    assert len(pager._seen) == 2 + 3 * 2

    assert pager.offset is not None
    pager.feed([198, 199])
    assert pager.offset is None


def test_a_resumed_pager_goes_on_as_the_one_before() -> None:
    """In pages by one, in records by the length of a page, without a probe."""
    for mode, following in ((Mode.PAGE, 8), (Mode.RECORD, 9)):
        pager = Pager.resumed(mode, offset=7)
        pager._limit = 2
        pager.feed([1, 2])
        assert (pager.offset, pager.probed) == (following, False)
