"""The identity service, and the two services that issue temporary keys (API reference §9.1, §9.3)."""

from datetime import UTC, datetime
from typing import Any

from exporter.simulator.api.auth import authenticate
from exporter.simulator.api.call import Call, Response, Route
from exporter.simulator.api.errors import ApiError, iam_error
from exporter.simulator.api.keys import METADATA_TOKEN_S, TemporaryKey
from exporter.simulator.options import ProjectOptions

_DOMAIN_ID = "d0a10000000000000000000000000001"


def token(call: Call) -> Response:
    """Issue a token for user and password, in a response header; the body does not contain it."""
    auth = _object(call.json(), "auth")
    identity = _object(auth, "identity")
    user = _object(_object(identity, "password"), "user")
    keys = call.cloud.keys
    if identity.get("methods") != ["password"]:
        raise iam_error(400, "Bad Request", "The only method is password.")
    given = (user.get("name"), user.get("password"), _object(user, "domain").get("name"))
    if given != (keys.user, keys.password, keys.domain):
        raise iam_error(401, "Unauthorized", "The username or password is wrong.")
    scope = _object(auth, "scope")
    wanted = _object(scope, "project")
    project = _find(call, wanted) if wanted else None
    if wanted and project is None:
        raise iam_error(401, "Unauthorized", "The project of the scope does not exist.")
    issued = keys.issue_token(project.id if project else "")
    now = call.cloud.time()
    body: dict[str, Any] = {
        "methods": ["password"],
        "issued_at": _iso(now),
        "expires_at": _iso(issued.expires_at),
        "user": {"id": "u0000000000000000000000000000001", "name": keys.user, "domain": _domain(call)},
        "roles": [{"id": "0", "name": "modelarts_readonly"}],
    }
    if project:
        body["project"] = {"id": project.id, "name": project.name, "domain": _domain(call)}
        if call.query.get("nocatalog") is None:
            body["catalog"] = [_catalogue_entry(name, call.cloud.url) for name in ("modelarts", "modelartsv2")]
    return Response(status=201, body={"token": body}, headers={"X-Subject-Token": issued.text})


def _find(call: Call, wanted: dict[str, Any]) -> ProjectOptions | None:
    for project in call.cloud.world.projects.values():
        if project.options.id == wanted.get("id") or project.options.name == wanted.get("name"):
            return project.options
    return None


def _domain(call: Call) -> dict[str, str]:
    return {"id": _DOMAIN_ID, "name": call.cloud.keys.domain}


def _catalogue_entry(name: str, url: str) -> dict[str, Any]:
    return {"name": name, "type": name, "endpoints": [{"interface": "public", "region": "eu-de", "url": url}]}


def projects(call: Call) -> Response:
    """The projects of the caller, filtered by `name`."""
    authenticate(call, project=None, time=call.cloud.time())
    name = call.query.get("name")
    return Response(
        body={
            "projects": [
                {
                    "id": project.options.id,
                    "name": project.options.name,
                    "domain_id": _DOMAIN_ID,
                    "parent_id": _DOMAIN_ID,
                    "enabled": True,
                    "is_domain": False,
                    "description": "",
                }
                for project in call.cloud.world.projects.values()
                if name in (None, project.options.name)
            ],
            "links": {"self": f"{call.cloud.url}/v3/projects", "next": None, "previous": None},
        }
    )


def metadata_token(call: Call) -> Response:
    """Issue the token that the metadata service requires."""
    if "metadata-no-token" in call.cloud.quirks:
        raise ApiError(404, {"error": "no such call"})
    lifetime = call.headers.get("X-Metadata-Token-Ttl-Seconds", str(int(METADATA_TOKEN_S)))
    if not lifetime.isdigit() or not 1 <= int(lifetime) <= METADATA_TOKEN_S:
        raise ApiError(400, {"error": "X-Metadata-Token-Ttl-Seconds must be 1 to 21600"})
    return Response(body=call.cloud.keys.issue_metadata_token(float(lifetime)))


def security_key(call: Call) -> Response:
    """The temporary keys of the node's agency."""
    quirks = call.cloud.quirks
    if "metadata-no-agency" in quirks:
        raise ApiError(404, {"error": "no agency"})
    if "metadata-no-token" not in quirks:
        given = call.headers.get("X-Metadata-Token", "")
        if not call.cloud.keys.metadata_token_valid(given):
            raise ApiError(401, {"error": "X-Metadata-Token is missing or has expired"})
    return Response(body={"credential": _credential(call.cloud.keys.temporary("node"))})


def pod_identity(call: Call) -> Response:
    """The temporary keys of a pod, for its pod-identity token."""
    if not call.cloud.keys.pod_token_valid(call.headers.get("Authorization", "")):
        raise ApiError(401, {"error_code": "PodIdentity.0401", "error_msg": "the authorization token is wrong"})
    key = call.cloud.keys.temporary("pod")
    return Response(
        body={
            "accessKeyId": key.access,
            "secret": key.secret,
            "securityToken": key.security_token,
            "expiration": _iso(key.expires_at),
        }
    )


def _credential(key: TemporaryKey) -> dict[str, str]:
    return {
        "access": key.access,
        "secret": key.secret,
        "securitytoken": key.security_token,
        "expires_at": _iso(key.expires_at),
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _object(body: dict[str, Any], key: str) -> dict[str, Any]:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


ROUTES = (
    Route(
        operation="iam.token", method="POST", path="/v3/auth/tokens", handler=token, summary="a token for a password"
    ),
    Route(
        operation="iam.projects",
        method="GET",
        path="/v3/projects",
        handler=projects,
        summary="projects by name",
    ),
    Route(
        operation="metadata.token",
        method="PUT",
        path="/meta-data/latest/api/token",
        handler=metadata_token,
        summary="a token for the metadata service",
    ),
    Route(
        operation="metadata.securitykey",
        method="GET",
        path="/openstack/latest/securitykey",
        handler=security_key,
        summary="temporary keys of the node's agency",
    ),
    Route(
        operation="identity.credentials",
        method="POST",
        path="/pod-identity/credentials",
        handler=pod_identity,
        summary="temporary keys of a pod",
    ),
)
