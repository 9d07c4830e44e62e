"""The generated boards, read from their JSON."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "dashboards").glob("*.json"))

Json = dict[str, Any]

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_VARIABLE_QUERY = re.compile(
    r"label_values\((?:(?P<series>.+), )?(?P<label>\w+)\)|query_result\((?P<query>.+)\)", re.DOTALL
)

BUILT_IN: Mapping[str, str] = {
    "__rate_interval": "10s",
    "__interval": "5s",
    "__interval_ms": "5000",
    "__range": "1h",
}


def _load(path: Path) -> Json:
    """Read one file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


BOARDS: Mapping[str, Json] = {path.stem: _load(path) for path in FILES}


def panels(of: Json) -> Iterator[Json]:
    """Every panel except rows, which are headings."""
    for panel in of["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def variables(of: Json) -> Mapping[str, Json]:
    """Variables by name, in their order."""
    return {variable["name"]: variable for variable in of["templating"]["list"]}


@dataclass(frozen=True)
class BoardQuery:
    """A query of a board."""

    location: str
    """Board, panel and letter of the query, for messages."""
    expr: str
    instant: bool


def board_queries(of: Json) -> Iterator[BoardQuery]:
    """Every query of a board: of panels, annotations and variables."""
    for panel in panels(of):
        for target in panel["targets"]:
            yield BoardQuery(f"{of['uid']} / {panel['title']} / {target['refId']}", target["expr"], target["instant"])
    for annotation in of["annotations"]["list"]:
        yield BoardQuery(f"{of['uid']} / annotation {annotation['name']}", annotation["expr"], instant=False)
    for name, variable in variables(of).items():
        if variable["type"] == "query":
            series, _, query = parse_variable(variable["query"])
            yield BoardQuery(f"{of['uid']} / variable {name}", query or series, instant=True)


def parse_variable(query: str) -> tuple[str, str, str]:
    """Split a variable's query into series and label of `label_values`, or the expression of `query_result`."""
    found = _VARIABLE_QUERY.fullmatch(query)
    assert found is not None, query
    return found["series"] or "", found["label"] or "", found["query"] or ""


def substitute(expr: str, choices: Mapping[str, str]) -> str:
    """Replace variables by their values, as Grafana does: also inside quotes. Other text is unchanged."""
    known = {**BUILT_IN, **choices}

    def value(found: re.Match[str]) -> str:
        return known.get(found[1] or found[2], found[0])

    return _VARIABLE.sub(value, expr)


def variables_in(expr: str) -> set[str]:
    """Return the names of the variables in an expression; `$1` of label_replace is not a variable."""
    return {name for found in _VARIABLE.finditer(expr) if not (name := found[1] or found[2]).isdigit()}


def all_selected(of: Json) -> Mapping[str, str]:
    """Return values of all variables: All, or the default of a variable without All."""
    return {
        name: variable.get("allValue") or (variable.get("current") or {}).get("value") or ".+"
        for name, variable in variables(of).items()
    }


def nodes(expression: promql.Expr) -> Iterator[promql.Expr]:
    """Every node of a parsed query."""
    yield expression
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        child = getattr(expression, name, None)
        if child is not None:
            yield from nodes(child)
    for child in getattr(expression, "args", ()):
        yield from nodes(child)


def selectors(expr: str, of: Json) -> list[promql.VectorSelector]:
    """Every selector of an expression; variables are replaced by placeholders, so that matchers can be read."""
    parsed = promql.parse(substitute(expr, placeholders(of)))
    return [part for part in nodes(parsed) if isinstance(part, promql.VectorSelector)]


def placeholders(of: Json) -> Mapping[str, str]:
    """Return a unique value for each variable; for variables with numbers as options, a number."""
    return {name: "1" if variable["type"] == "custom" else f"VAR_{name}" for name, variable in variables(of).items()}


def matchers(selector: promql.VectorSelector) -> Mapping[str, str]:
    """Return the matchers: label to value."""
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers}
