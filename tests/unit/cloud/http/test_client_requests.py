"""The requests that are sent, and the decoding of their responses."""

import asyncio
import gzip
import json

import msgspec

from exporter.cloud.auth.credentials import AccessKey
from exporter.cloud.auth.sign import sign
from exporter.cloud.http.endpoint import Caller, Endpoint
from exporter.cloud.http.request import Request, encode_query
from tests.clock import ManualClock
from tests.unit.cloud.account import (
    ACCESS,
    JOBS,
    LOGIN,
    METRICS,
    PAGE,
    PROJECT_ID,
    SEARCH,
    SECRET,
    Item,
    Page,
    RecordingObserver,
    connect,
    make_call,
    options,
    token_issued,
)
from tests.unit.cloud.scripted_server import ScriptedServer, respond, respond_after


async def test_a_response_is_decoded(server: ScriptedServer, clock: ManualClock, observer: RecordingObserver) -> None:
    """A call returns the decoded response, and one successful request is reported."""
    server.on("/", respond(200, PAGE))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        caller: Caller = client
        page = await caller.call(JOBS)

    assert page == Page(jobs=[Item(id=7)])
    assert observer.calls == [("list_jobs", "ok")]
    assert observer.durations_s == [0.0]  # the manual clock stood still
    assert observer.retries == []


async def test_the_bytes_that_are_signed_are_sent(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Signing the received request with the received date gives the received signature, for query and body too."""
    server.on("/", respond(200, PAGE))
    query = {"zone": "a b/ü~*", "filter": "x=1&y", "empty": ""}

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        await client.call(SEARCH, query=query, body={"offset": 0, "name": "ü"})

    (request,) = server.received
    path, _, sent_query = request.target.partition("?")
    again = Request(
        operation="again",
        method=request.method,
        base=f"http://{request.headers['host']}",
        path=path,
        query=sent_query,
        headers={"X-Project-Id": request.headers["x-project-id"], "Content-Type": request.headers["content-type"]},
        body=request.body,
    )
    key = AccessKey(access=ACCESS, secret=SECRET)
    assert sign(again, key, at=clock.time())["Authorization"] == request.headers["authorization"]
    assert sent_query == encode_query(query) == "empty=&filter=x%3D1%26y&zone=a%20b%2F%C3%BC~%2A"
    assert json.loads(request.body) == {"offset": 0, "name": "ü"}
    assert request.headers["x-project-id"] == PROJECT_ID
    assert request.headers["content-type"] == "application/json"


async def test_only_json_is_accepted_and_no_cookie_is_kept(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """Requests accept JSON only, have a User-Agent, and never a cookie that a server tried to set."""
    server.on("/", respond(200, PAGE, {"Set-Cookie": "session=1; Path=/"}))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        await client.call(JOBS)
        await client.call(JOBS)

    for request in server.received:
        assert request.headers["accept"] == "application/json"
        assert request.headers["user-agent"].startswith("modelarts-exporter/")
        assert "cookie" not in request.headers
        assert "content-type" not in request.headers


async def test_path_values_are_encoded(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A value in the path cannot leave its segment, and a path prefix of the endpoint is kept."""
    task = Endpoint(name="task", method="GET", path="/v2/{project_id}/tasks/{task}", answer=Page, notes="")
    server.on("/", respond(200, PAGE))

    async with connect(options(server.url + "/gate/"), clock=clock, observer=observer) as client:
        await client.call(task, path={"task": "../a b?c#d/é"})

    assert server.received[0].target == f"/gate/v2/{PROJECT_ID}/tasks/..%2Fa%20b%3Fc%23d%2F%C3%A9"


async def test_the_project_id_comes_from_the_credentials(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """With a project name only, {project_id} is the id of the project in the token."""
    server.on("/v3/auth/tokens", token_issued(project_id="f" * 32)).on("/v1/", respond(200, PAGE))
    given = options(server.url, credentials=LOGIN, project_id="", project_name="eu-de_vision")

    async with connect(given, clock=clock, observer=observer) as client:
        await client.call(JOBS)
        assert await client.project_id() == "f" * 32

    assert server.received[1].target == f"/v1/{'f' * 32}/jobs"


async def test_not_ready_is_none(server: ScriptedServer, clock: ManualClock, observer: RecordingObserver) -> None:
    """A 204 is None where the endpoint may be empty, and counts as a success."""
    server.on("/", respond(204))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        assert await client.call(METRICS) is None

    assert observer.calls == [("metrics", "ok")]


async def test_a_compressed_response_is_decoded(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """A gzip response is decompressed."""
    server.on("/", respond(200, gzip.compress(msgspec.json.encode(PAGE)), {"Content-Encoding": "gzip"}))

    async with connect(options(server.url), clock=clock, observer=observer) as client:
        assert await client.call(JOBS) == Page(jobs=[Item(id=7)])


async def test_concurrent_calls_are_limited_and_leave_a_slot_for_another_operation(
    server: ScriptedServer, clock: ManualClock, observer: RecordingObserver
) -> None:
    """With a concurrency of 3, twelve calls of one operation use two slots; another operation gets the third."""
    gate = asyncio.Event()

    server.on("/v1/", respond(200, PAGE)).on("/v2/", respond_after(gate, respond(200, PAGE)))

    async with connect(options(server.url, concurrency=3), clock=clock, observer=observer) as client:
        await client.call(JOBS)  # proves the credential
        many = [asyncio.create_task(make_call(client, METRICS)) for _ in range(12)]
        await server.until_received(3)
        await client.call(JOBS)
        assert server.active == 2
        gate.set()
        await asyncio.gather(*many)

    assert server.max_active <= 3


async def test_the_rate_is_limited(server: ScriptedServer, clock: ManualClock, observer: RecordingObserver) -> None:
    """With 50 requests a second after a burst of 2, seven calls take at least (7 - 2) / 50 = 0.1 s."""
    server.on("/", respond(200, PAGE))
    loop = asyncio.get_running_loop()

    async with connect(
        options(server.url, requests_per_second=50.0, burst=2), clock=clock, observer=observer
    ) as client:
        started = loop.time()
        await asyncio.gather(*(make_call(client, JOBS) for _ in range(7)))

    assert loop.time() - started >= 0.099
