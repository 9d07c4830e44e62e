"""What one call last answered: for how long it is believed, and when it is worth asking again."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from exporter.cloud.http.errors import Denied, Unsupported
from exporter.cloud.http.response import refused_credential
from exporter.domain.source import SourceError

Value = TypeVar("Value")

REFUSED_S = 3600.0
"""How long a refusal holds: permissions and releases of the cloud change by hand."""


@dataclass(slots=True, kw_only=True)
class Cached(Generic[Value]):
    """The newest answer of one call; all times are monotonic.

    An answer is asked for again after `refresh_s`, and believed for `keep_s` when nothing newer comes.
    """

    keep_s: float
    refresh_s: float = 0.0
    answered_at: float | None = None
    _value: Value | None = None

    def is_due(self, now: float) -> bool:
        """Whether what is known is old enough to be asked for again."""
        return self.answered_at is None or now - self.answered_at >= self.refresh_s

    def answered(self, value: Value, *, now: float) -> None:
        """Take an answer."""
        self._value, self.answered_at = value, now

    def forget(self) -> None:
        """What it told is not to be believed any more."""
        self._value, self.answered_at = None, None

    def value(self, now: float) -> Value | None:
        """What is known; None when nothing is, or nothing that is recent enough."""
        if self.answered_at is None or now - self.answered_at >= self.keep_s:
            return None
        return self._value


class RefusalCache:
    """Which calls are not made for an hour, because the cloud refused them; a pool's name narrows it to that pool."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def add(self, operation: str, pool_id: str = "", *, now: float) -> None:
        """Note a refusal."""
        self._until = {key: until for key, until in self._until.items() if until > now}
        self._until[operation, pool_id] = now + REFUSED_S

    def hold(self, operation: str, pool_id: str = "", *, now: float) -> bool:
        """Whether the call is refused: for all pools, or for this one."""
        return any(self._until.get((operation, of), now) > now for of in {"", pool_id})


def is_refusal(error: SourceError, *, operation: str) -> bool:
    """Whether the cloud knows who asks, and has no such call for them; a refused credential says nothing of calls."""
    if isinstance(error, Denied):
        return error.operation == operation and error.status is not None and not refused_credential(error)
    return isinstance(error, Unsupported)
