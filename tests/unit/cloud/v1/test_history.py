"""The v1 history: the job list, the versions of each job that may be in range, and the samples they contain."""

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


def history_of(cloud: FakeV1, *, samples: bool = True, workspaces: tuple[str, ...] = ("0",)) -> V1History:
    async def ids() -> tuple[str, ...]:
        return workspaces

    return V1History(cloud, workspaces=ids, note=Notes(), samples=samples)


def job(number: int, *versions: Version, workspace: str = "0") -> Job:
    return Job(
        id=number, name=f"job-{number}", versions=list(versions or [Version(id=number * 10)]), workspace=workspace
    )


async def read_pages(history: V1History, *, cursor: str = "", max_pages: int = 10_000) -> list[HistoryPage]:
    pages = []
    async for page in history.pages(back_to=BACK_TO, cursor=cursor):
        pages.append(page)
        if len(pages) == max_pages:
            break
    return pages


def ids(pages: list[HistoryPage]) -> list[str]:
    return [historic.job.job_id for page in pages for historic in page.jobs]


async def test_all_versions_have_their_user_and_samples() -> None:
    """Job 1 has two versions: one call returns both, with the user that only the list contains."""
    samples = json.dumps({"cpuUsage": ["0", "50.00", "0"], "memUsage": ["0", "10.00", "0"], "interval": 1})
    cloud = FakeV1(job(1, Version(id=10), Version(id=11, extra={"system_metric_list": samples})))

    historic_jobs = [historic for page in await read_pages(history_of(cloud)) for historic in page.jobs]

    found = {historic.job.job_id: historic for historic in historic_jobs}
    assert sorted(found) == ["10", "11"]
    assert {historic.job.user for historic in historic_jobs} == {"ada"}
    assert {historic.job.name for historic in historic_jobs} == {"job-1"}
    assert found["10"].series == ()
    (series,) = found["11"].series or ()
    assert list(series.cpu) == [None, 0.5]
    assert [call for call, _ in cloud.calls] == [JOB_LIST.name, VERSIONS.name]


async def test_unwanted_samples_are_not_decoded() -> None:
    """Without usage the series of the response stay undecoded."""
    cloud = FakeV1(job(1, Version(id=10, extra={"system_metric_list": "{broken"})))
    history = history_of(cloud, samples=False)

    (historic,) = [historic for page in await read_pages(history) for historic in page.jobs]

    assert historic.series == ()


async def test_a_job_out_of_range_needs_no_call() -> None:
    """A finished job with one version, created two days ago, needs no call; the other kinds of jobs need one."""
    old = NOW_MS - 2 * DAY_MS
    cloud = FakeV1(
        job(1, Version(id=10, create=old, status=10)),
        job(2, Version(id=20, create=old, status=8)),
        job(3, Version(id=30, create=old, status=10), Version(id=31, create=old, status=10)),
        job(4, Version(id=40, status=10)),
    )

    assert sorted(ids(await read_pages(history_of(cloud)))) == ["20", "30", "31", "40"]


@pytest.mark.parametrize("after", [1, 2, 3])
async def test_reading_resumes_after_a_cursor(after: int) -> None:
    """Ten jobs, three at a time: what was read before the interruption is not requested again."""
    cloud = FakeV1(*(job(number) for number in range(1, 11)))
    first = await read_pages(history_of(cloud), max_pages=after)
    second = await read_pages(history_of(cloud), cursor=first[-1].cursor)

    assert sorted(ids(first) + ids(second), key=int) == [str(number * 10) for number in range(1, 11)]
    assert sum(call == VERSIONS.name for call, _ in cloud.calls) == 10


async def test_a_page_is_read_again_when_the_cursors_job_was_deleted() -> None:
    """If the last job is not found, the position in the page is unknown, and the whole page is read again."""
    cloud = FakeV1(*(job(number) for number in range(1, 7)))
    first = await read_pages(history_of(cloud), max_pages=1)
    cloud.jobs = [each for each in cloud.jobs if each.id != 3]

    second = await read_pages(history_of(cloud), cursor=first[-1].cursor)

    assert ids(second) == ["10", "20", "40", "50", "60"]


async def test_a_job_deleted_after_listing_is_left_out() -> None:
    """v1 refuses a deleted job; the others are returned."""
    cloud = FakeV1(*(job(number) for number in range(1, 4)))
    cloud.errors[VERSIONS.name] = lambda path: (
        Refused(VERSIONS.name, "no such job") if path.get("job_id") == "2" else None
    )

    assert ids(await read_pages(history_of(cloud))) == ["10", "30"]


async def test_a_missing_versions_call_is_a_failure() -> None:
    """If the versions call does not exist, the history fails; it is not empty."""
    cloud = FakeV1(job(1))
    cloud.errors[VERSIONS.name] = Unsupported(VERSIONS.name, "no such API", status=404)

    with pytest.raises(Unsupported):
        await read_pages(history_of(cloud))


async def test_every_workspace_is_read() -> None:
    """A list covers only one workspace; after an interruption, completed ones are not read again."""
    cloud = FakeV1(job(1), job(2, workspace="w2"))
    history = history_of(cloud, workspaces=("0", "w2"))
    assert ids(await read_pages(history)) == ["10", "20"]

    first = await read_pages(history, max_pages=1)
    assert ids(await read_pages(history, cursor=first[-1].cursor)) == ["20"]
