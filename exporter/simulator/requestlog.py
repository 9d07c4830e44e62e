"""What was asked of the simulator, so that a test can count calls."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

KEPT = 100_000
"""Requests kept in full; older ones are only counted."""


@dataclass(slots=True, kw_only=True)
class Request:
    """One request. Time is the world's."""

    at: float
    operation: str
    """As in the table of routes: "v2.search"; "unknown" for a path that nothing answers."""
    method: str
    path: str
    query: str
    body: bytes
    status: int = 0
    """0 while it is being answered, and for answers that were cut off before their head."""
    fault: str = ""
    """Name of the fault that struck it."""


class Requests:
    """Requests in the order of arrival, the control API's own left out."""

    def __init__(self) -> None:
        self._kept: deque[Request] = deque(maxlen=KEPT)
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def __iter__(self) -> Iterator[Request]:
        return iter(tuple(self._kept))

    def add(self, request: Request) -> None:
        """Take down a request."""
        self._kept.append(request)
        self._counts[request.operation] += 1

    def count(self, operation: str = "*") -> int:
        """How many there were of an operation; a pattern ("v2.*") counts all it fits."""
        return sum(number for name, number in self._counts.items() if fnmatchcase(name, operation))

    def counts(self) -> dict[str, int]:
        """How many there were, by operation."""
        return dict(sorted(self._counts.items()))

    def clear(self) -> None:
        """Forget them all."""
        self._kept.clear()
        self._counts.clear()
