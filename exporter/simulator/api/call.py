"""What a handler is given, and what the routes are made of."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.simulator.api.state import CloudState
from exporter.simulator.world.project import Project


class Malformed(Exception):
    """The body is not a JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, as the cloud's services see it."""

    cloud: CloudState
    routes: "tuple[Route, ...]"
    """Every route of the simulator, for the control API to list."""
    method: str
    raw_path: str
    """Path and query exactly as they came, still encoded."""
    path: Mapping[str, str]
    """What stands in the place of the route's {names}, decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Case-insensitive."""
    body: bytes
    tenant: Project | None = None
    """The project of the path; set for ModelArts calls once the caller may see it."""

    @property
    def project(self) -> Project:
        """The project of the path."""
        if self.tenant is None:
            raise LookupError("this call has no project")
        return self.tenant

    @property
    def now(self) -> float:
        """The world's time."""
        return self.cloud.world.now

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty object. Raises Malformed."""
        try:
            decoded = json.loads(self.body or b"{}")
        except ValueError as error:
            raise Malformed from error
        if not isinstance(decoded, dict):
            raise Malformed
        return decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a handler answers; `body` is JSON, text, or None for no body at all."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call that the simulator answers."""

    operation: str
    """Its name, by which faults are aimed and requests counted: "v2.search"."""
    method: str
    path: str
    """Template with {names}."""
    handler: Callable[[Call], Reply]
    summary: str

    @property
    def service(self) -> str:
        """v1, v2, iam, metadata, identity or control."""
        return self.operation.partition(".")[0]
