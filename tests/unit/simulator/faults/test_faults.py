import asyncio
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from exporter.simulator import FAULTS, Fault, Options, Simulator, parse_fault
from exporter.simulator.faults.faults import Faults
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Answer, Visitor, signed

WORKSPACES = "/v1/{project}/workspaces"


@pytest.mark.parametrize(
    "text, expected",
    [
        pytest.param("500", {"name": "500", "probability": 1.0, "count": 0}, id="name alone"),
        pytest.param(
            "429:retry_after=2,probability=0.1",
            {"name": "429", "retry_after": "2", "probability": 0.1, "operation": "v?.*"},
            id="as on the command line",
        ),
        pytest.param("slow:delay=0.5,operation=v2.search", {"delay": 0.5, "operation": "v2.search"}, id="aimed"),
        pytest.param("huge:size_mb=3,path=/v2/*,after=2", {"size_mb": 3, "path": "/v2/*", "after": 2}, id="numbers"),
        pytest.param("token-expired", {"count": 1}, id="once by default"),
    ],
)
def test_parsing(text: str, expected: dict[str, Any]) -> None:
    """A fault's words give its name and parameters, the rest by the registry's defaults."""
    fault = parse_fault(text)

    assert {key: getattr(fault, key) for key in expected} == expected


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("oops", "no fault 'oops'; there are: 401, 403"),
        ("429:again", "'again' is not key=value"),
        ("429:colour=red", "is not key=value with a key of: operation"),
        ("slow:delay=long", "delay must be a float, not 'long'"),
        ("500:delay=3", "fault 500 has no parameter 'delay'; it has: after, code, count, operation"),
        ("500:probability=2", "probability must be between 0 and 1"),
    ],
)
def test_bad_words(text: str, sentence: str) -> None:
    """What is not a fault is refused with a sentence that says why."""
    with pytest.raises(ValueError, match=sentence):
        parse_fault(text)


def test_every_fault_has_help() -> None:
    """Each entry of the registry explains itself in one line and can be made with its defaults."""
    for name, kind in FAULTS.items():
        assert kind.help
        assert "\n" not in kind.help
        assert Fault(name).as_json()["name"] == name


def test_probability() -> None:
    """At a probability of 0.3 about 300 of 1000 calls are struck, and the same ones for the same seed."""
    struck = []
    for _ in range(2):
        faults = Faults(seed=1)
        faults.add("500:probability=0.3")
        struck.append([faults.select(operation="v2.search", path="/") is not None for _ in range(1_000)])

    assert 250 < sum(struck[0]) < 350
    assert struck[0] == struck[1]


def test_count_and_after() -> None:
    """After two calls let pass, two are struck, and then none."""
    faults = Faults(seed=1)
    faults.add(Fault("500", after=2, count=2))

    assert [bool(faults.select(operation="v1.jobs", path="/")) for _ in range(6)] == [False] * 2 + [True] * 2 + [
        False
    ] * 2


def test_first_fitting_fault_strikes() -> None:
    """Faults are tried in the order they were added; one aimed elsewhere is passed over; one removed is gone."""
    faults = Faults(seed=1)
    aimed = faults.add("503:operation=v2.search")
    faults.add("500:path=/v2/*")

    def struck(operation: str, path: str) -> str:
        fault = faults.select(operation=operation, path=path)
        return fault.name if fault else ""

    assert struck("v2.search", "/v2/p/x") == "503"
    assert struck("v2.job", "/v2/p/x") == "500"
    assert struck("v1.jobs", "/v1/p/x") == ""
    faults.remove(aimed)
    faults.remove(aimed)
    assert struck("v2.search", "/v2/p/x") == "500"
    assert [fault.name for fault in faults] == ["500"]
    faults.clear()
    assert len(faults) == 0


async def struck(visitor: Visitor, fault: str) -> Answer:
    await visitor.token()
    visitor.cloud.faults.add(fault)
    return await visitor.get(WORKSPACES)


@pytest.mark.parametrize(
    "fault, status, code",
    [
        ("401", 401, "APIG.0301"),
        ("403", 403, "ModelArts.0210"),
        ("404", 404, "APIG.0101"),
        ("408", 408, "ModelArts.6100"),
        ("429", 429, "APIG.0308"),
        ("429:code=ModelArts.6101", 429, "ModelArts.6101"),
        ("500", 500, "ModelArts.50005000"),
        ("503", 503, "ModelArts.4503"),
    ],
)
async def test_statuses(visitor: Visitor, fault: str, status: int, code: str) -> None:
    """Status faults answer with their status and an error body."""
    answer = await struck(visitor, fault)

    assert (answer.status, answer.body["error_code"]) == (status, code)


@pytest.mark.parametrize("word, expected", [("7", "7"), ("0.5", "0.5"), ("absurd", "31536000"), ("none", None)])
async def test_retry_after(visitor: Visitor, word: str, expected: str | None) -> None:
    """429 has Retry-After as it is told to, or none."""
    answer = await struck(visitor, f"429:retry_after={word}")

    assert answer.headers.get("Retry-After") == expected


async def test_retry_after_as_a_date(visitor: Visitor) -> None:
    """As a date it is five seconds ahead of the cloud's clock."""
    answer = await struck(visitor, "429:retry_after=date")

    told = parsedate_to_datetime(answer.headers["Retry-After"])
    assert told == datetime.fromtimestamp(1_700_000_005, UTC)


async def test_html(visitor: Visitor) -> None:
    """A proxy's 502 is HTML, and so it is at another status."""
    answer = await struck(visitor, "html-502")
    assert (answer.status, answer.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert answer.body.startswith("<html>")

    visitor.cloud.faults.clear()
    assert (await struck(visitor, "html-502:status=200")).status == 200


@pytest.mark.parametrize("fault, status", [("empty-200", 200), ("204", 204)])
async def test_no_body(visitor: Visitor, fault: str, status: int) -> None:
    """An empty 200 and a 204 have no body."""
    answer = await struck(visitor, fault)

    assert (answer.status, answer.body) == (status, "")


async def test_echo(visitor: Visitor) -> None:
    """An echo repeats the request's headers and body in its message, at a status of choice."""
    answer = await struck(visitor, "echo:status=403")

    assert (answer.status, answer.body["error_code"]) == (403, "ModelArts.2764")
    assert "Host" in answer.body["error_msg"]


async def test_the_date_is_the_clouds_own(visitor: Visitor) -> None:
    """The Date header goes by the cloud's clock, skew included, not by the machine's."""
    answer = await struck(visitor, "clock-skew:skew=1200")

    assert parsedate_to_datetime(answer.headers["Date"]) == datetime.fromtimestamp(1_700_001_200, UTC)


async def test_redirect(visitor: Visitor) -> None:
    """A redirect points to another place."""
    answer = await struck(visitor, "redirect:location=http://elsewhere.invalid/")

    assert (answer.status, answer.headers["Location"]) == (302, "http://elsewhere.invalid/")


@pytest.mark.parametrize("status", [200, 400])
async def test_is_success_false(visitor: Visitor, status: int) -> None:
    """v1's failure comes in-band at either status, with the code asked for."""
    answer = await struck(visitor, f"is-success-false:status={status},code=ModelArts.5039")

    assert answer.status == status
    assert answer.body == {"is_success": False, "error_message": "Error string", "error_code": "ModelArts.5039"}


async def test_truncated(visitor: Visitor) -> None:
    """The JSON breaks off while the HTTP message is whole."""
    with pytest.raises(json.JSONDecodeError):
        await struck(visitor, "truncated")


async def test_wrong_types(visitor: Visitor) -> None:
    """Numbers are objects, lists are texts."""
    assert (await struck(visitor, "wrong-types")).body == {
        "total_count": {"number": 2},
        "count": {"number": 2},
        "workspaces": "a list stood here",
    }


async def test_wrong_types_everywhere(visitor: Visitor) -> None:
    """Texts are lists, and true and null stay, however deep."""
    job = visitor.cloud.world.submit()
    await visitor.token()
    visitor.cloud.faults.add("wrong-types")

    body = (await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}")).body

    assert body["metadata"]["name"] == [job.name]
    assert body["status"]["node_count_metrics"] is None
    assert body["spec"]["is_hosted_log"] is True


async def test_bad_item(visitor: Visitor) -> None:
    """One workspace is a number, the other is good."""
    answer = await struck(visitor, "bad-item")

    assert [type(each) for each in answer.body["workspaces"]] == [int, dict]
    assert answer.body["total_count"] == 2


async def test_bent_answer_without_body(visitor: Visitor) -> None:
    """Bending an answer that has no body gives null, and no crash."""
    job = visitor.cloud.world.submit()
    await visitor.token()
    visitor.cloud.faults.add("bad-item")

    answer = await visitor.ask(
        "GET",
        f"/v2/{visitor.project}/training-jobs/{job.id}/metrics/worker-0",
        headers={"X-Auth-Token": await visitor.token()},
    )

    assert answer.status == 204


async def test_hang(visitor: Visitor) -> None:
    """A hanging call never answers; the next one, past the count, does."""
    token = {"X-Auth-Token": await visitor.token()}
    visitor.cloud.faults.add("hang:count=1")
    path = WORKSPACES.replace("{project}", visitor.project)

    with pytest.raises(TimeoutError):
        await visitor.ask("GET", path, headers=token, timeout_s=0.1)
    assert (await visitor.ask("GET", path, headers=token)).status == 200


@pytest.mark.parametrize(
    "fault", ["hang:delay=0.05", "slow:delay=0.05", "slow-body:delay=0.05", "hang-body:delay=0.05"]
)
async def test_late_answers_are_whole(visitor: Visitor, fault: str) -> None:
    """With a delay the answer comes late, and is the normal one."""
    begin = asyncio.get_running_loop().time()
    answer = await struck(visitor, fault)

    assert answer.body["total_count"] == 2
    assert asyncio.get_running_loop().time() - begin >= 0.045


async def test_hang_in_the_body(visitor: Visitor) -> None:
    """The head and half the body come, and then nothing."""
    headers = {"X-Auth-Token": await visitor.token()}
    visitor.cloud.faults.add("hang-body")
    url = visitor.cloud.url + WORKSPACES.replace("{project}", visitor.project)

    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        assert response.status == 200
        first = await response.content.readany()
        assert 0 < len(first) < response.content_length  # type: ignore[operator] # the length is always sent
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readany(), 0.05)


@pytest.mark.parametrize(
    "fault, error", [("reset", aiohttp.ClientConnectionError), ("reset-body", aiohttp.ClientPayloadError)]
)
async def test_cut_connections(visitor: Visitor, fault: str, error: type[Exception]) -> None:
    """The connection is cut before the answer, or in the middle of its body."""
    with pytest.raises(error):
        await struck(visitor, fault)


async def test_cut_in_a_body_that_is_not_there(visitor: Visitor) -> None:
    """An answer without a body is sent as it is by a fault of the body: there is nothing to cut."""
    job = visitor.cloud.world.submit()
    await visitor.token()
    visitor.cloud.faults.add("reset-body")

    answer = await visitor.get(f"/v2/{{project}}/training-jobs/{job.id}/metrics/worker-0")

    assert (answer.status, answer.body) == (204, "")


async def test_huge(visitor: Visitor) -> None:
    """A flood of two megabytes is two megabytes."""
    headers = {"X-Auth-Token": await visitor.token()}
    visitor.cloud.faults.add("huge:size_mb=2")
    url = visitor.cloud.url + WORKSPACES.replace("{project}", visitor.project)

    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        size = len(await response.read())

    assert 2 * 1024**2 < size < 2 * 1024**2 + 100


async def test_token_expired(visitor: Visitor) -> None:
    """Every token issued so far is refused from this call on; a new one is good."""
    answer = await struck(visitor, "token-expired")
    assert answer.body["error_code"] == "APIG.0307"

    async with Visitor(visitor.cloud) as newcomer:
        assert (await newcomer.get(WORKSPACES)).status == 200
    assert (await visitor.get(WORKSPACES)).status == 401


async def test_keys_expired(visitor: Visitor, clock: ManualClock) -> None:
    """Temporary keys are void from this call on."""
    key = visitor.cloud.state.keys.temporary("node")
    path = WORKSPACES.replace("{project}", visitor.project)

    async def enter() -> int:
        headers = signed(
            visitor.cloud.url + path,
            time=clock.time(),
            access_key=key.access,
            secret_key=key.secret,
            security_token=key.security_token,
        )
        return (await visitor.ask("GET", path, headers=headers)).status

    assert await enter() == 200
    visitor.cloud.faults.add("keys-expired")
    assert await enter() == 401


async def test_clock_skew(visitor: Visitor, clock: ManualClock) -> None:
    """While the cloud's clock is 1200 s ahead, good signatures are refused; afterwards they pass."""
    path = WORKSPACES.replace("{project}", visitor.project)
    visitor.cloud.faults.add("clock-skew:count=1")

    statuses = []
    for _ in range(2):
        headers = signed(visitor.cloud.url + path, time=clock.time())
        statuses.append((await visitor.ask("GET", path, headers=headers)).status)

    assert statuses == [401, 200]


async def test_faults_leave_iam_alone_unless_aimed_at_it(visitor: Visitor) -> None:
    """A fault strikes ModelArts calls; to strike IAM it must be aimed there."""
    visitor.cloud.faults.add("500")
    await visitor.token()
    visitor.cloud.faults.clear()
    visitor.cloud.faults.add("500:operation=iam.*")

    assert (await visitor.ask("POST", "/v3/auth/tokens", body={})).status == 500


async def test_strikes_are_logged(visitor: Visitor) -> None:
    """The log of requests names the fault that struck, and its status."""
    await struck(visitor, "503:count=1")

    *_, last = visitor.cloud.requests
    assert (last.operation, last.status, last.fault) == ("v1.workspaces", 503, "503")


async def test_closing_ends_what_hangs(clock: ManualClock) -> None:
    """Leaving the context cuts calls that hang, before the head and in the body."""
    async with Simulator(Options(empty=True), clock=clock) as cloud, Visitor(cloud) as visitor:
        headers = {"X-Auth-Token": await visitor.token()}
        cloud.faults.add("hang-body:count=1")
        cloud.faults.add("hang:after=0,count=1")
        url = cloud.url + WORKSPACES.replace("{project}", visitor.project)
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as half:
            await half.content.readany()
            hanging = asyncio.create_task(visitor.get(WORKSPACES))
            async with asyncio.timeout(5):
                await _hit_twice(cloud)
            await cloud.__aexit__(None, None, None)
            with pytest.raises(aiohttp.ClientError):
                await half.read()
            with pytest.raises(aiohttp.ClientError):
                await hanging


async def _hit_twice(cloud: Simulator) -> None:
    while sum(fault.hits for fault in cloud.faults) < 2:  # noqa: ASYNC110 -- nothing tells when a call arrives
        await asyncio.sleep(0.001)
