"""The generated boards are valid by the JSON Schemas that Grafana generates from its own code."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.dashboards.rendered import BOARDS, panels

SCHEMAS = Path(__file__).parent / "schema"
FILE_OF = {"state-timeline": "statetimeline"}
"""Panel types whose schema has another name."""


def _relax(node: Any) -> Any:
    """Allow any value where the generated schemas write `any` as an object without declared properties."""
    if isinstance(node, dict):
        if node.get("type") == "object" and node.get("additionalProperties") == {} and not node.get("properties"):
            return {}
        return {key: _relax(value) for key, value in node.items()}
    return [_relax(item) for item in node] if isinstance(node, list) else node


def _schema(name: str) -> dict[str, Any]:
    found = _relax(json.loads((SCHEMAS / f"{FILE_OF.get(name, name)}.jsonschema.json").read_text(encoding="utf-8")))
    assert isinstance(found, dict)
    return found


def _violations(schema: str, definition: str, value: Any, *, complete: bool = True) -> Iterator[str]:
    """Return the violations of a schema; with `complete=False`, keys may be missing (Grafana has defaults)."""
    whole = _schema(schema)
    validator = jsonschema.Draft7Validator(
        {"$schema": whole["$schema"], "$ref": f"#/definitions/{definition}", "definitions": whole["definitions"]}
    )
    for error in validator.iter_errors(value):
        cause = jsonschema.exceptions.best_match([error]) or error
        if complete or cause.validator != "required":
            yield f"{definition} {'/'.join(map(str, cause.absolute_path))}: {cause.message[:200]}"


@pytest.mark.parametrize("uid", BOARDS)
def test_a_board_fits_the_schema_of_dashboards(uid: str) -> None:
    """Board, variables, annotations and links are valid; panels and rows are checked one by one."""
    of = BOARDS[uid]

    assert list(_violations("dashboard", "Dashboard", {**of, "panels": []})) == []
    for row in (panel for panel in of["panels"] if panel["type"] == "row"):
        assert list(_violations("dashboard", "RowPanel", {**row, "panels": []})) == []
    for panel in panels(of):
        assert list(_violations("dashboard", "Panel", panel)) == [], panel["title"]


@pytest.mark.parametrize("uid", BOARDS)
def test_a_panel_fits_the_schema_of_its_type(uid: str) -> None:
    """Options and field settings of each panel are valid by the schema of its type."""
    for panel in panels(BOARDS[uid]):
        definitions = _schema(panel["type"])["definitions"]
        for definition, value in (
            ("Options", panel.get("options")),
            ("FieldConfig", panel["fieldConfig"]["defaults"].get("custom")),
        ):
            if value is not None and definition in definitions:
                assert list(_violations(panel["type"], definition, value, complete=False)) == [], panel["title"]


@pytest.mark.parametrize("uid", BOARDS)
def test_a_query_fits_the_schema_of_the_data_source(uid: str) -> None:
    """Each query of each panel is valid by the schema of the Prometheus data source."""
    for panel in panels(BOARDS[uid]):
        for target in panel["targets"]:
            assert list(_violations("prometheus", "Dataquery", target)) == [], panel["title"]
