from typing import Any

import pytest

from exporter.simulator import Simulator
from tests.clock import ManualClock
from tests.unit.simulator.client import Client, Response


def ids(response: Response) -> list[str]:
    return [item["metadata"]["id"] for item in response.body["items"]]


def submit(cloud: Simulator, clock: ManualClock, number: int) -> list[str]:
    """Submit jobs a second apart, and return their ids, newest first."""
    jobs = []
    for _ in range(number):
        clock.turn(1)
        jobs.append(cloud.world.submit().id)
    return jobs[::-1]


@pytest.mark.parametrize(
    "quirk, offset, first",
    [
        pytest.param(None, 1, 50, id="offset counts pages (trap 1)"),
        pytest.param(None, 50, 60, id="page 50 is empty"),
        pytest.param("v2-offset-records", 1, 1, id="offset counts records"),
        pytest.param("v2-offset-ignored", 1, 0, id="offset has no effect"),
    ],
)
async def test_offset(client: Client, clock: ManualClock, quirk: str | None, offset: int, first: int) -> None:
    """Of 60 jobs a page of 50 begins where offset and quirk say."""
    cloud = client.cloud
    jobs = submit(cloud, clock, 60)
    if quirk:
        cloud.quirks.on(quirk)

    assert ids(await client.search(offset=offset, limit=50)) == jobs[first : first + 50]


async def test_shifting_pages(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """With shifting-pages a job is submitted before the second page is answered."""
    submit(cloud, clock, 4)
    cloud.quirks.on("shifting-pages")

    await client.search(limit=2)
    assert len(cloud.world.jobs) == 4
    await client.search(limit=2, offset=1)
    assert len(cloud.world.jobs) == 5


async def test_count_and_total(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """`total` counts all jobs of the project, `count` those that match, with v2-count-page the rows (trap 3)."""
    for job_id in submit(cloud, clock, 5)[:3]:
        cloud.world.start(cloud.world.job(job_id))
    running = [{"key": "phase", "operator": "in", "value": ["Running"]}]

    async def numbers() -> tuple[int, int, int]:
        page = (await client.search(limit=2, filters=running)).body
        return page["total"], page["count"], len(page["items"])

    assert await numbers() == (5, 3, 2)
    cloud.quirks.on("v2-count-page")
    assert await numbers() == (5, 2, 2)


@pytest.mark.parametrize(
    "given, expected",
    [
        pytest.param(("phase", "in", ["Running", "creating"]), {"a", "b"}, id="phase"),
        pytest.param(("phase", "in", ["Failed", "Running"]), {"b", "c"}, id="final phase"),
        pytest.param(("phase", "not", ["Failed"]), {"a", "b"}, id="not"),
        pytest.param(("name", "like", ["A"]), {"a"}, id="like"),
        pytest.param(("user_name", "in", ["robotics"]), {"b"}, id="user"),
        pytest.param(("pool_id", "in", ["pool-x"]), {"c"}, id="pool"),
        pytest.param(("pool_id", "in", [""]), {"a", "b"}, id="public pool"),
        pytest.param(("kind", "in", []), {"a", "b", "c"}, id="empty value is no filter"),
        pytest.param(("create_time", "between", ["2023-11-14T22:13:21+00:00"] * 2), {"b"}, id="created at 22:13:21"),
    ],
)
async def test_filters(
    client: Client, cloud: Simulator, clock: ManualClock, given: tuple[str, str, list[str]], expected: set[str]
) -> None:
    """Each key and operator finds its jobs: a is being created, b runs, c failed in a pool."""
    cloud.world.submit("a")
    clock.turn(1)
    cloud.world.start(cloud.world.submit("b", user="robotics"))
    clock.turn(1)
    cloud.world.fail(cloud.world.submit("c", pool="pool-x"))

    async def names() -> set[str]:
        response = await client.search(filters=[dict(zip(("key", "operator", "value"), given, strict=True))])
        return {item["metadata"]["name"] for item in response.body["items"]}

    assert await names() == expected
    cloud.quirks.on("v2-filters-ignored")
    assert await names() == {"a", "b", "c"}


def one_filter(key: str, operator: str, value: object) -> dict[str, Any]:
    return {"filters": [{"key": key, "operator": operator, "value": value}]}


@pytest.mark.parametrize(
    "body, code",
    [
        pytest.param({"limit": 51}, "2788", id="limit above 50 (trap 2)"),
        pytest.param({"limit": 0}, "2788", id="limit 0"),
        pytest.param({"offset": -1}, "2788", id="negative offset"),
        pytest.param({"offset": True}, "2788", id="offset is no number"),
        pytest.param({"sort_by": "luck"}, "2790", id="sort"),
        pytest.param({"order": "up"}, "2790", id="order"),
        pytest.param({"filters": "phase"}, "2807", id="filters are no list"),
        pytest.param({"filters": ["phase"]}, "2807", id="filter is no object"),
        pytest.param({"filters": [{"key": "phase"}] * 21}, "2807", id="too many filters"),
        pytest.param(one_filter("mood", "in", ["a"]), "2807", id="key"),
        pytest.param(one_filter("phase", "has", ["a"]), "2808", id="operator"),
        pytest.param(one_filter("phase", "between", ["a"]), "2808", id="between"),
        pytest.param(one_filter("phase", "in", [1]), "2809", id="numbers as values"),
        pytest.param(one_filter("phase", "in", ["a"] * 11), "2809", id="too many values"),
        pytest.param(one_filter("create_time", "in", ["a"]), "2808", id="time without between"),
        pytest.param(one_filter("create_time", "between", ["a", "b"]), "2809", id="malformed times"),
        pytest.param(
            one_filter("create_time", "between", ["2023-01-01T00:00:00Z", "2023-02-02T00:00:00Z"]),
            "2809",
            id="more than 31 days",
        ),
    ],
)
async def test_errors(client: Client, body: dict[str, Any], code: str) -> None:
    """An invalid search is 400 with the documented code."""
    response = await client.search(**body)

    assert (response.status, response.body["error_code"]) == (400, f"ModelArts.{code}")


async def test_listing_follows_changes(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """A cached listing is dropped by a submission, also of an older job, and by a deletion."""
    late = cloud.world.submit()
    assert ids(await client.search()) == [late.id]
    early = cloud.world.submit(submitted_at=clock.time() - 100)
    assert ids(await client.search()) == [late.id, early.id]

    cloud.world.delete(late)

    assert ids(await client.search()) == [early.id]
