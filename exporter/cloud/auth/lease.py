"""A credential that expires, and is replaced before: one refresh at a time, shared by all callers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from exporter.cloud.http.errors import CloudError, Denied
from exporter.domain.source import Clock

Value = TypeVar("Value")

_REFRESH_RATIO = 0.8  # of the lifetime: 12 minutes before the end of an hour, 4.8 hours before the end of a day
_MIN_INTERVAL_S = 60.0  # between two refreshes, however short the lifetime seems
_RETRY_S = 30.0  # after a failed refresh while the old credential is still valid
_DENIED_RETRY_S = 330.0  # the same after a refused one: wrong logins lock an account (trap 34)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lease(Generic[Value]):
    """A credential with its lifetime; both times are in seconds since the epoch."""

    value: Value = field(repr=False)
    obtained_at: float
    expires_at: float


class LeaseRenewer(Generic[Value]):
    """Holds the current lease. A refresh goes on when the caller that started it is cancelled: others wait for it."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Lease[Value]]],
        *,
        clock: Clock,
        on_change: Callable[[float | None], None],
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._on_change = on_change
        self._lease: Lease[Value] | None = None
        self._refresh_at = 0.0
        self._forced_at: float | None = None
        self._refreshing: asyncio.Task[Lease[Value]] | None = None

    async def current(self) -> Lease[Value]:
        """Return a lease to use now; the old one, while it is valid, if a refresh fails. Raises CloudError."""
        lease = self._lease
        now = self._clock.time()
        if lease is None:
            return await self._wait_for_refresh()
        if now < self._refresh_at or (self._refreshing is not None and now < lease.expires_at):
            return lease
        try:
            return await self._wait_for_refresh()
        except CloudError as error:
            now = self._clock.time()
            if now >= lease.expires_at:
                raise
            pause_s = _DENIED_RETRY_S if isinstance(error, Denied) else _RETRY_S
            self._refresh_at = min(now + pause_s, lease.expires_at)
            _log.warning("credentials.refresh_failed", outcome=error.outcome, error=str(error))
            return lease

    async def renew(self, refused: Lease[Value]) -> bool:
        """Replace a lease that the cloud refused, at most once a minute. Returns whether there is another one now."""
        if self._lease is not refused:
            return True
        now = self._clock.monotonic()
        if self._refreshing is None:
            if self._forced_at is not None and now - self._forced_at < _MIN_INTERVAL_S:
                return False
            self._forced_at = now
        try:
            lease = await self._wait_for_refresh()
        except CloudError as error:
            _log.warning("credentials.refresh_failed", outcome=error.outcome, error=str(error))
            return False
        return lease.value != refused.value

    async def close(self) -> None:
        """Cancel a running refresh."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError, CloudError):
                await self._refreshing

    async def _wait_for_refresh(self) -> Lease[Value]:
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(), name="credentials refresh")
            self._refreshing.add_done_callback(_retrieve_exception)
        return await asyncio.shield(self._refreshing)

    async def _refresh(self) -> Lease[Value]:
        try:
            lease = await self._fetch()
            life_s = lease.expires_at - lease.obtained_at
            self._refresh_at = lease.obtained_at + max(_REFRESH_RATIO * life_s, _MIN_INTERVAL_S)
            self._lease = lease
            self._on_change(lease.expires_at)
            return lease
        finally:
            self._refreshing = None


def _retrieve_exception(task: asyncio.Task[Lease[Value]]) -> None:
    """Retrieve the error even if all waiting callers were cancelled; else asyncio writes it to stderr."""
    if not task.cancelled():
        task.exception()
