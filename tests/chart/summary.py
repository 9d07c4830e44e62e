"""Rendered manifests as text for review: rules and boards that equal their source are only named."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.chart.chart import ROOT, Json, Rendered

Rules = Mapping[str, tuple[str, Json]]
"""Rules by name: the file each comes from, and the rule."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and lists indented, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML's
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def shipped() -> Rules:
    """Every rule in alerts/, alerts and recording rules."""
    return {
        rule.get("alert") or rule["record"]: (str(path.relative_to(ROOT)), rule)
        for path in sorted(ROOT.glob("alerts/*.yaml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    }


def summarize(rendered: Rendered) -> str:
    """Every manifest in one text, and the notes."""
    rules = shipped()
    documents = [_dump(_summarize_manifest(manifest, rules)) for manifest in rendered.manifests]
    return "---\n".join([*documents, _dump({"NOTES.txt": rendered.notes})])


def _dump(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def _summarize_manifest(manifest: Json, rules: Rules) -> Json:
    match manifest["kind"]:
        case "PrometheusRule":
            return {**manifest, "spec": _groups(manifest["spec"], rules)}
        case "ConfigMap":
            return {**manifest, "data": {name: _file(name, text, rules) for name, text in manifest["data"].items()}}
        case _:
            return manifest


def _groups(file: Json, rules: Rules) -> Json:
    return {
        "groups": [{**group, "rules": [_rule(rule, rules) for rule in group["rules"]]} for group in file["groups"]]
    }


def _rule(rule: Json, rules: Rules) -> Any:
    """A rule from alerts/: its name and its changes."""
    name = rule.get("alert") or rule["record"]
    if name not in rules:
        return rule
    path, source = rules[name]
    changes = {key: value for key, value in rule.items() if source.get(key) != value}
    for key in ("labels", "annotations"):
        if key in changes:
            changes[key] = {name: text for name, text in rule[key].items() if source[key].get(name) != text}
    gone = [key for key in source if key not in rule]
    return {f"{path} {name}": changes | ({"gone": gone} if gone else {}) or "as shipped"}


def _file(name: str, text: str, rules: Rules) -> Any:
    """A file of a ConfigMap: rules like those of a PrometheusRule, a board by its name."""
    if name.endswith(".rules.yaml"):
        return _groups(yaml.safe_load(text), rules)
    source = ROOT / "dashboards" / name
    same = source.exists() and json.loads(source.read_text(encoding="utf-8")) == json.loads(text)
    return f"(as dashboards/{name})" if same else text
