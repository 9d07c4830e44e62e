"""The v1 archive: the job list, and the versions of each job that can matter, with the minutes that come along."""

import json

import pytest

from exporter.cloud.http.errors import Refused, Unsupported
from exporter.cloud.v1.endpoints import JOB_LIST, VERSIONS
from exporter.cloud.v1.history import V1History
from exporter.domain.history import HistoryPage
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v1.fake_cloud import NOW_MS, FakeV1, Job, Version

DAY_MS = 86_400_000
BACK_TO = NOW_MS / 1000 - 86_400.0


def archive_of(cloud: FakeV1, *, samples: bool = True, workspaces: tuple[str, ...] = ("0",)) -> V1History:
    async def ids() -> tuple[str, ...]:
        return workspaces

    return V1History(cloud, workspaces=ids, note=Notes(), samples=samples)


def job(number: int, *versions: Version, workspace: str = "0") -> Job:
    return Job(
        id=number, name=f"job-{number}", versions=list(versions or [Version(id=number * 10)]), workspace=workspace
    )


async def walked(archive: V1History, *, cursor: str = "", most: int = 10_000) -> list[HistoryPage]:
    pages = []
    async for leaf in archive.pages(back_to=BACK_TO, cursor=cursor):
        pages.append(leaf)
        if len(pages) == most:
            break
    return pages


def ids(pages: list[HistoryPage]) -> list[str]:
    return [past.job.job_id for leaf in pages for past in leaf.jobs]


async def test_all_versions_come_with_their_user_and_their_minutes() -> None:
    """Job 1 has two versions: both are jobs of ours, by one call, with the owner that only the list names."""
    samples = json.dumps({"cpuUsage": ["0", "50.00", "0"], "memUsage": ["0", "10.00", "0"], "interval": 1})
    cloud = FakeV1(job(1, Version(id=10), Version(id=11, extra={"system_metric_list": samples})))

    pasts = [past for leaf in await walked(archive_of(cloud)) for past in leaf.jobs]

    found = {past.job.job_id: past for past in pasts}
    assert sorted(found) == ["10", "11"]
    assert {past.job.user for past in pasts} == {"ada"}
    assert {past.job.name for past in pasts} == {"job-1"}
    assert found["10"].series == ()
    (series,) = found["11"].series or ()
    assert list(series.cpu) == [None, 0.5]
    assert [call for call, _ in cloud.calls] == [JOB_LIST.name, VERSIONS.name]


async def test_minutes_that_nobody_wants_are_not_even_read() -> None:
    """Without usage the answer's series stay undecoded, whatever is in them."""
    cloud = FakeV1(job(1, Version(id=10, extra={"system_metric_list": "{broken"})))
    archive = archive_of(cloud, samples=False)

    (past,) = [past for leaf in await walked(archive) for past in leaf.jobs]

    assert past.series == ()


async def test_a_job_that_was_over_long_ago_costs_no_call() -> None:
    """Created two days ago, finished, one version: not asked. Active, or with several versions: asked."""
    old = NOW_MS - 2 * DAY_MS
    cloud = FakeV1(
        job(1, Version(id=10, create=old, status=10)),
        job(2, Version(id=20, create=old, status=8)),
        job(3, Version(id=30, create=old, status=10), Version(id=31, create=old, status=10)),
        job(4, Version(id=40, status=10)),
    )

    assert sorted(ids(await walked(archive_of(cloud)))) == ["20", "30", "31", "40"]


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_walk_goes_on_after_its_bookmark(after: int) -> None:
    """Ten jobs, three at a time: what was read before the break is not asked for again."""
    cloud = FakeV1(*(job(number) for number in range(1, 11)))
    first = await walked(archive_of(cloud), most=after)
    second = await walked(archive_of(cloud), cursor=first[-1].cursor)

    assert sorted(ids(first) + ids(second), key=int) == [str(number * 10) for number in range(1, 11)]
    assert sum(call == VERSIONS.name for call, _ in cloud.calls) == 10


async def test_a_page_whose_bookmark_was_deleted_is_read_again() -> None:
    """Where the last job is not found any more nobody knows how far the page was read: all of it, once more."""
    cloud = FakeV1(*(job(number) for number in range(1, 7)))
    first = await walked(archive_of(cloud), most=1)
    cloud.jobs = [each for each in cloud.jobs if each.id != 3]

    second = await walked(archive_of(cloud), cursor=first[-1].cursor)

    assert ids(second) == ["10", "20", "40", "50", "60"]


async def test_a_job_deleted_since_it_was_listed_is_left_out() -> None:
    """v1 refuses what is gone; the others are told."""
    cloud = FakeV1(*(job(number) for number in range(1, 4)))
    cloud.errors[VERSIONS.name] = lambda path: (
        Refused(VERSIONS.name, "no such job") if path.get("job_id") == "2" else None
    )

    assert ids(await walked(archive_of(cloud))) == ["10", "30"]


async def test_a_cloud_without_the_call_has_no_history() -> None:
    """Where the versions call does not exist at all, that is a failure, not an empty past."""
    cloud = FakeV1(job(1))
    cloud.errors[VERSIONS.name] = Unsupported(VERSIONS.name, "no such API", status=404)

    with pytest.raises(Unsupported):
        await walked(archive_of(cloud))


async def test_every_workspace_is_walked() -> None:
    """A list covers one workspace only; after a break the ones before are not walked again."""
    cloud = FakeV1(job(1), job(2, workspace="w2"))
    archive = archive_of(cloud, workspaces=("0", "w2"))
    assert ids(await walked(archive)) == ["10", "20"]

    first = await walked(archive, most=1)
    assert ids(await walked(archive, cursor=first[-1].cursor)) == ["20"]
