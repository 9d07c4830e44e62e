import pytest

from exporter.simulator import ACCESS_KEY, PROJECT_ID, SECRET_KEY, Options, ProjectOptions, Simulator
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Answer, Visitor, credentials, signed

PATH = f"/v1/{PROJECT_ID}/workspaces"


async def sign_in(
    visitor: Visitor,
    clock: ManualClock,
    *,
    skew_s: float = 0.0,
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
) -> Answer:
    headers = signed(
        visitor.cloud.url + PATH, time=clock.time() + skew_s, access_key=access_key, secret_key=secret_key
    )
    return await visitor.ask("GET", PATH, headers=headers)


async def test_good_signature_passes(visitor: Visitor, clock: ManualClock) -> None:
    """A request signed with the documented keys is answered."""
    assert (await sign_in(visitor, clock)).status == 200


@pytest.mark.parametrize("skew_s, status", [(899, 200), (-899, 200), (901, 401), (-901, 401)])
async def test_clock_may_be_off_by_fifteen_minutes(
    visitor: Visitor, clock: ManualClock, skew_s: float, status: int
) -> None:
    """A signature dated within 900 s of the cloud's clock passes, one beyond is refused."""
    assert (await sign_in(visitor, clock, skew_s=skew_s)).status == status


async def test_five_failures_lock_the_key(visitor: Visitor, clock: ManualClock) -> None:
    """After five wrong signatures in a row even a right one is refused for five minutes, then it passes again."""
    for _ in range(5):
        assert "verify aksk" in (await sign_in(visitor, clock, secret_key="wrong")).body["error_msg"]

    locked = await sign_in(visitor, clock)
    assert (locked.status, locked.body["error_code"]) == (401, "APIG.0301")
    assert "AK access failed to reach the limit,forbidden" in locked.body["error_msg"]

    clock.turn(299)
    assert (await sign_in(visitor, clock)).status == 401
    clock.turn(2)
    assert (await sign_in(visitor, clock)).status == 200


async def test_success_forgives_failures(visitor: Visitor, clock: ManualClock) -> None:
    """Failures lock only when they follow each other: four, a success, and four more lock nothing."""
    for secret in ("wrong",) * 4:
        await sign_in(visitor, clock, secret_key=secret)
    assert (await sign_in(visitor, clock)).status == 200
    for secret in ("wrong",) * 4:
        await sign_in(visitor, clock, secret_key=secret)

    assert (await sign_in(visitor, clock)).status == 200


async def test_unknown_key_is_refused(visitor: Visitor, clock: ManualClock) -> None:
    """A key that nobody issued is refused."""
    assert "Get secretKey failed" in (await sign_in(visitor, clock, access_key="NOBODY")).body["error_msg"]


@pytest.mark.parametrize(
    "change, sentence",
    [
        pytest.param({"X-Sdk-Date": ""}, "the date", id="no date"),
        pytest.param({"Authorization": "SDK-HMAC-SHA256 nonsense"}, "does not have the form", id="no form"),
        pytest.param({"X-Project-Id": "other"}, "X-Project-Id", id="another project"),
        pytest.param(
            {
                "Authorization": f"SDK-HMAC-SHA256 Access={ACCESS_KEY}, "
                f"SignedHeaders=host;x-never;x-sdk-date, Signature={'0' * 64}"
            },
            "x-never",
            id="signed header missing",
        ),
        pytest.param(
            {"Authorization": f"SDK-HMAC-SHA256 Access={ACCESS_KEY}, SignedHeaders=x-sdk-date, Signature={'0' * 64}"},
            "the host must be signed",
            id="host unsigned",
        ),
    ],
)
async def test_broken_signature_is_named(
    visitor: Visitor, clock: ManualClock, change: dict[str, str], sentence: str
) -> None:
    """Each way of getting a signature wrong is refused with 401 and a sentence that says which."""
    headers = signed(visitor.cloud.url + PATH, time=clock.time()) | change

    answer = await visitor.ask("GET", PATH, headers=headers)

    assert (answer.status, answer.body["error_code"]) == (401, "APIG.0301")
    assert sentence in answer.body["error_msg"]


async def test_no_credentials(visitor: Visitor) -> None:
    """Without token and signature the gateway says which header it misses; Bearer is no token (trap 31)."""
    for headers in ({}, {"Authorization": "Bearer abc"}):
        answer = await visitor.ask("GET", PATH, headers=headers)
        assert answer.status == 401
        assert "x-auth-token not found" in answer.body["error_msg"]


async def test_invented_token(visitor: Visitor) -> None:
    """A token that IAM never issued is refused as undecipherable."""
    answer = await visitor.ask("GET", PATH, headers={"X-Auth-Token": "abc"})

    assert (answer.status, answer.body["error_code"]) == (401, "APIG.0301")


async def test_token_expires(visitor: Visitor, clock: ManualClock) -> None:
    """A token is good for its 86400 s, and then answered with APIG.0307."""
    assert (await visitor.get("/v1/{project}/workspaces")).status == 200
    clock.turn(86_399)
    assert (await visitor.get("/v1/{project}/workspaces")).status == 200
    clock.turn(1)

    answer = await visitor.get("/v1/{project}/workspaces")
    assert (answer.status, answer.body["error_code"]) == (401, "APIG.0307")


async def test_token_of_another_project(clock: ManualClock) -> None:
    """A token's scope must be the project in the path, and a domain token has none (trap 33)."""
    other = ProjectOptions(id="0" * 32, name="eu-de_other")
    async with (
        Simulator(Options(empty=True, projects=(ProjectOptions(), other)), clock=clock) as cloud,
        Visitor(cloud) as visitor,
    ):
        for scope in ({"name": other.name}, {}):
            issued = await visitor.ask("POST", "/v3/auth/tokens", body=credentials(**scope))
            answer = await visitor.ask("GET", PATH, headers={"X-Auth-Token": issued.headers["X-Subject-Token"]})
            assert answer.status == 403
            assert answer.body == {
                "is_success": False,
                "error_message": "the token's scope is not the project of the path",
                "error_code": "ModelArts.0210",
            }


async def test_project_that_does_not_exist(visitor: Visitor, clock: ManualClock) -> None:
    """A signed call to a project nobody has is 404 ModelArts.2786."""
    path = f"/v2/{'f' * 32}/training-job-engines"
    answer = await visitor.ask("GET", path, headers=signed(visitor.cloud.url + path, time=clock.time()))

    assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.2786")


async def test_rotated_secret(visitor: Visitor, clock: ManualClock, cloud: Simulator) -> None:
    """After a rotation the old secret is refused and the new one passes; a new password voids every token."""
    await visitor.token()
    cloud.state.keys.rotate(secret_key="ANewInventedSecret", password="a-new-password")

    assert (await sign_in(visitor, clock)).status == 401
    assert (await sign_in(visitor, clock, secret_key="ANewInventedSecret")).status == 200
    assert (await visitor.get("/v1/{project}/workspaces")).body["error_code"] == "APIG.0307"
