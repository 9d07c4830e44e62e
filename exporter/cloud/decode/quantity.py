"""Kubernetes quantities: "1073m", "64Gi", "2e3" (API reference §7, trap 36)."""

import math
import re
from decimal import Decimal, InvalidOperation

from exporter.cloud.http.endpoint import NoteUnknown

_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_QUANTITY = re.compile(
    r"(?P<number>\+?(?:\d+(?:\.\d*)?|\.\d+))(?:(?P<exponent>[eE][+-]?\d{1,3})|(?P<suffix>[numkMGTPE]|[KMGTPE]i)?)",
    re.ASCII,
)
_MAX_LENGTH = 64
"""Longer texts are not quantities."""


def kubernetes_quantity(value: object, *, field: str, note: NoteUnknown) -> float | None:
    """Read a quantity in its base unit (cores, bytes, cards); None for null, "" and invalid values (noted).

    Numbers are accepted too. Negative quantities are invalid. "E" without digits after it is exa.
    """
    if value is None or value == "":
        return None
    read = _read(value)
    if read is None or not math.isfinite(read):
        note(field, value)
        return None
    return read


def _read(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, int | float):
        try:
            return float(value) if value >= 0 else None
        except OverflowError:
            return None
    found = _QUANTITY.fullmatch(value.strip()) if len(value) <= _MAX_LENGTH else None
    if found is None:
        return None
    try:
        number = Decimal(found["number"] + (found["exponent"] or ""))
        return float(
            number * _SUFFIXES[found["suffix"] or ""]
        )  # exact until here: 1073m is 1.073, not 1.0730000000000002
    except (InvalidOperation, OverflowError):
        return None
