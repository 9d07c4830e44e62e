"""The rendered boards as Grafana would read them."""

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
_SELECTING = re.compile(
    r"label_values\((?:(?P<series>.+), )?(?P<label>\w+)\)|query_result\((?P<query>.+)\)", re.DOTALL
)

BUILT_IN: Mapping[str, str] = {
    "__rate_interval": "10s",
    "__interval": "5s",
    "__interval_ms": "5000",
    "__range": "1h",
}


def board(path: Path) -> Json:
    """Read one file."""
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


BOARDS: Mapping[str, Json] = {path.stem: board(path) for path in FILES}


def panels(of: Json) -> Iterator[Json]:
    """Every panel that shows something; rows are headings."""
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
    """Something a board asks of Prometheus."""

    where: str
    expr: str
    instant: bool


def board_queries(of: Json) -> Iterator[BoardQuery]:
    """Every expression of a board: of panels, marks and variables."""
    for panel in panels(of):
        for target in panel["targets"]:
            yield BoardQuery(f"{of['uid']} / {panel['title']} / {target['refId']}", target["expr"], target["instant"])
    for mark in of["annotations"]["list"]:
        yield BoardQuery(f"{of['uid']} / mark {mark['name']}", mark["expr"], instant=False)
    for name, variable in variables(of).items():
        if variable["type"] == "query":
            series, _, query = parse_variable(variable["query"])
            yield BoardQuery(f"{of['uid']} / variable {name}", query or series, instant=True)


def parse_variable(query: str) -> tuple[str, str, str]:
    """Split a variable's query into series and label of `label_values`, or the expression of `query_result`."""
    found = _SELECTING.fullmatch(query)
    assert found is not None, query
    return found["series"] or "", found["label"] or "", found["query"] or ""


def substitute(expr: str, choices: Mapping[str, str]) -> str:
    """Put the variables' values in, as Grafana does: also inside quotes; what is no variable stays as it is."""
    known = {**BUILT_IN, **choices}

    def value(found: re.Match[str]) -> str:
        return known.get(found[1] or found[2], found[0])

    return _VARIABLE.sub(value, expr)


def variables_in(expr: str) -> set[str]:
    """Name the variables in an expression; `$1` of label_replace is none."""
    return {name for found in _VARIABLE.finditer(expr) if not (name := found[1] or found[2]).isdigit()}


def all_selected(of: Json) -> Mapping[str, str]:
    """Choose All everywhere, and the default where there is no All."""
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
    """Every selector of an expression whose variables stand for themselves, so that matchers can be read."""
    parsed = promql.parse(substitute(expr, placeholders(of)))
    return [part for part in nodes(parsed) if isinstance(part, promql.VectorSelector)]


def placeholders(of: Json) -> Mapping[str, str]:
    """Values that can be told apart from everything else; for choices among numbers, a number."""
    return {name: "1" if variable["type"] == "custom" else f"VAR_{name}" for name, variable in variables(of).items()}


def matchers(selector: promql.VectorSelector) -> Mapping[str, str]:
    """Label to what it must match."""
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers}
