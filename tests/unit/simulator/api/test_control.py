from typing import Any

import pytest

from exporter.simulator import ACCESS_KEY, FAULTS, PROJECT_ID, QUIRKS, Options, Simulator
from tests.clock import ManualClock
from tests.unit.simulator.client import Client

JOBS = "/simulator/jobs"


async def test_description(client: Client) -> None:
    """GET /simulator/ lists credentials, projects, routes, quirks and faults, without credentials."""
    body = (await client.send("GET", "/simulator/")).body

    assert body["credentials"]["access_key"] == ACCESS_KEY
    assert body["projects"][0]["id"] == PROJECT_ID
    assert set(body["quirks"]) == set(QUIRKS)
    assert set(body["faults"]) == set(FAULTS)
    assert {"v2.search", "v1.overview", "iam.token", "control.advance"} <= {
        each["operation"] for each in body["routes"]
    }


async def move(client: Client, job: str, step: str, **body: Any) -> dict[str, Any]:
    response = await client.send("POST", f"{JOBS}/{job}/{step}", body=body)
    assert response.status == 200, response.body
    state: dict[str, Any] = response.body
    return state


async def test_lifecycle_of_a_job(client: Client, cloud: Simulator) -> None:
    """A job is submitted, moved through its states and deleted over HTTP."""
    created = await client.send("POST", JOBS, body={"name": "one", "nodes": 2, "accelerator": "npu"})
    assert (created.status, created.body["state"], created.body["accelerators"]) == (201, "creating", 16)

    assert (await move(client, "one", "enqueue"))["state"] == "queued"
    assert (await move(client, "one", "start"))["state"] == "running"
    assert (await move(client, "one", "scale", nodes=1))["nodes_now"] == 1
    await move(client, "one", "recover", policy="proc_restart")
    await move(client, "one", "usage", task="worker-0", npu=[1, 2])
    assert (await move(client, "one", "lose"))["state"] == "lost"
    assert (await move(client, "one", "come-back"))["state"] == "running"
    assert (await move(client, "one", "stop", grace_s=100))["state"] == "terminating"
    failed = await move(client, "one", "fail", exit_code=137, task="worker-1", message="oom")
    assert failed["state"] == "failed"

    job = cloud.world.job("one")
    assert (job.exits[0].code, job.exits[0].task, job.exits[0].message) == (137, "worker-1", "oom")
    assert job.series == {"worker-0": {"npuUtil": [1, 2]}}
    await move(client, "one", "delete")
    assert (await client.send("GET", f"{JOBS}/one")).status == 404


@pytest.mark.parametrize(
    "step, state", [("complete", "completed"), ("terminate", "terminated"), ("create-fail", "create_failed")]
)
async def test_final_states(client: Client, cloud: Simulator, step: str, state: str) -> None:
    """Each final state has a step."""
    job = cloud.world.submit(api="v1")

    assert (await move(client, job.id, step))["state"] == state
    assert (await client.send("GET", f"{JOBS}/{job.id}")).body["job_id"] == job.number - 1_000


@pytest.mark.parametrize(
    "path, body",
    [
        pytest.param("jobs/a/dance", {}, id="unknown step"),
        pytest.param("jobs/a/scale", {}, id="missing parameter"),
        pytest.param("jobs/a/come-back", {}, id="not lost"),
        pytest.param("jobs/a/recover", {}, id="never started"),
        pytest.param("jobs/a/usage", {"tpu": [1]}, id="unknown metric"),
        pytest.param("jobs", {"colour": "red"}, id="unknown key"),
        pytest.param("jobs", {"accelerator": "tpu"}, id="unknown accelerator"),
        pytest.param("jobs", {"project": "nobody"}, id="unknown project"),
        pytest.param("advance", {"seconds": -1}, id="negative time"),
        pytest.param("advance", {"seconds": "much"}, id="time is no number"),
        pytest.param("faults", {"fault": "oops"}, id="unknown fault"),
        pytest.param("faults", {"colour": "red"}, id="no fault"),
        pytest.param("quirks", {"on": ["oops"]}, id="unknown quirk"),
        pytest.param("quirks", {"off": ["oops"]}, id="unknown quirk to deactivate"),
    ],
)
async def test_errors(client: Client, cloud: Simulator, path: str, body: dict[str, Any]) -> None:
    """An invalid request is 400 with a sentence."""
    cloud.world.submit("a")

    response = await client.send("POST", f"/simulator/{path}", body=body)

    assert response.status == 400
    assert response.body["error"]


async def test_job_list(client: Client, cloud: Simulator) -> None:
    """Jobs are listed newest first, filtered by state and generation, up to a limit."""
    cloud.world.start(cloud.world.submit("a"))
    cloud.world.submit("b", api="v1")
    cloud.world.fail(cloud.world.submit("c"))

    async def names(query: str) -> list[str]:
        return [job["name"] for job in (await client.send("GET", f"{JOBS}{query}")).body["jobs"]]

    assert await names("") == ["c", "b", "a"]
    assert await names("?state=unfinished") == ["b", "a"]
    assert await names("?state=failed") == ["c"]
    assert await names("?api=v1") == ["b"]
    assert await names("?limit=1") == ["c"]
    assert (await client.send("GET", f"{JOBS}?limit=x")).status == 400


async def test_advance(client: Client) -> None:
    """The simulated time advances by the given seconds."""
    assert (await client.send("POST", "/simulator/advance", body={"seconds": 60})).body == {"now": 1_700_000_060.0}


async def test_faults(client: Client) -> None:
    """Faults are added as text or parameters, listed with their hits, and cleared; none applies to this API."""
    assert (await client.send("POST", "/simulator/faults", body={"fault": "500:operation=*"})).status == 201
    assert (await client.send("POST", "/simulator/faults", body={"name": "429", "count": 3})).status == 201
    await client.send("GET", "/nothing")

    listed = (await client.send("GET", "/simulator/faults")).body["faults"]
    assert [(fault["name"], fault["hits"]) for fault in listed] == [("500", 1), ("429", 0)]
    assert (await client.send("DELETE", "/simulator/faults")).body == {"faults": []}
    assert (await client.send("GET", "/nothing")).status == 404


async def test_quirks(client: Client, cloud: Simulator) -> None:
    """Quirks are activated and deactivated; an unknown name raises ValueError, also in the options."""
    body = {"on": ["no-v1", "no-v2"], "off": ["no-v1"]}

    assert (await client.send("POST", "/simulator/quirks", body=body)).body == {"on": ["no-v2"]}
    assert list(cloud.quirks) == ["no-v2"]
    cloud.quirks.clear()
    assert "no-v2" not in cloud.quirks
    with pytest.raises(ValueError, match="no quirk 'oops'; there are: v2-offset-records"):
        assert "oops" in cloud.quirks
    with pytest.raises(ValueError, match="no quirk 'oops'"):
        Simulator(Options(empty=True, quirks=frozenset({"oops"})))


async def test_ground_truth(client: Client, cloud: Simulator) -> None:
    """The true totals are JSON, of one project or all."""
    job = cloud.world.submit(accelerators_per_node=1)
    cloud.world.start(job)
    cloud.world.advance(10)
    cloud.world.fail(job)

    for query in ("", f"?project={PROJECT_ID}"):
        body = (await client.send("GET", f"/simulator/ground-truth{query}")).body
        assert body["finished"] == [{"pool": "", "status": "failed", "jobs": 1}]
        held = [{"pool": "", "user": "vision-train", "accelerator": "gpu", "seconds": 10.0}]
        assert body["held"] == body["lost"] == held
        assert body["queue_seconds"] == {"": {"count": 1, "sum": 0.0}}
        assert body["run_seconds"] == [{"pool": "", "status": "failed", "count": 1, "sum": 10.0}]
    for path in ("ground-truth", "pools"):
        assert (await client.send("GET", f"/simulator/{path}?project=nobody")).status == 400


async def test_request_counts(client: Client, cloud: Simulator) -> None:
    """Requests are counted by operation, without those of this API; the log can be cleared."""
    await client.search()
    await client.search()
    await client.get("/v1/{project}/training-jobs")

    body = (await client.send("GET", "/simulator/requests")).body
    assert body == {"total": 4, "counts": {"iam.token": 1, "v1.jobs": 1, "v2.search": 2}}
    assert cloud.requests.count("v?.*") == 3
    assert cloud.requests.count() == len(cloud.requests) == 4
    assert (await client.send("DELETE", "/simulator/requests")).body["total"] == 0
    assert list(cloud.requests) == []


async def test_credentials(client: Client, cloud: Simulator, clock: ManualClock) -> None:
    """Keys are replaced, tokens and temporary keys expire, over HTTP."""
    await client.token()
    before = cloud.state.keys.temporary("node")
    body = {"access_key": "NEWACCESSKEY", "secret_key": "s", "tokens": True, "temporary": True}

    assert (await client.send("POST", "/simulator/credentials", body=body)).body == {"access_key": "NEWACCESSKEY"}
    path = "/v1/{project}/workspaces"
    assert (await client.get(path)).status == 401
    assert (await client.get_signed(path, time=clock.time(), access_key="NEWACCESSKEY", secret_key="s")).status == 200
    assert cloud.state.keys.temporary("node") != before
