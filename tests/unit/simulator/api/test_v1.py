import json
from typing import Any

import pytest

from exporter.simulator import SECOND_WORKSPACE, SECRET_MARKER, Engine, Job, Simulator, World
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Answer, Visitor

JOBS = "/v1/{project}/training-jobs"


def running(world: World, name: str = "", **how: Any) -> Job:
    job = world.submit(name, api="v1", **how)
    world.start(job)
    return job


def number(job: Job) -> int:
    assert job.v1_job is not None
    return job.v1_job.id


async def overview(visitor: Visitor, query: str = "?limit=0") -> list[dict[str, Any]]:
    answer = await visitor.get(f"{JOBS}/versions{query}")
    assert answer.body["is_success"] is True
    rows: list[dict[str, Any]] = answer.body["versions"]
    return rows


async def versions(visitor: Visitor, job: Job, query: str = "") -> Answer:
    return await visitor.get(f"{JOBS}/{number(job)}/versions{query}")


async def record(visitor: Visitor, job: Job) -> dict[str, Any]:
    body: dict[str, Any] = (await visitor.get(f"{JOBS}/{number(job)}/versions/{job.number}")).body
    return body


@pytest.mark.parametrize(
    "moves, status",
    [
        pytest.param((), 1, id="initialising"),
        pytest.param(("enqueue",), 7, id="waiting"),
        pytest.param(("start",), 8, id="running"),
        pytest.param(("start", "stop"), 9, id="killing"),
        pytest.param(("start", "complete"), 10, id="completed"),
        pytest.param(("start", "fail"), 11, id="failed"),
        pytest.param(("start", "terminate"), 12, id="killed"),
        pytest.param(("terminate",), 13, id="cancelled while it waited"),
        pytest.param(("start", "lose"), 14, id="lost"),
        pytest.param(("create_fail",), 5, id="submission failed"),
    ],
)
async def test_statuses(visitor: Visitor, cloud: Simulator, moves: tuple[str, ...], status: int) -> None:
    """Each state has its number, in the overview, the job list, the versions and the detail alike."""
    job = cloud.world.submit(api="v1")
    for move in moves:
        getattr(cloud.world, move)(job)

    (row,) = await overview(visitor)
    (listed,) = (await visitor.get(JOBS)).body["jobs"]
    (version,) = (await versions(visitor, job)).body["versions"]
    detail = await record(visitor, job)

    assert [row["status"], listed["status"], version["status"], detail["status"]] == [status] * 4


async def test_image_that_could_not_be_built(visitor: Visitor, cloud: Simulator) -> None:
    """A job with an image of its own that could not be created is IMAGE_FAILED, 3."""
    job = cloud.world.submit(api="v1", engine=Engine(image="swr.example.invalid/a:1"))
    cloud.world.create_fail(job)

    assert (await overview(visitor))[0]["status"] == 3


async def test_overlaid_status(visitor: Visitor, cloud: Simulator) -> None:
    """A test can lay any status over a version, text included."""
    job = running(cloud.world)
    job.overlay({"status": "12", "gpu_num": "8"})

    assert (await overview(visitor))[0]["status"] == "12"
    assert (await record(visitor, job))["gpu_num"] == "8"


async def test_overview_row(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """An overview row has times in ms and the accelerators of the whole job, and no job id (trap 24)."""
    job = cloud.world.submit("bert", api="v1", pool="pool7e3577e3", nodes=2)
    clock.turn(5)
    cloud.world.start(job)
    clock.turn(60)
    cloud.world.complete(job)

    (row,) = await overview(visitor)

    assert row == {
        "version_id": job.number,
        "version_name": "bert",
        "status": 10,
        "create_time": 1_700_000_000_000,
        "start_time": 1_700_000_005_000,
        "end_time": 1_700_000_065_000,
        "duration": 60_000,
        "version_desc": None,
        "pool_id": "pool7e3577e3",
        "flavor_code": "modelarts.pool.visual.8xlarge",
        "npu_num": 0,
        "gpu_num": 16,  # 2 nodes of 8
    }


async def test_overview_gpu_per_node(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk the overview's numbers are for one node."""
    cloud.quirks.on("v1-overview-gpu-per-node")
    running(cloud.world, nodes=2, accelerator="npu")

    (row,) = await overview(visitor)

    assert (row["gpu_num"], row["npu_num"]) == (0, 8)


async def test_overview_pages(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """Limit 0 is everything, the default is 20, the offset counts records, or pages with the quirk (trap 5)."""
    jobs = []
    for _ in range(25):
        clock.turn(1)
        jobs.append(cloud.world.submit(api="v1").number)
    jobs.reverse()

    async def listed(query: str) -> list[int]:
        return [row["version_id"] for row in await overview(visitor, query)]

    assert await listed("?limit=0") == jobs
    assert await listed("") == jobs[:20]
    assert await listed("?limit=10&offset=5") == jobs[5:15]
    assert await listed("?limit=10&order=asc") == jobs[::-1][:10]
    cloud.quirks.on("v1-overview-offset-pages")
    assert await listed("?limit=10&offset=2") == jobs[20:]


async def test_overview_narrowed(visitor: Visitor, cloud: Simulator) -> None:
    """Pool, status and workspace narrow the overview; the default workspace is not all (trap 4)."""
    a = running(cloud.world, "a", pool="pool-x")
    b = cloud.world.submit("b", api="v1")
    c = cloud.world.submit("c", api="v1", workspace=SECOND_WORKSPACE)

    async def listed(query: str) -> set[int]:
        return {row["version_id"] for row in await overview(visitor, query)}

    assert await listed("?limit=0") == {a.number, b.number}
    assert await listed("?limit=0&pool_id=pool-x") == {a.number}
    assert await listed("?limit=0&status=1") == {b.number}
    assert await listed(f"?limit=0&workspace_id={SECOND_WORKSPACE}") == {c.number}


@pytest.mark.parametrize("sort_by", ["job_name", "job_desc", "status", "duration"])
async def test_overview_sorted(visitor: Visitor, cloud: Simulator, clock: ManualClock, sort_by: str) -> None:
    """Every documented sort key sorts, both ways."""
    for index, name in enumerate("bca"):
        job = cloud.world.submit(name, api="v1", description=name)
        if index:
            cloud.world.start(job, at=clock.time() - index)
            cloud.world.fail(job) if index == 1 else cloud.world.complete(job)

    ascending = [row["version_id"] for row in await overview(visitor, f"?limit=0&sort_by={sort_by}&order=asc")]
    descending = [row["version_id"] for row in await overview(visitor, f"?limit=0&sort_by={sort_by}&order=desc")]

    assert descending == ascending[::-1]


async def test_overview_missing(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk the overview is 404 APIG.0101, while the job list goes on."""
    cloud.quirks.on("v1-overview-missing")

    answer = await visitor.get(f"{JOBS}/versions")

    assert (answer.status, answer.body["error_code"]) == (404, "APIG.0101")
    assert (await visitor.get(JOBS)).status == 200


async def test_overview_as_job(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk the overview is taken for the job called "versions": 400."""
    cloud.quirks.on("v1-overview-as-job")

    answer = await visitor.get(f"{JOBS}/versions")

    assert (answer.status, answer.body["is_success"]) == (400, False)


async def test_overview_without_limit_0(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk limit=0 is refused."""
    cloud.quirks.on("v1-overview-no-limit-0")

    assert (await visitor.get(f"{JOBS}/versions?limit=0")).body["error_code"] == "ModelArts.0104"


async def test_job_list_pages_from_one(visitor: Visitor, cloud: Simulator) -> None:
    """Pages count from 1; a page beyond the list is empty; jobs come by name (traps 5 and 7)."""
    for name in "cab":
        cloud.world.submit(name, api="v1")

    async def names(query: str) -> list[str]:
        return [row["job_name"] for row in (await visitor.get(f"{JOBS}{query}")).body["jobs"]]

    assert await names("?per_page=2&page=1") == ["a", "b"]
    assert await names("?per_page=2&page=2") == ["c"]
    assert await names("?per_page=2&page=3") == []
    assert await names("?order=desc") == ["c", "b", "a"]
    assert await names("?sortBy=create_time") == ["c", "a", "b"]
    assert await names("?sortBy=version_count&search_content=b") == ["b"]
    assert await names("?status=8") == []


async def test_job_row(visitor: Visitor, cloud: Simulator) -> None:
    """A row has the newest version's id and status, and its user unless the quirk says otherwise."""
    first = running(cloud.world, "bert", user="robotics")
    cloud.world.complete(first)
    second = cloud.world.submit(api="v1", version_of=first)

    (row,) = (await visitor.get(JOBS)).body["jobs"]
    assert (row["version_id"], row["version_count"], row["status"]) == (second.number, 2, 1)
    assert row["duration"] is None
    assert row["user"]["name"] == "robotics"

    cloud.quirks.on("v1-user-missing")
    assert "user" not in (await visitor.get(JOBS)).body["jobs"][0]


async def test_clamped_pages(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk a page of 1000 silently has 100 rows."""
    cloud.quirks.on("v1-page-clamped")
    for _ in range(101):
        cloud.world.submit(api="v1")

    body = (await visitor.get(f"{JOBS}?per_page=1000")).body

    assert (len(body["jobs"]), body["job_total_count"]) == (100, 101)


async def test_versions(visitor: Visitor, cloud: Simulator) -> None:
    """All versions come newest first and named in order; page 0 means no paging, page 1 is the first page."""
    first = running(cloud.world, "bert")
    for _ in range(2):
        cloud.world.submit(api="v1", version_of=first)

    whole = (await versions(visitor, first)).body
    assert [each["version_name"] for each in whole["versions"]] == ["V0003", "V0002", "V0001"]
    assert whole["versions"][0]["pre_version_id"] == whole["versions"][1]["version_id"]
    assert whole["versions"][2]["pre_version_id"] is None
    assert (whole["job_name"], whole["version_count"]) == ("bert", 3)
    paged = (await versions(visitor, first, "?per_page=2&page=2")).body
    assert [each["version_name"] for each in paged["versions"]] == ["V0001"]
    assert (await versions(visitor, first, "?per_page=1001")).body["is_success"] is False


async def test_record_of_a_gpu_job(visitor: Visitor, cloud: Simulator) -> None:
    """Cards are told per node, the nodes beside them, memory under the name of cpu (traps 22 and 24)."""
    job = running(cloud.world, nodes=2, accelerators_per_node=4)

    told = await record(visitor, job)

    assert (told["gpu_num"], told["worker_server_num"], told["gpu_type"]) == (4, 2, "GP-Vnt1")
    assert (told["core"], told["cpu"], told["memory_unit"]) == ("32", "256", "GB")
    assert told["pool_type"] == "SYSTEM_DEFINED"
    assert told["job_id"] == number(job)


async def test_record_of_an_npu_job(visitor: Visitor, cloud: Simulator) -> None:
    """NPUs are told in flavor_info only."""
    told = await record(visitor, running(cloud.world, accelerator="npu"))

    assert (told["gpu_num"], told["flavor_info"]["npu"]["unit_num"]) == (0, 8)
    assert "npuUtil" in told["system_metric_list"]


async def test_usage_is_padded(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """After 355 s there are 7 slots, a bare "0" where there is no sample, two decimals where there is (trap 18)."""
    job = running(cloud.world)
    clock.turn(355)

    usage = (await record(visitor, job))["system_metric_list"]

    assert usage["interval"] == 1
    assert {len(values) for name, values in usage.items() if name != "interval"} == {7}
    for name in ("cpuUsage", "memUsage", "gpuUtil", "gpuMemUsage", "diskReadRate", "recvBytesRate"):
        assert [slot for slot, value in enumerate(usage[name]) if value == "0"] == [0, 1, 6], name
        assert all(len(value.rpartition(".")[2]) == 2 for value in usage[name][2:6]), name


@pytest.mark.parametrize(
    "quirk, in_versions, in_detail",
    [
        pytest.param(None, str, dict, id="text in the versions, an object in the detail (trap 17)"),
        pytest.param("v1-metrics-text", str, str, id="text everywhere"),
        pytest.param("v1-metrics-object", dict, dict, id="objects everywhere"),
        pytest.param("v1-metrics-null", type(None), type(None), id="null everywhere"),
    ],
)
async def test_shape_of_metric_lists(
    visitor: Visitor, cloud: Simulator, quirk: str | None, in_versions: type, in_detail: type
) -> None:
    """Metric lists come as text, object or null."""
    if quirk:
        cloud.quirks.on(quirk)
    job = running(cloud.world)
    cloud.world.advance(600)

    (version,) = (await versions(visitor, job)).body["versions"]
    detail = await record(visitor, job)

    for name in ("system_metric_list", "model_metric_list"):
        assert type(version[name]) is in_versions
        assert type(detail[name]) is in_detail


async def test_usage_before_the_start(visitor: Visitor, cloud: Simulator) -> None:
    """A version that has not started has an empty metric list and no duration."""
    job = cloud.world.submit(api="v1")

    (version,) = (await versions(visitor, job)).body["versions"]

    assert (version["system_metric_list"], version["duration"], version["start_time"]) == ("{}", None, 0)


async def test_usage_set_by_hand(visitor: Visitor, cloud: Simulator) -> None:
    """Numbers set by a test become text with two decimals, no sample becomes a bare 0, text stays as it is."""
    job = running(cloud.world)
    job.usage(gpu=[-1, 50, "0.00"], cpu=["0", "3.5", "0"])

    usage = (await record(visitor, job))["system_metric_list"]

    assert usage == {"gpuUtil": ["0", "50.00", "0.00"], "cpuUsage": ["0", "3.5", "0"], "interval": 1}


async def test_model_quality(visitor: Visitor, cloud: Simulator) -> None:
    """Some completed versions tell recall, precision, accuracy and f1 as fractions; no other does."""
    for _ in range(12):
        cloud.world.complete(running(cloud.world))

    told = [await record(visitor, job) for job in cloud.world.jobs]
    quality = [each["model_metric_list"] for each in told if each["model_metric_list"]]

    assert 0 < len(quality) < 12
    for each in quality:
        values = each["total_metric"]["total_metric_values"]
        assert all(0 <= values[name] <= 1 for name in ("recall", "precision", "accuracy", "f1_score"))


async def test_secrets(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk parameters and command of every version carry the marker."""
    cloud.quirks.on("secrets-in-answers")

    told = await record(visitor, running(cloud.world))

    assert told["parameter"][-1]["value"] == f"{SECRET_MARKER}-parameter"
    assert SECRET_MARKER in told["user_command"]


async def test_unknown_values(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk some versions have status 77."""
    cloud.quirks.on("unknown-values")
    for _ in range(30):
        running(cloud.world)

    assert {row["status"] for row in await overview(visitor)} == {8, 77}


async def test_numbers_as_strings(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk ids, status and times are strings (trap 16)."""
    cloud.quirks.on("v1-numbers-as-strings")
    running(cloud.world)

    (row,) = await overview(visitor)

    assert (row["status"], row["create_time"]) == ("8", "1700000000000")
    assert isinstance(row["version_id"], str)


@pytest.mark.parametrize("quirk, status", [(None, 200), ("v1-failures-400", 400)])
async def test_failures_are_in_band(visitor: Visitor, cloud: Simulator, quirk: str | None, status: int) -> None:
    """A v1 failure is is_success false at 200, or at 400 with the quirk (trap 8)."""
    if quirk:
        cloud.quirks.on(quirk)

    answer = await visitor.get(f"{JOBS}/99/versions")

    assert answer.status == status
    assert answer.body == {
        "is_success": False,
        "error_message": "training job 99 does not exist",
        "error_code": "ModelArts.0105",
    }


@pytest.mark.parametrize(
    "path",
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
async def test_bad_requests(visitor: Visitor, path: str) -> None:
    """What the documents do not allow fails in-band."""
    answer = await visitor.get(f"{JOBS}{path}")

    assert (answer.status, answer.body["is_success"]) == (200, False)


async def test_version_of_another_job(visitor: Visitor, cloud: Simulator) -> None:
    """A version is found under its own job only (trap 27)."""
    a, b = running(cloud.world, "a"), running(cloud.world, "b")

    answer = await visitor.get(f"{JOBS}/{number(a)}/versions/{b.number}")

    assert answer.body["error_code"] == "ModelArts.0105"


async def test_vanishing(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk a job is gone when its versions are asked for."""
    cloud.quirks.on("vanishing")
    job = running(cloud.world)

    assert (await versions(visitor, job)).body["is_success"] is False
    assert await overview(visitor) == []


@pytest.mark.parametrize("path", [f"{JOBS}?page=2", f"{JOBS}/versions?offset=1"])
async def test_shifting_pages(visitor: Visitor, cloud: Simulator, path: str) -> None:
    """With the quirk somebody submits a job before a later page is answered."""
    cloud.quirks.on("shifting-pages")

    await visitor.get(path)

    assert len(cloud.world.jobs) == 1


async def test_workspaces_and_catalogues(visitor: Visitor, cloud: Simulator) -> None:
    """Workspaces are there for both generations, no-v1 or not; flavors and engines are told."""
    specs = (await visitor.get("/v1/{project}/job/resource-specs?job_type=train")).body["specs"]
    engines = (await visitor.get("/v1/{project}/job/ai-engines?job_type=train")).body["engines"]
    cloud.quirks.on("no-v1")
    workspaces = (await visitor.get("/v1/{project}/workspaces")).body

    assert {spec["spec_code"] for spec in specs} >= {"modelarts.vm.gpu.8v100NV32", "modelarts.vm.cpu.8u"}
    assert len(engines) == 4
    assert [each["id"] for each in workspaces["workspaces"]] == ["0", SECOND_WORKSPACE]
    assert (await visitor.get(JOBS)).body["error_code"] == "APIG.0101"


CREATE = {
    "job_name": "made-by-api",
    "job_desc": "d",
    "config": {"worker_server_num": 2, "spec_id": 4, "engine_id": 1, "app_url": "/c/", "boot_file_url": "/c/t.py"},
}


async def test_created_job_lives(visitor: Visitor, cloud: Simulator) -> None:
    """POST answers ids and status 1; the job is then built, submitted, waits, runs and ends by itself."""
    answer = (await visitor.post(JOBS, CREATE)).body

    assert (answer["is_success"], answer["status"], answer["version_name"]) == (True, 1, "V0001")
    job = cloud.world.job(str(answer["version_id"]))
    seen = []
    for _ in range(400):
        cloud.world.advance(1)
        if (status := (await overview(visitor))[0]["status"]) not in seen:
            seen.append(status)
        if job.state.runs:
            break
    assert seen[:4] in ([1, 2, 4, 7], [2, 4, 7, 8])
    cloud.world.advance(14 * 86_400)
    assert job.state.finished


async def test_next_version(visitor: Visitor, cloud: Simulator) -> None:
    """A version can be submitted after another; its flavor may be given by its code."""
    first = running(cloud.world, "bert")
    config = {"flavor": {"code": "modelarts.kat1.8snt9"}, "user_image_url": "swr.example.invalid/a:1"}

    answer = (await visitor.post(f"{JOBS}/{number(first)}/versions", {"config": config})).body

    assert (answer["job_id"], answer["version_name"]) == (number(first), "V0002")
    assert cloud.world.job(str(answer["version_id"])).flavor.accelerator == "npu"


@pytest.mark.parametrize(
    "body, code",
    [
        pytest.param({**CREATE, "job_name": "taken"}, "0103", id="name taken"),
        pytest.param({**CREATE, "job_name": "no spaces"}, "0104", id="name"),
        pytest.param({"job_name": "a"}, "0104", id="no config"),
        pytest.param({"job_name": "a", "config": {"spec_id": 99}}, "0104", id="spec_id"),
        pytest.param({"job_name": "a", "config": {"flavor": {"code": "x"}}}, "0104", id="flavor"),
    ],
)
async def test_create_refusals(visitor: Visitor, cloud: Simulator, body: dict[str, Any], code: str) -> None:
    """What cannot be created fails in-band with its code."""
    running(cloud.world, "taken")

    assert (await visitor.post(JOBS, body)).body["error_code"] == f"ModelArts.{code}"


async def test_stop_and_delete(visitor: Visitor, cloud: Simulator) -> None:
    """Stopping a version is killing it, then killed; deleting a job takes all its versions."""
    job = running(cloud.world)
    cloud.world.submit(api="v1", version_of=job)

    stopped = await visitor.post(f"{JOBS}/{number(job)}/versions/{job.number}/stop")
    assert stopped.body == {"is_success": True}
    assert {row["status"] for row in await overview(visitor)} == {1, 9}
    cloud.world.advance(20)
    assert {row["status"] for row in await overview(visitor)} == {1, 12}

    assert (await visitor.delete(f"{JOBS}/{number(job)}")).body == {"is_success": True}
    assert await overview(visitor) == []


async def test_body_is_not_json(visitor: Visitor) -> None:
    """A POST whose body is no JSON object is 400."""
    answer = await visitor.ask(
        "POST",
        JOBS.replace("{project}", visitor.project),
        body="text",
        headers={"X-Auth-Token": await visitor.token()},
    )

    assert answer.status == 400
    assert json.loads(json.dumps(answer.body))["error_code"] == "ModelArts.2787"


async def test_pages_that_repeat(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk the second page is the first one again, of the overview and of the job list."""
    cloud.quirks.on("v1-pages-repeat")
    for _ in range(3):
        cloud.world.submit(api="v1")

    first = (await visitor.get(f"{JOBS}/versions?limit=2")).body["versions"]
    assert (await visitor.get(f"{JOBS}/versions?limit=2&offset=2")).body["versions"] == first
    listed = (await visitor.get(f"{JOBS}?per_page=2&page=1")).body["jobs"]
    assert (await visitor.get(f"{JOBS}?per_page=2&page=2")).body["jobs"] == listed
