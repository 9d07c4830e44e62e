"""Writes the generated files of the chart; with --check it only lists those that are out of date.

These are the schema of the values, their table in the README, the version of the exporter in Chart.yaml, and copies
of alerts and dashboards (a chart can read only its own folder). Run it after dashboards/generate.py.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from exporter import __version__
from exporter.settings.schema import json_schema

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm/modelarts-exporter"

BEGIN = "<!-- values: begin. Generated from values.yaml by `make generate`; do not edit. -->"
END = "<!-- values: end -->"
COPIES = {"alerts/*.yaml": "files/alerts", "dashboards/*.json": "files/dashboards"}

_BETWEEN = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
_DURATION = re.compile(r"[0-9]+[smhdwy]")
_PROMETHEUS_DURATION = {"type": "string", "pattern": "^[0-9]+(ms|[smhdwy])([0-9]+(ms|[smhdwy]))*$"}

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One key of values.yaml."""

    path: str
    """Its keys, joined by dots."""
    default: Any
    description: str
    """The comment above it, on one line."""
    inner: tuple["Value", ...]
    """Its nested values; empty for a single value."""


def values(text: str, *, units: Mapping[str, Schema]) -> tuple[Value, ...]:
    """Read values.yaml with its comments. A value in `units` is read as a whole, without its nested values.

    Raises ValueError that names every value without a comment.
    """
    lines = text.splitlines()
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - a chart's values are a mapping
    found = tuple(_values(root, yaml.safe_load(text), "", lines=lines, units=units))
    undocumented = [value.path for value in _flatten(found) if not value.description]
    if undocumented:
        raise ValueError(
            f"helm/modelarts-exporter/values.yaml: write a comment above {', '.join(undocumented)}; "
            f"it is the description in README.md and values.schema.json"
        )
    return found


def values_schema() -> Schema:
    """Give the schema of the values: draft 7, and no key is allowed that values.yaml does not have.

    Raises ValueError if the type of a value follows neither from its default nor from helm/schema.yaml.
    """
    units = _units()
    unused = set(units) - {value.path for value in _flatten(_chart_values())}
    if unused:
        raise ValueError(
            f"helm/schema.yaml: delete {', '.join(sorted(unused))}, or add it to helm/modelarts-exporter/values.yaml"
        )
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the modelarts-exporter chart",
        **_closed({value.path: _schema(value, units=units) for value in _chart_values()}),
    }


def readme(existing: str) -> str:
    """Return the README of the chart with a new table of values. Raises ValueError without the markers."""
    if not _BETWEEN.search(existing):
        raise ValueError(f"helm/modelarts-exporter/README.md lacks the lines {BEGIN} and {END}; restore them")
    return _BETWEEN.sub(lambda _: f"{BEGIN}\n\n{''.join(_tables())}{END}", existing)


def chart_yaml(existing: str) -> str:
    """Return Chart.yaml with the version of the exporter."""
    text = re.sub(r"^appVersion: .*$", f'appVersion: "{__version__}"', existing, flags=re.MULTILINE)
    return re.sub(r"(image: \S+:)\S+$", rf"\g<1>{__version__}", text, flags=re.MULTILINE)


def generated() -> Iterator[tuple[Path, str | None]]:
    """Yield each generated file with its text; None for a copy whose source no longer exists."""
    yield CHART / "values.schema.json", json.dumps(values_schema(), indent=2, ensure_ascii=False) + "\n"
    yield CHART / "README.md", readme((CHART / "README.md").read_text(encoding="utf-8"))
    yield CHART / "Chart.yaml", chart_yaml((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    for pattern, folder in COPIES.items():
        sources = {source.name: source for source in sorted(ROOT.glob(pattern))}
        for name, source in sources.items():
            yield CHART / folder / name, source.read_text(encoding="utf-8")
        for copy in sorted((CHART / folder).glob("*")):
            if copy.name not in sources:
                yield copy, None


def main() -> int:
    """Write or check; 1 when a check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check: bool = parser.parse_args().check
    stale = 0
    for path, after in generated():
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if after == before:
            continue
        stale += 1
        if not check:
            if after is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(after, encoding="utf-8")
        word = "removed" if after is None else "written"
        sys.stderr.write(f"{path.relative_to(ROOT)}: {'out of date; run `make generate`' if check else word}\n")
    return 1 if check and stale else 0


def _values(
    node: yaml.MappingNode, default: Mapping[str, Any], prefix: str, *, lines: list[str], units: Mapping[str, Schema]
) -> Iterator[Value]:
    for key, inside in node.value:
        path = prefix + key.value
        nested = isinstance(inside, yaml.MappingNode) and inside.value and path not in units
        yield Value(
            path=path,
            default=default[key.value],
            description=_comment(lines, line=key.start_mark.line, column=key.start_mark.column),
            inner=tuple(_values(inside, default[key.value], f"{path}.", lines=lines, units=units)) if nested else (),
        )


def _comment(lines: list[str], *, line: int, column: int) -> str:
    """Return the comment directly above a line with the same indentation."""
    mark = " " * column + "# "
    words: list[str] = []
    while line and lines[line - 1].startswith(mark):
        line -= 1
        words.insert(0, lines[line][len(mark) :].strip())
    return " ".join(words)


def _flatten(found: tuple[Value, ...]) -> Iterator[Value]:
    for value in found:
        yield value
        yield from _flatten(value.inner)


def _chart_values() -> tuple[Value, ...]:
    return values((CHART / "values.yaml").read_text(encoding="utf-8"), units=_units())


def _units() -> dict[str, Schema]:
    written = yaml.safe_load((ROOT / "helm/schema.yaml").read_text(encoding="utf-8"))["values"]
    return {**written, "prometheusRule.groups": _groups(), "prometheusRule.alerts": _alerts()}


def _schema(value: Value, *, units: Mapping[str, Schema]) -> Schema:
    described: Schema = {"description": value.description}
    if value.path == "config":
        return described | _settings()
    if value.inner:
        return described | _closed({inner.path: _schema(inner, units=units) for inner in value.inner})
    return described | _typed(value, units.get(value.path, {})) | {"default": value.default}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    named = {path.rpartition(".")[2]: schema for path, schema in properties.items()}
    shared = {
        "global": {"description": "Values that a parent chart passes to all charts; not used.", "type": "object"}
    }
    top = not any("." in path for path in properties)
    return {"type": "object", "additionalProperties": False, "properties": named | (shared if top else {})}


def _typed(value: Value, written: Schema) -> Schema:
    kinds: dict[type, str] = {bool: "boolean", str: "string", int: "integer"}
    kind = kinds.get(type(value.default))
    if kind is None and not {"type", "anyOf"} & written.keys():
        raise ValueError(f"helm/schema.yaml: add {value.path} with its `type` below `values`; its default has none")
    return ({} if "anyOf" in written or kind is None else {"type": kind}) | written


def _settings() -> Schema:
    """The schema of the exporter's settings. Targets are optional here, because the demo has none."""
    schema = json_schema()
    targets = {key: word for key, word in schema["properties"]["targets"].items() if key != "minItems"}
    return {
        **{key: word for key, word in schema.items() if key not in {"$schema", "required"}},
        "properties": schema["properties"] | {"targets": targets},
    }


def _rules() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield every rule in alerts/ with its file and the name of its group."""
    for path in sorted(ROOT.glob("alerts/*.yaml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield f"alerts/{path.name}", group["name"], rule


def _groups() -> Schema:
    names = dict.fromkeys(group for _, group, _ in _rules())
    switch = {"enabled": {"description": "Whether the group is installed.", "type": "boolean", "default": True}}
    group = {"type": "object", "additionalProperties": False, "properties": switch}
    return {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(names, group)}


def _alerts() -> Schema:
    alerts = {rule["alert"]: _alert(rule, file=file) for file, _, rule in _rules() if "alert" in rule}
    return {"type": "object", "additionalProperties": False, "properties": alerts}


def _alert(rule: Mapping[str, Any], *, file: str) -> Schema:
    """Return the schema of the settings of one alert. Raises ValueError that names what the rule lacks."""
    if "severity" not in rule.get("labels", {}):
        raise ValueError(f"{file}: add the label `severity` to {rule['alert']}: critical, warning or info")
    if not re.fullmatch(r"\S+", str(rule.get("annotations", {}).get("threshold", ""))):
        raise ValueError(
            f"{file}: add the annotation `threshold` to {rule['alert']}: the number that users may "
            f"change, or the `for` of the rule, as a quoted string"
        )
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    token = str(rule["annotations"]["threshold"])
    waits = {"description": "How long the condition must be true before the alert fires."} | _PROMETHEUS_DURATION
    properties: Schema = {
        "enabled": {"description": "Whether the alert is installed.", "type": "boolean", "default": True},
        "threshold": {"description": "Threshold of the alert, in the unit of its metric."} | _threshold(token),
        "severity": {
            "description": "Label `severity` of the alert.",
            "type": "string",
            "minLength": 1,
            "default": rule["labels"]["severity"],
        },
        **({} if token == rule.get("for") else {"for": waits}),
        "keepFiringFor": {"description": "How long the alert keeps firing after the condition ends."}
        | _PROMETHEUS_DURATION,
        "labels": {"description": "Additional labels."} | texts,
        "annotations": {"description": "Additional annotations."} | texts,
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _threshold(token: str) -> Schema:
    """Return the schema of a threshold: a duration, a ratio, or an integer (which windows need), as in the rule."""
    if _DURATION.fullmatch(token):
        return _PROMETHEUS_DURATION | {"default": token}
    if "." in token:
        return {"type": "number", "exclusiveMinimum": 0, "default": float(token)}
    return {"type": "integer", "minimum": 1, "default": int(token)}


def _tables() -> Iterator[str]:
    found = _chart_values()
    for value in found:
        if value.inner:
            yield f"### `{value.path}`\n\n{value.description}\n\n{_table(value.inner)}\n"
    yield f"### Pod and other values\n\n{_table(tuple(value for value in found if not value.inner))}\n"


def _table(rows: tuple[Value, ...]) -> str:
    lines = [
        f"| `{row.path}` | `{_cell(json.dumps(row.default, ensure_ascii=False))}` | {_cell(row.description)} |\n"
        for row in _flatten(rows)
        if not row.inner
    ]
    return "".join(["| value | default | description |\n", "|---|---|---|\n", *lines])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
