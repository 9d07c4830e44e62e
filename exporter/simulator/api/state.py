"""The whole simulated cloud, before any socket: world, keys, quirks, faults, and the answer to a call."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from exporter.simulator.api import control, iam, pools, v1, v2
from exporter.simulator.api.auth import admit
from exporter.simulator.api.call import Call, Malformed, Reply, Route
from exporter.simulator.api.errors import Failed, Refused, no_such_api, v2_refusal
from exporter.simulator.api.keys import Keys
from exporter.simulator.clock import Clock, ScaledClock
from exporter.simulator.faults.corrupt import numbers_as_text
from exporter.simulator.faults.faults import Faults
from exporter.simulator.faults.quirks import Quirks
from exporter.simulator.options import Options
from exporter.simulator.requestlog import Requests
from exporter.simulator.world.ground_truth import Totals
from exporter.simulator.world.job import Job
from exporter.simulator.world.world import World

ROUTES: tuple[Route, ...] = (*iam.ROUTES, *v1.ROUTES, *v2.ROUTES, *pools.ROUTES, *control.ROUTES)
"""Every call there is; where two fit a path, the first one answers."""


class Cloud:
    """The simulated cloud. Raises ValueError for an unknown quirk."""

    def __init__(self, options: Options, *, clock: Clock) -> None:
        self.options = options
        self.routes = ROUTES
        self.clock = clock
        self.quirks = Quirks(options.quirks)
        self.faults = Faults(seed=options.seed)
        self.requests = Requests()
        self.keys = Keys(options, time=clock.time)
        self.skew_s = 0.0
        """How far the cloud's own clock is ahead of ours."""
        self.url = ""
        self._timeline = ScaledClock(base=clock, speed=options.speed, start_at=options.start_at)
        self.world = World(options, now=self._timeline.time())

    def time(self) -> float:
        """What the cloud's gatekeepers believe is the time: the clock's, and the skew."""
        return self.clock.time() + self.skew_s

    def catch_up(self) -> None:
        """Let the world live up to the present."""
        self.world.advance_to(self._timeline.time() + self.world.ahead_s)

    def books(self, project: str | None = None) -> Totals:
        """Return the true totals up to the present."""
        self.catch_up()
        return self.world.books(project)

    def has_secret(self, job: Job) -> bool:
        """Whether the job's answers carry secrets: one in four does, with the quirk every one."""
        return job.seed % 4 == 0 or "secrets-in-answers" in self.quirks

    def is_odd(self, job: Job) -> bool:
        """Whether the job is told with words that no document knows."""
        return "unknown-values" in self.quirks and job.seed % 5 == 0

    def answer(
        self,
        route: Route | None,
        *,
        method: str,
        raw_path: str,
        path: Mapping[str, str],
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply:
        """Answer one call as the real cloud would, refusals included."""
        call = Call(cloud=self, method=method, raw_path=raw_path, path=path, query=query, headers=headers, body=body)
        try:
            reply = self._served(route, call)
        except Refused as refused:
            told = refused.body
            if raw_path.startswith("/v1/") and str(told.get("error_code", "")).startswith("ModelArts."):
                told = {"is_success": False, "error_message": told["error_msg"], "error_code": told["error_code"]}
            return Reply(status=refused.status, body=told)
        except Failed as failed:
            return Reply(status=400 if "v1-failures-400" in self.quirks else 200, body=failed.body)
        except Malformed:
            error = v2_refusal(400, "2787", "the body is not a JSON object")
            return Reply(status=400, body=error.body)
        if route is not None and f"{route.service}-numbers-as-strings" in _STRINGY & set(self.quirks):
            return Reply(status=reply.status, body=numbers_as_text(reply.body), headers=reply.headers)
        return reply

    def _served(self, route: Route | None, call: Call) -> Reply:
        if route is None:
            raise no_such_api()
        if route.service not in {"v1", "v2"}:
            return route.handler(call)
        if f"no-{route.service}" in self.quirks and route.operation not in _OF_NO_GENERATION:
            raise no_such_api()
        project = call.path["project"]
        admit(call, project=project, time=self.time())
        return route.handler(
            Call(
                cloud=self,
                method=call.method,
                raw_path=call.raw_path,
                path=call.path,
                query=call.query,
                headers=call.headers,
                body=call.body,
                tenant=self.world.tenants[project],
            )
        )


_OF_NO_GENERATION = {"v1.workspaces", "v1.resource-flavors", "v1.quotas"}
_STRINGY = {"v1-numbers-as-strings", "v2-numbers-as-strings"}


def encoded(reply: Reply) -> bytes | None:
    """The body as bytes; None when there is none."""
    if reply.body is None:
        return None
    if isinstance(reply.body, str):
        return reply.body.encode()
    return json.dumps(reply.body, separators=(",", ":"), ensure_ascii=False).encode()


def named(values: Mapping[str, Any]) -> dict[str, str]:
    """Path parts as plain text."""
    return {key: unquote(str(value)) for key, value in values.items()}
