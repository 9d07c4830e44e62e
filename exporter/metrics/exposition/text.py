"""Exposition text of headers, labels and values.

Sample lines are the same bytes in Prometheus text 0.0.4 and OpenMetrics 1.0; only the headers differ.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import getitem
from typing import Any

import msgspec

from exporter.metrics.exposition.family import Family, Type

EOF = b"# EOF\n"
"""The end marker that OpenMetrics requires; a comment in text 0.0.4."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_CACHED_VALUES = 4096
_JSON_WORDS = frozenset({"null", "true", "false"})
_NOT_JSON_NUMBERS = {"None": "", "True": "1", "False": "0", "inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def replace_surrogates(value: str) -> str:
    """Replace lone surrogates, which JSON can contain and UTF-8 cannot encode, by U+FFFD."""
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def label_value(value: str) -> str:
    """Escape a label value: backslash, quote and newline.

    No other character needs escaping: Prometheus 2.42 and 3.5 accept even NUL and carriage return.
    """
    if '"' in value or "\\" in value or "\n" in value:
        value = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return replace_surrogates(value)


class _LabelCache(dict[str, str]):
    """Written `name="value"` pairs of one label, by value. Most labels have few distinct values."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __missing__(self, value: str) -> str:
        """Write a pair, and cache it until the cache is full: users choose the values, so there is no bound."""
        pair = f',{self._name}="{label_value(value)}"'
        if len(self) < _MAX_CACHED_VALUES:
            self[value] = pair
        return pair


def label_writer(names: Sequence[str]) -> Callable[[Mapping[str, str]], str]:
    """Build the function that writes labels with these names, each with a leading comma.

    That function raises ValueError when the names or their order differ.
    """
    declared = tuple(names)
    pairs = [_LabelCache(name) for name in names]

    def write(values: Mapping[str, str]) -> str:
        if tuple(values) != declared:
            raise ValueError(f"labels {list(values)}, declared {list(names)}")
        return "".join(map(getitem, pairs, values.values()))

    def write_one(values: Mapping[str, str]) -> str:
        ((name, value),) = values.items()
        if name != first:
            raise ValueError(f"label {name}, declared {first}")
        return only[value]

    if len(names) != 1:
        return write
    first, only = names[0], pairs[0]
    return write_one


def labels(pairs: Iterable[tuple[str, str]]) -> str:
    """Write label names and raw values as the text between the braces; empty without labels."""
    return ",".join([f'{name}="{label_value(value)}"' for name, value in pairs])


def numbers(values: Sequence[float | None]) -> list[str]:
    """Write values so that each parses to the same float: integers without a fraction, non-finite values as in Go.

    None is written as an empty string, a bool as 0 or 1. Raises TypeError for any other type.
    msgspec encodes all values in one call, in a twentieth of the time that `repr` takes for the same digits.
    """
    if not values:
        return []
    listed = msgspec.json.encode(values)[1:-1].decode() + ","
    if any(mark in listed for mark in '"[{'):
        raise TypeError("not all are numbers")
    written = listed.replace(".0,", ",").split(",")[:-1]
    if "l" in listed or "u" in listed:
        written = [
            _NOT_JSON_NUMBERS[repr(value)] if text in _JSON_WORDS else text
            for text, value in zip(written, values, strict=True)
        ]
    return written


def header_text(family: Family[Any]) -> str:
    """Write HELP and TYPE for text 0.0.4: with the exposed name, and an info as a gauge."""
    name = family.exposed_name
    kind = Type.GAUGE if family.type is Type.INFO else family.type
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {help_text}\n# TYPE {name} {kind.value}\n"


def header_openmetrics(family: Family[Any]) -> str:
    """Write HELP, TYPE and UNIT for OpenMetrics 1.0: with the family name, without `_total` and `_info`."""
    name = family.name
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    help_text = family.help.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f"# HELP {name} {help_text}\n# TYPE {name} {family.type.value}\n{unit}"
