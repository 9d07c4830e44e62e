"""The routes of the simulated cloud, and the answer to a call."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from exporter.simulator.api import control, iam, pools, v1, v2
from exporter.simulator.api.auth import admit
from exporter.simulator.api.call import Call, Malformed, Reply, Route
from exporter.simulator.api.errors import Failed, Refused, no_such_api, v2_refusal
from exporter.simulator.api.state import CloudState
from exporter.simulator.faults.corrupt import numbers_as_text

ROUTES: tuple[Route, ...] = (*iam.ROUTES, *v1.ROUTES, *v2.ROUTES, *pools.ROUTES, *control.ROUTES)
"""Every route; where two match a path, the first one answers."""

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
) -> Reply:
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
        reply = _handle(route, call)
    except Refused as refused:
        told = refused.body
        if raw_path.startswith("/v1/") and str(told.get("error_code", "")).startswith("ModelArts."):
            told = {"is_success": False, "error_message": told["error_msg"], "error_code": told["error_code"]}
        return Reply(status=refused.status, body=told)
    except Failed as failed:
        return Reply(status=400 if "v1-failures-400" in cloud.quirks else 200, body=failed.body)
    except Malformed:
        error = v2_refusal(400, "2787", "the body is not a JSON object")
        return Reply(status=400, body=error.body)
    if route is not None and route.service in {"v1", "v2"} and f"{route.service}-numbers-as-strings" in cloud.quirks:
        return replace(reply, body=numbers_as_text(reply.body))
    return reply


def _handle(route: Route | None, call: Call) -> Reply:
    if route is None:
        raise no_such_api()
    if route.service not in {"v1", "v2"}:
        return route.handler(call)
    if f"no-{route.service}" in call.cloud.quirks and route.operation not in _OF_BOTH_GENERATIONS:
        raise no_such_api()
    project = call.path["project"]
    admit(call, project=project, time=call.cloud.time())
    return route.handler(replace(call, tenant=call.cloud.world.tenants[project]))


def encoded(reply: Reply) -> bytes | None:
    """The body as bytes; None when there is none."""
    if reply.body is None:
        return None
    if isinstance(reply.body, str):
        return reply.body.encode()
    return json.dumps(reply.body, separators=(",", ":"), ensure_ascii=False).encode()


def path_parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Path parameters, percent-decoded."""
    return {key: unquote(str(value)) for key, value in values.items()}
