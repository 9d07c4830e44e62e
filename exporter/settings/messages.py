"""Parts of error sentences: the actual value, a hint, a suggestion."""

import difflib
import json
from collections.abc import Iterable

import yaml

from exporter.settings import yaml_nodes

_MAX_SHOWN = 60
_SHOWN_TAGS = {yaml_nodes.BOOLEAN, yaml_nodes.INTEGER, yaml_nodes.FLOAT, yaml_nodes.STRING, yaml_nodes.MERGE}
_KIND_NAMES = {
    yaml_nodes.MAPPING: "a mapping",
    yaml_nodes.SEQUENCE: "a list",
    yaml_nodes.NULL: "empty",
    yaml_nodes.BOOLEAN: "a boolean",
    yaml_nodes.INTEGER: "a number",
    yaml_nodes.FLOAT: "a number",
    yaml_nodes.STRING: "text",
    yaml_nodes.MERGE: "text",
}


def is_string(node: yaml.Node) -> bool:
    """Whether a node is text. `<<` as a value is text."""
    return isinstance(node, yaml.ScalarNode) and node.tag in {yaml_nodes.STRING, yaml_nodes.MERGE}


def is_blank(node: yaml.Node) -> bool:
    """Whether a node is null or empty text."""
    return node.tag == yaml_nodes.NULL or (is_string(node) and not node.value)


def kind_of(node: yaml.Node) -> str:
    """Name the type of a node without its content."""
    return _KIND_NAMES.get(node.tag, "a tagged value")


def describe(node: yaml.Node) -> str:
    """Describe a node as it is written. References are shown unresolved, so that no secret is shown."""
    if not isinstance(node, yaml.ScalarNode) or node.tag not in _SHOWN_TAGS:
        return kind_of(node)
    literal = node.value if len(node.value) <= _MAX_SHOWN else node.value[: _MAX_SHOWN - 3] + "..."
    if is_string(node):
        return json.dumps(literal, ensure_ascii=not literal.isprintable())
    kind = kind_of(node)
    return f"{kind.replace('a ', 'the ', 1)} {literal}" if literal.isprintable() else kind


def hint(node: yaml.Node) -> str:
    """How to write a node as text, after a semicolon; empty if there is no hint."""
    match kind_of(node):
        case "a number" | "a boolean":
            return "; put it in quotes"
        case "empty":
            return '; write "" for none'
        case _:
            return ""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Suggest a known word, after a semicolon; empty if none is similar."""
    matches = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""
