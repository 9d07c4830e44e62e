"""How a mistake speaks of what stands in the file."""

import difflib
import json
from collections.abc import Iterable

import yaml

from exporter.settings import yaml_nodes

_LONGEST_SHOWN = 60
_SHOWN = {yaml_nodes.TRUTH, yaml_nodes.WHOLE, yaml_nodes.REAL, yaml_nodes.TEXT, yaml_nodes.MERGE}
_KINDS = {
    yaml_nodes.MAPPING: "a mapping",
    yaml_nodes.SEQUENCE: "a list",
    yaml_nodes.NULL: "empty",
    yaml_nodes.TRUTH: "a truth value",
    yaml_nodes.WHOLE: "a number",
    yaml_nodes.REAL: "a number",
    yaml_nodes.TEXT: "text",
    yaml_nodes.MERGE: "text",
}


def is_text(node: yaml.Node) -> bool:
    """Whether a node is text; `<<` in place of a value is."""
    return isinstance(node, yaml.ScalarNode) and node.tag in {yaml_nodes.TEXT, yaml_nodes.MERGE}


def is_blank(node: yaml.Node) -> bool:
    """Whether nothing stands there, or empty text."""
    return node.tag == yaml_nodes.NULL or (is_text(node) and not node.value)


def kind_of(node: yaml.Node) -> str:
    """Say of what kind a node is, and nothing of what it holds."""
    return _KINDS.get(node.tag, "a tagged value")


def shown(node: yaml.Node) -> str:
    """Say what stands there, as it was written: references are shown, never what they hold."""
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _SHOWN:
        return kind_of(node)
    written = node.value if len(node.value) <= _LONGEST_SHOWN else node.value[: _LONGEST_SHOWN - 3] + "..."
    if is_text(node):
        return json.dumps(written, ensure_ascii=not written.isprintable())
    kind = kind_of(node)
    return f"{kind.replace('a ', 'the ', 1)} {written}" if written.isprintable() else kind


def advice(node: yaml.Node) -> str:
    """Say how to make text of it, after a semicolon; empty where that is plain."""
    match kind_of(node):
        case "a number" | "a truth value":
            return "; put it in quotes"
        case "empty":
            return '; write "" for none'
        case _:
            return ""


def meant(given: str, known: Iterable[str]) -> str:
    """Ask whether a known word was meant, after a semicolon; empty where none is near."""
    near = difflib.get_close_matches(given.lower(), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
