import pytest

from exporter.cloud.v1.mapper import NOT_FOUND_TTL_S, Mapper
from exporter.cloud.v1.version_cache import VersionCache
from exporter.domain.job import Api
from exporter.domain.job import Job as DomainJob
from tests.clock import ManualClock
from tests.unit.cloud.recorded_unknowns import Notes
from tests.unit.cloud.v1.fake_cloud import FakeV1, Job, Version


def found(*ids: int, name: str = "", workspace: str = "0") -> dict[str, DomainJob]:
    """Versions as the overview lists them."""
    return {str(each): DomainJob(job_id=str(each), api=Api.V1, name=name, workspace_id=workspace) for each in ids}


@pytest.fixture
def versions() -> VersionCache:
    return VersionCache()


def mapper(cloud: FakeV1, versions: VersionCache, clock: ManualClock) -> Mapper:
    return Mapper(cloud, versions, clock=clock, note=Notes())


async def test_a_short_list_is_read_completely(versions: VersionCache, clock: ManualClock) -> None:
    """One page costs as much as a search by name, and finds all versions."""
    cloud = FakeV1(*(Job(id=each, name=f"j{each}", versions=[Version(id=each + 100)]) for each in range(1, 6)))

    await mapper(cloud, versions, clock).find(found(101, 102, 103), sizes={"0": 5})

    assert [parent.job_id for each in (101, 102, 103) if (parent := versions.parent(str(each)))] == [
        "1",
        "2",
        "3",
    ]
    assert cloud.counts == {"v1_list_jobs": 1}
    assert versions.parent("104") is None  # not wanted, so not stored


async def test_a_long_list_is_searched_by_name(versions: VersionCache, clock: ManualClock) -> None:
    """One call in place of up to five pages."""
    cloud = FakeV1(Job(id=1, name="zebra", versions=[Version(id=101)]))
    cloud.history(4500)

    await mapper(cloud, versions, clock).find(found(101, name="zebra"), sizes={"0": 4501})

    assert versions.parent("101") is not None
    assert [params.get("search_content") for _, params in cloud.calls] == ["zebra"]


async def test_a_search_finds_the_job_of_an_older_version(versions: VersionCache, clock: ManualClock) -> None:
    """The job's row has another version; its versions contain the wanted one, and the list is not read."""
    cloud = FakeV1(Job(id=1, name="zebra", versions=[Version(id=101), Version(id=102)]))
    cloud.history(4500)

    await mapper(cloud, versions, clock).find(found(101, name="zebra"), sizes={"0": 4502})

    assert versions.parent("101") is not None
    assert versions.record("101") is not None
    assert cloud.counts == {"v1_list_jobs": 1, "v1_list_versions": 1}


async def test_a_useless_search_is_not_repeated(versions: VersionCache, clock: ManualClock) -> None:
    """If the list has a job that the search did not return, no further search is sent."""
    cloud = FakeV1(
        Job(id=1, name="a-real-name", versions=[Version(id=101)]), Job(id=2, name="b", versions=[Version(id=102)])
    )
    cloud.history(4500)
    find = mapper(cloud, versions, clock).find

    await find(found(101, name="display"), sizes={"0": 4502})
    cloud.calls.clear()
    await find(found(102, name="display"), sizes={"0": 4502})

    assert versions.parent("101") is not None
    assert versions.parent("102") is not None
    assert all("search_content" not in params for _, params in cloud.calls)


async def test_the_list_is_read_up_to_the_last_wanted_version(versions: VersionCache, clock: ManualClock) -> None:
    """Further pages are not requested."""
    cloud = FakeV1(Job(id=1, name="a", versions=[Version(id=101)]))
    cloud.history(4500)

    await mapper(cloud, versions, clock).find(found(101), sizes={"0": 4501})

    assert cloud.counts == {"v1_list_jobs": 1}


async def test_each_workspace_is_searched_for_its_own_versions(versions: VersionCache, clock: ManualClock) -> None:
    """Trap 4: a job list covers one workspace."""
    cloud = FakeV1(
        Job(id=1, name="a", versions=[Version(id=101)]),
        Job(id=2, name="b", versions=[Version(id=102)], workspace="w1"),
    )

    await mapper(cloud, versions, clock).find(found(101) | found(102, workspace="w1"), sizes={})

    assert versions.parent("101") is not None
    assert versions.parent("102") is not None
    assert [params["workspace_id"] for _, params in cloud.calls] == ["0", "w1"]


async def test_the_most_likely_jobs_are_requested_first(versions: VersionCache, clock: ManualClock) -> None:
    """Of ten jobs with several versions, the one with the same name is first; one with older ids is never used."""
    cloud = FakeV1(
        *(
            Job(id=each, name=f"j{each}", versions=[Version(id=200 + 10 * each), Version(id=201 + 10 * each)])
            for each in range(1, 10)
        ),
        Job(id=50, name="mine", versions=[Version(id=150), Version(id=900)]),
        Job(id=60, name="older", versions=[Version(id=20), Version(id=21)]),
    )

    await mapper(cloud, versions, clock).find(found(150, name="mine"), sizes={"0": 22})

    assert [params["job_id"] for name, params in cloud.calls if name == "v1_list_versions"] == ["50"]
    assert versions.parent("150") is not None


async def test_the_number_of_candidates_is_limited(versions: VersionCache, clock: ManualClock) -> None:
    """A search reads a few jobs, the next one goes on there; then a version not found costs no calls for an hour."""
    cloud = FakeV1(
        *(
            Job(id=each, name=f"j{each}", versions=[Version(id=300 + each), Version(id=400 + each)])
            for each in range(9)
        )
    )
    find = mapper(cloud, versions, clock).find

    await find(found(*range(150, 160)), sizes={"0": 18})
    first = cloud.counts["v1_list_versions"]
    await find(found(*range(150, 160)), sizes={"0": 18})
    both = cloud.counts["v1_list_versions"]
    cloud.calls.clear()
    await find(found(*range(150, 160)), sizes={"0": 18})
    quiet = dict(cloud.counts)
    clock.turn(NOT_FOUND_TTL_S)
    await find(found(150), sizes={"0": 18})

    assert first <= 5
    assert both == 9  # each job once
    assert quiet == {}
    assert cloud.counts["v1_list_jobs"] == 1


async def test_ids_that_are_not_numbers_are_not_ranked(versions: VersionCache, clock: ManualClock) -> None:
    """Where ids do not grow, any job with several versions may have the version."""
    cloud = FakeV1(Job(id=1, name="a", versions=[Version(id=200), Version(id=100)]))

    await mapper(cloud, versions, clock).find(
        {"x-1": DomainJob(job_id="x-1", api=Api.V1, workspace_id="0")}, sizes={"0": 2}
    )

    assert cloud.counts == {"v1_list_jobs": 1, "v1_list_versions": 1}
    assert versions.parent("x-1") is None


async def test_older_versions_of_many_jobs_are_found_in_the_end(versions: VersionCache, clock: ManualClock) -> None:
    """40 older versions, each of another job: every job is read once, a few with each search."""
    cloud = FakeV1(
        *(
            Job(id=each, name=f"j{each}", user=f"u{each}", versions=[Version(id=300 + each), Version(id=1000 - each)])
            for each in range(40)
        )
    )
    find = mapper(cloud, versions, clock).find
    wanted = found(*range(300, 340))

    for _ in range(8):
        await find(wanted, sizes={"0": 80})

    parents = [versions.parent(version_id) for version_id in wanted]
    assert [parent and parent.user for parent in parents] == [f"u{each}" for each in range(40)]
    assert cloud.counts["v1_list_versions"] == 40
