"""Reading YAML of fixed keys and plain values strictly: every mistake is noted at its path, none ends the reading.

Beside the decoder of the settings because this is for a format of Prometheus: `${...}` means nothing in it, null is
the default, and PEM text may stand in it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from exporter.settings import yaml_nodes
from exporter.settings.messages import advice, is_text, kind_of, meant, shown
from exporter.settings.problems import Faults

_DIGITS = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Section:
    """One mapping of the file: its entries that hold something, and its path, empty for the whole file."""

    path: str
    entries: Mapping[str, yaml.Node]
    faults: Faults

    def __contains__(self, key: str) -> bool:
        """Whether something stands at a key."""
        return key in self.entries

    def wrong(self, key: str, sentence: str) -> None:
        """Note a mistake at one of the keys."""
        self.faults.add(yaml_nodes.join(self.path, key), sentence)

    def section(self, key: str, *, known: Iterable[str] | None = None) -> "Section":
        """Give the mapping at a key, empty where there is none; `known` None: its keys are free."""
        node = self.entries.get(key)
        return section(node, yaml_nodes.join(self.path, key), self.faults, known=known)

    def text(self, key: str, *, hide: bool = False) -> str:
        """Text at a key, empty where there is none. `hide`: a mistake must not tell what stands there."""
        node = self.entries.get(key)
        return "" if node is None else self._text(node, key, hide=hide)

    def texts(self, key: str) -> tuple[str, ...]:
        """Texts of the list at a key, empty where there is none; entries that are no text are noted and left out."""
        node = self.entries.get(key)
        if node is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.wrong(key, f"must be a list, not {shown(node)}")
            return ()
        return tuple(
            text for index, item in enumerate(node.value) if (text := self._text(item, f"{key}[{index}]", hide=False))
        )

    def choice(self, key: str, values: Sequence[str], *, default: str) -> str:
        """One of the values; the default where nothing stands, and after a mistake."""
        text = self.text(key)
        if not text or text in values:
            return text or default
        self.wrong(key, f"must be one of {', '.join(values)}, not {shown(self.entries[key])}{meant(text, values)}")
        return default

    def truth(self, key: str, *, default: bool) -> bool:
        """Say true or false; the default where nothing stands, and after a mistake."""
        node = self.entries.get(key)
        if node is None:
            return default
        if node.tag != yaml_nodes.TRUTH or str(node.value).lower() not in {"true", "false"}:
            self.wrong(key, f"must be true or false, not {shown(node)}")
            return default
        return str(node.value).lower() == "true"

    def whole(self, key: str) -> int:
        """Give a number from 0; 0 where nothing stands, and after a mistake."""
        node = self.entries.get(key)
        if node is None:
            return 0
        if node.tag != yaml_nodes.WHOLE or not _DIGITS.fullmatch(str(node.value)):
            self.wrong(key, f"must be a whole number in plain digits, not {shown(node)}")
            return 0
        return int(node.value)

    def _text(self, node: yaml.Node, key: str, *, hide: bool) -> str:
        if not is_text(node):
            there = kind_of(node) if hide else shown(node)
            self.wrong(key, f"must be text, not {there}{advice(node)}")
            return ""
        return str(node.value)


def section(node: yaml.Node | None, path: str, faults: Faults, *, known: Iterable[str] | None = None) -> Section:
    """Give the mapping that a node is; anything else is noted, and none is a mapping without entries."""
    if node is None or node.tag == yaml_nodes.NULL:
        return Section(path, {}, faults)
    if not isinstance(node, yaml.MappingNode) or node.tag != yaml_nodes.MAPPING:
        faults.add(path, f"must be a mapping, not {shown(node)}")
        return Section(path, {}, faults)
    entries = yaml_nodes.entries(node, path, faults)
    names = None if known is None else tuple(known)
    for key in entries:
        if names is not None and key not in names:
            faults.add(yaml_nodes.join(path, key), f"unknown key{meant(key, names)}")
    return Section(path, {key: value for key, value in entries.items() if value.tag != yaml_nodes.NULL}, faults)
