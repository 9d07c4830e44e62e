"""Call, response and route: what a handler receives and returns, and how it is registered."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.simulator.api.errors import v2_error
from exporter.simulator.api.state import CloudState
from exporter.simulator.world.project import Project


class MalformedBody(Exception):
    """The body is not a JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, as a handler receives it."""

    cloud: CloudState
    routes: "tuple[Route, ...]"
    """Every route of the simulator, for the control API to list."""
    method: str
    raw_path: str
    """Path and query as received, still percent-encoded."""
    path: Mapping[str, str]
    """Values of the route's {names}, decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Case-insensitive."""
    body: bytes
    authorized_project: Project | None = None
    """The project of the path; set for ModelArts calls after authentication."""

    @property
    def project(self) -> Project:
        """The project of the path. Raises LookupError for a call without one."""
        if self.authorized_project is None:
            raise LookupError("this call has no project")
        return self.authorized_project

    def enter(self, workspace: str) -> None:
        """Check that the caller may list the jobs of a workspace. Raises ApiError."""
        last, quirks = self.project.options.workspaces[-1][0], self.cloud.quirks
        if workspace == last and "workspace-forbidden" in quirks:
            raise v2_error(401, "4203", "you have no permission to access the workspace")
        if workspace == last and ("workspace-unknown" in quirks or "workspace-deleting" in quirks):
            raise v2_error(400, "0102", "the workspace does not exist")

    @property
    def now(self) -> float:
        """The simulated time."""
        return self.cloud.world.now

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty object. Raises MalformedBody."""
        try:
            decoded = json.loads(self.body or b"{}")
        except ValueError as error:
            raise MalformedBody from error
        if not isinstance(decoded, dict):
            raise MalformedBody
        return decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The response of a handler; `body` is JSON, text, or None for no body."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route of the simulator."""

    operation: str
    """Name by which faults select calls and requests are counted: "v2.search"."""
    method: str
    path: str
    """Template with {names}."""
    handler: Callable[[Call], Response]
    summary: str

    @property
    def service(self) -> str:
        """v1, v2, iam, metadata, identity or control."""
        return self.operation.partition(".")[0]
