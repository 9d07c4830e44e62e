import pytest

from exporter.simulator import POD_IDENTITY_TOKEN, PROJECT_ID, PROJECT_NAME, Simulator
from tests.clock import ManualClock
from tests.unit.simulator.client import Client, Response, credentials

WORKSPACES = "/v1/{project}/workspaces"
TOKENS = "/v3/auth/tokens"


@pytest.mark.parametrize("scope", [{"id": PROJECT_ID}, {"name": PROJECT_NAME}], ids=["by id", "by name"])
async def test_token(client: Client, scope: dict[str, str]) -> None:
    """IAM answers 201 with the token in a header and not in the body; project and expiry in the body (trap 32)."""
    response = await client.send("POST", f"{TOKENS}?nocatalog=true", body=credentials(**scope))

    assert response.status == 201
    assert len(response.headers["X-Subject-Token"]) > 1_000
    assert response.headers["X-Subject-Token"] not in str(response.body)
    token = response.body["token"]
    assert (token["project"]["id"], token["project"]["name"]) == (PROJECT_ID, PROJECT_NAME)
    assert token["expires_at"] == "2023-11-15T22:13:20.000000Z"  # one day after the clock's 2023-11-14T22:13:20Z
    assert "catalog" not in token


@pytest.mark.parametrize(
    "change",
    [{"password": "wrong"}, {"name": "nobody"}, {"domain": {"name": "elsewhere"}}],
    ids=lambda c: next(iter(c)),
)
async def test_wrong_password(client: Client, change: dict[str, object]) -> None:
    """A wrong user, password or domain is 401 with the error body of Keystone."""
    body = credentials(id=PROJECT_ID)
    body["auth"]["identity"]["password"]["user"] |= change

    response = await client.send("POST", TOKENS, body=body)

    assert response.status == 401
    assert (response.body["error"]["code"], response.body["error"]["title"]) == (401, "Unauthorized")


async def test_projects_by_name(client: Client, clock: ManualClock) -> None:
    """GET /v3/projects finds a project by its name, and nothing for an unknown name; 401 without credentials."""

    async def find(name: str) -> Response:
        return await client.get_signed(f"/v3/projects?name={name}", time=clock.time())

    assert [project["id"] for project in (await find(PROJECT_NAME)).body["projects"]] == [PROJECT_ID]
    assert (await find("nowhere")).body["projects"] == []
    assert (await client.send("GET", "/v3/projects")).status == 401


async def agency_keys(client: Client, *, lifetime_s: int = 21_600) -> dict[str, str]:
    headers = {"X-Metadata-Token-Ttl-Seconds": str(lifetime_s)}
    token = await client.send("PUT", "/meta-data/latest/api/token", headers=headers)
    response = await client.send("GET", "/openstack/latest/securitykey", headers={"X-Metadata-Token": token.body})
    assert response.status == 200
    credential: dict[str, str] = response.body["credential"]
    return credential


async def get(client: Client, clock: ManualClock, keys: dict[str, str], security_token: str | None) -> int:
    how = {"access_key": keys["access"], "secret_key": keys["secret"], "security_token": security_token}
    return (await client.get_signed(WORKSPACES, time=clock.time(), **how)).status


async def test_agency_keys(client: Client, clock: ManualClock) -> None:
    """Keys of the metadata service sign requests with their security token only, and expire after an hour."""
    keys = await agency_keys(client)

    assert await get(client, clock, keys, keys["securitytoken"]) == 200
    assert await get(client, clock, keys, None) == 401
    assert await get(client, clock, keys, "another") == 401
    clock.turn(3_600)
    assert await get(client, clock, keys, keys["securitytoken"]) == 401


async def test_metadata_token(client: Client, clock: ManualClock) -> None:
    """A metadata token is valid for the requested time, at most 21600 s; without one the response is 401."""
    path, lifetime = "/meta-data/latest/api/token", "X-Metadata-Token-Ttl-Seconds"
    token = await client.send("PUT", path, headers={lifetime: "60"})
    headers = {"X-Metadata-Token": token.body}
    assert (await client.send("GET", "/openstack/latest/securitykey", headers=headers)).status == 200

    clock.turn(60)

    assert (await client.send("GET", "/openstack/latest/securitykey", headers=headers)).status == 401
    assert (await client.send("GET", "/openstack/latest/securitykey")).status == 401
    assert (await client.send("PUT", path, headers={lifetime: "21601"})).status == 400


async def test_metadata_quirks(client: Client, cloud: Simulator) -> None:
    """With metadata-no-token the keys require no token; with metadata-no-agency there are no keys."""
    cloud.quirks.on("metadata-no-token")
    assert (await client.send("PUT", "/meta-data/latest/api/token")).status == 404
    assert (await client.send("GET", "/openstack/latest/securitykey")).status == 200

    cloud.quirks.on("metadata-no-agency")
    assert (await client.send("GET", "/openstack/latest/securitykey")).status == 404


async def test_pod_identity(client: Client, clock: ManualClock) -> None:
    """The pod-identity token returns keys, with other field names; a wrong token is 401."""
    path = "/pod-identity/credentials"
    response = await client.send("POST", path, body={}, headers={"Authorization": POD_IDENTITY_TOKEN})

    assert response.status == 200
    assert set(response.body) == {"accessKeyId", "secret", "securityToken", "expiration"}
    assert response.body["expiration"] == "2023-11-14T23:13:20.000000Z"  # an hour after the clock's 22:13:20
    keys = {"access": response.body["accessKeyId"], "secret": response.body["secret"]}
    assert await get(client, clock, keys, response.body["securityToken"]) == 200
    assert (await client.send("POST", path, body={}, headers={"Authorization": "wrong"})).status == 401
