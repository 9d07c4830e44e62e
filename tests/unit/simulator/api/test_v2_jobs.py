import json
from typing import Any

import pytest

from exporter.simulator import SECRET_MARKER, Engine, Job, Role, Simulator, World, flavor
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Answer, Visitor


async def detail(visitor: Visitor, job: Job) -> dict[str, Any]:
    answer = await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}")
    assert answer.status == 200
    body: dict[str, Any] = answer.body
    return body


def running(world: World, **how: Any) -> Job:
    job = world.submit(**how)
    world.start(job)
    return job


async def series(visitor: Visitor, job: Job, task: str = "worker-0") -> dict[str, list[float]]:
    answer = await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}/metrics/{task}")
    assert answer.status == 200
    return {entry["metric"]: entry["value"] for entry in answer.body["metrics"]}


@pytest.mark.parametrize(
    "moves, phase, secondary",
    [
        pytest.param((), "Creating", "Creating", id="creating"),
        pytest.param(("enqueue",), "Pending", "Queuing", id="queued"),
        pytest.param(("start",), "Running", "Running", id="running"),
        pytest.param(("start", "stop"), "Terminating", "Terminating", id="terminating"),
        pytest.param(("start", "terminate"), "Terminated", "Terminated", id="terminated"),
        pytest.param(("start", "complete"), "Completed", "Completed", id="completed"),
        pytest.param(("start", "fail"), "Failed", "Failed", id="failed"),
        pytest.param(("create_fail",), "Abnormal", "CreateFailed", id="not created"),
        pytest.param(("start", "lose"), "Abnormal", "Lost", id="lost"),
        pytest.param(("start", "lose", "come_back"), "Running", "Running", id="come back"),
    ],
)
async def test_phases(visitor: Visitor, cloud: Simulator, moves: tuple[str, ...], phase: str, secondary: str) -> None:
    """Each state has the phase and secondary phase that the documents give it."""
    job = cloud.world.submit()
    for move in moves:
        getattr(cloud.world, move)(job)

    status = (await detail(visitor, job))["status"]

    assert (status["phase"], status["secondary_phase"]) == (phase, secondary)


async def test_before_the_start(visitor: Visitor, cloud: Simulator) -> None:
    """A job that has not started says start 0, duration 0 and no node counts (trap 14)."""
    status = (await detail(visitor, cloud.world.submit()))["status"]

    assert (status["start_time"], status["duration"], status["node_count_metrics"]) == (0, 0, None)
    assert "running_records" not in status


async def test_times_are_milliseconds(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """Creation, start and duration are ms; running records are seconds (trap 13)."""
    job = cloud.world.submit()
    clock.turn(30)
    cloud.world.start(job)
    clock.turn(90)

    body = await detail(visitor, job)

    assert body["metadata"]["create_time"] == 1_700_000_000_000
    assert body["status"]["start_time"] == 1_700_000_030_000
    assert body["status"]["duration"] == 90_000
    assert body["status"]["node_count_metrics"] == [[1_700_000_030_000, 1], [1_700_000_120_000, 1]]
    assert body["status"]["running_records"] == [{"start_at": 1_700_000_030, "start_type": "init_or_rescheduled"}]


async def test_duration_stands_still_after_the_end(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """After its end a job keeps its duration, and start + duration is the end."""
    job = running(cloud.world)
    clock.turn(60)
    cloud.world.complete(job)
    clock.turn(1_000)

    assert (await detail(visitor, job))["status"]["duration"] == 60_000


async def test_failed_task_tells_its_exit_code(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """A failed run names task, exit code and message, and its last record the reason."""
    job = running(cloud.world, nodes=2)
    clock.turn(10)
    cloud.world.fail(job, exit_code=137, task="worker-1")

    status = (await detail(visitor, job))["status"]

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


async def test_recovery(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """A recovered fault ends a record with its policy and begins another; the phase stays Running."""
    job = running(cloud.world)
    clock.turn(600)
    cloud.world.recover(job, policy="job_reschedule", scenario="node_fault", gap_s=60, tried="proc_restart")

    status = (await detail(visitor, job))["status"]
    assert status["phase"] == "Running"
    first, second = status["running_records"]
    assert (first["end_at"], first["end_recover"], first["end_recover_before_downgrade"]) == (
        1_700_000_600,
        "job_reschedule",
        "proc_restart",
    )
    assert second == {"start_at": 1_700_000_660, "start_type": "init_or_rescheduled"}
    assert status["recover_records"][0]["recover_result"] == "recovering"

    clock.turn(60)
    (told,) = (await detail(visitor, job))["status"]["recover_records"]
    assert told == {
        "recover_start_at": 1_700_000_600,
        "recover_end_at": 1_700_000_660,
        "recover": "job_reschedule",
        "fault_scenario": "node_fault",
        "reason": "exit with 137",
        "related_task": "worker-0",
        "recover_result": "downgrade",
    }


async def test_process_restart_is_told_as_such(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """A recovery in place begins a record of the type restarted, and succeeds without downgrade."""
    job = running(cloud.world)
    clock.turn(60)
    cloud.world.recover(job, policy="proc_restart", gap_s=5)
    clock.turn(60)

    status = (await detail(visitor, job))["status"]

    assert status["running_records"][1]["start_type"] == "restarted"
    assert status["recover_records"][0]["recover_result"] == "success"


async def test_elastic_job(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """Node counts are a step function whose values repeat around each change, up to now."""
    job = running(cloud.world, nodes=4)
    clock.turn(100)
    cloud.world.scale(job, 3)
    clock.turn(50)

    body = await detail(visitor, job)

    assert body["status"]["node_count_metrics"] == [
        [1_700_000_000_000, 4],
        [1_700_000_100_000, 4],
        [1_700_000_100_000, 3],
        [1_700_000_150_000, 3],
    ]
    assert body["spec"]["resource"]["node_count"] == 4
    assert job.nodes_now == 3


@pytest.mark.parametrize(
    "telling, path",
    [
        ("flavor_detail", ("flavor_detail", "flavor_info", "npu", "unit_num")),
        ("pool_info", ("pool_info", "accelerator_num")),
        ("allocated", ("main_container_allocated_resources", "accelerator_num")),
        ("customized", ("main_container_customized_flavor", "accelerator_num")),
    ],
)
async def test_how_accelerators_are_told(
    visitor: Visitor, cloud: Simulator, telling: str, path: tuple[str, ...]
) -> None:
    """Each way of telling has the eight cards where the reference says, and no earlier way beside it (trap 25)."""
    job = running(cloud.world, pool="pool-x", accelerator="npu", accelerator_field=telling)

    found: Any = (await detail(visitor, job))["spec"]["resource"]
    assert ("flavor_detail" in found) == (telling == "flavor_detail")
    for step in path:
        found = found[step]

    assert float(found) == 8.0


async def test_allocated_resources_appear_with_the_start(visitor: Visitor, cloud: Simulator) -> None:
    """Before the start only what was asked for is told, not what was allocated."""
    job = cloud.world.submit(pool="pool-x", accelerator_field="allocated")

    resource = (await detail(visitor, job))["spec"]["resource"]
    assert "main_container_allocated_resources" not in resource
    assert resource["main_container_customized_flavor"]["accelerator_num"] == 8.0


async def test_flavor_id_tells_the_cards(visitor: Visitor, cloud: Simulator) -> None:
    """In a pool that tells nothing else the flavor id has the size; and there are pools without even that."""
    telling = running(cloud.world, pool="pool-x", accelerators_per_node=4, accelerator_field="flavor_id")
    silent = running(cloud.world, pool="pool-x", accelerator_field="nothing")

    assert (await detail(visitor, telling))["spec"]["resource"]["flavor_id"] == "modelarts.pool.visual.4xlarge"
    resource = (await detail(visitor, silent))["spec"]["resource"]
    assert resource["flavor_id"] == "modelarts.pool.private.gpu"
    assert set(resource) == {"policy", "flavor_id", "flavor_name", "node_count", "pool_id", "pool_name"}


async def test_npu_number_is_text_in_the_list(visitor: Visitor, cloud: Simulator) -> None:
    """npu.unit_num is a string in the search and an int in the detail (trap 16)."""
    job = running(cloud.world, accelerator="npu")

    (listed,) = (await visitor.search()).body["items"]
    told = (await detail(visitor, job))["spec"]["resource"]["flavor_detail"]["flavor_info"]["npu"]["unit_num"]

    assert listed["spec"]["resource"]["flavor_detail"]["flavor_info"]["npu"]["unit_num"] == "8"
    assert told == 8


async def test_cpu_job_has_no_accelerator(visitor: Visitor, cloud: Simulator) -> None:
    """A CPU flavor has neither gpu nor npu object, and all accelerator series are -1 (trap 20)."""
    job = running(cloud.world, accelerator="cpu")
    cloud.world.advance(600)

    info = (await detail(visitor, job))["spec"]["resource"]["flavor_detail"]["flavor_info"]
    assert not {"gpu", "npu"} & set(info)
    told = await series(visitor, job)
    assert set(told["npuUtil"]) == {-1}
    assert max(told["cpuUsage"]) > 0


async def test_heterogeneous_job(visitor: Visitor, cloud: Simulator) -> None:
    """A job with roles has tasks named for them and a flavor for each; its accelerators are the roles' sum."""
    roles = (
        Role(name="learner", nodes=1, flavor=flavor("npu", 8)),
        Role(name="actor", nodes=3, flavor=flavor("npu", 1)),
    )
    job = running(cloud.world, kind="hetero_job", roles=roles)

    body = await detail(visitor, job)

    assert body["kind"] == "hetero_job"
    assert body["status"]["tasks"] == ["learner-0", "actor-0", "actor-1", "actor-2"]
    assert [task["role"] for task in body["tasks"]] == ["learner", "actor"]
    assert body["tasks"][1]["task_resource"]["flavor_info"]["npu"]["unit_num"] == 1
    assert job.accelerators == 11  # 1 * 8 + 3 * 1


async def test_custom_image_has_no_engine(visitor: Visitor, cloud: Simulator) -> None:
    """A job with an image of its own has empty engine fields."""
    job = cloud.world.submit(engine=Engine(image="swr.example.invalid/a/b:1"))

    engine = (await detail(visitor, job))["algorithm"]["engine"]

    assert (engine["engine_name"], engine["image_url"]) == ("", "swr.example.invalid/a/b:1")


async def test_usage_grid(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """After 355 s there are floor(355/60) + 2 = 7 slots; the first two and the one under way have no sample."""
    job = running(cloud.world)
    clock.turn(355)

    told = await series(visitor, job)

    assert {len(values) for values in told.values()} == {7}
    assert [value >= 0 for value in told["gpuUtil"]] == [False, False, True, True, True, True, False]


async def test_usage_of_the_past_does_not_change(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """A minute that has been told is told the same an hour later."""
    job = running(cloud.world)
    clock.turn(1_800)
    before = (await series(visitor, job))["gpuUtil"]
    clock.turn(3_600)

    assert (await series(visitor, job))["gpuUtil"][: len(before) - 1] == before[:-1]


async def test_usage_window_is_three_days(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """A job that runs five days has 4320 slots, and the newest stands at the end."""
    job = running(cloud.world)
    clock.turn(5 * 86_400)

    told = await series(visitor, job)

    assert {len(values) for values in told.values()} == {4_320}
    assert told["gpuUtil"][0] >= 0
    assert told["gpuUtil"][-1] == -1


async def test_usage_is_missing_while_it_recovers(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """Minutes between a fault and the restart have no sample: minutes 5 and 6 of an outage from 300 s to 420 s."""
    job = running(cloud.world)
    clock.turn(300)
    cloud.world.recover(job, gap_s=120)
    clock.turn(300)

    told = (await series(visitor, job))["gpuUtil"]

    # slot k is minute k-1: slots 6 and 7 are minutes 5 and 6
    assert [slot for slot, value in enumerate(told) if value < 0] == [0, 1, 6, 7, 11]


@pytest.mark.parametrize("quirk", [None, "v2-metrics-204"])
async def test_usage_not_ready(visitor: Visitor, cloud: Simulator, quirk: str | None) -> None:
    """A job that has not started has no usage: 204 and no body; with the quirk no job ever has any."""
    job = cloud.world.submit()
    if quirk:
        cloud.world.start(job)
        cloud.quirks.on(quirk)

    answer = await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}/metrics/worker-0")

    assert (answer.status, answer.body) == (204, "")


async def test_usage_of_an_unknown_task(visitor: Visitor, cloud: Simulator) -> None:
    """A task that the job has not got is 400."""
    job = running(cloud.world)

    answer = await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}/metrics/worker-7")

    assert (answer.status, answer.body["error_code"]) == (400, "ModelArts.2789")


async def test_usage_set_by_hand(visitor: Visitor, cloud: Simulator) -> None:
    """What a test sets is answered to the letter, -1 included; what it does not set is missing."""
    job = running(cloud.world, accelerator="npu")
    job.usage("worker-0", npu=[-1, -1, 51.5, -1], cpu=[-1, 3, 4, -1])

    assert await series(visitor, job) == {"npuUtil": [-1, -1, 51.5, -1], "cpuUsage": [-1, 3, 4, -1]}


def test_usage_of_no_such_metric(cloud: Simulator) -> None:
    """A metric that the cloud does not have is refused by name."""
    with pytest.raises(ValueError, match="no such metric: tpu"):
        cloud.world.submit().usage(tpu=[1])


async def test_job_not_found(visitor: Visitor) -> None:
    """A job that is not there is 400 ModelArts.2775, not 404 (trap 9)."""
    answer = await visitor.get("/v2/{project}/training-jobs/0")

    assert (answer.status, answer.body["error_code"]) == (400, "ModelArts.2775")
    assert set(answer.body) == {"error_code", "error_msg", "error_solution"}


async def test_vanishing(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk a listed job is gone when its detail is asked for."""
    cloud.quirks.on("vanishing")
    job = cloud.world.submit()
    assert len((await visitor.search()).body["items"]) == 1

    answer = await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}")

    assert answer.body["error_code"] == "ModelArts.2775"
    assert (await visitor.search()).body["items"] == []


async def test_shifting_pages(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """With the quirk the second page begins with the last job of the first one, because somebody submitted one."""
    jobs = []
    for _ in range(4):
        clock.turn(1)
        jobs.append(cloud.world.submit())
    cloud.quirks.on("shifting-pages")

    first = [item["metadata"]["id"] for item in (await visitor.search(limit=2)).body["items"]]
    before = len(cloud.world.jobs)
    await visitor.search(limit=2, offset=1)

    assert first == [jobs[3].id, jobs[2].id]
    assert len(cloud.world.jobs) == before + 1


async def test_events(visitor: Visitor, cloud: Simulator, clock: ManualClock) -> None:
    """Events tell submission, start, fault, restart and end in their order, in Beijing's time, a page at a time."""
    job = running(cloud.world)
    clock.turn(60)
    cloud.world.recover(job, policy="proc_restart", gap_s=30)
    clock.turn(60)
    cloud.world.fail(job)

    async def ask(query: str) -> Answer:
        return await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}/events{query}")

    body = (await ask("")).body
    assert [event["level"] for event in body["events"]] == ["Info", "Info", "Warning", "Info", "Error"]
    assert body["events"][0]["time"] == "2023-11-15T06:13:20+08:00"  # 22:13:20 UTC
    last = (await ask("?order=desc&limit=1")).body
    assert (last["total"], last["events"]) == (5, [body["events"][-1]])
    assert (await ask("?limit=101")).body["error_code"] == "ModelArts.2788"


async def test_tasks_are_a_bare_array(visitor: Visitor, cloud: Simulator) -> None:
    """The tasks call answers an array, with addresses once the job has nodes."""
    job = cloud.world.submit(nodes=2)
    path = f"/v2/{{project}}/training-jobs/{job.id}/tasks"

    waiting = (await visitor.get(path)).body
    cloud.world.start(job)
    placed = (await visitor.get(path)).body

    assert [task["task"] for task in waiting] == ["worker-0", "worker-1"]
    assert waiting[0]["host_ip"] == ""
    assert len({task["host_ip"] for task in placed}) == 2


async def test_catalogues(visitor: Visitor) -> None:
    """Flavors can be narrowed by type; engines are those with a name."""
    flavors = (await visitor.get("/v2/{project}/training-job-flavors?flavor_type=Ascend")).body["flavors"]
    engines = (await visitor.get("/v2/{project}/training-job-engines")).body

    assert {each["flavor_type"] for each in flavors} == {"Ascend"}
    assert engines["total"] == len(engines["items"]) == 4


async def test_secrets_in_answers(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk parameters, environments, command and endpoints of every job carry the marker."""
    cloud.quirks.on("secrets-in-answers")

    body = await detail(visitor, running(cloud.world))

    assert body["algorithm"]["parameters"][-1]["value"] == f"{SECRET_MARKER}-parameter"
    assert body["algorithm"]["environments"] == [{"API_TOKEN": f"{SECRET_MARKER}-environment"}]
    assert SECRET_MARKER in body["algorithm"]["command"]
    assert SECRET_MARKER in json.dumps(body["endpoints"])


async def test_some_jobs_always_carry_secrets(visitor: Visitor, cloud: Simulator) -> None:
    """Without the quirk about a quarter of the jobs carries secrets, the others do not."""
    for _ in range(40):
        cloud.world.submit()

    told = (await visitor.search(limit=50)).body["items"]
    leaking = sum(SECRET_MARKER in json.dumps(item) for item in told)

    assert 3 <= leaking <= 20


async def test_unknown_values(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk some jobs have a phase, secondary phase, kind or flavor type that no document knows."""
    cloud.quirks.on("unknown-values")
    for _ in range(45):
        running(cloud.world)

    told = (await visitor.search(limit=50)).body["items"]

    assert {item["status"]["phase"] for item in told} == {"Running", "Hibernating"}
    assert {item["status"]["secondary_phase"] for item in told} == {"Running", "Defrosting", "Pondering"}
    assert {item["kind"] for item in told} == {"job", "quantum_job"}


async def test_overlay(visitor: Visitor, cloud: Simulator) -> None:
    """A test can lay any field over an answer, nested ones too, and filters go by an overlaid phase."""
    job = running(cloud.world)
    job.overlay({"status": {"phase": "Odd", "start_time": "1700000000000"}, "kind": None})

    body = await detail(visitor, job)

    assert (body["status"]["phase"], body["status"]["start_time"], body["kind"]) == ("Odd", "1700000000000", None)
    assert body["status"]["secondary_phase"] == "Running"
    odd = [{"key": "phase", "operator": "in", "value": ["Odd"]}]
    assert len((await visitor.search(filters=odd)).body["items"]) == 1


async def test_numbers_as_strings(visitor: Visitor, cloud: Simulator) -> None:
    """With the quirk ids, times and counts of a v2 answer are strings; v1 answers are untouched."""
    cloud.quirks.on("v2-numbers-as-strings")
    job = running(cloud.world)

    body = await detail(visitor, job)

    assert body["metadata"]["create_time"] == "1700000000000"
    assert body["spec"]["resource"]["node_count"] == "1"
    assert body["spec"]["is_hosted_log"] is True
    assert (await visitor.get("/v1/{project}/workspaces")).body["total_count"] == 2


CREATE: dict[str, Any] = {
    "kind": "job",
    "metadata": {"name": "made-by-api", "description": "d", "workspace_id": "0"},
    "algorithm": {"code_dir": "/c/", "boot_file": "/c/t.py", "engine": {"engine_name": "PyTorch"}},
    "spec": {"resource": {"flavor_id": "modelarts.vm.gpu.8v100NV32", "node_count": 2}},
}


async def test_created_job_lives(visitor: Visitor, cloud: Simulator) -> None:
    """POST answers 201 with the whole job being created; the world then carries it on by itself."""
    answer = await visitor.post("/v2/{project}/training-jobs", CREATE)

    assert answer.status == 201
    status = answer.body["status"]
    assert (status["phase"], status["duration"], status["start_time"], status["node_count_metrics"]) == (
        "Creating",
        0,
        0,
        None,
    )
    cloud.world.advance(60)
    assert cloud.world.job(answer.body["metadata"]["id"]).state.value != "creating"
    cloud.world.advance(14 * 86_400)
    assert cloud.world.job("made-by-api").state.finished


def changed(section: str, **values: Any) -> dict[str, Any]:
    """The create body with some fields of one section changed."""
    body: dict[str, Any] = json.loads(json.dumps(CREATE))
    target = body["spec"]["resource"] if section == "resource" else body[section]
    target |= values
    return body


@pytest.mark.parametrize(
    "body, code",
    [
        pytest.param(changed("metadata", name="no spaces please"), "2787", id="name"),
        pytest.param(changed("resource", node_count=0), "2787", id="nodes"),
        pytest.param(changed("resource", flavor_id="nothing"), "2787", id="flavor"),
        pytest.param(changed("resource", pool_id="pool-x"), "2781", id="pool with a public flavor"),
        pytest.param(
            changed("algorithm", engine={"image_url": "swr.example.invalid/a:1"}), "2806", id="image without command"
        ),
        pytest.param({}, "2787", id="nothing"),
    ],
)
async def test_create_refusals(visitor: Visitor, body: dict[str, Any], code: str) -> None:
    """What cannot be created is refused with the documented code."""
    answer = await visitor.post("/v2/{project}/training-jobs", body)

    assert (answer.status, answer.body["error_code"]) == (400, f"ModelArts.{code}")


@pytest.mark.parametrize(
    "pool, accelerator, cards",
    [("pool-llm-snt9b", "npu", 4), ("pool-etl-cpu", "cpu", 0), ("pool-made-up", "gpu", 4)],
)
async def test_create_in_a_pool(visitor: Visitor, cloud: Simulator, pool: str, accelerator: str, cards: int) -> None:
    """A pool flavor's size is cards of the pool's own kind."""
    body = changed("resource", pool_id=pool, flavor_id="modelarts.pool.visual.4xlarge", node_count=1)

    answer = await visitor.post("/v2/{project}/training-jobs", body)

    job = cloud.world.job(answer.body["metadata"]["id"])
    assert (job.flavor.accelerator, job.flavor.cards, job.pool) == (accelerator, cards, pool)


async def test_create_heterogeneous(visitor: Visitor, cloud: Simulator) -> None:
    """Roles of the create body become tasks."""
    body = CREATE | {"kind": "hetero_job", "tasks": [{"role": "learner"}, {"role": "actor"}]}

    answer = await visitor.post("/v2/{project}/training-jobs", body)

    assert cloud.world.job(answer.body["metadata"]["id"]).tasks == ("learner-0", "actor-0")


async def test_terminate(visitor: Visitor, cloud: Simulator) -> None:
    """The terminate action answers 202 and Terminating; 20 s later the job is Terminated."""
    job = running(cloud.world)
    path = f"/v2/{{project}}/training-jobs/{job.id}/actions"

    answer = await visitor.post(path, {"action_type": "terminate"})
    assert (answer.status, answer.body["status"]["phase"]) == (202, "Terminating")
    cloud.world.advance(20)
    assert (await detail(visitor, job))["status"]["phase"] == "Terminated"

    assert (await visitor.post(path, {"action_type": "dance"})).body["error_code"] == "ModelArts.2788"


async def test_delete(visitor: Visitor, cloud: Simulator) -> None:
    """DELETE answers 202, and the job is gone."""
    job = running(cloud.world)

    assert (await visitor.delete(f"/v2/{{project}}/training-jobs/{job.id}")).status == 202
    assert (await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}")).body["error_code"] == "ModelArts.2775"


async def test_no_v2(visitor: Visitor, cloud: Simulator) -> None:
    """With no-v2 every v2 call is 404 APIG.0101, as is any path that nothing answers."""
    unknown = await visitor.get("/v2/{project}/nothing-here")
    cloud.quirks.on("no-v2")
    switched_off = await visitor.search()

    for answer in (unknown, switched_off):
        assert (answer.status, answer.body["error_code"]) == (404, "APIG.0101")
        assert len(answer.body["request_id"]) == 32
