from typing import Any

import pytest

from exporter.simulator import ACCESS_KEY, FAULTS, PROJECT_ID, QUIRKS, Options, Simulator
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Visitor


async def test_it_describes_itself(visitor: Visitor) -> None:
    """GET /simulator/ tells credentials, routes, quirks and faults, without credentials."""
    body = (await visitor.ask("GET", "/simulator/")).body

    assert body["credentials"]["access_key"] == ACCESS_KEY
    assert body["projects"][0]["id"] == PROJECT_ID
    assert set(body["quirks"]) == set(QUIRKS)
    assert set(body["faults"]) == set(FAULTS)
    assert {"v2.search", "v1.overview", "iam.token", "control.advance"} <= {
        each["operation"] for each in body["routes"]
    }


async def move(visitor: Visitor, job: str, step: str, **body: Any) -> dict[str, Any]:
    answer = await visitor.ask("POST", f"/simulator/jobs/{job}/{step}", body=body)
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.body
    return told


async def test_a_job_through_its_life(visitor: Visitor, cloud: Simulator) -> None:
    """A job is submitted, moved through its states and deleted, all over HTTP."""
    made = await visitor.ask("POST", "/simulator/jobs", body={"name": "by-hand", "nodes": 2, "accelerator": "npu"})
    assert (made.status, made.body["state"], made.body["accelerators"]) == (201, "creating", 16)

    assert (await move(visitor, "by-hand", "enqueue"))["state"] == "queued"
    assert (await move(visitor, "by-hand", "start"))["state"] == "running"
    assert (await move(visitor, "by-hand", "scale", nodes=1))["nodes_now"] == 1
    await move(visitor, "by-hand", "recover", policy="proc_restart")
    await move(visitor, "by-hand", "usage", task="worker-0", npu=[1, 2])
    assert (await move(visitor, "by-hand", "lose"))["state"] == "lost"
    assert (await move(visitor, "by-hand", "come-back"))["state"] == "running"
    assert (await move(visitor, "by-hand", "stop", grace_s=100))["state"] == "terminating"
    failed = await move(visitor, "by-hand", "fail", exit_code=137, task="worker-1", message="oom")
    assert failed["state"] == "failed"

    job = cloud.world.job("by-hand")
    assert (job.exits[0].code, job.exits[0].task, job.exits[0].message) == (137, "worker-1", "oom")
    assert job.series == {"worker-0": {"npuUtil": [1, 2]}}
    await move(visitor, "by-hand", "delete")
    assert (await visitor.ask("GET", "/simulator/jobs/by-hand")).status == 404


@pytest.mark.parametrize(
    "step, state", [("complete", "completed"), ("terminate", "terminated"), ("create-fail", "create_failed")]
)
async def test_ends(visitor: Visitor, cloud: Simulator, step: str, state: str) -> None:
    """Each end can be brought about."""
    job = cloud.world.submit(api="v1")

    assert (await move(visitor, job.id, step))["state"] == state
    assert (await visitor.ask("GET", f"/simulator/jobs/{job.id}")).body["job_id"] == job.number - 1_000


@pytest.mark.parametrize(
    "path, body",
    [
        pytest.param("/simulator/jobs/a/dance", {}, id="no such step"),
        pytest.param("/simulator/jobs/a/scale", {}, id="missing parameter"),
        pytest.param("/simulator/jobs/a/come-back", {}, id="not lost"),
        pytest.param("/simulator/jobs/a/recover", {}, id="never started"),
        pytest.param("/simulator/jobs/a/usage", {"tpu": [1]}, id="no such metric"),
        pytest.param("/simulator/jobs", {"colour": "red"}, id="unknown key"),
        pytest.param("/simulator/jobs", {"accelerator": "tpu"}, id="unknown accelerator"),
        pytest.param("/simulator/jobs", {"project": "nobody"}, id="unknown project"),
        pytest.param("/simulator/advance", {"seconds": -1}, id="backwards"),
        pytest.param("/simulator/advance", {"seconds": "much"}, id="no number"),
        pytest.param("/simulator/faults", {"fault": "oops"}, id="unknown fault"),
        pytest.param("/simulator/faults", {"colour": "red"}, id="no fault at all"),
        pytest.param("/simulator/quirks", {"on": ["oops"]}, id="unknown quirk"),
        pytest.param("/simulator/quirks", {"off": ["oops"]}, id="unknown quirk to switch off"),
    ],
)
async def test_mistakes_are_named(visitor: Visitor, cloud: Simulator, path: str, body: dict[str, Any]) -> None:
    """A mistake is 400 with a sentence."""
    cloud.world.submit("a")

    answer = await visitor.ask("POST", path, body=body)

    assert answer.status == 400
    assert answer.body["error"]


async def test_listing(visitor: Visitor, cloud: Simulator) -> None:
    """Jobs are listed newest first, narrowed by state, generation and number."""
    a = cloud.world.submit("a")
    cloud.world.submit("b", api="v1")
    cloud.world.start(a)
    cloud.world.fail(cloud.world.submit("c"))

    async def names(query: str) -> list[str]:
        return [job["name"] for job in (await visitor.ask("GET", f"/simulator/jobs{query}")).body["jobs"]]

    assert await names("") == ["c", "b", "a"]
    assert await names("?state=unfinished") == ["b", "a"]
    assert await names("?state=failed") == ["c"]
    assert await names("?api=v1") == ["b"]
    assert await names("?limit=1") == ["c"]
    assert (await visitor.ask("GET", "/simulator/jobs?limit=x")).status == 400


async def test_time(visitor: Visitor) -> None:
    """Time passes when it is told to."""
    assert (await visitor.ask("POST", "/simulator/advance", body={"seconds": 60})).body == {"now": 1_700_000_060.0}


async def test_faults(visitor: Visitor) -> None:
    """Faults are added in words or as parameters, listed with their strikes, and cleared; none strikes this API."""
    assert (await visitor.ask("POST", "/simulator/faults", body={"fault": "500:operation=*"})).status == 201
    assert (await visitor.ask("POST", "/simulator/faults", body={"name": "429", "count": 3})).status == 201
    await visitor.ask("GET", "/nothing")

    listed = (await visitor.ask("GET", "/simulator/faults")).body["faults"]
    assert [(fault["name"], fault["hits"]) for fault in listed] == [("500", 1), ("429", 0)]
    assert (await visitor.ask("DELETE", "/simulator/faults")).body == {"faults": []}
    assert (await visitor.ask("GET", "/nothing")).status == 404


async def test_quirks(visitor: Visitor, cloud: Simulator) -> None:
    """Quirks are switched on and off."""
    body = {"on": ["no-v1", "no-v2"], "off": ["no-v1"]}

    assert (await visitor.ask("POST", "/simulator/quirks", body=body)).body == {"on": ["no-v2"]}
    assert list(cloud.quirks) == ["no-v2"]
    cloud.quirks.clear()
    assert "no-v2" not in cloud.quirks
    with pytest.raises(ValueError, match="no quirk 'oops'"):
        assert "oops" in cloud.quirks


async def test_books(visitor: Visitor, cloud: Simulator) -> None:
    """The books come as JSON, for one project or all."""
    job = cloud.world.submit(accelerators_per_node=1)
    cloud.world.start(job)
    cloud.world.advance(10)
    cloud.world.fail(job)

    for query in ("", f"?project={PROJECT_ID}"):
        body = (await visitor.ask("GET", f"/simulator/ground-truth{query}")).body
        assert body["finished"] == [{"pool": "", "status": "failed", "jobs": 1}]
        held = [{"pool": "", "user": "vision-train", "accelerator": "gpu", "seconds": 10.0}]
        assert body["held"] == body["lost"] == held
        assert body["queue_seconds"] == {"": {"count": 1, "sum": 0.0}}
        assert body["run_seconds"] == [{"pool": "", "status": "failed", "count": 1, "sum": 10.0}]
    assert (await visitor.ask("GET", "/simulator/ground-truth?project=nobody")).status == 400


async def test_requests_are_counted(visitor: Visitor, cloud: Simulator) -> None:
    """Calls are counted by operation, this API's own left out; the count can be begun again."""
    await visitor.search()
    await visitor.search()
    await visitor.get("/v1/{project}/training-jobs")

    body = (await visitor.ask("GET", "/simulator/requests")).body
    assert body == {"total": 4, "counts": {"iam.token": 1, "v1.jobs": 1, "v2.search": 2}}
    assert cloud.requests.count("v?.*") == 3
    assert cloud.requests.count() == len(cloud.requests) == 4
    assert (await visitor.ask("DELETE", "/simulator/requests")).body["total"] == 0
    assert list(cloud.requests) == []


async def test_credentials_rotate(visitor: Visitor, cloud: Simulator) -> None:
    """Keys are replaced, tokens and temporary keys expired, over HTTP."""
    await visitor.token()
    before = cloud.state.keys.temporary("node")
    body = {"access_key": "NEWACCESSKEY", "secret_key": "s", "tokens": True, "temporary": True}

    assert (await visitor.ask("POST", "/simulator/credentials", body=body)).body == {"access_key": "NEWACCESSKEY"}
    assert (await visitor.get("/v1/{project}/workspaces")).status == 401
    assert cloud.state.keys.temporary("node") != before
    assert (await visitor.ask("POST", "/simulator/credentials", body={})).status == 200


def test_unknown_quirk_is_refused_at_the_start(clock: ManualClock) -> None:
    """A simulator with a quirk nobody knows is not made."""
    with pytest.raises(ValueError, match="no quirk 'oops'; there are: v2-offset-records"):
        Simulator(Options(empty=True, quirks=frozenset({"oops"})), clock=clock)
