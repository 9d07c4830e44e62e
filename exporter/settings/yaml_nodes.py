"""Parses YAML into nodes, by the core schema of YAML 1.2: `no` is text, `010` is not octal, `12:30` is not a number.

Nodes instead of values, because only a node keeps how a value was written.
"""

import re
from collections.abc import Iterator

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from exporter.settings.problems import Problems

NULL, BOOLEAN, INTEGER, FLOAT, STRING, MERGE, SEQUENCE, MAPPING = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "merge", "seq", "map")
)

_QUOTED = re.compile(r"\s*(['\"])(?!<)[^'\"\s]{2,}\1")  # parser messages quote the input, which may be a secret


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    def __init__(self, source: str | bytes) -> None:
        Reader.__init__(self, source)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


for _tag, _pattern, _first in (
    (NULL, r"~|null|Null|NULL|", ("~", "n", "N", "")),
    (BOOLEAN, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (INTEGER, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        FLOAT,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    (MERGE, r"<<", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})\Z"), list(_first))


def parse(
    source: str | bytes,
    problems: Problems,
    *,
    when_empty: str = "the file is empty; at least `targets` must be given",
) -> yaml.Node | None:
    """Parse one YAML document. None if there is none, or if it is not YAML, which adds a problem with the line.

    `when_empty` is the problem for a file without a document; empty: this is not a problem.
    """
    try:
        loader = _Loader(source)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        message = ", ".join(_QUOTED.sub("", part) for part in (error.context, error.problem) if part)
        problems.add("", f"{position}not YAML: {message}")
    except yaml.YAMLError:
        problems.add("", "not YAML: contains bytes or characters that YAML does not allow")
    except RecursionError:
        problems.add("", "nested too deeply")
    else:
        if node is None and when_empty:
            problems.add("", when_empty)
        return node
    return None


def entries(node: yaml.MappingNode, path: str, problems: Problems) -> dict[str, yaml.Node]:
    """Return a mapping's entries in file order, with merge keys (`<<`) resolved. Own keys override merged ones.

    Adds a problem for each duplicate key and for each key that is not text.
    """
    found: dict[str, yaml.Node] = {}
    lines: dict[str, int] = {}
    merged: list[tuple[str, yaml.Node]] = []
    seen: set[int] = set()
    for key, value in node.value:
        if key.tag == MERGE:
            merged += _merged(value, path, problems, ancestors=(node,), seen=seen)
        elif not isinstance(key, yaml.ScalarNode) or key.tag == NULL:
            problems.add(path, f"line {key.start_mark.line + 1}: a key must be text")
        elif key.value in found:
            problems.add(
                join(path, key.value), f"given twice, on lines {lines[key.value]} and {key.start_mark.line + 1}"
            )
        else:
            found[key.value] = value
            lines[key.value] = key.start_mark.line + 1
    for name, value in merged:
        found.setdefault(name, value)
    return found


def _merged(
    node: yaml.Node, path: str, problems: Problems, *, ancestors: tuple[yaml.Node, ...], seen: set[int]
) -> Iterator[tuple[str, yaml.Node]]:
    """Entries of a merge key, in order of precedence.

    A mapping in `seen` is skipped: it has lower precedence, and nested merges would grow exponentially.
    """
    parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for part in parts:
        if not isinstance(part, yaml.MappingNode) or part in ancestors:
            problems.add(join(path, "<<"), "must merge other mappings")
        elif id(part) not in seen:
            seen.add(id(part))
            nested: list[tuple[str, yaml.Node]] = []
            for key, value in part.value:
                if key.tag == MERGE:
                    nested += _merged(value, path, problems, ancestors=(*ancestors, part), seen=seen)
                elif isinstance(key, yaml.ScalarNode):
                    yield key.value, value
            yield from nested


def join(path: str, key: str) -> str:
    """Append a key to a path. Unprintable and blank keys are escaped, and a very long key is truncated."""
    name = key if key.isprintable() else repr(key)[1:-1]
    if name != name.strip():
        name = repr(key)
    if len(name) > 64:  # noqa: PLR2004 - longer than any valid key, shorter than a terminal line
        name = name[:61] + "..."
    return f"{path}.{name}" if path else name
