"""New series of totals are published at 0 first: `increase()` counts nothing before the first sample of a series."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from exporter.domain.accounting import Distribution
from exporter.domain.snapshot import Totals


class Introduction:
    """Shows each series of the totals at 0 until the next jobs poll begins.

    A Prometheus that scrapes at least once a jobs interval then has the 0 before the first increment, so a new series
    is late by one poll, once. What is counted, and what the state file holds, is not late.
    """

    def __init__(self) -> None:
        self._introduced: set[tuple[str, object]] = set()
        self._published: set[tuple[str, object]] = set()

    def begin_poll(self) -> None:
        """Show the values of all series that were published so far."""
        self._introduced |= self._published
        self._published.clear()

    def publish(self, totals: Totals) -> Totals:
        """Return the totals to publish: zeros for series that were not published before the current poll."""
        changed: dict[str, Any] = {}
        for part in fields(totals):
            values: Mapping[object, object] = getattr(totals, part.name)
            new = [key for key in values if (part.name, key) not in self._introduced]
            if new:
                self._published.update((part.name, key) for key in new)
                changed[part.name] = {**values, **{key: _zero(values[key]) for key in new}}
        return replace(totals, **changed) if changed else totals


def _zero(value: object) -> object:
    """Return the value of the same type without any events."""
    return Distribution.empty(value.bounds_s) if isinstance(value, Distribution) else type(value)()
