import json
from typing import Any

import pytest

from exporter.simulator import SECRET_MARKER, Job, Simulator, World
from tests.clock import ManualClock
from tests.unit.simulator.client import Client, Response

JOBS = "/v2/{project}/training-jobs"


async def detail(client: Client, job: Job) -> dict[str, Any]:
    response = await client.get(f"{JOBS}/{job.id}")
    assert response.status == 200
    body: dict[str, Any] = response.body
    return body


def running(world: World, **how: Any) -> Job:
    job = world.submit(**how)
    world.start(job)
    return job


async def series(client: Client, job: Job, task: str = "worker-0") -> dict[str, list[float]]:
    response = await client.get(f"{JOBS}/{job.id}/metrics/{task}")
    assert response.status == 200
    return {entry["metric"]: entry["value"] for entry in response.body["metrics"]}


async def test_exit_code_of_a_failed_task(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """A failed run has task, exit code and message; its last record has the reason."""
    job = running(cloud.world, nodes=2)
    clock.turn(10)
    cloud.world.fail(job, exit_code=137, task="worker-1")

    status = (await detail(client, job))["status"]

    assert status["task_statuses"] == [
        {"task": "worker-1", "exit_code": 137, "message": "the container was killed: out of memory"}
    ]
    assert status["running_records"][-1] == {
        "start_at": 1_700_000_000,
        "start_type": "init_or_rescheduled",
        "end_at": 1_700_000_010,
        "end_reason": "exit with 137",
        "end_related_task": "worker-1",
    }


async def test_recovery(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """A fault ends a record with its recovery policy and begins another; the phase stays Running."""
    job = running(cloud.world)
    clock.turn(600)
    cloud.world.recover(job, policy="job_reschedule", scenario="node_fault", gap_s=60, tried="proc_restart")

    status = (await detail(client, job))["status"]
    assert status["phase"] == "Running"
    first, second = status["running_records"]
    assert (first["end_at"], first["end_recover"]) == (1_700_000_600, "job_reschedule")
    assert first["end_recover_before_downgrade"] == "proc_restart"
    assert second == {"start_at": 1_700_000_660, "start_type": "init_or_rescheduled"}
    assert first["recover_records"][0]["recover_result"] == "recovering"
    assert "recover_records" not in status

    clock.turn(60)
    cloud.world.recover(job, policy="proc_restart", gap_s=5)
    clock.turn(5)
    status = (await detail(client, job))["status"]
    first, second, _ = status["running_records"]
    assert first["recover_records"][0] == {
        "recover_start_at": 1_700_000_600,
        "recover_end_at": 1_700_000_660,
        "recover": "job_reschedule",
        "fault_scenario": "node_fault",
        "reason": "exit with 137",
        "related_task": "worker-0",
        "recover_result": "downgrade",
    }
    assert second["recover_records"][0]["recover_result"] == "success"
    assert status["running_records"][2]["start_type"] == "restarted"


async def test_a_fault_healed_in_place(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """The run goes on: its only record has no end and no `end_recover`, and the recovery is nested in it."""
    job = running(cloud.world)
    clock.turn(600)
    cloud.world.heal(job, policy="npu_step_retry", scenario="chip_fault", lasts_s=8)
    clock.turn(8)

    (record,) = (await detail(client, job))["status"]["running_records"]
    assert set(record) == {"start_at", "start_type", "recover_records"}
    (recovery,) = record["recover_records"]
    assert (recovery["recover"], recovery["recover_result"]) == ("npu_step_retry", "success")
    assert (recovery["recover_start_at"], recovery["recover_end_at"]) == (1_700_000_600, 1_700_000_608)


async def test_a_job_that_ends_during_a_recovery(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """The recovery has the result terminated, and ends with the job."""
    job = running(cloud.world)
    clock.turn(600)
    cloud.world.recover(job, gap_s=60)
    clock.turn(20)
    cloud.world.terminate(job)
    clock.turn(100)

    record, _ = (await detail(client, job))["status"]["running_records"]
    (recovery,) = record["recover_records"]
    assert (recovery["recover_result"], recovery["recover_end_at"]) == ("terminated", 1_700_000_620)
    assert cloud.world.ground_truth().faults == {("", "node_fault", "terminated"): 1}


async def test_usage_series(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """355 s have floor(355/60) + 2 = 7 slots: no sample in the first two, the current one, and in a recovery."""
    job = running(cloud.world, accelerator="cpu")
    clock.turn(355)
    usage = await series(client, job)
    assert {len(values) for values in usage.values()} == {7}
    assert [value >= 0 for value in usage["cpuUsage"]] == [False, False, True, True, True, True, False]
    assert set(usage["npuUtil"]) == {-1}  # series of accelerators that the job does not have (trap 20)

    cloud.world.recover(job, gap_s=120)
    clock.turn(300)
    later = (await series(client, job))["cpuUsage"]
    # slot k is minute k - 1; the outage from 355 s to 475 s contains the beginnings of minutes 6 and 7
    assert [slot for slot, value in enumerate(later) if value < 0] == [0, 1, 7, 8, 11]
    assert later[2:6] == usage["cpuUsage"][2:6]  # samples never change


async def test_usage_errors(client: Client, cloud: Simulator) -> None:
    """Usage is 204 before the start and with v2-metrics-204; an unknown task is 400."""
    job = cloud.world.submit()
    path = f"{JOBS}/{job.id}/metrics"
    response = await client.get(f"{path}/worker-0")
    assert (response.status, response.body) == (204, "")

    cloud.world.start(job)
    assert (await client.get(f"{path}/worker-7")).body["error_code"] == "ModelArts.2789"
    cloud.quirks.on("v2-metrics-204")
    assert (await client.get(f"{path}/worker-0")).status == 204


async def test_usage_set_manually(client: Client, cloud: Simulator) -> None:
    """`Job.usage` sets the response exactly, -1 included; other metrics are absent, unknown ones raise ValueError."""
    job = running(cloud.world, accelerator="npu")
    job.usage("worker-0", npu=[-1, -1, 51.5, -1], cpu=[-1, 3, 4, -1])

    assert await series(client, job) == {"npuUtil": [-1, -1, 51.5, -1], "cpuUsage": [-1, 3, 4, -1]}
    with pytest.raises(ValueError, match="no such metric: tpu"):
        job.usage(tpu=[1])


async def test_unknown_job(client: Client) -> None:
    """An unknown job is 400 ModelArts.2775, not 404 (trap 9)."""
    response = await client.get(f"{JOBS}/0")

    assert (response.status, response.body["error_code"]) == (400, "ModelArts.2775")
    assert set(response.body) == {"error_code", "error_msg", "error_solution"}


async def test_events(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """Events are submission, start, fault, restart and end, in UTC+8, paged."""
    job = running(cloud.world)
    clock.turn(60)
    cloud.world.recover(job, policy="proc_restart", gap_s=30)
    clock.turn(60)
    cloud.world.fail(job)

    async def get(query: str) -> Response:
        return await client.get(f"{JOBS}/{job.id}/events{query}")

    events = (await get("")).body["events"]
    assert [event["level"] for event in events] == ["Info", "Info", "Warning", "Info", "Error"]
    assert events[0]["time"] == "2023-11-15T06:13:20+08:00"  # 22:13:20 UTC
    last = (await get("?order=desc&limit=1")).body
    assert (last["total"], last["events"]) == (5, [events[-1]])
    assert (await get("?limit=101")).body["error_code"] == "ModelArts.2788"


async def test_secrets(client: Client, cloud: Simulator) -> None:
    """About a quarter of the jobs has secrets; with secrets-in-answers every job has them in all four fields."""
    for _ in range(40):
        cloud.world.submit()
    items = (await client.search(limit=50)).body["items"]
    assert 3 <= sum(SECRET_MARKER in json.dumps(item) for item in items) <= 20

    cloud.quirks.on("secrets-in-answers")
    for item in (await client.search(limit=50)).body["items"]:
        algorithm = item["algorithm"]
        for field in (algorithm["parameters"], algorithm["environments"], algorithm["command"], item["endpoints"]):
            assert SECRET_MARKER in json.dumps(field)


async def test_numbers_as_strings(client: Client, cloud: Simulator) -> None:
    """With v2-numbers-as-strings all numbers of v2 responses are strings; booleans and v1 responses are unchanged."""
    cloud.quirks.on("v2-numbers-as-strings")

    body = await detail(client, running(cloud.world))

    assert (body["metadata"]["create_time"], body["spec"]["resource"]["node_count"]) == ("1700000000000", "1")
    assert body["spec"]["is_hosted_log"] is True
    assert (await client.get("/v1/{project}/workspaces")).body["total_count"] == 2


async def test_overlay(client: Client, cloud: Simulator) -> None:
    """`Job.overlay` replaces any field of a response, nested ones too, and filters use an overlaid phase."""
    job = running(cloud.world)
    job.overlay({"status": {"phase": "Odd", "start_time": "1700000000000"}, "kind": None})

    body = await detail(client, job)

    assert (body["status"]["phase"], body["status"]["start_time"], body["kind"]) == ("Odd", "1700000000000", None)
    assert body["status"]["secondary_phase"] == "Running"
    overlaid = [{"key": "phase", "operator": "in", "value": ["Odd"]}]
    assert len((await client.search(filters=overlaid)).body["items"]) == 1


def create_body(section: str = "metadata", **changes: Any) -> dict[str, Any]:
    """A create body, with changed fields in one section."""
    body: dict[str, Any] = {
        "kind": "job",
        "metadata": {"name": "created", "description": "d", "workspace_id": "0"},
        "algorithm": {"code_dir": "/c/", "boot_file": "/c/t.py", "engine": {"engine_name": "PyTorch"}},
        "spec": {"resource": {"flavor_id": "modelarts.vm.gpu.8v100NV32", "node_count": 2}},
    }
    (body["spec"]["resource"] if section == "resource" else body[section]).update(changes)
    return body


async def test_created_job(client: Client, cloud: Simulator) -> None:
    """POST answers 201 with a job in phase Creating, which then has a random script; roles become tasks."""
    response = await client.post(JOBS, create_body())

    assert (response.status, response.body["status"]["phase"]) == (201, "Creating")
    cloud.world.advance(14 * 86_400)
    assert cloud.world.job("created").state.finished
    hetero = create_body(name="hetero") | {"kind": "hetero_job", "tasks": [{"role": "learner"}, {"role": "actor"}]}
    await client.post(JOBS, hetero)
    assert cloud.world.job("hetero").tasks == ("learner-0", "actor-0")


@pytest.mark.parametrize(
    "body, code",
    [
        pytest.param(create_body(name="no spaces please"), "2787", id="name"),
        pytest.param(create_body("resource", node_count=0), "2787", id="nodes"),
        pytest.param(create_body("resource", flavor_id="nothing"), "2787", id="flavor"),
        pytest.param(create_body("resource", pool_id="pool-x"), "2781", id="public flavor in a pool"),
        pytest.param(
            create_body("algorithm", engine={"image_url": "swr.example.invalid/a:1"}),
            "2806",
            id="image without command",
        ),
        pytest.param({}, "2787", id="empty"),
    ],
)
async def test_create_errors(client: Client, body: dict[str, Any], code: str) -> None:
    """An invalid create body is 400 with the documented code."""
    response = await client.post(JOBS, body)

    assert (response.status, response.body["error_code"]) == (400, f"ModelArts.{code}")


async def test_terminate_and_delete(client: Client, cloud: Simulator) -> None:
    """Terminate is 202 and Terminating, 20 s later Terminated; delete is 202, and the job is unknown."""
    job = running(cloud.world)
    path = f"{JOBS}/{job.id}"

    response = await client.post(f"{path}/actions", {"action_type": "terminate"})
    assert (response.status, response.body["status"]["phase"]) == (202, "Terminating")
    cloud.world.advance(20)
    assert (await detail(client, job))["status"]["phase"] == "Terminated"
    assert (await client.post(f"{path}/actions", {"action_type": "dance"})).body["error_code"] == "ModelArts.2788"

    assert (await client.delete(path)).status == 202
    assert (await client.get(path)).body["error_code"] == "ModelArts.2775"


async def test_no_v2(client: Client, cloud: Simulator) -> None:
    """An unknown path, and every v2 call with no-v2, is 404 APIG.0101."""
    unknown = await client.get("/v2/{project}/nothing-here")
    cloud.quirks.on("no-v2")

    for response in (unknown, await client.search()):
        assert (response.status, response.body["error_code"]) == (404, "APIG.0101")
        assert len(response.body["request_id"]) == 32
