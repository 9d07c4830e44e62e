"""Which form of the exposition a client asks for: a pure function of its headers (RFC 9110, 12.5.1 and 12.5.3)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""Prometheus 3 also sends `escaping`: every name here is plain ASCII, for which all schemes mean the same."""

_TEXT_VERSIONS = frozenset({"", "0.0.4", "1.0.0"})  # 1.0.0 only adds quoted names, of which we have none
_OPENMETRICS_VERSIONS = frozenset({"", "1.0.0"})


@dataclass(frozen=True, slots=True)
class Choice:
    """What to send."""

    openmetrics: bool
    gzip: bool


@dataclass(frozen=True, slots=True)
class _Range:
    """One entry of a header: what it asks for, with which parameters, how much, and where it stood."""

    value: str
    parameters: Mapping[str, str]
    quality: float
    place: int


def negotiate(accept: str, accept_encoding: str) -> Choice:
    """Choose by the two headers, each joined with commas if sent more than once, empty if not at all.

    OpenMetrics only for those who name it and like nothing better; text 0.0.4 for everybody else, also for those
    who accept neither: a reading in the wrong form helps more than none. Gzip for those who name it, or anything.
    """
    return Choice(openmetrics=_prefers_openmetrics(accept), gzip=_takes_gzip(accept_encoding))


def _prefers_openmetrics(accept: str) -> bool:
    ranges = list(_ranges(accept))
    named = [
        entry
        for entry in ranges
        if entry.value == "application/openmetrics-text"
        and entry.parameters.get("version", "") in _OPENMETRICS_VERSIONS
    ]
    if not named:
        return False
    best = max(named, key=lambda entry: (entry.quality, -entry.place))
    if best.quality <= 0:
        return False
    plain = [
        entry
        for entry in ranges
        if entry.value == "text/plain" and entry.parameters.get("version", "") in _TEXT_VERSIONS
    ]
    if plain:
        rival = max(plain, key=lambda entry: (entry.quality, -entry.place))
        return (best.quality, -best.place) > (rival.quality, -rival.place)
    anything = [entry.quality for value in ("text/*", "*/*") for entry in ranges if entry.value == value]
    return best.quality >= (anything[0] if anything else 0.0)


def _takes_gzip(accept_encoding: str) -> bool:
    qualities: dict[str, float] = {}
    for entry in _ranges(accept_encoding):
        qualities.setdefault("gzip" if entry.value == "x-gzip" else entry.value, entry.quality)
    gzip = qualities.get("gzip", qualities.get("*", 0.0))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _ranges(header: str) -> Iterator[_Range]:
    for place, entry in enumerate(header.split(",")):
        value, *rest = (part.strip() for part in entry.split(";"))
        if value:
            pairs = (part.partition("=") for part in rest)
            parameters = {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
            yield _Range(value.lower(), parameters, _quality(parameters.get("q")), place)


def _quality(text: str | None) -> float:
    """Read a q-value: 1 where there is none, 0 where it is none."""
    if text is None:
        return 1.0
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
