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
    def over(cls, since: float, until: float, *, step: float) -> "Grid":
        """Lay multiples of the step over a time, its end not included: two backfills with one step share moments."""
        first = math.ceil(since / step)
        return cls(first * step, step, max(0, math.ceil(until / step) - first))

    def at(self, moment: float) -> int:
        """Number of the first moment that is not before this one; at most `count`."""
        if moment <= self.first:
            return 0
        if math.isinf(moment):
            return self.count
        return min(self.count, math.ceil((moment - self.first) / self.step))

    def between(self, begin: float, end: float) -> range:
        """Numbers of the moments from `begin` up to, but not including, `end`."""
        return range(self.at(begin), self.at(end))

    def moment(self, number: int) -> float:
        """The moment of that number."""
        return self.first + number * self.step

    def __iter__(self) -> Iterator[float]:
        return map(self.moment, range(self.count))


class Level:
    """How much there is at each moment of a grid."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._changes = array("d", bytes(8 * (grid.count + 1)))

    def add(self, begin: float, end: float, amount: float = 1.0) -> None:
        """Have that much more from `begin` up to, but not including, `end`."""
        numbers = self._grid.between(begin, end)
        if numbers:
            self._changes[numbers.start] += amount
            self._changes[numbers.stop] -= amount

    def values(self) -> Sequence[float]:
        """What adds up at each moment."""
        return [round(value, _DIGITS) + 0.0 for value in accumulate(self._changes[:-1])]


class CumulativeCounter:
    """How much has happened up to each moment of a grid, since its first: nothing at that one."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._level = Level(grid)

    def count(self, moment: float) -> None:
        """Count something that happened then."""
        if moment > self._grid.first:
            self._level.add(moment, math.inf)

    def values(self) -> Sequence[float]:
        """What has been counted by each moment."""
        return self._level.values()
