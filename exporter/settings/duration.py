"""Durations in Prometheus' notation: "30s", "1h30m", "1d"."""

import re
from typing import Self

_GRAMMAR = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_GROUP_MS = (31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1_000, 1)
_UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_MAX_MS = (2**63 - 1) // 1_000_000


class Duration(float):
    """A duration in seconds. `str` formats it in Prometheus' notation."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse Prometheus' grammar: integers with y, w, d, h, m, s, ms, each at most once in this order; or "0".

        Raises ValueError, whose text begins with "must be", for anything else and for more than 292 years
        (the limit of Prometheus' 64-bit nanoseconds).
        """
        found = _GRAMMAR.fullmatch(text)
        if text != "0" and (not text or found is None):
            raise ValueError("must be a duration such as 30s, 5m or 1h30m")
        digits = found.groups() if found else ()
        if any(part and len(part) > len(str(_MAX_MS)) for part in digits):
            raise ValueError("must be shorter than 292 years")
        total_ms = sum(int(part) * size for part, size in zip(digits, _GROUP_MS, strict=False) if part)
        if total_ms > _MAX_MS:
            raise ValueError("must be shorter than 292 years")
        return cls(total_ms / 1000)

    def __str__(self) -> str:
        """Shortest form in days, hours, minutes, seconds and milliseconds. Rounded to milliseconds."""
        left_ms = round(self * 1000)
        text = ""
        for unit, size in _UNITS_MS:
            count, left_ms = divmod(left_ms, size)
            if count:
                text += f"{count}{unit}"
        return text or "0s"
