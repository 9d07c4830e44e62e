"""Families and samples as exposition text: pure functions, with the rules of both formats side by side.

Sample lines are the same bytes in Prometheus text 0.0.4 and OpenMetrics 1.0; only what stands above them differs.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import getitem
from typing import Any

import msgspec

from exporter.metrics.exposition.family import Family, Type

EOF = b"# EOF\n"
"""What OpenMetrics demands at the very end, and text 0.0.4 takes for a comment."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_REMEMBERED = 4096
_WORDS = frozenset({"null", "true", "false"})
_NOT_JSON_NUMBERS = {"None": "", "True": "1", "False": "0", "inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def replace_surrogates(value: str) -> str:
    """Replace lone surrogates, which JSON can bring and UTF-8 has no bytes for, by U+FFFD."""
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def label_value(value: str) -> str:
    """Escape a label value: backslash, quote and newline.

    Any other character stands as it is; Prometheus 2.42 and 3.5 were seen to take even NUL and carriage return.
    """
    if '"' in value or "\\" in value or "\n" in value:
        value = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return replace_surrogates(value)


class _Pairs(dict[str, str]):
    """One label's pairs by its values, remembered: most values of most labels are the same few."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __missing__(self, value: str) -> str:
        """Write a pair; the memory is bounded, since strangers choose the values: when full, it is one of a crowd."""
        pair = f',{self._name}="{label_value(value)}"'
        if len(self) < _MOST_REMEMBERED:
            self[value] = pair
        return pair


def label_writer(names: Sequence[str]) -> Callable[[Mapping[str, str]], str]:
    """Build the function that writes labels of these names, a comma before each.

    The function raises ValueError when the labels are not those, in that order.
    """
    declared = tuple(names)
    pairs = [_Pairs(name) for name in names]

    def tell(self_metrics: Mapping[str, str]) -> str:
        if tuple(self_metrics) != declared:
            raise ValueError(f"labels {list(self_metrics)}, declared {list(names)}")
        return "".join(map(getitem, pairs, self_metrics.values()))

    def tell_one(self_metrics: Mapping[str, str]) -> str:
        ((name, value),) = self_metrics.items()
        if name != first:
            raise ValueError(f"label {name}, declared {first}")
        return only[value]

    if len(names) != 1:
        return tell
    first, only = names[0], pairs[0]
    return tell_one


def labels(pairs: Iterable[tuple[str, str]]) -> str:
    """Join label names and raw values to what stands between the braces; empty for none."""
    return ",".join([f'{name}="{label_value(value)}"' for name, value in pairs])


def numbers(values: Sequence[float | None]) -> list[str]:
    """Write values so that each reads back exactly, whole numbers without a fraction; non-finite ones as Go does.

    None is told as nothing, a truth value as 0 or 1. Raises TypeError for anything else that is no number.
    All at once by msgspec, which takes a twentieth of `repr`'s time for the same digits.
    """
    if not values:
        return []
    listed = msgspec.json.encode(values)[1:-1].decode() + ","
    if any(mark in listed for mark in '"[{'):
        raise TypeError("not all are numbers")
    told = listed.replace(".0,", ",").split(",")[:-1]
    if "l" in listed or "u" in listed:
        told = [
            _NOT_JSON_NUMBERS[repr(value)] if text in _WORDS else text
            for text, value in zip(told, values, strict=True)
        ]
    return told


def head_text(family: Family[Any]) -> str:
    """Write HELP and TYPE as text 0.0.4 wants them: the name that is exposed, and a gauge for an info."""
    name = family.exposed_name
    kind = Type.GAUGE if family.type is Type.INFO else family.type
    explained = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {explained}\n# TYPE {name} {kind.value}\n"


def head_openmetrics(family: Family[Any]) -> str:
    """Write HELP, TYPE and UNIT as OpenMetrics 1.0 wants them: the family's name, without `_total` and `_info`."""
    name = family.name
    unit = f"# UNIT {name} {family.unit}\n" if family.unit else ""
    explained = family.help.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f"# HELP {name} {explained}\n# TYPE {name} {family.type.value}\n{unit}"
