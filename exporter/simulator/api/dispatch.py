"""The routes of the simulated cloud, and the response to a call."""

import codecs
import json
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from exporter.simulator.api import control, iam, pools, v1, v2
from exporter.simulator.api.auth import authenticate
from exporter.simulator.api.call import Call, MalformedBody, Response, Route
from exporter.simulator.api.errors import ApiError, V1Error, no_such_api, v2_error
from exporter.simulator.api.state import CloudState
from exporter.simulator.faults.corrupt import cut_texts, numbers_as_text

ROUTES: tuple[Route, ...] = (*iam.ROUTES, *v1.ROUTES, *v2.ROUTES, *pools.ROUTES, *control.ROUTES)
"""Every route; where two match a path, the first one is used."""

_OF_BOTH_GENERATIONS = frozenset({"v1.workspaces", "v1.resource-flavors", "v1.quotas"})
"""Operations that `no-v1` does not remove."""


def answer(
    cloud: CloudState,
    route: Route | None,
    *,
    method: str,
    raw_path: str,
    path: Mapping[str, str],
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
) -> Response:
    """Answer one call as the real cloud does, errors included. `route` is None for a path without a route."""
    call = Call(
        cloud=cloud,
        routes=ROUTES,
        method=method,
        raw_path=raw_path,
        path=path,
        query=query,
        headers=headers,
        body=body,
    )
    try:
        response = _handle(route, call)
    except ApiError as error:
        is_v1 = raw_path.startswith("/v1/") and str(error.body.get("error_code", "")).startswith("ModelArts.")
        return Response(status=error.status, body=_v1_shape(error.body) if is_v1 else error.body)
    except V1Error as error:
        return Response(status=400 if "v1-failures-400" in cloud.quirks else 200, body=error.body)
    except MalformedBody:
        return Response(status=400, body=v2_error(400, "2787", "the body is not a JSON object").body)
    if route is not None and route.service in {"v1", "v2"} and f"{route.service}-numbers-as-strings" in cloud.quirks:
        return replace(response, body=numbers_as_text(response.body))
    return response


def _v1_shape(body: dict[str, Any]) -> dict[str, Any]:
    return {"is_success": False, "error_message": body["error_msg"], "error_code": body["error_code"]}


def _handle(route: Route | None, call: Call) -> Response:
    if route is None:
        raise no_such_api()
    if route.service not in {"v1", "v2"}:
        return route.handler(call)
    if f"no-{route.service}" in call.cloud.quirks and route.operation not in _OF_BOTH_GENERATIONS:
        raise no_such_api()
    project = call.path["project"]
    authenticate(call, project=project, time=call.cloud.time())
    return route.handler(replace(call, authorized_project=call.cloud.world.projects[project]))


def encoded(response: Response, *, quirks: Container[str] = ()) -> bytes | None:
    """The body as bytes, with the quirks of its text; None when there is none."""
    if response.body is None:
        return None
    if isinstance(response.body, str):
        return response.body.encode()
    body = cut_texts(response.body) if "lone-surrogates" in quirks else response.body
    text = json.dumps(body, separators=(",", ":"), ensure_ascii="lone-surrogates" in quirks).encode()
    return codecs.BOM_UTF8 + text if "byte-order-mark" in quirks else text


def path_parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Path parameters, percent-decoded."""
    return {key: unquote(str(value)) for key, value in values.items()}
