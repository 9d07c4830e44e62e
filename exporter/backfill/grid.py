"""Timestamps at equal intervals, and values accumulated at each. Memory grows with the timestamps only."""

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

_DIGITS = 6  # sums of fractions of an accelerator have noise in the last digits


@dataclass(frozen=True, slots=True)
class Grid:
    """`count` timestamps: `first`, `first + step`, … in seconds since the epoch."""

    first: float
    step: float
    count: int

    @classmethod
    def covering(cls, since: float, until: float, *, step: float) -> "Grid":
        """Multiples of the step in [since, until). Two backfills with the same step share their timestamps."""
        first = math.ceil(since / step)
        return cls(first * step, step, max(0, math.ceil(until / step) - first))

    def index_of(self, timestamp: float) -> int:
        """Index of the first grid timestamp that is not before `timestamp`; at most `count`."""
        if timestamp <= self.first:
            return 0
        if math.isinf(timestamp):
            return self.count
        return min(self.count, math.ceil((timestamp - self.first) / self.step))

    def indexes_between(self, begin: float, end: float) -> range:
        """Indexes of the timestamps in [begin, end)."""
        return range(self.index_of(begin), self.index_of(end))

    def timestamp(self, index: int) -> float:
        """Timestamp at an index."""
        return self.first + index * self.step

    def __iter__(self) -> Iterator[float]:
        return map(self.timestamp, range(self.count))


class Gauge:
    """A gauge: its value at each timestamp of a grid."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._changes = array("d", bytes(8 * (grid.count + 1)))

    def add(self, begin: float, end: float, amount: float = 1.0) -> None:
        """Add an amount in [begin, end)."""
        indexes = self._grid.indexes_between(begin, end)
        if indexes:
            self._changes[indexes.start] += amount
            self._changes[indexes.stop] -= amount

    def values(self) -> Sequence[float]:
        """Value at each timestamp."""
        return [round(value, _DIGITS) + 0.0 for value in accumulate(self._changes[:-1])]


class CumulativeCounter:
    """A counter: the events up to each timestamp of a grid, starting at 0 at the first."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._gauge = Gauge(grid)

    def count(self, timestamp: float) -> None:
        """Count an event at a time."""
        if timestamp > self._grid.first:
            self._gauge.add(timestamp, math.inf)

    def values(self) -> Sequence[float]:
        """Value at each timestamp."""
        return self._gauge.values()
