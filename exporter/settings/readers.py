"""Reads single YAML nodes, for the settings and for the web configuration.

Each reader returns None and adds a problem at `path` if the node has the wrong type.
"""

from collections.abc import Iterable

import yaml

from exporter.settings import yaml_nodes
from exporter.settings.messages import describe, hint, is_string, kind_of, suggestion
from exporter.settings.problems import Problems


def mapping(node: yaml.Node, path: str, problems: Problems) -> dict[str, yaml.Node] | None:
    """Entries of a mapping. An empty node is a mapping without entries, as Prometheus reads it."""
    if isinstance(node, yaml.MappingNode) and node.tag == yaml_nodes.MAPPING:
        return yaml_nodes.entries(node, path, problems)
    if node.tag == yaml_nodes.NULL:
        return {}
    problems.add(path, f"must be a mapping, not {describe(node)}")
    return None


def check_keys(entries: Iterable[str], known: Iterable[str], path: str, problems: Problems) -> None:
    """Add a problem for each key that is not known."""
    names = tuple(known)
    for key in entries:
        if key not in names:
            problems.add(yaml_nodes.join(path, key), f"unknown key{suggestion(key, names)}")


def string(node: yaml.Node, path: str, problems: Problems, *, hide: bool = False) -> str | None:
    """Text as it is written. `hide`: the problem must not show the content."""
    if is_string(node):
        return str(node.value)
    actual = kind_of(node) if hide else describe(node)
    problems.add(path, f"must be text, not {actual}{hint(node)}")
    return None


def boolean(node: yaml.Node, path: str, problems: Problems) -> bool | None:
    """True or false in the spellings of YAML 1.2."""
    if node.tag == yaml_nodes.BOOLEAN and str(node.value).lower() in {"true", "false"}:  # a tag can be set by hand
        return str(node.value).lower() == "true"
    problems.add(path, f"must be true or false, not {describe(node)}")
    return None
