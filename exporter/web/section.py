"""A section of the web configuration: each problem is added with its path, and reading goes on.

The settings have their own decoder, because this format is Prometheus': it has no `${...}`, null means the default,
and values may contain multi-line PEM text.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from exporter.settings import readers, yaml_nodes
from exporter.settings.messages import describe, suggestion
from exporter.settings.problems import Problems

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of the file without its null entries, and its path (empty: the whole file)."""

    path: str
    entries: Mapping[str, yaml.Node]
    problems: Problems

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def add_problem(self, key: str, sentence: str) -> None:
        """Add a problem at a key of this section."""
        self.problems.add(self._path(key), sentence)

    def section(self, key: str, *, known: Iterable[str] | None = None) -> "Section":
        """Read a section, empty if absent. `known`: its allowed keys; None: any key."""
        return section(self.entries.get(key), self._path(key), self.problems, known=known)

    def string(self, key: str, *, hide: bool = False) -> str:
        """Read text, empty if absent or after a problem. `hide`: the problem must not show the content."""
        node = self.entries.get(key)
        return (node and readers.string(node, self._path(key), self.problems, hide=hide)) or ""

    def strings(self, key: str) -> tuple[str, ...]:
        """Read a list of texts, empty if absent. Entries with a problem are left out."""
        node = self.entries.get(key)
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.add_problem(key, f"must be a list, not {describe(node)}")
            return ()
        read = (
            readers.string(item, self._path(f"{key}[{index}]"), self.problems)
            for index, item in enumerate(node.value)
        )
        return tuple(text for text in read if text)

    def choice(self, key: str, values: Sequence[str], *, default: str) -> str:
        """Read one of `values`; the default if absent or after a problem."""
        text = self.string(key)
        if not text or text in values:
            return text or default
        actual = describe(self.entries[key])
        self.add_problem(key, f"must be one of {', '.join(values)}, not {actual}{suggestion(text, values)}")
        return default

    def boolean(self, key: str, *, default: bool) -> bool:
        """Read true or false; the default if absent or after a problem."""
        node = self.entries.get(key)
        value = None if node is None else readers.boolean(node, self._path(key), self.problems)
        return default if value is None else value

    def integer(self, key: str) -> int:
        """Read a whole number from 0; 0 if absent or after a problem."""
        node = self.entries.get(key)
        if node is None:
            return 0
        if node.tag != yaml_nodes.INTEGER or not _DIGITS.fullmatch(str(node.value)):
            self.add_problem(key, f"must be a whole number in plain digits, not {describe(node)}")
            return 0
        return int(node.value)

    def _path(self, key: str) -> str:
        return yaml_nodes.join(self.path, key)


def section(node: yaml.Node | None, path: str, problems: Problems, *, known: Iterable[str] | None = None) -> Section:
    """Read a node as a section, empty if it is None or after a problem."""
    entries = (node and readers.mapping(node, path, problems)) or {}
    if known is not None:
        readers.check_keys(entries, known, path, problems)
    return Section(path, {key: value for key, value in entries.items() if value.tag != yaml_nodes.NULL}, problems)
