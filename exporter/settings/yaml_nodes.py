"""YAML text to nodes, by the core schema of YAML 1.2: `no` is text, `010` is no octal, a time is no number.

Nodes rather than values, because only a node still knows how a value was written.
"""

import re
from collections.abc import Iterator

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from exporter.settings.problems import Faults

NULL, TRUTH, WHOLE, REAL, TEXT, MERGE, SEQUENCE, MAPPING = (
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "merge", "seq", "map")
)

_QUOTED = re.compile(r"\s*(['\"])(?!<)[^'\"\s]{2,}\1")  # parser messages quote what stood there: perhaps a secret


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    def __init__(self, source: str | bytes) -> None:
        Reader.__init__(self, source)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)


for _tag, _pattern, _first in (
    (NULL, r"~|null|Null|NULL|", ("~", "n", "N", "")),
    (TRUTH, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (WHOLE, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        REAL,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    (MERGE, r"<<", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})\Z"), list(_first))


def parse(
    source: str | bytes, faults: Faults, *, when_empty: str = "the file is empty; at least `targets` must be given"
) -> yaml.Node | None:
    """Read one YAML document. None when there is none, or when it is not YAML, which is then noted with its line.

    `when_empty` is noted when there is none; empty: a file without a document is no mistake.
    """
    try:
        loader = _Loader(source)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        said = ", ".join(_QUOTED.sub("", part) for part in (error.context, error.problem) if part)
        faults.add("", f"{where}not YAML: {said}")
    except yaml.YAMLError:
        faults.add("", "not YAML: holds bytes or characters that YAML does not allow")
    except RecursionError:
        faults.add("", "not usable: nested too deeply")
    else:
        if node is None and when_empty:
            faults.add("", when_empty)
        return node
    return None


def entries(node: yaml.MappingNode, path: str, faults: Faults) -> dict[str, yaml.Node]:
    """Give a mapping's entries in the order of the file, merge keys (`<<`) resolved: what is written wins over them.

    Keys that are given twice or are no text are noted at their path.
    """
    found: dict[str, yaml.Node] = {}
    lines: dict[str, int] = {}
    merged: list[tuple[str, yaml.Node]] = []
    seen: set[int] = set()
    for key, value in node.value:
        if key.tag == MERGE:
            merged += _merged(value, path, faults, above=(node,), seen=seen)
        elif not isinstance(key, yaml.ScalarNode) or key.tag == NULL:
            faults.add(path, f"line {key.start_mark.line + 1}: a key must be text")
        elif key.value in found:
            faults.add(
                join(path, key.value), f"given twice, on lines {lines[key.value]} and {key.start_mark.line + 1}"
            )
        else:
            found[key.value] = value
            lines[key.value] = key.start_mark.line + 1
    for name, value in merged:
        found.setdefault(name, value)
    return found


def _merged(
    node: yaml.Node, path: str, faults: Faults, *, above: tuple[yaml.Node, ...], seen: set[int]
) -> Iterator[tuple[str, yaml.Node]]:
    """Entries a merge key brings, the strongest first.

    A mapping that was `seen` is passed over: it could only be weaker, and merges of merges would double by level.
    """
    parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for part in parts:
        if not isinstance(part, yaml.MappingNode) or part in above:
            faults.add(join(path, "<<"), "must merge other mappings")
        elif id(part) not in seen:
            seen.add(id(part))
            later: list[tuple[str, yaml.Node]] = []
            for key, value in part.value:
                if key.tag == MERGE:
                    later += _merged(value, path, faults, above=(*above, part), seen=seen)
                elif isinstance(key, yaml.ScalarNode):
                    yield key.value, value
            yield from later


def join(path: str, key: str) -> str:
    """Path of a key below a path; control characters in it are escaped, and a very long key is cut."""
    shown = key if key.isprintable() else repr(key)[1:-1]
    if len(shown) > 64:  # noqa: PLR2004 - longer than any key there is, shorter than a terminal's line
        shown = shown[:61] + "..."
    return f"{path}.{shown}" if path else shown
