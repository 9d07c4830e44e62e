from typing import Any

import pytest

from exporter.simulator import SECOND_WORKSPACE, SECRET_MARKER, Engine, Job, Simulator, World
from tests.clock import ManualClock
from tests.unit.simulator.client import Client

JOBS = "/v1/{project}/training-jobs"


def running(world: World, name: str = "", **how: Any) -> Job:
    job = world.submit(name, api="v1", **how)
    world.start(job)
    return job


def path(job: Job) -> str:
    assert job.v1_job is not None
    return f"{JOBS}/{job.v1_job.id}"


async def overview(client: Client, query: str = "?limit=0") -> list[dict[str, Any]]:
    response = await client.get(f"{JOBS}/versions{query}")
    assert response.body["is_success"] is True
    rows: list[dict[str, Any]] = response.body["versions"]
    return rows


async def jobs(client: Client, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await client.get(f"{JOBS}{query}")).body["jobs"]
    return rows


async def versions(client: Client, job: Job, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await client.get(f"{path(job)}/versions{query}")).body["versions"]
    return rows


async def detail(client: Client, job: Job) -> dict[str, Any]:
    body: dict[str, Any] = (await client.get(f"{path(job)}/versions/{job.number}")).body
    return body


@pytest.mark.parametrize(
    "moves, status",
    [
        pytest.param(("start", "stop"), 9, id="killing"),
        pytest.param(("terminate",), 13, id="cancelled while it waited"),
        pytest.param(("create_fail",), 3, id="image failed"),
    ],
)
async def test_statuses(client: Client, cloud: Simulator, moves: tuple[str, ...], status: int) -> None:
    """A status is equal in overview, job list, versions and detail (the other states: tests/contract)."""
    job = cloud.world.submit(api="v1", engine=Engine(image="swr.example.invalid/a:1"))
    for move in moves:
        getattr(cloud.world, move)(job)

    rows = [*await overview(client), *await jobs(client), *await versions(client, job), await detail(client, job)]

    assert [row["status"] for row in rows] == [status] * 4


async def test_overview_pages(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """Limit 0 returns all, the default is 20, and the offset counts records, or pages with the quirk (trap 5)."""
    numbers: list[int] = []
    for _ in range(25):
        clock.turn(1)
        numbers.insert(0, cloud.world.submit(api="v1").number)

    async def listed(query: str) -> list[int]:
        return [row["version_id"] for row in await overview(client, query)]

    assert await listed("?limit=0") == numbers
    assert await listed("") == numbers[:20]
    assert await listed("?limit=10&offset=5") == numbers[5:15]
    assert await listed("?limit=10&order=asc") == numbers[::-1][:10]
    cloud.quirks.on("v1-overview-offset-pages")
    assert await listed("?limit=10&offset=2") == numbers[20:]
    cloud.quirks.on("v1-pages-repeat")
    assert await listed("?limit=10&offset=2") == numbers[:10]
    assert await jobs(client, "?page=2") == await jobs(client, "?page=1")


@pytest.mark.parametrize(
    "quirk, status, code",
    [
        ("v1-overview-missing", 404, "APIG.0101"),
        ("v1-overview-as-job", 400, "ModelArts.0104"),
        ("v1-overview-no-limit-0", 200, "ModelArts.0104"),
        ("no-v1", 404, "APIG.0101"),
    ],
)
async def test_overview_quirks(client: Client, cloud: Simulator, quirk: str, status: int, code: str) -> None:
    """Each quirk makes the overview with limit=0 fail in its own way."""
    cloud.quirks.on(quirk)

    response = await client.get(f"{JOBS}/versions?limit=0")

    assert (response.status, response.body["error_code"]) == (status, code)


async def test_clamped_pages(client: Client, cloud: Simulator) -> None:
    """With v1-page-clamped a page of 1000 has 100 rows."""
    cloud.quirks.on("v1-page-clamped")
    for _ in range(101):
        cloud.world.submit(api="v1")

    assert len(await jobs(client, "?per_page=1000")) == 100


async def test_versions(client: Client, cloud: Simulator) -> None:
    """Versions are listed newest first and named in order; a version belongs to one job (trap 27)."""
    first = running(cloud.world, "bert")
    for _ in range(2):
        cloud.world.submit(api="v1", version_of=first)
    other = running(cloud.world, "other")

    rows = await versions(client, first)
    assert [row["version_name"] for row in rows] == ["V0003", "V0002", "V0001"]
    assert [row["pre_version_id"] for row in rows] == [rows[1]["version_id"], rows[2]["version_id"], None]
    assert [row["version_name"] for row in await versions(client, first, "?per_page=2&page=2")] == ["V0001"]
    response = await client.get(f"{path(first)}/versions/{other.number}")
    assert response.body["error_code"] == "ModelArts.0105"


@pytest.mark.parametrize(
    "quirk, in_versions, in_detail",
    [
        pytest.param(None, str, dict, id="text in the versions, an object in the detail (trap 17)"),
        pytest.param("v1-metrics-text", str, str, id="text"),
        pytest.param("v1-metrics-object", dict, dict, id="objects"),
        pytest.param("v1-metrics-null", type(None), type(None), id="null"),
    ],
)
async def test_shape_of_metric_lists(
    client: Client, cloud: Simulator, quirk: str | None, in_versions: type, in_detail: type
) -> None:
    """Metric lists are text, objects or null."""
    if quirk:
        cloud.quirks.on(quirk)
    job = running(cloud.world)

    for name in ("system_metric_list", "model_metric_list"):
        assert type((await versions(client, job))[0][name]) is in_versions
        assert type((await detail(client, job))[name]) is in_detail


async def test_values_set_manually(client: Client, cloud: Simulator) -> None:
    """Usage numbers become text with two decimals, -1 becomes "0", text is unchanged; an overlay replaces fields."""
    job = running(cloud.world)
    job.usage(gpu=[-1, 50, "0.00"], cpu=["0", "3.5", "0"])
    job.overlay({"status": "12", "gpu_num": "8"})

    body = await detail(client, job)

    assert body["system_metric_list"] == {
        "gpuUtil": ["0", "50.00", "0.00"],
        "cpuUsage": ["0", "3.5", "0"],
        "interval": 1,
    }
    assert body["gpu_num"] == "8"
    assert (await overview(client))[0]["status"] == "12"


async def test_model_quality(client: Client, cloud: Simulator) -> None:
    """Some completed versions have recall, precision, accuracy and f1 as fractions."""
    for _ in range(12):
        cloud.world.complete(running(cloud.world))

    metrics = [(await detail(client, job))["model_metric_list"] for job in cloud.world.jobs]
    quality = [each["total_metric"]["total_metric_values"] for each in metrics if each]

    assert 0 < len(quality) < 12
    assert all(0 <= each[name] <= 1 for each in quality for name in ("recall", "precision", "accuracy", "f1_score"))


async def test_quirks_of_all_versions(client: Client, cloud: Simulator) -> None:
    """Quirks add secrets to every version, status 77 to some, and turn numbers into strings (trap 16)."""
    for _ in range(30):
        running(cloud.world)

    cloud.quirks.on("secrets-in-answers")
    body = await detail(client, cloud.world.jobs[0])
    assert body["parameter"][-1]["value"] == f"{SECRET_MARKER}-parameter"
    assert SECRET_MARKER in body["user_command"]
    cloud.quirks.on("unknown-values")
    assert {row["status"] for row in await overview(client)} == {8, 77}
    cloud.quirks.on("v1-numbers-as-strings")
    assert {row["status"] for row in await overview(client)} == {"8", "77"}


async def test_changes_during_a_poll(client: Client, cloud: Simulator) -> None:
    """With shifting-pages a job is submitted before a later page; with vanishing a requested job is deleted."""
    cloud.quirks.on("shifting-pages")
    for query in ("?page=2", "/versions?offset=1"):
        await client.get(f"{JOBS}{query}")
    assert len(cloud.world.jobs) == 2

    cloud.quirks.on("vanishing")
    job = running(cloud.world, "bert")
    response = await client.get(f"{path(job)}/versions")
    assert response.body["is_success"] is False
    assert job.id not in {row["version_id"] for row in await overview(client)}


@pytest.mark.parametrize("quirk, status", [(None, 200), ("v1-failures-400", 400)])
async def test_failures(client: Client, cloud: Simulator, quirk: str | None, status: int) -> None:
    """A v1 failure is is_success false with status 200, or 400 with the quirk (trap 8)."""
    if quirk:
        cloud.quirks.on(quirk)

    response = await client.get(f"{JOBS}/99/versions")

    assert response.status == status
    assert response.body == {
        "is_success": False,
        "error_message": "training job 99 does not exist",
        "error_code": "ModelArts.0105",
    }


@pytest.mark.parametrize(
    "query",
    [
        "/versions?limit=x",
        "/versions?sort_by=luck",
        "?per_page=0",
        "?per_page=1001",
        "?page=0",
        "?page=65536",
        "?sortBy=luck",
        "/versions/versions",
        "/1/versions/2",
    ],
)
async def test_bad_requests(client: Client, query: str) -> None:
    """A parameter out of its documented range is a failure with status 200."""
    response = await client.get(f"{JOBS}{query}")

    assert (response.status, response.body["is_success"]) == (200, False)


async def test_workspaces_and_catalogues(client: Client, cloud: Simulator) -> None:
    """There are flavors and engines; workspaces exist with no-v1 too."""
    specs = (await client.get("/v1/{project}/job/resource-specs?job_type=train")).body["specs"]
    engines = (await client.get("/v1/{project}/job/ai-engines?job_type=train")).body["engines"]
    cloud.quirks.on("no-v1")
    workspaces = (await client.get("/v1/{project}/workspaces")).body["workspaces"]

    assert {spec["spec_code"] for spec in specs} >= {"modelarts.vm.gpu.8v100NV32", "modelarts.vm.cpu.8u"}
    assert len(engines) == 4
    assert [each["id"] for each in workspaces] == [0, SECOND_WORKSPACE]


CREATE = {
    "job_name": "created",
    "job_desc": "d",
    "config": {"worker_server_num": 2, "spec_id": 4, "engine_id": 1, "app_url": "/c/", "boot_file_url": "/c/t.py"},
}


async def test_created_job(client: Client, cloud: Simulator) -> None:
    """POST returns ids and status 1; the job then has a random script and passes through statuses 2, 4 and 7."""
    body = (await client.post(JOBS, CREATE)).body

    assert (body["is_success"], body["status"], body["version_name"]) == (True, 1, "V0001")
    job = cloud.world.job(str(body["version_id"]))
    seen: list[int] = []
    while not job.state.runs and len(seen) < 400:
        cloud.world.advance(1)
        seen.append((await overview(client))[0]["status"])
    assert list(dict.fromkeys(seen))[-4:] == [2, 4, 7, 8]
    cloud.world.advance(14 * 86_400)
    assert job.state.finished


@pytest.mark.parametrize(
    "body, code",
    [
        pytest.param({**CREATE, "job_name": "taken"}, "0103", id="name taken"),
        pytest.param({**CREATE, "job_name": "no spaces"}, "0104", id="name"),
        pytest.param({"job_name": "a"}, "0104", id="no config"),
        pytest.param({"job_name": "a", "config": {"spec_id": 99}}, "0104", id="spec_id"),
        pytest.param({"job_name": "a", "config": {"flavor": {"code": "x"}}}, "0104", id="flavor"),
        pytest.param("text", "2787", id="no JSON object"),
    ],
)
async def test_create_errors(client: Client, cloud: Simulator, body: object, code: str) -> None:
    """An invalid create body fails with the documented code."""
    running(cloud.world, "taken")

    assert (await client.post(JOBS, body)).body["error_code"] == f"ModelArts.{code}"


async def test_stop_and_delete(client: Client, cloud: Simulator) -> None:
    """A stopped version is being killed, 20 s later killed; deleting a job deletes all its versions."""
    job = running(cloud.world)
    cloud.world.submit(api="v1", version_of=job)

    assert (await client.post(f"{path(job)}/versions/{job.number}/stop")).body == {"is_success": True}
    assert {row["status"] for row in await overview(client)} == {1, 9}
    cloud.world.advance(20)
    assert {row["status"] for row in await overview(client)} == {1, 12}

    assert (await client.delete(path(job))).body == {"is_success": True}
    assert await overview(client) == []
