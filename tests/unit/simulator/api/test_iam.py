import pytest

from exporter.simulator import (
    DOMAIN,
    POD_IDENTITY_TOKEN,
    PROJECT_ID,
    PROJECT_NAME,
    Simulator,
)
from tests.clock import ManualClock
from tests.unit.simulator.visitor import Answer, Visitor, credentials, signed


@pytest.mark.parametrize("scope", [{"id": PROJECT_ID}, {"name": PROJECT_NAME}], ids=["by id", "by name"])
async def test_token_comes_in_the_header(visitor: Visitor, scope: dict[str, str]) -> None:
    """IAM answers 201, the token in a header and nowhere in the body, project and expiry in the body (trap 32)."""
    answer = await visitor.ask("POST", "/v3/auth/tokens?nocatalog=true", body=credentials(**scope))

    assert answer.status == 201
    assert len(answer.headers["X-Subject-Token"]) > 1_000
    assert answer.headers["X-Subject-Token"] not in str(answer.body)
    token = answer.body["token"]
    assert (token["project"]["id"], token["project"]["name"]) == (PROJECT_ID, PROJECT_NAME)
    assert (
        token["expires_at"] == "2023-11-15T22:13:20.000000Z"
    )  # the clock stands at 2023-11-14T22:13:20Z; plus a day
    assert "catalog" not in token


async def test_catalogue_names_the_endpoint(visitor: Visitor, cloud: Simulator) -> None:
    """Without nocatalog the token's catalogue tells where ModelArts is."""
    answer = await visitor.ask("POST", "/v3/auth/tokens", body=credentials(id=PROJECT_ID))

    catalogue = answer.body["token"]["catalog"]
    assert {entry["type"]: entry["endpoints"][0]["url"] for entry in catalogue}["modelarts"] == cloud.url


async def test_domain_token_has_no_project(visitor: Visitor) -> None:
    """A token without scope is issued, for the domain alone."""
    answer = await visitor.ask("POST", "/v3/auth/tokens", body=credentials())

    assert answer.status == 201
    assert "project" not in answer.body["token"]
    assert answer.body["token"]["user"]["domain"]["name"] == DOMAIN


@pytest.mark.parametrize(
    "change, status, title",
    [
        pytest.param({"password": "wrong"}, 401, "Unauthorized", id="wrong password"),
        pytest.param({"name": "nobody"}, 401, "Unauthorized", id="wrong user"),
        pytest.param({"domain": {"name": "elsewhere"}}, 401, "Unauthorized", id="wrong domain"),
    ],
)
async def test_wrong_password(visitor: Visitor, change: dict[str, object], status: int, title: str) -> None:
    """Wrong user, password or domain is 401 in the shape of Keystone."""
    body = credentials(id=PROJECT_ID)
    body["auth"]["identity"]["password"]["user"] |= change

    answer = await visitor.ask("POST", "/v3/auth/tokens", body=body)

    assert answer.status == status
    assert answer.body["error"]["code"] == status
    assert answer.body["error"]["title"] == title


async def test_other_methods_are_refused(visitor: Visitor) -> None:
    """IAM takes the password method alone."""
    answer = await visitor.ask("POST", "/v3/auth/tokens", body={"auth": {"identity": {"methods": ["hw_ak_sk"]}}})

    assert (answer.status, answer.body["error"]["title"]) == (400, "Bad Request")


async def test_unknown_project_scope(visitor: Visitor) -> None:
    """A scope that does not exist gets no token."""
    assert (await visitor.ask("POST", "/v3/auth/tokens", body=credentials(name="nowhere"))).status == 401


async def test_projects_by_name(visitor: Visitor, clock: ManualClock) -> None:
    """A signed GET /v3/projects finds a project's id by its name, and nothing for a name nobody has."""

    async def find(name: str) -> Answer:
        path = f"/v3/projects?name={name}"
        return await visitor.ask("GET", path, headers=signed(visitor.cloud.url + path, time=clock.time()))

    assert [project["id"] for project in (await find(PROJECT_NAME)).body["projects"]] == [PROJECT_ID]
    assert (await find("nowhere")).body["projects"] == []


async def test_projects_need_credentials(visitor: Visitor) -> None:
    """Nobody lists projects without credentials."""
    assert (await visitor.ask("GET", "/v3/projects")).status == 401


async def metadata_keys(visitor: Visitor) -> dict[str, str]:
    token = await visitor.ask("PUT", "/meta-data/latest/api/token", headers={"X-Metadata-Token-Ttl-Seconds": "21600"})
    answer = await visitor.ask("GET", "/openstack/latest/securitykey", headers={"X-Metadata-Token": token.body})
    assert answer.status == 200
    credential: dict[str, str] = answer.body["credential"]
    return credential


async def test_agency_keys_open_the_door(visitor: Visitor, clock: ManualClock) -> None:
    """Keys of the metadata service sign requests, but only together with their security token."""
    keys = await metadata_keys(visitor)
    path = f"/v1/{PROJECT_ID}/workspaces"

    async def enter(security_token: str | None) -> int:
        headers = signed(
            visitor.cloud.url + path,
            time=clock.time(),
            access_key=keys["access"],
            secret_key=keys["secret"],
            security_token=security_token,
        )
        return (await visitor.ask("GET", path, headers=headers)).status

    assert await enter(keys["securitytoken"]) == 200
    assert await enter(None) == 401
    assert await enter("another") == 401
    clock.turn(3_600)
    assert await enter(keys["securitytoken"]) == 401


async def test_agency_keys_rotate_before_they_expire(visitor: Visitor, clock: ManualClock) -> None:
    """Keys live an hour; in the last ten minutes new ones are handed out, and the old ones are still good."""
    first = await metadata_keys(visitor)
    clock.turn(2_999)
    assert await metadata_keys(visitor) == first
    clock.turn(2)
    second = await metadata_keys(visitor)
    assert second["access"] != first["access"]

    path = f"/v1/{PROJECT_ID}/workspaces"
    for keys in (first, second):
        headers = signed(
            visitor.cloud.url + path,
            time=clock.time(),
            access_key=keys["access"],
            secret_key=keys["secret"],
            security_token=keys["securitytoken"],
        )
        assert (await visitor.ask("GET", path, headers=headers)).status == 200


async def test_metadata_token_expires(visitor: Visitor, clock: ManualClock) -> None:
    """The metadata service's own token is good for the time asked for, then 401."""
    token = await visitor.ask("PUT", "/meta-data/latest/api/token", headers={"X-Metadata-Token-Ttl-Seconds": "60"})
    headers = {"X-Metadata-Token": token.body}
    assert (await visitor.ask("GET", "/openstack/latest/securitykey", headers=headers)).status == 200

    clock.turn(60)

    assert (await visitor.ask("GET", "/openstack/latest/securitykey", headers=headers)).status == 401
    assert (await visitor.ask("GET", "/openstack/latest/securitykey")).status == 401


async def test_metadata_token_lifetime_has_bounds(visitor: Visitor) -> None:
    """More than 21600 s cannot be asked for."""
    headers = {"X-Metadata-Token-Ttl-Seconds": "21601"}

    assert (await visitor.ask("PUT", "/meta-data/latest/api/token", headers=headers)).status == 400


async def test_older_metadata_service(visitor: Visitor, cloud: Simulator) -> None:
    """With metadata-no-token the token call is 404 and the keys need none."""
    cloud.quirks.on("metadata-no-token")

    assert (await visitor.ask("PUT", "/meta-data/latest/api/token")).status == 404
    assert (await visitor.ask("GET", "/openstack/latest/securitykey")).status == 200


async def test_node_without_agency(visitor: Visitor, cloud: Simulator) -> None:
    """With metadata-no-agency there are no keys."""
    cloud.quirks.on("metadata-no-agency")

    assert (await visitor.ask("GET", "/openstack/latest/securitykey")).status == 404


async def test_pod_identity(visitor: Visitor, clock: ManualClock) -> None:
    """A pod that shows its token gets keys, in another spelling; with a wrong token it gets 401."""
    path = "/pod-identity/credentials"
    answer = await visitor.ask("POST", path, body={}, headers={"Authorization": POD_IDENTITY_TOKEN})

    assert answer.status == 200
    assert set(answer.body) == {"accessKeyId", "secret", "securityToken", "expiration"}
    assert answer.body["expiration"] == "2023-11-14T23:13:20.000000Z"  # an hour after the clock's 22:13:20
    headers = signed(
        visitor.cloud.url + f"/v1/{PROJECT_ID}/workspaces",
        time=clock.time(),
        access_key=answer.body["accessKeyId"],
        secret_key=answer.body["secret"],
        security_token=answer.body["securityToken"],
    )
    assert (await visitor.ask("GET", f"/v1/{PROJECT_ID}/workspaces", headers=headers)).status == 200
    assert (await visitor.ask("POST", path, body={}, headers={"Authorization": "wrong"})).status == 401


async def test_temporary_keys_can_be_voided(visitor: Visitor, cloud: Simulator) -> None:
    """Once voided, temporary keys are replaced at the next call."""
    first = await metadata_keys(visitor)
    cloud.state.keys.expire_temporary()

    assert (await metadata_keys(visitor))["access"] != first["access"]
