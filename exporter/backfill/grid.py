"""Moments at equal distances, and what adds up at each of them; memory for the moments, not for what is added."""

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

_DIGITS = 6  # fractions of an accelerator add up to noise in the last digits of a float


@dataclass(frozen=True, slots=True)
class Grid:
    """Moments `first`, `first + step`, …; `count` of them. Seconds since the epoch."""

    first: float
    step: float
    count: int

    @classmethod
    def covering(cls, since: float, until: float, *, step: float) -> "Grid":
        """Lay multiples of the step over a time, its end not included: two backfills with one step share moments."""
        first = math.ceil(since / step)
        return cls(first * step, step, max(0, math.ceil(until / step) - first))

    def index_of(self, timestamp: float) -> int:
        """Number of the first moment that is not before this one; at most `count`."""
        if timestamp <= self.first:
            return 0
        if math.isinf(timestamp):
            return self.count
        return min(self.count, math.ceil((timestamp - self.first) / self.step))

    def indexes_between(self, begin: float, end: float) -> range:
        """Numbers of the moments from `begin` up to, but not including, `end`."""
        return range(self.index_of(begin), self.index_of(end))

    def timestamp(self, index: int) -> float:
        """The moment of that number."""
        return self.first + index * self.step

    def __iter__(self) -> Iterator[float]:
        return map(self.timestamp, range(self.count))


class Gauge:
    """How much there is at each moment of a grid."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._changes = array("d", bytes(8 * (grid.count + 1)))

    def add(self, begin: float, end: float, amount: float = 1.0) -> None:
        """Have that much more from `begin` up to, but not including, `end`."""
        indexes = self._grid.indexes_between(begin, end)
        if indexes:
            self._changes[indexes.start] += amount
            self._changes[indexes.stop] -= amount

    def values(self) -> Sequence[float]:
        """What adds up at each moment."""
        return [round(value, _DIGITS) + 0.0 for value in accumulate(self._changes[:-1])]


class CumulativeCounter:
    """How much has happened up to each moment of a grid, since its first: nothing at that one."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._gauge = Gauge(grid)

    def count(self, timestamp: float) -> None:
        """Count something that happened then."""
        if timestamp > self._grid.first:
            self._gauge.add(timestamp, math.inf)

    def values(self) -> Sequence[float]:
        """What has been counted by each moment."""
        return self._gauge.values()
