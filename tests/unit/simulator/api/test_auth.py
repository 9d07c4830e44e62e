import pytest

from exporter.simulator import PROJECT_ID, Options, ProjectOptions, Simulator
from tests.clock import ManualClock
from tests.unit.simulator.client import Client, Response, credentials, signed

PATH = f"/v1/{PROJECT_ID}/workspaces"


async def get(client: Client, clock: ManualClock, *, skew_s: float = 0.0, **how: str) -> Response:
    return await client.get_signed(PATH, time=clock.time() + skew_s, **how)


@pytest.mark.parametrize("skew_s, status", [(0, 200), (899, 200), (-899, 200), (901, 401), (-901, 401)])
async def test_clock_skew_limit(client: Client, clock: ManualClock, skew_s: float, status: int) -> None:
    """A signature dated within 900 s of the server's clock is valid, one beyond is not."""
    assert (await get(client, clock, skew_s=skew_s)).status == status


async def test_five_failures_lock_the_key(client: Client, clock: ManualClock) -> None:
    """After five consecutive wrong signatures a correct one is rejected for five minutes."""
    for _ in range(5):
        assert "verify aksk" in (await get(client, clock, secret_key="wrong")).body["error_msg"]

    locked = await get(client, clock)
    assert (locked.status, locked.body["error_code"]) == (401, "APIG.0301")
    assert "AK access failed to reach the limit,forbidden" in locked.body["error_msg"]

    clock.turn(299)
    assert (await get(client, clock)).status == 401
    clock.turn(2)
    assert (await get(client, clock)).status == 200


async def test_success_resets_the_count_of_failures(client: Client, clock: ManualClock) -> None:
    """Four failures, a success, and four more failures do not lock the key."""
    for _ in range(2):
        for _ in range(4):
            await get(client, clock, secret_key="wrong")
        assert (await get(client, clock)).status == 200


@pytest.mark.parametrize(
    "change, message",
    [
        pytest.param({"X-Sdk-Date": "yesterday"}, "date", id="malformed date"),
        pytest.param({"X-Project-Id": "0" * 32}, "X-Project-Id", id="another project"),
        pytest.param({"Authorization": "SDK-HMAC-SHA256 nonsense"}, "malformed", id="malformed header"),
    ],
)
async def test_problems_are_named(client: Client, clock: ManualClock, change: dict[str, str], message: str) -> None:
    """The error message of an invalid signature names the problem."""
    headers = signed(client.cloud.url + PATH, time=clock.time()) | change

    response = await client.send("GET", PATH, headers=headers)

    assert response.status == 401
    assert message in response.body["error_msg"]


@pytest.mark.parametrize("signed_headers", ["host", "x-sdk-date", "host;x-sdk-date;x-absent"])
async def test_required_headers(client: Client, clock: ManualClock, signed_headers: str) -> None:
    """Host and date must be signed, and every signed header must be present."""
    headers = signed(client.cloud.url + PATH, time=clock.time())
    headers["Authorization"] = headers["Authorization"].replace("host;x-sdk-date", signed_headers)

    assert (await client.send("GET", PATH, headers=headers)).status == 401


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer abc"}, {"X-Auth-Token": "abc"}])
async def test_missing_and_invented_tokens(client: Client, headers: dict[str, str]) -> None:
    """Without credentials, with a bearer token or with an unknown token the response is 401 (trap 31)."""
    response = await client.send("GET", PATH, headers=headers)

    assert (response.status, response.body["error_code"]) == (401, "APIG.0301")


async def test_token_expires(client: Client, clock: ManualClock) -> None:
    """A token is valid for 86400 s; after that the response is 401 APIG.0307."""
    await client.token()
    clock.turn(86_399)
    assert (await client.get(PATH)).status == 200
    clock.turn(1)

    response = await client.get(PATH)
    assert (response.status, response.body["error_code"]) == (401, "APIG.0307")


async def test_token_scope(clock: ManualClock) -> None:
    """A token of another project and a domain token are rejected with 403 (trap 33)."""
    other = ProjectOptions(id="0" * 32, name="eu-de_other")
    options = Options(empty=True, projects=(ProjectOptions(), other))
    async with Simulator(options, clock=clock) as cloud, Client(cloud) as client:
        for scope in ({"name": other.name}, {}):
            issued = await client.send("POST", "/v3/auth/tokens", body=credentials(**scope))
            response = await client.send("GET", PATH, headers={"X-Auth-Token": issued.headers["X-Subject-Token"]})
            assert response.status == 403
            assert response.body == {
                "is_success": False,
                "error_message": "the token's scope is not the project of the path",
                "error_code": "ModelArts.0210",
            }


async def test_unknown_project(client: Client, clock: ManualClock) -> None:
    """A signed call to an unknown project is 404 ModelArts.2786."""
    response = await client.get_signed(f"/v2/{'f' * 32}/training-job-engines", time=clock.time())

    assert (response.status, response.body["error_code"]) == (404, "ModelArts.2786")


async def test_rotation(client: Client, clock: ManualClock, cloud: Simulator) -> None:
    """After a rotation the old secret key is invalid and the new one valid; a new password expires every token."""
    await client.token()
    cloud.state.keys.rotate(secret_key="ANewInventedSecret", password="a-new-password")

    assert (await get(client, clock)).status == 401
    assert (await get(client, clock, secret_key="ANewInventedSecret")).status == 200
    assert (await client.get(PATH)).body["error_code"] == "APIG.0307"
