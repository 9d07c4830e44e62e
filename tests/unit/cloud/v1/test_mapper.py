from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


CANDIDATES = (
    Job(id=10, name="mine", versions=[Version(id=1), Version(id=160)]),
    Job(id=11, name="mine", versions=[Version(id=2), Version(id=900)]),
    Job(id=12, name="a", versions=[Version(id=3), Version(id=151)]),
    Job(id=13, name="b", versions=[Version(id=4), Version(id=155)]),  # as far from 150 as the next one is from 250
    Job(id=14, name="c", versions=[Version(id=5), Version(id=255)]),
    Job(id=15, name="d", versions=[Version(id=6), Version(id=500)]),  # beyond the limit of five
    Job(id=16, name="e", versions=[Version(id=7), Version(id=149)]),  # its newest version is older than both
    Job(id=17, name="mine", versions=[Version(id=152)]),  # one version only: the row has all of it
    Job(id=18, name="mine", versions=[Version(id=8), Version(id=159)], workspace="w1"),
)


@given(jobs=st.permutations(CANDIDATES), wanted=st.permutations([150, 250]))
async def test_the_order_of_the_list_does_not_matter(jobs: Sequence[Job], wanted: Sequence[int]) -> None:
    """Same name first, then the nearest newest version, then the id; jobs that cannot have it are not requested."""
    cloud = FakeV1(*jobs)
    cloud.sorted_by_name = False
    versions = found(150, name="mine") | found(250)

    await mapper(cloud, VersionCache(), ManualClock()).find(
        {str(each): versions[str(each)] for each in wanted}, sizes={"0": 15}
    )

    requested = [params["job_id"] for name, params in cloud.calls if name == "v1_list_versions"]
    assert requested == ["10", "11", "12", "13", "14"]


SAME_NAME = (
    Job(id=20, name="mine", versions=[Version(id=1), Version(id=160)]),
    Job(id=21, name="mine", versions=[Version(id=150), Version(id=900)]),
    Job(id=22, name="mine too", versions=[Version(id=2), Version(id=153)]),
)


@given(jobs=st.permutations(SAME_NAME))
async def test_a_search_requests_jobs_of_the_same_name_only(jobs: Sequence[Job]) -> None:
    """A search by name also returns longer names: only jobs of the version's own name are followed."""
    cloud = FakeV1(*jobs)
    cloud.sorted_by_name = False

    await mapper(cloud, VersionCache(), ManualClock()).find(found(150, name="mine"), sizes={"0": 4501})

    assert [params["job_id"] for name, params in cloud.calls if name == "v1_list_versions"] == ["20", "21"]
    assert [params["search_content"] for name, params in cloud.calls if name == "v1_list_jobs"] == ["mine"]


async def test_versions_are_requested_until_all_are_found(versions: VersionCache, clock: ManualClock) -> None:
    """When the versions of one job have everything that was wanted, no other job is requested."""
    cloud = FakeV1(
        Job(id=1, name="a", versions=[Version(id=100), Version(id=101), Version(id=102)]),
        Job(id=2, name="b", versions=[Version(id=90), Version(id=200)]),
    )

    await mapper(cloud, versions, clock).find(found(100, 101), sizes={"0": 5})

    assert [params["job_id"] for name, params in cloud.calls if name == "v1_list_versions"] == ["1"]
    assert versions.record("102") is None  # not wanted, so not stored
    assert [parent.job_id for each in ("100", "101") if (parent := versions.parent(each))] == ["1", "1"]


async def test_known_versions_are_not_searched(versions: VersionCache, clock: ManualClock) -> None:
    """A version whose job is known costs no call, whatever else is searched."""
    cloud = FakeV1(
        Job(id=1, name="a", versions=[Version(id=101)]),
        Job(id=2, name="b", versions=[Version(id=102)], workspace="w1"),
    )
    find = mapper(cloud, versions, clock).find
    await find(found(101), sizes={"0": 1})
    cloud.calls.clear()

    await find(found(101) | found(102, workspace="w1"), sizes={"0": 1, "w1": 1})

    assert [params["workspace_id"] for _, params in cloud.calls] == ["w1"]


async def test_longer_names_wait_for_the_list(versions: VersionCache, clock: ManualClock) -> None:
    """A job that a search returned for its longer name is requested after the list only, and no job twice."""
    cloud = FakeV1(
        Job(id=30, name="mine", versions=[Version(id=1), Version(id=160)]),
        Job(id=31, name="mine too", versions=[Version(id=2), Version(id=153)]),
        Job(id=32, name="renamed", versions=[Version(id=150), Version(id=154)], workspace="0"),
    )

    await mapper(cloud, versions, clock).find(found(150, name="mine"), sizes={"0": 4501})

    assert [params.get("job_id") or params.get("search_content", "list") for _, params in cloud.calls] == [
        "mine",
        "30",
        "list",
        "31",
        "32",
    ]
    assert (parent := versions.parent("150")) is not None
    assert parent.job_id == "32"


@pytest.mark.parametrize("size", [2, 4501], ids=["list", "search"])
async def test_versions_that_are_read_on_the_way_are_stored_as_records(
    versions: VersionCache, clock: ManualClock, size: int
) -> None:
    """The record of a version that a versions call found has the name of the job and the workspace searched."""
    cloud = FakeV1(Job(id=1, name="zebra", versions=[Version(id=101), Version(id=102)], workspace="w1"))

    await mapper(cloud, versions, clock).find(found(101, name="zebra", workspace="w1"), sizes={"w1": size})

    assert (record := versions.record("101")) is not None
    assert (record.name, record.version, record.workspace_id) == ("zebra", "V0001", "w1")


async def test_without_a_workspace_the_default_one_is_searched(versions: VersionCache, clock: ManualClock) -> None:
    """A version of an unknown workspace is searched in workspace 0."""
    cloud = FakeV1(Job(id=1, name="a", versions=[Version(id=101)]))

    await mapper(cloud, versions, clock).find(found(101, workspace=""), sizes={})

    assert versions.parent("101") is not None
    assert [params["workspace_id"] for _, params in cloud.calls] == ["0"]


async def test_what_was_not_searched_proves_nothing_about_the_search(
    versions: VersionCache, clock: ManualClock
) -> None:
    """A short list is read without a search, and a version that no call found is not evidence: names are searched."""
    cloud = FakeV1(Job(id=1, name="a", versions=[Version(id=101)]), Job(id=2, name="b", versions=[Version(id=102)]))
    find = mapper(cloud, versions, clock).find
    await find(found(101, name="a"), sizes={"0": 2})
    await find(found(999, name="deleted"), sizes={"0": 4501})
    cloud.calls.clear()

    await find(found(102, name="b"), sizes={"0": 4501})

    assert [params.get("search_content") for _, params in cloud.calls] == ["b"]


@pytest.mark.parametrize("size", [3, 4501], ids=["list", "search"])
async def test_bad_rows_are_noted_and_skipped_alone(versions: VersionCache, clock: ManualClock, size: int) -> None:
    """Rows without a job, without a number of versions, or of a wrong type; and versions that are none."""
    cloud = FakeV1(
        Job(id=1, name="x", versions=[Version(id=7)]),
        Job(id=2, name="x", versions=[Version(id=8), Version(id=170)]),
        Job(id=3, name="x", versions=[Version(id=150), Version(id=160)]),
        Job(id=4, name="x", versions=[Version(id=151)]),
    )
    jobs, records = cloud._v1_list_jobs, cloud._v1_list_versions

    def odd_jobs(params: Mapping[str, str]) -> dict[str, Any]:
        answer = jobs(params)
        if not answer["jobs"]:
            return answer
        nameless, uncounted, *good = answer["jobs"]
        rows = [17, nameless | {"job_id": None}, uncounted | {"version_count": "many"}, *good]
        return answer | {"jobs": rows, "job_total_count": len(rows)}

    def odd_versions(params: Mapping[str, str]) -> dict[str, Any]:
        answer = records(params)
        rows = [None, {"version_id": []}, *answer["versions"]]
        return answer | {"versions": rows, "version_count": len(rows)}

    cloud._v1_list_jobs, cloud._v1_list_versions = odd_jobs, odd_versions  # type: ignore[method-assign]
    notes = Notes()

    await Mapper(cloud, versions, clock=clock, note=notes).find(found(150, 151, name="x"), sizes={"0": size})

    assert [parent.job_id for each in ("150", "151") if (parent := versions.parent(each))] == ["3", "4"]
    assert [params["job_id"] for name, params in cloud.calls if name == "v1_list_versions"] == ["3"]
    assert {"v1.jobs", "v1.job_id", "v1.version_count", "v1.versions", "v1.version_id"} == set(notes.fields)
