from typing import Any

import aiohttp
import pytest

from exporter.simulator import SECOND_WORKSPACE, Job, Simulator
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Visitor, ids


def submit(cloud: Simulator, clock: ManualClock, number: int, **how: Any) -> list[Job]:
    """Submit jobs a second apart; the newest is the last one."""
    jobs = []
    for _ in range(number):
        clock.turn(1)
        jobs.append(cloud.world.submit(**how))
    return jobs


async def test_offset_counts_pages(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """Offset 1 with limit 50 is the second page of 50, and offset 50 is beyond the list (trap 1)."""
    jobs = [job.id for job in reversed(submit(cloud, clock, 120))]

    assert ids(await visitor.search(offset=0, limit=50)) == jobs[:50]
    assert ids(await visitor.search(offset=1, limit=50)) == jobs[50:100]
    assert ids(await visitor.search(offset=2, limit=50)) == jobs[100:]
    assert ids(await visitor.search(offset=50, limit=50)) == []


async def test_offset_counts_records(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """With v2-offset-records offset 1 is the page shifted by one job."""
    cloud.quirks.on("v2-offset-records")
    jobs = [job.id for job in reversed(submit(cloud, clock, 60))]

    assert ids(await visitor.search(offset=1, limit=50)) == jobs[1:51]
    assert ids(await visitor.search(offset=50, limit=50)) == jobs[50:]


async def test_offset_is_ignored(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """With v2-offset-ignored every page is the first."""
    cloud.quirks.on("v2-offset-ignored")
    submit(cloud, clock, 60)

    assert ids(await visitor.search(offset=1, limit=50)) == ids(await visitor.search(offset=0, limit=50))


async def test_count_and_total(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """Total is every job of the project, count those that match; with v2-count-page the rows on the page (trap 3)."""
    jobs = submit(cloud, clock, 5)
    for job in jobs[:3]:
        cloud.world.start(job)
    running = [{"key": "phase", "operator": "in", "value": ["Running"]}]

    page = (await visitor.search(limit=2, filters=running)).body
    assert (page["total"], page["count"], len(page["items"])) == (5, 3, 2)

    cloud.quirks.on("v2-count-page")
    page = (await visitor.search(limit=2, filters=running)).body
    assert (page["total"], page["count"], len(page["items"])) == (5, 2, 2)


async def test_default_workspace_is_not_all(visitor: Visitor, cloud: Simulator) -> None:
    """A search without workspace_id, or with "0", sees the default workspace only (trap 4)."""
    here, there = cloud.world.submit(), cloud.world.submit(workspace=SECOND_WORKSPACE)

    assert ids(await visitor.search()) == [here.id]
    assert ids(await visitor.search(workspace_id="0")) == [here.id]
    assert ids(await visitor.search(workspace_id=SECOND_WORKSPACE)) == [there.id]


@pytest.mark.parametrize(
    "given, expected",
    [
        pytest.param({"key": "phase", "operator": "in", "value": ["Running", "creating"]}, {"a", "b"}, id="phase"),
        pytest.param(
            {"key": "phase", "operator": "in", "value": ["Failed", "Running"]}, {"b", "c"}, id="ended phase"
        ),
        pytest.param({"key": "phase", "operator": "not", "value": ["Failed"]}, {"a", "b"}, id="not"),
        pytest.param({"key": "name", "operator": "like", "value": ["A"]}, {"a"}, id="like"),
        pytest.param({"key": "user_name", "operator": "in", "value": ["robotics"]}, {"b"}, id="user"),
        pytest.param({"key": "pool_id", "operator": "in", "value": ["pool-x"]}, {"c"}, id="pool"),
        pytest.param({"key": "pool_id", "operator": "in", "value": [""]}, {"a", "b"}, id="public pool"),
        pytest.param({"key": "kind", "operator": "in", "value": []}, {"a", "b", "c"}, id="empty value is no filter"),
        pytest.param(
            {
                "key": "create_time",
                "operator": "between",
                "value": ["2023-11-14T22:13:21+00:00", "2023-11-14T22:13:21+00:00"],
            },
            {"b"},
            id="created at 22:13:21",
        ),
    ],
)
async def test_filters(
    visitor: Visitor, cloud: Simulator, clock: ManualClock, given: dict[str, Any], expected: set[str]
) -> None:
    """Each key and operator finds the jobs that it should: a is being created, b runs, c failed in a pool."""
    cloud.world.submit("a")
    clock.turn(1)
    cloud.world.start(cloud.world.submit("b", user="robotics"))
    clock.turn(1)
    cloud.world.fail(cloud.world.submit("c", pool="pool-x"))

    answer = await visitor.search(filters=[given])

    assert {item["metadata"]["name"] for item in answer.body["items"]} == expected


async def test_filters_ignored(visitor: Visitor, cloud: Simulator) -> None:
    """With v2-filters-ignored a filter changes nothing."""
    cloud.quirks.on("v2-filters-ignored")
    job = cloud.world.submit()

    assert ids(await visitor.search(filters=[{"key": "phase", "operator": "in", "value": ["Failed"]}])) == [job.id]


@pytest.mark.parametrize(
    "body, code",
    [
        pytest.param({"limit": 51}, "2788", id="limit above 50 (trap 2)"),
        pytest.param({"limit": 0}, "2788", id="limit 0"),
        pytest.param({"offset": -1}, "2788", id="negative offset"),
        pytest.param({"offset": True}, "2788", id="offset that is no number"),
        pytest.param({"sort_by": "luck"}, "2790", id="sort"),
        pytest.param({"order": "up"}, "2790", id="order"),
        pytest.param({"filters": "phase"}, "2807", id="filters that are no list"),
        pytest.param({"filters": ["phase"]}, "2807", id="filter that is no object"),
        pytest.param({"filters": [{"key": "phase"}] * 21}, "2807", id="too many filters"),
        pytest.param({"filters": [{"key": "mood", "operator": "in", "value": ["a"]}]}, "2807", id="key"),
        pytest.param({"filters": [{"key": "phase", "operator": "has", "value": ["a"]}]}, "2808", id="operator"),
        pytest.param({"filters": [{"key": "phase", "operator": "between", "value": ["a"]}]}, "2808", id="between"),
        pytest.param({"filters": [{"key": "phase", "operator": "in", "value": [1]}]}, "2809", id="value of numbers"),
        pytest.param({"filters": [{"key": "phase", "operator": "in", "value": ["a"] * 11}]}, "2809", id="values"),
        pytest.param(
            {"filters": [{"key": "create_time", "operator": "in", "value": ["a"]}]}, "2808", id="time without between"
        ),
        pytest.param(
            {"filters": [{"key": "create_time", "operator": "between", "value": ["a", "b"]}]}, "2809", id="no moments"
        ),
        pytest.param(
            {
                "filters": [
                    {
                        "key": "create_time",
                        "operator": "between",
                        "value": ["2023-01-01T00:00:00Z", "2023-02-02T00:00:00Z"],
                    }
                ]
            },
            "2809",
            id="more than 31 days",
        ),
    ],
)
async def test_refusals(visitor: Visitor, body: dict[str, Any], code: str) -> None:
    """What the documents do not allow is 400 with the code that they list for it."""
    answer = await visitor.search(**body)

    assert (answer.status, answer.body["error_code"]) == (400, f"ModelArts.{code}")


@pytest.mark.parametrize("body", [b"[1]", b"{", b"text"], ids=["a list", "half an object", "no JSON"])
async def test_body_that_is_no_object(visitor: Visitor, cloud: Simulator, body: bytes) -> None:
    """A body that is no JSON object is 400."""
    url = f"{cloud.url}/v2/{visitor.project}/training-job-searches"
    headers = {"X-Auth-Token": await visitor.token()}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["error_code"] == "ModelArts.2787"


async def test_no_body_is_an_empty_search(visitor: Visitor, cloud: Simulator) -> None:
    """A search without a body has every default: the newest fifty of the default workspace."""
    job = cloud.world.submit()

    answer = await visitor.ask(
        "POST", f"/v2/{visitor.project}/training-job-searches", headers={"X-Auth-Token": await visitor.token()}
    )

    assert (answer.body["limit"], ids(answer)) == (50, [job.id])


async def test_numbers_may_come_as_text(visitor: Visitor, cloud: Simulator) -> None:
    """Offset and limit are taken as strings too."""
    cloud.world.submit()

    assert len(ids(await visitor.search(offset="0", limit="5"))) == 1


@pytest.mark.parametrize("sort_by", ["name", "user_name", "duration", "phase"])
async def test_sorting(visitor: Visitor, cloud: Simulator, clock: ManualClock, sort_by: str) -> None:
    """Ascending and descending by any key are each other's reverse."""
    for number, name in enumerate("bca"):
        job = cloud.world.submit(name, user=f"user-{name}")
        if number:
            cloud.world.start(job, at=clock.time() - number)
            cloud.world.fail(job) if number == 2 else cloud.world.complete(job)

    ascending = ids(await visitor.search(sort_by=sort_by, order="asc"))

    assert len(ascending) == 3
    assert ids(await visitor.search(sort_by=sort_by, order="desc")) == ascending[::-1]


async def test_oldest_first(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """Ascending by creation puts a job submitted in the past where it belongs."""
    late = cloud.world.submit()
    early = cloud.world.submit(submitted_at=clock.time() - 100)

    assert ids(await visitor.search(order="asc")) == [early.id, late.id]
    assert ids(await visitor.search(order="desc")) == [late.id, early.id]


async def test_list_follows_changes(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """A listing seen before a submission and a deletion is not served again after it."""
    first = cloud.world.submit()
    assert ids(await visitor.search()) == [first.id]

    clock.turn(1)
    second = cloud.world.submit()
    cloud.world.delete(first)

    assert ids(await visitor.search()) == [second.id]
