from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.http.errors import InvalidResponse
from exporter.cloud.v1 import job_list
from exporter.cloud.v1.overview import OverviewPager
from exporter.cloud.workspaces import AllWorkspaces
from tests.clock import ManualClock
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v1.fake_cloud import FakeV1, Job, Version


def cloud_with_jobs(size: int) -> FakeV1:
    cloud = FakeV1()
    cloud.history(size, first_id=1)
    return cloud


async def jobs(cloud: FakeV1) -> list[str]:
    found = await job_list.jobs(cloud, workspace_id="0", note=Notes())
    return [str(row.job_id) for _, row in found]


@pytest.mark.parametrize("size, calls", [(0, 1), (999, 1), (1000, 2), (1001, 2), (2500, 3)], ids=str)
async def test_the_job_list_is_read_to_its_last_page(size: int, calls: int) -> None:
    """Pages start at 1 and hold 1000 rows; a short page is the last, a full one may be (trap 2)."""
    cloud = cloud_with_jobs(size)

    assert len(set(await jobs(cloud))) == size
    assert [params["page"] for _, params in cloud.calls] == [str(page) for page in range(1, calls + 1)]
    assert {params["per_page"] for _, params in cloud.calls} == {"1000"}


async def test_a_reduced_page_size_is_followed() -> None:
    """A server that returns 100 rows per page is read further, because its total is higher."""
    cloud = cloud_with_jobs(250)
    cloud.max_page_rows = 100

    assert len(set(await jobs(cloud))) == 250
    assert cloud.counts == {"v1_list_jobs": 3}


async def test_a_wrong_total_ends_at_a_page_without_new_jobs() -> None:
    """The total is only a hint: a wrong one does not cause endless requests."""

    class Liar(FakeV1):
        def _v1_list_jobs(self, params: Any) -> dict[str, Any]:
            return super()._v1_list_jobs({**params, "page": "1"}) | {"job_total_count": 10_000}

    cloud = Liar()
    cloud.history(3, first_id=1)

    assert len(await jobs(cloud)) == 3
    assert cloud.counts == {"v1_list_jobs": 2}


async def test_a_bad_job_is_skipped_and_noted() -> None:
    """An item that is not an object is skipped; the others are read."""

    class Odd(FakeV1):
        def _v1_list_jobs(self, params: Any) -> dict[str, Any]:
            found = super()._v1_list_jobs(params)
            return found | {"jobs": [*found["jobs"], 17]}

    cloud, notes = Odd(), Notes()
    cloud.history(2, first_id=1)

    assert len(await job_list.jobs(cloud, workspace_id="0", note=notes)) == 2
    assert notes.fields == ["v1.jobs"]


async def test_reading_stops_when_enough_is_found() -> None:
    """The other pages are not requested once the wanted job is found."""
    cloud = cloud_with_jobs(2500)

    found = await job_list.jobs(cloud, workspace_id="0", note=Notes(), enough=lambda _: True)

    assert len(found) == 1000


async def test_a_search_is_one_page() -> None:
    """A name of more than 64 characters is cut to the maximum length."""
    cloud = cloud_with_jobs(3)

    found = await job_list.search_by_name(cloud, workspace_id="0", name="old-00001" + "x" * 60, note=Notes())

    assert found == []
    assert cloud.calls[0][1]["search_content"] == "old-00001" + "x" * 55


def versions_of(count: int, *, max_page_rows: int = 0) -> FakeV1:
    cloud = FakeV1(Job(id=1, name="many", versions=[Version(id=10 + at) for at in range(count)]))
    cloud.max_versions = max_page_rows
    return cloud


async def test_versions_need_no_paging() -> None:
    """Trap 5: without `page` this call returns all versions."""
    cloud = versions_of(30)

    found = await job_list.versions(cloud, job_id="1", note=Notes())

    assert (found.job_name, len(found.records)) == ("many", 30)
    assert cloud.calls == [("v1_list_versions", {"job_id": "1"})]


async def test_missing_versions_are_read_in_pages() -> None:
    """The response has 10 of 1030 versions: pages of 1000 from page 1 return the rest."""
    cloud = versions_of(1030, max_page_rows=10)

    found = await job_list.versions(cloud, job_id="1", note=Notes())

    assert len(found.records) == 1030
    assert [params.get("page") for _, params in cloud.calls] == [None, "1", "2"]


async def test_a_wrong_version_count_does_not_loop() -> None:
    """A page that is not full is the last, whatever the count is."""

    class Liar(FakeV1):
        def _v1_list_versions(self, params: Any) -> dict[str, Any]:
            return super()._v1_list_versions(params) | {"version_count": 50}

    cloud = Liar(*versions_of(3).jobs)

    assert len((await job_list.versions(cloud, job_id="1", note=Notes())).records) == 3
    assert cloud.counts == {"v1_list_versions": 2}


async def test_repeated_pages_do_not_loop() -> None:
    """A server that repeats the first page gets two page requests."""

    class Same(FakeV1):
        def _v1_list_versions(self, params: Any) -> dict[str, Any]:
            return super()._v1_list_versions({**params, "page": "1"} if "page" in params else params) | {
                "version_count": 5000
            }

    cloud = Same(*versions_of(1000).jobs)

    assert len((await job_list.versions(cloud, job_id="1", note=Notes())).records) == 1000
    assert cloud.counts == {"v1_list_versions": 3}


async def test_an_empty_answer_is_an_empty_list() -> None:
    """An empty response and a null list are empty lists."""

    class Null:
        def __init__(self, found: bytes | None) -> None:
            self.found = found

        async def call(self, endpoint: Endpoint[Any], **_: Any) -> Any:
            return None if self.found is None else msgspec.json.decode(self.found, type=endpoint.answer)

    for found in (None, b'{"jobs": null, "versions": null}'):
        assert await job_list.jobs(Null(found), workspace_id="0", note=Notes()) == []
        assert await job_list.search_by_name(Null(found), workspace_id="0", name="x", note=Notes()) == []
        assert list((await job_list.versions(Null(found), job_id="1", note=Notes())).records) == []


class Mute:
    """Answers every call with the same text."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    async def call(
        self,
        endpoint: Endpoint[Any],
        *,
        path: Mapping[str, str] | None = None,  # noqa: ARG002 - part of the protocol
        query: Mapping[str, str] | None = None,  # noqa: ARG002 - part of the protocol
        body: object = None,  # noqa: ARG002 - part of the protocol
    ) -> Any:
        """Answer."""
        return msgspec.json.decode(self.text, type=endpoint.answer)


async def overview(caller: Mute) -> object:
    return list(await OverviewPager(caller, clock=ManualClock(), note=Notes()).rows("0"))


async def jobs_of(caller: Mute) -> object:
    return await job_list.jobs(caller, workspace_id="0", note=Notes())


async def versions(caller: Mute) -> object:
    return list((await job_list.versions(caller, job_id="1", note=Notes())).records)


async def workspaces(caller: Mute) -> object:
    return await AllWorkspaces(caller, ManualClock(), Notes())()


LISTINGS = pytest.mark.parametrize(
    "listed", [overview, jobs_of, versions, workspaces], ids=["overview", "job list", "versions", "workspaces"]
)


@LISTINGS
async def test_an_answer_without_rows_and_total_is_an_error(listed: Callable[[Mute], Awaitable[object]]) -> None:
    """A success without rows and without a total is an InvalidResponse, not an empty listing."""
    with pytest.raises(InvalidResponse, match="neither rows nor a total"):
        await listed(Mute(b'{"is_success": true}'))


@LISTINGS
@pytest.mark.parametrize(
    "text",
    [
        b'{"jobs": null, "versions": null, "workspaces": null}',
        b'{"jobs": [], "versions": [], "workspaces": []}',
        b'{"total_count": 0, "job_total_count": "0", "version_count": 0}',
    ],
    ids=["null", "no rows", "a total of 0"],
)
async def test_forms_of_an_empty_listing(listed: Callable[[Mute], Awaitable[object]], text: bytes) -> None:
    """null, an empty list, or a total of 0 without a list; the default workspace always remains."""
    assert await listed(Mute(text)) == (("0",) if listed is workspaces else [])
