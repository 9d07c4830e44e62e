"""Content negotiation of the exposition: a pure function of the request headers (RFC 9110, 12.5.1 and 12.5.3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""Prometheus 3 also sends `escaping`. All names here are plain ASCII, for which all schemes are equal."""

_TEXT_VERSIONS = frozenset({"", "0.0.4", "1.0.0"})  # 1.0.0 only adds quoted names, which we do not use
_OPENMETRICS_VERSIONS = frozenset({"", "1.0.0"})


@dataclass(frozen=True, slots=True)
class Choice:
    """Format and compression of the response."""

    openmetrics: bool
    gzip: bool


@dataclass(frozen=True, slots=True)
class _Range:
    """One entry of an Accept header: value, parameters, q-value and position."""

    value: str
    parameters: Mapping[str, str]
    quality: float
    position: int


def negotiate(accept: str, accept_encoding: str) -> Choice:
    """Choose format and compression. Repeated headers are joined with commas; an absent header is empty.

    OpenMetrics if the client names it and prefers nothing else. Otherwise text 0.0.4, even if the client accepts
    neither: metrics in an unexpected format help more than an error. Gzip if the client names it or accepts anything.
    """
    return Choice(openmetrics=_prefers_openmetrics(accept), gzip=_accepts_gzip(accept_encoding))


def _prefers_openmetrics(accept: str) -> bool:
    ranges = list(_ranges(accept))
    openmetrics_ranges = [
        entry
        for entry in ranges
        if entry.value == "application/openmetrics-text"
        and entry.parameters.get("version", "") in _OPENMETRICS_VERSIONS
    ]
    if not openmetrics_ranges:
        return False
    best = max(openmetrics_ranges, key=lambda entry: (entry.quality, -entry.position))
    if best.quality <= 0:
        return False
    text_ranges = [
        entry
        for entry in ranges
        if entry.value == "text/plain" and entry.parameters.get("version", "") in _TEXT_VERSIONS
    ]
    if text_ranges:
        best_text = max(text_ranges, key=lambda entry: (entry.quality, -entry.position))
        return (best.quality, -best.position) > (best_text.quality, -best_text.position)
    wildcards = [entry.quality for value in ("text/*", "*/*") for entry in ranges if entry.value == value]
    return best.quality >= (wildcards[0] if wildcards else 0.0)


def _accepts_gzip(accept_encoding: str) -> bool:
    qualities: dict[str, float] = {}
    for entry in _ranges(accept_encoding):
        qualities.setdefault("gzip" if entry.value == "x-gzip" else entry.value, entry.quality)
    gzip = qualities.get("gzip", qualities.get("*", 0.0))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _ranges(header: str) -> Iterator[_Range]:
    for position, entry in enumerate(header.split(",")):
        value, *rest = (part.strip() for part in entry.split(";"))
        if value:
            pairs = (part.partition("=") for part in rest)
            parameters = {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
            yield _Range(value.lower(), parameters, _quality(parameters.get("q")), position)


def _quality(text: str | None) -> float:
    """Parse a q-value: 1 if absent, 0 if invalid."""
    if text is None:
        return 1.0
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
