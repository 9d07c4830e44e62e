"""Time-to-live caches for responses of the API: what a call returned, and which calls were refused."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from exporter.cloud.http.errors import Denied
from exporter.domain.source import Clock, SourceError

Value = TypeVar("Value")

REFUSED_TTL_S = 3600.0
"""How long a refused request is not sent again: permissions and API releases change by hand."""


class Cached(Generic[Value]):
    """The newest value of one kind. It is due for a new request after `refresh_s`, and expires after `ttl_s`."""

    def __init__(self, clock: Clock, *, ttl_s: float, refresh_s: float = 0.0) -> None:
        self.ttl_s = ttl_s
        self.stored_at: float | None = None
        """Monotonic time of the newest value; None: there is none."""
        self._clock = clock
        self._refresh_s = refresh_s
        self._value: Value | None = None

    @property
    def is_due(self) -> bool:
        """Whether the value is missing or older than `refresh_s`."""
        return self._is_older_than(self._refresh_s)

    def get(self) -> Value | None:
        """Return the value; None when there is none or it has expired."""
        return None if self._is_older_than(self.ttl_s) else self._value

    def set(self, value: Value, *, ttl_s: float | None = None) -> None:
        """Store a value; `ttl_s` replaces the expiry from now on."""
        self._value, self.stored_at = value, self._clock.monotonic()
        if ttl_s is not None:
            self.ttl_s = ttl_s

    def clear(self) -> None:
        """Drop the value."""
        self._value, self.stored_at = None, None

    def _is_older_than(self, age_s: float) -> bool:
        return self.stored_at is None or self._clock.monotonic() - self.stored_at >= age_s


class NegativeCache:
    """Keys of requests that were refused, or found nothing, and are not sent again before `ttl_s` is over."""

    def __init__(self, clock: Clock, *, ttl_s: float = REFUSED_TTL_S) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._retry_after: dict[Hashable, float] = {}

    def add(self, keys: Iterable[Hashable]) -> None:
        """Hold back requests with these keys from now on; expired keys are dropped."""
        now = self._clock.monotonic()
        self._retry_after = {key: at for key, at in self._retry_after.items() if at > now}
        self._retry_after.update(dict.fromkeys(keys, now + self._ttl_s))

    def __contains__(self, key: Hashable) -> bool:
        return self._retry_after.get(key, 0.0) > self._clock.monotonic()


def is_refusal(error: SourceError, *, operation: str) -> bool:
    """Whether the cloud accepted the credential and refuses this call: no such API, or no permission for it.

    A rejected credential says nothing about calls, so it is no refusal.
    """
    if isinstance(error, Denied):
        return error.operation == operation and error.is_refusal
    return error.is_refusal
