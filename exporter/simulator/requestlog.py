"""A log of the requests, so that a test can count calls."""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

MAX_KEPT = 100_000
"""Number of requests kept; older ones are only counted."""


@dataclass(slots=True, kw_only=True)
class Request:
    """One request. `at` is the simulated time."""

    at: float
    operation: str
    """Operation of the route, such as "v2.search"; "unknown" for a path without a route."""
    method: str
    path: str
    query: str
    body: bytes
    status: int = 0
    """0 while it is in progress, and if the connection was closed before the headers were sent."""
    fault: str = ""
    """Name of the fault that was applied; "" for none."""


class Requests:
    """Requests in the order of arrival, without those of the control API."""

    def __init__(self) -> None:
        self._kept: deque[Request] = deque(maxlen=MAX_KEPT)
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._counts.total()

    def __iter__(self) -> Iterator[Request]:
        return iter(tuple(self._kept))

    def add(self, request: Request) -> None:
        """Log a request."""
        self._kept.append(request)
        self._counts[request.operation] += 1

    def count(self, operation: str = "*") -> int:
        """Number of requests of an operation, or of all that match a pattern ("v2.*")."""
        return sum(number for name, number in self._counts.items() if fnmatchcase(name, operation))

    def counts(self) -> dict[str, int]:
        """Number of requests, by operation."""
        return dict(sorted(self._counts.items()))

    def clear(self) -> None:
        """Remove all."""
        self._kept.clear()
        self._counts.clear()
