"""Renders `docs/endpoints.md` from the tables of endpoints of v1, v2 and pools."""

from collections.abc import Sequence
from typing import Any

from exporter.cloud.http.endpoint import Endpoint
from exporter.cloud.pools.endpoints import ENDPOINTS as POOL_ENDPOINTS
from exporter.cloud.v1.endpoints import ENDPOINTS as V1_ENDPOINTS
from exporter.cloud.v2.endpoints import ENDPOINTS as V2_ENDPOINTS

_HEAD = """\
# Calls to the cloud

Generated from `endpoints.py` in `exporter/cloud/v1`, `exporter/cloud/v2` and `exporter/cloud/pools`; do not edit.

Every call that the exporter makes to ModelArts. All of them only read. The name is the value of the label `operation`
of `modelarts_exporter_api_requests_total`. Sections (§) and traps are those of the API reference that the exporter is
built on. Fixtures are in `tests/fixtures/<generation>/`; each has the reason why it exists.
"""

_GENERATIONS = (
    ("v1", "v1 (old-version training)", V1_ENDPOINTS),
    ("v2", "v2", V2_ENDPOINTS),
    ("pools", "Pools and quotas", POOL_ENDPOINTS),
)


def endpoints_markdown() -> str:
    """Return the page: each call with its reason and its recorded responses."""
    parts = [_HEAD]
    for generation, title, endpoints in _GENERATIONS:
        parts += [f"## {title}\n", _summary(endpoints)]
        parts += [_section(endpoint, generation=generation) for endpoint in endpoints]
    return "\n".join(parts)


def _summary(endpoints: Sequence[Endpoint[Any]]) -> str:
    rows = [f"| [`{call.name}`](#{call.name}) | {call.method} | `{_cell(call.path)}` |" for call in endpoints]
    return "\n".join(("| operation | method | path |", "|---|---|---|", *rows, ""))


def _section(endpoint: Endpoint[Any], *, generation: str) -> str:
    lines = [f"### {endpoint.name}", "", f"`{endpoint.method} {endpoint.path}`", "", endpoint.notes, ""]
    if endpoint.may_be_empty:
        lines += ["An empty response means that there is nothing yet.", ""]
    if endpoint.fixtures:
        lines += ["| fixture | why it exists |", "|---|---|"]
        lines += [f"| `{generation}/{fixture.file}` | {_cell(fixture.why)} |" for fixture in endpoint.fixtures]
    else:
        lines.append(f"No fixture: {endpoint.no_fixture_reason}")
    return "\n".join((*lines, ""))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
